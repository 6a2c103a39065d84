"""What every request passes before any route sees it: which host it is for, who sends it, from what
page, how large it is and how slowly it comes. And what every answer tells the browser.

Loopback is no protection by itself: any page in a browser may send requests there, and by DNS
rebinding even under a name of its own. Hence the checks of Host, Origin and Sec-Fetch-Site.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, TypeAlias

from mmsearch.server.admission import Admission
from mmsearch.server.problems import Refused, problem
from mmsearch.server.settings import Settings

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "mmsearch"
LOGIN = "/v1/login"
_LOGIN_BYTES = 4000
HEAD_ONLY = "mmsearch.head"
"""In the scope of a request that wants no body."""
_OWN = "mmsearch.own"
_WORK = ("/v1/", "/mcp")
"""What takes work; health checks and the page itself are answered however much there is."""
_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
           "media-src 'self' blob:; connect-src 'self'; frame-src 'self'; form-action 'self'; "
           "base-uri 'none'; frame-ancestors {}")
_ALWAYS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
           "cross-origin-resource-policy": "same-origin",
           "cross-origin-opener-policy": "same-origin", "cache-control": "no-store",
           "content-security-policy": _POLICY.format("'none'")}
FRAMED = {"content-security-policy": _POLICY.format("'self'")}
"""For what our own page may show in a frame."""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: App, settings: Settings, own: Mapping[str, str],
                 admission: Admission) -> None:
        """own: the sockets that only our own user can connect to, and the collections they are for.
        """
        self.app, self.settings, self.own, self.admission = app, settings, own, admission
        self.arrived = _Arrived(settings.bodies_bytes)
        machine = socket.gethostname().lower()
        self.names = {"localhost", machine, f"{machine}.local", settings.host.lower(),
                      *(name.lower() for name in settings.names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = _headers(scope)
        guarded = _with_headers(send)
        address, port = scope.get("server") or ("", 0)
        if port is None and address in self.own:  # of the network, a port is a number
            scope[_OWN] = self.own[address]
        arriving = _Arriving(receive, self.settings, scope["path"], self.arrived,
                             self.admission if scope["path"].startswith(_WORK) else None)
        try:
            try:
                if own_collection(scope) is None:
                    self._check(scope, headers)
                await arriving.begin(headers)
            except Refused as refused:
                answer = problem(refused.status, refused.detail, headers={
                    name.replace("_", "-"): value for name, value in refused.headers.items()})
                await answer(scope, receive, guarded)
                return
            if scope["method"] == "HEAD":  # of which uvicorn sends the head alone
                scope = {**scope, "method": "GET", HEAD_ONLY: True}
            await self.app(scope, arriving, arriving.until_answered(guarded))
        finally:
            arriving.end()

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise Refused(421, "this server is not known by that name; start it with --name NAME "
                               "if it is one of its own")
        path = scope["path"]
        if not path.startswith(("/v1/", "/mcp")) and path != "/metrics":
            return
        if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise Refused(403, "another site may not ask this")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise Refused(403, f"a page of another site may not ask this ({origin[:100]})")
        if path == LOGIN or self.settings.token is None:
            return
        by_cookie = is_cookie(self.settings.token, headers.get("cookie", ""))
        if by_cookie and scope["method"] not in ("GET", "HEAD") and origin is None:
            raise Refused(403, "a request with the cookie needs an Origin; programs send the token "
                               "in a header: Authorization: Bearer TOKEN")
        if not by_cookie and not is_bearer(self.settings.token, headers.get("authorization", "")):
            raise Refused(401, "log in first, or send the token in a header: Authorization: Bearer "
                               "TOKEN", WWW_Authenticate="Bearer")

    def _is_ours(self, host: str) -> bool:
        """An address without a name cannot be another site's, so that any will do."""
        name = host.lower()
        if name.startswith("["):
            name, end, port = name[1:].partition("]")
            if not end or (port and not port.startswith(":")):
                return False
            port = port.removeprefix(":")
        else:
            name, _, port = name.partition(":")
        if port and not (port.isascii() and port.isdecimal()):
            return False
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name.rstrip(".") in self.names


