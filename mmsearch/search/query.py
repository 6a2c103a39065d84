"""What a search can be asked, said once: `Collection.search` takes these parts by name, the command
`query` makes its options of them, and whoever asks in another way builds a `Query`."""
# ruff: noqa: RUF009 (each `_part` is a field)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import wraps
from inspect import Parameter, signature
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeAlias,
    get_args,
)

from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.records import Hit, Vectors

Find: TypeAlias = Literal["image", "text", "any"]
Mode: TypeAlias = Literal["vector", "text", "hybrid"]
Fusion: TypeAlias = Literal["weighted", "rrf"]
MOST = 2**31 - 1
P = ParamSpec("P")


def _part(default: Any, help: str, more: str = "") -> Any:
    """A field; help: a sentence for everybody; more: what only a program has to know."""
    return field(default=default, metadata={"help": help, "more": more})


class Asked(NamedTuple):
    """A query as unit vectors, float32 [dim]: what pictures are compared with, and what texts."""

    pictures: Vectors
    texts: Vectors


@dataclass(frozen=True, kw_only=True)
class Query:
    """What a search is asked.

    Raises:
        UsageError: there is nothing to look for, or a part makes no sense.
    """

    text: str | Sequence[str] = _part((), "What to look for, in words.", "One text or several.")
    image: Any = _part(
        (), "A picture to look for, indexed or not.",
        "One or several: paths, uris, bytes, open files, PIL pictures, NumPy "
        "arrays (`media.pictures`), parts of any of these (`media.crops.Crop`), or the "
        "vector of one (`search.Embedded`).")
    vector: Vectors | None = _part(
        None, "A vector (embedding) that the same model made.",
        "float32 [dim]; takes the place of `image` and of the meaning of `text`.")
    without: str | Sequence[str] = _part(
        (), "Avoid what this text describes.", "One text or several.")
    without_image: Any = _part((), "Avoid what this picture shows.", "As `image`.")
    weights: Sequence[float] = _part(
        (), "Weights: one for each text, then one for each picture.", "1 by default.")
    find: Find = _part("image", "What to find.", "`any`: images and texts.")
    k: int = _part(10, "How many results.")
    offset: int = _part(0, "Skip the first N results, to show the next page.",
                        "Pages put together are one big search.")
    after: str = _part("", "Begin behind the result that has this `cursor`.",
                       "Right also when items came or went meanwhile.")
    min_score: float | None = _part(
        None, "Leave out results of a lower relevance. Relevance, from 0 to 1, says how likely a "
        "result is a match.",
        "In hybrid, what the words name stays.")
    where: str | Sequence[str] = _part(
        (), "Only items that meet this condition: 'taken>=2020 and camera ~ canon'.",
        "One condition or several, see `storage.filters`.")
    mode: Mode = _part("vector", "Compare meanings, match words (in captions, file names, paths, "
                                 "metadata), or both.", "`text` needs no model.")
    fusion: Fusion = _part(
        "weighted", "How the mode hybrid combines meanings and words: by scores (weighted) or by "
        "ranks (rrf).", "See `search.hybrid`.")
    # Half, and a little more: by ranks, too, what is named comes before what only looks alike.
    text_weight: float = _part(0.51, "How much words count in the mode hybrid, 0 to 1.")
    captions: bool = _part(
        True, "Whether the captions of a picture count, besides what it shows, where words ask for "
        "pictures in the modes vector and hybrid.", "See `search.captions`.")
    rerank: int = _part(
        0, "Look closer at the first N results, at how the words fit parts of each picture, and "
        "order them anew. Try 50. Takes about a second.",
        "By the built-in model, for words, in the mode vector; see `search.rerank`.")
    diverse: float | None = _part(
        None, "Show fewer look-alikes, 0 to 1: 1 changes nothing, 0 spreads most; try 0.5.",
        "See `search.diversity`; pages fit together up to result 20, from there to 100, to 500, "
        "and so on.")
    collapse: bool | str = _part(
        True, "Show one result for each folder ('folder') or value of a metadata field, not for "
        "each group.", "True: one for each group (a photo and its captions), the best; False: all.")
    multilingual: bool | None = _part(
        None, "Whether to take the texts as being in another language than English: Arabic, "
        "Chinese, Dutch, French, German, Italian, Japanese, Korean, Polish, Portuguese, Russian, "
        "Spanish, Thai, Turkish. By default, those that do not look English. For the built-in "
        "model, with the extra `multilingual`.")
    spelling: bool = _part(
        True, "Whether to put misspelt words of the texts right.",
        "Done by the built-in model; the words of the mode text are matched as they are.")

    @property
    def words(self) -> str:
        """What is matched, in the modes text and hybrid."""
        return " ".join(several(self.text))

    def __post_init__(self) -> None:
        for name, value, known in (("find", self.find, get_args(Find)),
                                   ("mode", self.mode, get_args(Mode)),
                                   ("fusion", self.fusion, get_args(Fusion))):
            if value not in known:
                raise UsageError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        for name, share in (("the text weight", self.text_weight), ("diverse", self.diverse),
                            ("min_score", self.min_score)):
            if share is not None and not 0 <= share <= 1:
                raise UsageError(f"{name} must be a number from 0 to 1, not {share}")
        self._check_page()
        self._check_parts()

    def _check_page(self) -> None:
        if self.k < 1:
            raise UsageError(f"k must be at least 1, not {self.k}")
        if self.offset + self.k > MOST:
            raise UsageError(f"k and the offset together must be at most {MOST:,}")
        if self.offset < 0:
            raise UsageError(f"the offset must be at least 0, not {self.offset}")
        if not 0 <= self.rerank <= 1000:
            raise UsageError(f"rerank must be from 0 to 1,000 results, not {self.rerank}")
        if self.rerank and (self.mode != "vector" or self.diverse is not None or self.after):
            raise UsageError("rerank needs the mode vector, no diverse and no cursor (use an "
                             "offset)")
        if self.rerank and (self.find != "image" or not several(self.text)
                            or several(self.image) or self.vector is not None):
            raise UsageError("rerank looks for pictures by words: leave it out, or leave out "
                             "pictures, vectors and `find`")
        if self.after and (self.mode != "vector" or self.diverse is not None):
            raise UsageError("a cursor needs the mode vector and no diverse: their scores change "
                             "as items are added; use an offset")

    def _check_parts(self) -> None:
        texts, images = several(self.text), several(self.image)
        if self.mode == "text" and (images or several(self.without_image) or len(self.weights)
                                    or self.vector is not None):
            raise UsageError("the mode text matches only words: leave out pictures, vectors and "
                             "weights, or use the mode hybrid")
        if self.mode == "text" and self.min_score is not None:
            raise UsageError("the mode text has no relevance: leave out --min-score (min_score), "
                             "or use the mode hybrid")
        if self.mode != "vector" and not self.words.strip():
            raise UsageError(f"the mode {self.mode} needs a text")
        if self.vector is not None:
            return
        if not (texts or images):
            raise UsageError("give a text or a picture to look for")
        if not all(text.strip() for text in (*texts, *several(self.without))):
            raise UsageError("a text is empty (an unset variable?)")
        if len(self.weights) not in (0, len(texts) + len(images)):
            parts = len(texts) + len(images)
            raise UsageError(f"{len(self.weights)} weights for {parts} "
                             f"{'text or picture' if parts == 1 else 'texts and pictures'}; give "
                             "one for each, texts first")


