"""Pictures behind http and https addresses: fetched only where somebody said so, see `fetching`.

Addresses come from strangers' manifests. What they name must not be this machine or its network:
a name is looked up once, the address found is checked, and that very address is connected to, for
each redirect anew. Sizes, times and redirects have limits, and only what begins like a picture is
read to its end, whatever the server says it is.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer, local
from typing import Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from mmsearch.errors import MediaError, MissingExtra
from mmsearch.formats import sniff
from mmsearch.uris import as_mark, from_mark

T = TypeVar("T")
_RETRIED = {429, 500, 502, 503, 504}
_REDIRECTS = {301, 302, 303, 307, 308}
_LONGEST_PAUSE = 10.0
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST6 = ipaddress.ip_network("2000::/3")
"""All of the internet there is in IPv6: beyond it are a network's own addresses (fec0::/10) and its
own ways into IPv4 (64:ff9b:1::/48, ::a.b.c.d), not all of which `is_global` knows."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """What may be fetched, and how.

    private: also from addresses that are not on the internet: this machine, its network.
    seconds: for one picture, all tries together; pause: before the second try, doubled each time.
    """

    private: bool = False
    max_bytes: int = 32 << 20
    seconds: float = 60.0
    silence: float = 15.0
    redirects: int = 5
    tries: int = 3
    pause: float = 0.5
    at_once: int = 16


class NotFound(MediaError):
    """The server says that there is no such picture, or no more."""


class NotPublic(MediaError):
    """An address leads to this machine, or to its network."""


class _Busy(MediaError):
    """It may answer if it is asked again, in so many seconds at the earliest."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _Answer(NamedTuple):
    status: int
    headers: Any
    data: bytes


_state: dict[str, Any] = {"rules": None, "pools": None}
_thread = local()


@contextmanager
def fetching(rules: Fetch) -> Iterator[None]:
    """Let this process fetch from the web, within limits, until the end of the block.

    Raises:
        MissingExtra: urllib3 is not installed.
    """
    before = dict(_state)
    _state.update(rules=rules, pools=_pools(rules))
    try:
        yield
    finally:
        _state["pools"].clear()
        _state.update(before)


def is_allowed() -> bool:
    return _state["rules"] is not None


def fetched(url: str) -> tuple[bytes, str]:
    """A picture's bytes and the fingerprint that goes with them.

    Raises:
        MediaError: it must not be fetched, cannot be, or is no picture.
    """
    answer = _asked(url, {})
    return answer.data, _fingerprint(answer, len(answer.data))


def check(url: str, known: str) -> str:
    """The fingerprint of what is at an address now: the one that is known if that has not changed,
    else empty. Pictures are not downloaded for it.

    Raises:
        NotFound, MediaError: the server says so, or cannot be asked.
    """
    size, _, mark = known.partition(":")
    name, _, value = mark.partition("=")
    header = {"etag": "If-None-Match", "modified": "If-Modified-Since"}.get(name)
    answer = _asked(url, {header: from_mark(value)} if header else {}, only_headers=True)
    same = answer.status == 304 or (header and _fingerprint(answer, int(size)) == known)
    return known if same else ""


def checks(rows: Iterable[T], address: Callable[[T], str], known: Callable[[str], str],
           ) -> Iterator[tuple[T, Future[str] | None]]:
    """Rows in their order, with what `check` says of the addresses that are known; several are
    asked at once.

    address: of a row, or empty. known: the fingerprint that an address had, or empty.
    """
    rules: Fetch = _state["rules"]
    waiting: deque[tuple[T, Future[str] | None]] = deque()
    with ThreadPoolExecutor(rules.at_once, "check") as threads:
        for row in rows:
            url = address(row)
            print_ = known(url) if url else ""
            waiting.append((row, threads.submit(check, url, print_) if print_ else None))
            if len(waiting) > 2 * rules.at_once:
                yield waiting.popleft()
        yield from waiting


def _fingerprint(answer: _Answer, size: int) -> str:
    if tag := answer.headers.get("ETag"):
        return f"{size}:etag={as_mark(tag)}"
    modified = answer.headers.get("Last-Modified")
    return f"{size}:modified={as_mark(modified)}" if modified else f"{size}:"


def _asked(url: str, headers: dict[str, str], only_headers: bool = False) -> _Answer:
    """The answer, asked for again where that may help."""
    rules: Fetch | None = _state["rules"]
    if rules is None:
        raise MediaError("a web address: it is not fetched without --fetch")
    _thread.deadline = time.monotonic() + rules.seconds
    for number in range(rules.tries):
        try:
            return _followed(rules, url, headers, only_headers)
        except _Busy as error:
            pause = min(max(rules.pause * 2**number, error.wait), _LONGEST_PAUSE)
            if number + 1 == rules.tries or time.monotonic() + pause > _thread.deadline:
                raise MediaError(str(error)) from error
            time.sleep(pause)
    raise AssertionError("unreachable")


def _followed(rules: Fetch, url: str, headers: dict[str, str], only_headers: bool) -> _Answer:
    for _ in range(rules.redirects + 1):
        answer = _once(rules, url, headers, only_headers)
        if answer.status not in _REDIRECTS:
            return answer
        url = urljoin(url, answer.headers.get("Location") or "")
    raise MediaError(f"redirected more than {rules.redirects} times")


