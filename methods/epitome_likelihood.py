"""Likelihood of every window of an image at every position of an epitome, in dense form, and what follows from it.

The window around pixel j at position u scores the sum over offsets d of the pixel score of (j + d, u + d). Along a
fixed displacement u - j these are box sums of one shared pixel score: 2 C + 1 multiplications per (pixel, position)
pair instead of 2 C w^2. Whatever is asked for is accumulated displacement by displacement; no array of pixels x
positions exists. ``epitome_kernels`` does it on a processor, ``epitome_torch`` on an accelerator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import epitome_kernels as kernels
from .epitome_model import EpitomeModel

Array = NDArray[Any]

LOST = 1e-5
"""Share of a posterior's mass that may be left out: positions less probable than LOST / E^2 are."""
_HUGE = 1e30
"""Cost of an impossible position, within single precision."""
_TURN = 32
"""Rows are padded to whole turns of vectorised loops, two vectors of 16 floats (AVX-512); measured best of 16, 32, 64."""
_CACHE = 600_000
"""Bytes that the ring of row sums of a tile may take: it stays in a second-level cache of 1 MB."""


def _up(n: int, step: int) -> int:
    return step * -(-n // step)


@dataclass(frozen=True)
class Tables:
    """An epitome folded into what is multiplied with, at one temperature T.

    log p(x, u) / T = best - offset[u] - box(cost of pixels)(u), with offset and costs at least 0. features
    (E, 2 C + 1, n): coefficients of (x^2, x, 1) in the cost of a pixel, by epitome row; columns run circularly from
    -radius on and are zero beyond E + 2 radius. offset (E, P): P is E padded by impossible positions. centre (C,):
    subtracted from the channels first, since the expanded square cancels.
    """

    features: Array
    offset: Array
    best: float
    centre: Array
    window: int

    @classmethod
    def of(cls, model: EpitomeModel, weights: Array, temperature: float, dtype: Any = np.float32) -> Tables:
        """Tables of log p(x, u) / temperature, the log-likelihood of channel c being multiplied by weights[c]."""
        radius, size = model.window // 2, model.size
        precision = model.precision.astype(np.float64) * np.asarray(weights, np.float64)[:, None, None] / temperature
        centre = model.mean.mean(axis=(1, 2), dtype=np.float64)
        mean = model.mean - centre[:, None, None]
        cost = np.concatenate([precision / 2, -precision * mean, (precision * mean**2 / 2).sum(axis=0, keepdims=True)])
        columns = np.arange(-radius, size + radius) % size
        features = np.zeros((size, len(cost), _up(_up(size, _TURN) + 2 * radius, 16)), dtype)
        features[:, :, : len(columns)] = cost.transpose(1, 0, 2)[:, :, columns]
        bias = (model.log_volume(weights) + model.log_prior()) / temperature
        offset = np.full((size, _up(size, _TURN)), _HUGE, dtype)
        offset[:, :size] = bias.max() - bias
        return cls(features, offset, float(bias.max()), centre, model.window)

    @property
    def cut(self) -> float:
        """How far below the log of the best a log posterior may lie before it is left out."""
        return 2 * math.log(len(self.offset)) - math.log(LOST)

    def image(self, x: Array) -> Array:
        """The features of an image x (C, H, W): (H + 2 radius, W + 2 radius, 2 C + 1), mirrored over its border."""
        radius = self.window // 2
        d = (x - self.centre[:, None, None]).astype(self.features.dtype)
        d = np.pad(d, ((0, 0), (radius, radius), (radius, radius)), mode="reflect").transpose(1, 2, 0)
        return np.ascontiguousarray(np.concatenate([d * d, d, np.ones_like(d[..., :1])], axis=2))

    def rows(self, table: Array) -> Array:
        """A table (L, E, E) over positions by epitome row, (E, L, P), zero in the padding."""
        size, padded = self.offset.shape
        rows = np.zeros((size, len(table), padded), self.features.dtype)
        rows[:, :, :size] = table.transpose(1, 0, 2)
        return rows

    def scratch(self) -> tuple[Array, Array]:
        """Room for a row of costs and one more, and the same memory as integers."""
        costs = np.empty(self.offset.shape[1] + 1, self.features.dtype)
        return costs, costs.view(np.int32 if costs.itemsize == 4 else np.int64)

    def tiles(self, width: int) -> list[tuple[int, int]]:
        """Column ranges of an image to work on at a time."""
        fit = max(16, _CACHE // (self.window * self.offset.shape[1] * self.offset.itemsize))
        edges = np.linspace(0, width, -(-width // fit) + 1).astype(int).tolist()
        return list(pairwise(edges))


class Dense:
    """What the tables say about images x (C, H, W), computed on the processor, one thread per call."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    def log_joint(self, x: Array) -> Array:
        """log p(x, u) / T for the window around each pixel: (H, W, E, E). For small images only."""
        tables = self.tables
        size, padded = tables.offset.shape
        out = np.empty((*x.shape[1:], size, padded), tables.features.dtype)
        kernels.joint(tables.image(x), tables.features, tables.offset, tables.window, out)
        joint: Array = tables.best - out[..., :size]
        return joint

    def log_evidence(self, x: Array) -> Array:
        """log sum_u exp(log p(x, u) / T) for the window around each pixel: (H, W)."""
        low, _ = self._centres(self.tables.image(x))
        evidence: Array = self.tables.best - low
        return evidence

    def centre_labels(self, x: Array, table: Array) -> Array:
        """sum_u p(u | window) table[:, u] for the window around each pixel: (L, H, W) from table (L, E, E)."""
        _, mixture = self._centres(self.tables.image(x), self.tables.rows(table))
        return np.ascontiguousarray(mixture.transpose(2, 0, 1))

    def window_labels(self, x: Array, table: Array) -> Array:
        """The mean, over the windows that cover a pixel, of sum_u p(u | window) table[:, u + the pixel's offset].

        (L, H, W) from table (L, E, E). Windows are centred within the image: fewer than w^2 cover a pixel at its border.
        """
        tables = self.tables
        image, rows = tables.image(x), tables.rows(table)
        low, _ = self._centres(image)
        height, width = low.shape
        out = np.zeros((height, width, len(table)), low.dtype)
        fixed = (tables.features, tables.offset, rows, *tables.scratch(), low, tables.cut, tables.window)
        for left, right in tables.tiles(width):
            kernels.mix_windows(image, *fixed, left, right, out)
        over = np.multiply.outer(*(windows_over(n, tables.window // 2) for n in (height, width)))
        out /= over[:, :, None].astype(out.dtype)
        return np.ascontiguousarray(out.transpose(2, 0, 1))

    def add_posteriors(self, x: Array, group: Array, sums: Array, part: tuple[slice, slice]) -> None:
        """Add the posterior of the window around each pixel of a part of x to sums[group of the pixel].

        group (H, W) uint8; sums (G, E, E) float64; part: rows and columns within the image.
        """
        tables = self.tables
        (top, bottom, _), (left, right, _) = (s.indices(n) for s, n in zip(part, x.shape[1:], strict=True))
        margin = tables.window - 1
        image = np.ascontiguousarray(tables.image(x)[top : bottom + margin, left : right + margin])
        low, _ = self._centres(image)
        fixed = (tables.features, tables.offset, *tables.scratch(), low, tables.cut)
        kernels.scatter(image, *fixed, np.ascontiguousarray(group[part], np.uint8), tables.window, sums)

    def _centres(self, image: Array, rows: Array | None = None) -> tuple[Array, Array]:
        """-log sum_u exp(-cost) (H, W) and mixtures (H, W, L) of rows (E, L, P), for an image's features."""
        tables = self.tables
        if rows is None:
            rows = np.empty((len(tables.offset), 0, tables.offset.shape[1]), image.dtype)
        height, width = (n - tables.window + 1 for n in image.shape[:2])
        low = np.empty((height, width), image.dtype)
        mixture = np.zeros((height, width, rows.shape[1]), image.dtype)
        fixed = (tables.features, tables.offset, rows, *tables.scratch(), tables.cut, tables.window)
        for left, right in tables.tiles(width):
            kernels.mix_centres(image, *fixed, left, right, low, mixture)
        return low, mixture


def windows_over(n: int, radius: int) -> NDArray[np.int64]:
    """How many windows with centres in 0..n-1 cover each of n pixels in a row."""
    position = np.arange(n)
    counts: NDArray[np.int64] = np.minimum(position, radius) + np.minimum(n - 1 - position, radius) + 1
    return counts
