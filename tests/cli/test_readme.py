"""Every command in the README runs, on real pictures, as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DEMO

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.S)
COMMANDS = [line for language, block in BLOCKS if not language for line in block.splitlines()]
SETUP = ["make demo", "python3 -m venv .venv", ".venv/bin/pip install -e '.[cpu]'", "make test",
         "make lint"]
"""What needs a network and minutes; `.ci/run` runs the make targets, and they run the others."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with pictures in it, and a working directory with the files that the README names."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(DEMO, home / "Pictures")
    shutil.copy(DEMO / "cat.jpg", home / "cat.jpg")
    shutil.copy(DEMO / "dogs.jpg", home / "Pictures" / "IMG_2041.jpg")
    (home / "Pictures" / "notes.txt").write_text("a cat\n")
    return home


def run(home: Path, command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(command, shell=True, cwd=home, capture_output=True, text=True,
                          timeout=300, env={**os.environ, "HOME": str(home), "PATH": path})


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("mmsearch")])
def test_a_command_of_the_readme_works(home: Path, command: str) -> None:
    if "index" not in command and not (home / "indexes").exists():
        assert run(home, "mmsearch index ~/Pictures").returncode == 0
    done = run(home, command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() or "--html" in command or "--where" in command


def test_the_other_commands_are_those_that_make_runs() -> None:
    assert [c for c in COMMANDS if not c.startswith("mmsearch")] == SETUP
    makefile = (ROOT / "Makefile").read_text()
    assert "-m venv .venv" in makefile
    assert "pip install" in makefile
    assert "-e '.[cpu]'" in makefile
    assert re.search(r"^make test$", (ROOT / ".ci/run").read_text(), re.M)


def test_the_commands_of_the_table_exist() -> None:
    named = set(re.findall(r"`mmsearch (\w+)", README))
    text = subprocess.run([sys.executable, "-m", "mmsearch", "--help"], capture_output=True,
                          text=True, check=True).stdout
    assert all(re.search(rf"^\W+{name}\b", text, re.M) for name in named)


def test_the_python_example_runs(home: Path) -> None:
    assert run(home, "mmsearch index ~/Pictures").returncode == 0
    code = next(block for language, block in BLOCKS if language == "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 5, done.stderr


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    assert len(README.split()) < 700
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
