"""CPU time for a picture of the models with short names: image towers in float32, random weights.

    python bench/towers.py

Towers run by ONNX Runtime, one thread a run, two runs at once, as mmsearch runs them; the built-in
model runs as it ships. CPU time, unlike time on the clock, means something on a busy machine, too.
Needs the extra `openclip`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from measure import arguments, machine, table, write_json

from mmsearch.encoders import load_encoder
from mmsearch.encoders.choice import choices

CORES = 2


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=8, help="pictures (default 8)")
    args = parser.parse_args()
    print(machine())
    args.cache.mkdir(parents=True, exist_ok=True)
    seconds = {}
    for choice in choices().values():
        encode = built_in() if choice.model == "builtin" else tower(choice.model, args.cache)
        seconds[choice.model] = cpu_seconds(encode, args.count)
    rows = [(name, f"{spent:.3f}", f"{CORES / spent:.3g}") for name, spent in seconds.items()]
    print(table(("", "CPU seconds", f"pictures/s on {CORES} cores"), rows))
    write_json(args.json, cpu_seconds=seconds)


def cpu_seconds(encode: Callable[[], object], count: int) -> float:
    encode()  # the first run allocates
    start = time.process_time()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda _: encode(), range(count)))
    return (time.process_time() - start) / count


def built_in() -> Callable[[], object]:
    encoder = load_encoder()
    picture = np.zeros((encoder.min_side, encoder.min_side, 3), np.uint8)
    return lambda: encoder.encode_images([picture])


def tower(model: str, cache: Path) -> Callable[[], object]:
    import onnxruntime
    import open_clip
    import torch
    from open_clip.model import _build_vision_tower

    config = open_clip.get_model_config(model.partition("/")[0])
    side, path = config["vision_cfg"]["image_size"], cache / "tower.onnx"
    pixels = np.zeros((1, 3, side, side), np.float32)
    torch.backends.mha.set_fastpath_enabled(False)  # has no counterpart in ONNX
    module = _build_vision_tower(config["embed_dim"], config["vision_cfg"]).eval()
    torch.onnx.export(module, (torch.from_numpy(pixels),), path, input_names=["pixels"],
                      opset_version=17, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    path.unlink()
    return lambda: session.run(None, {"pixels": pixels})


if __name__ == "__main__":
    main()
