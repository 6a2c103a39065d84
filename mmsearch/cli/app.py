"""The command line: the commands and how their errors end. A command imports what it needs when
it runs."""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from mmsearch import __version__
from mmsearch.cli.terminal import safe_text, say
from mmsearch.errors import MmsearchError

# Threads of NumPy's OpenBLAS that are done spin for 25 ms, on a core that a search could use.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

_COMMANDS = {
    "index": "index", "watch": "watch", "query": "query", "similar": "similar", "teach": "teach",
    "serve": "serve", "dups": "dups", "eval": "evaluate", "info": "info", "delete": "delete",
    "verify": "verify", "compact": "compact", "export": "export", "reindex": "reindex",
    "train": "train", "demo": "demo", "mcp": "mcp", "models": "models"}
"""The module of each, with a function of the same name; in the order of the help."""


def _help(command: Callable[..., None]) -> str:
    """One line a paragraph, which the terminal folds."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.__doc__ or ""))


def app(*names: str) -> typer.Typer:
    """The command line with these commands, or with all: each takes some milliseconds to make."""
    made = typer.Typer(
        name="mmsearch", no_args_is_help=True, pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]}, callback=_options,
        help="Find images by words, images by images, and words by images. Everything runs on "
             "this machine, offline.")
    for name in names or _COMMANDS:
        module = import_module(f"mmsearch.cli.{_COMMANDS[name]}")
        command = getattr(module, _COMMANDS[name])
        if name != "models":
            made.command(name, help=_help(command))(command)
            continue
        models = typer.Typer(invoke_without_command=True)
        models.callback(help=_help(command))(command)
        models.command("get", help=_help(module.get))(module.get)
        made.add_typer(models, name=name)
    return made


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mmsearch {__version__}")
        raise typer.Exit


def _options(version: Annotated[bool, typer.Option(
        "--version", callback=_show_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; errors become one line on stderr and an exit code."""
    sys.exit(_run())


def _run() -> Any:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: `>&-`
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_: say(f"mmsearch: {message}")
    try:
        try:
            app(*(name for name in sys.argv[1:2] if name in _COMMANDS))()
        except SystemExit as stop:
            sys.stdout.flush()
            if stop.code == 130:  # Ctrl-C
                say("mmsearch: stopped; finished work is kept. Run the command again to "
                    "continue")
            return stop.code
    except MmsearchError as error:
        say(f"mmsearch: {safe_text(str(error))}")
        return error.exit_code
    except OSError as error:
        say(f"mmsearch: {safe_text(str(error.filename or 'the output'))}: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to print has nowhere to go
        return 1
    return 0
