"""`mmsearch demo`: index the pictures that come with the package, then search them three ways."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from shutil import which

from mmsearch.cli.options import IndexOption
from mmsearch.cli.terminal import console, progress

PICTURES = Path(__file__).parent.parent / "demo"
WORDS = "a bird on a branch"
EXAMPLE, DESCRIBED = "blue-flowers.jpg", "lake.jpg"


def demo(directory: IndexOption = Path("indexes/demo")) -> None:
    """Index the pictures that come with mmsearch, and search them three ways.

    Example: mmsearch demo
    """
    from mmsearch.cli import present
    from mmsearch.collection import Collection
    from mmsearch.sources import Scan, iter_items

    manifest, out = PICTURES / "captions.jsonl", console()
    _print_command(f"index {manifest} -i {directory}")
    start = time.perf_counter()
    collection, scan = Collection.create(directory), Scan()
    with progress("indexing", lambda: sum(1 for _ in iter_items([manifest], scan=Scan()))) as tick:
        report = collection.add(iter_items([manifest], scan=scan), scan=scan, progress=tick)
    kinds = collection.info()["kinds"]
    out.print(f"{kinds['image']} pictures and {kinds['text']} captions, {report.added} of them "
                  f"new, in {time.perf_counter() - start:.1f} s")

    example, described = PICTURES / EXAMPLE, PICTURES / DESCRIBED
    _print_command(f'query "{WORDS}" -k 3 -i {directory}', "words to images")
    out.print(present.hits_table(collection.search(text=WORDS, k=3)))
    _print_command(f"query --image {example} -k 3 -i {directory}", "image to images")
    out.print(present.hits_table(collection.search(image=example, k=3)))
    _print_command(f"query --image {described} --find text -k 3 -i {directory}", "image to words")
    out.print(present.hits_table(collection.search(image=described, find="text", k=3)))
    collection.close()

    out.print("\nNow yours:")
    _print_command("index ~/Pictures")
    _print_command('query "a dog on the beach"')


def _print_command(line: str, what: str = "") -> None:
    """Print a command as it can be typed here: with its path, unless the shell finds it."""
    heading = f"\n{what}\n" if what else ""
    program = "mmsearch" if which("mmsearch") else sys.argv[0]
    console().print(f"{heading}$ {program} {line}", markup=False, soft_wrap=True)
