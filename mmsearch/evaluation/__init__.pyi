from .recall import Pair as Pair, Report as Report, load_pairs as load_pairs
from .retrieval import evaluate_collection as evaluate_collection, evaluate_model as evaluate_model
