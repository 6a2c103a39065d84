"""What the benches share: options, tables, collections made and read, and commands measured in
processes of their own (wall time, CPU time, peak memory).

A command is started by a bare interpreter (this file, run as a script), because on Linux a
process's peak memory counts what its parent held at the moment of the start. So nothing that is
installed is imported here at the top.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsearch.ingest.shards import Built, Shard

MMSEARCH = (sys.executable, "-c", "from mmsearch.cli.app import main; main()")
"""The command line of the installed package, whatever the PATH."""


def arguments(about: str | None) -> argparse.ArgumentParser:
    """The options that every bench has; about: its docstring."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    return parser


def write_json(file: Path | None, **results: Any) -> None:
    """The figures for programs, where they are wanted, with the machine that they are of."""
    if file:
        file.write_text(json.dumps({"machine": machine(), **results}, indent=1))


@dataclass(frozen=True)
class Measured:
    """One run: seconds of wall and CPU time, peak memory in MB (10^6 bytes), and its output."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


class CommandFailed(RuntimeError):
    """A measured command ended with another exit code than 0."""


def measure(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Measured:
    """Run `command` and wait for it; `env` is added to this process's environment.

    Raises:
        CommandFailed: it ended with another exit code than 0; the text has its error output.
    """
    read_end, write_end = os.pipe()
    launcher = [sys.executable, "-I", "-S", __file__, str(write_end), *command]
    try:
        done = subprocess.run(
            launcher,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            pass_fds=[write_end],
            capture_output=True,
            text=True,
        )
    finally:
        os.close(write_end)
    with os.fdopen(read_end) as report:
        figures = json.loads(report.read() or "{}")
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return Measured(**figures, output=done.stdout)


def index_run(photos: Path, cache: Path, model: str) -> Measured:
    """`mmsearch index` of a folder, from nothing; its report, as JSON, is the output."""
    target = cache / "index-run"
    shutil.rmtree(target, ignore_errors=True)
    return measure([*MMSEARCH, "index", str(photos), "-i", str(target), "--json",
                    "--model", model])


def medians(runs: Sequence[Measured]) -> dict[str, Any]:
    """The median of each figure, and the seconds of every run."""
    return {"seconds": round(median(run.seconds for run in runs), 3),
            "cpu_seconds": round(median(run.cpu_seconds for run in runs), 2),
            "peak_mb": round(median(run.peak_mb for run in runs)),
            "all_seconds": [round(run.seconds, 3) for run in runs]}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as aligned text: the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[n]) for row in cells) for n in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if n else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def machine() -> str:
    """What the figures were measured on, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((x.split(": ")[1] for x in lines if x.startswith("model name")), model)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} cores ({model}), Python {platform.python_version()}{load}"


def random_weights(architecture: str, cache: Path) -> Path:
    """A file of random weights of an open_clip architecture; one that is in the cache is kept."""
    import open_clip
    import torch

    file = cache.resolve() / f"{architecture}.pt"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        torch.save(open_clip.create_model(architecture).state_dict(), file)
    return file


def content(path: Path) -> dict[tuple[str, str], tuple[Any, ...]]:
    """All that a collection holds: (uri, kind) -> id, hash, text, group, metadata, vector."""
    from mmsearch.collection.collection import Collection

    collection, found = Collection.open(path), {}
    for kind in ("image", "text"):
        for row, vector in zip(*collection.vectors(kind), strict=True):
            item = row.item
            found[item.uri, kind] = (row.id, row.hash, item.text, item.group, dict(item.meta),
                                     vector)
    collection.close()
    return found


def random_shards(shards: Iterable[Shard], dim: int) -> Iterator[Built]:
    """Stands in for the encoder: segments as `build_shard` writes them, of random directions."""
    import numpy as np

    from mmsearch.ingest.hashes import content_hash
    from mmsearch.ingest.shards import Built
    from mmsearch.storage.segments import write_segment

    for shard in shards:
        ids = np.arange(shard.first_seq, shard.first_seq + len(shard.items))
        vectors = np.random.default_rng(shard.first_seq).standard_normal(
            (len(ids), dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        segment = write_segment(shard.root, shard.name, shard.kind, ids,
                                lambda vectors=vectors: iter([vectors]))
        yield Built([segment], [(n, item, content_hash(f"{item.uri} {item.text}".encode()))
                                for n, item in zip(ids.tolist(), shard.items, strict=True)])


def _launch(report: int, command: Sequence[str]) -> int:
    start = time.perf_counter()
    pid = os.posix_spawnp(command[0], list(command), os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    figures = {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * unit / 1e6,
    }
    os.write(report, json.dumps(figures).encode())
    return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(_launch(int(sys.argv[1]), sys.argv[2:]))
