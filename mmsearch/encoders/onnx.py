"""The torch-free runtime: a model directory (model.json beside ONNX files) on ONNX Runtime.

The token table of the text tower is not part of its graph: it is a float16 file, memory-mapped,
of which a query touches a few rows. That keeps a cold query fast and small.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.cleaning import CLEANERS
from mmsearch.encoders.hubness import Hubness
from mmsearch.encoders.names import Names
from mmsearch.encoders.protocol import stacked
from mmsearch.encoders.reranker import Reranker
from mmsearch.encoders.spelling import Spelling
from mmsearch.errors import ModelError
from mmsearch.records import Pixels, Vectors

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, RunOptions
    from PIL.Image import Image

    from mmsearch.encoders.protocol import Picture

FORMAT = 1
_VECTORS = ("embedding", "image_embeds", "text_embeds", "pooler_output")
"""What graphs call the vectors that they give; the first is ours."""
_TAKES = {"text": "ids", "input_ids": "ids", "attention_mask": "mask"}
"""What others call what text graphs take."""
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8,
          "tensor(int64)": np.int64, "tensor(int32)": np.int32}


class OnnxEncoder:
    """An `Encoder` over a model directory. Text beyond `max_tokens` tokens is not seen.

    pinned: the name by which the very same files are found again, where the model came from a hub.

    Every run of a graph takes one core, and as many run at once as there are cores: threads within
    a run spend half their time waiting for each other.
    """

    workers = os.cpu_count() or 1

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._spec = _read_spec(directory)
        self.batch = int(self._spec["image"].get("batch", 4))
        self.dim = int(self._spec["dim"])
        self.min_side = int(self._spec["image"]["size"])
        self.max_tokens = int(self._spec["max_tokens"])
        self.pinned = str(self._spec.get("pinned", ""))
        digest = "".join(self._spec["sha256"][name] for name in sorted(self._spec["sha256"]))
        # An export makes the vectors of the model it was made from, whatever its files are.
        self.name = self._spec.get("encoder") or \
            f"{self._spec['name']}@{hashlib.sha256(digest.encode()).hexdigest()[:12]}"

    def graph(self, side: str) -> Path:
        """Where the ONNX graph of the side "image" or "text" is."""
        return self.directory / str(self._spec[side]["file"])

    def prepare(self, image: Image) -> Pixels:
        from PIL.Image import Resampling

        from mmsearch.media import fit

        how = self._spec["image"]
        return fit(image, self.min_side, resize=how["resize"],
                   resample=Resampling[how["interpolation"].upper()])

    def encode_images(self, images: Sequence[Picture]) -> Vectors:
        return self.encode_images_also(images, "features")[0]

    def encode_images_also(self, images: Sequence[Picture], also: str) -> tuple[Vectors, Vectors]:
        """Pictures encoded, and what else `run_images` gives of them."""
        vectors, other = self.run_images(images, also)
        return self._hubness.pictures(vectors) if self._hubness else vectors, other

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        vectors = self.run_texts(texts)[0]
        return self._hubness.texts(vectors) if self._hubness else vectors

    def encode_queries(self, texts: Sequence[str], *, spelling: bool = True
                       ) -> tuple[Vectors, Vectors]:
        """Texts, spelled right, as queries for pictures, which names in them move (see
        `encoders.names`), and as queries for texts."""
        right = [self.corrected(text) for text in texts] if spelling else texts
        if self._names and texts:
            moved, plain = self._names.queries(right, self.run_texts)
        else:
            moved = plain = self.run_texts(right)[0]
        if not self._hubness:
            return moved, plain
        return self._hubness.queries(moved), self._hubness.queries(plain)

    def corrected(self, text: str) -> str:
        """A query as it is encoded: see `encoders.spelling`."""
        return self._spelling.corrected(text) if self._spelling else text

    def knows(self, text: str) -> bool:
        """Whether any word of a text is an English one, as far as the model knows."""
        return self._spelling is None or self._spelling.knows(text)

    def run_images(self, images: Sequence[Picture], also: str = "features"
                   ) -> tuple[Vectors, Vectors]:
        """-> embeddings [n, dim] and another output of the tower, both float32: its pooled features
        [n, F]; or "places", see `encoders.reranker`."""
        parts = [images[at : at + self.batch] for at in range(0, len(images), self.batch)]
        return self._each(self._image_session, self._pixels, parts, also)

    def _pixels(self, part: Sequence[Picture]) -> dict[str, Any]:
        """What the image graph takes: uint8 pixels, or what the model makes of them where its graph
        leaves that to us."""
        pixels: Any = stacked(self, part)
        takes, how = self._image_session.get_inputs()[0], self._spec["image"]
        if takes.shape[1] == 3:
            pixels = pixels.transpose(0, 3, 1, 2)
        if (kind := _TYPES[takes.type]) is not np.uint8:
            mean, std = (np.array(how[key], np.float32).reshape(-1, 1, 1)
                         for key in ("mean", "std"))
            pixels = ((pixels / np.float32(255) - mean) / std).astype(kind, copy=False)
        return {takes.name: np.ascontiguousarray(pixels)}

    def run_texts(self, texts: Sequence[str], also: str = "features") -> tuple[Vectors, Vectors]:
        """-> embeddings [n, dim] and another output of the tower, both float32: its pooled features
        [n, F]; or, of one text, the "states" of its tokens [1, T, F].

        Texts of nearly one length share a run, where the model says how many may ("batch"). Where
        int8 activations are scaled over all of a run, as in exports, it takes one text at a time:
        its vector would depend on its neighbours (cosine 0.98 to itself).
        """
        cut = self.cut(texts) if texts else []
        takes = {one.name: _TYPES[one.type] for one in self._text_session.get_inputs()} \
            if texts else {}
        known = {_TAKES.get(name, name) for name in takes}
        pad = self._spec["text"].get("pad", {})
        most = min(int(self._spec["text"].get("batch", 1)), -(-len(cut) // self.workers))
        parts = alike([len(ids) for ids in cut], most, padding=0.5 if "mask" in known else 0)

        def inputs(part: list[int]) -> dict[str, Any]:
            shape = len(part), max(pad.get("to", 0), *(len(cut[n]) for n in part))
            ids, mask = np.full(shape, pad.get("id", 0)), np.zeros(shape, np.int64)
            for row, n in enumerate(part):
                ids[row, : len(cut[n])], mask[row, : len(cut[n])] = cut[n], 1
            every = {"ids": ids, "mask": mask}
            if "tokens" in known:
                every["tokens"] = self.table[ids]
            return {name: every[_TAKES.get(name, name)].astype(kind, copy=False)
                    for name, kind in takes.items()}

        back = np.argsort([n for part in parts for n in part])
        vectors, features = self._each(self._text_session, inputs, parts, also)
        return vectors[back], features[back]

    def cut(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts -> the numbers of their tokens, which are rows of the token table."""
        how = self._spec["text"]
        clean = CLEANERS[how.get("clean", "")]
        found = [one.ids for one in self._tokenizer.encode_batch([clean(text) for text in texts])]
        if (zeroed := how.get("zeroed")) is not None:
            found = [[0 if number == zeroed else number for number in ids] for ids in found]
        return found

    def _each(self, session: InferenceSession, inputs: Callable[[Any], dict[str, Any]],
              parts: Sequence[Any], also: str) -> tuple[Vectors, Vectors]:
        """Run a graph on every part, on all cores when there are several."""
        def run(part: Any) -> Any:
            return session.run(outputs, inputs(part), _only_what_is_asked_for())

        gives = [one.name for one in session.get_outputs()]
        vectors = next((name for name in _VECTORS if name in gives), gives[0])
        # Only what `mmsearch train` starts from gives its features too.
        outputs = [vectors, also if also in gives else vectors]

        if not parts:
            return np.zeros((0, self.dim), np.float32), np.zeros((0, 0), np.float32)
        if len(parts) == 1:
            done = [run(parts[0])]
        else:
            with ThreadPoolExecutor(self.workers) as pool:
                done = list(pool.map(run, parts))
        found, features = (np.concatenate([d[n] for d in done]) for n in (0, 1))
        if self._spec.get("normalize"):
            found = found.astype(np.float32)
            found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found, features

    @cached_property
    def reranker(self) -> Reranker | None:
        settings = self._spec.get("rerank")
        return settings and Reranker(
            self, _session(self.directory / settings["file"]), float(settings["weight"]),
            str(self._spec["sha256"][self._spec["image"]["file"]])[:12])

    @cached_property
    def _image_session(self) -> InferenceSession:
        return _session(self.graph("image"))

    @cached_property
    def _text_session(self) -> InferenceSession:
        return _session(self.graph("text"))

    @cached_property
    def _names(self) -> Names | None:
        if (settings := self._spec.get("names")) is None:
            return None
        path = self.directory / settings["file"]
        try:
            return Names(path, settings)
        except (OSError, EOFError, ValueError, LookupError) as error:
            raise _damaged(path, error) from error

    @cached_property
    def _hubness(self) -> Hubness | None:
        settings = self._spec.get("hubness")
        return Hubness(self.directory / settings["file"], settings) if settings else None

    @cached_property
    def _spelling(self) -> Spelling | None:
        if self._names is None or "spelling" not in self._spec:
            return None
        names = {word for name in self._names.table["word"] for word in name.decode().split()}
        return Spelling(names, self._tokenizer.token_to_id, lambda: self._words)

    @cached_property
    def _words(self) -> frozenset[str]:
        """20 ms."""
        path = self.directory / self._spec["spelling"]["file"]
        try:
            if words := frozenset(gzip.decompress(path.read_bytes()).decode().split()):
                return words
            raise ValueError("it is empty")
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise _damaged(path, error) from error

    @cached_property
    def table(self) -> np.ndarray[Any, np.dtype[np.float16]]:
        """A row for each token, [tokens, width]."""
        path = self.directory / self._spec["text"]["tokens"]
        try:
            table: np.ndarray[Any, np.dtype[np.float16]] = np.load(path, mmap_mode="r")
        except (OSError, EOFError, ValueError) as error:
            raise _damaged(path, error) from error
        return table

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        path = self.directory / self._spec["text"]["tokenizer"]
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust side raises bare Exception
            raise _damaged(path, error) from error
        if tokenizer.truncation is None:  # the file of an export says it, and how texts are padded
            tokenizer.enable_truncation(self.max_tokens)
        return tokenizer


