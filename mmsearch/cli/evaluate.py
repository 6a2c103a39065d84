"""The command that measures how well a model or a collection finds: eval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

from mmsearch.cli.options import (
    JsonOption,
    ModelOption,
    PrecisionOption,
    YesOption,
    part_option,
    with_precision,
)
from mmsearch.cli.terminal import (
    check_folder,
    console,
    print_json,
    progress,
    say,
    say_extras,
    say_skipped,
)
from mmsearch.errors import UsageError
from mmsearch.search import Query

if TYPE_CHECKING:
    from mmsearch.evaluation import Difference, Evaluation, How, Pair

    ByWay: TypeAlias = dict[str, dict[str, Difference]]
    """By direction and measure."""


def _yes_or_no(text: str) -> bool:
    return {"yes": True, "no": False}[text]


_SETTINGS: dict[str, Callable[[str], Any]] = {
    "mode": str, "fusion": str, "text_weight": float, "diverse": float, "min_score": float,
    "multilingual": _yes_or_no, "captions": _yes_or_no, "spelling": _yes_or_no,
    "rerank": int}
"""Parts of a query that --set and --compare can set, and what reads them."""


class System(NamedTuple):
    """What is measured: a collection, or a model alone; settings: parts of a `Query`."""

    name: str
    directory: Path | None
    model: str | None
    settings: dict[str, Any]


def evaluate(
    pairs: Annotated[Path, typer.Argument(
        metavar="PAIRS", help="Images and captions: .jsonl, .csv, .tsv, .parquet, Karpathy's "
        ".json, or a .tar or folder of shards as webdataset and CLIP_benchmark have them.")],
    directory: Annotated[Path | None, typer.Option(
        "-i", "--index", help="Search this collection; without it, only PAIRS.",
    )] = None,
    split: Annotated[str | None, typer.Option(
        help="Only pairs of this split; of a folder, the folder in it.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=(
        "Measure searches of the collection as they are, with this setting: mode=vector is the "
        "default search, in which captions count. Repeatable."))] = None,
    depth: Annotated[int, typer.Option(metavar="N", help=(
        "How many results of such a search to look through; what comes later is not found."))
    ] = 100,
    compare: Annotated[list[str] | None, typer.Option(metavar="OTHER", help=(
        "Measure another one as well, and say what differs: a model, a collection, or settings "
        "(mode=hybrid). Repeatable."))] = None,
    merge: Annotated[bool, typer.Option("--merge", help=(
        "Take equal captions as one query, answered by all their pictures."))] = False,
    positives: Annotated[list[Path] | None, typer.Option(
        metavar="FILE", help="Several answers to each query, by their ids, as ECCV Caption has "
        "them. Repeatable.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE.html", help=(
        "Write a report as a web page: curves, scores, and the worst queries with pictures."
    ))] = None,
    clip_benchmark: Annotated[Path | None, typer.Option(metavar="FILE.json", help=(
        "Write recall as CLIP_benchmark does."))] = None,
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

    Example: mmsearch eval captions.jsonl --split test --compare good
    """
    import json

    from mmsearch.evaluation import How, as_clip_benchmark, pairs_in

    check_folder("--html", html)
    check_folder("--clip-benchmark", clip_benchmark)
    loaded = pairs_in(pairs, split=split)
    if len(mixed := dict.fromkeys(pair.split for pair in loaded if pair.split)) > 1:
        say(f"note: all splits are evaluated together ({', '.join(mixed)}); choose one with "
            "--split")
    how = How(multilingual=multilingual, merge=merge, positives=positives or (),
              ks=tuple(k or (1, 5, 10)), seed=seed, diagnose=html is not None, depth=depth)
    name = with_precision(model or "builtin", precision)
    first = System(",".join([str(directory) if directory else name, *(set_ or ())]), directory,
                   name if directory is None else model, dict(map(_setting, set_ or ())))
    if first.settings and directory is None:
        raise UsageError("--set is of searches in a collection; name one with -i")
    systems = [first, *(_system(text, first) for text in compare or ())]
    evaluations = _evaluated(systems, loaded, how)
    say_skipped(evaluations[0].skipped)
    say_extras(evaluations[0].skipped)
    names = [system.name for system in systems]
    differences = _differences(evaluations, how)
    if html is not None:
        _write_report(html, f"{pairs.name}{f', {split}' if split else ''}", names, evaluations,
                      differences)
    if clip_benchmark is not None:
        written = as_clip_benchmark(pairs, loaded, evaluations[0])
        clip_benchmark.write_text(json.dumps(written) + "\n", "utf-8")
        say(f"wrote {clip_benchmark}")
    if compare:
        _show_comparison(names, evaluations, differences, as_json=json_)
    elif json_:
        print_json(evaluations[0].to_json())
    else:
        _show(evaluations[0])


