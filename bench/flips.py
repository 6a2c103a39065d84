"""Flip one byte in each file of a collection, at many places: what is found, repaired, lost, said?

    python bench/flips.py --places 200

The collection has pictures, captions and lines of a text, dead rows, and an approximate index. Each
flip is one of a fresh copy, which `mmsearch verify` then looks at and repairs. Exit code 1 if a
flip in a file of a segment or an index goes unnoticed, if a repair lost or altered an item and did
not name it (altered: or say that nobody can tell), or if what was repaired is still not sound.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measure import arguments, content, table, write_json
from photos import DEMO

from mmsearch.collection.collection import Collection
from mmsearch.collection.repair import repair_collection
from mmsearch.errors import MmsearchError
from mmsearch.indexes import kinds
from mmsearch.records import Problem
from mmsearch.sources.folders import Scan, iter_items
from mmsearch.storage.verify import find_problems

PICTURES = ("apple", "bus", "cat", "dogs", "guitar", "pizza", "wren")
UNREAD = ("lock", "writer.json", "catalog.db-shm", "catalog.db-wal")
OUTCOMES = ("unnoticed, nothing changed", "unnoticed, a cell changed", "repaired in full",
            "repaired, losses named", "repaired, a cell changed", "not repaired, and said", "WRONG")
Content = dict[tuple[str, str], tuple[Any, ...]]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--places", type=int, default=200, help="in each file")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    kinds.EXACT_UP_TO, kinds.AUTO = 12, "ivf-rabitq"  # so few rows train no other
    sound, rng = made(args.cache.absolute() / "flips"), random.Random(args.seed)
    outcomes: dict[str, Counter[str]] = {}
    for path in sorted(path for path in sound.rglob("*") if path.is_file()):
        if path.name not in UNREAD:
            counts = outcomes.setdefault(path.name, Counter())
            for _ in range(args.places):
                at, mask = rng.randrange(path.stat().st_size), 1 << rng.randrange(8)
                outcome, why = flipped(sound, path.relative_to(sound), at, mask)
                counts[outcome] += 1
                if outcome == "WRONG":
                    print(f"{path.name}, byte {at} ^ {mask}: {why}", file=sys.stderr)
    print(table(("file", *OUTCOMES), [(name, *(str(counts[one]) for one in OUTCOMES))
                                      for name, counts in outcomes.items()]))
    write_json(args.json, **outcomes)
    sys.exit(any(counts["WRONG"] for counts in outcomes.values()))


def made(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "photos").mkdir(parents=True)
    for name in PICTURES:
        shutil.copy(DEMO / f"{name}.jpg", folder / "photos")
    lines = [line for line in (DEMO / "captions.jsonl").read_text().splitlines()
             if Path(json.loads(line)["image"]).stem in PICTURES]
    (folder / "photos" / "captions.jsonl").write_text("\n".join(lines))
    (folder / "notes.txt").write_text("".join(f"note {n} of a sunny day\n" for n in range(60)))
    collection = Collection.create(folder / "index")
    for source in (folder / "photos" / "captions.jsonl", folder / "notes.txt"):
        scan = Scan()
        collection.add(iter_items([source], scan=scan), scan=scan)
        collection.delete([str(folder / "photos" / "bus.jpg")])
    collection.close()
    return folder / "index"


def flipped(sound: Path, file: Path, at: int, mask: int) -> tuple[str, str]:
    """What comes of one flip, and where that is wrong, why."""
    index = sound.with_name("flipped")
    shutil.rmtree(index, ignore_errors=True)
    shutil.copytree(sound, index)
    data = bytearray((index / file).read_bytes())
    data[at] ^= mask
    (index / file).write_bytes(data)
    before = content(sound)
    try:
        if not find_problems(index):
            same = not list(differences(before, content(index)))
            if file.name != "catalog.db":
                return "WRONG", "unnoticed"
            return OUTCOMES[0 if same else 1], ""
        problems = repair_collection(index)
        left = find_problems(index)
    except MmsearchError as error:  # a newer format, it seems
        return OUTCOMES[5], str(error)
    if left and all(problem.fixed for problem in problems):
        return "WRONG", f"said to be repaired: {left[0]}"
    if left:
        return OUTCOMES[5], ""
    return judged(before, content(index), problems)


def judged(before: Content, after: Content, problems: list[Problem]) -> tuple[str, str]:
    said = [problem for problem in problems if not problem.fixed]
    doubted = [problem for problem in said if "--reread" in problem.reason]
    named = {problem.file for problem in said if problem not in doubted}
    unnamed = [key for key in differences(before, after) if key[0] not in named]
    lost = [key for key in unnamed if key not in after]
    if lost and not any("other items were lost" in problem.reason for problem in said):
        return "WRONG", f"{lost} lost, and nobody says so: {[*map(str, problems)]}"
    if unnamed and not (lost or doubted):
        return "WRONG", f"{unnamed} altered, and nobody says so: {[*map(str, problems)]}"
    return OUTCOMES[3 if named else 4 if unnamed else 2], ""


def differences(before: Content, after: Content) -> Iterator[tuple[str, str]]:
    """Items that are not as they were, or not there."""
    for key, (_, _, *said, vector) in before.items():
        _, _, *now, there = after.get(key, (*[None] * 5, np.zeros(1)))
        if now != said or not np.allclose(vector, there, atol=2e-3):
            yield key


if __name__ == "__main__":
    main()
