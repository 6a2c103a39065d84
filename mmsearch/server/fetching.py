"""Pictures that a request names by their web address: fetched only where the server was started
with --fetch, within the limits of `sources.web`, and in threads of their own, so that a slow site
holds up nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from mmsearch.errors import MediaError, UsageError
from mmsearch.server.asked import PictureIn
from mmsearch.server.settings import Settings
from mmsearch.server.state import Server
from mmsearch.sources import Fetch, NotPublic, fetched, fetching

_SILENCE, _TRIES = 5.0, 2


def allowed(settings: Settings) -> AbstractContextManager[None]:
    """What the settings let this process fetch."""
    if not settings.fetch:
        return nullcontext()
    return fetching(Fetch(private=settings.fetch_private, max_bytes=settings.query_bytes,
                          seconds=settings.fetch_seconds, silence=_SILENCE, tries=_TRIES))


async def fetch(server: Server, pictures: Sequence[PictureIn]) -> None:
    """Get what the pictures of a request name by their address.

    Raises:
        UsageError: nothing is fetched here, or all of them together are too large.
        MediaError: one cannot be fetched. TooLate.
    """
    wanted = [picture for picture in pictures if picture.url is not None]
    if not wanted:
        return
    if not server.settings.fetch:
        raise UsageError("this server fetches nothing from the web; send the picture itself, or "
                         "start the server with --fetch")
    files = await asyncio.gather(*(
        server.fetching.run(partial(read, picture.url or "")) for picture in wanted))
    most = server.settings.query_bytes
    if sum(map(len, files)) > most:
        raise UsageError(f"the pictures at these addresses have more than {most / 1e6:g} MB "
                         "together")
    for picture, data in zip(wanted, files, strict=True):
        picture.keep(data)


def read(url: str) -> bytes:
    """What is at an address; in a thread of `Server.fetching`.

    Raises:
        MediaError: it cannot be fetched.
    """
    try:
        return fetched(url)[0]
    except NotPublic:  # which address it leads to is not for whoever asks
        raise MediaError(f"{url[:200]} leads to an address that is not on the internet") from None
    except MediaError as error:
        raise MediaError(f"{url[:200]}: {error}") from error
