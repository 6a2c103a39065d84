from .clip_benchmark import as_clip_benchmark as as_clip_benchmark
from .comparison import Difference as Difference, compare as compare, moved as moved
from .diagnosis import Diagnosis as Diagnosis, Failure as Failure
from .pairs import Pair as Pair, load_pairs as load_pairs, pairs_in as pairs_in
from .recall import Direction as Direction, Report as Report
from .retrieval import (
    Evaluation as Evaluation,
    How as How,
    evaluate_collection as evaluate_collection,
    evaluate_model as evaluate_model,
)
