"""The systems that `ann.py` compares, each behind the same few calls.

    mmsearch[:KIND][@RECALL]   a Collection, as a user gets it; KIND and RECALL as for
                               `mmsearch index --kind KIND --recall RECALL`
    faiss[:KIND][@RECALL]      plain FAISS on that collection's files, searched with its parameters
    hnswlib, usearch, usearch-f16, numpy
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from ann_data import K, read_json

from mmsearch.collection.collection import Collection
from mmsearch.records import Ids, Kind, Vectors
from mmsearch.sources.vector_sets import find_vectors

M, EF_CONSTRUCTION = 32, 100
"""Of both HNSW peers; 64 neighbours at the base level, as both of them double M there."""
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
"""Values of ef (candidates in view) that are tried for the HNSW peers."""
Blocks = Callable[[], Iterator[Vectors]]


class System(Protocol):
    """One way to search. `effort` is what can be turned up for recall, if anything can."""

    efforts: ClassVar[Sequence[int]]
    needs: ClassVar[str]
    """The module without which it cannot run."""

    def __init__(self, path: Path) -> None:
        """path: a directory of its own (for `faiss`, the one of the collection)."""

    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None: ...

    def open(self, threads: int) -> None: ...

    def search(self, queries: Vectors) -> Ids:
        """float32 [n, dim] -> numbers of the K nearest vectors, int64 [n, K]."""

    def turn(self, effort: int) -> None: ...

    def facts(self) -> str:
        """What was built and how it is searched, in a line."""


def system(name: str, path: Path) -> System:
    """The system called `name` (see the top of this file)."""
    base, _, _ = name.partition("@")[0].partition(":")
    kinds: dict[str, type[Any]] = {
        "mmsearch": Mmsearch, "faiss": Faiss, "hnswlib": Hnswlib, "usearch": Usearch,
        "usearch-f16": UsearchHalf, "numpy": Numpy}
    if base not in kinds:
        raise SystemExit(f"no system called {base}; there are {', '.join(kinds)}")
    made: System = kinds[base](path)
    if isinstance(made, Mmsearch):
        made.wanted = wanted(name)
    return made


def files_of(name: str) -> str:
    """Whose files a system searches: plain FAISS those of the collection with the same settings."""
    return name.replace("faiss", "mmsearch", 1) if name.startswith("faiss") else name


def installed(name: str) -> bool:
    return find_spec(system(name, Path()).needs) is not None


# -- mmsearch: the one place that knows how a collection is told what to be ----------------------

def wanted(name: str) -> dict[str, Any]:
    """The settings in a name such as mmsearch:hnsw@0.99, as `Collection.configure` takes them."""
    rest, _, recall = name.partition("@")
    kind = rest.partition(":")[2]
    settings = {"kind": kind or None, "recall": float(recall) if recall else None}
    return {key: value for key, value in settings.items() if value is not None}


class Mmsearch:
    efforts: ClassVar[Sequence[int]] = ()
    needs: ClassVar[str] = "mmsearch"
    wanted: dict[str, Any]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wanted = {}

    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None:
        """As `mmsearch index --vectors FILE.npy` does it; writing those files is part of it.

        Texts first: an index over the images is tuned as it is built.
        """
        for kind, rows, parts in (("text", len(texts), iter([texts])), ("image", size, blocks())):
            file = self.path.with_name(f"{self.path.name}-{kind}.npy")
            write_npy(file, rows, texts.shape[1], parts)
            found = find_vectors(file, kind=cast(Kind, kind))
            collection = Collection.for_vectors(self.path, found)
            collection.configure(**self.wanted)
            collection.add_vectors(found)
            collection.close()
            file.unlink()

    def open(self, threads: int) -> None:
        """Threads are the collection's affair; the environment says how many it can get."""
        self._collection = Collection.open(self.path)
        self._first = 1 + max(row.seq for row in self._collection.vectors("text")[0])

    def search(self, queries: Vectors, allowed: Ids | None = None) -> Ids:
        rows = None if allowed is None else allowed + self._first
        found = self._collection.nearest(queries, K, allowed=rows).ids
        return np.where(found < 0, -1, found - self._first)

    def turn(self, effort: int) -> None:
        raise ValueError("a collection tunes itself")

    def facts(self) -> str:
        return str(self._collection.info()["index"]["image"])


