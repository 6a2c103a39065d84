"""The command that checks every byte: verify."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import DEFAULT_INDEX, IndexOption, JsonOption
from mmsearch.cli.terminal import print_json, progress, safe_text, say

if TYPE_CHECKING:
    from mmsearch.records import Problem

_PROBLEMS = 100


def verify(
    directory: IndexOption = DEFAULT_INDEX,
    repair: Annotated[bool, typer.Option(
        "--repair", help="Repair what can be repaired; say what is lost.")] = False,
    json_: JsonOption = False,
) -> None:
    """Check a collection for damage. The exit code is 0 if there is none, else 1.

    Example: mmsearch verify --repair -i indexes/default
    """
    if repair:
        from mmsearch.collection import repair_collection

        with progress("repairing", lambda: None) as advance:
            problems = repair_collection(directory, tick=advance)
    else:
        from mmsearch.storage import find_problems

        problems = find_problems(directory)
    sound = all(problem.fixed for problem in problems)
    if json_:
        print_json({"sound": sound, "problems": [problem._asdict() for problem in problems]})
    else:
        print("\n".join([*problem_lines(problems), *([f"{directory} is sound"] if sound else [])]))
        if not sound and not repair:
            say(f"repair what can be repaired with `mmsearch verify --repair -i {directory}`")
    if not sound:
        raise typer.Exit(1)


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """What `verify` found, a line each; of very many, the first."""
    lines = [("fixed: " if problem.fixed else "") + safe_text(str(problem))
             for problem in problems[:_PROBLEMS]]
    more = len(problems) - _PROBLEMS
    return [*lines, f"and {more} more (--json has them all)"] if more > 0 else lines
