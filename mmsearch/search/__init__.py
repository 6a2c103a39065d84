"""A query to hits: compose, search, rank, tell how likely a hit is.

May import every room from metadata to ingest.
"""

from mmsearch.search.compose import composed, share_of_images, unit
from mmsearch.search.duplicates import Duplicates, Group, Member, find_duplicates
from mmsearch.search.pipeline import KINDS, TEXT_WEIGHT, Query, has_value, nearest, search
from mmsearch.search.relevance import Ruler, kept_ruler, ruler_of

__all__ = [
    "KINDS", "TEXT_WEIGHT", "Duplicates", "Group", "Member", "Query", "Ruler", "composed",
    "find_duplicates", "has_value", "kept_ruler", "nearest", "ruler_of", "search",
    "share_of_images", "unit",
]
