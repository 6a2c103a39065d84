from . import upkeep as upkeep
from .archive_memory import (
    known_fingerprint as known_fingerprint,
    remember as remember,
    remembered as remembered,
)
from .changes import Changes as Changes
from .hashes import content_hash as content_hash
from .keeping import (
    check_reranker as check_reranker,
    drop_dead_places as drop_dead_places,
    places_writer as places_writer,
)
from .plan import Planner as Planner
from .shards import (
    Built as Built,
    Shard as Shard,
    build_shard as build_shard,
    encode_shard as encode_shard,
)
from .shared import settle_captions as settle_captions
from .vanished import items_vanished as items_vanished
from .vectors import check_maker as check_maker, import_vectors as import_vectors, maker as maker
from .work import (
    COMMIT_SECONDS as COMMIT_SECONDS,
    FIRST_SHARD as FIRST_SHARD,
    LARGEST as LARGEST,
    Work as Work,
)
