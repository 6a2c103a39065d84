"""The command line: parse, call one verb, show; one file for each command."""

from mmsearch.cli.app import main

__all__ = ["main"]
