"""rclip 4.0.8 as the peer to measure against: set up, filled with vectors, run."""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from measure import Measured, measure
from rclip_random_weights import LEGAL_FILES, MODELS, write_models

VERSION = "4.0.8"
DIM = 512

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
