"""What a collection keeps of a classification: sets of labels, as fields of its items."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager

from mmsearch.errors import UsageError
from mmsearch.storage import Catalog, Labelled

_NAME = re.compile(r"[\w.-]{1,64}")


class Labelling(ABC):
    """The part of `Collection` that writes labels."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Catalog]: ...

    def put_labels(self, name: str, labels: Iterable[Labelled]) -> int:
        """Write labels as the fields `label:NAME` and `confidence:NAME`, in one transaction; items
        that have none of them lose what they had in this set, others keep it. -> how many have one.

        Raises:
            UsageError: no name of a set.
            CollectionBusy: another process is writing.
        """
        with self._writing() as catalog:
            return catalog.put_labels(checked_name(name), labels)

    def drop_labels(self, name: str) -> int:
        """Remove a set of labels; -> how many items had one.

        Raises: as `put_labels`.
        """
        with self._writing() as catalog:
            return catalog.drop_labels(checked_name(name))


def checked_name(name: str) -> str:
    """UsageError: not the name of a set of labels."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"the name of a set of labels has letters, digits, _ . and - only (64 at "
                         f"most), not {name!r}")
    return name
