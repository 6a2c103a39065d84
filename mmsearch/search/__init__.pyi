from .compose import (
    Embedded as Embedded,
    TextVectors as TextVectors,
    asked_of as asked_of,
    example_picture as example_picture,
    share_of_images as share_of_images,
)
from .duplicates import (
    Duplicates as Duplicates,
    Group as Group,
    Member as Member,
    find_duplicates as find_duplicates,
)
from .looks import KINDS as KINDS, Prepared as Prepared, nearest as nearest
from .names import Names as Names
from .pipeline import has_value as has_value, search_many as search_many
from .query import (
    Asked as Asked,
    Find as Find,
    Fusion as Fusion,
    Mode as Mode,
    Query as Query,
    several as several,
    takes_parts_of as takes_parts_of,
)
from .relevance import (
    Calibration as Calibration,
    calibration_of as calibration_of,
    kept_calibration as kept_calibration,
)
from .rerank import Places as Places, candidates as candidates, reranked as reranked
