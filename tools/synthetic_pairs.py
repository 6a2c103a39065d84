"""Drawn pictures with captions: plain colours, patterns, shapes, counts, positions, words.

Photographs teach next to nothing of this, and it is what people try first ("a red square").
Everything follows from the seed, so the same pictures come out on every machine.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 224
COLOURS = {
    "red": (214, 32, 38), "green": (38, 158, 62), "blue": (36, 82, 206), "yellow": (246, 216, 38),
    "orange": (244, 134, 28), "purple": (124, 48, 158), "pink": (246, 136, 182),
    "brown": (122, 78, 42), "black": (16, 16, 18), "white": (250, 250, 250),
    "grey": (134, 134, 138), "turquoise": (52, 188, 184),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "rectangle", "diamond", "cross", "ring", "heart")
NUMBERS = ("", "one", "two", "three", "four", "five")
WORDS = ["open", "closed", "stop", "exit", "hello", "sale", "love", "welcome", "danger", "free"]
WORDS += ["happy", "hotel", "coffee", "music", "pizza", "bus", "taxi", "news", "today", "home"]
WORDS += ["yes", "no", "one", "two", "three", "north", "south", "east", "west", "work"]
Colour = tuple[int, int, int]
Drawn = tuple[Image.Image, list[str]]


def write_pairs(out: Path, count: int = 1500, seed: int = 0) -> Path:
    """Draw `count` pictures into out/images; -> out/pairs.jsonl, every tenth row marked val."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    makers = [plain, pattern, one_shape, one_shape, several, two_shapes, two_shapes, word]
    with (out / "pairs.jsonl").open("w", encoding="utf-8") as rows:
        for number in range(count):
            picture, captions = makers[number % len(makers)](chance)
            name = f"images/{number:05d}.png"
            picture.save(out / name)
            split = "val" if number // len(makers) % 10 == 0 else "train"
            rows.write(json.dumps({"image": name, "captions": captions, "split": split}) + "\n")
    return out / "pairs.jsonl"


def shade(name: str, chance: random.Random) -> Colour:
    """The colour, a little off: nobody's red is exactly ours."""
    red, green, blue = (max(0, min(255, c + chance.randint(-14, 14))) for c in COLOURS[name])
    return red, green, blue


def canvas(background: str, chance: random.Random) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (SIDE, SIDE), shade(background, chance))
    return picture, ImageDraw.Draw(picture)


def article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plain(chance: random.Random) -> Drawn:
    name = chance.choice(list(COLOURS))
    picture, _ = canvas(name, chance)
    if chance.random() < 0.5:
        noise = Image.effect_noise((SIDE, SIDE), 40).convert("RGB")
        picture = Image.blend(picture, noise, 0.12).filter(ImageFilter.GaussianBlur(1))
    return picture, [article(f"{name} image"), f"plain {name} background", f"the colour {name}"]


def pattern(chance: random.Random) -> Drawn:
    first, second = chance.sample(list(COLOURS), 2)
    picture, draw = canvas(first, chance)
    ink, step = shade(second, chance), chance.choice((16, 28, 40))
    kind = chance.choice(("horizontal stripes", "vertical stripes", "checkerboard", "dots"))
    for i, a in enumerate(range(0, SIDE, step)):
        if kind == "horizontal stripes" and i % 2:
            draw.rectangle((0, a, SIDE, a + step - 1), fill=ink)
        elif kind == "vertical stripes" and i % 2:
            draw.rectangle((a, 0, a + step - 1, SIDE), fill=ink)
        elif kind in ("checkerboard", "dots"):
            for j, b in enumerate(range(0, SIDE, step)):
                if kind == "dots":
                    draw.ellipse((a + 3, b + 3, a + step * 0.7, b + step * 0.7), fill=ink)
                elif (i + j) % 2:
                    draw.rectangle((a, b, a + step - 1, b + step - 1), fill=ink)
    if kind == "dots":
        return picture, [f"{second} dots on {first}", f"a pattern of {second} dots"]
    return picture, [f"{first} and {second} {kind}", f"a pattern of {kind}"]


