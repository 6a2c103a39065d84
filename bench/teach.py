"""What `mmsearch teach` gives: made-up names for what a few pictures show, asked for afterwards.

    python bench/teach.py --data DATA --split val

DATA has the folders fashion_products, tuxpaint_stamps and flickr8k, each with pairs.jsonl. A name
("Zorblax") is given to 1, 3 or 5 random pictures of a kind (of product, of stamp) or of what a noun
of captions names; these pictures are then left out of what is searched. Asked for are

    name        the name alone; right is what else is of the kind
    sentence    the name in sentences that say nothing else of note
    colour      "red NAME": products of this kind and colour
    caption     captions of photographs with the name in the place of the noun; right is the picture

with and without a word for what it is (--is). Beside that: not taught at all, the plain mean of the
pictures as a query, and the words that the model knows ("red shirts"). Each figure is R@1 / R@10 /
mAP, in per cent, over all names and draws.
"""

from __future__ import annotations

import json
import random
import re
from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measure import arguments, machine, table, write_json

from mmsearch import load_encoder
from mmsearch.encoders import Encoder
from mmsearch.media import decode
from mmsearch.metrics import best_ranks, mean_average_precision, recall_at
from mmsearch.records import Vectors
from mmsearch.search.compose import TextVectors
from mmsearch.search.names import STRENGTH, Names
from mmsearch.search.relevance import kept_calibration
from mmsearch.storage import TaughtPicture

NAME = "Zorblax"
SENTENCES = ("a photo of {}", "{} on a white background", "two {}", "my {}",
             "a picture of the {} in the shop")
NOUNS = ("dog", "boy", "girl", "bike bicycle", "horse", "skateboard", "snowboard", "surfer",
         "motorcycle", "baby", "ball", "bird", "kayak", "guitar", "car", "mountain", "umbrella",
         "pool", "beach", "hat", "football", "bench", "fountain", "tree", "boat")
KINDS = {"shirts": "shirt", "tshirts": "t-shirt"}  # articleType -> a word that one would use
COUNTS = (1, 3, 5)
