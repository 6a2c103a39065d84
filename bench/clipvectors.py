"""Vectors shaped like CLIP's, any number of them, the same on every machine for a seed.

    made = ClipVectors(seed=0)
    made.images(3_000_000, 3_010_000)   # float32 [10000, 512], whatever was made before
    made.texts(0, 1000)                 # queries in words: off the image manifold
    made.held_out(0, 1000)              # queries like the images, that are not among them

An image is a point of a curved manifold of few dimensions, in one of many clusters of very uneven
size (Zipf's law), plus a common direction and a little noise. The manifold is what random Fourier
features (Rahimi & Recht 2007) make of a 16-dimensional mixture of Gaussians: locally of low
dimension, while the whole spreads over hundreds. A text has another common direction, a part of
its own that no image has, and only a part in the space of the images, which itself is somewhere
between a point of the manifold and noise. That modality gap is what makes texts hard to answer: see
bench/README.md for what this was fitted to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmsearch.records import Ids, Vectors

CHUNK = 2048
"""Rows that are made together: a chunk's random numbers depend on the seed and its number alone."""
VERSION = 1
"""Raise it when the same seed makes other vectors."""
_IMAGES, _HELD_OUT, _TEXTS, _WORLD = range(4)
_BYTE_DEVIATION = (256**2 / 12) ** 0.5


@dataclass(frozen=True)
class Shape:
    """What the vectors look like; shares are of squared length."""

    images_cosine: float = 0.51
    """Mean cosine of two images, which share one direction."""
    texts_cosine: float = 0.17
    """Mean cosine of a text and an image."""
    text_inside: float = 0.4
    """Length of a text's part in the space of the images, their common direction apart."""
    text_meant: float = 0.88
    """Share of that part that is a point of the manifold; the rest is noise of its spectrum."""
    text_spread: float = 0.4
    """How far from the middle of a cluster that point is, an image being 1."""
    text_common: float = 0.6
    """Share of what all texts have in common in the part of a text that no image has."""
    noise: float = 0.05
    """Share of noise in an image's own part."""
    latent: int = 24
    """Dimensions of the manifold."""
    latent_decay: float = 0.75
    features: int = 192
    """Dimensions that it is bent into."""
    feature_offset: float = 14.0
    feature_decay: float = 1.0
    """The variance of feature j falls as (j + offset) to the power of -decay."""
    frequency: float = 1.85
    frequency_spread: float = 0.75
    """Median of the features' frequencies, and sigma of their logarithm."""
    clusters: int = 2000
    zipf_offset: float = 4.0
    """Cluster r has a share that falls as 1 / (r + offset)."""
    between: float = 0.65
    """Share of the latent variance that lies between the clusters."""
    cluster_axes: float = 0.4
    cluster_size: float = 0.4
    row_size: float = 0.1
    """Sigmas of logarithms: of the axes of a cluster, of its radius, of a row's own distance."""


class ClipVectors:
    """Reproducible vectors of unit length, float32 [n, dim], of three sorts."""

    def __init__(self, seed: int = 0, dim: int = 512, shape: Shape | None = None) -> None:
        self.seed, self.dim, self.shape = seed, dim, shape or Shape()

    @property
    def key(self) -> str:
        """A name for these vectors, for files made of them."""
        said = f"{VERSION} {self.seed} {self.dim} {self.shape}"
        return f"clip{self.dim}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"

    def images(self, start: int, stop: int) -> Vectors:
        """Images number `start` to `stop`, not included."""
        return self._rows(_IMAGES, start, stop, self._image_chunk)

    def held_out(self, start: int, stop: int) -> Vectors:
        """Images that are none of `images`: queries by example."""
        return self._rows(_HELD_OUT, start, stop, self._image_chunk)

    def texts(self, start: int, stop: int) -> Vectors:
        return self._rows(_TEXTS, start, stop, self._text_chunk)

    def cluster_of(self, start: int, stop: int) -> Ids:
        """The cluster of each image, int64 [stop - start]; large ones have small numbers."""
        parts = [self._world.pick(self._random(_IMAGES, chunk), self._world.image_shares)
                 for chunk in _chunks(start, stop)]
        first = start // CHUNK * CHUNK
        return np.concatenate(parts)[start - first : stop - first].astype(np.int64)

    def affinity(self, queries: Vectors) -> Vectors:
        """How near each query is to the middle of each cluster, float32 [n, clusters]."""
        middles = self._world.bent(self._world.middles)
        middles /= np.linalg.norm(middles, axis=1, keepdims=True)
        near: Vectors = (queries @ self._world.basis.T) @ middles.T
        return near

    @cached_property
    def _world(self) -> _World:
        return _World(self._random(_WORLD, 0), self.dim, self.shape)

    def _random(self, stream: int, chunk: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream, chunk])

    def _rows(self, stream: int, start: int, stop: int,
              make: Callable[[np.random.Generator], Vectors]) -> Vectors:
        out = np.empty((stop - start, self.dim), np.float32)
        for chunk in _chunks(start, stop):
            first = chunk * CHUNK
            begin, end = max(start, first), min(stop, first + CHUNK)
            out[begin - start : end - start] = \
                make(self._random(stream, chunk))[begin - first : end - first]
        return out

    def _image_chunk(self, random: np.random.Generator) -> Vectors:
        world, shape = self._world, self.shape
        clusters = world.pick(random, world.image_shares)
        radius = _log_normal(random, shape.row_size, (CHUNK, 1))
        own = world.bent(world.points(random, clusters, radius))
        own *= _f32((1 - shape.noise) ** 0.5 * (1 - shape.images_cosine) ** 0.5) / _lengths(own)
        rows: Vectors = own @ world.basis
        rows += self._noise(random, (shape.noise * (1 - shape.images_cosine)) ** 0.5)
        rows += _f32(shape.images_cosine ** 0.5) * world.all_images
        rows /= _lengths(rows)
        return rows

    def _text_chunk(self, random: np.random.Generator) -> Vectors:
        world, shape = self._world, self.shape
        clusters = world.pick(random, world.text_shares)
        meant = world.bent(world.points(random, clusters, _f32(shape.text_spread)))
        vague = random.standard_normal(meant.shape, dtype=np.float32) * world.deviations
        inside = _f32(shape.text_meant ** 0.5) / _lengths(meant) * meant
        inside += _f32((1 - shape.text_meant) ** 0.5) / _lengths(vague) * vague
        along = shape.texts_cosine / shape.images_cosine ** 0.5
        outside = 1 - along**2 - shape.text_inside**2
        rows: Vectors = (inside * _f32(shape.text_inside)) @ world.basis
        rows += _f32(along) * world.all_images
        rows += _f32((outside * shape.text_common) ** 0.5) * world.all_texts
        rows += self._noise(random, (outside * (1 - shape.text_common)) ** 0.5)
        rows /= _lengths(rows)
        return rows

    def _noise(self, random: np.random.Generator, length: float) -> Vectors:
        """Independent uniform numbers, since a sum of hundreds of them is all that is ever seen;
        float32 [CHUNK, dim]. Single bytes: normal ones would cost more than all the rest."""
        values = np.frombuffer(random.bytes(CHUNK * self.dim), np.int8).reshape(CHUNK, self.dim)
        noise: Vectors = np.add(values, _f32(0.5), dtype=np.float32)
        noise *= _f32(length / (_BYTE_DEVIATION * self.dim**0.5))
        return noise


