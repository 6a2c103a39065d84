"""Where the time of a run goes: measured by stage, and said by `--profile`."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Cli
from hypothesis import given, strategies as st

from mmsearch.stages import NAMES, Spent, Stages, bound


def test_time_in_several_threads_adds_up() -> None:
    stages = Stages()

    def wait(_: int) -> None:
        with stages.at("read"):
            time.sleep(0.05)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(wait, range(8)))
    assert stages.spent["read"].seconds >= 8 * 0.05
    assert stages.spent["read"].cpu_seconds < 8 * 0.05


def test_work_counts_as_computing() -> None:
    stages = Stages()
    with stages.at("decode"):
        before = time.thread_time()
        while time.thread_time() - before < 0.05:
            pass
    assert stages.spent["decode"].cpu_seconds >= 0.05


@given(st.lists(st.integers(), max_size=20))
def test_values_are_drawn_unchanged_and_only_their_drawing_counts(values: list[int]) -> None:
    stages = Stages()
    assert list(stages.each("find", iter(values))) == values
    assert "find" in stages.spent


def test_an_error_while_drawing_passes() -> None:
    stages = Stages()
    with pytest.raises(ZeroDivisionError):
        list(stages.each("find", (1 // n for n in (1, 0))))


def test_what_bounds_a_run() -> None:
    spent = {"decode": Spent(9.0, 4.0), "encode": Spent(11.0, 15.0)}
    assert "CPU limits the run" in bound(spent, 10, 19, cores=2)
    assert "encode (79% of it)" in bound(spent, 10, 19, cores=2)
    by_others = {"decode": Spent(9.0, 4.0), "encode": Spent(11.0, 1.0)}
    assert "threads of the model's own, for encode (74% of it)" in bound(by_others, 10, 19, cores=2)
    on_gpu = {"decode": Spent(3.0, 3.0), "encode": Spent(9.5, 0.2)}
    assert bound(on_gpu, 10, 3.3, cores=16).startswith("encode limits the run")
    assert "nothing limits" in bound({"find": Spent(0.1, 0.1)}, 1, 0.2, cores=2)
    assert bound({}, 0, 0) == "nothing was done"


def test_profile_says_where_the_time_went(cli: Cli, photos: Path) -> None:
    done = cli("index", str(photos), "--profile")
    assert done.returncode == 0 and "added 12" in done.stdout
    lines = done.stderr.splitlines()
    assert [line.split()[0] for line in lines[1:8]] == list(NAMES)
    assert "limits" in lines[-1] and "encode" not in done.stdout


def test_a_run_that_could_index_nothing_has_a_profile(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    done = cli("index", str(tmp_path / "bad.jpg"), "--profile", "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["skipped"]
    assert done.stderr.startswith("stage") and "0." in done.stderr.splitlines()[-1]


def test_json_holds_the_stages(cli: Cli, photos: Path) -> None:
    report = json.loads(cli("index", str(photos), "--json").stdout)
    assert list(NAMES) == [name for name in NAMES if report["stages"][name]["seconds"] > 0]
    assert report["seconds"] > 0 and report["cpu_seconds"] > 0
    again = json.loads(cli("index", str(photos), "--json").stdout)
    assert set(again["stages"]) == {"find", "commit"}
