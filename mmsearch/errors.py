"""The errors that mmsearch raises on purpose.

    MmsearchError               one clear sentence: what, where, what to do next   exit code 1
    ├── UsageError              the call itself is wrong                           exit code 2
    │   └── FilterError         a --where condition that cannot be read
    ├── MissingExtra            an optional dependency is not installed
    ├── GpuUnavailable          a GPU was asked for, and there is none, or it is too small
    ├── MediaError              one file cannot be decoded; a run skips it and goes on
    │   ├── MissingDecoder      because an extra is not installed: a MissingExtra, too
    │   └── FileChanged         it is no longer what was indexed
    ├── ModelError              a model cannot be found, loaded or exported
    │   └── EncoderMismatch     a collection was made by another model
    └── CollectionError         something about a collection on disk
        ├── CollectionNotFound
        ├── ItemNotFound        it has no item of this id
        ├── CollectionBusy      another process is writing to it
        └── CollectionDamaged   a file is missing, cut short or altered
"""

from __future__ import annotations


class MmsearchError(Exception):
    """Base of everything below; the command line prints its text and nothing else."""

    exit_code = 1


class UsageError(MmsearchError):
    exit_code = 2


class FilterError(UsageError):
    pass


class MissingExtra(MmsearchError):
    """instead: what can be done without it, as an order."""

    def __init__(self, feature: str, extra: str, instead: str = "") -> None:
        super().__init__(f"{feature} needs an extra: pip install 'mmsearch[{extra}]'"
                         f"{instead and f'; or {instead}'}")
        self.extra = extra


class GpuUnavailable(MmsearchError):
    pass


class MediaError(MmsearchError):
    pass


class MissingDecoder(MissingExtra, MediaError):
    pass


class FileChanged(MediaError):
    pass


class ModelError(MmsearchError):
    pass


class EncoderMismatch(ModelError):
    pass


class CollectionError(MmsearchError):
    pass


class CollectionNotFound(CollectionError):
    pass


def no_collection(path: object) -> CollectionNotFound:
    return CollectionNotFound(f"{path} holds no collection; make one with `mmsearch index PATH`, "
                              "or give its directory with -i")


class ItemNotFound(CollectionError):
    pass


class CollectionBusy(CollectionError):
    pass


class CollectionDamaged(CollectionError):
    pass