Query.__doc__ = f"{Query.__doc__}\n    Parts:\n" + "\n".join(
    f"        {one.name}: {one.metadata['help']} {one.metadata['more']}" for one in fields(Query))


def several(one_or_more: Any) -> Sequence[Any]:
    return one_or_more if isinstance(one_or_more, list | tuple) else [one_or_more]


class Search(Protocol[P]):
    """A search takes a query, or the parts of one by name, or both: a query but for these parts."""

    def __call__(self, query: Query | None = None, /, *args: P.args, **parts: P.kwargs
                 ) -> list[Hit]: ...


class _Method(Protocol[P]):
    def __get__(self, instance: Any, owner: Any, /) -> Search[P]: ...


def takes_parts_of(query_type: Callable[P, Query]) -> Callable[
        [Callable[[Any, Query], list[Hit]]], _Method[P]]:
    """Makes a method that takes a query into a `Search`. Type checkers, editors and `help` know the
    parts from `Query` itself: they are repeated nowhere."""
    def wrapped(method: Callable[[Any, Query], list[Hit]]) -> Any:
        @wraps(method)
        def search(self: Any, query: Query | None = None, /, **parts: Any) -> list[Hit]:
            return method(self, Query(**parts) if query is None else replace(query, **parts))

        own = [Parameter("self", Parameter.POSITIONAL_ONLY),
               Parameter("query", Parameter.POSITIONAL_ONLY, default=None)]
        search.__signature__ = signature(method).replace(  # type: ignore[attr-defined]
            parameters=[*own, *signature(query_type).parameters.values()])
        return search

    return wrapped
