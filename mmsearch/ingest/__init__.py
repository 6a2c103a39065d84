"""Items to segments: what is new, what is encoded, what is merged and dropped.

May import every room from metadata to encoders.
"""

from mmsearch.ingest import upkeep
from mmsearch.ingest.archive_memory import known_fingerprint, remember, remembered
from mmsearch.ingest.changes import Changes
from mmsearch.ingest.plan import LARGEST, Planner, Work
from mmsearch.ingest.shards import Built, Shard, build_shard, content_hash, hash_at, hash_of_file
from mmsearch.ingest.vanished import items_vanished
from mmsearch.ingest.vectors import check_maker, import_vectors, maker

__all__ = [
    "LARGEST", "Built", "Changes", "Planner", "Shard", "Work", "build_shard", "check_maker",
    "content_hash", "hash_at", "hash_of_file", "import_vectors", "items_vanished",
    "known_fingerprint", "maker", "remember", "remembered", "upkeep",
]
