"""How soon the page of `mmsearch serve` shows something, in a real Chromium on the same machine.

    python bench/page.py COLLECTION --queries dog "a red bus"

Each figure is the median of several visits, each with an empty browser cache; the server has made
the small pictures before (`first visit` is the one where it had not). `typed` is from the last key
to the results, with the 140 ms that the page waits for another key. Needs the extra `dev`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

from measure import arguments, machine, table, write_json

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
WATCH = """addEventListener("DOMContentLoaded", () => {
    const look = () => {
        if (document.querySelector(".tile img.here")) window.pictures ??= performance.now();
        requestAnimationFrame(look);
    };
    look();
});"""
TYPED = """(text) => new Promise((done) => {
    const input = document.querySelector("#q"), before = document.querySelector(".tile");
    const look = () => {
        const tile = document.querySelector(".tile");
        if (tile && tile !== before) done(performance.now() - start);
        else requestAnimationFrame(look);
    };
    input.value = text;
    const start = performance.now();
    input.dispatchEvent(new Event("input", { bubbles: true }));
    look();
})"""


@contextmanager
def served(collection: Path) -> Iterator[str]:
    """The address of a server of its own."""
    server = subprocess.Popen(
        [sys.executable, "-m", "mmsearch", "serve", "-i", str(collection), "--port", "0"],
        stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        address = next(found[1] for line in server.stderr
                       if (found := re.search(r"serving on (http://[^/]+)", line)))
        Thread(target=server.stderr.read, daemon=True).start()
        yield address
    finally:
        server.terminate()
        server.wait()


def visit(browser: Any, address: str, queries: list[str]) -> dict[str, float]:
    """Milliseconds of one visit."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.add_init_script(WATCH)
    page.goto(address)
    page.wait_for_function("() => window.pictures")
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    found = {"first paint": page.evaluate(paint), "first pictures": page.evaluate("pictures"),
             "typed": median(page.evaluate(TYPED, query) for query in queries)}
    context.close()
    return found


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = arguments(__doc__)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--queries", nargs="+", default=["dog", "a red bus", "mountains at night"])
    parser.add_argument("--visits", type=int, default=9)
    args = parser.parse_args()
    with served(args.collection) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        first = visit(browser, address, args.queries)
        others = [visit(browser, address, args.queries) for _ in range(args.visits)]
        browser.close()
    rows = [(name, f"{first[name]:.0f}", f"{median(one[name] for one in others):.0f}")
            for name in first]
    print(machine())
    print(table(("ms", "first visit", "median"), rows))
    write_json(args.json, first=first, others=others)


if __name__ == "__main__":
    main()
