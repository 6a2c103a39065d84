"""The command line: parse, call one verb, show. A file a command."""

from mmsearch.cli.app import main

__all__ = ["main"]
