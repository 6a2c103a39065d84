"""`mmsearch serve`: search over HTTP, with a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import (
    DEFAULT_INDEX,
    FetchPrivateOption,
    ModelOption,
    directory_given,
    path_given,
)
from mmsearch.cli.terminal import say
from mmsearch.errors import UsageError


def serve(
    paths: Annotated[list[Path] | None, typer.Argument(
        metavar="[PATH]...", parser=path_given,
        help="Folders and files to index first, or bring up to date, while they are served.")]
    = None,
    directories: Annotated[list[Path] | None, typer.Option(
        "-i", "--index", envvar="MMSEARCH_INDEX", metavar="DIR", parser=directory_given,
        help=f"The collection's directory. Repeatable. [default: {DEFAULT_INDEX}]")] = None,
    watch: Annotated[bool, typer.Option(
        "--watch", help="Keep the index in step with PATH.")] = False,
    open_: Annotated[bool, typer.Option(
        "--open", help="Open the page in a browser.")] = False,
    writable: Annotated[Path | None, typer.Option(
        metavar="FOLDER", help="Let programs add files, which are saved in this folder, and remove "
                               "items.")] = None,
    fetch: Annotated[bool, typer.Option(
        "--fetch", help="Let searches name pictures by their web address, and download them; also "
                        "those of manifests in PATH.")] = False,
    fetch_private: FetchPrivateOption = False,
    host: Annotated[str, typer.Option(
        metavar="ADDRESS", help="Where to listen; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(
        min=0, max=65535, help="The port; 0 takes a free one.")] = 8080,
    token: Annotated[str | None, typer.Option(
        envvar="MMSEARCH_TOKEN", metavar="TOKEN",
        help="What programs send and people log in with. Others on this machine can see it: "
             "prefer --token-file.")] = None,
    token_file: Annotated[Path | None, typer.Option(
        metavar="FILE", help="A file that holds the token.")] = None,
    no_auth: Annotated[bool, typer.Option(
        "--no-auth", help="Let everybody in who can connect, also from other machines.")] = False,
    name: Annotated[list[str] | None, typer.Option(
        metavar="NAME", help="A name by which others reach this server, such as "
                             "photos.example.org. Repeatable.")] = None,
    queue: Annotated[int, typer.Option(
        min=1, metavar="N", help="How many requests may be under way or wait; more are told at "
                                 "once to try again.")] = 256,
    workers: Annotated[int, typer.Option(
        min=1, metavar="N", help="Processes that answer searches.")] = 1,
    log_queries: Annotated[bool, typer.Option(
        "--log-queries", help="Write what is searched for to the log.")] = False,
    model: ModelOption = None,
) -> None:
    """Search over HTTP: a page for people, an API for programs.

    Only this machine can connect, unless --host says otherwise. Needs the extra `serve`.

    Example: mmsearch serve ~/Pictures --open

    Example: mmsearch serve -i indexes/default --host 0.0.0.0 --token-file token.txt
    """
    from mmsearch.server import Settings, serve as run

    missing = [path for path in paths or () if not path.exists()]
    if missing:
        raise UsageError(f"no such file or folder: {missing[0]}")
    settings = Settings(
        indexes=tuple(directories or [DEFAULT_INDEX]), model=model, host=host, port=port,
        token=_token(token, token_file), no_auth=no_auth, names=tuple(name or ()),
        log_queries=log_queries, paths=tuple(paths or ()), watch=watch, writable=writable,
        fetch=fetch or fetch_private, fetch_private=fetch_private, waiting=queue, workers=workers)

    def started(address: str) -> None:
        say(f"serving on {address}")
        if open_:
            import webbrowser

            webbrowser.open(address)

    run(settings, started=started)


def _token(token: str | None, file: Path | None) -> str | None:
    """Raises UsageError: two tokens, an empty one, or a file that cannot be read."""
    if file is None:
        if token is not None and not token.strip():
            raise UsageError("the token is empty (an unset variable?)")
        return token
    if token is not None:
        raise UsageError("give either --token (MMSEARCH_TOKEN) or --token-file")
    try:
        found = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', error)}") from None
    if not found:
        raise UsageError(f"{file} is empty; write a token into it: openssl rand -hex 16 > {file}")
    if os.name == "posix" and file.stat().st_mode & 0o007:
        say(f"note: every user of this machine can read {file}; run: chmod 600 {file}")
    return found
