"""Labels as words, and what the model is asked for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmsearch.encoders import BUILTIN_DIR
from mmsearch.errors import UsageError

TEMPLATES = ("{}", "a photo of a {}", "a {} on a white background")
"""What a label is put into; the vectors are averaged (Radford et al. 2021, "Learning Transferable
Visual Models From Natural Language Supervision", section 3.1.4). Chosen by bench/classify.py."""
MOST = 2000
"""Labels at once."""


class Label(NamedTuple):
    """name: what is written; prompts: the sentences that stand for it."""

    name: str
    prompts: tuple[str, ...]


def read_labels(given: str, templates: Sequence[str] = TEMPLATES) -> list[Label]:
    """Labels as they were typed, "cat,dog", or from a file with one a line. A line of a file, or a
    label, may be `label: prompt`; several lines with one label give it several prompts.

    Raises:
        UsageError: a file that cannot be read, fewer than two labels, or more than MOST.
    """
    lines: Iterable[str] = given.split(",")
    if "," not in given and given.strip() and not is_file(given):
        raise UsageError("give two labels or more: \"cat,dog\", or a file with one a line, which "
                         f"{given!r} is not")
    if is_file(given):
        try:
            lines = Path(given).read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeError) as error:
            raise UsageError(f"{given} cannot be read as text: {error}") from error
    return labels_of(lines, templates)


def labels_of(lines: Iterable[str], templates: Sequence[str] = TEMPLATES) -> list[Label]:
    """As `read_labels`, of lines."""
    if bad := [template for template in templates if "{}" not in template]:
        raise UsageError(f"a template has {{}} where the label goes, which {bad[0]!r} has not")
    prompts: dict[str, list[str]] = {}
    for line in lines:
        name, _, prompt = (part.strip() for part in line.partition(":"))
        if not name and not prompt:
            continue
        if not name:
            raise UsageError(f"no label before the colon in {line.strip()!r}")
        plain = [template.replace("{}", name.lower()) for template in templates]
        prompts.setdefault(name, []).extend([prompt] if prompt else plain)
    if len(prompts) < 2:
        raise UsageError("give two labels or more: \"cat,dog\", or a file with one a line")
    if len(prompts) > MOST:
        raise UsageError(f"{len(prompts)} labels are too many; {MOST} is the most")
    return [Label(name, tuple(dict.fromkeys(said))) for name, said in prompts.items()]


def common_words() -> list[Label]:
    """The single words of the built-in model's memory of names, some 2,400, for any model: things,
    animals, places, materials, colours."""
    words = np.load(BUILTIN_DIR / "names.npy", mmap_mode="r")["word"]
    return [Label(word, (word,)) for word in (one.decode() for one in words)
            if word.isalpha() and len(word) > 2]


def is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except (OSError, ValueError):  # no name that a file can have
        return False
