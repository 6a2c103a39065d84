"""Photos per second from a cold start to a committed index, beside the bare encoder and rclip.

    python bench/encode.py --setup-rclip python3.12 --count 600
    python bench/encode.py --random ViT-B-32-256 --setup-rclip python3.12

With --random, mmsearch runs that open_clip architecture with random weights, in int8 and float32
(rclip's own is ViT-B-32-256), exported before anything is measured.

The bare encoder is the same model in a process of its own that has the pictures decoded and
resized in memory already, on all cores: no indexer can be faster than that.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from measure import (
    Measured,
    arguments,
    index_run,
    machine,
    measure,
    medians,
    random_weights,
    table,
    write_json,
)
from photos import make_photos
from rclip_peer import Rclip, add_arguments, from_arguments

IN_MEMORY = 128
"""Pictures the bare encoder is given over and over."""
HEAD = ("", "photos/s", "seconds", "CPU s", "peak MB", "of the bare encoder", "encoder busy")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=600, help="photos (default 600)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--models", nargs="+", default=["builtin"], help="mmsearch's models")
    parser.add_argument("--random", metavar="ARCHITECTURE",
                        help="in their place, random weights of this open_clip architecture")
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    add_arguments(parser)
    args = parser.parse_args()
    args.photos = args.cache / f"photos-{args.count}"
    photos = make_photos(args.photos, args.count)
    if args.bare:
        print(bare_rate(args.model, photos))
        return
    if args.random:
        args.models = random_models(args.random, args.cache)
    print(machine())
    megabytes = sum(file.stat().st_size for file in photos) / 1e6
    print(f"{args.count} JPEG photos of 1 to 4 megapixels, {megabytes:.0f} MB in all")
    print(f"cold process, warm page cache; median of {args.runs}")
    result = compare(args, from_arguments(args, args.cache))
    print(table(HEAD, rows(result)))
    write_json(args.json, **result)


def compare(args: argparse.Namespace, peer: Rclip | None) -> dict[str, Any]:
    """Run the bare encoder, mmsearch and rclip in turn; -> figures by name."""
    if peer:
        print("rclip's models have random weights: its speed counts, its index means nothing")
    bare: dict[str, list[float]] = {model: [] for model in args.models}
    own: dict[str, list[Measured]] = {model: [] for model in args.models}
    others: list[Measured] = []
    for _ in range(args.runs):
        for model in args.models:
            bare[model].append(bare_encoder(args, model))
            own[model].append(index_with_mmsearch(args, model))
        if peer:
            others.append(index_with_rclip(args, peer))
    result: dict[str, Any] = {"photos": args.count}
    for model in args.models:
        name = model.replace(f"/{args.cache.resolve()}/", " ")
        result[f"bare encoder, {name}"] = {"photos_per_second": round(median(bare[model]), 1)}
        result[f"mmsearch, {name}"] = figures(args.count, own[model], median(bare[model]))
    return {**result, "rclip": figures(args.count, others)} if peer else result


def figures(count: int, runs: list[Measured], bare: float | None = None) -> dict[str, Any]:
    found = medians(runs)
    found["photos_per_second"] = round(count / found["seconds"], 1)
    if bare is not None:
        cores = os.cpu_count() or 1  # each runs the encoder by itself
        encoding = [json.loads(run.output)["stages"]["encode"]["seconds"] / run.seconds / cores
                    for run in runs]
        found["of_bare_encoder"] = round(found["photos_per_second"] / bare, 3)
        found["encoder_busy"] = round(median(encoding), 3)
    return found


def rows(result: dict[str, Any]) -> list[list[object]]:
    lines: list[list[object]] = []
    for name, found in result.items():
        if name != "photos":
            numbers = [found.get(key, "-") for key in
                       ("photos_per_second", "seconds", "cpu_seconds", "peak_mb")]
            shares = [f"{found[key]:.0%}" if key in found else "-"
                      for key in ("of_bare_encoder", "encoder_busy")]
            lines.append([name, *numbers, *shares])
    return lines


def random_models(architecture: str, cache: Path) -> list[str]:
    """Names of an architecture with random weights, in int8 and float32, both with all that is kept
    of a model from its first use on."""
    from mmsearch.encoders import load_encoder
    from mmsearch.search.relevance import kept_calibration

    file = random_weights(architecture, cache)
    models = [f"{architecture}/{file}@{precision}" for precision in ("int8", "fp32")]
    for model in models:
        kept_calibration(load_encoder(model))
    return models


def index_with_mmsearch(args: argparse.Namespace, model: str) -> Measured:
    run = index_run(args.photos, args.cache, model)
    report = json.loads(run.output)
    if report["items"] != args.count or report["skipped"]:
        raise SystemExit(f"mmsearch indexed {report['items']} of {args.count} photos: {report}")
    return run


def index_with_rclip(args: argparse.Namespace, peer: Rclip) -> Measured:
    """rclip indexes as part of a query, so its time includes one (about half a second)."""
    datadir = peer.datadir(args.cache / "rclip-index-run")
    (datadir / "db.sqlite3").unlink(missing_ok=True)
    run = peer.run(datadir, args.photos, "--top", "100", "a dog")
    if len(run.output.splitlines()) <= min(args.count, 100):
        raise SystemExit(f"rclip did not find its photos: {run.output}")
    return run


def bare_encoder(args: argparse.Namespace, model: str) -> float:
    """Pictures per second of the encoder alone, in a process of its own."""
    command = [sys.executable, __file__, "--bare", "--count", str(args.count),
               "--model", model, "--cache", str(args.cache)]
    return float(measure(command).output)


def bare_rate(model: str, photos: list[Path]) -> float:
    from mmsearch.encoders import load_encoder
    from mmsearch.media.decoding import decode

    encoder = load_encoder(model)
    prepared = [encoder.prepare(decode(photo, min_side=encoder.min_side).image)
                for photo in photos[:IN_MEMORY]]
    encoder.encode_images(prepared[:1])  # the first call loads and optimises the graph
    pictures = list(islice(cycle(prepared), len(photos)))
    start = time.perf_counter()
    encoder.encode_images(pictures)
    return len(pictures) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
