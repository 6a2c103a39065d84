"""Agents on this machine, over standard input and output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmsearch.collection import Reader
from mmsearch.errors import MissingExtra
from mmsearch.server.served import Served, free_name


def serve_agent(indexes: Sequence[Path], model: str | None = None) -> None:
    """Answer one agent, until it closes standard input.

    Raises:
        MissingExtra: without the extra `mcp`.
        CollectionNotFound: there is none in one of the directories.
    """
    try:
        import mcp  # noqa: F401
    except ImportError:
        raise MissingExtra("answering agents", "mcp") from None
    from mmsearch.server.tools import make_tools

    collections: dict[str, Served] = {}
    for path in indexes:
        name = free_name(path, collections)
        collections[name] = Served(name, Reader.open(path, model=model), pixels=0)
    make_tools(collections, files=True).run("stdio")
