"""What eval prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from mmsearch.cli.terminal import safe_text

if TYPE_CHECKING:
    from mmsearch.evaluation import Difference, Direction, Report

_NAMES = {"mrr": "MRR", "map@r": "mAP@R", "r_precision": "R-Precision", "map": "mAP"}
"""As the field writes them."""


def measure_name(measure: str) -> str:
    return _NAMES.get(measure, measure.replace("ndcg", "nDCG"))


def shown_measures(ways: Sequence[Direction]) -> list[str]:
    """Those besides recall that say something: with one answer to each query, all but MRR do what
    MRR and recall@1 do."""
    return [name for name in ways[0].measures
            if name == "mrr" or any(way.several for way in ways)]


def shown_median(way: Direction) -> str:
    """The median rank; of a search of which only the first results are known, that it is beyond."""
    beyond = way.depth is not None and way.median_rank > way.depth
    return f"> {way.depth:,}" if beyond else f"{way.median_rank:,}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for n, name in enumerate(columns):
        table.add_column(name, justify="right" if n else "left", overflow="fold")
    return table


def languages_table(reports: dict[str, Report]) -> Table:
    """Recall of each language, text to image, in per cent, one row a language."""
    ks = next(iter(reports.values())).text_to_image.recall
    table = _table("text to image", *(f"recall@{k} %" for k in ks), "queries")
    for name, report in reports.items():
        found = report.text_to_image
        table.add_row(name, *(f"{100 * share:.1f}" for share in found.recall.values()),
                      f"{found.queries:,}")
    return table


def report_table(report: Report) -> Table:
    """An evaluation, one column a direction; recall in per cent with its 95 % interval."""
    table = _table("", *(name.replace("_", " ") for name in report.directions))
    ways = list(report.directions.values())
    for k in ways[0].recall:
        shares = [(way.recall[k], *way.intervals[k]) for way in ways]
        cells = (f"{100 * r:.1f}  [{100 * low:.1f}, {100 * high:.1f}]" for r, low, high in shares)
        table.add_row(f"recall@{k} %", *cells)
    table.add_row("median rank", *map(shown_median, ways))
    for name in shown_measures(ways):
        table.add_row(measure_name(name), *(
            f"{way.measures[name]:.3f}" if way.several or name == "mrr" else "" for way in ways))
    table.add_row("queries", *(f"{way.queries:,}" for way in ways))
    table.add_row("gallery", *(f"{way.gallery:,}" for way in ways))
    return table


def comparison_table(way: str, names: Sequence[str], reports: Sequence[Report],
                     differences: Sequence[Mapping[str, Mapping[str, Difference]]]) -> Table:
    """One direction of several systems, and what each but the first differs by from the first:
    the difference, its 95 % interval, and p."""
    measured = [report.directions[way] for report in reports if way in report.directions]
    measures = shown_measures(measured)
    ks = list(measured[0].recall)
    table = _table(way.replace("_", " "), *(f"recall@{k} %" for k in ks),
                   *map(measure_name, measures), "median rank")
    for n, (name, report) in enumerate(zip(names, reports, strict=True)):
        if (found := report.directions.get(way)) is None:
            continue
        table.add_row(safe_text(name), *(f"{100 * found.recall[k]:.1f}" for k in ks),
                      *(f"{found.measures[one]:.3f}" for one in measures),
                      shown_median(found))
        if n:
            _add_differences(table, differences[n - 1][way], ks, measures)
    return table


def _add_differences(table: Table, found: Mapping[str, Difference], ks: Sequence[int],
                     measures: Sequence[str]) -> None:
    rows = [(found[f"recall@{k}"], 100, 1) for k in ks] + [(found[name], 1, 3) for name in measures]
    table.add_row("  difference", *(f"{scale * one.difference:+.{digits}f}"
                                    for one, scale, digits in rows), style="dim")
    for n, end in enumerate(("from", "to")):
        table.add_row(f"  95 % {end}", *(f"{scale * one.ci95[n]:+.{digits}f}"
                                         for one, scale, digits in rows), style="dim")
    table.add_row("  p", *("< 0.001" if one.p < 0.001 else f"{one.p:.3f}" for one, _, _ in rows),
                  style="dim")
