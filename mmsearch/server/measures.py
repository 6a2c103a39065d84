"""What a server measures of itself, for Prometheus."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from mmsearch.jsonable import strict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmsearch.search import TextVectors
    from mmsearch.server.guard import App, Receive, Scope, Send

_log = logging.getLogger("mmsearch.server.requests")
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""In the environment of several processes, where prometheus_client keeps what each has counted."""
_SECONDS = (.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30)
_QUIET = ("/thumb", "/image", "/healthz", "/readyz", "/metrics", "/v1/status")
"""Of these, only what went wrong is logged: there are hundreds for a page."""


class Measures:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "mmsearch_request_seconds", "Requests and how long they took.",
            ["method", "route", "status"], buckets=_SECONDS, registry=self.registry)
        self.stage = Histogram(
            "mmsearch_stage_seconds", "Of a batch of searches: encode, search, show; of a search: "
            "wait.", ["stage"], buckets=_SECONDS, registry=self.registry)
        self.batch = Histogram(
            "mmsearch_batch_size", "Searches made together.", buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry)
        self.refused = Counter(
            "mmsearch_refused", "Requests that were turned away: there were too many.",
            registry=self.registry)
        self.waiting = Gauge(
            "mmsearch_waiting", "What waits or is under way.", ["what"], registry=self.registry)
        self.thumbs = Counter(
            "mmsearch_thumbs", "Small pictures.", ["found"], registry=self.registry)

    def watch(self, what: str, count: Callable[[], int]) -> None:
        """Tell how many wait; of this process alone, so not where several are told together."""
        if SHARED not in os.environ:
            self.waiting.labels(what).set_function(count)

    def told(self) -> bytes:
        """All of this process, or all that several have counted, as Prometheus reads it."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def took(self, stage: str, seconds: float) -> None:
        self.stage.labels(stage).observe(seconds)


class TextCache(Collector):
    """How often a text was known already, in all collections."""

    def __init__(self, caches: Mapping[str, TextVectors]) -> None:
        self.caches = caches

    def collect(self) -> Iterator[CounterMetricFamily]:
        found = CounterMetricFamily("mmsearch_texts", "Texts that were looked up in the memory of "
                                    "vectors.", labels=["collection", "known"])
        for name, cache in self.caches.items():
            found.add_metric([name, "yes"], cache.hits)
            found.add_metric([name, "no"], cache.misses)
        yield found


class Measured:
    """ASGI middleware: counts and logs every request; the query string stays out of the log."""

    def __init__(self, app: App, measures: Measures, *, log_queries: bool) -> None:
        self.app, self.measures, self.log_queries = app, measures, log_queries

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - start
            # Never the path itself: anybody could make up millions.
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in ("GET", "POST", "DELETE") else "other"
            self.measures.requests.labels(method, route, str(status)).observe(seconds)
            quiet = scope["path"].endswith(_QUIET) or scope["path"].startswith("/page/")
            if status >= 400 or not quiet:
                self._log(scope, status, seconds)

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        asked = ""
        if self.log_queries and scope.get("query_string"):
            asked = f"?{scope['query_string'].decode('latin-1')[:1000]}"
        who = scope["client"][0] if scope.get("client") else "-"
        _log.info("%s %s %s %d %.0f ms", who, scope["method"],
                  ascii(strict(scope["path"][:200] + asked))[1:-1], status, seconds * 1000)
