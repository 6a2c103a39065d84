"""The command that puts another model under a collection: reindex."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli.options import (
    DEFAULT_INDEX,
    DeviceOption,
    FetchOption,
    FetchPrivateOption,
    IndexOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    YesOption,
    with_precision,
)
from mmsearch.cli.target import share_one_heap
from mmsearch.cli.terminal import print_json, progress, safe_text, say, say_extras, say_skipped
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.collection import Reindexed

_LISTED = 100


def reindex(
    directory: IndexOption = DEFAULT_INDEX,
    model: ModelOption = None,
    precision: PrecisionOption = None,
    yes: YesOption = False,
    allow_missing: Annotated[bool, typer.Option(
        "--allow-missing", help="Switch even if some files cannot be read: their items stay, found "
                                "by their words alone, until `index` comes by the files.")] = False,
    fetch: FetchOption = False,
    fetch_private: FetchPrivateOption = False,
    device: DeviceOption = "cpu",
    json_: JsonOption = False,
) -> None:
    """Encode everything in a collection again, with another model.

    Searches find what they did until all is encoded, and then use the new model. Captions,
    metadata and what was added by hand stay. You can stop it at any moment and run it again:
    finished work is kept. The exit code is 1 if some files could not be read: the collection
    then keeps its model.

    Example: mmsearch reindex -i indexes/default --model ViT-B-32/laion2b_s34b_b79k
    """
    from dataclasses import asdict

    from mmsearch.collection import Collection
    from mmsearch.sources import Fetch, fetching

    if model is None:
        raise UsageError("give the model to encode with: --model NAME")
    share_one_heap()
    collection = Collection.open(directory, device=device)
    before = collection.info()["encoder"]
    rules = Fetch(private=fetch_private) if fetch or fetch_private else None
    with (fetching(rules) if rules else nullcontext(),
          progress("encoding", lambda: int(collection.info()["items"])) as advance):
        report = collection.reindex(with_precision(model, precision), allow_missing=allow_missing,
                                    progress=advance)
    if json_:
        print_json(asdict(report))
    elif report.encoder == before:
        print(f"{directory} has this model already; `mmsearch index --reread` encodes files again")
    else:
        _say(report)
    if not report.switched:
        say(f"{directory} keeps its model, since {len(report.missing)} items could not be encoded. "
            "Put their files back, or let `mmsearch index` remove what is gone; then run this "
            "again: what is encoded is kept. Or give --allow-missing")
        raise typer.Exit(1)


def _say(report: Reindexed) -> None:
    say_skipped(report.missing[:_LISTED], word="missing")
    for path in report.changed[:_LISTED]:
        say(f"changed {safe_text(path)}: index it again, too")
    more = sum(len(part[_LISTED:]) for part in (report.missing, report.changed))
    if more:
        say(f"and {more} more (--json has them all)")
    numbers = {"encoded": report.encoded, "kept from an earlier run": report.kept,
               "missing": len(report.missing), "changed": len(report.changed)}
    counts = ", ".join(f"{name} {value}" for name, value in numbers.items() if value)
    print(f"{counts or 'nothing to encode'}; " + (
        f"the model is {report.encoder} now" if report.switched else "the model is as before"))
    say_extras(report.missing)
