"""The command that measures how well a model or a collection finds: eval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import (
    JsonOption,
    ModelOption,
    PrecisionOption,
    YesOption,
    part_option,
    with_precision,
)
from mmsearch.cli.terminal import console, print_json, progress, say, say_extras, say_skipped
from mmsearch.search import Query

if TYPE_CHECKING:
    from rich.table import Table

    from mmsearch.evaluation import Report


def evaluate(
    pairs: Annotated[Path, typer.Argument(
        metavar="PAIRS", help="Images and captions: .jsonl, .csv, .tsv, or Karpathy's .json.")],
    directory: Annotated[Path | None, typer.Option(
        "-i", "--index", help="Search this collection; without it, only PAIRS.",
    )] = None,
    split: Annotated[str | None, typer.Option(help="Only pairs of this split.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help=(
        "Take equal captions as one query, answered by all their pictures."))] = False,
    positives: Annotated[list[Path] | None, typer.Option(
        metavar="FILE", help="Several answers to each query, by their ids, as ECCV Caption has "
        "them. Repeatable.")] = None,
    k: Annotated[list[int] | None, typer.Option(
        "-k", help="The k of recall@k (default 1, 5 and 10). Repeatable.")] = None,
    model: ModelOption = None,
    yes: YesOption = False,
    precision: PrecisionOption = None,
    multilingual: Annotated[bool | None, part_option(
        "multilingual", "--multilingual/--no-multilingual")] = Query.multilingual,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the 95 % intervals.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Measure how well a model or a collection finds: recall@k, MRR, median rank and more.

    recall@k is how often the right picture is among the first k for its caption, and a right
    caption for its picture. Where a query has several answers, mAP@R and R-Precision count all.

    Example: mmsearch eval captions.jsonl --split test
    """
    from mmsearch.collection import Collection
    from mmsearch.encoders import load_encoder
    from mmsearch.evaluation import evaluate_collection, evaluate_model, load_pairs

    loaded = load_pairs(pairs, split=split)
    if len(mixed := dict.fromkeys(pair.split for pair in loaded if pair.split)) > 1:
        say(f"note: all splits are evaluated together ({', '.join(mixed)}); choose one with "
            "--split")
    cutoffs = tuple(k or (1, 5, 10))
    name = with_precision(model or "builtin", precision)
    if directory is None:
        load_encoder(name)  # which may ask: a bar would hide that
    with progress("encoding", lambda: sum(len(pair.captions) + (directory is None)
                                           for pair in loaded)) as advance:
        if directory is None:
            evaluation = evaluate_model(
                loaded, model=name, multilingual=multilingual, merge=merge,
                positives=positives or (), ks=cutoffs, seed=seed, progress=advance)
        else:
            evaluation = evaluate_collection(
                Collection.open(directory, model=model), loaded, multilingual=multilingual,
                merge=merge, positives=positives or (), ks=cutoffs, seed=seed, progress=advance)
    say_skipped(evaluation.skipped)
    say_extras(evaluation.skipped)
    if json_:
        print_json(evaluation.to_json())
        return
    console().print(report_table(evaluation.report))
    if evaluation.languages:
        console().print(languages_table(evaluation.languages))
    for name, value in (evaluation.ann or {}).items():
        print(f"approximate index against exact search: {name} {value:.3f}")


MEASURES = {"mrr": "MRR", "map@r": "mAP@R", "r_precision": "R-Precision", "map": "mAP"}
"""Names as the field writes them."""


def languages_table(reports: dict[str, Report]) -> Table:
    """Recall of each language, text to image, in per cent, one row a language."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("text to image")
    for k in next(iter(reports.values())).text_to_image.recall:
        table.add_column(f"recall@{k} %", justify="right")
    table.add_column("queries", justify="right")
    for name, report in reports.items():
        found = report.text_to_image
        table.add_row(name, *(f"{100 * share:.1f}" for share in found.recall.values()),
                      f"{found.queries:,}")
    return table


def report_table(report: Report) -> Table:
    """An evaluation, one column a direction; recall in per cent with its 95 % interval."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    directions = (report.text_to_image, report.image_to_text)
    for name in ("text to image", "image to text"):
        table.add_column(name, justify="right")
    for k in directions[0].recall:
        shares = [(way.recall[k], *way.intervals[k]) for way in directions]
        cells = (f"{100 * r:.1f}  [{100 * low:.1f}, {100 * high:.1f}]" for r, low, high in shares)
        table.add_row(f"recall@{k} %", *cells)
    table.add_row("median rank", *(f"{way.median_rank:,}" for way in directions))
    for name in directions[0].measures:
        if name != "mrr" and not any(way.several for way in directions):
            continue  # with one answer they say what MRR and recall@1 do
        table.add_row(MEASURES.get(name, name.replace("ndcg", "nDCG")), *(
            f"{way.measures[name]:.3f}" if way.several or name == "mrr" else ""
            for way in directions))
    table.add_row("queries", *(f"{way.queries:,}" for way in directions))
    table.add_row("gallery", *(f"{way.gallery:,}" for way in directions))
    return table
