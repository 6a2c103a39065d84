from .comparison import Difference as Difference, compare as compare
from .pairs import Pair as Pair, load_pairs as load_pairs
from .recall import Direction as Direction, Report as Report
from .retrieval import (
    Evaluation as Evaluation,
    How as How,
    evaluate_collection as evaluate_collection,
    evaluate_model as evaluate_model,
)
