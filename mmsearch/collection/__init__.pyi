from .collection import Collection as Collection
from .labelling import checked_name as checked_name
from .reader import Reader as Reader
from .repair import repair_collection as repair_collection
from .report import AddReport as AddReport, Reindexed as Reindexed
from .watch import follow as follow
