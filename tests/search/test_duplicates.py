"""The same picture several times is one group; pictures that are merely alike are not."""

from __future__ import annotations

import inspect
import io
import json
import os
import random
import re
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from conftest import DEMO, Cli, add, approximate_from
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from mmsearch.cli.dups import dups
from mmsearch.collection.collection import Collection
from mmsearch.errors import UsageError
from mmsearch.media import Alike, closeup
from mmsearch.media.perceptual import Likeness, Sketch, compare, sketch
from mmsearch.search.duplicate_pairs import Pair
from mmsearch.search.duplicates import Duplicates, find_duplicates, star_groups

SAME = 0.8
Turn = Image.Transpose


def jpeg(image: Image.Image, quality: int = 90, name: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, quality=quality)
    return stream.getvalue()


def resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)))


def cropped(image: Image.Image, left: float, top: float, right: float,
            bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop((round(left * width), round(top * height),
                       round(right * width), round(bottom * height)))


def watermarked(image: Image.Image) -> Image.Image:
    layer = Image.new("RGBA", image.size)
    ImageDraw.Draw(layer).text((image.width * 0.1, image.height * 0.75), "© sample",
                               fill=(255, 255, 255, 160), font=ImageFont.load_default(
                                   image.width // 12))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


CHANGES = {
    "jpeg30": lambda im: jpeg(im, 30),
    "webp": lambda im: jpeg(im, 80, "WEBP"),
    "png": lambda im: jpeg(im, name="PNG"),
    "half": lambda im: jpeg(resized(im, 0.5)),
    "quarter": lambda im: jpeg(resized(im, 0.25)),
    "stretched": lambda im: jpeg(im.resize((im.width, round(im.height * 0.8)))),
    "crop": lambda im: jpeg(cropped(im, 0.02, 0.05, 0.97, 1)),
    "crop10": lambda im: jpeg(cropped(im, 0.08, 0.02, 0.98, 0.92)),
    "darker": lambda im: jpeg(ImageEnhance.Brightness(im).enhance(0.7)),
    "flatter": lambda im: jpeg(ImageEnhance.Contrast(im).enhance(0.7)),
    "watermark": lambda im: jpeg(watermarked(im)),
    "mirror": lambda im: jpeg(im.transpose(Turn.FLIP_LEFT_RIGHT)),
    "chat": lambda im: jpeg(resized(cropped(im, 0.03, 0, 1, 0.98), 0.6), 55),
}
"""Not turned: the model has another vector for a landscape on its side."""
PHOTOS = ("cat", "lake", "skyline", "coins")


def picture(name: str) -> Image.Image:
    return Image.open(DEMO / f"{name}.jpg").convert("RGB")


def sketched(source: Image.Image | bytes) -> Sketch:
    image = Image.open(io.BytesIO(source)) if isinstance(source, bytes) else source
    return sketch(image.convert("RGB"))


def likeness(one: Image.Image | bytes, other: Image.Image | bytes) -> Likeness:
    return compare([sketched(one)], [sketched(other)])[0]


def closely(one: Image.Image | bytes, other: Image.Image | bytes) -> Likeness:
    turn = likeness(one, other).turn
    first, second = (image if isinstance(image, Image.Image) else Image.open(io.BytesIO(image))
                     for image in (one, other))
    return closeup.look(closeup.closeup(first.convert("RGB")),
                        closeup.closeup(second.convert("RGB")), turn)


# --- two pictures --------------------------------------------------------------------------------


def test_different_pictures_are_not_the_same() -> None:
    sketches = [sketched(Image.open(path)) for path in sorted(DEMO.glob("*.jpg"))]
    pairs = list(combinations(sketches, 2))
    found = compare([one for one, _ in pairs], [other for _, other in pairs])
    assert max(one.score for one in found) < 0.5


def test_a_picture_is_itself_entirely() -> None:
    for path in sorted(DEMO.glob("*.jpg")):
        assert likeness(Image.open(path), Image.open(path))[:2] == (1.0, 0), path.name


@pytest.mark.parametrize("turn", range(8))
def test_each_way_to_turn_a_picture_is_recognised(turn: int) -> None:
    image = picture("skyline")
    changed = image.transpose(Turn.TRANSPOSE) if turn & 4 else image
    changed = changed.transpose(Turn.FLIP_LEFT_RIGHT) if turn & 1 else changed
    changed = changed.transpose(Turn.FLIP_TOP_BOTTOM) if turn & 2 else changed
    score, found, _ = likeness(image, changed)
    assert (found, score > 0.95) == (turn, True)
    assert closely(image, changed)[1:] == (turn, Alike.SAME)


def test_a_subject_that_moved_is_another_picture() -> None:
    """A burst from a tripod: the background is the same, pixel by pixel."""
    first = picture("lake")
    second = first.copy()
    subject = picture("dogs").resize((first.width // 2, first.height // 2))
    first.paste(subject, (first.width // 8, first.height // 3))
    second.paste(subject, (first.width // 3, first.height // 3))
    assert likeness(first, second).score < SAME


def test_another_colour_of_a_product_is_another_picture() -> None:
    shoe = Image.new("RGB", (300, 300), "white")
    draw = ImageDraw.Draw(shoe)
    draw.polygon([(40, 200), (60, 120), (120, 110), (160, 160), (260, 190), (265, 215), (40, 215)],
                 fill=(150, 40, 40))
    for at in range(120, 230, 14):
        draw.line([(at, 165), (at + 8, 210)], fill=(90, 20, 20), width=3)
    red, green, blue = shoe.split()
    assert likeness(shoe, jpeg(shoe, 60)).score >= SAME
    assert likeness(shoe, Image.merge("RGB", (blue, red, green))).score < SAME


def page(seed: int) -> Image.Image:
    words = random.Random(seed)
    image = Image.new("RGB", (600, 800), "white")
    draw = ImageDraw.Draw(image)
    for y in range(40, 760, 26):
        line = " ".join("".join(words.choices("abcdefghijklmnopqrstuvwxyz", k=words.randint(2, 9)))
                        for _ in range(8))
        draw.text((40, y), line, fill="black", font=ImageFont.load_default(17))
    return image


def test_pages_of_text_are_told_apart() -> None:
    pages = [page(seed) for seed in range(6)]
    for one, other in combinations(pages, 2):
        assert likeness(one, other).score < SAME
    for one in pages:
        assert likeness(one, jpeg(resized(one, 0.7), 50)).score >= SAME


def test_plain_pictures_are_told_by_their_colour() -> None:
    def plain(colour: str, side: int = 200) -> Image.Image:
        return Image.new("RGB", (side, side), colour)

    assert likeness(plain("white"), jpeg(plain("white", 90), 40)).score == 1
    assert likeness(plain("teal"), jpeg(plain("teal", 90), 90)).score == 1
    for one, other in combinations(("white", "black", "teal", "#fff0f0", "#808080"), 2):
        assert likeness(plain(one), plain(other)).score == 0, (one, other)
    dotted = plain("white")
    ImageDraw.Draw(dotted).ellipse((20, 20, 50, 50), fill="black")
    elsewhere = plain("white")
    ImageDraw.Draw(elsewhere).ellipse((120, 140, 160, 170), fill="black")
    assert likeness(dotted, plain("white")).score < SAME
    assert likeness(dotted, elsewhere).score < SAME
    assert likeness(dotted, jpeg(dotted, 80)).score >= SAME


def test_a_picture_and_a_plain_one_have_nothing_in_common() -> None:
    grey = Image.new("RGB", (300, 200), (120, 120, 120))
    assert likeness(picture("cat"), grey).score == likeness(grey, picture("cat")).score == 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_noise_is_compared_without_a_warning_and_is_not_the_same(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (2, 80, 60, 3), np.uint8)
    one, other = (Image.fromarray(pixels) for pixels in noise)
    with np.errstate(all="raise", under="ignore"):
        assert likeness(one, other).score < 0.5
        assert likeness(one, one).score == 1


# --- the closer look ---------------------------------------------------------------------------

def sheet(size: tuple[int, int], *words: tuple[int, int, int, str], ground: str = "white",
          ink: str = "black") -> Image.Image:
    """Words (x, y, size, text) on a ground."""
    image = Image.new("RGB", size, ground)
    for x, y, high, text in words:
        ImageDraw.Draw(image).text((x, y), text, ink, ImageFont.load_default(high))
    return image


def form(name: str, date: str = "03/04/2021", amount: str = "1,250.00") -> Image.Image:
    image = page(1).resize((1200, 1600))
    image.paste("white", (0, 0, 1200, 330))
    for number, (label, value) in enumerate({"Name": name, "Date": date, "Sum": amount}.items()):
        draw = ImageDraw.Draw(image)
        draw.text((80, 60 + 70 * number), label, "black", ImageFont.load_default(30))
        draw.rectangle((300, 54 + 70 * number, 1100, 100 + 70 * number), outline="black", width=2)
        draw.text((320, 60 + 70 * number), value, (20, 20, 120), ImageFont.load_default(30))
    return image


def scan(words: str, seed: int) -> Image.Image:
    grain = np.random.default_rng(seed).normal(250, 2, (1100, 800)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(grain).convert("RGB")
    ImageDraw.Draw(image).text((360, 1000), words, "black", ImageFont.load_default(30))
    return image


def night(seed: int, count: int = 600, radius: float = 3) -> Image.Image:
    choose = np.random.default_rng(seed)
    image = Image.fromarray(choose.normal(8, 3, (600, 900, 3)).clip(0, 255).astype(np.uint8))
    for x, y, size in choose.random((count, 3)).tolist():
        x, y, size = 900 * x, 600 * y, radius * size ** 4
        ImageDraw.Draw(image).ellipse((x - size, y - size, x + size, y + size), (255, 255, 240))
    return image


def chart(seed: int) -> Image.Image:
    image = sheet((900, 600), (300, 10, 30, "Visitors by month"), (10, 540, 20, "0"))
    levels = np.random.default_rng(seed).normal(0, 30, 40).cumsum() + 300
    ImageDraw.Draw(image).line([(60 + 20 * at, y) for at, y in enumerate(levels)], (30, 90, 200), 3)
    return image


def moon(x: int) -> Image.Image:
    image = Image.new("RGB", (900, 600), (3, 3, 5))
    ImageDraw.Draw(image).ellipse((x, 250, x + 50, 300), (240, 240, 220))
    return image


DIFFERENT = {
    "forms": (form("Anna Keller"), form("Tom Brown")),
    "a date": (form("Anna Keller"), form("Anna Keller", date="03/04/2022")),
    "a digit": (form("Anna Keller"), form("Anna Keller", amount="1,750.00")),
    "nearly blank scans": (scan("Page 1", 1), scan("Page 2", 2)),
    "small words on a blank page": tuple(
        sheet((1240, 1754), (558, 1650, 12, words)) for words in ("Page 16", "Page 18")),
    "stars": (night(1), night(2)),
    "lights": (night(3, 12, 9), night(4, 12, 9)),
    "charts": (chart(1), chart(2)),
    "moons": (moon(300), moon(600)),
    "screens": (sheet((900, 600), (20, 20, 22, "$ make test"), ground="#202020", ink="#ccc"),
                sheet((900, 600), (20, 20, 22, "$ make lint"), ground="#202020", ink="#ccc")),
    "logos": (sheet((800, 300), (60, 90, 110, "ACME"), ground="#808080", ink="white"),
              sheet((800, 300), (60, 90, 110, "Zeta"), ground="#808080", ink="white")),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_differs_in_its_writing_alone_is_not_the_same(kind: str) -> None:
    one, other = DIFFERENT[kind]
    for changed in (other, jpeg(other, 60), jpeg(resized(other, 0.6), 75)):
        assert closely(one, changed).alike == closely(changed, one).alike == Alike.SIMILAR


@pytest.mark.parametrize("kind", DIFFERENT)
def test_pictures_of_writing_and_lines_are_the_same_as_their_copies(kind: str) -> None:
    for one in DIFFERENT[kind]:
        for changed in (one, jpeg(one, 60), jpeg(resized(one, 0.5), 80)):
            assert closely(one, changed).alike == Alike.SAME


def test_photos_are_the_same_as_their_copies_unless_something_was_put_on_them() -> None:
    for name in PHOTOS:
        for change, make in CHANGES.items():
            alike = closely(picture(name), make(picture(name))).alike
            assert alike == (Alike.SIMILAR if change == "watermark" else Alike.SAME), (name, change)


def test_nothing_is_said_where_there_is_no_detail() -> None:
    noise = np.random.default_rng(0).normal(5, 1, (2, 300, 400)).clip(0, 255).astype(np.uint8)
    dark = [Image.fromarray(levels).convert("RGB") for levels in noise]
    black = Image.new("RGB", (400, 300))
    for one, other in combinations([*dark, black, black.copy()], 2):
        assert closely(one, other)[::2] == (0, Alike.SIMILAR)


def test_only_equal_closeups_may_have_equal_pixels() -> None:
    one, other = (closeup.closeup(form(name)) for name in ("Anna Keller", "Tom Brown"))
    assert closeup.may_be_equal(one, closeup.closeup(form("Anna Keller")), Likeness(1.0, 0))
    assert not closeup.may_be_equal(one, other, Likeness(1.0, 0))


def test_a_thumbnail_in_which_nothing_can_be_read_is_similar_at_most() -> None:
    small = form("Tom Brown").resize((120, 160))
    assert closely(form("Anna Keller"), small).alike == Alike.SIMILAR
    assert closely(form("Tom Brown"), small).alike == Alike.SIMILAR
    assert closely(small, small).alike == Alike.SAME
    assert closely(picture("lake"), picture("lake").resize((96, 64))).alike == Alike.SAME


def test_bars_of_another_colour_or_grey_are_not_the_same() -> None:
    def bars(colour: str) -> Image.Image:
        image = chart(1)
        for x in range(100, 800, 100):
            ImageDraw.Draw(image).rectangle((x, 400, x + 60, 560), fill=colour)
        return image

    assert closely(bars("#d03030"), bars("#d03030")).alike == Alike.SAME
    for other in ("#30d030", "#f4c0c0", "#606060"):
        assert closely(bars("#d03030"), bars(other)).alike == Alike.SIMILAR


# --- groups from pairs ---------------------------------------------------------------------------


@given(st.integers(2, 9).flatmap(lambda n: st.tuples(
    st.permutations(range(n)),
    st.lists(st.sampled_from([0, 0.7, 0.75, 0.8, 1.0]), min_size=n * n, max_size=n * n),
    st.lists(st.booleans(), min_size=n * n, max_size=n * n))))
def test_groups_are_those_of_the_plain_definition(
        case: tuple[list[int], list[float], list[bool]]) -> None:
    ranks, scores, looked = case
    n = len(ranks)
    truth = {Pair(a, b): Likeness(scores[a * n + b], 0) for a, b in combinations(range(n), 2)}
    confirmed = {pair: one for pair, one in truth.items()
                 if one.score >= SAME and looked[pair.one * n + pair.other]}
    stars = star_groups(confirmed, ranks.__getitem__,
                        lambda pairs: {pair: truth[pair] for pair in pairs}, SAME)

    def closure(edges: set[Pair], among: set[int]) -> np.ndarray:
        """[n, n] bool: whether there is a way from one to the other that stays in `among`."""
        way = np.eye(n, dtype=bool)
        for pair in edges:
            if among >= set(pair):
                way[pair.one, pair.other] = way[pair.other, pair.one] = True
        for _ in range(n):
            way = way @ way
        return way

    expected, rest = [], set(range(n))
    component = closure(set(confirmed), rest)
    for best in sorted(range(n), key=ranks.__getitem__):
        if best not in rest:
            continue
        mine = {other: truth[Pair(*sorted((best, other)))].score for other in rest - {best}
                if component[best, other]}
        edges = set(confirmed) | {Pair(*sorted((best, other)))
                                  for other, score in mine.items() if score >= SAME}
        among = {other for other, score in mine.items() if score >= 0.9 * SAME} | {best}
        group = set(np.flatnonzero(closure(edges, among)[best]).tolist())
        rest -= group
        if len(group) > 1:
            expected.append(sorted(group))
    assert sorted(expected) == sorted(sorted(place for place, _ in star) for star in stars)
    for (best, _), *others in stars:
        assert all(ranks[place] > ranks[best] for place, _ in others)
        assert all(found == truth[Pair(*sorted((best, place)))] for place, found in others)


# --- collections ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All demo pictures; four of them with every change, one copied; index beside. Read only."""
    root = tmp_path_factory.mktemp("library")
    shutil.copytree(DEMO, root / "photos", ignore=shutil.ignore_patterns("*.md", "*.jsonl"))
    for name in PHOTOS:
        for change, make in CHANGES.items():
            (root / "photos" / f"{name}-{change}.jpg").write_bytes(make(picture(name)))
    shutil.copy(DEMO / "wren.jpg", root / "photos" / "wren-copy.jpg")
    add(Collection.create(root / "index"), root / "photos")
    return root


@pytest.fixture(scope="module")
def found(library: Path) -> Duplicates:
    return Collection.open(library / "index").duplicates()


def names(found: Duplicates) -> list[set[str]]:
    return [{Path(one.item.uri).stem for one in group.members} for group in found.groups]


def test_every_changed_picture_is_in_the_group_of_its_original(found: Duplicates) -> None:
    expected = [{name, *(f"{name}-{change}" for change in CHANGES)} for name in PHOTOS]
    assert sorted(map(sorted, names(found))) == sorted(map(sorted, [
        *expected, {"wren", "wren-copy"}]))
    assert found.unconfirmed == []
    assert found.pictures == 50 + len(PHOTOS) * len(CHANGES) + 1
    assert found.candidates >= found.confirmed >= len(PHOTOS) * len(CHANGES)


def test_the_one_to_keep_has_most_pixels_then_most_bytes(found: Duplicates) -> None:
    for group in found.groups:
        sizes = [(one.item.meta["width"] * one.item.meta["height"], one.bytes)
                 for one in group.members if one.how != "similar"]
        assert sizes[0] == max(sizes)
        assert [one.how for one in group.members].count("") == 1
        assert group.freed == sum(one.bytes for one in group.members if one.exact) > 0
    counts = [len(group.members) for group in found.groups]
    assert counts == sorted(counts, reverse=True)


def test_each_member_says_how_it_is_the_same(found: Duplicates) -> None:
    how = {Path(one.item.uri).stem: one.how for group in found.groups for one in group.members}
    assert how["cat-mirror"] == "mirrored"
    assert how["cat-half"] == "same"
    assert how["cat-watermark"] == how["lake-watermark"] == "similar"
    assert {"cat", "cat-png"} == {name for name, one in how.items()
                                  if name.startswith("cat") and one in ("", "same pixels")}
    assert {how["wren"], how["wren-copy"]} == {"", "copy"}
    assert all(0.9 * SAME <= one.score <= 1 for group in found.groups for one in group.members)


def test_an_approximate_index_leads_to_the_same_groups(
        library: Path, found: Duplicates, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch) -> None:
    approximate_from(monkeypatch, 50)
    shutil.copytree(library / "index", tmp_path / "index")
    collection = Collection.open(tmp_path / "index")
    collection.compact()
    assert collection.info()["index"]["image"].startswith("ivf-rabitq")
    assert names(collection.duplicates()) == names(found)


def test_exact_finds_copies_alone(library: Path) -> None:
    assert names(Collection.open(library / "index").duplicates(exact=True)) == [
        {"wren", "wren-copy"}]


def test_conditions_thresholds_and_numbers(library: Path) -> None:
    collection = Collection.open(library / "index")
    only = collection.duplicates(where="path ~ cat and not path ~ chat")
    assert names(only) == [{"cat", *(f"cat-{change}" for change in CHANGES if change != "chat")}]
    assert len(collection.duplicates(where="path ~ wren or path ~ coins", k=1).groups) == 1
    strict = collection.duplicates(where="path ~ cat", threshold=1)
    assert names(strict)[0] > {"cat", "cat-png", "cat-mirror"}
    assert "cat-watermark" not in names(strict)[0]
    for wrong in ({"threshold": 0}, {"threshold": 1.5}, {"threshold": float("nan")}, {"k": 0}):
        with pytest.raises(UsageError):
            collection.duplicates(**wrong)  # type: ignore[arg-type]


def test_all_faces_have_the_same_threshold() -> None:
    for call in (Collection.duplicates, find_duplicates, dups):
        assert inspect.signature(call).parameters["threshold"].default == SAME


def test_an_empty_collection_has_none(tmp_path: Path) -> None:
    found = Collection.create(tmp_path / "x").duplicates()
    assert (found.groups, found.pictures) == ([], 0)


def test_a_chain_of_crops_is_no_group_of_its_ends(tmp_path: Path) -> None:
    """Neighbouring windows on a panorama agree, the first and the last do not."""
    image, folder = picture("skyline"), tmp_path / "windows"
    folder.mkdir()
    for number in range(6):
        window = cropped(image, number * 0.06, 0, 0.7 + number * 0.06, 1)
        (folder / f"{number}.jpg").write_bytes(jpeg(window, 95))
    collection = Collection.create(tmp_path / "x")
    add(collection, folder)
    stars = collection.duplicates().groups
    sketches = {path.stem: sketched(Image.open(path)) for path in folder.iterdir()}
    ends = compare([sketches["0"]], [sketches["5"]])[0]
    assert ends.score < SAME <= compare([sketches["0"]], [sketches["1"]])[0].score
    assert stars
    for group in stars:
        best, *others = [Path(one.item.uri).stem for one in group.members]
        assert not {"0", "5"} <= {best, *others}
        assert all(one.score >= 0.9 * SAME for one in group.members)


def saved(folder: Path, **images: Image.Image) -> Path:
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        image.save(folder / f"{name}.png")
    return folder


def test_different_pictures_of_one_design_are_similar_at_most(cli: Cli, tmp_path: Path) -> None:
    logos = {name: Image.new("RGBA", (800, 300), (255, 255, 255, 0)) for name in ("Acme", "Zeta")}
    for name, logo in logos.items():
        ImageDraw.Draw(logo).text((60, 90), name, (255,) * 4, ImageFont.load_default(110))
    folder = saved(
        tmp_path / "pictures", form_0=form("Anna Keller"), form_1=form("Tom Brown"),
        form_2=form("Priya Shah"), white=Image.new("RGB", (800, 300), "white"), **logos,
        black=Image.new("RGB", (900, 600)), nearly_black=Image.new("RGB", (900, 600), "#000001"),
        stars=night(1), more_stars=night(2))
    for number in range(3):
        scan(f"Page {number}", number).save(folder / f"scan-{number}.jpg", quality=88)
    collection = indexed(folder)
    for threshold in (0.8, 1):
        found = collection.duplicates(threshold=threshold)
        assert all(one.how in ("", "similar") for group in found.groups for one in group.members)
        assert [group.redundant + group.near for group in found.groups] == [()] * len(found.groups)
    (group,) = collection.duplicates().groups
    assert {Path(one.item.uri).stem for one in group.members} == {"form_0", "form_1", "form_2"}
    done = cli("dups", "-i", tmp_path / "index", "--filepath-only", "--include-near")
    assert done.stdout == ""


def test_what_lost_nothing_is_told_from_what_changed(tmp_path: Path) -> None:
    black = Image.new("RGB", (900, 600))
    folder = saved(tmp_path / "pictures", form=form("Anna Keller"), form_2=form("Tom Brown"),
                   black=black)
    form("Anna Keller").save(folder / "again.tiff", compression="tiff_lzw")
    form("Anna Keller").resize((600, 800)).save(folder / "half.png")
    form("Anna Keller").resize((600, 800)).save(folder / "half.bmp")
    shutil.copy(folder / "half.png", folder / "half-copy.png")
    black.save(folder / "black.bmp")
    forms, plain = indexed(folder).duplicates().groups
    how = {Path(one.item.uri).name: (one.how, one.exact) for one in forms.members}
    best = forms.members[0].item.uri
    assert {name: how[name] for name in ("form.png", "again.tiff")} in (
        {"form.png": ("", False), "again.tiff": ("same pixels", True)},
        {"form.png": ("same pixels", True), "again.tiff": ("", False)}), best
    assert how["form_2.png"] == ("similar", False)
    assert how["half.bmp"] == ("same", False)  # it has most bytes of three with the same pixels
    assert how["half.png"] == how["half-copy.png"] == ("same", True)
    assert [(one.how, one.exact) for one in plain.members] == [("", False), ("same pixels", True)]
    assert len(forms.redundant), len(forms.near) == (3, 1)


def test_a_similar_picture_does_not_part_a_picture_from_its_copy(tmp_path: Path) -> None:
    """Though it has most pixels, and would be the one to keep."""
    larger = form("Tom Brown").resize((1800, 2400))
    folder = saved(tmp_path / "pictures", form=form("Anna Keller"), larger=larger)
    (folder / "copy.jpg").write_bytes(jpeg(form("Anna Keller"), 80))
    (group,) = indexed(folder).duplicates().groups
    assert [(Path(one.item.uri).name, one.how) for one in group.members] == [
        ("form.png", ""), ("copy.jpg", "same"), ("larger.png", "similar")]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder to spoil: a photo three times (one smaller), a copied one, and two others."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "cat.png").write_bytes(jpeg(picture("cat"), name="PNG"))
    (folder / "cat-half.jpg").write_bytes(jpeg(resized(picture("cat"), 0.5)))
    (folder / "cat-webp.webp").write_bytes(jpeg(picture("cat"), 80, "WEBP"))
    for name in ("wren", "wren-2"):
        shutil.copy(DEMO / "wren.jpg", folder / f"{name}.jpg")
    for name in ("lake", "moose"):
        shutil.copy(DEMO / f"{name}.jpg", folder)
    return folder


def indexed(folder: Path) -> Collection:
    collection = Collection.create(folder.parent / "index")
    add(collection, folder)
    return collection


def test_files_that_are_gone_are_named_and_the_rest_stands(pictures: Path) -> None:
    collection = indexed(pictures)
    (pictures / "wren.jpg").unlink()
    (pictures / "cat-webp.webp").unlink()
    found = collection.duplicates()
    assert names(found) == [{"cat", "cat-half"}, {"wren", "wren-2"}]
    assert [(Path(one.path).name, one.reason) for one in found.unconfirmed] == [
        ("cat-webp.webp", "cannot be read: No such file or directory")]
    copies = found.groups[1]
    assert [(Path(one.item.uri).stem, one.problem) for one in copies.members] == [
        ("wren-2", ""), ("wren", "gone")]
    assert (copies.redundant, copies.near, copies.freed) == ((), (), 0)


def test_a_file_that_changed_is_not_taken_for_what_it_was(pictures: Path) -> None:
    collection = indexed(pictures)
    shutil.copy(DEMO / "temple.jpg", pictures / "wren.jpg")
    shutil.copy(DEMO / "bus.jpg", pictures / "cat.png")
    os.utime(pictures / "cat-half.jpg", (1, 1))  # touched, the same content
    found = collection.duplicates()
    assert names(found) == [{"cat-half", "cat-webp"}]
    assert {Path(one.path).name for one in found.unconfirmed} == {"wren.jpg", "cat.png"}
    assert all("index" in one.reason for one in found.unconfirmed)


def test_another_name_of_a_file_is_no_copy_of_it(pictures: Path) -> None:
    (pictures / "wren-2.jpg").unlink()
    os.link(pictures / "wren.jpg", pictures / "wren-2.jpg")
    (pictures / "zz-moose.jpg").symlink_to(pictures / "moose.jpg")
    (pictures / "cat-link.png").symlink_to(pictures / "cat.png")
    found = indexed(pictures).duplicates()
    assert names(found) == [{"cat", "cat-half", "cat-webp", "cat-link"}]
    kept, *_ = found.groups[0].members
    left = {pictures / "cat.png", pictures / "cat-link.png"}
    assert Path(kept.item.uri) in left
    removed = [*found.groups[0].redundant, *found.groups[0].near]
    assert not left & {Path(one.item.uri) for one in removed}


def test_what_was_deleted_from_the_collection_is_not_found(pictures: Path) -> None:
    collection = indexed(pictures)
    collection.delete([str(pictures / "wren-2.jpg"), str(pictures / "cat-half.jpg")])
    assert names(collection.duplicates()) == [{"cat", "cat-webp"}]


def test_looking_for_duplicates_writes_nothing(pictures: Path) -> None:
    collection = indexed(pictures)
    collection.close()
    everything = pictures.parent.rglob("*")
    before = {path: path.stat().st_mtime_ns for path in everything
              if path.is_file() and not path.name.endswith(("-shm", "-wal"))}
    Collection.open(pictures.parent / "index").duplicates()
    after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before


# --- the command line ----------------------------------------------------------------------------


def test_the_command_prints_lines_json_and_paths(cli: Cli, pictures: Path) -> None:
    indexed(pictures)
    done = cli("dups", "-i", pictures.parent / "index", check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [(row[0], row[1], Path(row[5]).name) for row in rows] == [
        ("1", "keep", "cat.png"), ("1", "same", "cat-webp.webp"), ("1", "same", "cat-half.jpg"),
        ("2", "keep", "wren.jpg"), ("2", "copy", "wren-2.jpg")]
    assert "2 groups among 7 pictures; 1 file could be deleted without loss" in done.stderr
    assert "2 files more with --include-near" in done.stderr
    found = json.loads(cli("dups", "-i", pictures.parent / "index", "--json", "-k", 1).stdout)
    (group,) = found["groups"]
    assert group["keep"] == str(pictures / "cat.png")
    assert [(one["redundant"], one["near"]) for one in group["members"]] == [
        (False, False), (False, True), (False, True)]
    assert group["freed"] == found["freed"] == 0
    command = ("dups", "-i", pictures.parent / "index", "--filepath-only")
    assert cli(*command).stdout.splitlines() == [str(pictures / "wren-2.jpg")]
    assert cli(*command, "--include-near").stdout.splitlines() == [
        str(pictures / name) for name in ("cat-webp.webp", "cat-half.jpg", "wren-2.jpg")]
    exact = cli("dups", "-i", pictures.parent / "index", "--exact", "--filepath-only",
                "--where", "path ~ wren")
    assert exact.stdout == f"{pictures / 'wren-2.jpg'}\n"


def test_a_name_with_a_line_end_is_left_out_of_the_paths(cli: Cli, pictures: Path) -> None:
    shutil.copy(pictures / "wren.jpg", pictures / "wren-2.jpg\n.jpg")
    indexed(pictures)
    done = cli("dups", "-i", pictures.parent / "index", "--exact", "--filepath-only")
    assert done.stdout == f"{pictures / 'wren-2.jpg'}\n"
    assert r"wren-2.jpg\n.jpg" in done.stderr


def test_the_sheet_shows_each_group(cli: Cli, pictures: Path) -> None:
    os.rename(pictures / "lake.jpg", pictures / "<b>&.jpg")  # noqa: PTH104
    shutil.copy(pictures / "<b>&.jpg", pictures / "lake.jpg")
    indexed(pictures)
    (pictures / "wren.jpg").unlink()
    html = pictures.parent / "sheet.html"
    cli("dups", "-i", pictures.parent / "index", "--html", html, check=True)
    page = html.read_text("utf-8")
    assert re.findall(r"<h2[^>]*>([^,<]+)", page) == [
        "Group 1: 3 files", "Group 2: 2 files", "Group 3: 2 files"]
    assert [len(re.findall(rf"<{tag}\b", page)) for tag in ("li", "img")] == [7, 6]
    assert "<b>&" not in page


def test_nothing_found_and_wrong_use(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    for name in ("cat-half.jpg", "cat-webp.webp", "wren-2.jpg"):
        (pictures / name).unlink()
    indexed(pictures)
    done = cli("dups", "-i", pictures.parent / "index")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "no duplicates among 4 pictures\n"
    for wrong in (["--threshold", "2"], ["--include-near"], ["-k", "0"], ["--where", "width >"]):
        done = cli("dups", "-i", pictures.parent / "index", *wrong)
        assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
    assert cli("dups", "-i", tmp_path / "nowhere").returncode == 1
