"""Measure: recall@k of a model or a collection, with intervals.

May import every room below.
"""

from mmsearch.evaluation.recall import Pair, Report, load_pairs, splits
from mmsearch.evaluation.retrieval import evaluate_collection, evaluate_model

__all__ = ["Pair", "Report", "evaluate_collection", "evaluate_model", "load_pairs", "splits"]
