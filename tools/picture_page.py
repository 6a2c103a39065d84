"""Make the pictures of the page in docs/pictures anew, from the demo pictures.

    python tools/picture_page.py

Dates and cameras are invented, so that there are filters and a strip of dates. Needs the extra
`dev`, Chromium, and the font Inter (Debian: fonts-inter).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
DEMO, OUT = ROOT / "mmsearch" / "demo", ROOT / "docs" / "pictures"
CAMERAS = [("Canon", "EOS R6"), ("Apple", "iPhone 13"), ("Fujifilm", "X100V")]
STYLE = "html { scrollbar-gutter: auto; } :root { font-family: Inter; }"
VIEWS: list[tuple[str, str, dict[str, Any]]] = [
    ("page-1280", "?q=a+bird", {"viewport": {"width": 1280, "height": 800}}),
    ("page-viewer", "?q=an+otter", {"viewport": {"width": 1280, "height": 800}}),
    ("page-names", "?q=flowers", {"viewport": {"width": 1280, "height": 640}}),
    ("page-375", "?q=flowers", {"viewport": {"width": 375, "height": 740}, "is_mobile": True,
                                "has_touch": True}),
    ("page-2560", "", {"viewport": {"width": 2560, "height": 1440}, "color_scheme": "dark"})]


def album(folder: Path) -> None:
    folder.mkdir()
    chance = random.Random(7)
    shutil.copy(DEMO / "captions.jsonl", folder)
    for picture in sorted(DEMO.glob("*.jpg")):
        exif = Image.Exif()
        exif[0x010f], exif[0x0110] = chance.choice(CAMERAS)
        year = chance.choice([2014, 2016, 2017, 2018, 2019, 2020, 2021, 2021, 2023, 2024])
        exif.get_ifd(0x8769).update({
            0x9003: f"{year}:{chance.randint(1, 12):02}:{chance.randint(1, 28):02} "
                    f"{chance.randint(8, 19):02}:{chance.randint(0, 59):02}:00",
            0x829a: 1 / 250, 0x829d: 1.8, 0x8827: 100, 0x920a: 50.0})
        Image.open(picture).save(folder / picture.name, quality="keep", exif=exif)


def take(browser: Any, address: str, name: str, options: dict[str, Any]) -> None:
    context = browser.new_context(bypass_csp=True, **options)
    page = context.new_page()
    page.goto(address)
    page.add_style_tag(content=STYLE)
    if name == "page-viewer":
        page.locator(".tile a").first.click()
        page.locator(".panel dl").wait_for()
    if name == "page-names":
        for n in range(2):
            tile = page.locator(".tile").nth(n)
            tile.hover()
            tile.get_by_role("button", name="Choose").click()
        page.get_by_role("button", name="Give a name").click()
    page.wait_for_load_state("networkidle")
    page.wait_for_function("() => [...document.images].every((one) => one.complete)")
    shot = Image.open(BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    shot.save(OUT / f"{name}.webp", quality=60, method=6)
    context.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        album(folder := Path(work) / "Pictures")
        (new := Path(work) / "New").mkdir()
        server = subprocess.Popen(
            [sys.executable, "-m", "mmsearch", "serve", folder / "captions.jsonl", folder,
             "-i", Path(work) / "index", "--writable", new, "--port", "0"],
            stderr=subprocess.PIPE, text=True, env=os.environ | {"HOME": work})
        assert server.stderr is not None
        try:
            address = next(found[1] for line in server.stderr
                           if (found := re.search(r"serving on (http://\S+)", line)))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"),
                    args=["--headless", "--no-sandbox", "--disable-gpu"])
                page = browser.new_page()
                page.goto(address)
                page.locator("#summary", has_text="50 pictures").wait_for()
                page.locator("#notice").wait_for(state="hidden")
                for name, query, options in VIEWS:
                    take(browser, address + query, name, options)
                browser.close()
        finally:
            server.terminate()
            server.communicate()


if __name__ == "__main__":
    main()
