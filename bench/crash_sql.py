"""Kill `mmsearch index` at every SQL statement of a run, one after the other.

    python bench/crash_sql.py

Random moments (crash.py) rarely fall into the milliseconds in which a collection is made or a
commit is under way; this does on purpose. For each statement a run on a new collection kills
itself with SIGKILL just before it; what it leaves must be sound, and the next run must make it
equal to a collection that was never interrupted. Exit code 0 if all is well, 1 if not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from crash import Content, content, first_difference
from measure import machine
from photos import DEMO

from mmsearch.collection.collection import Collection
from mmsearch.errors import CollectionNotFound, MmsearchError

PICTURES = 5
COMMIT_ROWS = 2
INDEX = f"""
import os, signal, sqlite3, sys
from mmsearch.ingest import work
work.FIRST_SHARD, work.SMALLEST, work.LARGEST = {COMMIT_ROWS}, {COMMIT_ROWS}, {COMMIT_ROWS}
deadly, report, connect = int(sys.argv.pop(1)), int(sys.argv.pop(1)), sqlite3.connect
statements = 0

def count(statement):
    global statements
    statements += 1
    if statements == deadly:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.set_trace_callback(count)
    return connection

sqlite3.connect = watched
from mmsearch.cli import main
try:
    main()
finally:
    os.write(report, str(statements).encode())
"""
"""The command line; kills itself before statement number argv[1] (0: never), else writes to the
file descriptor argv[2] how many there were."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--step", type=int, default=1, help="only every so many statements")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    args = parser.parse_args()
    print(machine())
    failures = sweep(args)
    print("\n".join(failures) or "every one left a sound collection that the next run completed")
    sys.exit(bool(failures))


def sweep(args: argparse.Namespace) -> list[str]:
    """-> one line for each statement at which a kill did harm."""
    path, folder = args.cache / "crash-sql-run", make_folder(args.cache / "crash-sql")
    shutil.rmtree(path, ignore_errors=True)
    statements = index(path, folder, args.model, deadly=0)
    reference = content(path)
    print(f"{statements} statements for {len(reference)} items")
    failures = []
    for number in range(1, statements + 1, args.step):
        shutil.rmtree(path, ignore_errors=True)
        try:
            if index(path, folder, args.model, deadly=number) >= 0:
                failures.append(f"statement {number}: the run was not killed")
            check(path, folder, args.model, reference)
        except Harm as harm:
            failures.append(f"statement {number}: {harm}")
    return failures


class Harm(Exception):
    """What a kill did."""


def check(path: Path, folder: Path, model: str, reference: Content) -> None:
    problems = verified(path)
    index(path, folder, model, deadly=0)
    problems += verified(path) or [first_difference(content(path), reference)]
    if any(problems):
        raise Harm("; ".join(problem for problem in problems if problem))


def verified(path: Path) -> list[str]:
    try:
        collection = Collection.open(path)
    except CollectionNotFound:
        return []
    except MmsearchError as error:
        return [str(error)]
    try:
        return [str(problem) for problem in collection.verify()]
    finally:
        collection.close()


def index(path: Path, folder: Path, model: str, *, deadly: int) -> int:
    """-> the number of SQL statements, or -1 if the run was killed.

    Raises:
        Harm: it ended with an error.
    """
    read_end, write_end = os.pipe()
    command = [sys.executable, "-c", INDEX, str(deadly), str(write_end), "index", str(folder),
               "-i", str(path), "--model", model, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, pass_fds=[write_end])
    os.close(write_end)
    with os.fdopen(read_end) as report:
        statements = report.read()
    if done.returncode == -signal.SIGKILL:
        return -1
    if done.returncode or json.loads(done.stdout)["items"] != PICTURES:
        raise Harm(f"the run ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return int(statements)


def make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for picture in sorted(DEMO.glob("*.jpg"))[:PICTURES]:
        shutil.copy(picture, folder)
    return folder


if __name__ == "__main__":
    main()
