"""What a search can be asked over HTTP: the parts of `search.Query`, by the same names."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from fastapi import Query as Param
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from mmsearch.errors import MediaError, UsageError
from mmsearch.media import Crop, decode
from mmsearch.search import Embedded, Find, Fusion, Mode, Query, several
from mmsearch.server.bodies import Uploaded
from mmsearch.server.served import LARGEST_ID, Served
from mmsearch.server.thumbs import picture_of

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_HITS = 1000
MOST_TEXT = 4000
"""Characters of all texts of a request."""
MOST_PICTURES = 8
"""Of a request, of each kind; likewise of those that are uploaded."""
Id: TypeAlias = Annotated[int, Field(ge=1, le=LARGEST_ID)]
Text: TypeAlias = Annotated[str, Field(max_length=MOST_TEXT)]
Texts: TypeAlias = Text | Annotated[list[Text], Field(max_length=16)]
Conditions: TypeAlias = Annotated[str, Field(max_length=20_000)] | Annotated[
    list[Annotated[str, Field(max_length=20_000)]], Field(max_length=64)]
Numbers: TypeAlias = Annotated[list[FiniteFloat], Field(max_length=8192)]
Wheres: TypeAlias = Annotated[
    list[Annotated[str, Field(max_length=20_000)]],
    Param(max_length=64, description="Conditions that must all hold.")]
"""As a parameter of an address, which may come several times."""
ALL: list[str] = []
"""Without conditions."""
K: TypeAlias = Annotated[int, Field(ge=1, le=MOST_HITS)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class PictureIn(BaseModel):
    """A picture: an item of the collection, the bytes of a file in base64 (or as a data: URL), its
    address on the web (if the server was started with --fetch), or a vector; all but a vector may
    be cropped ("10%,20%,50%,50%", or pixels)."""

    model_config = ConfigDict(extra="forbid")
    item: Id | None = None
    data: str | None = None
    url: Annotated[str, Field(max_length=2000)] | None = None
    vector: Numbers | None = None
    crop: Annotated[str, Field(max_length=200)] | None = None
    _fetched: bytes = b""

    @model_validator(mode="after")
    def _one(self) -> PictureIn:
        if sum(one is not None for one in self._given()) != 1:
            raise ValueError("give one of item, data, url and vector")
        if self.crop is not None and self.vector is not None:
            raise ValueError("a vector cannot be cropped")
        return self

    def _given(self) -> Sequence[Any]:
        return self.item, self.data, self.url, self.vector

    def keep(self, data: bytes) -> None:
        """What was at its address."""
        self._fetched = data

    def file(self) -> bytes:
        """The bytes that were sent or fetched.

        Raises:
            UsageError: what was sent is no base64.
        """
        return self._fetched if self.data is None else from_base64(self.data)


class OwnPictureIn(PictureIn):
    """Also a file of this machine: only for the user whom the server belongs to."""

    path: str | None = None

    def _given(self) -> Sequence[Any]:
        return *super()._given(), self.path


Pictures: TypeAlias = Annotated[list[PictureIn], Field(max_length=MOST_PICTURES)]


def _not_too_long(texts: Sequence[str | Sequence[str]]) -> None:
    """Raises ValueError: encoding takes the longer, the more there is."""
    if sum(len(one) for some in texts for one in several(some)) > MOST_TEXT:
        raise ValueError(f"all texts together may have {MOST_TEXT} characters")


class QueryIn(BaseModel):
    """What to search for, in the parts of `search.Query`."""

    model_config = ConfigDict(extra="forbid")
    collection: str | None = None
    text: Texts = ()  # type: ignore[assignment]
    without: Texts = ()  # type: ignore[assignment]
    image: Pictures = []
    without_image: Pictures = []
    vector: Numbers | None = None
    weights: Annotated[list[FiniteFloat], Field(max_length=64)] = []
    where: Conditions = ()  # type: ignore[assignment]
    find: Find = "image"
    mode: Mode = "vector"
    fusion: Fusion = "weighted"
    text_weight: Share = Query.text_weight
    captions: bool = True
    rerank: Annotated[int, Field(ge=0, le=100)] = 0
    k: K = 10
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    after: Annotated[str, Field(max_length=100)] = ""
    min_score: Share | None = None
    diverse: Share | None = None
    collapse: bool | Annotated[str, Field(max_length=200)] = True
    multilingual: bool | None = None
    spelling: bool = True

    @model_validator(mode="after")
    def _short(self) -> Self:
        _not_too_long([self.text, self.without])
        return self


class OwnQueryIn(QueryIn):
    """What comes through the socket in the collection's directory."""

    image: Annotated[list[OwnPictureIn], Field(max_length=MOST_PICTURES)] = []  # type: ignore[assignment]
    without_image: Annotated[list[OwnPictureIn], Field(max_length=MOST_PICTURES)] = []  # type: ignore[assignment]


