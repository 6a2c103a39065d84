from .choice import Choice as Choice, choices as choices
from .external import EXTERNAL as EXTERNAL, ExternalEncoder as ExternalEncoder, ready as ready
from .hub import before_download as before_download, cache_directory as cache_directory
from .hubness import Hubness as Hubness
from .int8 import replace_nodes as replace_nodes
from .known import Known as Known, known_models as known_models
from .load import (
    BUILTIN as BUILTIN,
    BUILTIN_DIR as BUILTIN_DIR,
    absolute_name as absolute_name,
    load_encoder as load_encoder,
    pinned_name as pinned_name,
)
from .multilingual import for_queries as for_queries, lacks_package as lacks_package
from .onnx import OnnxEncoder as OnnxEncoder
from .openclip import OpenClipEncoder as OpenClipEncoder, is_openclips as is_openclips
from .precision import split_precision as split_precision
from .protocol import Encoder as Encoder, encode_queries as encode_queries, spelled as spelled
from .reranker import Reranker as Reranker, reads as reads, reranker_of as reranker_of
