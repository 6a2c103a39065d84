"""What is on disk, and THE commit: catalog, segments, lock.

May import indexes and the ground floor.
"""

from mmsearch.storage import integrity, wal
from mmsearch.storage.catalog import CATALOG, Catalog, Change
from mmsearch.storage.filters import FIELDS, Condition, parse_where
from mmsearch.storage.lock import HOLDER, LOCK, writer_lock
from mmsearch.storage.open_segments import Opened, directory
from mmsearch.storage.rows import Row
from mmsearch.storage.schema import open_to_write
from mmsearch.storage.segments import (
    MANIFEST,
    TEMPORARY,
    Ann,
    Segment,
    Tuner,
    describe,
    description,
    remove,
    retune_ann,
    segment_name,
    sha256_of,
    sync,
    tuning_of,
    write_ann,
    write_segment,
)
from mmsearch.storage.verify import (
    check_catalog,
    find_problems,
    reason_of,
    vector_ids,
    verify_directory,
)

__all__ = [
    "CATALOG", "FIELDS", "HOLDER", "LOCK", "MANIFEST", "TEMPORARY", "Ann", "Catalog", "Change",
    "Condition", "Opened", "Row", "Segment", "Tuner", "check_catalog", "describe",
    "description", "directory", "find_problems", "integrity", "open_to_write", "parse_where",
    "reason_of", "remove", "retune_ann", "segment_name", "sha256_of", "sync", "tuning_of",
    "vector_ids", "verify_directory", "wal", "write_ann", "write_segment", "writer_lock",
]
