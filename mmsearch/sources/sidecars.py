"""Files beside a picture that describe it: which belong to which, and what they say.

    x.txt, x.jpg.txt                        each line that is not blank is a caption of x.jpg
    x.xmp, x.jpg.xmp                        as Lightroom, digiKam and darktable write them
    x.json, x.jpg.json                      {"caption": ...}, as img2dataset writes it, or
                                            {"description": ...}
    x.jpg.json, x.jpg.supplemental-metadata.json, x.jpg(1).json of x(1).jpg
                                            Google Takeout; also of x-edited.jpg

A file named by the picture's stem alone belongs to every picture with that stem. The fingerprint
of a picture goes on with those of its sidecars, so that a change of one is noticed without reading
any: ``size:mtime_ns/size:mtime_ns/x.txt``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mmsearch.formats import IMAGE_SUFFIXES, RAW_SUFFIXES
from mmsearch.metadata import (
    MAX_CHARACTERS,
    Metadata,
    clean_captions,
    clean_keywords,
    clean_text,
    gps_position,
    number_within,
    without_words_of_machines,
    xmp,
)
from mmsearch.sources.columns import plain_name, split_columns
from mmsearch.sources.texts import lines, text_encoding
from mmsearch.uris import is_unchanged, nfc

SUFFIXES = (".txt", ".xmp", ".json")
MOST_BYTES = xmp.MOST_BYTES
_TAKEOUT, _TAKEOUT_LONGEST = "supplemental-metadata", 45
"""Google cuts names that would be longer than 46 characters without `.json`, some a little more."""
_EDITED = re.compile(
    r"(?s)(.+)-(?:edited|effects|smile|mix|bearbeitet|bewerkt|modifi\u00e9|modificato|editado|editat"
    r"|ha editado|edytowane|redigerad|redigeret|\u7de8\u96c6\u6e08\u307f)((?:\(\d+\))?)\.\w+")
"""What Google writes beside a picture that was edited, in the language of its owner."""
_CUT = re.compile(r"(.{36,})-e(?:d|di|dit|dite)?()\.\w+", re.DOTALL)
"""The same where the name was too long."""
_BOILERPLATE = re.compile(
    r"(?i)(licen[cs]es?|copying|copyright|notices?|read[ _-]?me|authors|contribut(ors|ing)|credits"
    r"|attributions?|change[ _-]?log|code[ _-]of[ _-]conduct)(?![^\W\d_])")
_NUMBERED = re.compile(r"(.+?)(\(\d+\))?", re.DOTALL)


# --- fingerprints -------------------------------------------------------------------------------


def with_sidecars(fingerprint: str, marks: Iterable[tuple[str, str]]) -> str:
    """A picture's fingerprint with those of its sidecars; marks: (uri of the name, fingerprint)."""
    return "/".join([fingerprint, *(part for name, own in marks for part in (own, name))])


def own_fingerprint(fingerprint: str) -> str:
    """The part of a fingerprint that is of the file itself."""
    return fingerprint.partition("/")[0]


def sidecar_marks(fingerprint: str) -> str:
    return fingerprint.partition("/")[2]


def with_sidecars_of(fingerprint: str, other: str) -> str:
    """The fingerprint of a file with the sidecars of another's."""
    return own_fingerprint(fingerprint) + other[len(own_fingerprint(other)):]


def names_in(fingerprint: str) -> list[str]:
    """The sidecars' names, as parts of uris."""
    return fingerprint.split("/")[2::2]


def brought_up(before: str, now: str) -> str:
    """A fingerprint as it is written today, wherever an earlier version saw what `now` does."""
    parts, today = before.split("/"), now.split("/")
    marks = dict(zip(today[2::2], today[1::2], strict=False))
    states = [today[0], *(marks.get(name, "") for name in parts[2::2])]
    for at, state in zip((0, *range(1, len(parts), 2)), states, strict=False):
        if is_unchanged(state, parts[at]):
            parts[at] = state
    return "/".join(parts)


def unread_fingerprint(fingerprint: str) -> str:
    """A fingerprint of the same file that no set of sidecars has: the next run reads them."""
    return f"{own_fingerprint(fingerprint)}/0:0/?"


