"""How a training run went, as one HTML page with charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmsearch.cli.charts import Axis, Line, chart, ticks
from mmsearch.cli.sheet import sheet


def report(name: str, log: Sequence[Mapping[str, Any]], best: int) -> str:
    """log: the lines of log.jsonl; best: the epoch that was kept."""
    last = log[-1]["epoch"]
    epochs = Axis("epoch", 0, max(last, 1), sorted({round(t) for t in ticks(0, max(last, 1))}))
    recalls = [Line(f"R@{k} {words}", [(line["epoch"], 100 * line[way][at]) for line in log])
               for at, k in ((0, 1), (2, 10))
               for way, words in (("text_to_image", "text to image"),
                                  ("image_to_text", "image to text"))]
    losses = [(line["epoch"], line["loss"]) for line in log if line["loss"] is not None]
    gaps = [(line["epoch"], line["modality_gap"]) for line in log]
    charts = [chart("Recall on validation", epochs, _axis("%", recalls), recalls,
                    note=f"Of {log[0]['gallery']} pictures. Epoch 0 is the start.")]
    for title, points in (("Loss", losses), ("Modality gap", gaps)):
        lines = [Line(title, points, dots=True)]
        charts.append(chart(title, epochs, _axis("", lines), lines))
    summary = f"{last} epochs in {sum(line['seconds'] for line in log):.0f} s, best after {best}"
    return sheet(f"Training of {name}", summary, [],
                 top='<div class="report"><div class="charts">' + "".join(charts) + "</div></div>")


def _axis(label: str, lines: Sequence[Line]) -> Axis:
    values = [value for line in lines for _, value in line.points] or [0.0]
    low, high = min(values), max(values)
    return Axis(label, low, high, ticks(low, high))
