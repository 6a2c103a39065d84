"""What the README and the docs show is so: their commands and examples run, on real pictures."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import DEMO
from serving import Serving
from test_architecture import FLOORS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
         ROOT / "bench" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text("utf-8")
SETUP = ["python3 -m venv .venv", ".venv/bin/pip install -e '.[cpu]'", "make test"]
"""What needs a network and minutes; `.ci/run` runs the make targets, and they run the others."""


def blocks(page: Path, language: str = "") -> list[str]:
    found = re.findall(r"```(\w*)\n(.*?)```", page.read_text("utf-8"), re.S)
    return [block for name, block in found if name == language]


def commands(page: Path) -> list[str]:
    lines = [line.removeprefix(".venv/bin/") if "mmsearch" in line else line
             for block in blocks(page) for line in block.splitlines()]
    return [line for line in lines if line.strip()]


def searches(page: Path) -> list[str]:
    return [line for line in commands(page) if line.startswith("mmsearch ")]


EXAMPLES = [(page, code) for page in PAGES for code in blocks(page, "python")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with indexed pictures, and a working directory with the files that the pages name."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(DEMO, home / "Pictures")
    shutil.copy(DEMO / "cat.jpg", home / "cat.jpg")
    shutil.copy(DEMO / "bus.jpg", home / "street.jpg")
    shutil.copy(DEMO / "dogs.jpg", home / "Pictures" / "IMG_2041.jpg")
    for n in (1, 2, 3):
        shutil.copy(DEMO / "dogs.jpg", home / f"rex{n}.jpg")
    (home / "Pictures" / "notes.txt").write_text("a cat\n")
    assert run(home, "mmsearch index ~/Pictures").returncode == 0
    return home


def run(home: Path, command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(command, shell=True, cwd=home, capture_output=True, text=True,
                          timeout=300, env={**os.environ, "HOME": str(home), "PATH": path})


@pytest.mark.parametrize("command", searches(PAGES[0]) + searches(ROOT / "docs" / "queries.md"))
def test_a_command_works(home: Path, command: str) -> None:
    done = run(home, command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() or "--html" in command or "--where" in command


def test_the_commands_of_training_work_one_after_the_other(home: Path) -> None:
    pytest.importorskip("torch")
    lines = (DEMO / "captions.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    (home / "captions.jsonl").write_text("".join(
        json.dumps(row | {"image": str(DEMO / row["image"])}) + "\n" for row in rows))
    for command in searches(ROOT / "docs" / "training.md"):
        done = run(home, command)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_the_commands_of_other_pages_work_one_after_the_other(home: Path) -> None:
    for command in searches(ROOT / "docs" / "teaching.md") + searches(
            ROOT / "docs" / "similar.md"):
        done = run(home, command)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_the_other_commands_are_those_that_make_runs() -> None:
    assert [c for c in commands(PAGES[0]) if not c.startswith("mmsearch ")] == SETUP
    makefile = (ROOT / "Makefile").read_text()
    assert "-m venv .venv" in makefile
    assert "pip install" in makefile
    assert "-e '.[cpu]'" in makefile
    assert re.search(r"^make test$", (ROOT / ".ci/run").read_text(), re.M)


def test_the_sample_is_what_the_command_prints(home: Path) -> None:
    (sample,) = blocks(PAGES[0], "console")
    command, _, *lines = sample.splitlines()
    assert run(home, "mmsearch demo").returncode == 0
    done = run(home, command.removeprefix("$ ") + " --json")
    for line, hit in zip(lines, json.loads(done.stdout), strict=True):
        rank, score, per_cent, _, path = line.split()
        assert int(rank) == hit["rank"]
        assert float(score) == pytest.approx(hit["score"], abs=0.01)
        assert int(per_cent) / 100 == pytest.approx(hit["relevance"], abs=0.02)
        assert hit["uri"] == str(DEMO.parent.parent / path)


def test_the_commands_of_the_table_exist() -> None:
    shown = set(re.findall(r"`mmsearch (\w+)", README))
    text = subprocess.run([sys.executable, "-m", "mmsearch", "--help"], capture_output=True,
                          text=True, check=True).stdout
    assert all(re.search(rf"^\W+{name}\b", text, re.M) for name in shown)


@pytest.mark.parametrize(("page", "code"), EXAMPLES, ids=[page.stem for page, _ in EXAMPLES])
def test_a_python_example_runs(home: Path, page: Path, code: str, demo_server: Serving) -> None:
    code = code.replace("http://photos.local:8080", str(demo_server.client.base_url))
    done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= code.count("print(")


def test_the_readme_is_short() -> None:
    assert len(README.split()) < 700


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = re.findall(r"\]\((\w+\.md)\)", index.read_text("utf-8"))
    assert sorted(linked) == sorted(page.name for page in index.parent.glob("*.md")
                                    if page != index)


def test_the_floors_are_those_of_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    floors: list[set[str]] = [set() for _ in FLOORS]
    for floor, rooms in re.findall(r"^\| (\d) \| ([^|]+) \|", text, re.M):
        floors[int(floor)] |= set(re.findall(r"\w+", rooms))
    assert floors == FLOORS


def test_what_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooms = "|".join(sorted(set().union(*FLOORS)))
    names = re.findall(rf"`((?:{rooms})\.\w[\w.]*)`", text)
    assert len(names) > 30
    for name in names:
        assert named(name), name


def named(name: str) -> Any:
    """The module, class, function or method that a name like `ingest.work.Work.shards` is of."""
    parts = name.split(".")
    at: Any = import_module("mmsearch")
    for n, part in enumerate(parts, 1):
        try:
            at = import_module(".".join(["mmsearch", *parts[:n]]))
        except ModuleNotFoundError:
            at = getattr(at, part)
    return at
