"""The handle with the verbs of the command line.

May import every room below.
"""

from mmsearch.collection.collection import AddReport, Collection
from mmsearch.collection.reader import Reader
from mmsearch.collection.repair import repair_collection
from mmsearch.collection.watch import follow

__all__ = ["AddReport", "Collection", "Reader", "follow", "repair_collection"]
