"""Where items and their bytes come from: folders, manifests, archives, addresses.

May import metadata and the ground floor.
"""

from mmsearch.sources import locate
from mmsearch.sources.describe import Described, described, is_own_caption
from mmsearch.sources.folders import Walk, is_wanted, iter_items
from mmsearch.sources.locate import uri_of
from mmsearch.sources.manifests import MANIFEST_SUFFIXES, BadRow, Row, read_rows
from mmsearch.sources.scan import Scan, Skipped, identity_of
from mmsearch.sources.sidecars import is_sidecar, of_sidecars, own, unread, with_those_of
from mmsearch.sources.texts import MAX_TEXT, pieces
from mmsearch.sources.vector_files import query_vector
from mmsearch.sources.vector_sets import (
    EXPORT,
    EXPORT_FORMAT,
    EXPORTED,
    IMPORTED,
    Part,
    VectorSet,
    find_vectors,
)
from mmsearch.sources.web import Fetch, fetching

__all__ = [
    "EXPORT", "EXPORTED", "EXPORT_FORMAT", "IMPORTED", "MANIFEST_SUFFIXES", "MAX_TEXT",
    "BadRow", "Described", "Fetch", "Part", "Row", "Scan", "Skipped", "VectorSet", "Walk",
    "described", "fetching", "find_vectors", "identity_of", "is_own_caption", "is_sidecar",
    "is_wanted", "iter_items", "locate", "of_sidecars", "own", "pieces", "query_vector",
    "read_rows", "unread", "uri_of", "with_those_of",
]
