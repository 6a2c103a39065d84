"""What deploy/ says is true of this version: options, extras and files exist, and a backup that is
made under writing is whole. The proxies are in tests/server/test_proxies.py."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from threading import Event, Thread

import pytest
import yaml
from conftest import DEMO, Cli, add

from mmsearch.collection import Collection

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"


def instructions(name: str) -> list[tuple[str, str]]:
    """Of a Dockerfile: (RUN, what follows)."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / name).read_text("utf-8"), flags=re.M)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line.strip()]


def commands() -> dict[str, list[str]]:
    """What each file runs after the word `mmsearch`."""
    service = re.search(r"^ExecStart=\S*/mmsearch (.*)$",
                        (DEPLOY / "mmsearch.service").read_text("utf-8"), re.M)
    assert service is not None
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    found = {name: json.loads(dict(instructions(name))["CMD"])
             for name in ("Dockerfile", "Dockerfile.gpu")}
    return found | {"mmsearch.service": shlex.split(service[1]),
                    "compose.yaml": compose["services"]["mmsearch"]["command"]}


@pytest.mark.parametrize("name", sorted(commands()))
def test_the_options_that_are_given_exist(cli: Cli, name: str) -> None:
    done = cli(*commands()[name], "--help")
    assert done.returncode == 0 and "--token-file" in done.stdout, done.stderr
    assert cli(*commands()[name], "--no-such-option", "--help").returncode == 2


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu"])
def test_what_an_image_is_made_of_exists(name: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"]
    known = instructions(name)
    (asked,) = (value.partition("=")[2].split(",") for word, value in known if word == "ARG")
    assert "serve" in asked and set(asked) <= set(extras)
    sources = [one for word, value in known if word == "COPY" and not value.startswith("--from")
               for one in value.split()[:-1]]
    assert sources and all((ROOT / one).exists() for one in sources)
    assert [value for word, value in known if word == "USER"] == ["10001:10001"]


def test_both_images_differ_in_the_gpu_alone() -> None:
    one, other = ((DEPLOY / name).read_text("utf-8").splitlines()
                  for name in ("Dockerfile", "Dockerfile.gpu"))
    changed = [line for line in difflib.ndiff(one, other) if line[0] in "+-" and line[2:3] != "#"]
    assert all("EXTRAS=" in line or "NVIDIA" in line or "MMSEARCH_CACHE" in line
               for line in changed) and len(changed) == 5


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = (DEPLOY / "mmsearch.service").read_text("utf-8")
    here = tmp_path / "mmsearch.service"
    here.write_text(unit.replace("/opt/mmsearch/bin/mmsearch", sys.executable))
    done = subprocess.run([program, "verify", "--man=no", here], capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0 and here.name not in done.stderr, done.stderr


def test_a_backup_made_under_writing_is_whole(tmp_path: Path, photos: Path) -> None:
    for program in ("sh", "sqlite3", "rsync"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "mmsearch").write_text(f'#!/bin/sh\nexec {sys.executable} -m mmsearch "$@"\n')
    (binaries / "mmsearch").chmod(0o755)
    index, backup = tmp_path / "the index", tmp_path / "a 'backup'"
    stop, begun = Event(), Event()

    def write() -> None:
        """Each round is a commit; after eight, segments are merged and old ones removed."""
        with Collection.create(index) as collection:
            add(collection, photos)
            number = 0
            while not stop.is_set():
                number += 1
                shutil.copy(DEMO / "cat.jpg", photos / f"{number}.jpg")
                (photos / f"{number - 1}.jpg").unlink(missing_ok=True)
                with (photos / f"{number}.jpg").open("ab") as file:
                    file.write(b"%d" % number)  # no copy of the last one: it is encoded
                add(collection, photos)
                begun.set()

    writer = Thread(target=write)
    writer.start()
    try:
        assert begun.wait(120)
        for _ in range(2):  # a second time into the same place
            done = subprocess.run([DEPLOY / "backup.sh", index, backup], capture_output=True,
                                  text=True, timeout=120, env=os.environ | {
                                      "PATH": f"{binaries}:{os.environ['PATH']}"})
            assert done.returncode == 0, done.stderr
    finally:
        stop.set()
        writer.join()
    shutil.rmtree(index)
    with Collection.open(backup) as restored:
        (hit,) = restored.search(text="a colourful hot air balloon", k=1)
        assert Path(hit.item.uri).name == "balloons.jpg"
        assert restored.info()["items"] >= 13
        assert add(restored, photos).removed >= 1  # and goes on from there
