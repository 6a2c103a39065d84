"""Names that stand for models: small, good, best, multilingual."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import open_clip
import pytest
from conftest import Cli

from mmsearch.encoders.choice import choices, chosen
from mmsearch.encoders.load import BUILTIN_DIR, absolute_name, load_encoder


def test_each_name_stands_for_a_model_in_any_precision() -> None:
    assert list(choices()) == ["small", "good", "best", "multilingual"]
    for name, choice in choices().items():
        assert absolute_name(name) == chosen(name) == choice.model
        assert chosen(f"{name}@int8") == f"{choice.model}@int8"
        architecture, _, tag = choice.model.partition("/")
        assert choice.model == "builtin" or \
            tag in open_clip.list_pretrained_tags_by_model(architecture)
    assert load_encoder("small") is load_encoder("builtin")


def test_the_order_is_that_of_what_is_known() -> None:
    found = choices()
    assert found["good"].recall < found["best"].recall  # type: ignore[operator]
    assert found["multilingual"].recall_others > found["good"].recall_others  # type: ignore[operator]
    speed = [found[name].pictures_per_second for name in ("small", "good", "best")]
    assert speed == sorted(speed, reverse=True)  # type: ignore[type-var]


@pytest.mark.parametrize("name", ["builtin", "good/", "Good", "goods", "./good", "ViT-B-32/openai",
                                  "good@best", ""])
def test_any_other_name_is_itself(name: str) -> None:
    assert chosen(name) == name


def test_a_model_directory_goes_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best").mkdir()  # of photos, say
    assert chosen("best") == choices()["best"].model
    shutil.copy(BUILTIN_DIR / "model.json", tmp_path / "best")
    assert absolute_name("best") == str(tmp_path / "best")


def test_a_collection_keeps_the_model_and_not_the_name(photos: Path, cli: Cli) -> None:
    cli("index", photos, "-i", "x", "--model", "small", check=True)
    assert json.loads(cli("info", "-i", "x", "--json", check=True).stdout)["model"] == "builtin"
    cli("query", "a dog", "-i", "x", "--model", "small", check=True)


def test_a_model_is_made_ready(cli: Cli) -> None:
    done = cli("models", "get", "small", check=True)
    assert done.stdout.startswith(f"builtin is ready: {BUILTIN_DIR}, ")
    facts = json.loads(cli("models", "get", "small", "--json", check=True).stdout)
    assert facts["encoder"] == load_encoder().name and facts["bytes"] > 40_000_000
    done = cli("models", "get", "no-such-model")
    assert done.returncode == 1 and "no model called 'no-such-model'" in done.stderr


def test_models_shows_these_first(cli: Cli) -> None:
    lines = cli("models", check=True).stdout.splitlines()
    firsts = [line.split()[0] for line in lines if line.split() and line[0] != " "]
    assert firsts[:5] == ["name", "small", "good", "best", "multilingual"]
    listed = json.loads(cli("models", "--json", check=True).stdout)
    assert [one["choice"] and one["choice"]["name"] for one in listed[:5]] == [*choices(), None]
    assert {"licence", "recall", "source"} <= listed[1]["choice"].keys()
