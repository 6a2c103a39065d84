"""What a GPU makes of an open_clip model: the bare model, and a whole run from files to an index.

    python bench/gpu.py                                    # ViT-B-32 and ViT-L-14 in bfloat16
    python bench/gpu.py --architectures ViT-S-32-alt --count 50 --batch 8       # also on a CPU

Weights are random: speed alone counts. Of the bare model, pictures lie on the device already. The
share of the peak is what the model computes (counted by torch) of what the device is sold for in
dense bfloat16 (--tflops says it where it is not known here).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import arguments, index_run, machine, random_weights, table, write_json
from photos import make_photos

PEAK = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L4": 121.0, "L40S": 362.0, "4090": 165.0}
"""Teraflops in dense bfloat16, from the makers' data sheets; of SXM boards where there are more."""
HEAD = ("model", "GFLOP/image", "bare images/s", "of the peak", "texts/s", "one text ms",
        "indexed images/s", "of the bare", "bound by")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--architectures", nargs="+", default=["ViT-B-32", "ViT-L-14"])
    parser.add_argument("--count", type=int, default=2000, help="photos to index (default 2000)")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--tflops", type=float, help="peak of the device in dense bfloat16")
    args = parser.parse_args()
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "no GPU"
    peak = args.tflops or next((tops for key, tops in PEAK.items() if key in name), None)
    print(f"{machine()}; {name}, torch {torch.__version__}")
    photos = args.cache / f"photos-{args.count}"
    make_photos(photos, args.count)
    results = [measured(architecture, device, peak, photos, args)
               for architecture in args.architectures]
    print(table(HEAD, [list(result.values()) for result in results]))
    write_json(args.json, device=name, results=results)


def measured(architecture: str, device: Any, peak: float | None, photos: Path,
             args: argparse.Namespace) -> dict[str, Any]:
    file = random_weights(architecture, args.cache)
    flops, images, texts, one = bare(architecture, device, args.batch, file)
    indexed, verdict = index(f"{architecture}/{file}@bf16", photos, args)
    return {"model": architecture, "gflop": round(flops / 1e9, 1), "images": round(images),
            "peak": f"{images * flops / peak / 1e12:.0%}" if peak else "-",
            "texts": round(texts), "text_ms": round(1e3 * one, 2), "indexed": round(indexed, 1),
            "of_bare": f"{indexed / images:.0%}", "bound": verdict}


def bare(architecture: str, device: Any, batch: int, file: Path) -> tuple[float, ...]:
    """FLOP an image; images and texts a second; seconds for a single text."""
    import open_clip
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = open_clip.create_model(architecture, str(file)).eval().to(device, torch.bfloat16)
    size = model.visual.image_size
    pixels = torch.randn(batch, 3, *(size if isinstance(size, tuple) else (size, size)),
                         device=device, dtype=torch.bfloat16)
    tokens = open_clip.get_tokenizer(architecture)(["a dog on the beach"] * batch).to(device)
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            model.encode_image(pixels[:1])
        return (counter.get_total_flops(),
                batch / seconds(lambda: model.encode_image(pixels, normalize=True), device),
                batch / seconds(lambda: model.encode_text(tokens, normalize=True), device),
                seconds(lambda: model.encode_text(tokens[:1], normalize=True), device))


def seconds(run: Callable[[], Any], device: Any, least: float = 2.0) -> float:
    """Of one call, on average over `least` seconds of them, once it has been warmed up."""
    import torch

    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    run()
    wait()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < least:
        run()
        wait()
        calls += 1
    return (time.perf_counter() - start) / calls


def index(model: str, photos: Path, args: argparse.Namespace) -> tuple[float, str]:
    """Photos a second of a whole run, its start and the loading of the model left out; and what
    bounds it."""
    from mmsearch.stages import Spent, bound

    report = json.loads(index_run(photos, args.cache, model).output)
    spent = {name: Spent(**one) for name, one in report["stages"].items()}
    return (args.count / report["seconds"],
            bound(spent, report["seconds"], report["cpu_seconds"], os.cpu_count() or 1))


if __name__ == "__main__":
    main()
