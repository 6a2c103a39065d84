"""Give rclip models of the right shape with random weights, for machines without a model hub.

    python bench/rclip_random_weights.py DATADIR        needs mmsearch[train,openclip]
    RCLIP_DATADIR=DATADIR rclip …

rclip 4.0.8 runs CLIP ViT-B/32 at 256 pixels as two ONNX files in float32. These here have that
architecture, those inputs and outputs, and that size, so they cost the same time and memory; what
they find means nothing. **Good for speed only.**
"""

from __future__ import annotations

import argparse
import shutil
from importlib.resources import files
from pathlib import Path

ARCHITECTURE = "ViT-B-32-256"
MODELS = "ViT-B-32-256-datacomp_s34b_b86k"
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
LEGAL_FILES = ("LICENSE", "OPENAI-CLIP-MIT.txt", "README.md", "THIRD_PARTY_NOTICES.md")
NOTE = "Random weights made by mmsearch's bench/rclip_random_weights.py. Good for speed only.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datadir", type=Path, help="what RCLIP_DATADIR will name")
    write_models(parser.parse_args().datadir)


def write_models(datadir: Path) -> None:
    """Write whatever rclip would have downloaded into `datadir`; does nothing if it is there."""
    models, tokenizer = datadir / MODELS, datadir / "tokenizer"
    models.mkdir(parents=True, exist_ok=True)
    tokenizer.mkdir(exist_ok=True)
    if not ((models / "visual.onnx").exists() and (models / "textual.onnx").exists()):
        export(models)
    shutil.copy(str(files("open_clip") / VOCABULARY), tokenizer / VOCABULARY)
    # rclip asks the hub for these four unless they are there.
    for name in LEGAL_FILES:
        (datadir / name).write_text(NOTE)


def export(models: Path) -> None:
    import open_clip
    import torch

    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)  # its fused operator has no ONNX counterpart
    model = open_clip.create_model(ARCHITECTURE, pretrained=None).eval()

    class Text(torch.nn.Module):
        """The text tower as a module of its own."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = self.model.encode_text(tokens)
            return features

    tokens = torch.randint(1, 49000, (2, 77))
    # The end-of-text token has the highest number: the tower reads its features at that place.
    tokens[:, -1] = 49407
    towers = {
        "visual.onnx": (model.visual, torch.rand(2, 3, 256, 256)),
        "textual.onnx": (Text(), tokens),
    }
    for name, (tower, example) in towers.items():
        partial = models / f"{name}.partial"
        with torch.no_grad():
            torch.onnx.export(
                tower.eval(),
                (example,),
                str(partial),
                input_names=["input"],
                output_names=["output"],
                dynamic_axes={"input": {0: "n"}, "output": {0: "n"}},
                opset_version=17,
                dynamo=False,
            )
        partial.rename(models / name)


if __name__ == "__main__":
    main()
