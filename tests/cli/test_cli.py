"""The command line as people and scripts meet it: output, exit codes, plain complaints."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DEMO, Cli

from mmsearch.collection.collection import Collection

ROOT = Path(__file__).parents[2]


def complaint(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on stderr of a command that failed as it should."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


# -- index ---------------------------------------------------------------------------------------


def test_index_reports_what_it_did_as_text_and_as_json(cli: Cli, photos: Path) -> None:
    done = cli("index", photos, "-i", "x", check=True)
    assert done.stdout == "added 12, items 12, skipped 0\n"
    assert done.stderr == ""
    report = json.loads(cli("index", photos, "-i", "x", "--json", check=True).stdout)
    assert (report["unchanged"], report["added"], report["items"]) == (12, 0, 12)
    assert report["skipped"] == []


def test_bad_files_are_skipped_counted_and_listed_with_a_reason(cli: Cli, photos: Path) -> None:
    (photos / "zero.jpg").write_bytes(b"")
    (photos / "text.png").write_text("no picture")
    good = next(photos.glob("*.jpg")).read_bytes()
    (photos / "cut.jpg").write_bytes(good[: len(good) // 4])
    (photos / "really-a-jpeg.png").write_bytes(good)
    done = cli("index", photos, "-i", "x")
    assert done.returncode == 0
    assert done.stdout == "added 13, items 13, skipped 3\n"
    reasons = dict(re.findall(r"skipped \S+/(\S+): (.+)", done.stderr))
    assert set(reasons) == {"zero.jpg", "text.png", "cut.jpg"}
    assert reasons["zero.jpg"] == "zero bytes"
    report = json.loads(cli("index", photos, "-i", "x", "--json").stdout)
    assert {Path(skipped["path"]).name for skipped in report["skipped"]} == set(reasons)


def test_nothing_to_index_is_said_and_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    only = complaint(cli("index", empty, "-i", tmp_path / "x"), 2)
    assert only.startswith("mmsearch: nothing to index") and only.count("\n") == 1
    assert "nowhere" in complaint(cli("index", tmp_path / "nowhere", "-i", tmp_path / "x"), 2)
    assert not (tmp_path / "x").exists()


def test_a_name_that_is_not_utf8_goes_in_and_comes_out(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    name = os.fsencode(folder) + b"/caf\xe9 \n.jpg"
    shutil.copy(DEMO / "cat.jpg", name)
    assert cli("index", folder, "-i", "x").stdout.startswith("added 1")
    done = cli("query", "a cat", "-i", "x", "--filepath-only", text=False)
    assert done.stdout == name + b"\n"
    hits = json.loads(cli("query", "a cat", "-i", "x", "--json").stdout)
    assert hits[0]["rank"] == 1
    assert cli("query", "a cat", "-i", "x").stdout.count("\n") == 1


def test_exclude_leaves_out_names_and_paths(cli: Cli, photos: Path) -> None:
    (photos / "raw").mkdir()
    shutil.copy(DEMO / "cat.jpg", photos / "raw" / "one.jpg")
    shutil.copy(DEMO / "cat.jpg", photos / "thumb_1.jpg")
    done = cli("index", photos, "-i", "x", "--exclude", "raw/**", "--exclude", "thumb_*")
    assert done.stdout.startswith("added 12,")


# -- query ---------------------------------------------------------------------------------------


def test_query_prints_json_paths_or_lines(cli: Cli, demo_index: Path) -> None:
    hits = json.loads(cli("query", "a cat", "-i", demo_index, "-k", 3, "--json").stdout)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert {"rank", "score", "uri", "kind", "text"} <= set(hits[0])
    assert hits[0]["uri"] == str(DEMO / "cat.jpg")
    paths = cli("query", "a cat", "-i", demo_index, "-k", 3, "--filepath-only").stdout
    assert paths.splitlines() == [hit["uri"] for hit in hits]
    lines = cli("query", "a cat", "-i", demo_index, "-k", 3).stdout.splitlines()
    assert [line.split("\t")[2] for line in lines] == [hit["uri"] for hit in hits]


def test_paths_that_end_with_nul(cli: Cli, photos: Path) -> None:
    name = photos / "a\nb c.jpg"
    (photos / "cat.jpg").rename(name)
    shutil.copy(name, photos / "copy\n.jpg")
    assert cli("index", photos).returncode == 0
    for options in (["--filepath-only", "-0"], ["--print0"], ["-0"]):
        found = cli("query", "a cat", "-k", 3, *options).stdout
        assert found.endswith("\0") and str(name) in found.split("\0")
    assert cli("dups", "--exact", "-0").stdout in (f"{name}\0", f"{photos}/copy\n.jpg\0")
    assert cli("dups", "--exact", "--filepath-only").stdout == ""


def test_words_to_an_image_and_both_together(cli: Cli, demo_index: Path) -> None:
    found = json.loads(cli("query", "--image", DEMO / "lake.jpg", "--find", "text", "-k", 1,
                           "-i", demo_index, "--json").stdout)
    assert (found[0]["kind"], "lake" in found[0]["text"]) == ("text", True)
    both = json.loads(cli("query", "flowers", "--image", DEMO / "lake.jpg", "--not", "mountain",
                          "--weight", "2", "--weight", "0.5", "-i", demo_index, "--json").stdout)
    assert len(both) == 10
    assert all(-1 <= hit["score"] <= 1 for hit in both)


def test_where_narrows(cli: Cli, demo_index: Path) -> None:
    found = json.loads(cli("query", "a dog", "--where", "path ~ lake or path ~ cat.jpg",
                           "-i", demo_index, "--json").stdout)
    assert {Path(hit["uri"]).name for hit in found} == {"lake.jpg", "cat.jpg"}
    none = cli("query", "a dog", "--where", "width = 1066", "-i", demo_index, "--json")
    assert (none.returncode, json.loads(none.stdout)) == (0, [])
    assert "nothing meets" in none.stderr


def test_a_misspelt_field_is_named(cli: Cli, demo_index: Path) -> None:
    for condition in ("widht > 100", "width > 100 and not (widht exists)", "meta.widht in (1)"):
        for command in (["query", "a dog"], ["query", "dog", "--mode", "text"], ["dups"],
                        ["export", "out", "--format", "jsonl"], ["delete"]):
            line = complaint(cli(*command, "--where", condition, "--where", "author = x", "-i",
                                 demo_index), 1)
            assert "no item has the field 'widht'; the fields are path, uri, kind" in line
    done = cli("query", "a dog", "--where", "iso exists", "-i", demo_index)
    assert (done.returncode, done.stderr) == (0, "nothing meets the condition\n")
    done = cli("query", "a dog", "--collapse", "colr", "-k", 3, "-i", demo_index)
    assert len(done.stdout.splitlines()) == 3
    assert "no result has a value of 'colr'" in done.stderr


@pytest.mark.parametrize(("code", "command", "reason"), [
    (2, ["index", ""], "a path is empty"),
    (2, ["delete", ""], "a path is empty"),
    (2, ["watch", ""], "a path is empty"),
    (2, ["query", "x", "-i", ""], "a path is empty"),
    (2, ["index", DEMO, "-i", ROOT / "LICENSE"], "LICENSE is a file; give a directory with -i"),
    (2, ["index", "--vectors", "v.npy", "--profile"], "--profile with PATH"),
    (2, ["query", "x", "-k", 10**20], "at most 2,147,483,647"),
    (2, ["query", "x", "--offset", 10**20], "at most 2,147,483,647"),
    (2, ["query", "x", "--json", "--filepath-only"], "exclude each other"),
    (2, ["query", "x", "-0", "--preview"], "exclude each other"),
    (2, ["dups", "--json", "-0"], "exclude each other"),
    (2, ["query", "", "--image", DEMO / "cat.jpg"], "a text is empty"),
    (2, ["query", "x", "--text-weight", 0.3], "need --mode hybrid"),
    (2, ["query", "x", "--fusion", "rrf"], "need --mode hybrid"),
    (2, ["query"], ""),
    (2, ["query", "x", "-k", "0"], ""),
    (2, ["query", "x", "--where", "width >"], ""),
    (2, ["query", "x", "--weight", "1", "--weight", "2"], ""),
    (2, ["query", "--image", "nowhere.jpg"], ""),
    (2, ["delete"], ""),
    (2, ["eval", "nowhere.jsonl"], ""),
    (2, ["eval", DEMO / "captions.jsonl", "--compare", "small,mode=text"], "name one with -i"),
    (2, ["eval", DEMO / "captions.jsonl", "--compare", "builtin,k=3"], "no setting 'k=3'"),
    (2, ["eval", DEMO / "captions.jsonl", "--compare", "captions=1"], "must be yes or no, not"),
    (2, ["eval", DEMO / "captions.jsonl", "--compare", "text-weight=x"], "must be a number, not"),
    (2, ["eval", DEMO / "captions.jsonl", "--compare", ""], "--compare is empty"),
    (2, ["eval", DEMO / "captions.jsonl", "-k", 0], "-k must be at least 1"),
    (1, ["query", "x", "-i", "nowhere"], "holds no collection"),
    (1, ["query", "--image", ROOT / "LICENSE"], "LICENSE: not an image"),
    (1, ["query", "x", "--model", "ViT-B-32/nonsense"], "nonsense"),
    (1, ["info", "-i", "nowhere"], "nowhere"),
], ids=str)
def test_what_makes_no_sense_or_fails_is_one_line(
        cli: Cli, demo_index: Path, code: int, command: list[object], reason: str) -> None:
    line = complaint(cli(*command, *([] if "-i" in command else ["-i", demo_index])), code)
    assert line.count("\n") == 1 and reason in line


def test_a_folder_that_is_empty_now_keeps_what_it_had(cli: Cli, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("cat.jpg", "lake.jpg"):
        shutil.copy(DEMO / name, disk / name)
    cli("index", disk, "-i", tmp_path / "index", check=True)
    (disk / "cat.jpg").unlink()
    assert "removed 1" in cli("index", disk, "-i", tmp_path / "index", check=True).stdout
    (disk / "lake.jpg").rename(tmp_path / "lake.jpg")
    other = tmp_path / "other"
    other.mkdir()
    done = cli("index", disk, other, "-i", tmp_path / "index", check=True)
    assert done.stderr == (f"skipped {disk}: is empty (not mounted?): its items are kept; "
                           f"`mmsearch delete` drops them\nskipped {other}: is empty\n")
    assert (done.stdout.count("removed"), "items 1, skipped 2" in done.stdout) == (0, True)
    cli("delete", disk, "-i", tmp_path / "index", check=True)
    assert Collection.open(tmp_path / "index").info()["items"] == 0


def test_a_closed_pipe_is_no_error(demo_index: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m mmsearch query cat -k 40 -i {demo_index} --json | head -1",
        shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[\n", "")


def test_on_a_terminal_there_is_a_table_a_bar_and_no_trace_of_them_in_a_pipe(
        cli: Cli, demo_index: Path, photos: Path, tmp_path: Path) -> None:
    def on_terminal(*args: object) -> str:
        main, side = pty.openpty()
        run = subprocess.Popen([sys.executable, "-m", "mmsearch", *map(str, args)],
                               stdout=side, stderr=side, cwd=tmp_path,
                               env={**os.environ, "COLUMNS": "200", "TERM": "xterm"})
        os.close(side)
        shown = b""
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(main)
        assert run.wait() == 0
        return shown.decode()

    first = on_terminal("index", photos, "-i", "x")
    assert "indexing" in first and "mmsearch reindex -i x --model good (1.5 GB" in first
    shutil.copy(DEMO / "waves.jpg", photos)
    assert "--model" not in on_terminal("index", photos, "-i", "x")
    table = on_terminal("query", "a cat", "-i", demo_index, "-k", 2)
    assert "score" in table
    assert "score" not in cli("query", "a cat", "-i", demo_index, "-k", 2).stdout
    nothing = on_terminal("query", "a cat", "-i", demo_index, "--where", "width < 9")
    assert nothing == "nothing meets the condition\r\n"
    assert "path" not in on_terminal("dups", "-i", demo_index, "--exact")


# -- the others ----------------------------------------------------------------------------------


def test_info_verify_compact_and_delete(cli: Cli, photos: Path) -> None:
    cli("index", photos, "-i", "x", check=True)
    info = json.loads(cli("info", "-i", "x", "--json").stdout)
    assert (info["items"], info["kinds"]) == (12, {"image": 12})
    assert "image" in cli("info", "-i", "x").stdout
    assert json.loads(cli("verify", "-i", "x", "--json").stdout) == {"sound": True, "problems": []}
    victim = next(photos.glob("*.jpg"))
    relative = os.path.relpath(victim, photos.parent / "work")
    assert cli("delete", relative, "-i", "x").stdout == "deleted 1 item\n"
    assert json.loads(cli("delete", "--where", "width > 1", "-i", "x", "--json").stdout) == {
        "deleted": 11}
    nothing = cli("delete", victim.parent, "-i", "x")
    assert nothing.stdout == "deleted nothing\n"
    assert nothing.stderr.startswith("nothing is indexed at or")
    assert cli("compact", "-i", "x").returncode == 0
    assert cli("verify", "-i", "x").returncode == 0
    assert "empty" in cli("query", "cat", "-i", "x").stderr


def test_eval_measures_pairs_alone_or_in_a_collection(cli: Cli, demo_index: Path) -> None:
    alone = json.loads(cli("eval", DEMO / "captions.jsonl", "--json").stdout)
    within = json.loads(cli("eval", DEMO / "captions.jsonl", "-i", demo_index, "--json").stdout)
    for way, gallery, queries in (("text_to_image", 50, 100), ("image_to_text", 100, 50)):
        for report in (alone, within):
            assert (report[way]["gallery"], report[way]["queries"]) == (gallery, queries)
            assert 0.2 < report[way]["recall@1"] < report[way]["recall@10"] <= 1
        assert alone[way]["recall@10"] == pytest.approx(within[way]["recall@10"], abs=0.021)
    table = cli("eval", DEMO / "captions.jsonl", "-k", 3).stdout
    assert "recall@3" in table


def test_eval_measures_searches_as_they_are(cli: Cli, demo_index: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(
        {"image": str(DEMO / name), "caption": text}) + "\n" for name, text in (
            ("cat.jpg", "zyzzyva"), ("bus.jpg", "qwertz"), ("dogs.jpg", "spaniels"))))
    asked = ("eval", tmp_path / "pairs.jsonl", "-i", demo_index)
    done = cli(*asked, check=True)
    assert "found by what they show alone; --set mode=vector measures searches" in done.stderr
    done = cli(*asked, "--set", "mode=vector", "--depth", 50, "--json", check=True)
    found = json.loads(done.stdout)
    assert done.stderr == "" and "image_to_text" not in found
    assert (found["text_to_image"]["depth"], found["text_to_image"]["queries"]) == (50, 3)
    shown = cli(*asked, "--set", "mode=text", "--depth", 10, "--compare", "mode=hybrid").stdout
    assert shown.splitlines()[-1] == "searches: among the first 10 results (--depth)"
    assert re.search(r" > 10$", shown, re.M)
    done = cli("eval", tmp_path / "pairs.jsonl", "--set", "mode=text")
    assert (done.returncode, "name one with -i" in done.stderr) == (2, True)
    assert cli(*asked, "--set", "mode=text", "--depth", 0).returncode == 2


def test_eval_compares(cli: Cli, demo_index: Path) -> None:
    asked = ("eval", DEMO / "captions.jsonl", "-i", demo_index, "-k", 3, "--compare", "mode=text")
    first, second = json.loads(cli(*asked, "--json", check=True).stdout)
    assert (first["name"], second["name"]) == (str(demo_index), "mode=text")
    found = second["difference_to_first"]["text_to_image"]["recall@3"]
    assert found["difference"] == pytest.approx(
        second["text_to_image"]["recall@3"] - first["text_to_image"]["recall@3"])
    assert found["ci95"][0] <= found["difference"] <= found["ci95"][1]
    assert 0 < found["p"] <= 1
    shown = cli(*asked, check=True).stdout
    assert re.search(rf"^mode=text +{100 * second['text_to_image']['recall@3']:.1f}", shown, re.M)
    assert re.search(r"^  p  ", shown, re.M)
    assert "image to text" not in shown


def test_the_index_is_taken_from_the_environment_or_the_default(
        cli: Cli, photos: Path, tmp_path: Path) -> None:
    cli("index", photos, check=True)
    assert (tmp_path / "work/indexes/default/catalog.db").exists()
    env = {**os.environ, "MMSEARCH_INDEX": str(tmp_path / "elsewhere")}
    cli("index", photos, check=True, env=env)
    assert (tmp_path / "elsewhere/catalog.db").exists()


def test_every_help_text_has_an_example_that_names_real_options(cli: Cli) -> None:
    commands = re.findall(r"^\W+(\w+)  ", cli("--help").stdout.split("Commands")[1], re.M)
    assert cli("query", "x", "--no-such-option").returncode == 2
    assert set(commands) == {"index", "query", "eval", "info", "delete", "verify", "compact",
                             "train", "demo", "dups", "export", "watch", "models", "reindex",
                             "serve", "mcp", "teach", "similar",
                             "classify", "map"}
    for command in commands:
        text = cli(command, "--help").stdout
        assert f"Example: mmsearch {command}" in text
        example = text.split("Example:", 1)[1]
        for option in re.findall(r"(?<=\s)--?[a-z-]+", example.split("Options")[0]):
            assert option in text.split("Options")[1]


def test_version_and_the_shim_in_the_checkout(cli: Cli, demo_index: Path) -> None:
    assert re.fullmatch(r"mmsearch \d+\.\d+\.\d+\n", cli("--version").stdout)
    done = subprocess.run([sys.executable, str(ROOT / "cli.py"), "query", "a cat", "-k", "1",
                           "-i", str(demo_index)], capture_output=True, text=True, check=True)
    assert "cat.jpg" in done.stdout


def test_the_demo_shows_three_searches(cli: Cli) -> None:
    done = cli("demo", "-i", "x", check=True, env={**os.environ, "COLUMNS": "300"})
    for words in ("words to images", "image to images", "image to words", "Now yours"):
        assert words in done.stdout
    words, rest = done.stdout.split("image to images\n")
    alike, described = rest.split("image to words\n")
    assert all(f"/{bird}.jpg" in words for bird in ("osprey", "nuthatch", "wren"))
    assert all(f"/{flower}.jpg" in alike for flower in ("dahlia", "dandelion"))
    assert "reflected in a calm lake" in described.splitlines()[2]
    assert "0 of them new" in cli("demo", "-i", "x").stdout


def test_output_that_cannot_be_written_is_one_line(demo_index: Path, tmp_path: Path) -> None:
    run = f"{sys.executable} -m mmsearch query cat -i {demo_index}"
    for command in (f"{run} > /dev/full", f"{run} --html {tmp_path}/no/such/folder.html"):
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert subprocess.run(f"{run} >&-", shell=True, capture_output=True).returncode == 0


def test_json_is_json_in_every_locale(demo_index: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "café.txt").write_text("un café\n", "utf-8")
    cli("index", tmp_path / "café.txt", "-i", "x", check=True)
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = cli("query", "coffee", "--find", "text", "-i", "x", "--json", env=env)
    assert json.loads(done.stdout)[0]["text"] == "un café"


def test_train_writes_a_model_that_index_and_query_take(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = cli("train", DEMO / "captions.jsonl", "-o", "mine", "--epochs", "1")
    assert (done.returncode, "Warning" in done.stderr) == (0, False), done.stderr
    assert re.search(r"epoch 0/1  start  val R@10 [\d.]+ .*\nepoch 1/1  loss", done.stderr)
    assert "1 epochs in" in (tmp_path / "work" / "mine" / "training.html").read_text()
    assert cli("index", DEMO, "-i", "x", "--model", "mine").returncode == 0
    assert "/cat.jpg" in cli("query", "a cat", "-k", "1", "-i", "x").stdout
    assert "exists already" in complaint(cli("train", DEMO / "captions.jsonl", "-o", "mine"), 2)


# -- teach ---------------------------------------------------------------------------------------


def test_teach_names_lists_them_and_forgets_them(cli: Cli, photos: Path) -> None:
    cli("index", photos, "-i", "x", check=True)
    bus = photos / "bus.jpg"
    done = cli("teach", "Zorblax", bus, "--is", "bus", "-i", "x")
    assert done.stdout == "Zorblax has 1 picture\n"
    done = cli("query", "zorblax", "-k", "1", "--filepath-only", "-i", "x", check=True)
    assert (done.stdout, done.stderr) == (f"{bus}\n", "")
    assert cli("teach", "--list", "-i", "x").stdout == f"Zorblax\tbus\t{bus}\n"
    assert json.loads(cli("teach", "--list", "--json", "-i", "x").stdout) == [
        {"name": "Zorblax", "is_a": "bus", "pictures": [str(bus)]}]
    assert "names.Zorblax" in cli("info", "-i", "x").stdout
    done = cli("teach", "zorblax", bus, "--crop", "0,0,50%,100%", "-i", "x", "--json")
    assert json.loads(done.stdout) == {"name": "zorblax", "pictures": 2}
    assert done.stderr == ""  # what it is, was said
    assert cli("teach", "--forget", "Zorblax", "-i", "x").stdout == "forgot Zorblax\n"
    assert "--is" in cli("teach", "Zorblax", bus, "-i", "x", check=True).stderr
    assert cli("teach", "--forget", "Zorblax", "-i", "x").stdout == "forgot Zorblax\n"
    assert "no name Zorblax" in complaint(cli("teach", "--forget", "Zorblax", "-i", "x"), 1)
    assert "no name was taught" in cli("teach", "--list", "-i", "x", check=True).stderr


@pytest.mark.parametrize(("arguments", "code", "says"), [
    ([], 2, "give a name and its pictures, or --forget NAME, or --list"),
    (["Rex", "--list"], 2, "or --list"), (["Rex"], 2, "at least one picture of Rex"),
    (["Rex", "nothing.jpg"], 2, "nothing.jpg does not exist"),
    (["!", "cat.jpg"], 2, "at least one letter"),
    (["Rex", "cat.jpg", "--crop", "1,2"], 2, "a crop is x,y,w,h")])
def test_teach_complains_plainly(cli: Cli, demo_index: Path, arguments: list[str], code: int,
                                 says: str) -> None:
    assert says in complaint(cli("teach", *arguments, "-i", demo_index), code)


# -- similar -------------------------------------------------------------------------------------


def test_similar_shows_more_but_not_what_was_given(cli: Cli, demo_index: Path) -> None:
    wren, osprey, nuthatch = (str(DEMO / f"{name}.jpg") for name in ("wren", "osprey", "nuthatch"))

    def found(*arguments: str) -> list[str]:
        return cli("similar", *arguments, "--filepath-only", "-i", demo_index,
                   check=True).stdout.splitlines()

    assert found(wren, osprey, "-k", "3")[0] == nuthatch
    assert len(everything := found(wren, "--not", osprey, "-k", "60")) == 48
    assert not {wren, osprey} & set(everything)
    snow = json.loads(cli("similar", wren, "--text", "a red bus", "-k", "3", "--json", "-i",
                          demo_index, check=True).stdout)
    assert "bus" in " ".join(hit["uri"] for hit in snow)


@pytest.mark.parametrize(("arguments", "code", "says"), [
    (["nothing.jpg"], 2, "nothing.jpg does not exist"), ([""], 2, "a path is empty"),
    ([str(DEMO / "cat.jpg"), "--json", "--preview"], 2, "exclude each other"),
    ([str(DEMO / "cat.jpg"), "--where", "nosuch=1"], 1, "no item has the field 'nosuch'")])
def test_similar_complains_plainly(cli: Cli, demo_index: Path, arguments: list[str], code: int,
                                   says: str) -> None:
    assert says in complaint(cli("similar", *arguments, "-i", demo_index), code)
