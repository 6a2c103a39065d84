"""A model's tokenizer as one of `tokenizers`, which runs without torch and gives the same numbers.

open_clip's own byte-pair tokenizer is built anew. The fast ones of `transformers` (SigLIP, CLIPA
and others) are of that library inside: they are taken as they are, padding and truncation with
them, and so is what open_clip does around them.
"""

from __future__ import annotations

from typing import Any

from mmsearch.encoders.cleaning import CLEANERS
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import ModelError

_ODD = ("", " ", "_", "a_b-c's \"d\" (e), f!", "don't 'll 123 4.5 #7", "x" * 300, "word " * 300,
        "Two  CATS &amp;amp; a caf\u00e9\u2019s \u201cmenu\u201d", "a\nb\tc\u00a0d\u3000e\u200bf",
        "\u732b\u304c\u4e8c\u5339", "\U0001f408\u200d\u2b1b \u0001 \ufffd",
        "Stra\u00dfe \u0130stanbul \ufb01n \u2460 \uff46", "e\u0301 A\u030a \u1100\u1161")
"""Texts that tokenizers are known to treat in their own ways."""


def converted(theirs: Any, length: int, padded: bool) -> tuple[Any, dict[str, Any]]:
    """The tokenizer of an open_clip model; -> one of `tokenizers`, and what model.json says of it.

    Args:
        length: tokens that the text tower sees; padded: whether it has to get that many.

    Raises:
        ModelError: it is of a kind that this module does not know.
    """
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    if isinstance(theirs, SimpleTokenizer):
        if theirs.reduction_fn is not None or theirs.clean_fn.__name__ != "_clean_lower":
            raise _unknown()
        made = byte_pairs(theirs.encoder, list(theirs.bpe_ranks))
        made.enable_truncation(length)
        if padded:
            made.enable_padding(length=length, pad_id=0)
        return made, {"clean": "lower"}
    if isinstance(theirs, HFTokenizer):
        return _fast(theirs, length)
    raise _unknown()


def check_tokens(exported: OnnxEncoder, theirs: Any) -> None:
    """Compare the tokens of odd texts with those that open_clip's tokenizer cuts them into.

    Raises:
        ModelError: they are others.
    """
    special = getattr(getattr(theirs, "tokenizer", None), "all_special_tokens", [])
    texts = [*_ODD, *(f"a {token} b{token}" for token in special)]
    for text, ours, ids in zip(texts, exported.cut(texts), theirs(texts).tolist(), strict=True):
        if ours != ids[: len(ours)] or any(ids[len(ours) :]):
            raise ModelError(f"its tokenizer cuts {text[:20]!r} differently once exported")


def byte_pairs(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    """The tokenizer that CLIP was taught with."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    made.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(words, "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    start, end = sorted(vocabulary, key=vocabulary.__getitem__)[-2:]
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(one, vocabulary[one]) for one in (start, end)])
    return made


def _fast(theirs: Any, length: int) -> tuple[Any, dict[str, Any]]:
    from tokenizers import Tokenizer

    clean = theirs.clean_fn.__name__.removeprefix("_clean_")
    inner = theirs.tokenizer
    if theirs.tokenizer_mode or clean not in CLEANERS or not getattr(inner, "is_fast", False):
        raise _unknown()
    theirs(["a"], length)  # a call leaves its padding and truncation behind
    spec = {"clean": clean}
    if theirs.strip_sep_token:
        spec["zeroed"] = inner.sep_token_id
    return Tokenizer.from_str(inner.backend_tokenizer.to_str()), spec


def _unknown() -> ModelError:
    return ModelError("its tokenizer is of a kind that cannot be exported")
