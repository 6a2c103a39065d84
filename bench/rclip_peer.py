"""rclip 4.0.8 as the peer to measure against: set up, filled with vectors, run.

It runs CLIP ViT-B/32 at 256 pixels as two ONNX files in float32, which it fetches from a hub. For
machines without one, files are made here of that architecture, with those inputs and outputs, and
of that size, with random weights: they cost the same time and memory; what they find means nothing.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from measure import Measured, measure

VERSION = "4.0.8"
DIM = 512
ARCHITECTURE = "ViT-B-32-256"
MODELS = "ViT-B-32-256-datacomp_s34b_b86k"
VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
LEGAL_FILES = ("LICENSE", "OPENAI-CLIP-MIT.txt", "README.md", "THIRD_PARTY_NOTICES.md")
NOTE = "Random weights made by mmsearch's bench/rclip_peer.py. Good for speed only.\n"

# Runs inside rclip's own Python: its database class writes its own schema.
FILL = """
import sys
import numpy as np
from rclip.db import DB
database, folder, rows, dim = DB(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
random = np.random.default_rng(0)
for n in range(rows):
    vector = random.standard_normal(dim, dtype=np.float32)
    vector /= np.linalg.norm(vector)
    database.upsert_image(dict(filepath=f"{folder}/photo-{n:07d}.jpg", modified_at=0.0,
        size=n, vector=vector.tobytes(), hash=f"{n:064x}"), commit=False)
database.close()
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the peer, rclip (left out without one of these)")
    group.add_argument("--rclip", type=Path, help="path of the rclip command to measure against")
    group.add_argument(
        "--setup-rclip",
        metavar="PYTHON",
        help=f"install rclip {VERSION} into the cache with this Python (3.12) and use it",
    )


@dataclass(frozen=True)
class Rclip:
    """An rclip command and a folder with its models; every use gets a data folder of its own."""

    command: Path
    models: Path

    def datadir(self, path: Path) -> Path:
        """A folder for RCLIP_DATADIR that shares the models."""
        path.mkdir(parents=True, exist_ok=True)
        for name in (MODELS, "tokenizer", *LEGAL_FILES):
            link = path / name
            if not link.is_symlink():
                link.symlink_to((self.models / name).absolute())
        return path

    def fill(self, datadir: Path, folder: Path, rows: int) -> None:
        """Put `rows` unit vectors for photos in `folder` into the database; keeps a full one."""
        done = datadir / f"filled-{rows}"
        if not done.exists():
            (datadir / "db.sqlite3").unlink(missing_ok=True)
            python = str(self.command.with_name("python"))
            where = [str(datadir / "db.sqlite3"), str(folder.absolute())]
            subprocess.run([python, "-c", FILL, *where, str(rows), str(DIM)], check=True)
            done.touch()

    def run(self, datadir: Path, folder: Path, *arguments: str) -> Measured:
        env = {"RCLIP_DATADIR": str(datadir.absolute()), "HF_HUB_OFFLINE": "1"}
        return measure([str(self.command.absolute()), *arguments], env=env, cwd=folder)


def from_arguments(args: argparse.Namespace, cache: Path) -> Rclip | None:
    """The rclip that the command line asks for, with models in place; None if it asks for none."""
    command: Path | None = args.rclip
    if args.setup_rclip:
        command = cache / "rclip" / "bin" / "rclip"
        if not command.exists():
            subprocess.run([args.setup_rclip, "-m", "venv", cache / "rclip"], check=True)
            pip = str(command.with_name("pip"))
            subprocess.run([pip, "install", "--quiet", f"rclip=={VERSION}"], check=True)
    if command is None:
        return None
    models = cache / "rclip-models"
    if not (models / "tokenizer").exists():
        print("making rclip's models with random weights: speed only", file=sys.stderr)
        write_models(models)
    return Rclip(command, models)


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
