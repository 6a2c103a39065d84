"""What there is to choose from: every kind of index, what it costs, what it can do.

One table, `KINDS`, is all that the rest of the package knows about them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log2
from typing import Literal, TypeAlias

from mmsearch.errors import UsageError
from mmsearch.records import IndexSpec

Device: TypeAlias = Literal["cpu", "cuda", "auto"]


@dataclass(frozen=True)
class Traits:
    """One row of the table.

    factory: FAISS's description (`faiss.index_factory`) with {dim}, {nlist}, {m}, {pq} to fill in.
    bytes: of one vector in memory or on disk, from dim and the spec; the float16 store (2 dim),
        which stays memory-mapped, is beside it for all but the exact kinds.
    exact: scores are cosines of the stored vectors and nothing is missed.
    trains: needs rows to learn its lists from.
    gpu: has a form that a GPU builds and searches (filters are applied after it, see `gpu`).
    rescored: estimates only; candidates are rescored from the float16 store.
    """

    factory: str
    bytes: Callable[[int, IndexSpec], float]
    exact: bool = False
    trains: bool = False
    gpu: bool = False
    rescored: bool = True


_IDS = 8  # bytes: an inverted list holds the id of each of its rows

KINDS: dict[str, Traits] = {
    "exact": Traits("SQfp16", lambda dim, spec: 2 * dim, exact=True, gpu=True, rescored=False),
    "exact-f32": Traits("Flat", lambda dim, spec: 4 * dim, exact=True, gpu=True, rescored=False),
    "hnsw": Traits("HNSW{m},SQfp16", lambda dim, spec: 2 * dim + 8 * spec.m + 16,
                   rescored=False),
    "ivf-f16": Traits("IVF{nlist},SQfp16", lambda dim, spec: 2 * dim + _IDS,
                      trains=True, gpu=True, rescored=False),
    "ivf-sq8": Traits("IVF{nlist},SQ8", lambda dim, spec: dim + _IDS, trains=True, gpu=True),
    "ivf-rabitq": Traits("RR{dim},IVF{nlist},RaBitQfs", lambda dim, spec: dim / 8 + 8 + _IDS,
                         trains=True),
    "ivf-pq": Traits("IVF{nlist},PQ{pq}x4fs", lambda dim, spec: _pq(dim) / 2 + _IDS, trains=True),
    "ivf-pq8": Traits("IVF{nlist},PQ{pq8}", lambda dim, spec: _pq8(dim) + _IDS,
                      trains=True, gpu=True),
    "cagra": Traits("", lambda dim, spec: 2 * dim + 8 * spec.m + 16, gpu=True, rescored=False),
}
"""`exact` is the store of every collection. `ivf-f16`, `ivf-pq8` and `cagra` are what GPUs build;
their files are CPU forms (cagra's an HNSW graph), so that any machine searches them."""

EXACT_UP_TO = 100_000
"""Rows up to which the exact scan is fast enough (3 ms a query and core at 512 dimensions)..."""
EXACT_UP_TO_HIGH_RECALL = 300_000
"""...and where a recall of 0.99 or more is asked for, which costs an approximate index most."""
AUTO = "ivf-pq"
"""Inverted lists of 4-bit codes: one look-up table serves all lists of a query (RaBitQ needs one a
list), so that at a million vectors and a recall of 0.96 they are twice as fast, and faster than
graphs of ten times their memory (bench/ann.py)."""
DEFAULT_RECALL = 0.95
_FEWEST = 1000
"""Rows below which every kind is exact."""


def choose_spec(rows: int, *, recall: float = 0.95, kind: str = "auto") -> IndexSpec:
    """The index for so many rows: exact while that is fast, or where it is asked for (recall 1);
    else `AUTO`.

    kind: a row of `KINDS` to take instead, once there are rows enough for any.

    Raises:
        UsageError: no such kind.
    """
    if kind not in (*KINDS, "auto"):
        raise UsageError(f"no kind of index called {kind!r}; the kinds are auto, "
                         f"{', '.join(KINDS)}")
    few = EXACT_UP_TO_HIGH_RECALL if recall >= 0.99 else EXACT_UP_TO
    if kind == "auto":
        return IndexSpec("exact") if recall >= 1 or rows <= few else sized(AUTO, rows)
    usable = rows >= _FEWEST and (recall < 1 or KINDS[kind].exact)
    return sized(kind, rows) if usable else IndexSpec("exact")


def sized(kind: str, rows: int) -> IndexSpec:
    """`kind` for so many rows: lists are the power of two next to 4 √n, of some 60 rows or more."""
    if not KINDS[kind].trains:
        return IndexSpec(kind)
    wanted = 2 ** round(log2(4 * max(rows, 1) ** 0.5))
    return IndexSpec(kind, nlist=max(1, min(wanted, rows // 40)))


def factory(dim: int, spec: IndexSpec) -> str:
    """The description that `faiss.index_factory` takes."""
    return KINDS[spec.kind].factory.format(
        dim=dim, nlist=spec.nlist, m=spec.m, pq=_pq(dim), pq8=_pq8(dim))


def _pq(dim: int) -> int:
    """Parts of a 4-bit product quantiser: 2 dimensions each, where that divides."""
    return dim // 2 if dim % 2 == 0 else dim


def _pq8(dim: int) -> int:
    """Parts of an 8-bit product quantiser: 8 dimensions each, where that divides."""
    return next(dim // size for size in (8, 4, 2, 3, 1) if dim % size == 0)