# --- which belong to which ----------------------------------------------------------------------


class Beside:
    """The sidecars among the files of one folder, and the RAW pictures that were developed."""

    def __init__(self, entries: Sequence[os.DirEntry[str]]) -> None:
        self._of: dict[str, list[str]] = {}
        self.taken: frozenset[str] = frozenset()
        """Names of files that describe a picture here."""
        self._pictures = [entry.name for entry in entries
                          if entry.name[entry.name.rfind("."):].lower() in IMAGE_SUFFIXES]
        self.boilerplate = frozenset(
            entry.name for entry in entries if self._pictures and is_boilerplate(entry.name))
        """Names of texts about the folder, not its pictures."""
        self.developed = _developed(self._pictures)
        """Names of RAW pictures beside which a picture has the same name: that one is shown, and so
        it is the one to be found."""
        if any(is_sidecar(entry.name) for entry in entries):
            files = {entry.name: entry for entry in entries if _is_file(entry)}
            self._files, self._of = files, paired(files)
            self.taken = frozenset(name for names in self._of.values() for name in names)

    def described_by(self, sidecar: str) -> list[str]:
        """Names of the pictures that a sidecar describes, or may have described before it was
        removed."""
        if not is_sidecar(sidecar):
            return []
        if sidecar in self.taken:
            return [picture for picture, names in self._of.items() if sidecar in names]
        stem = nfc(sidecar.lower()).partition(".")[0]
        return [picture for picture in self._pictures if nfc(picture.lower()).startswith(stem)]

    def of(self, picture: str) -> Iterator[tuple[str, os.stat_result]]:
        """Names and states of a picture's sidecars."""
        for name in self._of.get(picture, ()):
            with suppress(OSError):  # removed meanwhile
                yield name, self._files[name].stat()


def is_boilerplate(name: str) -> bool:
    """Whether a text is what comes with any collection of files: its licence, its readme."""
    return name.lower().endswith((".txt", ".md")) and _BOILERPLATE.match(name) is not None


def is_sidecar(name: str) -> bool:
    """Whether a file of this name describes a picture, if there is one to describe."""
    return name.lower().endswith(SUFFIXES)


def _developed(pictures: Iterable[str]) -> frozenset[str]:
    split = [os.path.splitext(name) for name in pictures]  # noqa: PTH122
    raws = [(stem, suffix) for stem, suffix in split if suffix.lower() in RAW_SUFFIXES]
    stems = {nfc(stem) for stem, suffix in split
             if suffix.lower() not in RAW_SUFFIXES} if raws else ()
    return frozenset(stem + suffix for stem, suffix in raws if nfc(stem) in stems)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a regular file, or a link to one."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself, say
        return False


