"""A real Chromium on pages of a real server, and what they show."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from conftest import DEMO
from making import document, film
from PIL import Image

BINARY = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
TAKEN = {"osprey": "2019:05:03 10:00:00", "wren": "2019:06:11 12:00:00",
         "nuthatch": "2021:05:20 09:30:00", "dahlia": "2021:08:01 15:00:00",
         "cat": "2021:08:14 18:00:00", "bus": "2023:01:02 08:00:00"}
CAMERAS = {"osprey": ("Acme", "Far One"), "wren": ("Acme", "Far One"), "cat": ("Box", "Near Two")}
SCRIPT = "<img src=x onerror=\"document.title='hacked'\">"
HEBREW = "חתול על הגג"
LONG = "A very long caption. " * 190


def album(folder: Path) -> Path:
    """Pictures with captions, dates, cameras and a position; a video, a document, a large picture
    with a small bus in it; names and captions that would do harm as HTML."""
    rows: list[dict[str, Any]] = []
    for line in (DEMO / "captions.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        _copy(DEMO / row["image"], folder / row["image"])
        rows.append({"image": row["image"], "captions": row["captions"]})
    hostile = {f"{SCRIPT.replace('/', '')}.jpg": [SCRIPT], f"{HEBREW}.jpg": [HEBREW],
               "long.jpg": [LONG], "\u202egpj.exe.jpg": ["turned"]}
    for (name, captions), colour in zip(hostile.items(), ("plum", "teal", "tan", "gold"),
                                        strict=True):
        Image.new("RGB", (300, 200), colour).save(folder / name)
        rows.append({"image": name, "captions": captions})
    (folder / "captions.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    _street(folder / "street.jpg")
    film(folder / "clip.mp4", ("pizza", "sunset"), seconds=2)
    document(folder / "paper.pdf", ["The first page", "The second page", "The third page"])
    return folder


def _copy(picture: Path, to: Path) -> None:
    exif = Image.Exif()
    if picture.stem in TAKEN:
        exif.get_ifd(0x8769)[0x9003] = TAKEN[picture.stem]
    if picture.stem in CAMERAS:
        exif[0x010f], exif[0x0110] = CAMERAS[picture.stem]
    if picture.stem == "osprey":
        exif.get_ifd(0x8825).update({1: "N", 2: (38.0, 43.0, 12.0), 3: "W", 4: (9.0, 8.0, 24.0)})
    Image.open(picture).convert("RGB").save(to, quality=88, exif=exif)


def _street(path: Path) -> None:
    """A bus in the lower right quarter of something grey."""
    street = Image.new("RGB", (1200, 960), "#9aa4a8")
    street.paste(Image.open(DEMO / "bus.jpg").convert("RGB").resize((480, 360)), (680, 560))
    street.save(path, quality=88)


class Served:
    """`mmsearch serve` as people start it, in a process of its own."""

    def __init__(self, *arguments: object, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mmsearch", "serve", *map(str, arguments), "--port", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:  # ends with the process
            said.append(line)
            if found := re.search(r"serving on (http://[^/]+)", line):
                self.url = found[1]
                break
        else:
            raise AssertionError("".join(said))
        # What it logs is read, or the pipe fills and it waits.
        self.reader = Thread(target=self.process.stderr.read, daemon=True)
        self.reader.start()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)
        self.reader.join()


@contextmanager
def served(*arguments: object, port: int = 0) -> Iterator[Served]:
    server = Served(*arguments, port=port)
    try:
        yield server
    finally:
        server.stop()


def drop(page: Any, *files: Path, event: str = "drop") -> None:
    """As if files were dragged from a folder onto the page; `paste`: as if they were pasted."""
    given = [{"name": file.name, "data": base64.b64encode(file.read_bytes()).decode()}
             for file in files]
    page.evaluate("""([given, event]) => {
        const data = new DataTransfer();
        for (const { name, data: text } of given) {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            data.items.add(new File([bytes], name, { type: "image/jpeg" }));
        }
        const bubbles = { bubbles: true, cancelable: true };
        const made = event === "paste"
            ? new ClipboardEvent("paste", { ...bubbles, clipboardData: data })
            : new DragEvent(event, { ...bubbles, dataTransfer: data });
        document.body.dispatchEvent(made);
    }""", [given, event])


def names(page: Any) -> list[str]:
    """What is in the grid, best first."""
    found: list[str] = page.locator(".tile .name").all_text_contents()
    return found


def many(root: Path, rows: int) -> Path:
    """A collection of so many small pictures of ten shapes, with vectors by chance."""
    from mmsearch.collection import Collection
    from mmsearch.sources import find_vectors

    (root / "pictures").mkdir(parents=True)
    columns = []
    for n in range(rows):
        picture, shape = root / "pictures" / f"{n:05d}.jpg", n % 10
        size = 24 + 4 * shape, 40
        if n < 10:
            Image.new("RGB", size, f"hsl({36 * shape}, 50%, 50%)").save(picture)
        else:
            picture.hardlink_to(root / "pictures" / f"{shape:05d}.jpg")
        columns.append({"image": str(picture), "width": size[0], "height": size[1]})
    (root / "set").mkdir()
    (root / "set" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in columns))
    vectors = np.random.default_rng(0).standard_normal((rows, 384)).astype(np.float32)
    np.save(root / "set" / "rows.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    found = find_vectors(root / "set" / "rows.npy", root / "set" / "rows.jsonl", "image")
    collection = Collection.for_vectors(root / "index", found, model="builtin")
    collection.add_vectors(found, model="builtin")
    collection.close()
    return root / "index"


def skip_without_browser() -> None:
    if BINARY is None:
        pytest.skip("no chromium: apt-get install chromium")
