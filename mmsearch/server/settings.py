"""What a server is started with: where it listens, who may use it, and its limits."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

from mmsearch.encoders import cache_directory
from mmsearch.errors import UsageError

SHORTEST_TOKEN = 16


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to serve.

    indexes: the directories of the collections; each is called by its last name.
    token: what programs send and people log in with; None: everybody who can connect may search.
    no_auth: said on purpose, for a host that others can reach, without a token.
    names: names that the server is reached by, besides those of this machine.
    log_queries: whether what people search for may be written to the log.

    Raises:
        UsageError: others could reach it without a token, or the token is short.
    """

    indexes: tuple[Path, ...]
    model: str | None = None
    paths: tuple[Path, ...] = ()
    """What is brought into the first collection; it is made where there is none."""
    watch: bool = False
    """Whether that goes on while they change."""
    writable: Path | None = None
    """A folder for what is sent; the first collection may then be changed over HTTP."""
    fetch: bool = False
    """Whether pictures may be named by their web address, and are fetched from there."""
    fetch_private: bool = False
    """Whether also from this machine and its network."""
    fetch_seconds: float = 10.0
    """For one picture."""
    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    no_auth: bool = False
    names: tuple[str, ...] = ()
    workers: int = 1
    """Processes that answer."""
    log_queries: bool = False
    thumbs: Path = field(default_factory=lambda: cache_directory() / "thumbs")
    thumbs_bytes: int = 2_000_000_000
    body_bytes: int = 64_000_000
    """Of a request that adds files."""
    query_bytes: int = 20_000_000
    """Of any other request, pictures and all."""
    bodies_bytes: int = 512_000_000
    """Of all requests that are under way."""
    head_seconds: float = 20.0
    """In which the head of a request has to arrive."""
    body_seconds: float = 60.0
    """In which a request has to arrive."""
    pixels: int = 100_000_000
    """Of an uploaded picture."""
    deadline: float = 30.0
    """Seconds after which an answer is given up."""
    decoders: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Pictures that are decoded at the same time."""
    largest_batch: int = 64
    """Searches that are made together, at most; 1 makes each by itself."""
    waiting: int = 256
    """Requests that may be under way or wait for their turn; more are turned away."""

    def __post_init__(self) -> None:
        if self.fetch_private and not self.fetch:
            raise UsageError("--fetch-private goes with --fetch")
        if self.watch and not self.paths:
            raise UsageError("--watch needs the folders: mmsearch serve PATH --watch")
        if self.workers > 1 and self.paths:
            raise UsageError("several workers index no folders: leave out PATH and --watch, and "
                             "run `mmsearch watch` beside the server")
        if self.writable is not None and not self.writable.is_dir():
            raise UsageError(f"--writable takes a folder that exists, not {self.writable}")
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise UsageError(f"a token needs {SHORTEST_TOKEN} characters or more; make one with: "
                             "openssl rand -hex 16")
        if self.token is None and not self.no_auth and not is_loopback(self.host):
            raise UsageError(
                f"with --host {self.host} others can reach these pictures: give a --token-file, or "
                "say --no-auth if everybody who can connect may see them")


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
