"""Full text: which words an item is found by, and how a query becomes an FTS5 expression.

SQLite's FTS5 (BM25, Robertson & Zaragoza 2009) splits text at whatever is neither letter nor
digit and ignores case and diacritics: ``IMG_2041.jpg`` is the tokens img, 2041, jpg. What it
leaves in one piece, ``IMG2041`` or ``BeachHoliday``, is listed a second time in pieces, and a
query is spelled both ways too, so that each finds the other.

A query is cut at spaces and slashes; each piece is a term, and a term is the phrase of its tokens,
the last of which may go on: ``invo`` finds invoice. An item should have all terms; only where none
has, any of them will do. (To the mode hybrid, a long text has them where they are close together:
the words of a sentence are all somewhere on a page that says nothing of the kind.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from math import log
from typing import Any

TABLE, VIEW = "items_fts", "items_text"
WEIGHTS = {"words": 3.0, "text": 2.0, "labels": 1.0, "uri": 0.5}
"""How much a match counts in each column, see `CREATE`."""
MOST_TERMS = 100
_SHORTEST_PREFIX = 3

_COLUMNS = ", ".join(WEIGHTS)
CREATE_VIEW = (
    # File names and glued words in pieces; texts; all values of the metadata, but for labels that
    # were computed; the whole path.
    f"CREATE VIEW {VIEW} AS SELECT id, words, text, coalesce(camera, '') || ' ' || coalesce("
    "(SELECT group_concat(atom, ' ') FROM json_tree(meta) WHERE fullkey NOT IN ('$.file', "
    "'$.line') AND fullkey NOT GLOB '$.\"label:*' AND fullkey NOT GLOB '$.\"confidence:*'), '') "
    "AS labels, uri FROM items")
CREATE = (
    CREATE_VIEW,
    f"CREATE VIRTUAL TABLE {TABLE} USING fts5 ({_COLUMNS}, content='', "
    "tokenize='unicode61 remove_diacritics 2')",
)
# The index stores no text of its own: what is taken out must be named as it was put in. All are
# for many items at once, a third of the cost of a trigger that runs for each.
_CHOSEN = f"FROM {VIEW} WHERE id IN (SELECT value FROM json_each(?))"
UNLIST = (f"INSERT INTO {TABLE} ({TABLE}, rowid, {_COLUMNS}) "
          f"SELECT 'delete', id, {_COLUMNS} {_CHOSEN}")
LIST = f"INSERT INTO {TABLE} (rowid, {_COLUMNS}) SELECT id, {_COLUMNS} {_CHOSEN}"
LIST_NEW = f"INSERT INTO {TABLE} (rowid, {_COLUMNS}) SELECT id, {_COLUMNS} FROM {VIEW} WHERE id > ?"
LIST_ALL = (f"INSERT INTO {TABLE} ({TABLE}) VALUES ('delete-all')",
            f"INSERT INTO {TABLE} (rowid, {_COLUMNS}) SELECT id, {_COLUMNS} FROM {VIEW}")
# A picture is found by its captions too; a caption by itself alone; a page of a document by its own
# text, which has its uri, and not by that of other pages.
_IS_CAPTION = ("(m.kind = 'text' AND i.kind <> 'text' AND i.grp = m.grp AND (i.uri = m.uri "
               "OR substr(m.uri, length(m.grp) + 1, 6) <> '#page='))")
_REACHED = f"JOIN items i ON (i.id = m.id OR {_IS_CAPTION})"
CAPTIONED = " UNION ".join(
    f"SELECT i.seq, m.seq FROM items i JOIN items m ON {_IS_CAPTION} "
    f"WHERE {one}.seq IN (SELECT value FROM json_each(?))" for one in "im")
_MATCHES = (f"WITH found AS MATERIALIZED (SELECT rowid AS id, "
            f"-bm25({TABLE}, {', '.join(map(str, WEIGHTS.values()))}) AS score "
            f"FROM {TABLE} WHERE {TABLE} MATCH ?) "
            f"SELECT i.seq, max(found.score) AS best FROM found JOIN items m ON m.id = found.id "
            f"{_REACHED}")
_TOGETHER = (f" AND (length(m.text) <= ? OR m.id IN "
             f"(SELECT rowid FROM {TABLE} WHERE {TABLE} MATCH ?))")
_COUNT = f"SELECT count(*) FROM {TABLE} WHERE {TABLE} MATCH ?"
_LONG, _CLOSE = 200, 10
"""In a text of more characters, terms are together if no more words lie between the first and the
last than there are terms and _CLOSE: within a sentence, not all over a page."""
WITHOUT = (f"i.id NOT IN (SELECT i.id FROM {TABLE} JOIN items m ON m.id = {TABLE}.rowid "
           f"{_REACHED} WHERE {TABLE} MATCH ?)")

_BREAK = re.compile(r'[\s/\\"]+')
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LOWER, _UPPER = "a-zß-öø-ÿа-я", "A-ZÀ-ÖØ-ÞА-Я"
_MAY_HAVE_SEAM = re.compile("[0-9A-Z]")
_RUN = re.compile(r"[^\W_]+")
_FRAGMENT = re.compile(r"#(?:(?:t|page)=[\d.]+|xywh=percent:[\d,]+)\Z")
_HASH = re.compile("[0-9a-f]{8,}|[0-9A-F]{8,}")


def apart(text: str) -> str:
    """`text` with a space at every seam: IMG 2041, Beach Holiday, 東 京; hex numbers stay whole."""
    if text.isascii() and not _MAY_HAVE_SEAM.search(text, 1):
        return text
    return _RUN.sub(_run_apart, text)


def _run_apart(run: re.Match[str]) -> str:
    text = run[0]
    if text.isdecimal() or _HASH.fullmatch(text):
        return text
    return _seam().sub(" ", text)


@cache
def _seam() -> re.Pattern[str]:
    """Compiled when first used: a search by vectors does without."""
    return re.compile(
        f"(?<=[{_LOWER}])(?=[{_UPPER}])|(?<=[{_UPPER}])(?=[{_UPPER}][{_LOWER}])"
        r"|(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])"
        rf"|(?<=[{_IDEOGRAPH}])(?=\w)|(?<=\w)(?=[{_IDEOGRAPH}])")


def words(uri: str, kind: str, *texts: object) -> str:
    """What an item is found by beyond its texts and its path as they are: the name of its file,
    and whatever is glued together in them, in pieces."""
    path = uri.rpartition("#")[0] or uri if kind == "text" else _FRAGMENT.sub("", uri)
    folder, _, name = path.rpartition("/")
    return " ".join(filter(None, [name, *map(_pieces, (folder, name, *map(str, texts)))]))


@lru_cache(maxsize=1024)
def _pieces(text: str) -> str:
    """The words of `text` that have a seam, apart."""
    if text.isascii() and not _MAY_HAVE_SEAM.search(text, 1):
        return ""
    return " ".join(pieces for word in _BREAK.split(text) if (pieces := apart(word)) != word)


def matches(rows: Callable[[str, Sequence[Any]], list[Any]], text: str, conditions: str,
            parameters: Sequence[Any], k: int, least: float) -> tuple[list[Any], bool]:
    """See `Catalog.match`: (sequence number, score), and whether they have all terms of `text`.

    rows: runs SQL; conditions, parameters: a WHERE clause of it, or "".
    """
    end = f"{conditions} GROUP BY i.seq HAVING best >= ? ORDER BY best DESC, i.seq LIMIT ?"
    terms = [_term(term) for term in _terms(text)]
    if not terms:
        return [], True
    every = " AND ".join(terms)
    if least and len(terms) > 1:
        found = rows(_MATCHES + _TOGETHER + end,
                     [every, _LONG, _close(text), *parameters, 0, k])
    else:
        found = rows(_MATCHES + end, [every, *parameters, 0, k])
    if found or len(terms) == 1:
        return found, True
    enough = least * _rarity(rows, terms) if least else 0
    return rows(_MATCHES + end, [" OR ".join(terms), *parameters, enough, k]), False


def _rarity(rows: Callable[[str, Sequence[Any]], list[Any]], terms: Sequence[str]) -> float:
    """The sum of the inverse document frequencies of terms, as FTS5's BM25 has them."""
    items = rows("SELECT count(*) FROM items", [])[0][0]
    counts = [rows(_COUNT, [term])[0][0] for term in terms]
    return sum(max(0.0, log((items - n + 0.5) / (n + 0.5))) for n in counts)