def alike(lengths: Sequence[int], most: int, padding: float) -> list[list[int]]:
    """The numbers of all lengths, sorted into parts of `most` at most, in which none exceeds the
    least by more than that share."""
    parts: list[list[int]] = []
    for n in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        if parts and len(parts[-1]) < most and \
                lengths[n] <= (1 + padding) * lengths[parts[-1][0]]:
            parts[-1].append(n)
        else:
            parts.append([n])
    return parts


def _read_spec(directory: Path) -> dict[str, Any]:
    path = directory / "model.json"
    try:
        spec: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if spec["format"] != FORMAT:
            raise ModelError(f"{path} has format {spec['format']}, this version reads {FORMAT}; "
                             "upgrade mmsearch")
        text = spec["text"]
        for part in (spec["image"]["file"], text["file"], text.get("tokens", ""), text["tokenizer"],
                     *(spec.get(part, text)["file"] for part in ("names", "hubness", "spelling",
                                                              "rerank"))):
            if Path(part).is_absolute() or ".." in Path(part).parts:
                raise ModelError(f"{path} names a file outside its directory: {part}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    return spec


def _session(path: Path) -> InferenceSession:
    # It would write to the home directory and call home from long-lived processes; the call that
    # turns that off comes too late for the files.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    providers = _providers(onnxruntime.get_available_providers())
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's own errors share no base class
        raise _damaged(path, error) from error


def _only_what_is_asked_for() -> RunOptions:
    """Leaves out the parts of a graph that nobody wants the output of."""
    from onnxruntime import RunOptions

    options = RunOptions()
    options.only_execute_path_to_fetches = True
    return options


def _providers(available: Sequence[str]) -> list[str]:
    """What runs the graphs: the CPU, or what MMSEARCH_PROVIDERS names, first come first served.

    Raises:
        ModelError: it names one that this build of ONNX Runtime has not.
    """
    named = os.environ.get("MMSEARCH_PROVIDERS", "CPU").replace(",", " ").split()
    wanted = [name if name.endswith("ExecutionProvider") else f"{name}ExecutionProvider"
              for name in named]
    if missing := [name for name in wanted if name not in available]:
        raise ModelError(f"MMSEARCH_PROVIDERS names {missing[0]}, which this ONNX Runtime does not "
                         f"have; it has {', '.join(available)}")
    return wanted


def _damaged(path: Path, error: Exception) -> ModelError:
    directory = next((one for one in path.parents if (one / "model.json").is_file()), path.parent)
    return ModelError(f"{path} cannot be loaded ({str(error).splitlines()[0]}); "
                      f"if that is an export in the cache, delete {directory}: it is made again; "
                      "else reinstall mmsearch, or point --model at a sound model directory")

