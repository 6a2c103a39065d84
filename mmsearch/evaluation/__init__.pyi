from .pairs import Pair as Pair, load_pairs as load_pairs
from .recall import Report as Report
from .retrieval import evaluate_collection as evaluate_collection, evaluate_model as evaluate_model
