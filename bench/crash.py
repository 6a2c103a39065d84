"""Kill `mmsearch index` with SIGKILL at random moments, and see that nothing is lost.

    python bench/crash.py --kills 100

Every kill must leave a collection that opens, verifies, and holds all that the kills before it
left, under the same ids. A collection is killed up to five times, at moments spread evenly over
what is left to do; the run after that must end, and the collection must then equal one that was
never interrupted. Then comes the next collection, until there have been enough kills. Runs commit
every few pictures instead of every few seconds, so that kills fall on every step of a commit. A
SIGKILL is the death of the process; a power cut is not simulated. Exit code 0 if all is well, 1 if
not.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from measure import arguments, content, machine, table, write_json
from photos import make_photos

from mmsearch.collection.collection import Collection
from mmsearch.errors import CollectionNotFound

COMMIT_ROWS, KILLS_EACH = 16, 5
INDEX = f"""
import sys
from mmsearch.ingest import work
work.FIRST_SHARD, work.SMALLEST, work.LARGEST = {COMMIT_ROWS}, {COMMIT_ROWS}, {COMMIT_ROWS}
from mmsearch.cli import main
main()
"""
"""The command line, but for the size of a commit."""
VECTOR_TOLERANCE = 2e-3
"""Vectors are stored as float16, and batches cut elsewhere round differently."""
Content = dict[tuple[str, str], tuple]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--photos", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="builtin")
    args = parser.parse_args()
    print(machine())
    counts, chance = Counter({"kills": 0}), random.Random(args.seed)
    sources = make_sources(args.cache / f"crash-{args.photos}", args.photos)
    path, reference = args.cache / "crash-run", args.cache / "crash-reference"
    command = [sys.executable, "-c", INDEX, "index", *map(str, sources), "--model", args.model,
               "-i"]
    shutil.rmtree(reference, ignore_errors=True)
    full, idle = (finish([*command, str(reference)]) for _ in range(2))
    wanted = content(reference)
    print(f"{len(wanted)} items; a whole run takes {full:.1f} s, one with nothing to do "
          f"{idle:.1f} s", flush=True)
    while counts["kills"] < args.kills:
        shutil.rmtree(path, ignore_errors=True)
        known: Content = {}
        for _ in range(min(KILLS_EACH, args.kills - counts["kills"])):
            left = 1 - len(known) / len(wanted)
            if not killed([*command, str(path)], chance.uniform(0, idle + left * (full - idle))):
                counts["runs that ended before their kill came"] += 1
                break
            counts["kills"] += 1
            known = checked(path, known, counts)
            if not wanted.keys() - known.keys():
                break
        finish([*command, str(path)])
        if difference := first_difference(sound(path), wanted):
            raise SystemExit(f"after the last run the collection {path} differs: {difference}")
        counts["collections completed"] += 1
        print(f"{counts['kills']} kills survived", file=sys.stderr)
    print(table(("", "number"), list(counts.items())))
    print("every reopen was sound, nothing committed was lost, every collection was completed")
    write_json(args.json, **counts)


def make_sources(folder: Path, count: int) -> list[Path]:
    """A folder of photos, and a manifest with captions for every other one of them."""
    photos = make_photos(folder / "photos", count)
    manifest = folder / "captions.jsonl"
    lines = [{"image": str(photo.absolute()), "captions": [f"Photo number {n}."]}
             for n, photo in enumerate(photos[::2])]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [folder / "photos", manifest]


def finish(command: list[str]) -> float:
    """-> the seconds that it took."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"a run ended with {done.returncode}:\n{done.stderr}")
    return time.perf_counter() - start


def killed(command: list[str], after: float) -> bool:
    """Whether it was, and had not ended by itself."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=after)
    except subprocess.TimeoutExpired:  # this kills it, with SIGKILL
        return True
    if done.returncode:
        raise SystemExit(f"a run after a kill ended with {done.returncode}:\n{done.stderr}")
    return False


def checked(path: Path, known: Content, counts: Counter[str]) -> Content:
    """What a kill left behind; ends the bench if something that was there is not."""
    try:
        now = sound(path)
    except CollectionNotFound:
        now = {}
        counts["of these, before there was a collection"] += 1
    if lost := [key for key, row in known.items() if key not in now or now[key][:3] != row[:3]]:
        raise SystemExit(f"{len(lost)} of {len(known)} committed items are lost or changed, such "
                         f"as {lost[0]}: see {path}")
    counts["of these, left something new"] += len(now) > len(known)
    return now


def sound(path: Path) -> Content:
    collection = Collection.open(path)
    problems = collection.verify()
    collection.close()
    if problems:
        raise SystemExit(f"{path} is not sound: {problems[0]}")
    return content(path)


def first_difference(found: Content, wanted: Content) -> str:
    """What tells two collections apart, in words; empty if nothing does (ids may differ)."""
    if other := found.keys() ^ wanted.keys():
        return f"{len(other)} items are missing or too many, such as {min(other)}"
    for key, (_, *said, vector) in wanted.items():
        _, *now, there = found[key]
        if now != said or not np.allclose(vector, there, atol=VECTOR_TOLERANCE):
            return f"{key} has another content or vector"
    return ""


if __name__ == "__main__":
    main()
