"""Whether memory stays flat: `mmsearch index` over 1,000, 10,000 and 50,000 photos.

    pip install '.[cpu,bench]'
    python bench/memory.py --sizes 1000 10000 50000

Every size starts an index of its own; the last one is then brought up to date once more, with
nothing to do, which remembers one number for each file. Memory is the process's own (`sampled.py`).
Prints a table, and draws the memory over the files done into the cache.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import struct
import sys
from collections.abc import Sequence
from contextlib import closing
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from measure import MMSEARCH, machine, table
from photos import demo_pictures, piece
from sampled import Sampled, run_sampled

BASES, SIZE = 48, (320, 240)
A_FOLDER = 1000
LONGEST_COMMENT = 8192
SHARES = (0.25, 0.5, 0.75, 1.0)
POINTS = 200
"""Of a line in the plot."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 50_000],
                        help="numbers of photos, whole thousands")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--plot", type=Path, metavar="FILE",
                        help="default: memory.svg in the cache")
    args = parser.parse_args()
    print(machine())
    folders = make_copies(args.cache / "memory-photos", max(args.sizes))
    found: list[dict[str, Any]] = []
    index = args.cache / "memory-index"
    for size in sorted(args.sizes):
        shutil.rmtree(index, ignore_errors=True)
        found.append(measured(f"{size:,}", folders[: size // A_FOLDER], index, size))
    found.append(measured("the same again", folders[: size // A_FOLDER], index, size, again=True))
    shutil.rmtree(index, ignore_errors=True)
    print(table(("photos", "images/s", "peak MB", *(f"MB at {s:.0%}" for s in SHARES),
                 "B/photo from 25%", "files open"), [row(one) for one in found]))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "runs": found}, indent=1))
    plot([one for one in found if one["files"] > A_FOLDER], args.plot or args.cache / "memory.svg")


def make_copies(folder: Path, count: int) -> list[Path]:
    """`count` photos in folders of a thousand; existing folders are kept.

    They are some dozen pictures, each with a comment that no other file has, in a JPEG segment
    that no decoder looks at: so no two files have the same content, and few the same size.
    """
    bases = base_pictures()
    folders = [folder / f"{n:03d}" for n in range(-(-count // A_FOLDER))]
    for number, one in enumerate(folders):
        if one.exists():
            continue
        new = one.with_suffix(".partial")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        for n in range(number * A_FOLDER, (number + 1) * A_FOLDER):
            choose = random.Random(n)
            comment = f"{n} ".encode() + choose.randbytes(choose.randrange(LONGEST_COMMENT))
            segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
            base = bases[n % BASES]
            (new / f"{n:06d}.jpg").write_bytes(base[:2] + segment + base[2:])
        new.rename(one)
    return folders


def base_pictures() -> list[bytes]:
    choose, pictures, found = random.Random(0), demo_pictures(), []
    for n in range(BASES):
        file = BytesIO()
        piece(choose, pictures[n % len(pictures)], *SIZE).save(file, "JPEG", quality=85)
        found.append(file.getvalue())
    return found


def measured(name: str, folders: Sequence[Path], index: Path, size: int, *, again: bool = False
             ) -> dict[str, Any]:
    """One run of the command, and its figures; ends the bench if that did not index everything."""
    # In a run with nothing to do nothing is committed: its samples go by time.
    run = run_sampled([*MMSEARCH, "index", *map(str, folders), "-i", str(index), "--json"],
                      lambda: 0 if again else items_in(index), every=0.05 if again else 0.25)
    report = json.loads(run.output) if run.code == 0 else {}
    counted = report.get("unchanged" if again else "added")
    if counted != size or report["skipped"]:
        raise SystemExit(f"{name}: {counted} of {size} photos, exit code {run.code}: "
                         f"{run.output[:500]}{run.errors[-2000:]}")
    line = over_time(run, size) if again else over_files(run, size)
    quarters = [round(value_at(line, share * size)) for share in SHARES]
    steady = [(done, mb) for done, mb in line if done >= SHARES[0] * size]
    slope = np.polyfit(*np.array(steady).T, 1)[0] * 1e6 if len(steady) > 2 else float("nan")
    print(f"{name}: {run.seconds:.0f} s, peak {run.peak_mb():.0f} MB", file=sys.stderr, flush=True)
    return {"name": name, "files": size, "seconds": round(run.seconds, 1),
            "images_per_second": round(size / run.seconds, 1), "peak_mb": round(run.peak_mb()),
            "mb_at": quarters, "bytes_per_file": round(slope),
            "files_open": max(one.descriptors for one in run.samples),
            "line": [(round(done), round(mb, 1)) for done, mb in line]}


def items_in(index: Path) -> int:
    """How many items are committed, 0 before there is a catalog."""
    try:
        with closing(sqlite3.connect(f"file:{index / 'catalog.db'}?mode=ro", uri=True)) as catalog:
            return int(catalog.execute("SELECT count(*) FROM items").fetchone()[0])
    except sqlite3.Error:
        return 0


def over_files(run: Sampled, size: int) -> list[tuple[float, float]]:
    """(files done, MB): files are committed some hundred or thousand at a time, and taken to be
    done evenly between two commits."""
    marks = [(0.0, 0)]
    for one in run.samples:
        if one.done > marks[-1][1]:
            marks.append((one.seconds, one.done))
    marks.append((run.seconds, size))
    line: list[tuple[float, float]] = []
    for (since, first), (until, last) in pairwise(marks):
        line += [(first + (last - first) * (one.seconds - since) / (until - since), one.own_mb)
                 for one in run.samples if since <= one.seconds < until]
    return line


def over_time(run: Sampled, size: int) -> list[tuple[float, float]]:
    return [(size * one.seconds / run.seconds, one.own_mb) for one in run.samples]


def value_at(line: Sequence[tuple[float, float]], done: float) -> float:
    """MB when so many files were done: the median of what is within 2 % of the run."""
    near = sorted(line, key=lambda point: abs(point[0] - done))[: max(1, len(line) // 50)]
    return float(np.median([mb for _, mb in near]))


def row(one: dict[str, Any]) -> list[object]:
    return [one["name"], one["images_per_second"], one["peak_mb"], *one["mb_at"],
            one["bytes_per_file"], one["files_open"]]


def plot(runs: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"  # letters as letters: a tenth of the size
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    for one in runs:
        every = max(1, len(one["line"]) // POINTS)
        axes.plot(*np.array(one["line"][::every]).T, linewidth=1, label=one["name"])
    axes.set(xlabel="photos indexed", ylabel="own memory, MB", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    print(f"drawn: {path}")


if __name__ == "__main__":
    main()