def paired(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of pictures in a folder, each with the names of its sidecars, sorted."""
    pictures: dict[str, list[str]] = {}
    stems: dict[str, list[str]] = {}
    edited: dict[str, list[str]] = {}
    """By the stem of what they were made of, which need not be there."""
    beside: list[str] = []
    for name in sorted(names):
        lower = nfc(name.lower())
        stem, dot, suffix = lower.rpartition(".")
        if dot + suffix in IMAGE_SUFFIXES:
            pictures.setdefault(lower, []).append(name)
            stems.setdefault(stem, []).append(name)
            if match := _EDITED.fullmatch(lower) or _CUT.fullmatch(lower):
                edited.setdefault(match[1] + match[2], []).append(name)
        elif lower.endswith(SUFFIXES):
            beside.append(name)
    originals = {stem + suffix: names for stem, names in edited.items()
                 for suffix in sorted(IMAGE_SUFFIXES)}
    found: dict[str, list[str]] = {}
    of_edited: list[tuple[str, str]] = []
    for name in beside:
        base, _, suffix = nfc(name.lower()).rpartition(".")
        owners = pictures.get(base) or stems.get(base)
        if not owners and suffix == "json":
            owners = pictures.get(_in_takeout(base, pictures))
        for owner in owners or ():
            found.setdefault(owner, []).append(name)
        if edited and suffix == "json":
            original = base if base in originals else _in_takeout(base, originals)
            of_edited += ((name, owner) for owner in originals.get(original, ()))
    alone = [(name, owner) for name, owner in of_edited
             if not any(own.lower().endswith(".json") for own in found.get(owner, ()))]
    for name, owner in alone:
        found.setdefault(owner, []).append(name)
    return found


def _in_takeout(base: str, pictures: Mapping[str, Any]) -> str:
    """The picture that Google means: `img.jpg.supplemental-meta(1)` is of `img(1).jpg`."""
    match = _NUMBERED.fullmatch(base)
    core, copy = (match[1], match[2] or "") if match else (base, "")
    stem, _, ending = core.rpartition(".")
    for name in (core, stem if ending and _TAKEOUT.startswith(ending) else ""):
        before, dot, suffix = name.rpartition(".")
        if (numbered := f"{before}{copy}{dot}{suffix}") in pictures:
            return numbered
    if len(base) < _TAKEOUT_LONGEST:
        return ""
    return next((name for name in pictures if f"{name}.{_TAKEOUT}".startswith(core)), "")


# --- reading them -----------------------------------------------------------------------------


def read(path: Path) -> Metadata:
    """The metadata in a sidecar; OSError: it cannot be read; ValueError: or not understood."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES >> 20} MB")
    suffix = path.suffix.lower()
    if suffix == ".txt":
        return _lines(path)
    data = path.read_bytes()
    return without_words_of_machines(xmp.read(data)) if suffix == ".xmp" else _json(data)


def _lines(path: Path) -> Metadata:
    encoding = text_encoding(path)
    if encoding is None:
        raise ValueError("not text")
    with path.open(encoding=encoding, errors="replace") as handle:
        return Metadata(clean_captions(text for _, text in lines(handle)))


def _json(data: bytes) -> Metadata:
    try:
        found = json.loads(data, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"invalid JSON: {' '.join(str(error).split())[:100]}") from error
    if not isinstance(found, dict):
        return Metadata()  # somebody else's
    is_takeout = "photoTakenTime" in found or "geoData" in found
    return without_words_of_machines(_takeout(found) if is_takeout else _plain(found))


def _takeout(written: Mapping[str, Any]) -> Metadata:
    positions = (gps_position(*(_inner(written, name).get(part) for part in (
        "latitude", "longitude", "altitude"))) for name in ("geoData", "geoDataExif"))
    people = written.get("people")
    meta: dict[str, Any] = {
        "taken": _moment(_inner(written, "photoTakenTime").get("timestamp")),
        "people": clean_keywords(one.get("name") for one in people if isinstance(one, dict))
        if isinstance(people, list) else [],
        **next(filter(None, positions), {}),
    }
    return _kept([written.get("description")], meta)


def _plain(written: Mapping[str, Any]) -> Metadata:
    # A title that is the name of a picture is what a downloader puts there.
    written = {name: value for name, value in written.items() if plain_name(name) != "title"
               or Path(clean_text(value)).suffix.lower() not in IMAGE_SUFFIXES}
    rating = number_within(written.get("rating"), -1, 5)
    meta: dict[str, Any] = {
        "title": clean_text(written.get("title"))[:MAX_CHARACTERS],
        "keywords": _listed(written.get("keywords")) or _listed(written.get("tags")),
        "people": _listed(written.get("people")),
        "rating": None if rating is None else int(rating),
    }
    return _kept([*split_columns(written)[1], written.get("description")], meta)


def _kept(texts: Iterable[object], meta: Mapping[str, Any]) -> Metadata:
    kept = {name: value for name, value in meta.items() if value not in (None, "", [])}
    return Metadata(clean_captions(texts), kept)


def _inner(written: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = written.get(name)
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> list[str]:
    return clean_keywords(value) if isinstance(value, list) else (
        clean_keywords(value.split(",")) if isinstance(value, str) else [])


def _moment(timestamp: object) -> str | None:
    """Seconds since 1970, as Google writes them in a string; UTC."""
    seconds = number_within(timestamp, -1e11, 1e11, 15)
    if seconds is None or seconds == 0:
        return None
    try:
        return datetime.fromtimestamp(int(seconds), UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None
