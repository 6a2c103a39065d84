from .collection import AddReport as AddReport, Collection as Collection
from .reader import Reader as Reader
from .repair import repair_collection as repair_collection
from .watch import follow as follow
