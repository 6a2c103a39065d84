"""Pictures and texts to unit vectors of one space; `load_encoder` finds an encoder by name.

May import media and the ground floor.
"""

from mmsearch.encoders.exported import cache_directory
from mmsearch.encoders.external import EXTERNAL, ExternalEncoder, ready
from mmsearch.encoders.known import Known, known_models
from mmsearch.encoders.load import BUILTIN, BUILTIN_DIR, absolute_name, load_encoder
from mmsearch.encoders.multilingual import Multilingual
from mmsearch.encoders.onnx import OnnxEncoder
from mmsearch.encoders.precision import split_precision
from mmsearch.encoders.protocol import Encoder

__all__ = [
    "BUILTIN", "BUILTIN_DIR", "EXTERNAL", "Encoder", "ExternalEncoder", "Known", "Multilingual",
    "OnnxEncoder", "absolute_name", "cache_directory", "known_models", "load_encoder", "ready",
    "split_precision",
]
