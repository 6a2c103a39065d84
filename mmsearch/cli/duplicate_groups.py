"""Groups of the same picture, as `mmsearch dups` shows them: lines, a table, JSON, a web page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mmsearch.cli.present import address_of, shown_place, size_text
from mmsearch.cli.sheet import Tile, sheet
from mmsearch.cli.tables import Fitted
from mmsearch.cli.terminal import safe_text
from mmsearch.jsonable import strict

if TYPE_CHECKING:
    from mmsearch.search import Duplicates, Group, Member


def groups_tsv(groups: Sequence[Group]) -> str:
    """One line a picture: number of the group, what it is in it, score, width x height, bytes,
    uri; separated by tabs."""
    return "".join(
        "\t".join([str(number), _role(group, member), f"{member.score:.3f}", _pixels(member),
                   str(member.bytes), safe_text(member.item.uri)]) + "\n"
        for number, group in enumerate(groups, 1) for member in group.members)


def groups_table(groups: Sequence[Group]) -> Fitted:
    """The groups one below the other, the picture to keep first in each."""
    from rich.text import Text

    table = Fitted({"#": "right", "": "words", "agrees": "right", "pixels": "right",
                    "size": "right", "path": "path"})
    for number, group in enumerate(groups, 1):
        if number > 1:
            table.rows.append(())
        for place, member in enumerate(group.members):
            table.rows.append([
                Text("" if place else str(number)),
                Text(_role(group, member), "bold green" if place == 0 else ""),
                Text("" if place == 0 else f"{member.score:.3f}", "cyan"), Text(_pixels(member)),
                Text(size_text(member.bytes)), Text(shown_place(member.item))])
    return table


def groups_json(found: Duplicates) -> dict[str, Any]:
    """Everything that was found, as values that strict JSON in UTF-8 can hold."""
    return {
        "groups": [_group_json(group) for group in found.groups],
        "freed": sum(group.freed for group in found.groups),
        "unconfirmed": [{"path": strict(one.path), "reason": strict(one.reason)}
                        for one in found.unconfirmed],
        "pictures": found.pictures, "candidates": found.candidates, "confirmed": found.confirmed,
    }


def _group_json(group: Group) -> dict[str, Any]:
    near = {id(one) for one in group.near}
    return {"keep": strict(group.members[0].item.uri), "freed": group.freed, "members": [
        {"uri": strict(one.item.uri), "how": one.how or "keep", "score": round(one.score, 4),
         "width": one.item.meta.get("width"), "height": one.item.meta.get("height"),
         "bytes": one.bytes, "redundant": one.exact, "near": id(one) in near,
         "problem": one.problem}
        for one in group.members]}


def redundant_paths(groups: Sequence[Group], *, near: bool) -> Iterator[str]:
    """The files that need not be kept, exactly as they are named on disk."""
    for group in groups:
        for member in [*group.redundant, *(group.near if near else ())]:
            yield address_of(member.item)


def groups_sheet(found: Duplicates, *, title: str) -> str:
    """One HTML page, a section for each group; see `cli.sheet.sheet`."""
    sections = [(_heading(number, group), [
        Tile(one.item, "" if place else "keep", "" if place == 0 else f"{one.score:.3f}",
             "share of the detail that agrees with the one to keep, 0 to 1",
             " · ".join(filter(None, [_role(group, one) if place else "", _pixels(one),
                                      size_text(one.bytes)])))
        for place, one in enumerate(group.members)])
        for number, group in enumerate(found.groups, 1)]
    return sheet(title, summary(found), sections)


def summary(found: Duplicates) -> str:
    """What was found, in one line."""
    if not found.groups:
        return f"no duplicates among {_several(found.pictures, 'picture')}"
    redundant = sum(len(group.redundant) for group in found.groups)
    freed = size_text(sum(group.freed for group in found.groups))
    line = (f"{_several(len(found.groups), 'group')} among {_several(found.pictures, 'picture')}; "
            f"{_several(redundant, 'file')} could be deleted without loss, which frees {freed}")
    near = sum(len(group.near) for group in found.groups)
    return line + (f"; {_several(near, 'file')} more with --include-near" if near else "")


def _heading(number: int, group: Group) -> str:
    return (f"Group {number}: {_several(len(group.members), 'file')}, "
            f"{size_text(group.freed)} could be freed")


def _role(group: Group, member: Member) -> str:
    role = "keep" if member is group.members[0] else member.how
    return f"{role} ({member.problem})" if member.problem else role


def _pixels(member: Member) -> str:
    width, height = (member.item.meta.get(side) for side in ("width", "height"))
    return f"{width}x{height}" if width and height else ""


def _several(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"
