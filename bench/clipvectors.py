"""Vectors shaped like CLIP's, any number of them, the same on every machine for a seed.

    made = ClipVectors(seed=0)
    made.images(3_000_000, 3_010_000)   # float32 [10000, 512], whatever was made before
    made.texts(0, 1000)                 # queries in words: off the image manifold
    made.held_out(0, 1000)              # queries like the images, that are not among them

An image is a point of a curved manifold of few dimensions, in one of many clusters of very uneven
size (Zipf's law), plus a common direction and a little noise. The manifold is what random Fourier
features (Rahimi & Recht 2007) make of a mixture of Gaussians: locally of low dimension, while the
whole spreads over hundreds. A text has another common direction, a part of its own that no image
has, and only a part in the space of the images, which itself is somewhere between a point of the
manifold and noise. That modality gap is what makes texts hard to answer: see bench/README.md for
what this was fitted to.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmsearch.records import Ids, Vectors

CHUNK = 2048
"""Rows that are made together: a chunk's random numbers depend on the seed and its number alone."""
VERSION = 1
"""Raise it when the same seed makes other vectors."""
IMAGES, HELD_OUT, TEXTS, WORLD = range(4)
BYTE_DEVIATION = (256**2 / 12) ** 0.5

# Shares are of squared length.
IMAGES_COSINE, TEXTS_COSINE = 0.51, 0.17
"""Mean cosine of two images, which share one direction, and of a text and an image."""
TEXT_INSIDE = 0.4
"""Length of a text's part in the space of the images, their common direction apart."""
TEXT_MEANT = 0.88
"""Share of that part that is a point of the manifold; the rest is noise of its spectrum."""
TEXT_SPREAD = 0.4
"""How far from the middle of a cluster that point is, an image being 1."""
TEXT_COMMON = 0.6
"""Share of what all texts have in common in the part of a text that no image has."""
NOISE = 0.05
"""Share of noise in an image's own part."""
LATENT, LATENT_DECAY, BETWEEN = 24, 0.75, 0.65
"""Dimensions of the manifold; the share of their variance that lies between the clusters."""
FEATURES, FEATURE_OFFSET, FEATURE_DECAY = 192, 14.0, 1.0
"""Dimensions that it is bent into; the variance of number j falls as (j + offset)^-decay."""
FREQUENCY, FREQUENCY_SPREAD = 1.85, 0.75
"""Median of the features' frequencies, and sigma of their logarithm."""
CLUSTERS, ZIPF_OFFSET = 2000, 4.0
"""Cluster r has a share that falls as 1 / (r + offset)."""
CLUSTER_AXES, CLUSTER_SIZE, ROW_SIZE = 0.4, 0.4, 0.1
"""Sigmas of logarithms: of the axes of a cluster, of its radius, of a row's own distance."""


