"""What `mmsearch classify` found, as a table, as lines, as JSON, and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from mmsearch.classification import NONE
from mmsearch.cli.present import address_of, shown_place
from mmsearch.cli.sheet import Tile, sheet
from mmsearch.cli.terminal import safe_text
from mmsearch.jsonable import strict

if TYPE_CHECKING:
    from rich.table import Table

    from mmsearch.classification import Decided, Examples, Report, Things

_SHOWN = 24
"""Pictures of a label on a page: the surest ones."""
_WRONG = 120
"""Pictures of what went wrong."""
_CELLS = 40
"""Labels of a confusion matrix on a page; beyond, the most frequent ones."""


def labels_tsv(things: Things, decided: Sequence[Decided]) -> str:
    """One line an item: label (empty for none), confidence, uri; with tabs between."""
    lines = ((safe_text(one.label or ""), f"{one.confidence:.4f}", safe_text(row.item.uri))
             for row, one in zip(things.rows, decided, strict=True))
    return "".join("\t".join(line) + "\n" for line in lines)


def labels_json(things: Things, decided: Sequence[Decided]) -> list[dict[str, Any]]:
    return [strict({"id": row.id, "uri": row.item.uri, "path": address_of(row.item),
                    "label": one.label, "confidence": round(one.confidence, 4)})
            for row, one in zip(things.rows, decided, strict=True)]


def summary_table(things: Things, decided: Sequence[Decided]) -> Table:
    """For each label how many items have it, how sure that is, and the surest one."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("label", "left"), ("items", "right"), ("confidence", "right"),
                          ("surest", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for label, rows in by_label(decided):
        mean = sum(decided[n].confidence for n in rows) / len(rows)
        table.add_row(Text(safe_text(label)), f"{len(rows):,}", f"{mean:.2f}",
                      Text(shown_place(things.rows[rows[0]].item)))
    return table


def by_label(decided: Sequence[Decided]) -> list[tuple[str, list[int]]]:
    """The numbers of the items of each label, surest first; the most frequent label first, none of
    them last."""
    found: dict[str | None, list[int]] = {}
    for n, one in enumerate(decided):
        found.setdefault(one.label, []).append(n)
    order = sorted(found, key=lambda label: (label is None, -len(found[label])))
    return [(NONE if label is None else label,
             sorted(found[label], key=lambda n: -decided[n].confidence)) for label in order]


def labels_page(things: Things, decided: Sequence[Decided], title: str) -> str:
    """The surest pictures of each label."""
    sections = [(f"{label}: {len(rows):,}", [
        Tile(things.rows[n].item, str(rank), f"{decided[n].confidence:.2f}", "confidence",
             _said(things, n)) for rank, n in enumerate(rows[:_SHOWN], 1)])
        for label, rows in by_label(decided)]
    return sheet(title, f"{len(decided):,} items", sections)


def report_tables(report: Report) -> Iterator[Table]:
    """The figures of each label, and of all."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("label", overflow="fold")
    for name in ("precision", "recall", "F1", "items"):
        table.add_column(name, justify="right")
    for one in report.labels:
        table.add_row(Text(safe_text(one.label)), f"{one.precision:.2f}", f"{one.recall:.2f}",
                      f"{one.f1:.2f}", f"{one.support:,}")
    yield table
    whole = Table(box=None, pad_edge=False, show_header=False)
    for name, value in _figures(report):
        whole.add_row(name, value)
    yield whole


def report_page(report: Report, truth: Examples, decided: Sequence[Decided], title: str) -> str:
    """Figures, the confusion matrix, and the pictures that were labelled wrong, surest first."""
    wrong = sorted((n for n, one in enumerate(decided) if (one.label or NONE) != truth.labels[n]),
                   key=lambda n: -decided[n].confidence)
    tiles = [Tile(truth.things.rows[n].item, decided[n].label or NONE,
                  f"{decided[n].confidence:.2f}", "confidence", f"is {truth.labels[n]}")
             for n in wrong[:_WRONG]]
    top = [_table(["", ""], _figures(report)), _table(
        ["label", "precision", "recall", "F1", "items"],
        [(one.label, f"{one.precision:.2f}", f"{one.recall:.2f}", f"{one.f1:.2f}",
          f"{one.support:,}") for one in report.labels]), _confusion(report)]
    return sheet(title, f"{report.items:,} items, {100 * report.accuracy:.1f} % right",
                 [(f"Labelled wrong: {len(wrong):,}", tiles)] if wrong else [],
                 top=f'<div class="labels">{"".join(top)}</div>')


def _figures(report: Report) -> list[tuple[str, str]]:
    return [("accuracy", f"{report.accuracy:.3f}"), ("balanced accuracy", f"{report.balanced:.3f}"),
            ("macro F1", f"{report.macro_f1:.3f}"),
            ("calibration error", f"{report.error:.3f}"), ("items", f"{report.items:,}")]


def _confusion(report: Report) -> str:
    """Rows are what items are, columns what was found; the darker, the more of a row."""
    size = report.confusion.sum(1) + report.confusion.sum(0)
    shown = sorted(sorted(range(len(report.names)), key=lambda n: -size[n])[:_CELLS])
    names = [_html(report.names[n]) for n in shown]
    rows = []
    for n, name in zip(shown, names, strict=True):
        of_row = max(int(report.confusion[n].sum()), 1)
        cells = "".join(
            f'<td style="--share:{count / of_row:.2f}"{" class=right" if n == m else ""}>'
            f'{count or ""}</td>' for m in shown for count in [int(report.confusion[n, m])])
        rows.append(f"<tr><th scope=row>{name}</th>{cells}</tr>")
    heads = "".join(f"<th scope=col><span>{name}</span></th>" for name in names)
    return ('<figure class="matrix"><figcaption>What items are (rows), and what was found (columns)'
            f"</figcaption><table><thead><tr><td></td>{heads}</tr></thead><tbody>"
            f"{''.join(rows)}</tbody></table></figure>")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{_html(name)}</th>" for name in heads) if any(heads) else ""
    body = "".join("<tr>" + "".join(
        f"<th scope=row>{_html(cell)}</th>" if n == 0 else f"<td>{_html(cell)}</td>"
        for n, cell in enumerate(row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _said(things: Things, n: int) -> str:
    item = things.rows[n].item
    return "" if item.kind == "text" else item.text


def _html(text: str) -> str:
    return escape(safe_text(text))
