"""Kill `mmsearch index` with SIGKILL at random moments, and see that nothing is lost.

    python bench/crash.py --kills 100

Every kill must leave a collection that opens, passes `mmsearch verify`, and holds all that the
kills before it left, under the same ids. A collection is killed up to five times, at moments spread
evenly over what is left to do; the run after that must end, and the collection must then equal one
that was never interrupted. Then comes the next collection, until there have been enough kills. Runs
commit every few pictures instead of every few seconds, so that kills fall on every step of a
commit. A SIGKILL is the death of the process; a power cut is not simulated. Exit code 0 if all is
well, 1 if not.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from measure import MMSEARCH, machine, table
from photos import make_photos

from mmsearch.collection.collection import Collection
from mmsearch.errors import CollectionNotFound

COMMIT_ROWS = 16
KILLS_EACH = 5
INDEX = f"""
import sys
from mmsearch.ingest import plan
plan.FIRST_SHARD, plan.SMALLEST, plan.LARGEST = {COMMIT_ROWS}, {COMMIT_ROWS}, {COMMIT_ROWS}
from mmsearch.cli import main
main()
"""
"""The command line, but for the size of a commit."""
VECTOR_TOLERANCE = 2e-3
"""Vectors are stored as float16, and batches cut elsewhere round differently."""

Content = dict[tuple[str, str], tuple[int, str, str, np.ndarray[Any, np.dtype[np.float32]]]]
"""(uri, kind) -> id, hash, text, vector"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--photos", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    print(machine())
    crashes = Crashes(args)
    crashes.run()
    print(table(("", "number"), list(crashes.counts.items())))
    print("every reopen was sound, nothing committed was lost, every collection was completed")
    if args.json:
        args.json.write_text(json.dumps(dict(crashes.counts), indent=1))


@dataclass
class Crashes:
    """The whole bench: a reference, then collections that are killed until `kills` is reached."""

    args: argparse.Namespace
    counts: Counter[str] = field(default_factory=lambda: Counter(kills=0))

    def __post_init__(self) -> None:
        self.random = random.Random(self.args.seed)
        self.sources = make_sources(self.args.cache / f"crash-{self.args.photos}", self.args.photos)
        self.path: Path = self.args.cache / "crash-run"

    def run(self) -> None:
        reference, self.full_seconds, self.idle_seconds = self.uninterrupted()
        print(f"{len(reference)} items; a whole run takes {self.full_seconds:.1f} s, "
              f"one with nothing to do {self.idle_seconds:.1f} s")
        while self.counts["kills"] < self.args.kills:
            shutil.rmtree(self.path, ignore_errors=True)
            self.kill_several(len(reference))
            self.complete(reference)
            self.counts["collections completed"] += 1
            print(f"{self.counts['kills']} kills survived", file=sys.stderr)

    def uninterrupted(self) -> tuple[Content, float, float]:
        path = self.args.cache / "crash-reference"
        shutil.rmtree(path, ignore_errors=True)
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            self.finish(path)
            seconds.append(time.perf_counter() - start)
        return content(path), seconds[0], seconds[1]

    def kill_several(self, total: int) -> None:
        """Kill runs on one collection, each at a random moment of what is left to do."""
        known: Content = {}
        for _ in range(min(KILLS_EACH, self.args.kills - self.counts["kills"])):
            left = 1 - len(known) / total
            length = self.idle_seconds + left * (self.full_seconds - self.idle_seconds)
            if not self.killed(self.random.uniform(0, length)):
                self.counts["runs that ended before their kill came"] += 1
                return
            known = self.check(known)
            self.counts["kills"] += 1
            if len(known) == total:
                return

    def killed(self, after: float) -> bool:
        process = subprocess.Popen(
            self.command(self.path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            _, errors = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True
        if process.returncode:
            self.fail(f"a run after a kill ended with {process.returncode}:\n{errors}")
        return False

    def check(self, known: Content) -> Content:
        """What a kill left behind; ends the bench if something that was there is not."""
        try:
            now = content(self.path)
        except CollectionNotFound:
            now = {}
            self.counts["of these, before there was a collection"] += 1
        else:
            self.verify()
        if lost := [key for key, row in known.items() if key not in now or now[key][:3] != row[:3]]:
            self.fail(f"{len(lost)} of {len(known)} committed items are lost or changed: {lost[0]}")
        if len(now) > len(known):
            self.counts["of these, left something new"] += 1
        return now

    def complete(self, reference: Content) -> None:
        report = self.finish(self.path)
        self.verify()
        if difference := first_difference(content(self.path), reference):
            self.fail(f"after the last run the collection differs: {difference}")
        self.counts["items encoded by last runs"] += report["added"]

    def finish(self, path: Path) -> dict[str, Any]:
        done = subprocess.run(self.command(path), capture_output=True, text=True)
        if done.returncode:
            self.fail(f"a run ended with {done.returncode}:\n{done.stderr}")
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def verify(self) -> None:
        done = subprocess.run([*MMSEARCH, "verify", "-i", str(self.path)],
                              capture_output=True, text=True)
        if done.returncode:
            self.fail(f"verify ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def command(self, path: Path) -> list[str]:
        return [sys.executable, "-c", INDEX, "index", *map(str, self.sources), "-i", str(path),
                "--json", "--model", self.args.model]

    def fail(self, what: str) -> NoReturn:
        kept = self.path.with_name("crash-failed")
        shutil.rmtree(kept, ignore_errors=True)
        if self.path.exists():
            shutil.copytree(self.path, kept)
        raise SystemExit(f"after {self.counts['kills']} kills: {what}\n(the collection: {kept})")


def make_sources(folder: Path, count: int) -> list[Path]:
    """A folder of photos, and a manifest with captions for every other one of them."""
    photos = make_photos(folder / "photos", count)
    manifest = folder / "captions.jsonl"
    lines = [{"image": str(photo.absolute()), "captions": [f"Photo number {n}."]}
             for n, photo in enumerate(photos[::2])]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [folder / "photos", manifest]


def content(path: Path) -> Content:
    """Everything in a collection, read as a program would read it."""
    collection = Collection.open(path)
    try:
        found: Content = {}
        for kind in ("image", "text"):
            rows, vectors = collection.vectors(kind)
            for row, vector in zip(rows, vectors, strict=True):
                found[row.item.uri, kind] = row.id, row.hash, row.item.text, vector
        return found
    finally:
        collection.close()


def first_difference(found: Content, wanted: Content) -> str:
    """What tells two collections apart, in words; empty if nothing does (ids may differ)."""
    if missing := wanted.keys() - found.keys():
        return f"{len(missing)} items are missing, such as {min(missing)}"
    if extra := found.keys() - wanted.keys():
        return f"there are {len(extra)} items too many, such as {min(extra)}"
    for key, (_, digest, text, vector) in wanted.items():
        if (digest, text) != found[key][1:3]:
            return f"{key} has another content"
        if not np.allclose(vector, found[key][3], atol=VECTOR_TOLERANCE):
            return f"{key} has another vector"
    return ""


if __name__ == "__main__":
    main()