def _system(text: str, first: System) -> System:
    """What --compare names: `WHAT`, `WHAT,SETTING=VALUE,…`, or settings of what is there already.

    Raises:
        UsageError: no such setting, or settings without a collection.
    """
    if not text.strip():
        raise UsageError("--compare is empty (an unset variable?)")
    what, *rest = [text] if Path(text).exists() else text.split(",")
    if "=" in what and not Path(what).exists():
        what, rest = "", [what, *rest]
    settings = dict(_setting(one) for one in rest)
    if not what:
        system = first
    elif (Path(what) / "catalog.db").exists():
        system = System(what, Path(what), None, {})
    else:
        system = System(what, None, what, {})
    if settings and system.directory is None:
        raise UsageError(f"--compare {text}: settings are of searches in a collection; name one "
                         "with -i")
    return system._replace(name=text, settings=settings)


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if name not in _SETTINGS:
        raise UsageError(f"there is no setting {text!r}, only {', '.join(_SETTINGS)}, each with "
                         "=VALUE")
    try:
        return name, _SETTINGS[name](value.strip())
    except (ValueError, KeyError):
        expected = "yes or no" if _SETTINGS[name] is _yes_or_no else "a number"
        raise UsageError(f"the setting {name} must be {expected}, not {value!r}") from None


def _evaluated(systems: Sequence[System], pairs: Sequence[Pair], how: How) -> list[Evaluation]:
    from mmsearch.collection import Collection
    from mmsearch.encoders import load_encoder
    from mmsearch.evaluation import evaluate_collection, evaluate_model

    for system in systems:
        Query(text="x", **system.settings)  # which says what makes no sense
        if system.directory is None:
            load_encoder(system.model or "builtin")  # which may ask: a bar would hide that
    captions = sum(len(pair.captions) for pair in pairs)
    found: list[Evaluation] = []
    collections: dict[tuple[Path, str | None], Collection] = {}
    with ExitStack() as opened, progress("encoding", lambda: sum(
            captions + len(pairs) * (system.directory is None) for system in systems)) as advance:
        for n, system in enumerate(systems):
            this = replace(how, search=system.settings, diagnose=how.diagnose and n == 0)
            if system.directory is None:
                found.append(evaluate_model(pairs, this, model=system.model or "builtin",
                                            progress=advance))
                continue
            key = system.directory, system.model
            if key not in collections:  # one handle encodes what is asked again only once
                collections[key] = opened.enter_context(
                    Collection.open(system.directory, model=system.model))
            if not system.settings and collections[key].count(find="text"):
                say(f"note: in {system.directory}, pictures are found by what they show alone; "
                    "--set mode=vector measures searches, in which their captions count")
            found.append(evaluate_collection(collections[key], pairs, this, progress=advance))
    return found


def _show_depth(evaluations: Sequence[Evaluation]) -> None:
    """How far searches were looked through, if not to their end."""
    ways = [one.report.text_to_image for one in evaluations]
    if found := {way.depth for way in ways if way.depth is not None and way.depth < way.gallery}:
        print(f"searches: among the first {max(found):,} results (--depth)")


def _show(evaluation: Evaluation) -> None:
    from mmsearch.cli.evaluation_tables import languages_table, report_table

    console().print(report_table(evaluation.report))
    _show_depth([evaluation])
    if evaluation.languages:
        console().print(languages_table(evaluation.languages))
    for name, value in (evaluation.ann or {}).items():
        print(f"approximate index against exact search: {name} {value:.3f}")


def _differences(evaluations: Sequence[Evaluation], how: How) -> list[ByWay]:
    """What each but the first differs by from the first."""
    from mmsearch.evaluation import compare

    first, *others = (one.report for one in evaluations)
    return [compare(first, other, ks=how.ks, seed=how.seed) for other in others]


def _show_comparison(names: Sequence[str], evaluations: Sequence[Evaluation],
                     differences: Sequence[ByWay], *, as_json: bool) -> None:
    from mmsearch.cli.evaluation_tables import comparison_table

    reports = [one.report for one in evaluations]
    if as_json:
        print_json([{"name": name, **evaluation.to_json()} | (
            {"difference_to_first": {
                way: {measure: one.to_json() for measure, one in by_measure.items()}
                for way, by_measure in differences[n - 1].items()}} if n else {})
            for n, (name, evaluation) in enumerate(zip(names, evaluations, strict=True))])
        return
    for way in reports[0].directions:
        if any(way in other.directions for other in reports[1:]):
            console().print(comparison_table(way, names, reports, differences))
    _show_depth(evaluations)


def _write_report(path: Path, title: str, names: Sequence[str], evaluations: Sequence[Evaluation],
                  differences: Sequence[ByWay]) -> None:
    from mmsearch.cli.evaluation_report import report

    path.write_text(report(title, names, evaluations, differences), "utf-8")
    say(f"wrote {path}")
