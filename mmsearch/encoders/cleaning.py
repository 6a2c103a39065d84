"""What open_clip's tokenizers do to a text before they cut it into tokens."""

from __future__ import annotations

import html
import string
import unicodedata
from collections.abc import Callable

_NO_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))


def clean_whitespace(text: str) -> str:
    """Mojibake and curly quotes repaired, HTML entities resolved, spaces made single.

    For plain ASCII without entities nothing needs repair; for the rest, what `ftfy` does, which
    comes with open_clip. Without it, characters are composed (NFC) and quotes made straight.
    """
    if not (text.isascii() and text.isprintable()) or "&" in text:
        text = _repaired(text)
    return " ".join(html.unescape(html.unescape(text)).split())


def clean_lower(text: str) -> str:
    """That, and lower case."""
    return clean_whitespace(text).lower()


def clean_canonicalize(text: str) -> str:
    """That, in lower case, and no ASCII punctuation (an underscore is a space), as SigLIP has it.
    """
    return " ".join(clean_whitespace(text).translate(_NO_PUNCTUATION).lower().split())


CLEANERS: dict[str, Callable[[str], str]] = {
    "": str, "whitespace": clean_whitespace, "lower": clean_lower,
    "canonicalize": clean_canonicalize}
"""By the names that open_clip has for them."""


def _repaired(text: str) -> str:
    try:
        import ftfy
    except ImportError:
        straight = text.translate(str.maketrans("‘’‚‛“”„‟", "''''\"\"\"\""))
        return unicodedata.normalize("NFC", straight)
    fixed: str = ftfy.fix_text(text)
    return fixed
