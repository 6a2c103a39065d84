from . import integrity as integrity, wal as wal
from .catalog import CATALOG as CATALOG, Catalog as Catalog, Change as Change
from .conditions import COLUMNS as COLUMNS, Condition as Condition
from .filters import parse_where as parse_where
from .lock import HOLDER as HOLDER, LOCK as LOCK, writer_lock as writer_lock
from .open_segments import Opened as Opened, directory as directory
from .rows import Row as Row
from .schema import open_to_write as open_to_write
from .segments import (
    MANIFEST as MANIFEST,
    TEMPORARY as TEMPORARY,
    Ann as Ann,
    Segment as Segment,
    Tuner as Tuner,
    describe as describe,
    description as description,
    remove as remove,
    retune_ann as retune_ann,
    segment_name as segment_name,
    sha256_of as sha256_of,
    sync as sync,
    tuning_of as tuning_of,
    write_ann as write_ann,
    write_segment as write_segment,
)
from .verify import (
    check_catalog as check_catalog,
    find_problems as find_problems,
    reason_of as reason_of,
    vector_ids as vector_ids,
    verify_directory as verify_directory,
)
