"""Ten thousand damaged files of every format through `mmsearch index`.

    pip install '.[cpu,dev]'
    python bench/damage.py --count 10000 --seed 0

Nothing may crash, hang, or pile up, and every file must be either in the index or in the report,
with a reason of one line. What the files are and how they are damaged, `tests/damaging.py` says.
The command is the real one, with a note of what it is at (`noted.py`): a file that ends the whole
process is found by indexing those it was at one by one, put aside, and counted. Exit code 0 when
all is well, 1 when not.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from measure import machine, table
from noted import read
from sampled import Sampled, cpu_seconds, run_sampled

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from damaging import Damaged, make_damaged

NOTED = (sys.executable, "-X", "faulthandler", str(Path(__file__).parent / "noted.py"))
PATIENCE = 120.0
"""Seconds of CPU time without a file done: a hang."""
TOO_LONG = 10.0
"""Seconds of CPU time for a file alone, the start of the command included."""
MOST_CRASHES = 10
SETTLED = 2000
"""Files after which memory and open files must not grow any more."""
MORE_MB, MORE_DESCRIPTORS = 50, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--slowest", type=int, default=8,
                        help="so many files are timed alone afterwards (default 8)")
    args = parser.parse_args()
    print(machine())
    folder = (args.cache / f"damaged-{args.seed}").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    files = make_damaged(folder, args.count, args.seed)
    run, crashers = index_all(args, folder, files, args.cache.absolute())
    found = figures(run, files, args.cache.absolute())
    found["slowest"] = slowest(args.cache / "damage-notes.jsonl", args.cache, args.slowest)
    found["crashed or hung"] = [str(path) for path in crashers]
    wrong = problems(found)
    print(table(("", "number"), [(name, value if isinstance(value, int | float) else len(value))
                                 for name, value in found.items()
                             if name not in ("reasons", "memory", "slowest")]))
    print(*(f"slow: {seconds:.1f} s of CPU, {name}" for name, seconds in found["slowest"]),
          sep="\n")
    print(*(f"{count:5}  {reason}" for reason, count in found["reasons"].most_common(40)), sep="\n")
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), **found}, indent=1))
    if wrong:
        raise SystemExit("\n".join(wrong))


# --- running ------------------------------------------------------------------------------------


def index_all(args: argparse.Namespace, folder: Path, files: Sequence[Damaged], cache: Path
              ) -> tuple[Sampled, list[Path]]:
    """The run that came to its end, and the files that had to be put aside for that."""
    index, aside = cache / "damage-index", cache / "damage-aside"
    for one in (index, aside):
        shutil.rmtree(one, ignore_errors=True)
    aside.mkdir(parents=True)
    crashers: list[Path] = []
    while True:
        notes = cache / "damage-notes.jsonl"
        notes.unlink(missing_ok=True)
        counted = Counted(notes)
        run = run_sampled(command(notes, folder, files, index), counted, patience=PATIENCE)
        if run.code in (0, 1) and not run.stalled and run.output.startswith("{"):
            return run, crashers
        print(f"ended with {run.code} after {counted()} files"
              f"{', hanging' if run.stalled else ''}:\n{run.errors[-3000:]}", file=sys.stderr)
        guilty = [path for path in at_the_end(notes, files) if fails_alone(path, cache)]
        if not guilty or len(crashers) + len(guilty) > MOST_CRASHES:
            raise SystemExit(f"{len(crashers)} files put aside before; now none of those it was at "
                             f"fails alone, or too many do: {guilty}")
        for path in guilty:
            print(f"put aside: {path.name}", file=sys.stderr)
            crashers.append(aside / path.name)
            shutil.move(path, crashers[-1])


def command(notes: Path, folder: Path, files: Sequence[Damaged], index: Path) -> list[str]:
    named = [str(one.path) for one in files if one.is_manifest and one.path.exists()]
    return [*NOTED, str(notes), "index", str(folder), *named, "--archives", "-i", str(index),
            "--json"]


class Counted:
    """How many files a run has decoded, from its notes; reads on where it stopped."""

    def __init__(self, notes: Path) -> None:
        self.notes, self.at, self.done = notes, 0, 0

    def __call__(self) -> int:
        if self.notes.exists():
            with self.notes.open("rb") as file:
                file.seek(self.at)
                new = file.read()
            self.at += len(new)
            self.done += new.count(b'{"done"') + new.count(b'{"failed"')
        return self.done


def at_the_end(notes: Path, files: Iterable[Damaged]) -> list[Path]:
    """The files that a run had begun and not done."""
    begun: dict[str, None] = {}
    for one in read(notes):
        if "begun" in one:
            begun[one["begun"]] = None
        else:
            begun.pop(one.get("done", one.get("walked")), None)
    known = {str(one.path): one.path for one in files}
    return list(dict.fromkeys(known[file] for uri in begun
                              if (file := uri.partition("!/")[0]) in known))


def fails_alone(path: Path, cache: Path) -> bool:
    code, seconds, errors = alone(path, cache)
    return code not in (0, 1, 2) or "most recent call" in errors or seconds > PATIENCE


def alone(path: Path, cache: Path) -> tuple[int, float, str]:
    """Index one file; -> exit code, CPU seconds of all threads, and what was said on stderr."""
    index = cache / "damage-alone"
    shutil.rmtree(index, ignore_errors=True)
    process = subprocess.Popen(
        [*NOTED, "/dev/null", "index", str(path), "-i", str(index), "--json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds = 0.0
    while process.poll() is None:
        try:
            seconds = cpu_seconds(process.pid)
        except OSError:
            break
        if seconds > PATIENCE:
            process.kill()
        time.sleep(0.05)
    _, errors = process.communicate()
    return process.returncode, seconds, errors


# --- what came of it ----------------------------------------------------------------------------


def figures(run: Sampled, files: Sequence[Damaged], cache: Path) -> dict[str, Any]:
    report = json.loads(run.output)
    skipped = [(one["path"], one["reason"]) for one in report["skipped"]]
    found = places(cache / "damage-index")
    told = {path for where, _ in skipped for path in ancestors(where)}
    present = [one for one in files if one.path.exists()]
    indexed = {one.path for one in present if str(one.path) in found}
    settled, end = run.at(SETTLED), run.samples[-1]
    notes = read(cache / "damage-notes.jsonl")
    return {
        "files": len(files),
        "indexed, in full or in part": len(indexed),
        "not indexed, with a reason": sum(one.path not in indexed and str(one.path) in told
                                          for one in present),
        "unaccounted for": [str(one.path) for one in present
                            if one.path not in indexed and str(one.path) not in told],
        "items": report["items"],
        "exit code": run.code,
        "seconds": round(run.seconds, 1),
        "reasons that are not one readable line": [
            one for one in skipped if not is_readable(one[1])],
        "words of C libraries on stderr": run.errors.splitlines(),
        f"own MB after {SETTLED} files": round(floor(run, settled.done)),
        "own MB at the end": round(floor(run, end.done)),
        "own MB at the peak": round(run.peak_mb()),
        f"open files after {SETTLED} files": settled.descriptors,
        "open files at the end": end.descriptors,
        "open files at the most": max(one.descriptors for one in run.samples),
        "errors that nobody foresaw": [
            one for one in notes if "failed" in one],
        "reasons": Counter(general(reason) for _, reason in skipped),
        "memory": [(one.done, round(one.own_mb)) for one in run.samples[::10]],
    }


def places(index: Path) -> set[str]:
    """All files that an item of a collection comes from or is described by."""
    found: set[str] = set()
    with closing(sqlite3.connect(index / "catalog.db")) as catalog:
        for uri, manifest, meta, fingerprint in catalog.execute(
                "SELECT uri, manifest, meta, fingerprint FROM items"):
            for place in (uri, manifest, json.loads(meta).get("file")):
                found |= ancestors(str(place))
            beside = Path(uri.partition("#")[0]).with_name
            found |= {str(beside(name)) for name in fingerprint.split("/")[2::2]}
    return found


def ancestors(place: str) -> set[str]:
    """A place and the file that it is in: none of ours has such marks in its own name."""
    file = re.split(r"!/|#|:\d+$", place)[0]
    return {place, file}


def is_readable(reason: str) -> bool:
    return bool(reason.strip()) and reason.isprintable() and len(reason) <= 300 and not re.search(
        r"Traceback|object at 0x|^\w+Error$|File \"", reason)


def floor(run: Sampled, done: int) -> float:
    """The least memory about the time when so many files were done: a large picture that is being
    decoded is no growth."""
    near = sorted(run.samples, key=lambda one: abs(one.done - done))[: 1 + len(run.samples) // 10]
    return min(one.own_mb for one in near)


def slowest(notes: Path, cache: Path, most: int) -> list[tuple[str, float]]:
    """The files that took longest, with the CPU seconds that the command takes for each alone."""
    wall: Counter[str] = Counter()
    for one in read(notes):
        if "wall" in one:
            wall[one.get("done", one.get("walked")).partition("!/")[0]] += one["wall"]
    timed = [(Path(path).name, round(alone(Path(path), cache)[1], 2))
             for path, _ in wall.most_common(most)]
    return sorted(timed, key=lambda one: -one[1])


def general(reason: str) -> str:
    """A reason without what is of one file alone."""
    return re.sub(r"\d[\d,.]*|'[^']*'|\"[^\"]*\"|b'.*", "…", reason)[:110]


def problems(found: dict[str, Any]) -> list[str]:
    wrong = [f"{name}: {found[name][:5]}" for name in (
        "crashed or hung", "unaccounted for", "reasons that are not one readable line",
        "errors that nobody foresaw") if found[name]]
    if "Traceback" in "".join(found["words of C libraries on stderr"]):
        wrong.append("a traceback on stderr")
    if found["exit code"]:
        wrong.append(f"exit code {found['exit code']}")
    growth = found["own MB at the end"] - found[f"own MB after {SETTLED} files"]
    if growth > MORE_MB:
        wrong.append(f"memory grew by {growth} MB")
    more = found["open files at the end"] - found[f"open files after {SETTLED} files"]
    if more > MORE_DESCRIPTORS:
        wrong.append(f"{more} more files open at the end")
    wrong += [f"{name} took {seconds:.0f} s" for name, seconds in found["slowest"]
              if seconds > TOO_LONG]
    return wrong


if __name__ == "__main__":
    main()
