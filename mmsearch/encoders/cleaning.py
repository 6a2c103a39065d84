"""What open_clip's tokenizers do to a text before they cut it into tokens."""

from __future__ import annotations

import html
import unicodedata


def clean_lower(text: str) -> str:
    """Mojibake and curly quotes mended, HTML entities resolved, spaces made single, lower case.

    For plain ASCII there is nothing to mend; for the rest, what `ftfy` does, which comes with
    open_clip. Without it, characters are composed (NFC) and quotes made straight.
    """
    if not (text.isascii() and text.isprintable()):
        text = _mended(text)
    return " ".join(html.unescape(html.unescape(text)).split()).lower()


def _mended(text: str) -> str:
    try:
        import ftfy
    except ImportError:
        straight = text.translate(str.maketrans("‘’‚‛“”„‟", "''''\"\"\"\""))
        return unicodedata.normalize("NFC", straight)
    fixed: str = ftfy.fix_text(text)
    return fixed
