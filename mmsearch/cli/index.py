"""Commands that fill a collection and keep it: index, info, delete, verify, compact."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli.options import (
    DEFAULT_INDEX,
    Device,
    DeviceOption,
    IndexOption,
    JsonOption,
    KindOption,
    ModelOption,
    Precision,
    PrecisionOption,
    RecallOption,
    TilesOption,
    WhereOption,
    address_given,
    check_kind,
    check_tiles,
    recall_of,
    with_precision,
)
from mmsearch.cli.query import unknown_fields
from mmsearch.cli.terminal import console, print_json, progress, say, say_skipped
from mmsearch.cli.vectors import As, AsOption, ManifestOption, VectorsOption, import_vectors
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.collection import AddReport, Collection
    from mmsearch.records import Item


_M_ARENA_MAX = -8  # of malloc.h


def index(
    paths: Annotated[list[str] | None, typer.Argument(
        metavar="PATH...", parser=address_given,
        help="Folders, files, archives (.zip, .tar, .tar.gz, …) or manifests (.jsonl, .csv, .tsv, "
             ".json, .parquet).")] = None,
    directory: IndexOption = DEFAULT_INDEX,
    exclude: Annotated[list[str] | None, typer.Option(
        metavar="GLOB", help="Leave out names ('*.gif') or paths ('raw/**'). Repeatable.")] = None,
    archives: Annotated[bool, typer.Option(
        "--archives", help="Look into archives in folders, too, not only into those named.",
    )] = False,
    fetch: Annotated[bool, typer.Option(
        "--fetch", help="Download pictures that manifests name by web addresses.")] = False,
    fetch_private: Annotated[bool, typer.Option(
        "--fetch-private", help="Also from this machine and its network, not only the internet.",
    )] = False,
    model: ModelOption = None,
    precision: PrecisionOption = None,
    recall: RecallOption = None,
    kind: KindOption = None,
    tiles: TilesOption = None,
    device: DeviceOption = Device.cpu,
    vectors: VectorsOption = None,
    manifest: ManifestOption = None,
    as_: AsOption = As.image,
    profile: Annotated[bool, typer.Option(
        "--profile", help="Say where the time went, and what bounds the run.")] = False,
    json_: JsonOption = False,
) -> None:
    """Index pictures, videos, documents and texts, or bring an index up to date.

    Unchanged files are not read again, moved and copied ones are recognised, vanished ones (below
    the paths given) are dropped. Stopped at any moment, it keeps what was committed.

    Example: mmsearch index ~/Pictures captions.jsonl

    Example: mmsearch index --vectors clip.npy --manifest photos.parquet --model
    ViT-B-32/laion2b_s34b_b79k
    """
    from contextlib import nullcontext
    from functools import partial

    from mmsearch.sources import Fetch, fetching, iter_items

    wanted = recall_of(recall)
    check_kind(kind)
    check_tiles(tiles)
    share_one_heap()
    if vectors is not None and not (paths or exclude or tiles or profile):
        _print_report(*import_vectors(vectors, manifest, as_, directory, model, wanted, kind,
                                      device), json_)
        return
    if not paths or vectors or manifest:
        raise UsageError("say what to index: PATH..., or --vectors FILE with or without --manifest "
                         "(and without --exclude, --tiles or --profile)")
    walk = partial(iter_items, paths, exclude=exclude or (), archives=archives)
    rules = Fetch(private=fetch_private) if fetch or fetch_private else None
    with fetching(rules) if rules else nullcontext():
        collection, report = _index(walk, paths, directory, model, precision, wanted, kind,
                                    tiles, device)
    if profile:  # before the report, which ends a run that could index nothing
        from mmsearch.cli.profile import say_profile

        say_profile(report)
    _print_report(collection, report, json_)


def share_one_heap() -> None:
    """Keep glibc from giving each thread a heap of its own. What large pictures leave scattered
    over those is never given back; with one heap, indexing takes an eighth less memory and no more
    time."""
    import ctypes
    import os
    from contextlib import suppress

    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _index(walk: Callable[..., Iterator[Item]], paths: list[str], directory: Path,
           model: str | None, precision: Precision | None, recall: float | None,
           kind: str | None, tiles: str | None, device: Device) -> tuple[Collection, AddReport]:
    from contextlib import closing
    from functools import partial
    from itertools import chain

    from mmsearch.ingest import remembered
    from mmsearch.sources import Scan
    from mmsearch.storage import CATALOG, Catalog

    scan = Scan()
    items = walk(scan=scan)
    if not (directory / "catalog.db").exists():  # one that is there may know what is unchanged
        first = next(items, None)
        if first is None:
            say_skipped(scan.skipped)
            raise UsageError(f"nothing to index in {', '.join(paths)}: no pictures, texts or "
                             "manifests that could be read")
        items = chain([first], items)
    collection = open_or_create(directory, model, precision, device)
    collection.configure(recall=recall, kind=kind, tiles=tiles)

    def count() -> int:  # in a thread of its own, beside the walk itself
        with closing(Catalog(directory / CATALOG)) as catalog:
            return sum(1 for _ in walk(scan=Scan(remembered=partial(remembered, catalog))))

    with progress("indexing", count) as advance:
        return collection, collection.add(items, scan=scan, progress=advance)


def info(directory: IndexOption = DEFAULT_INDEX, json_: JsonOption = False) -> None:
    """What is in a collection: counts, model, size on disk, index kind.

    Example: mmsearch info -i indexes/default
    """
    from mmsearch.cli import present
    from mmsearch.collection import Collection

    facts = Collection.open(directory).info()
    print_json(facts) if json_ else console().print(present.info_table(facts))


def delete(
    paths: Annotated[list[str] | None, typer.Argument(
        metavar="[PATH]...", parser=address_given,
        help="Files, members of archives, addresses, or folders with all below them.")] = None,
    where: WhereOption = None,
    directory: IndexOption = DEFAULT_INDEX,
    json_: JsonOption = False,
) -> None:
    """Remove items from a collection; the files themselves are not touched.

    Example: mmsearch delete ~/Pictures/screenshots
    """
    from mmsearch.collection import Collection
    from mmsearch.sources import uri_of

    uris = [uri_of(path) for path in paths or ()]
    collection = Collection.open(directory)
    count = collection.delete(uris, where=where or ())
    if not count and where and (hint := unknown_fields(collection, where)):
        say(hint)
    print_json({"deleted": count}) if json_ else print(f"deleted {count} items")


def verify(
    directory: IndexOption = DEFAULT_INDEX,
    repair: Annotated[bool, typer.Option(
        "--repair", help="Repair what can be repaired; say what is lost.")] = False,
    json_: JsonOption = False,
) -> None:
    """Check every checksum and count; exit code 0 when all is sound, 1 when not.

    Example: mmsearch verify --repair -i indexes/default
    """
    from mmsearch.cli.present import problem_lines

    if repair:
        from mmsearch.collection import repair_collection

        with progress("encoding again", lambda: None) as advance:
            problems = repair_collection(directory, tick=advance)
    else:
        from mmsearch.storage import find_problems

        problems = find_problems(directory)
    sound = all(problem.fixed for problem in problems)
    if json_:
        print_json({"sound": sound, "problems": [problem._asdict() for problem in problems]})
    else:
        print("\n".join([*problem_lines(problems), *([f"{directory} is sound"] if sound else [])]))
        if not sound and not repair:
            say(f"repair what can be repaired with `mmsearch verify --repair -i {directory}`")
    if not sound:
        raise typer.Exit(1)


def compact(
    directory: IndexOption = DEFAULT_INDEX,
    recall: RecallOption = None,
    kind: KindOption = None,
    device: DeviceOption = Device.cpu,
    json_: JsonOption = False,
) -> None:
    """Merge segments, drop what was deleted, build and tune approximate indexes.

    Example: mmsearch compact
    """
    from mmsearch.collection import Collection

    collection = Collection.open(directory, device=device.value)
    collection.configure(recall=recall_of(recall), kind=kind)
    before = collection.info()
    collection.compact()
    after = collection.info()
    if json_:
        print_json({"before": before, "after": after})
    else:
        print(f"segments {before['segments']} -> {after['segments']}, "
              f"bytes {before['bytes']} -> {after['bytes']}")
        for searched, how in after["index"].items():
            print(f"{searched}: {how}")


def open_or_create(directory: Path, model: str | None, precision: Precision | None,
                   device: Device) -> Collection:
    from mmsearch.collection import Collection
    from mmsearch.errors import CollectionNotFound

    try:
        found = Collection.open(directory, model=model, device=device.value)
        if precision is None:
            return found
        return Collection.open(directory, model=with_precision(found.model, precision),
                               device=device.value)
    except CollectionNotFound:
        return Collection.create(directory, model=with_precision(model or "builtin", precision),
                                 device=device.value)


def _print_report(collection: Collection, report: AddReport, json_: bool) -> None:
    facts = facts_of(report) | {"items": collection.info()["items"]}
    if json_:
        print_json(facts)
    else:
        say_skipped(report.skipped)
        if report.more_skipped:
            say(f"skipped {report.more_skipped} more")
        print(counts_of(facts))
    if report.skipped and not facts["items"]:
        raise typer.Exit(1)


def facts_of(report: AddReport) -> dict[str, Any]:
    """A report as JSON has it."""
    stages = {name: spent._asdict() for name, spent in report.stages.items()}
    return asdict(report) | {"stages": stages}


def counts_of(report: dict[str, Any]) -> str:
    """What was done, as "added 2, items 14, skipped 0"."""
    numbers = {name: value for name, value in report.items() if isinstance(value, int) and value}
    numbers["skipped"] = len(report["skipped"]) + numbers.pop("more_skipped", 0)
    return ", ".join(f"{name} {value}" for name, value in numbers.items())
