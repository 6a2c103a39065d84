"""The hub: which files its client has fetched to this machine, and fetching some with it; and where
what is made of them is kept."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmsearch.errors import MissingExtra, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = Path(__file__).with_name("known.csv")
_LONGEST_WAIT = 60
"""Seconds that the hub may ask us to wait."""
_before: Callable[[str], bool] | None = None


class Repository(NamedTuple):
    """What the hub has at one commit: its files and their sizes."""

    name: str
    commit: str
    files: dict[str, int]


class Unreachable(ModelError):
    """There is no network, or none is to be used."""


def before_download(agree: Callable[[str], bool] | None) -> None:
    """Have `agree` called with what is about to be downloaded, and how much; unless it returns
    True, nothing is. By default nobody is asked."""
    global _before
    _before = agree


def look_up(name: str, revision: str = "main") -> Repository | None:
    """A repository as it is on the hub now; None if the hub has none of this name, or shows it to
    others only.

    Raises:
        Unreachable, ModelError: the hub cannot be asked, or gives no answer.
        MissingExtra: its client is not installed.
    """
    with _client(name) as client:
        for last in (False, True):
            try:
                info = client.HfApi().model_info(name, revision=revision, files_metadata=True,
                                                 timeout=20)
                return Repository(name, info.sha,
                                  {one.rfilename: one.size or 0 for one in info.siblings})
            except client.errors.HFValidationError:
                return None
            except client.errors.HfHubHTTPError as error:
                status = error.response.status_code
                if status == 404 or (status == 401 and "nvalid credentials" not in str(error)):
                    return None
                if last or status != 429:
                    raise
                wait = error.response.headers.get("Retry-After", "")
                time.sleep(min(float(wait) if wait.isdigit() else 5, _LONGEST_WAIT))
    return None


def fetch(repository: Repository, files: Iterable[str]) -> Path:
    """Fetch these files, in this order, and go on where an earlier try broke off; -> the folder
    that they are in.

    Raises:
        Unreachable, ModelError: they do not come, or are not wanted.
    """
    name, commit, sizes = repository
    here = cached(name, commit)
    missing = [file for file in files if here is None or not (here[1] / file).is_file()]
    size = sum(sizes[file] for file in missing)
    if size and _before and not _before(f"{name} from {_host()}, {megabytes(size)}"):
        raise ModelError(f"{name} is not downloaded; nothing was done")
    with _client(name) as client:
        for file in missing:
            client.hf_hub_download(name, file, revision=commit)
    return _snapshots(name) / commit


def cached(name: str, revision: str = "") -> tuple[str, Path] | None:
    """The commit of a repository and the folder with what the client has fetched of it.

    revision: a commit; by default what was `main` when it was last fetched.
    """
    if not revision:
        try:
            revision = (_snapshots(name).parent / "refs" / "main").read_text("utf-8").strip()
        except OSError:  # the client notes no commit that it was given, as `fetch` does
            commits = sorted(_snapshots(name).glob("*"), key=lambda one: one.stat().st_mtime)
            if not commits:
                return None
            revision = commits[-1].name
    folder = _snapshots(name) / revision
    return (revision, folder) if folder.is_dir() else None


def has_weights(hub: str) -> bool:
    """hub: the name of a repository."""
    return any(file.is_file() for ending in ("safetensors", "bin", "pt")
               for file in _snapshots(hub).glob(f"*/*.{ending}"))


def model_of(hub: str) -> str | None:
    """The open_clip model whose weights are in this repository, as far as that is known."""
    return next((model for model, name in _hubs().items() if name == hub), None)


def in_words(model: str) -> str:
    """An open_clip model, with what one should know before installing gigabytes that run it."""
    hub = model.removeprefix("hf-hub:") if model.startswith("hf-hub:") else _hubs().get(model)
    return f"the model {model!r}, whose weights are not on this machine yet (they are downloaded " \
        "when it is first used)," if hub and not has_weights(hub) else f"the model {model!r}"


def megabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def do_not_wait_for_no_network() -> None:
    """Without a network the hub's client retries for a minute; told so, it looks in its cache."""
    import socket

    try:
        socket.getaddrinfo(_host().split(":")[0], None)
    except OSError:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def kept_in() -> Path:
    """The directory in which the client keeps what it fetches."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def cache_directory() -> Path:
    """Where exports are kept: MMSEARCH_CACHE, or the user's cache directory."""
    if given := os.environ.get("MMSEARCH_CACHE"):
        return Path(given)
    from platformdirs import user_cache_path

    return user_cache_path("mmsearch", appauthor=False)


def _snapshots(name: str) -> Path:
    return kept_in() / f"models--{name.replace('/', '--')}" / "snapshots"


def _host() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").split("//")[-1].split("/")[0]


@cache
def _hubs() -> dict[str, str]:
    import csv

    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["model"]: row["hub"] for row in csv.DictReader(file)}


@contextmanager
def _client(name: str) -> Iterator[Any]:
    """The hub's client; its errors, which share no base class, become ours."""
    do_not_wait_for_no_network()
    try:
        import huggingface_hub
        from huggingface_hub import errors
        from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
    except ImportError as error:
        raise MissingExtra(f"fetching {name}", "hub") from error
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        yield huggingface_hub
    except errors.HfHubHTTPError as error:
        raise ModelError(f"{_host()} does not give out {name}: {_first_line(error)}") from error
    except errors.OfflineModeIsEnabled as error:
        raise Unreachable(f"{_host()} cannot be reached, or HF_HUB_OFFLINE is set") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, say
            raise ModelError(f"{name} cannot be fetched: {_first_line(error)}") from error
        raise Unreachable(f"{_host()} cannot be reached ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
