"""The shape of the package: rooms on floors with doors, imports that only go down, small files."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import mmsearch

ROOT = Path(mmsearch.__file__).parent
FLOORS = [
    {"errors", "records", "uris", "fragments", "formats", "jsonable", "metrics", "stages"},
    {"metadata", "indexes"},
    {"sources", "storage"},
    {"media"},
    {"encoders"},
    {"ingest"},
    {"search"},
    {"client", "collection"},
    {"classification", "evaluation", "training"},
    {"cli", "server"},
]
"""The table of docs/architecture.md, from the ground up. A room may import the floors below it."""
BESIDE = {("training", "evaluation"), ("cli", "server")}
"""Rooms of one floor that may import each other, and which way."""
GROUND = FLOORS[0]
LONGEST = 350
HEAVY = ["torch", "open_clip", "faiss", "onnxruntime", "PIL", "sqlite_utils", "ray", "fastapi",
         "pydantic", "uvicorn", "httpx", "numpy", "tokenizers", "rich.table"]


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in GROUND)


def name_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name: str) -> str:
    return name.split(".")[0]


@cache
def imported(path: Path, *, for_types: bool = True) -> list[tuple[str, str]]:
    """(module without `mmsearch.`, name) of what a file imports from the package, anywhere in it.

    for_types: also what only a type checker imports."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.If)
                   and ast.unparse(node.test) == "TYPE_CHECKING" for inner in ast.walk(node)}
    found: list[tuple[str, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("mmsearch.") for alias in node.names)
        if isinstance(node, ast.ImportFrom) and (for_types or id(node) not in typing_only):
            top, _, inside = (node.module or "").partition(".")
            if top == "mmsearch":
                found += ((inside or alias.name, alias.name if inside else "")
                          for alias in node.names if inside or is_module(alias.name))
    return found


def is_module(name: str) -> bool:
    base = ROOT.joinpath(*name.split("."))
    return base.with_suffix(".py").exists() or (base / "__init__.py").exists()


def target(module: str, name: str) -> str:
    """The module that an import loads."""
    longer = f"{module}.{name}"
    return longer if name and is_module(longer) else module


def floor(name: str) -> int:
    return next(n for n, rooms in enumerate(FLOORS) if room_of(name) in rooms)


def handed_on(room: str) -> dict[str, str]:
    """What the door of a room hands on, and the module that has it; "" for a module itself."""
    if not (ROOT / room / "__init__.pyi").exists():
        return {"main": "app"}  # the command line has one way in
    return {alias.name: node.module or ""
            for node in ast.parse((ROOT / room / "__init__.pyi").read_text("utf-8")).body
            if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_every_module_is_in_a_room() -> None:
    assert {room_of(name_of(path)) for path in modules()} == set().union(*FLOORS)
    assert {path.stem for path in ROOT.glob("*.py")} == GROUND | {"__init__", "__main__"}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_only_go_down(path: Path) -> None:
    mine = room_of(name_of(path))
    for module, _ in imported(path):
        theirs = room_of(module)
        assert theirs == mine or (mine, theirs) in BESIDE or floor(theirs) < floor(mine) or (
            mine in GROUND and theirs in GROUND), f"{name_of(path)} imports {module}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_room_is_entered_by_its_door(path: Path) -> None:
    """Other rooms import from the package of a room what its `__init__` hands on."""
    mine = room_of(name_of(path))
    for module, name in imported(path):
        theirs = room_of(module)
        if theirs not in GROUND | {mine}:
            assert module == theirs, f"{name_of(path)} imports {module}, past the door"
            assert name in handed_on(theirs), f"{theirs} does not hand on {name}"


@pytest.mark.parametrize("room", sorted(set().union(*FLOORS[1:])))
def test_a_door_says_what_its_room_is_for(room: str) -> None:
    path = ROOT / room / "__init__.py"
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))
    inside = {file.stem for file in (ROOT / room).glob("*.py")}
    for name, module in handed_on(room).items():
        assert not name.startswith("_")
        assert name not in inside or not module, f"{room}.{name} is a module and a function"


@pytest.mark.parametrize("room", sorted(set().union(*FLOORS[1:])))
def test_a_door_hands_on_nothing_that_nobody_takes(room: str) -> None:
    taken = {name for path in [*modules(), ROOT / "__init__.py", ROOT / "__main__.py"]
             for module, name in imported(path)
             if module == room and room_of(name_of(path)) != room}
    assert set(handed_on(room)) == taken


def test_there_are_no_cycles() -> None:
    graph = {name_of(path): {target(*one) for one in imported(path, for_types=False)}
             for path in modules()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name not in done:
            for other in graph.get(name, ()):
                if "." in other or other in GROUND or room_of(other) != room_of(name):
                    visit(other, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_command_line_loads_nothing_heavy() -> None:
    code = ("import sys; from mmsearch.cli.app import app; app()\n"
            f"print([m for m in {HEAVY} if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert path.read_text("utf-8").count("\n") <= LONGEST


def test_no_module_shadows_the_standard_library() -> None:
    for path in modules():
        name = name_of(path).split(".")
        assert name[-1] not in sys.stdlib_module_names or len(name) > 1


def test_the_public_names() -> None:
    assert sorted(mmsearch.__all__) == [
        "AddReport", "Collection", "Encoder", "Hit", "Item", "MmsearchError", "Query", "Scan",
        "connect", "iter_items", "load_encoder"]
    for name in mmsearch.__all__:
        assert getattr(mmsearch, name).__name__ == name
