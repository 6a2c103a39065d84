"""The command that fills a collection, or brings it up to date: index."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from mmsearch.cli.options import (
    DEFAULT_INDEX,
    DeviceOption,
    ExcludeOption,
    FetchOption,
    FetchPrivateOption,
    IndexOption,
    JsonOption,
    KindOption,
    ModelOption,
    PrecisionOption,
    RecallOption,
    RerankOption,
    TilesOption,
    YesOption,
    address_given,
)
from mmsearch.cli.target import Target, facts_of, say_report, share_one_heap
from mmsearch.cli.terminal import print_json, progress, safe_text, say, say_skipped
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.collection import AddReport, Collection
    from mmsearch.records import Item

As: TypeAlias = Literal["image", "text"]


def index(
    paths: Annotated[list[str] | None, typer.Argument(
        metavar="PATH...", parser=address_given,
        help="Folders, files, archives (.zip, .tar, .tar.gz, …) or manifests (.jsonl, .csv, .tsv, "
             ".json, .parquet).")] = None,
    directory: IndexOption = DEFAULT_INDEX,
    exclude: ExcludeOption = None,
    archives: Annotated[bool, typer.Option(
        "--archives", help="Also index archives inside folders, not only those given as PATH.",
    )] = False,
    reread: Annotated[bool, typer.Option(
        "--reread", "--force",
        help="Read all pictures again, even if they seem unchanged.")] = False,
    fetch: FetchOption = False,
    fetch_private: FetchPrivateOption = False,
    model: ModelOption = None,
    yes: YesOption = False,
    precision: PrecisionOption = None,
    recall: RecallOption = None,
    kind: KindOption = None,
    tiles: TilesOption = None,
    rerank: RerankOption = None,
    device: DeviceOption = "cpu",
    vectors: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Vectors made elsewhere, in place of PATH: .npy, or a folder of "
                             "clip-retrieval or `mmsearch export`.")] = None,
    manifest: Annotated[Path | None, typer.Option(
        metavar="FILE", help="With --vectors: the table that describes them, one row for each: "
                             ".parquet, .jsonl, .csv.")] = None,
    as_: Annotated[As, typer.Option(
        "--as", help="With --vectors: what they are vectors of.")] = "image",
    profile: Annotated[bool, typer.Option(
        "--profile", help="Show where the time went, and what limited the run.")] = False,
    json_: JsonOption = False,
) -> None:
    """Index pictures, videos, documents and texts, or bring an index up to date.

    It reads only new and changed files, recognises moved and copied ones, and removes items whose
    files were deleted. You can stop it at any moment: finished work is kept.

    Example: mmsearch index ~/Pictures captions.jsonl

    Example: mmsearch index --vectors clip.npy --manifest photos.parquet --model
    ViT-B-32/laion2b_s34b_b79k
    """
    from contextlib import nullcontext
    from functools import partial

    from mmsearch.sources import Fetch, fetching, iter_items

    target = Target(directory, model=model, precision=precision, recall=recall, kind=kind,
                    tiles=tiles, rerank=rerank, device=device)
    share_one_heap()
    if vectors is not None and not (paths or exclude or tiles or rerank or profile or reread):
        _print_report(*_import(target, vectors, manifest, as_), json_)
        return
    if vectors or manifest:
        raise UsageError("give either PATH or --vectors FILE; --manifest goes with --vectors, and "
                         "--exclude, --tiles, --rerank, --reread and --profile with PATH")
    if not paths:
        raise UsageError("give a PATH to index, or --vectors FILE")
    walk = partial(iter_items, paths, exclude=exclude or (), archives=archives)
    rules, is_new = Fetch(private=fetch_private) if fetch or fetch_private else None, \
        not target.exists()
    with fetching(rules) if rules else nullcontext():
        collection, report = _index(target, walk, paths, reread)
    if profile:  # before the report, which ends a run that could index nothing
        from mmsearch.cli.profile import say_profile

        say_profile(report)
    _print_report(collection, report, json_)
    if is_new and not json_ and sys.stderr.isatty() and collection.model == "builtin":
        _tell_of_more(directory)


def _tell_of_more(directory: Path) -> None:
    """Once, what a larger model would cost: few look for one before they know that there is any."""
    from mmsearch.encoders import choices

    small, good = choices()["small"], choices()["good"]
    say("note: a larger model knows far more things by name, and other languages: mmsearch reindex "
        f"-i {directory} --model good ({(good.download_mb or 0) / 1000:.1f} GB to download; "
        f"{good.pictures_per_second:g} pictures a second on two cores, the built-in model "
        f"{small.pictures_per_second:g})")


def _index(target: Target, walk: Callable[..., Iterator[Item]], paths: list[str], reread: bool
           ) -> tuple[Collection, AddReport]:
    from contextlib import closing
    from functools import partial
    from itertools import chain

    from mmsearch.ingest import remembered
    from mmsearch.sources import Scan
    from mmsearch.storage import CATALOG, Catalog

    scan = Scan()
    items = walk(scan=scan)
    if not target.exists():  # one that is there may know what is unchanged
        first = next(items, None)
        if first is None:
            say_skipped(scan.skipped)
            raise UsageError(f"nothing to index in {', '.join(paths)}: no pictures, texts or "
                             "manifests that could be read")
        items = chain([first], items)
    collection = target.open()

    def count() -> int:  # in a thread of its own, beside the walk itself
        with closing(Catalog(target.directory / CATALOG)) as catalog:
            return sum(1 for _ in walk(scan=Scan(remembered=partial(remembered, catalog))))

    with progress("indexing", count) as advance:
        report = collection.add(items, scan=scan, reread=reread, progress=advance)
    for note in scan.notes:
        say(f"note: {safe_text(note)}")
    return collection, report


def _import(target: Target, path: Path, manifest: Path | None, kind: As
            ) -> tuple[Collection, AddReport]:
    """What --vectors does."""
    from mmsearch.collection import Collection
    from mmsearch.encoders import EXTERNAL
    from mmsearch.sources import find_vectors

    found, model = find_vectors(path, manifest, kind), target.model or ""
    collection = Collection.for_vectors(target.directory, found, model=model, device=target.device)
    collection.configure(recall=target.recall, kind=target.kind)
    with progress("importing", lambda: found.rows) as advance:
        report = collection.add_vectors(found, model=model, progress=advance)
    if str(collection.info()["encoder"]).startswith(EXTERNAL):
        say("note: " + (f"the model {collection.model} cannot be loaded here"
                        if collection.model else "it is not known which model made these "
                        "vectors (--model)")
            + "; search by vector (--vector) or by picture (--image)")
    return collection, report


def _print_report(collection: Collection, report: AddReport, json_: bool) -> None:
    facts = facts_of(report) | {"items": collection.info()["items"]}
    if json_:
        print_json(facts)
    else:
        say_report(report, facts)
    if report.skipped and not facts["items"]:
        raise typer.Exit(1)
