"""Models whose tokenizer comes from `transformers` (SigLIP, CLIPA), exported: the same tokens."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import DEMO
from hypothesis import given, settings, strategies as st
from random_models import cosines, exported_alike, folder_of, libraries_for

from mmsearch.encoders import load_encoder
from mmsearch.encoders.cleaning import CLEANERS
from mmsearch.encoders.exported import Cache
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.errors import MissingExtra, ModelError

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from open_clip.tokenizer import HFTokenizer, get_clean_fn  # noqa: E402
from tokenizers import (  # noqa: E402
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from mmsearch.encoders.openclip import OpenClipEncoder  # noqa: E402
from mmsearch.encoders.tokenizing import check_tokens, converted  # noqa: E402

CAPTIONS = [caption for line in (DEMO / "captions.jsonl").read_text("utf-8").splitlines()
            for caption in json.loads(line)["captions"]]
TEXTS = [*CAPTIONS[:4], "", "Two  CATS &amp; a caf\u00e9\u2019s \u201cmenu\u201d", "word " * 200,
         "\u732b", "snake_case [SEP] </s> <eos>"]
SMALL_TEXT = {"context_length": 16, "vocab_size": 1000, "width": 64, "heads": 2, "layers": 2}
KINDS = ["ViT-B-16-SigLIP", "ViT-B-16-SigLIP2", "ViT-L-14-CLIPA"]


# -- tokenizers of their kinds, taught a few words -------------------------------------------------


def ends(text: str, **ids: int) -> Any:
    return processors.TemplateProcessing(single=text, special_tokens=list(ids.items()))


def t5() -> tuple[Tokenizer, dict[str, Any]]:
    """SentencePiece unigrams; the end of a text is what it is padded with, as in SigLIP."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(CAPTIONS, trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>",
        show_progress=False))
    made.post_processor = ends("$A </s>", **{"</s>": 1})
    return made, {"tokenizer_class": "T5Tokenizer", "pad_token": "</s>", "eos_token": "</s>",
                  "unk_token": "<unk>", "extra_ids": 0}


def gemma() -> tuple[Tokenizer, dict[str, Any]]:
    """Byte pairs that fall back on bytes, as in SigLIP2."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.train_from_iterator(CAPTIONS, trainers.BpeTrainer(
        vocab_size=700, show_progress=False,
        special_tokens=[*special, *(f"<0x{byte:02X}>" for byte in range(256))]))
    made.post_processor = ends("$A <eos>", **{"<eos>": 1})
    return made, {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False,
                  "add_eos_token": True, "padding_side": "right", "pad_token": "<pad>",
                  "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}


def bert() -> tuple[Tokenizer, dict[str, Any]]:
    """Word pieces, whose [SEP] CLIPA takes away again."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(CAPTIONS, trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        show_progress=False))
    made.post_processor = ends("[CLS] $A [SEP]", **{"[CLS]": 2, "[SEP]": 3})
    return made, {"tokenizer_class": "BertTokenizer", "do_lower_case": True}


TOKENIZERS = {"ViT-B-16-SigLIP": t5, "ViT-B-16-SigLIP2": gemma, "ViT-L-14-CLIPA": bert}


# -- models with random weights --------------------------------------------------------------------


def small(architecture: str) -> dict[str, Any]:
    """open_clip's configuration of an architecture with less of everything."""
    how: dict[str, Any] = copy.deepcopy(open_clip.get_model_config(architecture))
    how["text_cfg"] |= SMALL_TEXT
    if "timm_model_name" in how["vision_cfg"]:
        how["vision_cfg"]["timm_model_name"] = "test_vit3"  # attention pooling over patches, too
        how["vision_cfg"]["image_size"] = 160
        how["embed_dim"] = 96
    else:
        how["vision_cfg"] |= {"layers": 2, "width": 64, "head_width": 32}
    return how


def hub_folder(path: Path, architecture: str, how: dict[str, Any]) -> str:
    """With its tokenizer, as a hub keeps it."""
    of_model = {key: value for key, value in how.items() if key != "custom_text"}
    made = open_clip.CustomTextCLIP if how.get("custom_text") else open_clip.CLIP
    torch.manual_seed(0)
    name = folder_of(path, made(**of_model), how)
    tokenizer, config = TOKENIZERS[architecture]()
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return name


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("hub") / request.param
    return hub_folder(path, request.param, small(request.param))


def compare(name: str) -> OnnxEncoder:
    ours = exported_alike(name, TEXTS)
    assert ours.cut(TEXTS) == OpenClipEncoder(name).tokenizer(TEXTS).tolist()
    return ours


def test_an_export_gives_the_vectors_of_torch(model: str) -> None:
    exact = compare(model)
    less = load_encoder(f"{model}@int8")
    assert less.name == exact.name
    assert cosines(less.encode_texts(TEXTS), exact.encode_texts(TEXTS)).min() > 0.98


@pytest.mark.slow
def test_a_whole_siglip(tmp_path: Path) -> None:
    how = open_clip.get_model_config("ViT-B-16-SigLIP")
    compare(hub_folder(tmp_path / "whole", "ViT-B-16-SigLIP", how))


def test_it_needs_neither_torch_nor_transformers(model: str) -> None:
    load_encoder(f"{model}@int8")
    assert libraries_for(f"{model}@int8") == "[]"


ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
WORDS = st.lists(st.sampled_from([
    *" ".join(CAPTIONS[:20]).split(), "&amp;", "&lt;b&gt;", "_", "[SEP]", "</s>", "<eos>", "<bos>",
    "<mask>", "don't", "\u2019s", "\u00c9"]), max_size=30).map(" ".join)


@settings(max_examples=200)
@given(st.lists(ANY | WORDS, min_size=1, max_size=4))
def test_texts_become_the_tokens_of_open_clip(model: str, texts: list[str]) -> None:
    ours, theirs = _both(model)
    assert ours.cut(texts) == theirs(texts).tolist()


def _both(model: str, known: dict[str, Any] = {}) -> Any:  # noqa: B006
    if model not in known:
        ours = load_encoder(f"{model}@fp32")
        known[model] = ours, open_clip.get_tokenizer(f"local-dir:{model}")
    return known[model]


@pytest.mark.parametrize("name", ["whitespace", "lower", "canonicalize"])
@settings(max_examples=200)
@given(text=ANY | WORDS)
def test_texts_are_cleaned_as_open_clip_does(name: str, text: str) -> None:
    assert CLEANERS[name](text) == get_clean_fn(name)(text)


def test_tokens_that_differ_are_noticed(model: str) -> None:
    ours, theirs = _both(model)
    check_tokens(ours, theirs)
    other = HFTokenizer(model, context_length=theirs.context_length, clean="lower",
                        strip_sep_token=not theirs.strip_sep_token)
    other.strip_sep_token &= other.tokenizer.sep_token_id is not None
    with pytest.raises(ModelError, match=r"cuts .* differently"):
        check_tokens(ours, other)


def test_what_has_the_tokenizer_is_named_when_it_is_missing(
        model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match="openclip"):
        OpenClipEncoder(model)


def test_a_tokenizer_with_rules_of_its_own_is_refused(model: str) -> None:
    clips = HFTokenizer(model, context_length=16, tokenizer_mode="clips")
    with pytest.raises(ModelError, match="tokenizer is of a kind"):
        converted(clips, 16, padded=True)
    assert not Cache(model).path.joinpath("stays-on-torch").exists()
