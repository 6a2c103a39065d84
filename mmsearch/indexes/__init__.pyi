from . import gpu as gpu, kinds as kinds
from ._faiss import at_most as at_most
from .approximate import ApproximateIndex as ApproximateIndex
from .build import (
    Blocks as Blocks,
    VectorIndex as VectorIndex,
    build_index as build_index,
    check_builder as check_builder,
    load_index as load_index,
)
from .exact import ExactIndex as ExactIndex
from .flatfile import write_flat as write_flat
from .fusion import (
    nothing as nothing,
    reciprocal_rank as reciprocal_rank,
    top_k as top_k,
    weighted_scores as weighted_scores,
)
from .gpu import on_device as on_device
from .kinds import (
    DEFAULT_RECALL as DEFAULT_RECALL,
    KINDS as KINDS,
    Device as Device,
    choose_spec as choose_spec,
)
from .rescored import RescoredIndex as RescoredIndex, few as few
from .tune import tune_index as tune_index
