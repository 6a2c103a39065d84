from . import locate as locate
from .describe import (
    Described as Described,
    described as described,
    is_own_caption as is_own_caption,
)
from .folders import Walk as Walk, is_wanted as is_wanted, iter_items as iter_items
from .indexed import open_indexed as open_indexed, source_of as source_of
from .locate import uri_of as uri_of
from .manifests import (
    MANIFEST_SUFFIXES as MANIFEST_SUFFIXES,
    BadRow as BadRow,
    Row as Row,
    read_rows as read_rows,
)
from .scan import Scan as Scan, Skipped as Skipped, identity_of as identity_of
from .sidecars import (
    brought_up as brought_up,
    is_sidecar as is_sidecar,
    own_fingerprint as own_fingerprint,
    sidecar_marks as sidecar_marks,
    unread_fingerprint as unread_fingerprint,
    with_sidecars_of as with_sidecars_of,
)
from .texts import MAX_TEXT as MAX_TEXT, text_items as text_items, text_pieces as text_pieces
from .vector_files import query_vector as query_vector
from .vector_sets import (
    EXPORT as EXPORT,
    EXPORT_FORMAT as EXPORT_FORMAT,
    EXPORTED as EXPORTED,
    IMPORTED as IMPORTED,
    Part as Part,
    VectorSet as VectorSet,
    find_vectors as find_vectors,
)
from .web import Fetch as Fetch, NotPublic as NotPublic, fetched as fetched, fetching as fetching
