"""What each loss and setting of `mmsearch train` gives: recall and modality gap on validation.

    python bench/training.py PAIRS.jsonl --pictures 1000 --gallery 400

The features of the first pictures of split train and val are computed once. Every row trains heads
on them with the defaults but for what its name says. "fresh" starts from the closed form alone;
"tuned" starts from the heads of the built-in model. The best epoch and blend are chosen on the
gallery that the figures are of, as `mmsearch train` does, so all are a little kind; "last" is the
text to image R@1/5/10 of the last epoch, unblended. The gap is the distance between the centres of
pictures and captions there.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measure import arguments, machine, table, write_json

from mmsearch.encoders import OnnxEncoder, load_encoder
from mmsearch.evaluation import load_pairs
from mmsearch.training.closed_form import closed_form_heads
from mmsearch.training.config import EpochReport, TrainConfig
from mmsearch.training.contrastive import fit
from mmsearch.training.features import encode
from mmsearch.training.heads import read_heads

SETTINGS: dict[str, dict[str, Any]] = {
    "infonce": {},
    "infonce, hard negatives 0.25": {"hard_negatives": 0.25},
    "infonce, 5 captions": {"captions": 5},
    "siglip": {"loss": "siglip"},
    "siglip, 5 captions": {"loss": "siglip", "captions": 5},
    "infonce, ema 0.95": {"ema": 0.95},
    "infonce, adversarial 1": {"adversarial": 1.0},
    "infonce, adversarial 10": {"adversarial": 10.0},
    "infonce, adversarial 100": {"adversarial": 100.0},
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--gallery", type=int, default=400)
    parser.add_argument("--start", choices=("fresh", "tuned"), default="fresh")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="settings with these words in their names")
    options = parser.parse_args()
    base = load_encoder("builtin")
    assert isinstance(base, OnnxEncoder)
    pairs = [pair for pair in load_pairs(options.pairs) if pair.captions]
    cache = options.cache / "training"
    data, val = (encode(base, [p for p in pairs if p.split == split][:most], cache, {},
                        mirrored=split == "train")
                 for split, most in (("train", options.pictures), ("val", options.gallery)))
    start = closed_form_heads(data,
                              read_heads(base.directory) if options.start == "tuned" else None)

    rows, figures = [], []
    for name, changed in SETTINGS.items():
        if options.only not in name:
            continue
        found = []
        for seed in range(options.seeds):
            config = TrainConfig(epochs=options.epochs, batch_size=options.batch_size,
                                 lr=options.lr, seed=seed, **changed)
            reports: list[EpochReport] = []
            with tempfile.TemporaryDirectory() as work:
                best = fit(start, data, val, config, Path(work), reports.append)
            last, first = reports[-1], reports[0]
            found.append([*best.recall.text_to_image, *best.recall.image_to_text,
                          *last.recall.text_to_image, last.gap,
                          sum(r.seconds for r in reports)])
        mean = np.mean(found, axis=0)
        if not rows:
            rows.append(["start", *_shown([*first.recall.text_to_image,
                                           *first.recall.image_to_text]), "", f"{first.gap:.3f}",
                         ""])
        rows.append([name, *_shown(mean[:9]), f"{mean[9]:.3f}", f"{mean[10]:.0f}"])
        figures.append({"name": name, "runs": found})
        print(rows[-1], flush=True)
    print(f"{machine()}; {data.images.shape[1]} pictures, gallery {val.images.shape[1]}, "
          f"{options.seeds} seeds, from {options.start} heads")
    print(table(["setting", "text to image", "image to text", "last", "gap", "s"], rows))
    write_json(options.json, figures=figures)


def _shown(recalls: Any) -> list[str]:
    """In per cent, three and three."""
    return [" / ".join(f"{100 * one:.1f}" for one in recalls[at : at + 3])
            for at in range(0, len(recalls), 3)]


if __name__ == "__main__":
    main()
