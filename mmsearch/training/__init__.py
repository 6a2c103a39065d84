"""Learn: projection heads on pairs of pictures and captions.

May import evaluation and every room below.
"""

from mmsearch.training import trainer

__all__ = ["trainer"]
