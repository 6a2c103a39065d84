"""Approximate search side by side: mmsearch, plain FAISS, hnswlib, usearch, numpy.

    python bench/ann.py --sizes 10000 100000 1000000
    python bench/ann.py --only mmsearch,mmsearch:hnsw@0.99,hnswlib
    python bench/ann.py --only mmsearch --sizes 1000000 --filters

All of them search the same CLIP-like vectors (`clipvectors.py`) for the same queries, one after the
other, each in processes of its own. bench/README.md says how to read the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ann_data import Data, read_json
from ann_systems import files_of, installed, system
from ann_worker import TARGETS
from measure import CommandFailed, machine, measure, table

WORKER = Path(__file__).with_name("ann_worker.py")
SYSTEMS = ("mmsearch", "mmsearch@0.99", "faiss", "faiss@0.99", "hnswlib", "usearch", "usearch-f16",
           "numpy")
NUMPY_UP_TO = 1_000_000
HEAD = ("", "build s", "CPU s", "B/vector", "MB own", "mapped", "recall text", "image",
        "1 query ms", "p95", "image ms", "q/s 1 core", "q/s all", "how")
GROWTH_HEAD = ("", "vectors", "build s", "CPU s/1M", "B/vector", "MB own", "recall text", "image",
               "1 query ms", "q/s 1 core")
FILTER_HEAD = ("rows allowed", "share", "recall", "1 query ms", "p95")
# Not OMP_THREAD_LIMIT: FAISS 1.15 waits for ever where it gets fewer threads than it was told.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main() -> None:
    args = arguments()
    print(machine(), flush=True)
    results = {"machine": machine(), "sizes": [one_size(size, args) for size in args.sizes]}
    if len(args.sizes) > 1:
        print("\nhow mmsearch grows")
        print(table(GROWTH_HEAD, growth(results["sizes"])))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--only", default=",".join(SYSTEMS), help="systems, with commas between")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--filters", action="store_true",
                        help="measure mmsearch with filters instead")
    parser.add_argument("--build-only", action="store_true", help="build what is missing, and stop")
    parser.add_argument("--rebuild", action="store_true", help="build again what is in the cache")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    args.only = [name for name in args.only.split(",") if name]
    for name in args.only:
        system(name, Path())  # names what there is, if this is no system
    return args


def one_size(size: int, args: argparse.Namespace) -> dict[str, Any]:
    """Build and measure every system at one size, print its table; -> its figures."""
    print(f"\n{size:,} vectors of {args.dim} dimensions", flush=True)
    names = [name for name in args.only if usable(name, size, args.filters)]
    worker(args, size, "truth")
    found: dict[str, Any] = {"size": size}
    for name in names:
        built = build(name, size, args)
        if args.build_only or built is None:
            continue
        try:
            if args.filters:
                found[name] = filters(name, size, args)
            else:
                found |= figures(name, size, args, built)
        except CommandFailed as error:
            print(f"{name} is left out: {last_line(error)}", file=sys.stderr)
    if not args.filters and not args.build_only:
        print(table(HEAD, [row(name, one) for name, one in found.items() if name != "size"]),
              flush=True)
    return found


def usable(name: str, size: int, filters: bool) -> bool:
    if name == "numpy" and size > NUMPY_UP_TO:
        return False
    if filters:
        return name.startswith("mmsearch")
    if not installed(name):
        print(f"{name} is not installed and left out: pip install 'mmsearch[bench]'",
              file=sys.stderr)
        return False
    return True


def build(name: str, size: int, args: argparse.Namespace) -> dict[str, Any] | None:
    """What the build cost, when it was made; None if it failed."""
    files = files_of(name)
    path = Data(args.cache, size, args.dim, args.seed).path / files
    done = path.with_name(f"{files}.json")
    if args.rebuild and files == name:
        done.unlink(missing_ok=True)
    if not done.exists():
        shutil.rmtree(path, ignore_errors=True)
        print(f"building {files}, {size:,} vectors", file=sys.stderr, flush=True)
        try:
            figures = {**worker(args, size, "build", name=files), "machine": machine()}
        except CommandFailed as error:
            print(f"{name} is left out: {last_line(error)}", file=sys.stderr)
            return None
        done.write_text(json.dumps(figures))
    built: dict[str, Any] = read_json(done)
    return built


def figures(name: str, size: int, args: argparse.Namespace, built: dict[str, Any],
            ) -> dict[str, Any]:
    """-> figures by name; an HNSW peer has a name for each recall that it was tuned to."""
    efforts: dict[str, int] = {name: 0}
    if system(name, Path()).efforts:
        found = worker(args, size, "tune", name=name)
        for target in map(str, TARGETS):
            if target not in found:
                print(f"{name} does not reach recall {target}", file=sys.stderr)
        efforts = {f"{name}@{target}": point["effort"] for target, point in found.items()}
    shared = {key: built[key] / size if key == "bytes" else built[key]
              for key in ("seconds", "cpu_seconds", "bytes")}
    return {label: {**shared, **searched(name, size, args, effort)}
            for label, effort in efforts.items()}


def searched(name: str, size: int, args: argparse.Namespace, effort: int) -> dict[str, Any]:
    print(f"searching {name}{f' with ef {effort}' if effort else ''}, {size:,} vectors",
          file=sys.stderr, flush=True)
    task = {"name": name, "effort": effort}
    alone = worker(args, size, "search", threads=1, **task)
    every = worker(args, size, "search", threads=0, **task)
    return {**alone, "batch_qps_all": every["batch_qps"],
            **worker(args, size, "memory", threads=1, **task)}


def worker(args: argparse.Namespace, size: int, do: str, **task: Any) -> dict[str, Any]:
    """Do one thing in a process of its own, on one core where `threads` is 1; -> its figures."""
    asked = {"do": do, "cache": str(args.cache), "size": size, "dim": args.dim,
             "seed": args.seed, **task}
    command = [sys.executable, str(WORKER), json.dumps(asked)]
    alone = task.get("threads") == 1
    if not (alone and hasattr(os, "sched_setaffinity")):
        return answer(command, ONE_THREAD if alone else {})
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})  # children inherit it
    try:
        return answer(command, ONE_THREAD)
    finally:
        os.sched_setaffinity(0, before)


def answer(command: Sequence[str], env: dict[str, str]) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(measure(command, env=env).output.splitlines()[-1])
    return figures


def row(name: str, one: dict[str, Any]) -> list[object]:
    own, mapped = one.get("own_mb", one["rss_mb"]), one.get("mapped_mb")
    return [name, f"{one['seconds']:,.0f}", f"{one['cpu_seconds']:,.0f}", f"{one['bytes']:,.0f}",
            f"{own:,.0f}", "-" if mapped is None else f"{mapped:,.0f}",
            f"{one['recall_text']:.3f}", f"{one['recall_image']:.3f}", f"{one['ms_text']:.2f}",
            f"{one['ms_text_p95']:.2f}", f"{one['ms_image']:.2f}", f"{one['batch_qps']:,.0f}",
            f"{one['batch_qps_all']:,.0f}", one["facts"]]


def growth(sizes: Sequence[dict[str, Any]]) -> list[list[object]]:
    """One line for each of mmsearch's settings and size."""
    names = sorted({name for found in sizes for name in found if name.startswith("mmsearch")})
    return [[name, f"{found['size']:,}", f"{one['seconds']:,.0f}",
             f"{one['cpu_seconds'] / found['size'] * 1e6:,.0f}", f"{one['bytes']:,.0f}",
             f"{one.get('own_mb', one['rss_mb']):,.0f}", f"{one['recall_text']:.3f}",
             f"{one['recall_image']:.3f}", f"{one['ms_text']:.2f}", f"{one['batch_qps']:,.0f}"]
            for name in names for found in sizes if "recall_text" in (one := found.get(name, {}))]


def filters(name: str, size: int, args: argparse.Namespace) -> dict[str, Any]:
    found = worker(args, size, "filters", name=name, threads=1)
    print(f"{name}, one text query under a filter")
    print(table(FILTER_HEAD, [
        [which, f"{one['allowed']:.2%}", f"{one['recall']:.3f}", f"{one['ms']:.2f}",
         f"{one['ms_p95']:.2f}"] for which, one in found.items()]), flush=True)
    return found


def last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


if __name__ == "__main__":
    main()