@dataclass
class _Arrived:
    """Bytes of all requests that are under way."""

    most: int
    bytes: int = 0


class _Arriving:
    """The body of a request, as long as it is not too large or too slow, nor all of them together
    too large. Once it is there, the request counts as under way."""

    def __init__(self, receive: Receive, settings: Settings, path: str, arrived: _Arrived,
                 admission: Admission | None) -> None:
        self.receive, self.arrived, self.bytes = receive, arrived, 0
        self.admission, self.admitted = admission, False
        self.first: MutableMapping[str, Any] | None = None
        self.most = {LOGIN: _LOGIN_BYTES, "/v1/items": settings.body_bytes}.get(
            path, min(settings.query_bytes, settings.body_bytes))
        self.until = time.monotonic() + settings.body_seconds
        self.done = False

    async def begin(self, headers: Mapping[str, str]) -> None:
        """Wait for the first part, which is all of most requests. Raises Refused."""
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdecimal() and int(length) > self.most:
            raise self._too_large()
        if self.admission is not None:
            self.admission.check()  # before anybody sends a picture in vain
        self.first = await self()

    def until_answered(self, send: Send) -> Send:
        """Once its answer begins, a request is under way no more, however slowly that is read."""
        async def sending(message: MutableMapping[str, Any]) -> None:
            self._leave()
            await send(message)

        return sending

    def end(self) -> None:
        self.arrived.bytes -= self.bytes
        self._leave()

    def _leave(self) -> None:
        if self.admission is not None and self.admitted:
            self.admission.leave()
            self.admitted = False

    async def __call__(self) -> MutableMapping[str, Any]:
        if self.first is not None:
            first, self.first = self.first, None
            return first
        if self.done:  # what comes now is that the client has gone
            return await self.receive()
        try:
            message = await asyncio.wait_for(self.receive(),
                                             max(self.until - time.monotonic(), 0.001))
        except TimeoutError:
            raise Refused(408, "the request took too long to arrive", Connection="close") from None
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self.bytes += size
            self.arrived.bytes += size
            self.done = not message.get("more_body", False)
            if self.bytes > self.most:
                raise self._too_large()
            if self.arrived.bytes > self.arrived.most:
                raise Refused(503, "too much is being sent at the moment; try again")
            if self.done and self.admission is not None:
                await self.admission.enter()
                self.admitted = True
        return message

    def _too_large(self) -> Refused:
        """The connection stays open: what still comes is thrown away, and whoever sends it to its
        end before reading finds the answer."""
        return Refused(413, f"this request may have {self.most / 1e6:g} MB at most")


def own_collection(scope: Scope) -> str | None:
    """The collection through whose socket a request came; None for one from the network."""
    found: str | None = scope.get(_OWN)
    return found


def cookie_of(token: str) -> str:
    """What the cookie of somebody holds who knows the token: it cannot be told from that."""
    return hmac.new(token.encode(), b"mmsearch cookie", hashlib.sha256).hexdigest()


def is_cookie(token: str, header: str) -> bool:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return False
    return found is not None and _same(found.value, cookie_of(token))


def is_bearer(token: str, header: str) -> bool:
    scheme, _, given = header.partition(" ")
    return scheme.lower() == "bearer" and _same(given.strip(), token)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def _headers(scope: Scope) -> dict[str, str]:
    """Those that are checked; one that comes twice counts as a wrong one."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        text = value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            there = {name.decode("latin-1").lower() for name, _ in message.get("headers", [])}
            message["headers"] = [*message.get("headers", []), *(
                (name.encode(), value.encode()) for name, value in _ALWAYS.items()
                if name not in there)]
        await send(message)

    return sending