def any_text(texts: Iterable[str]) -> str:
    """The FTS5 expression for items that have every term, as it is spelled, of one of `texts`."""
    whole = [" AND ".join(_term(term, prefix=False) for term in _terms(text)) for text in texts]
    return " OR ".join(f"({expression})" for expression in whole if expression)


def _terms(text: str) -> list[str]:
    clean = text.replace("\0", " ").encode("utf-8", "replace").decode()
    known: dict[str, str] = {}
    for term in _BREAK.split(clean):
        if any(character.isalnum() for character in term):
            known.setdefault(term.casefold(), term)
    return list(known.values())[:MOST_TERMS]


def _close(text: str) -> str:
    """The FTS5 expression for all terms, as they are spelled, close to each other, or one of them
    in the name of the file."""
    terms = _terms(text)
    phrases = [f'"{term}" *' if _may_go_on(term) else f'"{term}"' for term in terms]
    named = " OR ".join(map(_term, terms))
    return f"NEAR({' '.join(phrases)}, {len(terms) + _CLOSE}) OR words : ({named})"


def _term(term: str, prefix: bool = True) -> str:
    """Whatever the user wrote is inside a quoted string, and `_BREAK` left no quote in it."""
    spellings = [f'"{spelling}"' for spelling in dict.fromkeys([term, apart(term)])]
    if prefix and _may_go_on(term):
        spellings += [f"{spelling} *" for spelling in spellings]
    return f"({' OR '.join(spellings)})"


def _may_go_on(term: str) -> bool:
    return sum(character.isalnum() for character in term) >= _SHORTEST_PREFIX
