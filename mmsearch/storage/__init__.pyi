from .browse import Facet as Facet, Page as Page, Wanted as Wanted
from .catalog import (
    CATALOG as CATALOG,
    Catalog as Catalog,
    Change as Change,
    create_catalog as create_catalog,
)
from .conditions import COLUMNS as COLUMNS, Condition as Condition
from .filters import parse_where as parse_where
from .labels import Labelled as Labelled
from .lock import HOLDER as HOLDER, LOCK as LOCK, writer_lock as writer_lock
from .open_segments import Files as Files, Opened as Opened, directory as directory
from .places import (
    PlacesWriter as PlacesWriter,
    check_places as check_places,
    places_facts as places_facts,
    prune_places as prune_places,
    remove_places as remove_places,
    stored_places as stored_places,
)
from .rows import Row as Row
from .salvage import salvage_catalog as salvage_catalog, salvage_segment as salvage_segment
from .segments import (
    TEMPORARY as TEMPORARY,
    UNREADABLE as UNREADABLE,
    Ann as Ann,
    Segment as Segment,
    Tuner as Tuner,
    describe as describe,
    remove as remove,
    retune_ann as retune_ann,
    segment_name as segment_name,
    stated as stated,
    sync as sync,
    tuning_of as tuning_of,
    verify_directory as verify_directory,
    write_ann as write_ann,
    write_segment as write_segment,
    written_whole as written_whole,
)
from .sqlite_errors import damaged as damaged
from .taught import TaughtPicture as TaughtPicture, key_of as key_of
from .verify import (
    check_catalog as check_catalog,
    find_problems as find_problems,
    strays as strays,
    without_vector as without_vector,
)
