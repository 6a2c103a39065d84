"""The systems that `ann.py` compares, each behind the same few calls.

    mmsearch[:KIND][@RECALL]   a Collection, as a user gets it; KIND and RECALL as for
                               `mmsearch index --kind KIND --recall RECALL`
    faiss[:KIND][@RECALL]      plain FAISS on that collection's files, searched with its parameters
    hnswlib, usearch, usearch-f16, numpy
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from mmsearch.collection.collection import Collection
from mmsearch.indexes.rescored import RescoredIndex
from mmsearch.records import Ids, Kind, Vectors
from mmsearch.sources.vector_sets import find_vectors
from mmsearch.storage.catalog import CATALOG, Catalog
from mmsearch.storage.open_segments import Opened

K = 10
M, EF_CONSTRUCTION = 32, 100
"""Of both HNSW peers; 64 neighbours at the base level, as both of them double M there."""
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
"""Values of ef (candidates in view) that are tried for the HNSW peers."""
Blocks = Callable[[], Iterator[Vectors]]


class System(ABC):
    """One way to search; `effort` is what can be turned up for recall, if `efforts` has any."""

    efforts: ClassVar[Sequence[int]] = ()
    needs: ClassVar[str] = "numpy"
    """The module without which it cannot run."""
    effort = 0

    def __init__(self, name: str, data: Path) -> None:
        """data: the folder that every system has one in."""
        self.name, self.path = name, data / name

    @abstractmethod
    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None:
        """texts: what queries are like; indexes that are tuned need them."""

    @abstractmethod
    def open(self) -> None:
        """For searching in one thread."""

    @abstractmethod
    def search(self, queries: Vectors) -> Ids:
        """float32 [n, dim] -> numbers of the K nearest vectors, int64 [n, K]."""

    @abstractmethod
    def facts(self) -> str:
        """What was built and how it is searched, in a line."""


def system(name: str, data: Path) -> System:
    """The system called `name` (see the top of this file)."""
    base = name.partition("@")[0].partition(":")[0]
    kinds: dict[str, type[System]] = {
        "mmsearch": Mmsearch, "faiss": Faiss, "hnswlib": Hnswlib, "usearch": Usearch,
        "usearch-f16": UsearchHalf, "numpy": Numpy}
    if base not in kinds:
        raise SystemExit(f"no system called {base}; there are {', '.join(kinds)}")
    if not find_spec(kinds[base].needs):
        raise SystemExit(f"{base} is not installed: pip install 'mmsearch[bench]', or leave it out "
                         "(--only)")
    return kinds[base](name, data)


class Mmsearch(System):
    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None:
        """As `mmsearch index --vectors FILE.npy` does it; writing those files is part of it.

        Texts first: an index over the images is tuned as it is built.
        """
        rest, _, recall = self.name.partition("@")
        wanted = {"kind": rest.partition(":")[2], "recall": float(recall or 0)}
        for kind, rows, parts in (("text", len(texts), iter([texts])), ("image", size, blocks())):
            file = self.path.with_name(f"{self.name}-{kind}.npy")
            fill(np.lib.format.open_memmap(file, "w+", np.float16, (rows, texts.shape[1])), parts)
            found = find_vectors(file, kind=cast(Kind, kind))
            collection = Collection.for_vectors(self.path, found)
            collection.configure(**{key: value for key, value in wanted.items() if value})
            collection.add_vectors(found)
            collection.close()
            file.unlink()

    def open(self) -> None:
        self.collection = Collection.open(self.path)
        self._first = 1 + max(row.seq for row in self.collection.vectors("text")[0])

    def search(self, queries: Vectors, allowed: Ids | None = None) -> Ids:
        rows = None if allowed is None else allowed + self._first
        found = self.collection.nearest(queries, K, allowed=rows).ids
        return np.where(found < 0, -1, found - self._first)

    def facts(self) -> str:
        return str(self.collection.info()["index"]["image"])


class Faiss(System):
    """What FAISS alone makes of a collection's files: the same index, the same vectors to rescore
    from, the same parameters, and nothing of mmsearch around it."""

    def __init__(self, name: str, data: Path) -> None:
        super().__init__(name.replace("faiss", "mmsearch", 1), data)

    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None:
        Mmsearch(self.name, self.path.parent).build(size, blocks, texts)

    def open(self) -> None:
        with closing(Catalog(self.path / CATALOG)) as catalog:
            self._opened = Opened(self.path)
            self._opened.refresh(catalog.segments())
        part, = self._opened.parts(("image",), K)
        index: Any = part.searched
        if isinstance(index, RescoredIndex):
            self._index = index._index
            self._parameters = index._parameters(index.effort, K, None)
            self._facts = f"{index.spec.kind}, {index.effort}"
        else:
            self._index, self._parameters, self._facts = index.native, None, "exact, float16"

    def search(self, queries: Vectors) -> Ids:
        return self._index.search(queries, K, params=self._parameters)[1]

    def facts(self) -> str:
        return self._facts


class Hnswlib(System):
    efforts = EFFORTS
    needs = "hnswlib"

    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None:
        import hnswlib

        index = hnswlib.Index("ip", texts.shape[1])
        index.init_index(size, M=M, ef_construction=EF_CONSTRUCTION)
        for block in blocks():
            index.add_items(block)
        index.save_index(str(self.path / "index.hnswlib"))
        (self.path / "dim").write_text(str(texts.shape[1]))

    def open(self) -> None:
        import hnswlib

        self._index = hnswlib.Index("ip", int((self.path / "dim").read_text()))
        self._index.load_index(str(self.path / "index.hnswlib"))
        self._index.set_num_threads(1)

    def search(self, queries: Vectors) -> Ids:
        self._index.set_ef(max(self.effort, K))
        return self._index.knn_query(queries, K)[0].astype(np.int64)

    def facts(self) -> str:
        return f"HNSW, float32, M {M}, efConstruction {EF_CONSTRUCTION}, ef {self.effort}"


class Usearch(System):
    efforts = EFFORTS
    needs = "usearch"
    dtype: ClassVar[str] = "f32"

    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None:
        from usearch.index import Index

        index = Index(ndim=texts.shape[1], metric="ip", dtype=self.dtype, connectivity=M,
                      expansion_add=EF_CONSTRUCTION)
        for block in blocks():
            index.add(np.arange(len(index), len(index) + len(block)), block)
        index.save(str(self.path / "index.usearch"))

    def open(self) -> None:
        from usearch.index import Index

        self._index: Any = Index.restore(str(self.path / "index.usearch"))

    def search(self, queries: Vectors) -> Ids:
        self._index.expansion_search = max(self.effort, K)
        keys = np.asarray(self._index.search(queries, K, threads=1).keys)
        return keys.reshape(len(queries), -1).astype(np.int64)

    def facts(self) -> str:
        return f"HNSW, {self.dtype}, M {M}, efConstruction {EF_CONSTRUCTION}, ef {self.effort}"


class UsearchHalf(Usearch):
    dtype = "f16"


class Numpy(System):
    """One matrix product and a partial sort: the peer of last resort."""

    def build(self, size: int, blocks: Blocks, texts: Vectors) -> None:
        shape = size, texts.shape[1]
        fill(np.lib.format.open_memmap(self.path / "vectors.npy", "w+", np.float32, shape),
             blocks())

    def open(self) -> None:
        self._vectors = np.load(self.path / "vectors.npy")

    def search(self, queries: Vectors) -> Ids:
        parts = range(0, len(queries), 100)  # scores of more would not fit the memory at 1M
        return np.concatenate([best(queries[at : at + 100] @ self._vectors.T) for at in parts])

    def facts(self) -> str:
        return "exact, float32"


def fill(file: np.memmap[Any, Any], parts: Iterator[Vectors]) -> None:
    at = 0
    for part in parts:
        file[at : at + len(part)] = part
        at += len(part)
    file.flush()


def best(scores: Vectors) -> Ids:
    """The columns of the K highest scores in each row, the best first."""
    columns = np.argpartition(-scores, K - 1, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)