class _World:
    """What all vectors of a seed have in common: clusters, manifold, directions."""

    def __init__(self, random: np.random.Generator, dim: int, shape: Shape) -> None:
        count, latent, features = shape.clusters, shape.latent, min(shape.features, dim - 2)
        directions = np.linalg.qr(random.standard_normal((dim, dim)))[0].T.astype(np.float32)
        self.all_images, self.all_texts = directions[:2]
        self.basis = np.ascontiguousarray(directions[2 : 2 + features])
        self.image_shares = _zipf(count, shape.zipf_offset)
        roots = self.image_shares**0.5  # rare things are asked for more often than they are shown
        self.text_shares = roots / roots.sum()

        axes = (np.arange(latent) + 2.0) ** -shape.latent_decay
        axes = (axes / (axes**2).mean() ** 0.5).astype(np.float32)
        self.middles = random.standard_normal((count, latent), dtype=np.float32) * axes
        self.middles *= _f32(shape.between**0.5)
        self.radii = (_log_normal(random, shape.cluster_axes, (count, latent))
                      * _log_normal(random, shape.cluster_size, (count, 1))
                      * axes * _f32((1 - shape.between) ** 0.5))

        variances = (np.arange(features) + shape.feature_offset) ** -shape.feature_decay
        self.deviations = ((variances / variances.sum()) ** 0.5).astype(np.float32)
        # The coarser a feature, the more it varies.
        frequencies = shape.frequency * np.sort(
            np.exp(shape.frequency_spread * random.standard_normal(features)))
        self._waves = (random.standard_normal((latent, features))
                       * frequencies / latent**0.5).astype(np.float32)
        self._phases = (random.random(features) * 2 * np.pi).astype(np.float32)
        self._mean = np.zeros(features, np.float32)
        sample = random.choice(count, 4 * CHUNK, p=self.image_shares)
        self._mean = self.bent(self.points(random, sample, _f32(1))).mean(axis=0)

    def pick(self, random: np.random.Generator, shares: np.ndarray) -> Ids:  # type: ignore[type-arg]
        """A cluster for each row of a chunk."""
        return np.searchsorted(np.cumsum(shares)[:-1], random.random(CHUNK), side="right")

    def points(self, random: np.random.Generator, clusters: Ids, radius: object) -> Vectors:
        """Latent points, float32 [len(clusters), latent]; radius scales distances to the middle."""
        shape = len(clusters), self.middles.shape[1]
        points: Vectors = random.standard_normal(shape, dtype=np.float32) * radius
        points *= self.radii[clusters]
        points += self.middles[clusters]
        return points

    def bent(self, points: Vectors) -> Vectors:
        """Latent points on the manifold, float32 [n, features], around a mean of zero."""
        bent: Vectors = points @ self._waves
        bent += self._phases
        np.sin(bent, out=bent)
        bent *= self.deviations * _f32(2**0.5)
        bent -= self._mean
        return bent


def _chunks(start: int, stop: int) -> range:
    return range(start // CHUNK, -(-stop // CHUNK))


def _zipf(count: int, offset: float) -> np.ndarray:  # type: ignore[type-arg]
    shares = 1 / (np.arange(count) + 1 + offset)
    return shares / shares.sum()


def _log_normal(random: np.random.Generator, sigma: float, size: tuple[int, ...]) -> Vectors:
    """Factors whose mean square is 1."""
    factors = random.standard_normal(size, dtype=np.float32)
    return np.exp(_f32(sigma) * factors - _f32(sigma**2))


def _lengths(rows: Vectors) -> Vectors:
    lengths: Vectors = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return lengths


def _f32(value: float) -> np.float32:
    return np.float32(value)  # a plain NumPy float64 would turn whole arrays into float64
