"""Logging in with the token of the server, for the page."""

from __future__ import annotations

import time
from collections import deque

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from mmsearch.server import bodies
from mmsearch.server.guard import COOKIE, cookie_of, is_bearer
from mmsearch.server.problems import RESPONSES, Refused
from mmsearch.server.state import Server

_WRONG, _WITHIN = 10, 60.0
"""Wrong tokens that an address may send, in so many seconds."""
_ADDRESSES = 10_000
_DAYS = 90


class Login(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: str = Field(max_length=1000)


def routes(server: Server) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["login"], responses=RESPONSES)
    wrong: dict[str, deque[float]] = {}

    def tries(address: str) -> deque[float]:
        if len(wrong) >= _ADDRESSES:
            wrong.clear()
        found = wrong.setdefault(address, deque())
        while found and found[0] < time.monotonic() - _WITHIN:
            found.popleft()
        return found

    @router.post("/login", status_code=204, response_class=Response,
                 openapi_extra=bodies.openapi(Login))
    async def login(request: Request) -> Response:
        """Get the cookie that stands for the token."""
        given, _ = await bodies.read(request, Login)
        token = server.settings.token
        if token is not None and not is_bearer(token, f"Bearer {given.token}"):
            # Only wrong ones count: behind a proxy, all come from one address.
            before = tries(request.client.host if request.client else "")
            if len(before) >= _WRONG:
                raise Refused(429, "too many wrong tokens; try again in a minute", Retry_After="60")
            before.append(time.monotonic())
            raise Refused(401, "this is not the token of this server", WWW_Authenticate="Bearer")
        by_tls = request.headers.get("origin", "").startswith("https://")  # to a proxy
        answer = Response(status_code=204, headers={"Cache-Control": "no-store"})
        if token is not None:
            answer.set_cookie(COOKIE, cookie_of(token), max_age=_DAYS * 86400, httponly=True,
                              samesite="strict", secure=by_tls)
        return answer

    @router.post("/logout", status_code=204, response_class=Response)
    async def logout() -> Response:
        """Forget the cookie."""
        answer = Response(status_code=204, headers={"Cache-Control": "no-store"})
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return router
