"""The command line: parse, call, print. Each command imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch import __version__
from mmsearch.errors import MmsearchError, UsageError
from mmsearch.terminal import console, print_json, progress, say, say_skipped

if TYPE_CHECKING:
    from mmsearch.collection import AddReport, Collection
    from mmsearch.records import Hit

app = typer.Typer(
    name="mmsearch", no_args_is_help=True, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find images by words, images by images, and words by images. Everything runs on this "
         "machine, offline.")


class Find(StrEnum):
    image = "image"
    text = "text"
    any = "any"


IndexOption = Annotated[Path, typer.Option(
    "-i", "--index", envvar="MMSEARCH_INDEX", help="The collection's directory.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
WhereOption = Annotated[list[str] | None, typer.Option(
    "--where", metavar="CONDITION",
    help="Only items that meet this: 'year>=2020 and camera ~ canon'. Repeatable.")]
ModelOption = Annotated[str | None, typer.Option(
    "--model", metavar="NAME", help="builtin, a directory that `mmsearch train` wrote, or an "
                                    "open_clip model such as ViT-B-32/laion2b_s34b_b79k.")]
DEFAULT_INDEX = Path("indexes/default")


@app.command()
def index(
    paths: Annotated[list[Path], typer.Argument(
        metavar="PATH...", help="Folders, files, or manifests (.jsonl, .csv, .tsv, .json).")],
    directory: IndexOption = DEFAULT_INDEX,
    exclude: Annotated[list[str] | None, typer.Option(
        metavar="GLOB", help="Leave out names ('*.gif') or paths ('raw/**'). Repeatable.")] = None,
    model: ModelOption = None,
    json_: JsonOption = False,
) -> None:
    """Index pictures and texts, or bring an index up to date.

    Unchanged files are not read again, moved and copied ones are recognised, vanished ones (below
    the paths given) are dropped. Stopped at any moment, it keeps what was committed.

    Example: mmsearch index ~/Pictures captions.jsonl
    """
    from itertools import chain

    from mmsearch.sources import Scan, iter_items

    scan = Scan()
    items = iter_items(paths, exclude=exclude or (), scan=scan)
    first = next(items, None)
    if first is None and not (directory / "catalog.db").exists():
        say_skipped(scan.skipped)
        raise UsageError(f"nothing to index in {', '.join(map(str, paths))}: no pictures, texts "
                         "or manifests that could be read")
    collection = _open_or_create(directory, model)
    with progress("indexing", lambda: sum(1 for _ in iter_items(
            paths, exclude=exclude or (), scan=Scan()))) as advance:
        report = collection.add(chain([first] if first else [], items), scan=scan,
                                progress=advance)
    _print_report(collection, report, json_)


@app.command()
def query(
    texts: Annotated[list[str] | None, typer.Argument(
        metavar="[TEXT]...", help="What to look for, in words.")] = None,
    image: Annotated[list[Path] | None, typer.Option(
        metavar="FILE", help="A picture to look for, indexed or not. Repeatable.")] = None,
    without: Annotated[list[str] | None, typer.Option(
        "--not", metavar="TEXT", help="Keep away from this. Repeatable.")] = None,
    without_image: Annotated[list[Path] | None, typer.Option(
        "--not-image", metavar="FILE", help="Keep away from this picture. Repeatable.")] = None,
    weight: Annotated[list[float] | None, typer.Option(
        "--weight", metavar="W", help="One for each text, then each picture.")] = None,
    find: Annotated[Find, typer.Option(help="What to find.")] = Find.image,
    top: Annotated[int, typer.Option("-k", "--top", help="How many results.")] = 10,
    where: WhereOption = None,
    directory: IndexOption = DEFAULT_INDEX,
    model: ModelOption = None,
    json_: JsonOption = False,
    filepath_only: Annotated[bool, typer.Option(
        "--filepath-only", help="Print paths alone, one a line, for pipes.")] = False,
    html: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Write a contact sheet of the results.")] = None,
    preview: Annotated[bool, typer.Option(
        "--preview", help="Show the pictures in the terminal, where it can.")] = False,
) -> None:
    """Find images by words, images by images, or words by images.

    Example: mmsearch query "a dog on the beach" --where "taken>=2020" -k 5

    Example: mmsearch query --image cat.jpg --find text
    """
    from mmsearch import present
    from mmsearch.collection import Collection

    collection = Collection.open(directory, model=model)
    hits = collection.search(
        text=texts or (), image=image or (), without=without or (),
        without_image=without_image or (), weights=weight or (), k=top, where=where or (),
        find=find.value)
    title = " + ".join([*(texts or ()), *map(str, image or ())])
    if html:
        html.write_text(present.contact_sheet(hits, title=title), "utf-8")
        say(f"wrote {html}")
    if not hits:
        say(_why_nothing(collection, find, bool(where)))
    _print_hits(hits, json_=json_, filepath_only=filepath_only, preview=preview)


@app.command(name="eval")
def evaluate(
    pairs: Annotated[Path, typer.Argument(
        metavar="PAIRS", help="Images and captions: .jsonl, .csv, .tsv, or Karpathy's .json.")],
    directory: Annotated[Path | None, typer.Option(
        "-i", "--index", help="Search this collection; without it, the pairs alone are encoded.",
    )] = None,
    split: Annotated[str | None, typer.Option(help="Only pairs of this split.")] = None,
    k: Annotated[list[int] | None, typer.Option(
        "-k", help="Cut-offs of recall@k (default 1, 5, 10). Repeatable.")] = None,
    model: ModelOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap intervals.")] = 0,
    json_: JsonOption = False,
) -> None:
    """Measure recall@k, MRR and median rank, text to image and image to text.

    Example: mmsearch eval captions.jsonl --split test
    """
    from mmsearch import present
    from mmsearch.collection import Collection
    from mmsearch.evaluate import load_pairs, splits
    from mmsearch.retrieval import evaluate_collection, evaluate_model

    loaded = load_pairs(pairs, split=split)
    if len(mixed := splits(loaded)) > 1:
        say(f"note: all splits together ({', '.join(mixed)}); choose one with --split")
    cutoffs = tuple(k or (1, 5, 10))
    with progress("encoding", lambda: sum(len(pair.captions) + (directory is None)
                                           for pair in loaded)) as advance:
        if directory is None:
            evaluation = evaluate_model(loaded, model=model or "builtin", ks=cutoffs, seed=seed,
                                        progress=advance)
        else:
            evaluation = evaluate_collection(Collection.open(directory, model=model), loaded,
                                             ks=cutoffs, seed=seed, progress=advance)
    say_skipped(evaluation.skipped)
    if json_:
        print_json(evaluation.to_json())
        return
    console().print(present.report_table(evaluation.report))
    for name, value in (evaluation.ann or {}).items():
        print(f"approximate index against exact search: {name} {value:.3f}")


@app.command()
def info(directory: IndexOption = DEFAULT_INDEX, json_: JsonOption = False) -> None:
    """What is in a collection: counts, model, size on disk, index kind.

    Example: mmsearch info -i indexes/default
    """
    from mmsearch import present
    from mmsearch.collection import Collection

    facts = Collection.open(directory).info()
    print_json(facts) if json_ else console().print(present.info_table(facts))


@app.command()
def delete(
    paths: Annotated[list[Path] | None, typer.Argument(
        metavar="[PATH]...", help="Files, or folders with all below them.")] = None,
    where: WhereOption = None,
    directory: IndexOption = DEFAULT_INDEX,
    json_: JsonOption = False,
) -> None:
    """Remove items from a collection; the files themselves are not touched.

    Example: mmsearch delete ~/Pictures/screenshots
    """
    from mmsearch.collection import Collection
    from mmsearch.sources import path_to_uri

    uris = [path_to_uri(os.path.abspath(path)) for path in paths or ()]  # noqa: PTH100
    count = Collection.open(directory).delete(uris, where=where or ())
    print_json({"deleted": count}) if json_ else print(f"deleted {count} items")


@app.command()
def verify(directory: IndexOption = DEFAULT_INDEX, json_: JsonOption = False) -> None:
    """Check every checksum and count; exit code 0 when all is sound, 1 when not.

    Example: mmsearch verify -i indexes/default
    """
    from mmsearch.collection import Collection

    problems = Collection.open(directory).verify()
    if json_:
        print_json({"sound": not problems, "problems": problems})
    else:
        print("\n".join(problems) or f"{directory} is sound")
    if problems:
        raise typer.Exit(1)


@app.command()
def compact(directory: IndexOption = DEFAULT_INDEX, json_: JsonOption = False) -> None:
    """Merge segments, drop what was deleted, renew the approximate index.

    Example: mmsearch compact
    """
    from mmsearch.collection import Collection

    collection = Collection.open(directory)
    before = collection.info()
    collection.compact()
    after = collection.info()
    if json_:
        print_json({"before": before, "after": after})
    else:
        print(f"segments {before['segments']} -> {after['segments']}, "
              f"bytes {before['bytes']} -> {after['bytes']}")


@app.command()
def train(
    pairs: Annotated[Path, typer.Argument(
        metavar="PAIRS", help="JSONL of {image, captions, split}.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Where the model is written.")],
    val: Annotated[Path | None, typer.Option(
        help="Pairs to choose the best epoch on (default: split 'val' of PAIRS).")] = None,
    base: Annotated[str, typer.Option(help="The model whose towers are kept.")] = "builtin",
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    batch_size: Annotated[int, typer.Option(min=2)] = 512,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-4,
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")] = False,
    json_: JsonOption = False,
) -> None:
    """Train the projection heads of a model on pairs of images and captions (towers frozen).

    Example: mmsearch train captions.jsonl -o models/mine
    """
    from mmsearch import train as training
    from mmsearch.sources import Skipped

    config = training.TrainConfig(base=base, val=val, epochs=epochs, batch_size=batch_size, lr=lr,
                                  seed=seed, resume=resume)
    result = training.train(pairs, out, config, on_epoch=lambda r: say(
        f"epoch {r.epoch}/{r.epochs}  "
        f"{'closed form' if r.epoch == 0 else f'loss {r.loss:.3f}'}  val R@10 "
        f"{r.recall.text_to_image[2]:.3f} text to image, {r.recall.image_to_text[2]:.3f} back "
        f"(gallery {r.recall.gallery})"))
    say_skipped([Skipped(path, reason) for path, reason in result.skipped.items()])
    if json_:
        print_json(asdict(result))
    else:
        print(f"wrote {out} (epoch {result.best_epoch}); use it: mmsearch index PATH --model {out} "
              "-i DIR")


@app.command()
def demo(directory: IndexOption = Path("indexes/demo")) -> None:
    """Index the pictures that come with mmsearch, and search them three ways.

    Example: mmsearch demo
    """
    from mmsearch.showcase import show

    show(directory)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"mmsearch {__version__}")
        raise typer.Exit


@app.callback()
def _options(version: Annotated[bool, typer.Option(
        "--version", callback=_show_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; errors become one line on stderr and an exit code."""
    sys.exit(_run())