def write_npy(file: Path, rows: int, dim: int, parts: Iterator[Vectors]) -> None:
    """Vectors as float16, a block at a time."""
    out = np.lib.format.open_memmap(file, "w+", np.float16, (rows, dim))
    at = 0
    for part in parts:
        out[at : at + len(part)] = part
        at += len(part)
    out.flush()


# -- the others ----------------------------------------------------------------------------------

class Faiss:
    """What FAISS alone makes of a collection's files: the same index, the same vectors to rescore
    from, the same parameters, and nothing of mmsearch around it."""

    efforts: ClassVar[Sequence[int]] = ()
    needs: ClassVar[str] = "faiss"

    def __init__(self, path: Path) -> None:
        self.path = path

    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None:
        raise ValueError("plain FAISS opens what mmsearch has built")

    def open(self, threads: int) -> None:
        from mmsearch.indexes._faiss import load_faiss  # for the BLAS kernels it chooses

        self._faiss = faiss = load_faiss()
        faiss.omp_set_num_threads(threads)
        self._parameters: Any = None
        stores = {path.name: self._read(path / "vectors.faiss")
                  for path in sorted((self.path / "segments").glob("image-*"))}
        anns = list(self.path.glob("ann-image-*"))
        if anns:
            facts = read_json(anns[0] / "segment.json")
            self._approximate(self._read(anns[0] / "index.faiss"), stores, facts)
        else:
            self._exact(list(stores.values()))

    def search(self, queries: Vectors) -> Ids:
        ids: Ids = self._index.search(queries, K, params=self._parameters)[1]
        return ids

    def turn(self, effort: int) -> None:
        raise ValueError("it has the collection's effort")

    def facts(self) -> str:
        return str(self._facts)

    def _read(self, path: Path) -> Any:
        return self._faiss.read_index(str(path), self._faiss.IO_FLAG_MMAP_IFC)

    def _exact(self, stores: Sequence[Any]) -> None:
        self._facts = "exact, float16"
        self._index = stores[0]
        if len(stores) > 1:  # as one, with rows counted through
            self._parts = stores  # FAISS does not keep them alive
            self._index = self._faiss.IndexShards(stores[0].d, False, True)
            for store in stores:
                self._index.add_shard(store)

    def _approximate(self, base: Any, stores: dict[str, Any], facts: dict[str, Any]) -> None:
        """Search as an approximate index's own description says."""
        if not facts.get("tuned"):
            raise SystemExit("the approximate index does not say how it is searched: build the "
                             "collection with a later version, or leave faiss out (--only)")
        width, rescored = (int(facts["tuned"]["effort"][key]) for key in ("width", "rescored"))
        kind = facts["spec"]["kind"]
        self._facts = f"{kind}, width {width}"
        self._index, self._parameters = base, self._width(base, width)
        if rescored:
            self._facts += f", {rescored} rescored"
            store = stores[facts["segment"]]
            self._parts = base, store, self._parameters
            self._index = self._faiss.IndexRefine(base, store)
            self._parameters = self._faiss.IndexRefineSearchParameters(
                k_factor=rescored / K, base_index_params=self._parameters)

    def _width(self, base: Any, width: int) -> Any:
        """FAISS's search parameters for so many lists, or nodes of a graph."""
        faiss = self._faiss
        if hasattr(base, "hnsw"):
            return faiss.SearchParametersHNSW(efSearch=width)
        coarse = None
        lists = faiss.downcast_index(faiss.extract_index_ivf(base).quantizer)
        if isinstance(lists, faiss.IndexHNSW):
            coarse = faiss.SearchParametersHNSW(efSearch=max(64, 2 * width))
        search = faiss.SearchParametersIVF(nprobe=width, quantizer_params=coarse)
        if isinstance(base, faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=search)
        return search


