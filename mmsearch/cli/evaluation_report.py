"""The page that eval --html writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.cli.charts import Axis, Line, chart, ticks
from mmsearch.cli.evaluation_tables import measure_name, shown_measures, shown_median
from mmsearch.cli.sheet import Tile, sheet
from mmsearch.cli.terminal import safe_text

if TYPE_CHECKING:
    from mmsearch.evaluation import Diagnosis, Difference, Direction, Evaluation, Failure

_PER_CENT = Axis("%", 0, 100, (0, 20, 40, 60, 80, 100))
_MOVED = 6
_WAYS = {"text_to_image": "text to image", "image_to_text": "image to text"}


def report(title: str, names: Sequence[str], evaluations: Sequence[Evaluation],
           differences: Sequence[Mapping[str, Mapping[str, Difference]]]) -> str:
    """One HTML page; the diagnosis is of the first system."""
    first = evaluations[0]
    way = first.report.text_to_image
    summary = f"{way.queries:,} captions, {way.gallery:,} pictures, model {first.encoder}"
    top = ['<div class="report">']
    for name in first.report.directions:
        top.append(_table(name, names, evaluations, differences))
    top.append('<div class="charts">')
    top += [_recall(name, names, evaluations) for name in first.report.directions]
    sections: list[tuple[str, Sequence[Tile]]] = []
    if first.diagnosis is not None:
        top += _charts(first.diagnosis)
        sections = [(_heading(name, failure), _tiles(name, failure))
                    for name, failures in first.diagnosis.failures.items() for failure in failures]
        sections += _moved(names, evaluations, first.diagnosis)
    top.append("</div>")
    if sections:
        top.append("<h2>The worst queries</h2><p>What was expected, its rank, and what came first "
                   "instead. It may fit as well: only what the pairs name counts as right.</p>")
    top.append("</div>")
    return sheet(title, summary, sections, top="\n".join(top))


def _table(name: str, names: Sequence[str], evaluations: Sequence[Evaluation],
           differences: Sequence[Mapping[str, Mapping[str, Difference]]]) -> str:
    ways = [one.report.directions.get(name) for one in evaluations]
    measured = [way for way in ways if way is not None]
    ks, measures = list(measured[0].recall), shown_measures(measured)
    head = "".join(f"<th scope=col>{escape(one)}</th>" for one in [
        *(f"recall@{k}, %" for k in ks), *map(measure_name, measures), "median rank"])
    rows = []
    for n, (label, way) in enumerate(zip(names, ways, strict=True)):
        if way is None:
            continue
        cells = [f"{100 * way.recall[k]:.1f}<small>{100 * way.intervals[k][0]:.1f} to "
                 f"{100 * way.intervals[k][1]:.1f}</small>" for k in ks]
        cells += [f"{way.measures[one]:.3f}" for one in measures] + [escape(shown_median(way))]
        rows.append(_row(safe_text(label), cells))
        if n:
            rows.append(_row("difference", _differences(differences[n - 1][name], ks, measures)))
    return (f'<h2>{_WAYS[name].capitalize()}</h2><div class="wide"><table><thead><tr><td></td>'
            f'{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>')


def _row(label: str, cells: Sequence[str]) -> str:
    return (f"<tr><th scope=row>{escape(label)}</th>"
            f'{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>')


def _differences(found: Mapping[str, Difference], ks: Sequence[int], measures: Sequence[str]
                 ) -> list[str]:
    cells = []
    for name, scale, digits in [*((f"recall@{k}", 100, 1) for k in ks),
                                *((one, 1, 3) for one in measures)]:
        one = found[name]
        p = "p &lt; 0.001" if one.p < 0.001 else f"p {one.p:.3f}"
        cells.append(f"{scale * one.difference:+.{digits}f}<small>{scale * one.ci95[0]:+.{digits}f}"
                     f" to {scale * one.ci95[1]:+.{digits}f}<br>{p}</small>")
    return cells


def _recall(name: str, names: Sequence[str], evaluations: Sequence[Evaluation]) -> str:
    lines, most = [], 2
    for label, one in zip(names, evaluations, strict=True):
        if (way := one.report.directions.get(name)) is not None:
            lines.append(Line(safe_text(label), _curve(way)))
            most = max(most, int(lines[-1].points[-1][0]))
    x = Axis("k", 1, most, [k for k in (1, 10, 100, 1000, 10_000, 100_000, 1_000_000) if k <= most],
             log=True)
    return chart(f"Recall@k, {_WAYS[name]}", x, _PER_CENT, lines)


def _curve(way: Direction) -> list[tuple[float, float]]:
    """Recall at some fifty k from 1 to the size of the gallery."""
    ks = np.unique(np.geomspace(1, max(way.gallery, 2), 50).astype(int))
    best = np.sort(way.ranks.best)
    return [(int(k), 100 * float(np.searchsorted(best, k)) / way.queries) for k in ks]


def _charts(diagnosis: Diagnosis) -> list[str]:
    edges = diagnosis.edges
    middles = (edges[1:] + edges[:-1]) / 2
    highest = max(diagnosis.matches.max(), diagnosis.others.max())
    x = Axis("cosine of a caption and a picture", edges[0], edges[-1], ticks(edges[0], edges[-1]))
    found = [chart("Scores", x, Axis("density", 0, highest, ()), [
        Line("the right picture", list(zip(middles, diagnosis.matches, strict=True)), filled=True),
        Line("another picture", list(zip(middles, diagnosis.others, strict=True)), filled=True)],
        note="The less they overlap, the better.")]
    if diagnosis.calibration is not None:
        of = diagnosis.calibration
        found.append(chart("Relevance", Axis("relevance of the first picture, %", 0, 100,
                                             _PER_CENT.ticks), Axis("right, %", 0, 100,
                                                                    _PER_CENT.ticks), [
            Line("", [(0, 0), (100, 100)], quiet=True),
            Line("right", [(100 * one, 100 * other) for one, other
                           in zip(of.relevance, of.right, strict=True)], dots=True)],
            note=f"On the dashed line, relevance is the share that is right (ECE {of.ece:.3f}). "
                 "A picture that fits but is not the caption's own counts as wrong."))
    facts = [("modality gap", f"{diagnosis.gap:.3f}"),
             *((name, f"{value:.1f} ms") for name, value in diagnosis.latency.items())]
    rows = "".join(_row(name, [value]) for name, value in facts)
    found.append("<figure><figcaption>Space and time</figcaption><table>" + rows + "</table><p>The "
                 "modality gap is how far the centre of all pictures is from that of all captions; "
                 "times are medians of one at a time.</p></figure>")
    return found


def _moved(names: Sequence[str], evaluations: Sequence[Evaluation], diagnosis: Diagnosis
           ) -> list[tuple[str, Sequence[Tile]]]:
    """The captions that another system answers much worse, and much better, than the first."""
    from mmsearch.evaluation import moved

    measured, first = diagnosis.measured, evaluations[0].report.text_to_image
    sections: list[tuple[str, Sequence[Tile]]] = []
    for name, other in zip(names[1:], evaluations[1:], strict=True):
        for word, found in zip(("worse", "better"),
                               moved(first, other.report.text_to_image, _MOVED), strict=True):
            pictures = [measured.rows[measured.captions.truth.images_of[one.query][0]]
                        for one in found]
            tiles = [Tile(measured.items[picture], "", f"{one.before:,} → {one.after:,}",
                          f"rank with {names[0]}, and with {name}",
                          note=measured.captions.texts[one.query])
                     for one, picture in zip(found, pictures, strict=True)]
            if tiles:
                sections.append((f"Answered {word} with {name}", tiles))
    return sections


def _heading(name: str, failure: Failure) -> str:
    return failure.query.text if name == "text_to_image" else "Captions of a picture"


def _tiles(name: str, failure: Failure) -> list[Tile]:
    hint = "cosine similarity, -1 to 1"
    query = [] if name == "text_to_image" else [Tile(failure.query, "asked", "", "")]
    return [*query, Tile(failure.expected, f"{failure.rank:,}.", f"{failure.score:.3f}", hint,
                         note="expected"),
            *(Tile(item, f"{n}.", f"{score:.3f}", hint)
              for n, (item, score) in enumerate(failure.instead, 1))]
