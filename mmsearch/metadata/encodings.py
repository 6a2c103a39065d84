"""Text as bytes of a picture hold it: what they are said to be in, and what they are in."""

from __future__ import annotations

import codecs
import re
import unicodedata

_BOMS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_KANA = re.compile(rb"\x1b\$|\x82[\x9f-\xf1]|\x83[\x40-\x96][\x81-\x83]|"
                   rb"([\xa4\xa5][\xa1-\xf6])(?!\1)[\xa4\xa5][\xa1-\xf6]")
"""In ISO-2022-JP, Shift-JIS, EUC-JP; hardly ever in Latin-1, nor, as two that differ, in Korean."""
_JUNK = re.compile(rb"\0.*[\x01-\x08\x0e-\x1a\x7f]", re.DOTALL)
_MOST_SCRIPTS = 8
"""Of one text: Japanese with the symbols of physics comes to so many."""
_NOT_IN_WINDOWS = {0xDC00 + byte: byte for byte in range(0x80, 0xA0)}
_CODES_OF_BYTES = (b"ASCII", b"UTF8", b"UTF-8")


def text_in(value: object) -> str:
    """UTF-8, whatever the standard of that day said, else what Windows makes of Latin-1.

    value: bytes, or a string that Pillow made of them as Latin-1; anything else is no text.
    """
    if isinstance(value, str):
        if any(c > "\xff" for c in value):  # it was decoded by someone who knew
            return value
        value = value.encode("latin-1")
    if not isinstance(value, bytes):
        return ""
    if _is_utf16(value):
        return utf16_in(value)
    data = value.removeprefix(codecs.BOM_UTF8).split(b"\0")[0]
    if b"\x1b$" in data:
        return _japanese(data)
    try:
        known = codecs.getincrementaldecoder("utf-8")().decode(data)
        if data.isascii() or not known.isascii():  # a last letter cut in two is left out
            return known
    except UnicodeDecodeError:
        pass
    if _KANA.search(data) and (text := readable(_japanese(data))):
        return text
    text = data.decode("cp1252", "surrogateescape").translate(_NOT_IN_WINDOWS)
    if len(data) > 8 and 2 * sum(byte > 0x7F for byte in data) > len(data):
        letters = sum(c.isalpha() and c != "\xff" for c in text)
        return text if 4 * letters > 3 * len("".join(text.split())) else ""
    return text


def readable(text: str) -> str:
    """Without stray control characters; empty for what is no text, but any bytes that were decoded
    as one."""
    text = text.split("\0")[0]
    kept = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs"))
    kinds = [unicodedata.category(c) for c in kept if not c.isspace()]
    strays = len(text) - len(kept)
    words = len(kept) - len(kinds) + sum(kind[0] in "LMN" for kind in kinds)
    if len(text) > 8:  # bytes at random have more of both than a text with an accident
        is_junk = 5 * strays > len(text) or 10 * words < 7 * len(text)
    else:
        is_junk = 2 * strays > len(text) or 10 * words < 7 * len(kept)
    is_junk = (strays > 0 and is_junk) or 10 * text.count("\ufffd") > len(text)
    return "" if is_junk or all(kind in ("Co", "Cn") for kind in kinds) else kept


def _is_utf16(data: bytes) -> bool:
    """By its mark, or where every other byte of many is zero, and none between."""
    bare = data.rstrip(b"\0")
    zeros = sorted((bare[::2].count(0), bare[1::2].count(0)))
    return data[:2] in _BOMS or (zeros[0] == 0 and zeros[1] > max(1, len(bare) // 4))


def utf16_in(value: object, little: bool = True) -> str:
    """UTF-16 in the byte order of its mark; without one in the likelier, `little` where equal."""
    if isinstance(value, str):
        value = value.encode("latin-1", "replace")
    if isinstance(value, tuple):
        value = bytes(value)
    if not isinstance(value, bytes):
        return ""
    if value[:2] in _BOMS:
        whole = value + bytes(len(value) % 2)
        return _likely(whole[2:].decode(_BOMS[value[:2]], "ignore").split("\0")[0])
    bare = value.rstrip(b"\0")
    if b"\0" not in bare and (len(bare) % 2 or b" " in bare or not bare.isascii()):
        try:
            return bare.removeprefix(codecs.BOM_UTF8).decode()  # as some phones write it
        except UnicodeDecodeError:
            pass
    if len(value) % 2:  # cut within a letter, of which the other half is zero in the West
        value = value + b"\0" if b"\0" in value else value[:-1]
    orders = ("utf-16-le", "utf-16-be") if little else ("utf-16-be", "utf-16-le")
    return _likely(min((value.decode(order, "replace").split("\0\0")[0].rstrip("\0")
                        for order in orders), key=_strangeness))


def comment_in(value: object, little: bool) -> str:
    """A UserComment of EXIF: eight bytes that say what it is in, then the text."""
    if isinstance(value, str):
        value = value.encode("latin-1", "replace")
    if not isinstance(value, bytes):
        return ""
    code, data = value[:8].rstrip(b"\0 ").upper(), value[8:]
    if code == b"UNICODE":
        text = utf16_in(data, little)
    elif code == b"JIS":
        text = _japanese(data)
    else:
        if code not in _CODES_OF_BYTES:
            data = value if code else data.lstrip(b"\0")
        text = text_in(data)
    is_junk = code != b"UNICODE" and not _is_utf16(data) and _JUNK.search(data)
    return "" if is_junk else readable(text)


def _japanese(data: bytes) -> str:
    """JIS as ISO-2022-JP, as bare pairs of JIS X 0208, or as any other coding of Japan."""
    data = data.rstrip(b"\0 ")
    if b"\x1b" in data:
        return data.decode("iso2022_jp_3", "ignore")
    if data.isascii() and b" " not in data and not data.isalnum():
        try:
            return bytes(byte | 0x80 for byte in data).decode("euc_jp")
        except UnicodeDecodeError:
            pass
    for coding in ("utf-8", "euc_jp", "cp932"):
        try:
            return data.decode(coding)
        except UnicodeDecodeError:
            pass
    return ""


def _likely(text: str) -> str:
    """Without what is left of a last letter; empty for what is mixed as any bytes are."""
    text = text.rstrip("\ufffd")
    unknown = sum(c == "\ufffd" or unicodedata.category(c) in ("Co", "Cn") for c in text)
    signs = ("\ufffd" in text, 10 * unknown > len(text), len(_scripts(text)) > _MOST_SCRIPTS)
    return "" if sum(signs) > 1 else text


def _strangeness(text: str) -> tuple[int, int]:
    """Lower for text than for the same with its bytes swapped: less that no one writes, more of
    ASCII, fewer scripts."""
    unwritten = sum(not (c.isprintable() or c.isspace()) or c == "\ufffd" for c in text)
    return unwritten - sum(c.isascii() for c in text), len(_scripts(text))


def _scripts(text: str) -> set[str]:
    return {unicodedata.name(c, "").split(" ")[0] for c in text if c.isalpha()}
