"""Pictures that are made to look alike and are not the same, for `dups.py`: documents, screens,
charts, tickets, drawings and night shots, each of one design and with other contents."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WORDS = (
    "account", "agreement", "amount", "annual", "approved", "balance", "branch", "building",
    "carrier", "claim", "client", "contract", "county", "credit", "customer", "damage",
    "delivery", "district", "due", "estate", "evidence", "first", "freight", "garden",
    "ground", "holder", "house", "insured", "invoice", "item", "journey", "lane", "letter",
    "market", "member", "mill", "month", "north", "notice", "office")
FIRST = ("Anna", "Tom", "Priya", "Luis", "Maria", "John", "Wei", "Fatima", "Olga", "Peter")
LAST = ("Keller", "Brown", "Shah", "Garcia", "Rossi", "Smith", "Chen", "Haddad", "Novak")
INK = (20, 20, 120)


def letters(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def sheet(size: tuple[int, int], ground: str | tuple[int, int, int] = "white",
          ) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", size, ground)
    return image, ImageDraw.Draw(image)


def line(choose: random.Random, words: int) -> str:
    return " ".join(choose.choices(WORDS, k=words))


def amount(choose: random.Random) -> str:
    return f"{choose.randint(1, 9)},{choose.randint(0, 999):03}.{choose.randint(0, 99):02}"


def date(choose: random.Random) -> str:
    return f"{choose.randint(1, 28):02}/{choose.randint(1, 12):02}/{choose.randint(2015, 2025)}"


def form(choose: random.Random) -> Image.Image:
    """Filled in for somebody else; the print is the same."""
    image, draw = sheet((1240, 1754))
    draw.text((80, 60), "Claim form 17-B", "black", letters(54))
    person = f"{choose.choice(FIRST)} {choose.choice(LAST)}"
    values = {"Name:": person, "Street:": f"{line(choose, 2)} {choose.randint(1, 200)}",
              "City:": choose.choice(WORDS), "Amount:": amount(choose), "Date:": date(choose),
              "Signature:": person}
    for number, (label, value) in enumerate(values.items()):
        y = 180 + 70 * number
        draw.text((80, y), label, "black", letters(30))
        draw.rectangle((300, y - 6, 1150, y + 40), outline="black", width=2)
        draw.text((320, y), value, INK, letters(30))
    print_ = random.Random(5)
    for number in range(22):
        draw.text((80, 640 + 40 * number), line(print_, 11), "black", letters(26))
    return image


def receipt(choose: random.Random) -> Image.Image:
    """One number differs, in a page of text."""
    image, draw = sheet((1240, 1754))
    print_ = random.Random(6)
    for number in range(34):
        draw.text((80, 120 + 42 * number), line(print_, 11), "black", letters(26))
    draw.text((80, 1600), f"Receipt no. {choose.randint(10_000, 99_999)}", "black", letters(26))
    return image


def document(choose: random.Random) -> Image.Image:
    """A letter with the same head."""
    image, draw = sheet((1240, 1754))
    draw.text((80, 60), "Miller & Sons", (30, 60, 120), letters(60))
    draw.line((80, 150, 1160, 150), fill=(30, 60, 120), width=4)
    for number in range(choose.randint(20, 32)):
        draw.text((80, 220 + 42 * number), line(choose, 10), "black", letters(26))
    return image


def blank_scan(choose: random.Random) -> Image.Image:
    """A word or two at the foot of an empty sheet."""
    grain = np.random.default_rng(choose.randint(0, 2**32))
    image = Image.fromarray(grain.normal(250, 2, (1754, 1240)).clip(0, 255).astype(np.uint8))
    image = image.convert("RGB")
    words = choose.choice([f"Page {choose.randint(1, 9_999)}", line(choose, 2),
                           f"Annex {choose.choice('ABCDEFGH')}-{choose.randint(1, 999)}"])
    ImageDraw.Draw(image).text((560, 1650), words, "black", letters(36))
    return image


def signature(choose: random.Random) -> Image.Image:
    image, draw = sheet((1200, 500))
    draw.line([(200 + 40 * at, 250 + choose.gauss(0, 60)) for at in range(20)], (20, 20, 90), 4)
    return image


def terminal(choose: random.Random) -> Image.Image:
    image, draw = sheet((1400, 900), (30, 30, 30))
    for number in range(choose.randint(10, 28)):
        draw.text((20, 20 + 30 * number), "$ " + line(choose, choose.randint(2, 9)),
                  (200, 200, 200), letters(22))
    return image


def window(choose: random.Random) -> Image.Image:
    """A table on a screen, of which a few cells differ."""
    image, draw = sheet((1600, 1000), (245, 245, 245))
    draw.rectangle((0, 0, 1600, 60), fill=(40, 90, 160))
    draw.text((20, 14), "Stock of all branches", "white", letters(28))
    print_ = random.Random(7)
    changed = choose.sample(range(240), 4)
    for cell in range(240):
        x, y = 20 + 195 * (cell % 8), 80 + 30 * (cell // 8)
        draw.rectangle((x, y, x + 195, y + 30), outline=(200, 200, 200))
        value = print_.randint(100, 9_999)
        draw.text((x + 8, y + 5), str(choose.randint(100, 9_999) if cell in changed else value),
                  "black", letters(17))
    return image


def chart(choose: random.Random) -> Image.Image:
    """A curve between the same axes."""
    image, draw = sheet((1200, 800))
    for step in range(7):
        y = 80 + 100 * step
        draw.line((120, y, 1150, y), fill=(225, 225, 225), width=2)
        draw.text((60, y - 12), str(600 - 100 * step), (60, 60, 60), letters(22))
    draw.text((400, 20), "Visitors by month", "black", letters(32))
    value, points = 350.0, []
    for at in range(60):
        value = min(max(value + choose.gauss(0, 45), 90), 670)
        points.append((130 + 17 * at, value))
    draw.line(points, (30, 100, 200), 3)
    return image


def bars(choose: random.Random) -> Image.Image:
    image, draw = sheet((1000, 700))
    for number in range(8):
        x, height = 90 + 110 * number, choose.randint(60, 520)
        draw.rectangle((x, 620 - height, x + 80, 620), fill=(220, 110, 40))
        draw.text((x + 10, 635), f"Q{number % 4 + 1}", "black", letters(24))
    draw.line((70, 620, 970, 620), fill="black", width=3)
    return image


def ticket(choose: random.Random) -> Image.Image:
    """Another seat and code."""
    image, draw = sheet((800, 1600), (20, 60, 140))
    draw.rounded_rectangle((40, 300, 760, 1500), 30, fill="white")
    draw.text((80, 100), "RailWay", "white", letters(80))
    draw.text((80, 340), f"Coach {choose.randint(1, 12)}  Seat {choose.randint(1, 99)}",
              "black", letters(44))
    draw.text((80, 420), "London - Leeds", "black", letters(44))
    code = np.random.default_rng(choose.randint(0, 2**32)).random((33, 33)) > 0.5
    image.paste(Image.fromarray(code).resize((560, 560), 0), (120, 700))
    return image


def seat(choose: random.Random) -> Image.Image:
    """A boarding card of which only the seat and the gate differ."""
    image = ticket(random.Random(8))
    draw = ImageDraw.Draw(image)
    draw.rectangle((60, 330, 740, 480), fill="white")
    draw.text((80, 340), f"Seat {choose.randint(1, 40)}{choose.choice('ABCDEF')}  "
              f"Gate {choose.randint(1, 60)}", "black", letters(44))
    return image


def drawing(choose: random.Random) -> Image.Image:
    """Line art: outlines on white."""
    image, draw = sheet((900, 900))
    for _ in range(choose.randint(4, 9)):
        x, y, side = choose.randint(60, 600), choose.randint(60, 600), choose.randint(60, 240)
        if choose.random() < 0.5:
            draw.ellipse((x, y, x + side, y + side * 0.8), outline="black", width=4)
        else:
            draw.regular_polygon((x, y, side * 0.6), choose.randint(3, 7),
                                 rotation=choose.randint(0, 90), outline="black", width=4)
    return image


def dark(choose: random.Random, size: tuple[int, int], level: float, noise: float
         ) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """What a sensor gives where there is no light."""
    grain = np.random.default_rng(choose.randint(0, 2**32))
    pixels = grain.normal(level, noise, (size[1], size[0], 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    return image, ImageDraw.Draw(image)


def stars(choose: random.Random) -> Image.Image:
    image, draw = dark(choose, (1500, 1000), 8, 3)
    for _ in range(600):
        x, y, radius = choose.uniform(0, 1500), choose.uniform(0, 1000), 3 * choose.random() ** 4
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 255, 240))
    return image


def moon(choose: random.Random) -> Image.Image:
    image, draw = sheet((1500, 1000), (3, 3, 5))
    x, y, side = choose.randint(300, 1100), choose.randint(200, 700), choose.randint(30, 90)
    draw.ellipse((x, y, x + side, y + side), fill=(240, 240, 220))
    return image


def night(choose: random.Random) -> Image.Image:
    """Lit windows of a dark street."""
    image, draw = dark(choose, (1200, 800), 6, 2)
    for _ in range(choose.randint(8, 40)):
        x, y = choose.randint(0, 1180), choose.randint(250, 700)
        level = choose.randint(40, 220)
        draw.rectangle((x, y, x + choose.randint(4, 14), y + choose.randint(6, 18)),
                       fill=(level, level * 4 // 5, level // 3))
    return image


def under_exposed(choose: random.Random) -> Image.Image:
    """Hills at dusk, of which a few levels are left."""
    across = np.linspace(0, 2 * math.pi, 900)
    ridge = sum(choose.uniform(20, 90) * np.sin(across * choose.uniform(0.5, 5) + choose.random())
                for _ in range(4)) + 320
    scene = np.where(np.arange(600)[:, None] < ridge, 180.0, 40.0)
    grain = np.random.default_rng(choose.randint(0, 2**32)).normal(0, 1, scene.shape)
    return Image.fromarray((scene * 0.04 + grain).clip(0, 255).astype(np.uint8)).convert("RGB")


def logo(choose: random.Random) -> Image.Image:
    """White on transparent."""
    image = Image.new("RGBA", (800, 300), (255, 255, 255, 0))
    ImageDraw.Draw(image).text((60, 90), choose.choice(WORDS).title(), (255,) * 4, letters(110))
    return image


def snow(choose: random.Random) -> Image.Image:
    """Nearly white, with something far away."""
    image, draw = sheet((1200, 800), (246, 247, 249))
    x, y = choose.randint(100, 1100), choose.randint(100, 700)
    draw.ellipse((x, y, x + 16, y + 40), fill=(60, 60, 60))
    return image


def plain(choose: random.Random) -> Image.Image:
    """One colour, of which there are many hardly different ones."""
    return Image.new("RGB", (900, 900), tuple(choose.randint(0, 255) // 4 for _ in range(3)))


FAMILIES: dict[str, Callable[[random.Random], Image.Image]] = {
    one.__name__: one for one in (
        form, receipt, document, blank_scan, signature, terminal, window, chart, bars, ticket,
        seat, drawing, stars, moon, night, under_exposed, logo, snow, plain)}


def made(family: str, number: int) -> Image.Image:
    """The picture `number` of a family: the same on every machine."""
    return FAMILIES[family](random.Random(f"{family} {number}"))
