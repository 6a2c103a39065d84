"""How long `mmsearch query` takes when a server of the same directory answers it.

    python bench/warm.py --sizes 1000 100000

In turn: a bare Python, `mmsearch query` answered by the server, the same without one (of a copy),
each a fresh process with its files in the page cache. Printed are medians.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import MMSEARCH, Measured, arguments, machine, measure, medians, table, write_json
from query import filled


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--runs", type=int, default=10, help="runs of each (default 10)")
    args = parser.parse_args()
    print(machine())
    results = [compare(filled(args.cache, size, "builtin"), size, args.runs)
               for size in args.sizes]
    rows = [[f"{result['vectors']:,}", name, f"{figures['seconds']:.3f}",
             f"{figures['cpu_seconds']:.2f}", figures["peak_mb"]]
            for result in results for name, figures in result["runs"].items()]
    print(table(("vectors", "", "s", "CPU s", "MB"), rows))
    write_json(args.json, results=results)


def compare(index: Path, size: int, runs: int) -> dict[str, Any]:
    """-> the figures of each command."""
    copy = index.with_name(f"{index.name}-unserved")
    if not copy.exists():
        shutil.copytree(index, copy)
    query = [*MMSEARCH, "query", "a dog on the beach", "-k", "10"]
    commands = {"bare Python": [sys.executable, "-c", "pass"],
                "query, served": [*query, "-i", str(index)], "query": [*query, "-i", str(copy)]}
    found: dict[str, list[Measured]] = {name: [] for name in commands}
    with served(index):
        first = {name: measure(command).output for name, command in commands.items()}
        assert first["query, served"] == first["query"], "the server finds something else"
        for _ in range(runs):
            for name, command in commands.items():
                found[name].append(measure(command))
    return {"vectors": size, "runs": {name: medians(some) for name, some in found.items()}}


@contextmanager
def served(index: Path) -> Iterator[None]:
    command = [*MMSEARCH, "serve", "-i", str(index), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            if not any(line.startswith("serving on") for line in server.stderr):
                raise RuntimeError("the server did not start")
            sink = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
            yield
        finally:
            server.terminate()
            server.wait()
        sink.wait()


if __name__ == "__main__":
    main()
