"""The command line: the commands and how their errors end. A command imports what it needs when
it runs."""

from __future__ import annotations

import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mmsearch import __version__
from mmsearch.cli import (
    compact,
    delete,
    demo,
    dups,
    evaluate,
    export,
    index,
    info,
    models,
    query,
    reindex,
    serve,
    train,
    verify,
    watch,
)
from mmsearch.cli.terminal import safe_text, say
from mmsearch.errors import MmsearchError

app = typer.Typer(
    name="mmsearch", no_args_is_help=True, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find images by words, images by images, and words by images. Everything runs on this "
         "machine, offline.")

_COMMANDS: dict[str, Callable[..., None]] = {
    "index": index.index, "watch": watch.watch, "query": query.query,
    "serve": serve.serve, "dups": dups.dups,
    "eval": evaluate.evaluate, "info": info.info, "delete": delete.delete,
    "verify": verify.verify, "compact": compact.compact, "export": export.export,
    "reindex": reindex.reindex, "train": train.train, "demo": demo.demo}


def _help(command: Callable[..., None]) -> str:
    """One line a paragraph, which the terminal folds."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.__doc__ or ""))


for _name, _command in _COMMANDS.items():
    app.command(_name, help=_help(_command))(_command)
_models = typer.Typer(invoke_without_command=True)
_models.callback(help=_help(models.models))(models.models)
_models.command("get", help=_help(models.get))(models.get)
app.add_typer(_models, name="models")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mmsearch {__version__}")
        raise typer.Exit


@app.callback()
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
            app()
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
