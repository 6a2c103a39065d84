"""The command that gives items labels: classify."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.classification import Features, Find
from mmsearch.cli.options import DEFAULT_INDEX, IndexOption, JsonOption, WhereOption
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

if TYPE_CHECKING:
    from mmsearch.classification import Decided, Examples, FewShot, Things, ZeroShot
    from mmsearch.collection import Collection


def classify(
    labels: Annotated[str | None, typer.Option(
        metavar="WORDS|FILE", help="The labels, in words: \"cat,dog,horse\", or a file with one a "
        "line. `label: prompt` says what to look for instead of the label.")] = None,
    examples: Annotated[Path | None, typer.Option(
        metavar="PATH", help="Learn from these: a folder with a folder for each label, or a table "
        "of pictures with their label in a column.")] = None,
    example: Annotated[list[str] | None, typer.Option(
        metavar="LABEL: CONDITION", help="Learn from the items of the collection that meet a "
        "condition. Repeatable.")] = None,
    column: Annotated[str, typer.Option(
        metavar="NAME", help="The column of a table that has the label.")] = "label",
    features: Annotated[Features, typer.Option(
        help="What of an item counts: its picture, the texts that belong to it, or both.")
    ] = "image",
    find: Annotated[Find, typer.Option(help="What gets a label: pictures or texts.")] = "image",
    where: WhereOption = None,
    template: Annotated[list[str] | None, typer.Option(
        metavar="TEXT", help="What each of --labels is put into, at {}. Repeatable; their vectors "
        "are averaged.")] = None,
    always: Annotated[bool, typer.Option(
        "--always", help="With --labels: give every item one of them, however little it fits.")
    ] = False,
    min_confidence: Annotated[float, typer.Option(
        min=0, max=1, metavar="X", help="Give no label where confidence is lower.")] = 0.0,
    save: Annotated[str | None, typer.Option(
        metavar="NAME", help="Keep the labels in the collection, as the field label:NAME.")] = None,
    undo: Annotated[str | None, typer.Option(
        metavar="NAME", help="Remove the labels that were saved under this name.")] = None,
    evaluate: Annotated[Path | None, typer.Option(
        metavar="PATH", help="Measure instead: how many of these are labelled right (as for "
        "--examples).")] = None,
    directory: IndexOption = DEFAULT_INDEX,
    json_: JsonOption = False,
    html: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Write a page with pictures: of each label, or of what went wrong.")
    ] = None,
) -> None:
    """Give pictures or texts labels, by words alone or by examples, with a confidence each.

    Nothing is changed without --save. Saved labels are conditions:
    --where "label:animal = cat and confidence:animal >= 0.8".

    Example: mmsearch classify --labels "cat,dog,horse" --save animal

    Example: mmsearch classify --examples flowers --save flower

    Example: mmsearch classify --undo animal
    """
    from mmsearch.classification import decide, gather
    from mmsearch.collection import Collection

    check_folder("--html", html)
    _check_task(labels, examples, example, undo, evaluate, save)
    collection = Collection.open(directory)
    if undo is not None:
        _undone(collection, undo, json_)
        return
    classifier, learned = _classifier(collection, labels, examples, example or [], column, features,
                                      find, template or [], always)
    if evaluate is not None:
        truth = _labelled(collection, evaluate, classifier, find, column, learned)
        _evaluated(classifier, truth, evaluate, min_confidence, json_, html)
        return
    things = gather(collection, features, find=find, where=where or ())
    if not things.rows:
        collection.check_fields(where or ())
        hint = "; its texts: --find text --features text" if find == "image" and not where and \
            collection.count(find="text") and not collection.count() else ""
        raise UsageError(_nothing(features, find, bool(where)) + hint)
    decided = decide(classifier.labels, classifier.probabilities(things), min_confidence)
    if save is not None:
        count = _saved(collection, save, things, decided)
        say(f"saved {count} label{'s' * (count != 1)}; see them: --where "
            f"\"label:{save} exists\", remove them: mmsearch classify --undo {save}")
    if html:
        from mmsearch.cli.classified import labels_page

        title = f"Labels in {directory}" if save is None else f"label:{save}"
        html.write_text(labels_page(things, decided, title), "utf-8")
        say(f"wrote {html}")
    _print(things, decided, json_)


def _check_task(labels: str | None, examples: Path | None, example: list[str] | None,
                undo: str | None, evaluate: Path | None, save: str | None) -> None:
    given = [labels is not None, examples is not None, bool(example), undo is not None]
    if sum(given) != 1:
        raise UsageError("give one of --labels, --examples, --example and --undo")
    if evaluate is not None and (save is not None or undo is not None):
        raise UsageError("--evaluate measures and changes nothing; leave out --save or --undo")
    if save is not None:
        from mmsearch.collection import checked_name

        checked_name(save)


def _classifier(collection: Collection, labels: str | None, examples: Path | None,
                example: list[str], column: str, features: Features, find: Find,
                templates: Sequence[str], always: bool
                ) -> tuple[ZeroShot | FewShot, Examples | None]:
    """And the examples that it has learned from, if any."""
    from mmsearch.classification import (
        TEMPLATES,
        few_shot,
        read_labels,
        where_examples,
        zero_shot,
    )

    if labels is not None:
        asked = read_labels(labels, templates or TEMPLATES)
        with progress("encoding labels",
                      lambda: sum(len(one.prompts) for one in asked)) as advance:
            return zero_shot(collection.encoder, asked, features, always=always,
                             progress=advance), None
    if always or templates:
        raise UsageError("--always and --template go with --labels")
    if examples is not None:
        learned = _read(collection, examples, features, find, column)
    else:
        learned = where_examples(collection, [_condition(one) for one in example], features,
                                 find=find)
    with progress("learning", lambda: None) as advance:
        made = few_shot(learned.things, learned.labels, features, progress=advance)
    say(_how(made, learned))
    return made, learned


def _read(collection: Collection, path: Path, features: Features, find: Find, column: str
          ) -> Examples:
    from mmsearch.classification import read_examples

    with progress("encoding", lambda: None) as advance:
        found = read_examples(collection, path, features, find=find, column=column,
                              progress=advance)
    say_skipped(found.skipped)
    say_extras(found.skipped)
    return found


def _condition(text: str) -> tuple[str, str]:
    label, colon, condition = (part.strip() for part in text.partition(":"))
    if not (label and colon and condition):
        raise UsageError(f"--example takes LABEL: CONDITION, such as \"tulip: keywords = tulip\", "
                         f"not {text!r}")
    return label, condition


def _how(made: FewShot, learned: Examples) -> str:
    count = f"learned {len(made.labels)} labels from {len(learned.labels)} examples"
    if made.guesses is None:
        return f"{count} by {made.method}; with one example each, nothing tells how well"
    right = made.guesses.argmax(1) == [made.labels.index(one) for one in learned.labels]
    return f"{count} by {made.method}; {100 * right.mean():.0f} % right in cross-validation"


def _nothing(features: Features, find: Find, where: bool) -> str:
    what = "pictures with texts" if features == "text" and find == "image" else \
        "pictures" if find == "image" else "texts"
    return f"there are no {what} to classify" + (" that meet the condition" if where else "")


def _saved(collection: Collection, name: str, things: Things, decided: Sequence[Decided]) -> int:
    from mmsearch.storage import Labelled

    return collection.put_labels(name, (
        Labelled(row.id, row.seq, row.item.uri, one.label, one.confidence)
        for row, one in zip(things.rows, decided, strict=True)))


def _undone(collection: Collection, name: str, json_: bool) -> None:
    removed = collection.drop_labels(name)
    if json_:
        print_json({"removed": removed})
    else:
        print(f"removed {removed} labels" if removed else f"no item has a label:{name}")


def _labelled(collection: Collection, path: Path, classifier: ZeroShot | FewShot, find: Find,
              column: str, learned: Examples | None) -> Examples:
    """What is measured on; a note if it was learned from, or has labels that are never given."""
    from mmsearch.classification import NONE

    truth = _read(collection, path, classifier.features, find, column)
    if not truth.labels:
        raise UsageError(_nothing(classifier.features, find, False))
    known = {*classifier.labels, NONE}
    spelled = {label.casefold(): label for label in known}
    truth.labels = [label if label in known else spelled.get(label.casefold(), label)
                    for label in truth.labels]
    if other := [label for label in truth.labels if label not in known]:
        say(f"note: {len(other)} of {len(truth.labels)} have labels that are not among yours, so "
            f"they count as wrong: {', '.join(sorted(set(other))[:10])}")
    seen = {row.item.uri for row in learned.things.rows} if learned else set()
    if same := sum(row.item.uri in seen for row in truth.things.rows):
        say(f"note: {same} of {len(truth.labels)} were among the examples, so the figures are too "
            "good")
    return truth


def _evaluated(classifier: ZeroShot | FewShot, truth: Examples, path: Path, least: float,
               json_: bool, html: Path | None) -> None:
    from mmsearch.classification import decide, report_of
    from mmsearch.cli.classified import report_page, report_tables

    decided = decide(classifier.labels, classifier.probabilities(truth.things), least)
    report = report_of(truth.labels, decided)
    if html:
        html.write_text(report_page(report, truth, decided, f"Labels of {path}"), "utf-8")
        say(f"wrote {html}")
    if json_:
        print_json(report.to_json())
    else:
        for table in report_tables(report):
            console().print(table)


def _print(things: Things, decided: Sequence[Decided], json_: bool) -> None:
    from mmsearch.cli import classified

    if json_:
        print_json(classified.labels_json(things, decided))
    elif sys.stdout.isatty():
        console().print(classified.summary_table(things, decided))
    else:
        print(classified.labels_tsv(things, decided), end="")
