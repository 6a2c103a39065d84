"""Shared fixtures: the pictures that ship with the package, collections made of them, the CLI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Read when NumPy, FAISS and torch are loaded, here and in what the tests start: threads that wait
# do not keep a core busy, which other tests want. Those of OpenBLAS always do.
os.environ |= {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np
import pytest
from hypothesis import settings
from running import run_here

import mmsearch
from mmsearch.collection.collection import AddReport, Collection
from mmsearch.encoders import Reranker, load_encoder, reranker_of
from mmsearch.records import Item, Vectors
from mmsearch.sources.folders import Scan, iter_items

if TYPE_CHECKING:
    from httpx import Client
    from serving import Serving

settings.register_profile("mmsearch", deadline=None)
settings.load_profile("mmsearch")
DEMO = Path(mmsearch.__file__).parent / "demo"
Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def unit_vectors(rows: int, dim: int, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def flip(path: Path, at: int, mask: int = 16) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= mask
    path.write_bytes(data)


def add(collection: Collection, *paths: Path) -> AddReport:
    scan = Scan()
    return collection.add(iter_items(paths, scan=scan), scan=scan)


def numbers(report: AddReport) -> dict[str, int]:
    """What it counts, but for zeros."""
    return {name: value for name, value in vars(report).items() if isinstance(value, int) and value}


def scanned(*paths: Path | str, **options: Any) -> tuple[list[Item], Scan]:
    scan = Scan()
    return list(iter_items(paths, scan=scan, **options)), scan


def approximate_from(patch: pytest.MonkeyPatch, rows: int) -> None:
    """As if so few rows were many: an index of the kind that so few can train."""
    patch.setattr("mmsearch.indexes.kinds.EXACT_UP_TO", rows)
    patch.setattr("mmsearch.indexes.kinds.AUTO", "ivf-rabitq")


@contextmanager
def somebody_else() -> Iterator[None]:
    """Root may read everything, so that a test run as root has to become someone who may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Exported models go into a directory of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of one's own with a dozen of the shipped pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in sorted(DEMO.glob("*.jpg"))[:12]:
        shutil.copy(name, folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """An empty one."""
    return Collection.create(tmp_path / "index")


@pytest.fixture(scope="session")
def demo_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of all shipped pictures and their captions; for reading only."""
    path = tmp_path_factory.mktemp("demo") / "index"
    add(Collection.create(path), DEMO / "captions.jsonl")
    return path


@pytest.fixture(scope="session")
def reranker() -> Reranker:
    """That of the built-in model."""
    found = reranker_of(load_encoder("builtin"))
    assert found is not None
    return found


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs `mmsearch ARGS…` in an empty directory; as a process of its own only if it is asked for
    (process=True), or given what only a process has, such as an environment."""
    work = tmp_path / "work"
    work.mkdir()

    def run(*args: object, process: bool = False, **options: Any
            ) -> subprocess.CompletedProcess[str]:
        if not process and options.keys() <= {"check", "cwd", "text"}:
            return run_here(*args, **{"cwd": work, **options})
        return subprocess.run(
            [sys.executable, "-m", "mmsearch", *map(str, args)],
            **{"cwd": work, "capture_output": True, "text": True, "timeout": 120, **options})

    return run


@pytest.fixture(scope="session")
def served_index(demo_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `demo_index` for `demo_server`, which answers what is asked of its directory."""
    path = tmp_path_factory.mktemp("served") / "index"
    shutil.copytree(demo_index, path, ignore=shutil.ignore_patterns("*.sock"))
    return path


@pytest.fixture(scope="session")
def demo_server(served_index: Path) -> Iterator[Serving]:
    """A server of what is in `demo_index`, for reading only."""
    from serving import serving

    with serving("-i", served_index) as server:
        yield server


@pytest.fixture(scope="session")
def client(demo_server: Serving) -> Client:
    """Asks that server."""
    return demo_server.client
