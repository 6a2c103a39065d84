"""`mmsearch classify` as people meet it, and the worked example of docs/classify.md."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import DEMO, Cli
from test_cli import complaint
from test_extras import without

PAGE = Path(__file__).parents[2] / "docs" / "classify.md"


@pytest.fixture
def index(demo_index: Path, tmp_path: Path) -> Path:
    """A collection of one's own."""
    path = tmp_path / "index"
    shutil.copytree(demo_index, path, ignore=shutil.ignore_patterns("*.sock"))
    return path


def test_the_commands_of_the_page_work_in_their_order(
        cli: Cli, index: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "indexes").mkdir()
    index.rename(work / "indexes" / "demo")
    (work / "flowers").mkdir()
    for name in ("dahlia", "dandelion", "blue-flowers"):
        (work / "flowers" / name).mkdir()
        shutil.copy(DEMO / f"{name}.jpg", work / "flowers" / name)
    blocks = re.findall(r"```\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    commands = [line.replace("mmsearch/demo/", f"{DEMO}/")
                for block in blocks for line in block.splitlines()
                if line.startswith("mmsearch ")]
    assert len(commands) > 8
    for command in commands:
        done = cli(*[one.strip('"') for one in re.findall(r'"[^"]*"|\S+', command)[1:]],
                   check=False)
        assert (done.returncode, done.stdout != "") == (0, True), (command, done.stderr)


def test_labels_are_printed_and_nothing_is_kept_without_save(cli: Cli, index: Path) -> None:
    done = cli("classify", "--labels", "cat,dog,horse", "-i", index)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) == 50
    assert {(label, Path(uri).name) for label, _, uri in lines if label} == {
        ("cat", "cat.jpg"), ("dog", "dogs.jpg"), ("horse", "horse.jpg")}
    assert all(0 < float(confidence) <= 1 for _, confidence, _ in lines)
    assert "label:" not in cli("query", "x", "-i", index, "--json").stdout


def test_labels_are_kept_filtered_by_and_undone(cli: Cli, index: Path) -> None:
    done = cli("classify", "--labels", "cat,dog,horse", "--save", "animal", "-i", index, "--json")
    assert sum(one["label"] is not None for one in json.loads(done.stdout)) == 3
    assert "saved 3 labels" in done.stderr
    where = "label:animal=dog and confidence:animal > 0.2"
    hits = json.loads(cli("query", "x", "--where", where, "-i", index, "--json").stdout)
    assert [Path(hit["uri"]).name for hit in hits] == ["dogs.jpg"]
    assert hits[0]["meta"]["label:animal"] == "dog"
    assert cli("classify", "--undo", "animal", "-i", index).stdout == "removed 3 labels\n"
    assert cli("classify", "--undo", "animal", "-i", index, "--json").stdout == (
        '{\n  "removed": 0\n}\n')


def test_a_page_shows_pictures_by_label(cli: Cli, index: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    cli("classify", "--labels", "cat,<b>dog", "-i", index, "--html", page, check=True)
    text = page.read_text("utf-8")
    assert re.search(r"<h2[^>]*>cat: \d+</h2>", text) and "data:image/jpeg" in text
    assert "<b>dog" not in text


def test_evaluate_measures_on_labelled_pictures(cli: Cli, index: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    command = ["classify", "--examples", DEMO / "moods.csv", "--column", "mood", "--evaluate",
               DEMO / "moods.csv", "-i", index]
    report = json.loads(cli(*command, "--json", "--html", page, check=True).stdout)
    assert report["items"] == sum(map(sum, report["confusion"]["matrix"])) == 34
    assert report["accuracy"] > 0.8
    assert [one["label"] for one in report["labels"]] == ["calm", "cheerful", "gloomy"]
    assert "<th scope=row>cheerful</th>" in page.read_text("utf-8")
    shown = cli(*command, check=True)
    assert "right in cross-validation" in shown.stderr
    assert "34 of 34 were among the examples" in shown.stderr
    assert re.search(r"^calm +\d\.\d\d", shown.stdout, re.M)
    words = cli("classify", "--labels", "Calm,CHEERFUL", "--always", *command[3:], check=True)
    assert "note: 10 of 34 have labels that are not among yours, so they count as wrong: gloomy" \
        in words.stderr
    assert re.search(r"^Calm +0\.[1-9]", words.stdout, re.M) and "cheerful" not in words.stdout
    both = json.loads(cli("classify", "--labels", "calm,cheerful,Cheerful,gloomy", "--always",
                          *command[3:], "--json", check=True).stdout)
    asked = dict(zip(both["confusion"]["labels"], map(sum, both["confusion"]["matrix"]),
                     strict=True))
    assert asked.get("Cheerful", 0) == 0 < asked["cheerful"]


@pytest.mark.parametrize(("options", "reason"), [
    ([], "give one of --labels, --examples, --example and --undo"),
    (["--labels", "a,b", "--undo", "x"], "give one of"),
    (["--labels", "a"], "two labels or more"),
    (["--labels", "a,b", "--save", "a b"], "the name of a set of labels"),
    (["--labels", "a,b", "--save", "x", "--evaluate", DEMO], "changes nothing"),
    (["--labels", "a,b", "--find", "text"], "texts have no picture"),
    (["--labels", "a,b", "--save", "x", "--html", "nowhere/x.html"], "there is no such directory"),
    (["--labels", "a,b", "--template", "a photo"], "where the label goes"),
    (["--labels", "a,b", "--where", "width > 9999"], "no pictures to classify that meet"),
    (["--examples", "nowhere"], "nowhere"),
    (["--examples", DEMO / "moods.csv"], "a column 'label'"),
    (["--example", "cat"], "LABEL: CONDITION"),
    (["--example", "a: width > 0"], "two labels or more"),
    (["--examples", DEMO / "moods.csv", "--always"], "go with --labels"),
], ids=str)
def test_what_makes_no_sense_is_said_in_one_line(
        cli: Cli, demo_index: Path, options: list[object], reason: str) -> None:
    line = complaint(cli("classify", *options, "-i", demo_index), 2)
    assert reason in line and line.count("\n") == 1


def test_a_missing_extra_is_named_and_words_do_without(demo_index: Path) -> None:
    learned = without(["sklearn"], "classify", "--examples", DEMO / "moods.csv", "--column", "mood",
                      "-i", demo_index)
    assert learned.returncode == 1 and "pip install 'mmsearch[classify]'" in learned.stderr
    words = without(["sklearn"], "classify", "--labels", "cat,dog", "-i", demo_index)
    assert words.returncode == 0