def stamp(draw: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: float, ink: Colour) -> None:
    """One filled shape centred on (x, y), about 2 r wide."""
    box = (x - r, y - r, x + r, y + r)
    if shape == "circle":
        draw.ellipse(box, fill=ink)
    elif shape == "ring":
        draw.ellipse(box, outline=ink, width=max(4, int(r / 3)))
    elif shape == "square":
        draw.rectangle(box, fill=ink)
    elif shape == "rectangle":
        draw.rectangle((x - r, y - r * 0.55, x + r, y + r * 0.55), fill=ink)
    elif shape == "cross":
        draw.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=ink)
        draw.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=ink)
    elif shape == "heart":
        draw.ellipse((x - r, y - r * 0.8, x, y + r * 0.2), fill=ink)
        draw.ellipse((x, y - r * 0.8, x + r, y + r * 0.2), fill=ink)
        draw.polygon([(x - r * 0.9, y), (x, y - r * 0.4), (x + r * 0.9, y), (x, y + r)], fill=ink)
    else:
        corners = {"triangle": 3, "diamond": 4, "star": 10}[shape]
        points = []
        for k in range(corners):
            angle = 2 * math.pi * k / corners
            reach = r * 0.42 if shape == "star" and k % 2 else r
            points.append((x + math.sin(angle) * reach, y - math.cos(angle) * reach))
        draw.polygon(points, fill=ink)


def ground_and_ink(chance: random.Random) -> tuple[str, str]:
    ink = chance.choice([c for c in COLOURS if c != "white"])
    others = [c for c in COLOURS if c != ink]
    return ("white" if chance.random() < 0.6 else chance.choice(others)), ink


def one_shape(chance: random.Random) -> Drawn:
    ground, ink = ground_and_ink(chance)
    shape = chance.choice(SHAPES)
    picture, draw = canvas(ground, chance)
    r = chance.uniform(28, 90)
    x, y = (chance.uniform(r + 8, SIDE - r - 8) for _ in range(2))
    stamp(draw, shape, x, y, r, shade(ink, chance))
    thing = f"{ink} {shape}"
    return picture, [article(thing), f"{article(thing)} on a {ground} background"]


def several(chance: random.Random) -> Drawn:
    ground, ink = ground_and_ink(chance)
    shape, number = chance.choice(SHAPES), chance.randint(2, 5)
    picture, draw = canvas(ground, chance)
    cells = chance.sample([(x, y) for x in range(3) for y in range(3)], number)
    for x, y in cells:
        dx, dy = chance.uniform(-8, 8), chance.uniform(-8, 8)
        stamp(draw, shape, 38 + 74 * x + dx, 38 + 74 * y + dy, 26, shade(ink, chance))
    plural = {"cross": "crosses"}.get(shape, shape + "s")
    return picture, [f"{NUMBERS[number]} {ink} {plural}", f"{ink} {plural} on {ground}"]


def two_shapes(chance: random.Random) -> Drawn:
    ground, first = ground_and_ink(chance)
    second = chance.choice([c for c in COLOURS if c not in (ground, first)])
    one, two = chance.choice(SHAPES), chance.choice(SHAPES)
    picture, draw = canvas(ground, chance)
    beside = chance.random() < 0.5
    places = [(62, 112), (162, 112)] if beside else [(112, 62), (112, 162)]
    for (x, y), shape, ink in zip(places, (one, two), (first, second), strict=True):
        stamp(draw, shape, x, y, chance.uniform(32, 46), shade(ink, chance))
    a, b = article(f"{first} {one}"), article(f"{second} {two}")
    how = "next to" if beside else "above"  # left and right change places in mirrored pictures
    return picture, [f"{a} {how} {b}", f"{a} and {b}", f"{b} and {a}"]


def word(chance: random.Random) -> Drawn:
    ground, ink = ground_and_ink(chance)
    text = chance.choice(WORDS)
    picture, draw = canvas(ground, chance)
    font = ImageFont.load_default(size=chance.randint(36, 54))
    shown = text.upper() if chance.random() < 0.6 else text.capitalize()
    draw.text((SIDE / 2, SIDE / 2), shown, fill=shade(ink, chance), font=font, anchor="mm")
    return picture, [f'the word "{text}"', f"a sign that says {text}", f"{ink} text on {ground}"]
