"""Tables that fit the terminal: paths fold at their slashes, and no name is broken without need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

Kind: TypeAlias = Literal["left", "right", "words", "path"]
"""Of a column: as wide as it has to be, to the left or to the right; wraps between words; folds at
slashes."""
_GAP = 2
_WORDS = 16
"""A column of words is not made narrower in favour of whole names."""


@dataclass
class Fitted:
    """A table with one column of paths. Rows are of `Text`, not str: in a str Rich would read
    [red] as markup."""

    columns: dict[str, Kind]
    rows: list[Sequence[Text]] = field(default_factory=list)
    headed: bool = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="bold", show_header=self.headed)
        widths = self._widths(options.max_width)
        for (name, kind), width in zip(self.columns.items(), widths, strict=True):
            fixed = kind in ("left", "right")
            table.add_column(name, justify="right" if kind == "right" else "left", overflow="fold",
                             width=width, no_wrap=fixed)
        for row in self.rows:
            table.add_row(*(Text(folded(cell.plain, width), cell.style) if kind == "path" else cell
                            for cell, kind, width in zip(row, self.columns.values(), widths,
                                                         strict=False)))
        yield table

    def _widths(self, whole: int) -> list[int]:
        from rich.cells import cell_len

        cells = [[name * self.headed, *(row[at].plain for row in self.rows if row)]
                 for at, name in enumerate(self.columns)]
        widths = [max(map(cell_len, column)) for column in cells]
        kinds = list(self.columns.values())
        words = [at for at, kind in enumerate(kinds) if kind == "words"]
        path = kinds.index("path")
        others = sum(width for width, kind in zip(widths, kinds, strict=True)
                     if kind in ("left", "right"))
        room = whole - _GAP * (len(widths) - 1) - others
        spare = room - sum(widths[at] for at in words)
        least = sum(min(widths[at], _WORDS) for at in words)
        name = max(cell_len(piece) for one in cells[path] for piece in pieces(one) or [""])
        fair = max(name, room // (1 + len(words)))
        widths[path] = max(min(widths[path], max(spare, min(fair, room - least))), 1)
        room -= widths[path]
        for left, at in enumerate(sorted(words, key=widths.__getitem__)):
            widths[at] = max(min(widths[at], room // (len(words) - left)), 1)
            room -= widths[at]
        return widths


def folded(path: str, width: int) -> str:
    """A path over several lines of at most `width`, as long as no name is longer than that."""
    from rich.cells import cell_len

    lines = [""]
    for piece in pieces(path):
        if lines[-1] and cell_len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def pieces(path: str) -> list[str]:
    """What a path can be folded between: folders, the name, the place in the file."""
    return [match[0] for match in re.finditer(r"[^/#]*/+|[^/#]+|#[^/#]*", path)]