def _run() -> Any:
    from mmsearch.present import safe_text

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: `>&-`
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        except SystemExit as stop:
            sys.stdout.flush()
            return stop.code
    except MmsearchError as error:
        say(f"mmsearch: {safe_text(str(error))}")
        return error.exit_code
    except OSError as error:
        say(f"mmsearch: {safe_text(str(error.filename or 'the output'))}: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left to print has nowhere to go
        return 1
    return 0


# -- printing ------------------------------------------------------------------------------------


def _open_or_create(directory: Path, model: str | None) -> Collection:
    from mmsearch.collection import Collection
    from mmsearch.errors import CollectionNotFound

    try:
        return Collection.open(directory, model=model)
    except CollectionNotFound:
        return Collection.create(directory, model=model or "builtin")


def _print_report(collection: Collection, report: AddReport, json_: bool) -> None:
    facts = asdict(report) | {"items": collection.info()["items"]}
    if json_:
        print_json(facts)
    else:
        say_skipped(report.skipped)
        numbers = {name: value for name, value in facts.items() if isinstance(value, int) and value}
        numbers["skipped"] = len(report.skipped)
        print(", ".join(f"{name} {value}" for name, value in numbers.items()))
    if report.skipped and not facts["items"]:
        raise typer.Exit(1)


def _print_hits(hits: list[Hit], *, json_: bool, filepath_only: bool, preview: bool) -> None:
    from mmsearch import present

    if json_:
        print_json(present.hits_json(hits))
    elif filepath_only:
        for path in present.filepaths(hits):
            if sys.stdout.isatty():
                print(present.safe_text(path))
            else:  # as it is named on disk, for the next program
                sys.stdout.buffer.write(os.fsencode(path) + b"\n")
    elif preview:
        present.preview(hits, console())
    elif sys.stdout.isatty():
        console().print(present.hits_table(hits))
    else:
        print(present.hits_tsv(hits), end="")


def _why_nothing(collection: Collection, find: Find, filtered: bool) -> str:
    kinds = collection.info()["kinds"]
    if filtered:
        return "nothing meets the condition"
    if find is not Find.any and find.value not in kinds and kinds:
        return f"no {find.value}s in this collection; try --find {next(iter(kinds))}"
    return "this collection is empty; fill it with `mmsearch index PATH`"
