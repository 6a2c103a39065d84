"""Results as a table, as lines, as JSON; what is shown of an item."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmsearch.cli.legend import when_and_where
from mmsearch.cli.tables import Fitted, Kind
from mmsearch.cli.terminal import safe_text
from mmsearch.fragments import own_uri, part_of
from mmsearch.jsonable import strict
from mmsearch.records import Hit, Item
from mmsearch.sources import locate


def address_of(item: Item) -> str:
    """Where an item is: the path of its file, as it is named on disk, or its uri if it has no file
    of its own; for a caption, a line, a frame, a page or a tile, of the file that it belongs to.

    It may hold bytes that are not UTF-8: write it with `os.fsencode`.
    """
    uri = own_uri(item)
    path = locate.own_file(uri)
    return uri if path is None else str(path)


def filepaths(hits: Iterable[Hit]) -> list[str]:
    """The addresses of the hits, best first, each once, files exactly as they are named on disk.

    Not escaped: escape them with `safe_text` where the output is a terminal.
    """
    return list(dict.fromkeys(address_of(hit.item) for hit in hits))


def hits_tsv(hits: Iterable[Hit]) -> str:
    """One line a hit: rank, score, uri, text (empty for a picture), relevance; with tabs between;
    where there is no relevance, the line ends after what there is."""
    return "".join("\t".join(_line(rank, hit)) + "\n" for rank, hit in enumerate(hits, 1))


def _line(rank: int, hit: Hit) -> list[str]:
    cells = [str(rank), f"{hit.score:.4f}", safe_text(hit.item.uri)]
    if hit.item.kind == "text":
        cells.append(safe_text(hit.item.text))
    if hit.relevance is None:
        return cells
    return [*cells, *[""] * (4 - len(cells)), f"{hit.relevance:.4f}"]


def shown_place(item: Item) -> str:
    """Where an item is, for people: "photos/a.jpg", "~/clip.mp4 · 0:12"."""
    part = part_of(item)
    return safe_text(shown_path(item.uri) if part is None else f"{shown_path(part.file)} · {part}")


def shown_path(path: str) -> str:
    """A path as one would type it here, if that is shorter: from the current directory or `~` on.
    """
    forms = [path]
    for folder, start in ((_current_directory(), ""), (os.path.expanduser("~"), "~/")):  # noqa: PTH111
        if path.startswith(f"{folder}/") and folder.strip("/"):
            forms.append(start + path[len(folder) + 1:])
    return min(forms, key=len)


def _current_directory() -> str:
    with suppress(OSError):  # it was removed
        return str(Path.cwd())
    return ""


def per_cent(hit: Hit) -> str:
    """Relevance for people; rounded down, for no guess is a certainty. What the words name need
    not look like them."""
    if hit.bm25 is not None and hit.relevance is not None and hit.relevance < 0.5:
        return "named"
    return "" if hit.relevance is None else f"{int(100 * hit.relevance)} %"


def hits_json(hits: Iterable[Hit], *, parts: bool = False, server: str = ""
              ) -> list[dict[str, Any]]:
    """The hits as values that strict JSON in UTF-8 can hold, whatever their metadata is; a part of
    a file has its `time` in seconds, its `page`, or its `region` in per cent.

    parts: also what their scores are made of, for the modes text and hybrid.
    server: which one found them, if one did.
    """
    found: list[dict[str, Any]] = []
    for rank, hit in enumerate(hits, 1):
        item = hit.item
        values = {
            "rank": rank, "score": round(float(hit.score), 6), "uri": item.uri, "kind": item.kind,
            "text": item.text, "group": item.group, "meta": item.meta,
            "relevance": None if hit.relevance is None else round(hit.relevance, 4),
        }  # fmt: skip
        if (part := part_of(item)) is not None:
            values |= part.facts()
        if parts:
            values |= {"cosine": hit.cosine, "bm25": hit.bm25}
        if server:
            values["server"] = server
        found.append(strict(values))
    return found


# --- tables --------------------------------------------------------------------------------------


def hits_table(hits: Sequence[Hit]) -> Fitted:
    """Rank, score, relevance, text, path, when and where: those of the last that are known."""
    from rich.text import Text

    has_relevance = any(hit.relevance is not None for hit in hits)
    has_texts = any(hit.item.kind == "text" for hit in hits)
    taken = [when_and_where(hit.item) for hit in hits]
    columns: dict[str, Kind] = {"#": "right", "score": "right"}
    columns |= {"match": "right"} if has_relevance else {}
    columns |= {"text": "words"} if has_texts else {}
    columns |= {"path": "path"}
    columns |= {"taken": "words"} if any(taken) else {}
    table = Fitted(columns)
    for rank, hit in enumerate(hits, 1):
        item = hit.item
        cells = {"#": Text(str(rank)), "score": Text(f"{hit.score:.4f}", "cyan"),
                 "match": Text(per_cent(hit)), "path": Text(shown_place(item)),
                 "text": Text(safe_text(item.text if item.kind == "text" else "")),
                 "taken": Text(safe_text(taken[rank - 1]), "dim")}
        table.rows.append([cells[name] for name in columns])
    return table


def key_value_table(mapping: Mapping[str, Any]) -> Fitted:
    """Two columns; an inner mapping becomes ``outer.inner``, numbers get their thousands apart."""
    from rich.text import Text

    rows = [(Text(safe_text(name), "bold"), Text(safe_text(value)))
            for name, value in _flattened(mapping)]
    return Fitted({"name": "left", "value": "path"}, [*rows], headed=False)


def _flattened(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield prefix + name, _shown(value)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def size_text(size: float) -> str:
    """A number of bytes as people read it."""
    if size < 1000:
        return f"{size:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
