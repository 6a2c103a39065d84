"""Pictures with labels that the built-in model has never read, as folders for bench/classify.py.

    apt-get download stellarium-data fonts-noto-color-emoji ruby-gemojione unicode-data
    for package in *.deb; do dpkg -x "$package" PACKAGES; done
    for name in @discordapp/twemoji openmoji fluentui-emoji; do
        mkdir -p PACKAGES/${name#*/}; npm pack $name | xargs tar -C PACKAGES/${name#*/} -xf; done
    python bench/unread.py PACKAGES --data DATA --out OUT
    python bench/classify.py OUT/sky/pairs.jsonl --column label --split test

    sky      Stellarium's photographs of the deep sky; the label is the type in its catalogue
    emoji    animals, food, vehicles, tools … as Noto, EmojiOne, Twemoji, OpenMoji and Fluent draw
             them; the label is the name in Unicode. Noto's are to test on, 3 or 4 are examples
    flags    of countries, likewise

A label is kept if no text that the model was trained on has it, nor its memory of names: all lines
of all files of DATA, in every language and split, the captions and names in tools/, and the words
of the drawn pictures. The words of a label (broken heart) may have been read apart from each other;
the column `strict` has only labels of which no word ever was (dodo). Plurals count as singulars.
SVG files are drawn by rsvg-convert (Debian's librsvg2-bin).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import re
import struct
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmsearch.encoders import BUILTIN_DIR

TOOLS = Path(__file__).parent.parent / "tools"
SIDE = 256
LONGEST = 8  # words of a label
EXAMPLES = 3
SMALL = {"a", "an", "and", "at", "in", "of", "on", "or", "the", "with"}
NEBULAE = "usr/share/stellarium/nebulae/default"
NOTO = "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
EMOJI_ONE = "usr/share/rubygems-integration/all/gems/gemojione-3.3.0/assets/png"
NAMES = "usr/share/unicode/emoji/emoji-test.txt"
GROUPS = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
TYPES = {3: "interacting galaxies", 6: "open star cluster", 7: "globular star cluster",
         11: "planetary nebula", 13: "reflection nebula", 16: "emission nebula",
         17: "emission nebula"}
"""Of Stellarium's catalogue; galaxies (0 and 1) are told apart by their shape."""


class Picture(NamedTuple):
    name: str
    image: Callable[[], Image.Image]
    label: str
    split: str


# -- what the model has read -----------------------------------------------------------------------


class Read:
    """All that the model was trained on, as words without their plural."""

    def __init__(self, data: Path) -> None:
        self.texts = 0
        self.words: set[str] = set()
        self.runs: set[tuple[str, ...]] = set()
        for text in {*texts_in(data), *texts_of_tools(), *names()}:
            self.texts += 1
            words = words_of(text)
            self.words.update(words)
            for length in range(2, LONGEST + 1):
                self.runs.update(zip(*(words[n:] for n in range(length)), strict=False))

    def has(self, label: str) -> bool:
        words = words_of(label)
        return words[0] in self.words if len(words) == 1 else words in self.runs

    def has_words(self, label: str) -> bool:
        """One at least, not counting small ones."""
        return any(word in self.words for word in words_of(label) if word not in SMALL)


def words_of(text: str) -> tuple[str, ...]:
    return tuple(word[:-1] if word.endswith("s") and len(word) > 3 else word
                 for word in re.findall(r"\w+", text.lower().replace("’", "'")))


def texts_in(data: Path) -> Iterator[str]:
    for file in sorted(data.rglob("*.jsonl*")):
        with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield from strings({key: value for key, value in json.loads(line).items()
                                    if key not in ("image", "source", "licence")})


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)


def texts_of_tools() -> Iterator[str]:
    for file in ("coco_captions.tsv", "imagenet_names.tsv", "synthetic_pairs.py"):
        yield from (TOOLS / file).read_text("utf-8").splitlines()


def names() -> Iterator[str]:
    yield from (word.decode() for word in np.load(BUILTIN_DIR / "names.npy")["word"])


# -- photographs of the sky ------------------------------------------------------------------------


def sky(packages: Path) -> Iterator[Picture]:
    kinds = catalogue(packages / NEBULAE / "catalog.dat")
    for file in sorted((packages / NEBULAE).glob("*.png")):
        if found := re.fullmatch(r"(n|ic|m)(\d+)(?:[a-z]*|-[a-z]\w*)", file.stem):
            label = kinds.get((found[1], int(found[2])), "")
            split = "test" if hashlib.sha256(file.stem.encode()).digest()[0] < 102 else "train"
            if label:
                yield Picture(file.stem, partial(drawing, file), label, split)