class ClipVectors:
    """Reproducible vectors of unit length, float32 [n, dim], of three sorts."""

    def __init__(self, seed: int = 0, dim: int = 512) -> None:
        self.seed, self.dim = seed, dim
        random, features = np.random.default_rng([seed, WORLD, 0]), min(FEATURES, dim - 2)
        directions = np.linalg.qr(random.standard_normal((dim, dim)))[0].T.astype(np.float32)
        self._all_images, self._all_texts = directions[:2]
        self._basis = np.ascontiguousarray(directions[2 : 2 + features])
        shares = 1 / (np.arange(CLUSTERS) + 1 + ZIPF_OFFSET)
        self._image_shares = shares / shares.sum()
        roots = self._image_shares**0.5  # rare things are asked for more often than they are shown
        self._text_shares = roots / roots.sum()

        axes = (np.arange(LATENT) + 2.0) ** -LATENT_DECAY
        axes = (axes / (axes**2).mean() ** 0.5).astype(np.float32)
        self._middles = random.standard_normal((CLUSTERS, LATENT), dtype=np.float32) * axes
        self._middles *= BETWEEN**0.5
        self._radii = (log_normal(random, CLUSTER_AXES, (CLUSTERS, LATENT))
                       * log_normal(random, CLUSTER_SIZE, (CLUSTERS, 1))
                       * axes * (1 - BETWEEN) ** 0.5)

        variances = (np.arange(features) + FEATURE_OFFSET) ** -FEATURE_DECAY
        self._deviations = ((variances / variances.sum()) ** 0.5).astype(np.float32)
        # The coarser a feature, the more it varies.
        frequencies = FREQUENCY * np.sort(
            np.exp(FREQUENCY_SPREAD * random.standard_normal(features)))
        self._waves = (random.standard_normal((LATENT, features))
                       * frequencies / LATENT**0.5).astype(np.float32)
        self._phases = (random.random(features) * 2 * np.pi).astype(np.float32)
        self._mean = np.zeros(features, np.float32)
        sample = random.choice(CLUSTERS, 4 * CHUNK, p=self._image_shares)
        self._mean = self._bent(self._points(random, sample, 1)).mean(axis=0)

    @staticmethod
    def key(seed: int, dim: int) -> str:
        """A name for these vectors, for files made of them."""
        return f"clip{VERSION}-{dim}-{seed}"

    def images(self, start: int, stop: int) -> Vectors:
        """Images number `start` to `stop`, not included."""
        return self._rows(IMAGES, start, stop, self._image_chunk)

    def held_out(self, start: int, stop: int) -> Vectors:
        """Images that are none of `images`: queries by example."""
        return self._rows(HELD_OUT, start, stop, self._image_chunk)

    def texts(self, start: int, stop: int) -> Vectors:
        return self._rows(TEXTS, start, stop, self._text_chunk)

    def cluster_of(self, start: int, stop: int) -> Ids:
        """The cluster of each image, int64 [stop - start]; large ones have small numbers."""
        return self._rows(IMAGES, start, stop, lambda random: pick(random, self._image_shares))

    def affinity(self, queries: Vectors) -> Vectors:
        """How near each query is to the middle of each cluster, float32 [n, clusters]."""
        middles = self._bent(self._middles)
        near: Vectors = (queries @ self._basis.T) @ (middles / lengths(middles)).T
        return near

    def _rows(self, stream: int, start: int, stop: int,
              make: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
        chunks = range(start // CHUNK, -(-stop // CHUNK))
        made = [make(np.random.default_rng([self.seed, stream, chunk])) for chunk in chunks]
        return np.concatenate(made)[start - chunks.start * CHUNK : stop - chunks.start * CHUNK]

    def _image_chunk(self, random: np.random.Generator) -> Vectors:
        clusters = pick(random, self._image_shares)
        own = self._bent(self._points(random, clusters, log_normal(random, ROW_SIZE, (CHUNK, 1))))
        own *= ((1 - NOISE) * (1 - IMAGES_COSINE)) ** 0.5 / lengths(own)
        rows: Vectors = own @ self._basis
        rows += self._noise(random, (NOISE * (1 - IMAGES_COSINE)) ** 0.5)
        rows += IMAGES_COSINE**0.5 * self._all_images
        return rows / lengths(rows)

    def _text_chunk(self, random: np.random.Generator) -> Vectors:
        meant = self._bent(self._points(random, pick(random, self._text_shares), TEXT_SPREAD))
        vague = random.standard_normal(meant.shape, dtype=np.float32) * self._deviations
        inside = TEXT_MEANT**0.5 / lengths(meant) * meant
        inside += (1 - TEXT_MEANT) ** 0.5 / lengths(vague) * vague
        along = TEXTS_COSINE / IMAGES_COSINE**0.5
        outside = 1 - along**2 - TEXT_INSIDE**2
        rows: Vectors = (inside * TEXT_INSIDE) @ self._basis
        rows += along * self._all_images
        rows += (outside * TEXT_COMMON) ** 0.5 * self._all_texts
        rows += self._noise(random, (outside * (1 - TEXT_COMMON)) ** 0.5)
        return rows / lengths(rows)

    def _noise(self, random: np.random.Generator, length: float) -> Vectors:
        """Independent uniform numbers, since a sum of hundreds of them is all that is ever seen;
        float32 [CHUNK, dim]. Single bytes: normal ones would cost more than all the rest."""
        values = np.frombuffer(random.bytes(CHUNK * self.dim), np.int8).reshape(CHUNK, self.dim)
        return (values + np.float32(0.5)) * (length / (BYTE_DEVIATION * self.dim**0.5))

    def _points(self, random: np.random.Generator, clusters: Ids, radius: Vectors | float,
                ) -> Vectors:
        """Latent points, float32 [len(clusters), latent]; radius scales distances to the middle."""
        points: Vectors = random.standard_normal((len(clusters), LATENT), dtype=np.float32) * radius
        return points * self._radii[clusters] + self._middles[clusters]

    def _bent(self, points: Vectors) -> Vectors:
        """Latent points on the manifold, float32 [n, features], around a mean of zero."""
        waves: Vectors = np.sin(points @ self._waves + self._phases)
        return waves * (self._deviations * 2**0.5) - self._mean


def pick(random: np.random.Generator, shares: np.ndarray) -> Ids:
    """A cluster for each row of a chunk."""
    return np.searchsorted(np.cumsum(shares)[:-1], random.random(CHUNK), side="right")


def log_normal(random: np.random.Generator, sigma: float, size: tuple[int, ...]) -> Vectors:
    """Factors whose mean square is 1."""
    return np.exp(sigma * random.standard_normal(size, dtype=np.float32) - sigma**2)


def lengths(rows: Vectors) -> Vectors:
    return np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