class Hnswlib:
    efforts: ClassVar[Sequence[int]] = EFFORTS
    needs: ClassVar[str] = "hnswlib"

    def __init__(self, path: Path) -> None:
        self.path = path

    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None:
        import hnswlib

        index = hnswlib.Index("ip", texts.shape[1])
        index.init_index(size, M=M, ef_construction=EF_CONSTRUCTION)
        for block in blocks():
            index.add_items(block)
        index.save_index(str(self.path / "index.hnswlib"))
        (self.path / "dim").write_text(str(texts.shape[1]))

    def open(self, threads: int) -> None:
        import hnswlib

        self._index = hnswlib.Index("ip", int((self.path / "dim").read_text()))
        self._index.load_index(str(self.path / "index.hnswlib"))
        self._index.set_num_threads(threads)

    def search(self, queries: Vectors) -> Ids:
        return self._index.knn_query(queries, K)[0].astype(np.int64)  # type: ignore[no-any-return]

    def turn(self, effort: int) -> None:
        self._effort = effort
        self._index.set_ef(effort)

    def facts(self) -> str:
        return f"HNSW, float32, M {M}, efConstruction {EF_CONSTRUCTION}, ef {self._effort}"


class Usearch:
    efforts: ClassVar[Sequence[int]] = EFFORTS
    needs: ClassVar[str] = "usearch"
    dtype: ClassVar[str] = "f32"

    def __init__(self, path: Path) -> None:
        self.path = path

    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None:
        from usearch.index import Index

        index = Index(ndim=texts.shape[1], metric="ip", dtype=self.dtype, connectivity=M,
                      expansion_add=EF_CONSTRUCTION)
        at = 0
        for block in blocks():
            index.add(np.arange(at, at + len(block)), block)
            at += len(block)
        index.save(str(self.path / "index.usearch"))

    def open(self, threads: int) -> None:
        from usearch.index import Index

        index = Index.restore(str(self.path / "index.usearch"))
        assert index is not None
        self._index, self._threads = index, threads

    def search(self, queries: Vectors) -> Ids:
        keys = np.asarray(self._index.search(queries, K, threads=self._threads).keys)
        return keys.reshape(len(queries), -1).astype(np.int64)

    def turn(self, effort: int) -> None:
        self._effort = effort
        self._index.expansion_search = effort

    def facts(self) -> str:
        return f"HNSW, {self.dtype}, M {M}, efConstruction {EF_CONSTRUCTION}, ef {self._effort}"


class UsearchHalf(Usearch):
    dtype: ClassVar[str] = "f16"


class Numpy:
    """One matrix product and a partial sort: the peer of last resort."""

    efforts: ClassVar[Sequence[int]] = ()
    needs: ClassVar[str] = "numpy"

    def __init__(self, path: Path) -> None:
        self.path = path

    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None:
        shape = size, texts.shape[1]
        file = np.lib.format.open_memmap(self.path / "vectors.npy", "w+", np.float32, shape)
        at = 0
        for block in blocks():
            file[at : at + len(block)] = block
            at += len(block)
        file.flush()

    def open(self, threads: int) -> None:
        self._vectors = np.load(self.path / "vectors.npy")

    def search(self, queries: Vectors) -> Ids:
        found = []
        for at in range(0, len(queries), 100):  # scores of more would not fit the memory at 1M
            scores = queries[at : at + 100] @ self._vectors.T
            best = np.argpartition(-scores, K, axis=1)[:, :K]
            order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
            found.append(np.take_along_axis(best, order, axis=1))
        return np.concatenate(found)

    def turn(self, effort: int) -> None:
        raise ValueError("it is exact")

    def facts(self) -> str:
        return "exact, float32"
