"""Kill a writer that adds, replaces, deletes, merges and compacts, while others search.

    python bench/churn.py --kills 100

Items come in pairs, and every commit adds, replaces or deletes both of a pair. Readers in processes
of their own search all the while, and open, verify and count now and then: none may ever see an
error, half a pair, or two versions of one. After every SIGKILL the collection must be sound and
hold all that was acknowledged; what was under way is there whole or not at all. Approximate
indexes are built as for a collection a thousand times as large. Vectors are random, so that kills
fall into commits and merges and not into an encoder. Exit code 0 if all is well, 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from measure import arguments, random_shards, write_json

from mmsearch.collection.collection import Collection
from mmsearch.indexes import kinds
from mmsearch.records import Item, Vectors
from mmsearch.storage.catalog import CATALOG, Catalog

State = dict[int, int]
"""pair -> version, of the pairs that are there"""
DIM = 16
ANN_FROM = 60
AT_ONCE = 8
MOST = 150


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="a writer works, at most")
    parser.add_argument("--storm", action="store_true", help="compact after every single change")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--role", choices=["drive", "write", "read"], default="drive",
                        help=argparse.SUPPRESS)
    args = parser.parse_args()
    {"drive": drive, "write": write, "read": read}[args.role](args)


# -- the driver ------------------------------------------------------------------------------------


def drive(args: argparse.Namespace) -> None:
    rng, counts = random.Random(args.seed), Counter[str]()
    folder = args.cache / "churn"
    path, journal = folder / "index", folder / "journal"
    shutil.rmtree(folder, ignore_errors=True)
    Collection.create(path).close()
    with closing(Catalog(path / CATALOG, write=True)) as catalog:
        catalog.put_settings({"dim": DIM})
    readers = [start(args, "read", seed) for seed in range(args.readers)]
    state: State = {}
    try:
        for n in range(args.kills):
            writer = start(args, "write", rng.randrange(1 << 30))
            # Every other one may end its first change, on however slow a machine.
            while writer.poll() is None and not (journal.exists() and (
                    n % 2 or "done" in journal.read_text())):
                time.sleep(0.01)
            time.sleep(rng.uniform(0, args.seconds))
            writer.send_signal(signal.SIGKILL)
            _, errors = writer.communicate()
            if writer.returncode != -signal.SIGKILL:
                fail(f"the writer ended by itself:\n{errors}")
            counts["kills"] += 1
            state = check(path, state, journal.read_text(), counts)
            journal.unlink()
            if dead := [reader for reader in readers if reader.poll() is not None]:
                fail(f"a reader failed:\n{dead[0].communicate()[1]}")
    finally:
        (folder / "stop").touch()
        results = [reader.communicate() for reader in readers]
    for reader, (output, errors) in zip(readers, results, strict=True):
        if reader.returncode:
            fail(f"a reader failed:\n{errors}")
        counts["searches"] += int(output)
    collection = Collection.open(path)
    collection.compact()
    named = {info.name for info in Catalog(path / CATALOG).segments()}
    there = {p.name for p in [*(path / "segments").iterdir(), *path.glob("ann-*")]}
    if named != there or collection.verify():
        fail(f"after a last compaction: {there ^ named} {collection.verify()}")
    print(json.dumps(counts))
    write_json(args.json, **counts)
    print("every reopen was sound, nothing acknowledged was lost, no reader saw half a change")


def start(args: argparse.Namespace, role: str, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--role", role, "--cache", str(args.cache), "--seed",
               str(seed), *(["--storm"] if args.storm else [])]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=env)


def check(path: Path, state: State, journal: str, counts: Counter[str]) -> State:
    """The state after a kill, which must be one that the journal allows."""
    lines = [json.loads(line) for line in journal.splitlines() if line.endswith("}")]
    begun: State | None = None
    for line in lines:
        if "done" in line:
            counts[line["done"]] += 1
            state = begun or {}
        begun = {int(pair): version for pair, version in line["state"].items()} \
            if "state" in line else None
    collection = Collection.open(path)
    if problems := collection.verify():
        fail(f"not sound: {problems[0]}")
    rows, _ = collection.vectors("text")
    found = pairs([row.item for row in rows])
    collection.close()
    if found != state and found != begun:
        fail(f"lost or changed: {sorted(found.items() ^ state.items())[:5]}")
    return found


def pairs(items: Iterable[Item]) -> State:
    """-> the pairs; ends the process if one is not whole."""
    seen: dict[int, list[int]] = {}
    for item in items:
        pair, version = item.meta["pair"], item.meta["version"]
        if item.text != text_of(pair, version, item.uri[-1]):
            fail(f"{item} has another text")
        seen.setdefault(pair, []).append(version)
    if torn := [pair for pair, versions in seen.items()
                if len(versions) != 2 or versions[0] != versions[1]]:
        fail(f"pair {torn[0]} is not whole: versions {seen[torn[0]]}")
    return {pair: versions[0] for pair, versions in seen.items()}


def fail(what: str) -> Any:
    raise SystemExit(what)


# -- the writer ------------------------------------------------------------------------------------


def write(args: argparse.Namespace) -> None:
    """Change the collection at random, saying before each change what it will lead to, and after
    it that it is done."""
    kinds.EXACT_UP_TO, kinds.AUTO = ANN_FROM, "ivf-rabitq"  # so few rows train no other
    rng, collection = random.Random(args.seed), Collection.open(args.cache / "churn" / "index")
    state = pairs(row.item for row in collection.vectors("text")[0])
    _ = collection.encoder
    sys.stdout = (args.cache / "churn" / "journal").open("w", encoding="utf-8")
    while True:
        what = rng.choice(["add", "add", "replace", "delete", "compact"])
        some = rng.sample(sorted(state), min(len(state), rng.randint(1, AT_ONCE)))
        if what == "add" and len(state) < MOST:
            first = rng.randrange(1 << 40)
            change(collection, state, {first + n: 0 for n in range(rng.randint(1, AT_ONCE))}, what)
        elif what == "replace":
            change(collection, state, {pair: state[pair] + 1 for pair in some}, what)
        elif what == "delete" and some:
            state = {pair: version for pair, version in state.items() if pair not in some}
            say(state=state)
            collection.delete([f"/pair/{pair}" for pair in some])
            say(done=what)
        if what == "compact" or args.storm:
            say(state=state)
            collection.compact()
            say(done="compact")


def change(collection: Collection, state: State, versions: State, what: str) -> None:
    state.update(versions)
    say(state=state)
    collection.add(items_of(versions), run=lambda _, shards: random_shards(shards, DIM))
    say(done=what)


def say(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def items_of(versions: State) -> Iterator[Item]:
    for pair, version in versions.items():
        for half in "ab":
            text = text_of(pair, version, half)
            yield Item(f"/pair/{pair}/{half}", "text", text, f"/pair/{pair}",
                       {"pair": pair, "version": version}, f"text:{text}")


def text_of(pair: int, version: int, half: str) -> str:
    return f"pair {pair} version {version} {half}"


def unit() -> Vectors:
    vector = np.random.default_rng().standard_normal((1, DIM)).astype(np.float32)
    return vector / np.linalg.norm(vector)


# -- the readers -----------------------------------------------------------------------------------


def read(args: argparse.Namespace) -> None:
    """Search until told to stop; any error or half a change ends the process with exit code 1."""
    folder, searches = args.cache / "churn", 0
    path, stop = folder / "index", folder / "stop"
    collection = Collection.open(path)
    while not stop.exists():
        whole = collection.search(vector=unit()[0], find="text", k=4 * MOST, collapse=False,
                                  where="pair >= 0")  # exactly, then, and all that are there
        pairs(hit.item for hit in whole)
        for hit in collection.search(vector=unit()[0], find="text", k=10):  # by the index
            if hit.item.text != text_of(hit.item.meta["pair"], hit.item.meta["version"],
                                        hit.item.uri[-1]):
                fail(f"{hit} has another text")
        searches += 2
        time.sleep(0.005)
        if searches % 20 == args.seed % 20:
            if problems := collection.verify():
                fail(f"verify says {problems[0]}")
            if collection.info()["items"] % 2:
                fail("an odd number of items")
            collection.close()
            collection = Collection.open(path)
    print(searches)


if __name__ == "__main__":
    main()