class SearchIn(QueryIn):
    """What to search for. Pictures that are uploaded come after those that are named here."""

    sort: Literal["relevance", "taken"] = "relevance"


class EmbedIn(BaseModel):
    """What to make vectors of: texts, then pictures."""

    model_config = ConfigDict(extra="forbid")
    collection: str | None = None
    text: Texts = ()  # type: ignore[assignment]
    image: Pictures = []
    multilingual: bool | None = None

    @model_validator(mode="after")
    def _short(self) -> EmbedIn:
        _not_too_long([self.text])
        return self


def query_of(asked: QueryIn, served: Served, images: Sequence[Uploaded] = (),
             without_images: Sequence[Uploaded] = ()) -> Query:
    """The query that a request means; takes time where pictures are decoded.

    Raises:
        UsageError: it makes no sense. ItemNotFound, MediaError.
    """
    vector: Any = asked.vector
    given = asked.model_dump(exclude={
        "collection", "image", "without_image", "vector", "sort", "text", "without", "where"})
    examples = Examples(served)
    return Query(
        image=examples.of(asked.image, images),
        without_image=examples.of(asked.without_image, without_images),
        vector=vector, text=_as_given(asked.text), without=_as_given(asked.without),
        where=_as_given(asked.where), **given)


class Examples:
    """The pictures of one request, as `Query.image` takes them: never a path or an address, which
    would be opened (but for `OwnPictureIn`). Each is made as small as the model sees it before the
    next is looked at, and all together have no more pixels than one may have."""

    def __init__(self, served: Served) -> None:
        self.served, self.pixels = served, served.pixels

    def of(self, pictures: Sequence[PictureIn], uploads: Sequence[Uploaded]) -> list[Any]:
        """Pictures that are named, then those that were sent."""
        if len(uploads) > MOST_PICTURES:
            raise UsageError(f"send at most {MOST_PICTURES} pictures in a field")
        return [*map(self._named, pictures), *(self._sent(one.data, None) for one in uploads)]

    def _named(self, picture: PictureIn) -> Any:
        if isinstance(picture, OwnPictureIn) and picture.path is not None:
            return picture.path if picture.crop is None else Crop(picture.path, picture.crop)
        if picture.vector is not None:
            return Embedded(picture.vector)
        if picture.item is None:
            return self._sent(picture.file(), picture.crop)
        row = self.served.row(picture.item)
        if picture.crop is not None:
            whole = picture_of(self.served.shown_as(row).item, None)
            self._count(*whole.size)
            return self._small(Crop(None, picture.crop).cut(whole))
        if (vector := self.served.reader.vector(row)) is None:
            raise UsageError(f"item {row.id} has no vector yet; index its file again")
        return Embedded(vector)

    def _sent(self, data: bytes, crop: str | None) -> Any:
        side = self.served.reader.encoder.min_side if crop is None else None
        try:
            found = decode(data, min_side=side, max_pixels=self.pixels)
        except MediaError as error:
            others = " (all pictures together)" if self.pixels < self.served.pixels else ""
            raise MediaError(f"a picture that was sent cannot be read: {error}{others}") from error
        self._count(found.width, found.height)
        return self._small(found.image if crop is None else Crop(None, crop).cut(found.image))

    def _count(self, width: int, height: int) -> None:
        self.pixels -= width * height
        if self.pixels < 0:
            raise UsageError("the pictures of this request have too many pixels together")

    def _small(self, image: Image) -> Any:
        return self.served.reader.encoder.prepare(image)


def from_base64(text: str) -> bytes:
    """The bytes of base64 or of a data: URL.

    Raises:
        UsageError: it is neither.
    """
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise UsageError("a data: URL of a picture has ;base64 in front of its comma")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("the data of a picture is no base64") from None


def _as_given(value: str | Sequence[str]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)