def _once(rules: Fetch, url: str, headers: dict[str, str], only_headers: bool) -> _Answer:
    import urllib3

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise MediaError(f"not an address: {error}") from error
    if parts.scheme not in ("http", "https") or not host:
        raise MediaError(f"not an http or https address: {url[:200]}")
    ip = _checked_address(host, port, rules.private)
    tls = {"server_hostname": host, "assert_hostname": host} if parts.scheme == "https" else {}
    pool = _state["pools"].connection_from_host(ip, port, parts.scheme, pool_kwargs=tls)
    try:
        response = pool.urlopen(
            "GET", _target(parts), redirect=False, retries=False, preload_content=False,
            decode_content=False, assert_same_host=False, headers={
                "Host": parts.netloc.rpartition("@")[2], "User-Agent": "mmsearch",
                "Accept": "image/*", "Accept-Encoding": "identity", **headers})
        try:
            data = _body(rules, response, only_headers)
        finally:
            if response.length_remaining == 0:
                response.drain_conn()  # to its end, which it may lack yet: it can serve again
                response.release_conn()
            else:
                response.close()
    except urllib3.exceptions.LocationParseError as error:
        raise MediaError(f"not an address: {url[:200]}") from error
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        _refuse_late(rules)
        raise _Busy(f"cannot be fetched: {_reason(error)}") from error
    return _Answer(response.status, response.headers, data)


def _target(parts: SplitResult) -> str:
    from urllib3.util import parse_url

    return str(parse_url(parts._replace(fragment="").geturl()).request_uri)


def _body(rules: Fetch, response: Any, only_headers: bool) -> bytes:
    """What a picture's answer holds, or nothing for a redirect, or if there is no need of it."""
    status = response.status
    _refuse_late(rules)  # hung up on, half an answer looks like a whole one
    if status in _REDIRECTS or status == 304:
        return b""
    if status in (404, 410):
        raise NotFound(f"the server answers {status} {response.reason}")
    if status in _RETRIED:
        wait = response.headers.get("Retry-After", "")
        raise _Busy(f"the server answers {status} {response.reason}",
                    float(wait) if wait.isdecimal() else 0.0)
    if status != 200:
        raise MediaError(f"the server answers {status} {response.reason}")
    if only_headers:
        return b""
    limit = f"limit {rules.max_bytes / 2**20:g} MiB"
    if (response.length_remaining or 0) > rules.max_bytes:
        raise MediaError(f"{response.length_remaining:,} bytes, {limit}")
    data = bytearray()
    while chunk := response.read1(1 << 16):
        seen_enough = len(data) >= 64
        data += chunk
        if not seen_enough and len(data) >= 64:
            _refuse_other(data, response)
        if len(data) > rules.max_bytes:
            raise MediaError(f"more than {rules.max_bytes:,} bytes, {limit}")
        _refuse_late(rules)
    _refuse_other(data, response)
    if response.length_remaining:
        raise _Busy("cannot be fetched: the answer was cut short")
    return bytes(data)


def _refuse_late(rules: Fetch) -> None:
    if time.monotonic() >= _thread.deadline:
        raise MediaError(f"took more than {rules.seconds:g} seconds")


def _refuse_other(data: bytearray, response: Any) -> None:
    if sniff(bytes(data[:64])) is None:
        kind = response.headers.get("Content-Type", "nothing").partition(";")[0]
        raise MediaError(f"not an image (the server says: {kind[:60]})")


def _checked_address(host: str, port: int, private: bool) -> str:
    """One of the addresses that a name stands for, of those that may be connected to."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _Busy(f"cannot be fetched: there is no address for {host[:100]}") from error
    addresses = [str(one[4][0]) for one in found]
    allowed = [one for one in addresses if private or _is_public(one)]
    if not allowed:
        raise NotPublic(f"leads to {', '.join(addresses[:1])}, which is not on the internet; "
                         "--fetch-private allows it")
    return allowed[0]


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if not all(_is_public(str(one)) for one in inner if one is not None):
            return False
        if ip.ipv4_mapped is not None or ip in _NAT64:
            return True
        if ip not in _UNICAST6:
            return False
    return ip.is_global and not ip.is_multicast


def _reason(error: BaseException) -> str:
    import urllib3

    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return "no answer in time"
    text = str(error).rpartition(": ")[2] or type(error).__name__
    return " ".join(text.split())[:120]


def _pools(rules: Fetch) -> Any:
    try:
        import urllib3
        from urllib3.connection import HTTPConnection, HTTPSConnection
    except ImportError as error:
        raise MissingExtra("fetching from the web", "fetch") from error

    class InTime:
        """A server that sends its headers one byte at a time is hung up on at the deadline."""

        def getresponse(self: Any) -> Any:
            sock, left = self.sock, _thread.deadline - time.monotonic()
            timer = Timer(max(left, 0.01), _hang_up, [sock])
            timer.daemon = True
            timer.start()
            try:
                return super().getresponse()  # type: ignore[misc]
            finally:
                timer.cancel()

    class Http(urllib3.HTTPConnectionPool):
        ConnectionCls = type("Http", (InTime, HTTPConnection), {})

    class Https(urllib3.HTTPSConnectionPool):
        ConnectionCls = type("Https", (InTime, HTTPSConnection), {})

    pools = urllib3.PoolManager(32, maxsize=rules.at_once, block=False, timeout=urllib3.Timeout(
        connect=rules.silence, read=rules.silence))
    pools.pool_classes_by_scheme = {"http": Http, "https": Https}
    return pools


def _hang_up(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
