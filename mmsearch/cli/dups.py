"""The command that finds the same picture several times: dups."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mmsearch.cli.options import (
    DEFAULT_INDEX,
    IndexOption,
    JsonOption,
    Print0Option,
    WhereOption,
    one_form,
)
from mmsearch.cli.terminal import (
    console,
    print_json,
    print_paths,
    progress,
    safe_text,
    say,
    say_extras,
    say_skipped,
)

_LISTED = 100


def dups(
    exact: Annotated[bool, typer.Option(
        "--exact", help="Only files with identical content; opens no picture.")] = False,
    threshold: Annotated[float, typer.Option(
        metavar="SHARE", help="How much of the detail must be the same, 0 to 1.")] = 0.8,
    where: WhereOption = None,
    top: Annotated[int | None, typer.Option(
        "-k", "--top", help="Show only the N largest groups.", show_default="all")] = None,
    directory: IndexOption = DEFAULT_INDEX,
    json_: JsonOption = False,
    filepath_only: Annotated[bool, typer.Option(
        "--filepath-only", help="Print only paths, one a line, for pipes: copies with the same "
        "bytes or the same pixels, which you can delete without loss.")] = False,
    include_near: Annotated[bool, typer.Option(
        "--include-near", help="With --filepath-only, also print changed versions of the same "
        "picture, but never what is only similar.")] = False,
    print0: Print0Option = False,
    html: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Write a contact sheet of the groups.")] = None,
) -> None:
    """Find duplicate pictures: copies, and versions that are resized, recompressed, brightened,
    watermarked, mirrored or slightly cropped, and some that are rotated.

    The first of each group is the one to keep: most pixels, then most bytes, then oldest. You can
    delete "copy" and "same pixels" without loss. "same" is a changed version. In "similar"
    something differs (a watermark, or another name in a form), so look yourself. mmsearch deletes
    no file. Two photos of the same thing are not duplicates.

    Example: mmsearch dups --html duplicates.html

    Example: mmsearch dups --exact --filepath-only
    """
    from mmsearch.cli import duplicate_groups
    from mmsearch.collection import Collection
    from mmsearch.errors import UsageError

    one_form(json_, filepath_only or print0)
    if include_near and not (filepath_only or print0):
        raise UsageError("--include-near goes with --filepath-only")
    collection = Collection.open(directory)
    total = collection.count(where=where or ())
    if not total:
        collection.check_fields(where or ())
    with progress("comparing", lambda: total) as advance:
        found = collection.duplicates(exact=exact, threshold=threshold, where=where or (), k=top,
                                      progress=advance)
    say_skipped(found.unconfirmed[:_LISTED])
    if (more := len(found.unconfirmed) - _LISTED) > 0:
        say(f"skipped {more} more")
    if html:
        page = duplicate_groups.groups_sheet(found, title=f"Duplicates in {directory}")
        html.write_text(page, "utf-8")
        say(f"wrote {html}")
    if json_:
        print_json(duplicate_groups.groups_json(found))
    elif filepath_only or print0:
        redundant = list(duplicate_groups.redundant_paths(found.groups, near=include_near))
        _print_redundant(redundant, print0)
    elif sys.stdout.isatty():
        if found.groups:
            console().print(duplicate_groups.groups_table(found.groups))
    else:
        print(duplicate_groups.groups_tsv(found.groups), end="")
    say(duplicate_groups.summary(found))
    say_extras(found.unconfirmed)


def _print_redundant(paths: list[str], print0: bool) -> None:
    """One a line without names that hold a line end: the next program, which may delete, would
    read another file's name in them."""
    torn = [] if print0 else [path for path in paths if "\n" in path]
    for path in torn:
        say(f"left out, since its name has a line break (take --print0): {safe_text(path)}")
    print_paths((path for path in paths if path not in torn), print0=print0)
