"""A collection on a server, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import parse_qs, urlsplit

from mmsearch.client.wire import as_json, error_of, hit_of
from mmsearch.errors import MissingExtra, MmsearchError, UsageError
from mmsearch.records import Hit
from mmsearch.search import Query, takes_parts_of

if TYPE_CHECKING:
    import httpx


def connect(address: str, *, token: str | None = None, collection: str | None = None,
            timeout: float = 60.0) -> Remote:
    """A collection that `mmsearch serve` serves. Nothing is asked yet.

        mmsearch.connect("http://photos.local:8080", token="…").search(text="a dog", k=5)

    address: may name the collection: "http://photos.local:8080/?collection=holidays".
    token: what the server was started with.
    collection: its name; by default the first of the server.
    timeout: seconds to wait for an answer.

    Raises:
        UsageError: it is no address of a server, or no token.
        MissingExtra: without the extra `client`.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"the address of a server is http://HOST:PORT, not {address}")
    if token and not (token.isascii() and token.isprintable()):
        raise UsageError("a token is of ASCII characters that can be printed")
    named = parse_qs(parts.query).get("collection", [None])[0]
    return Remote(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", token,
                  collection or named, timeout)


class Remote:
    """Asks as one asks a `Collection`: same arguments, same hits, same errors. The pictures of the
    hits are on the other machine.

    Threads may share one; `close` it, or use it as a context manager.
    """

    def __init__(self, address: str, token: str | None, collection: str | None, timeout: float
                 ) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingExtra("asking a server", "client") from None
        self.address, self.collection = address, collection
        self._client = httpx.Client(
            timeout=timeout, headers={"Authorization": f"Bearer {token}"} if token else {})

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @takes_parts_of(Query)
    def search(self, query: Query) -> list[Hit]:
        """The k items nearest to a query, best first; see `Query` for what can be asked. Pictures
        are sent to the server.

        Raises:
            UsageError: the query makes no sense, or asks for more than 1,000 hits.
            MmsearchError: the server cannot be reached, does not know the token, or is too busy;
                whatever `Collection.search` raises there.
        """
        return self.answer(query)[0]

    def answer(self, query: Query) -> tuple[list[Hit], dict[str, Any]]:
        """The hits, and what else the server says: `corrected` (texts taken for misspelt, and as
        what), `note` (a sentence for people, or None)."""
        from mmsearch.client import pictures

        return self._hits(as_json(query, pictures.as_json))

    def similar(self, id: int, *, k: int = 10, where: str | Sequence[str] = (),
                min_score: float | None = None) -> list[Hit]:
        """As `Collection.similar`: what looks like an item, without that one."""
        hits, _ = self._hits({"image": [{"item": id}], "k": k + 1, "min_score": min_score,
                              "where": where if isinstance(where, str) else [*where]})
        return [hit for hit in hits if hit.id != id][:k]

    def info(self) -> dict[str, Any]:
        """As `Collection.info`: counts, model, size on disk, index kinds."""
        return self._ask("GET", "/v1/info", params={"collection": self.collection}
                         if self.collection else {})

    # -- inside ----------------------------------------------------------------------------------

    def _hits(self, asked: dict[str, Any]) -> tuple[list[Hit], dict[str, Any]]:
        found = self._ask("POST", "/v1/hits", json=asked | {"collection": self.collection})
        try:
            return [hit_of(row) for row in found.pop("hits")], found
        except (TypeError, LookupError):
            self._refuse()

    def _ask(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        import httpx

        try:
            answer = self._client.request(method, self.address + path, **how)
        except httpx.TimeoutException:
            raise MmsearchError(f"{self.address} did not answer in time; try again, or give it "
                                "longer (timeout)") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise MmsearchError(f"{self.address} cannot be reached: {error}; is `mmsearch serve` "
                                "running there?") from None
        return self._read(answer)

    def _read(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            found = answer.json()
        except ValueError:
            self._refuse()
        if not isinstance(found, dict) or not (answer.is_success or "detail" in found):
            self._refuse()
        if answer.status_code == 401:
            raise MmsearchError(f"{self.address} wants another token" if "authorization" in
                                self._client.headers else
                                f"{self.address} wants a token (token=, or MMSEARCH_TOKEN)")
        if not answer.is_success:
            raise error_of(answer.status_code, found)
        return found

    def _refuse(self) -> NoReturn:
        raise MmsearchError(f"{self.address} does not answer as a server of mmsearch does; is it "
                            "of another version?") from None
