"""`mmsearch mcp`: collections for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import DEFAULT_INDEX, ModelOption, directory_given


def mcp(
    directories: Annotated[list[Path] | None, typer.Option(
        "-i", "--index", envvar="MMSEARCH_INDEX", metavar="DIR", parser=directory_given,
        help=f"The collection's directory. Repeatable. [default: {DEFAULT_INDEX}]")] = None,
    model: ModelOption = None,
) -> None:
    """Let an agent search, by the Model Context Protocol over standard input and output.

    The agent's program starts it, see docs/mcp.md. It only reads. Needs the extra `mcp`.

    Example: mmsearch mcp -i ~/indexes/photos
    """
    from mmsearch.server import serve_agent

    serve_agent(directories or [DEFAULT_INDEX], model)