def catalogue(file: Path) -> dict[tuple[str, int], str]:
    """What an object is, by catalogue ("n": NGC, "ic", "m": Messier) and number.

    The file is a gzipped QDataStream of records of one layout, big-endian."""
    data, at = gzip.decompress(file.read_bytes()), 0

    def take(form: str) -> tuple[Any, ...]:
        nonlocal at
        found = struct.unpack_from(f">{form}", data, at)
        at += struct.calcsize(f">{form}")
        return found

    def text() -> str:
        nonlocal at
        length = take("i")[0]
        at += max(length, 0)
        return data[at - length : at].decode("utf-16-be") if length > 0 else ""

    kinds: dict[tuple[str, int], str] = {}
    text(), text()  # version, edition
    while at < len(data):
        kind = take("I4dI")[-1]  # number, position, magnitudes, type
        shape = text()
        take("2dI6d")  # size, angle, distances
        numbers = take("14I")
        text(), take("2I"), [text() for _ in range(7)], take("5I")  # other catalogues
        label = galaxy(shape) if kind in (0, 1) else TYPES.get(kind, "")
        kinds |= {(name, number): label
                  for name, number in zip(("n", "ic", "m"), numbers, strict=False) if number}
    return kinds


def galaxy(shape: str) -> str:
    """By the Hubble type: E3, SAB(rs)bc, IB(s)m. Lenticular ones (S0) are neither."""
    if found := re.match(r"(E|S[AB]*(?:\([^)]*\))?[a-d]|I)", shape.replace("(R)", "")):
        return {"E": "elliptical", "S": "spiral", "I": "irregular"}[found[1][0]] + " galaxy"
    return ""


# -- emoji -----------------------------------------------------------------------------------------


def emoji(packages: Path, groups: Iterable[str]) -> Iterator[Picture]:
    font = ImageFont.truetype(packages / NOTO, 109)
    for points, label in named(packages / NAMES, groups):
        code = "-".join(f"{point:x}" for point in points if point != 0xFE0F)
        slug = re.sub(r"\W+", "-", label.lower()).strip("-")
        files = {name: file for name, file in {
            "emojione": packages / EMOJI_ONE / f"{code.upper()}.png",
            "twemoji": packages / "twemoji/package/dist/svg" / f"{code}.svg",
            "openmoji": packages / "openmoji/package/color/svg" / f"{code.upper()}.svg",
            "fluent": packages / "fluentui-emoji/package/icons/modern" / f"{slug}.svg",
        }.items() if file.exists()}
        if len(files) >= EXAMPLES:
            yield Picture(f"{code}-noto", partial(in_font, font, "".join(map(chr, points))), label,
                          "test")
            for name, file in files.items():
                yield Picture(f"{code}-{name}", partial(drawing, file), label, "train")


def named(file: Path, groups: Iterable[str]) -> Iterator[tuple[list[int], str]]:
    group = ""
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ")
        elif group in groups and "; fully-qualified" in line:
            name = line.partition("# ")[2].split(" ", 2)[2]
            yield [int(one, 16) for one in line.partition(";")[0].split()], \
                re.sub("^flag: ", "flag of ", name)


def in_font(font: ImageFont.FreeTypeFont, text: str) -> Image.Image:
    image = Image.new("RGB", (150, 150), "white")
    ImageDraw.Draw(image).text((75, 75), text, font=font, embedded_color=True, anchor="mm")
    return image


def drawing(file: Path) -> Image.Image:
    """A PNG or SVG file, on white."""
    if file.suffix == ".svg":
        image = Image.open(io.BytesIO(subprocess.run(
            ["rsvg-convert", "-w", str(SIDE), "-h", str(SIDE), file], check=True,
            capture_output=True).stdout))
    else:
        image = Image.open(file)
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    return white.convert("RGB")


# -- written ---------------------------------------------------------------------------------------


def write(folder: Path, pictures: Iterable[Picture], read: Read) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    dropped, kept = set(), {"label": Counter[str](), "strict": Counter[str]()}
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as lines:
        for one in pictures:
            if read.has(one.label):
                dropped.add(one.label)
                continue
            columns = {"label": one.label} if read.has_words(one.label) else {
                "label": one.label, "strict": one.label}
            for column in columns:
                kept[column][one.label] += 1
            one.image().save(folder / "images" / f"{one.name}.png")
            lines.write(json.dumps({"image": f"images/{one.name}.png", **columns,
                                    "split": one.split}) + "\n")
    print(f"{folder.name}: {len(dropped)} labels were read and are dropped: {some(dropped)}")
    for kind, counts in kept.items():
        print(f"  {kind}: {len(counts)} labels, {counts.total()} pictures: {some(counts)}")


def some(labels: Iterable[str]) -> str:
    those = sorted(labels)
    return ", ".join(those[:: len(those) // 6 + 1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", type=Path, help="a folder with the unpacked packages")
    parser.add_argument("--data", type=Path, required=True, help="what the model was trained on")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    read = Read(args.data)
    print(f"{read.texts} texts, {len(read.words)} words")
    write(args.out / "sky", sky(args.packages), read)
    write(args.out / "emoji", emoji(args.packages, GROUPS), read)
    write(args.out / "flags", emoji(args.packages, ["Flags"]), read)


if __name__ == "__main__":
    main()
