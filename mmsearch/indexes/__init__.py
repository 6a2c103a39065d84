"""k-NN over vectors, all through FAISS; and the merging of results.

An index is built once and never changed: adding to a memory-mapped one aborts the process.

May import the ground floor.
"""

from mmsearch.indexes import gpu, kinds
from mmsearch.indexes.approximate import ApproximateIndex
from mmsearch.indexes.build import Blocks, VectorIndex, build_index, check_builder, load_index
from mmsearch.indexes.exact import ExactIndex
from mmsearch.indexes.flatfile import write_flat
from mmsearch.indexes.fusion import nothing, reciprocal_rank, top_k, weighted_scores
from mmsearch.indexes.gpu import on_device
from mmsearch.indexes.kinds import DEFAULT_RECALL, KINDS, Device, choose_spec
from mmsearch.indexes.rescored import RescoredIndex, few
from mmsearch.indexes.tune import tune_index

__all__ = [
    "DEFAULT_RECALL", "KINDS", "ApproximateIndex", "Blocks", "Device",
    "ExactIndex", "RescoredIndex", "VectorIndex", "build_index", "check_builder", "choose_spec",
    "few", "gpu", "kinds", "load_index", "nothing", "on_device", "reciprocal_rank", "top_k",
    "tune_index", "weighted_scores", "write_flat",
]
