"""The shape of the package: imports only go down, nothing heavy loads early, files stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mmsearch

ROOT = Path(mmsearch.__file__).parent
LAYERS = [
    {"errors", "records", "metrics", "stages", "uris"},
    {"said", "exif", "xmp", "embedded", "gazetteer", "sidecars", "describing", "palette",
     "filters", "fulltext", "formats", "fragments", "colour", "raw", "jxl", "media", "frames",
     "perceptual", "texts", "manifests", "globs", "scanned", "archives", "samples", "places",
     "cells", "web", "stores", "listing", "sources", "changes", "crops", "merge", "encoders",
     "indexes", "tiles", "segments", "opened", "lock", "evaluate", "integrity", "rows", "wal",
     "schema", "vectorfiles", "vectorsets"},
    {"catalog", "compose", "diverse", "relevance", "searching", "pairs", "duplicates", "ingest",
     "plan", "gone", "tuning", "upkeep", "verifying", "repairing", "importing", "exporting",
     "heads", "features", "train", "remembering"},
    {"reading", "collection", "watching", "retrieval"},
    {"present", "legend", "grouped", "terminal", "showcase", "commands", "cli", "__main__"},
]
HEAVY = ["torch", "open_clip", "faiss", "onnxruntime", "PIL", "sqlite_utils", "ray", "fastapi",
         "numpy", "tokenizers", "rich.table"]


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def name_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """The package's own modules that a file imports, wherever in the file, but for types alone."""
    found: set[str] = set()
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.If)
                   and ast.unparse(node.test) == "TYPE_CHECKING" for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmsearch"):
            inside = (node.module or "").removeprefix("mmsearch").lstrip(".")
            for alias in node.names:
                longer = f"{inside}.{alias.name}".lstrip(".")
                found.add(longer if exists(longer) else inside)
    return found - {""}


def exists(name: str) -> bool:
    base = ROOT.joinpath(*name.split("."))
    return base.with_suffix(".py").exists() or (base / "__init__.py").exists()


def layer(name: str) -> int:
    top = name.split(".")[0]
    return next(n for n, names in enumerate(LAYERS) if top in names)


def test_every_module_has_a_layer() -> None:
    assert {name_of(path).split(".")[0] for path in modules()} == set().union(*LAYERS)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_only_go_down(path: Path) -> None:
    for name in imported(path):
        assert layer(name) <= layer(name_of(path)), f"{name_of(path)} imports {name}"


def test_there_are_no_cycles() -> None:
    graph = {name_of(path): imported(path) for path in modules()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_command_line_loads_nothing_heavy() -> None:
    code = f"import sys, mmsearch.cli.app; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_files_can_be_read_in_one_sitting() -> None:
    for path in modules():
        lines = path.read_text("utf-8").count("\n")
        assert lines <= 420, f"{name_of(path)} has {lines} lines"


def test_no_module_shadows_the_standard_library_or_its_own_function() -> None:
    for path in modules():
        name = name_of(path).split(".")[-1]
        assert name not in sys.stdlib_module_names or name.startswith("_")


def test_the_public_names() -> None:
    assert sorted(mmsearch.__all__) == [
        "AddReport", "Collection", "Encoder", "Hit", "Item", "MmsearchError", "Scan", "iter_items",
        "load_encoder"]
    for name in mmsearch.__all__:
        assert getattr(mmsearch, name).__name__ == name
