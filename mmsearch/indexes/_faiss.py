"""The one place that imports FAISS, and sets what must be set before and after."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from threading import local
from types import ModuleType
from typing import Any

from mmsearch.errors import MissingExtra, MmsearchError

_NEARLY_FULL = 1 << 20
_WORTH_THREADS = 20_000
_PROCESS = os.getpid()
_BUILDS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")


@lru_cache(maxsize=1)
def load_faiss() -> ModuleType:
    """FAISS, ready to use.

    Raises:
        MissingExtra: no FAISS build is installed.
        MmsearchError: two builds are installed over each other (they share one directory).
    """
    import numpy as np  # noqa: F401  (before the next line: numpy brings a BLAS of its own)

    _choose_blas_kernels()
    # Else threads that are done spin until the last is: on cores that something else needs, a
    # batch of 8 over 100,000 rows took 800 ms in place of 100.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import faiss
    except ImportError as error:
        raise MissingExtra("searching", "cpu") from error
    if not hasattr(faiss, "IndexFlatIP"):
        raise _two_builds()
    # The default keeps batches of 2 to 249 queries off BLAS: 4 to 10 times slower at 512 dims.
    faiss.cvar.distance_compute_blas_threshold = 1024
    return faiss


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """Searches of this thread share their work among so many threads at most. For who makes as many
    searches at once as there are cores: threads of one search wait for each other, spinning, and
    for the cores that the other searches hold."""
    before = getattr(_LIMIT, "count", None)
    _LIMIT.count = count
    try:
        yield
    finally:
        _LIMIT.count = before


_LIMIT = local()


@contextmanager
def threads(distances: int) -> Iterator[None]:
    """As many threads as so many distances are worth: waking them up costs more than a few.

    Other libraries of this process, torch for one, share the setting: it is put back.
    """
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    most = min(_most_threads(), getattr(_LIMIT, "count", None) or sys.maxsize)
    faiss.omp_set_num_threads(1 if distances < _WORTH_THREADS else most)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@lru_cache(maxsize=1)
def _most_threads() -> int:
    """The cores this process may use. Never more than OMP_THREAD_LIMIT: fast-scan searches of FAISS
    1.15.1 then wait for ever; as they do for threads of a parent that a fork left behind."""
    if os.getpid() != _PROCESS:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [os.environ.get(name, "") for name in ("OMP_THREAD_LIMIT", "OMP_NUM_THREADS")]
    return max(1, min([cores or 1, *(int(limit) for limit in limits if limit.isdecimal())]))


def write_index(index: Any, path: Path) -> None:
    """Write an index file; what FAISS reports as a RuntimeError becomes the OSError that it is."""
    try:
        load_faiss().write_index(index, str(path))
    except RuntimeError as error:
        full = shutil.disk_usage(path.parent).free < _NEARLY_FULL
        code = errno.ENOSPC if full else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def _two_builds() -> MmsearchError:
    found = [name for name in _BUILDS if _installed(name)]
    return MmsearchError(
        f"FAISS is broken ({' and '.join(found) or 'no build'} installed into one directory); "
        f"run: pip uninstall -y {' '.join(_BUILDS)} && pip install 'mmsearch[cpu]'")


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _choose_blas_kernels() -> None:
    """The OpenBLAS inside the wheel is of 2021 and takes slow kernels on CPUs it does not know."""
    if sys.platform != "linux" or "OPENBLAS_CORETYPE" in os.environ:
        return
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8").partition("\nflags")[2].partition("\n")[0]
    except OSError:
        return
    has = set(flags.split())
    if has >= {"avx512f", "avx512bw", "avx512dq", "avx512vl"}:
        os.environ["OPENBLAS_CORETYPE"] = "SKYLAKEX"
    elif "avx2" in has:
        os.environ["OPENBLAS_CORETYPE"] = "HASWELL"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_most_threads.cache_clear)
