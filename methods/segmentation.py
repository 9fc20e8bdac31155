"""Multi-resolution segmentation: superpixels of a patch, merged step by step into ever larger segments.

Source: Baatz and Schäpe, "Multiresolution segmentation", Angewandte Geographische Informationsverarbeitung XII (2000).
Neighbours merge if that raises heterogeneity by less than the square of a scale,

    f = mean over bands of ( n_m s_m - (n_1 s_1 + n_2 s_2) ),    n pixels, s standard deviation within a segment,

best pairs first by their "local mutual best fitting": two segments merge where each is the other's best neighbour. Larger
scales go on from the segments of smaller ones, so segments nest. Different from the paper: merging starts from SLIC
superpixels (Achanta et al., IEEE TPAMI 34 (2012), scikit-image's) instead of single pixels, some fifty times fewer; their
compactness takes the place of the paper's shape term.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SLIC_ROUNDS = 10
"""scikit-image's default; superpixels hardly move after as many."""


@dataclass(frozen=True)
class Segmentation:
    """Segments of one patch at several scales: ``base`` (H, W) numbers its superpixels, ``parents`` (n,) tell for each
    scale in which segment a superpixel is."""

    base: NDArray[np.intp]
    parents: tuple[NDArray[np.intp], ...]

    def labels(self, scale: int) -> NDArray[np.intp]:
        """The segments of a scale, numbered from 0, (H, W)."""
        numbers: NDArray[np.intp] = self.parents[scale][self.base]
        return numbers

    def means(self, scale: int, planes: NDArray[Any]) -> NDArray[np.float64]:
        """Means of planes (F, H, W) over the segments of a scale, (segments, F)."""
        count = int(self.parents[scale].max()) + 1
        pixels = np.bincount(self.base.ravel())
        sizes: NDArray[np.float64] = sums(self.parents[scale], count, pixels)
        of_base = np.stack([sums(self.base, len(pixels), plane) for plane in planes], axis=1)
        total = np.zeros((count, len(planes)))
        np.add.at(total, self.parents[scale], of_base)
        return total / sizes[:, np.newaxis]


def sums(numbers: NDArray[np.intp], count: int, values: NDArray[Any]) -> NDArray[np.float64]:
    """Sums of values by number 0 .. count - 1, both of one shape, (count,)."""
    return np.bincount(numbers.ravel(), weights=values.ravel(), minlength=count).astype(np.float64, copy=False)


def segmented(image: NDArray[np.float32], pixels: float, compactness: float, scales: Sequence[float]) -> Segmentation:
    """Segments of an image (B, H, W) whose bands have deviations near 1, at rising scales.

    pixels: of a superpixel, on average. compactness: of superpixels, SLIC's, of an image scaled to [0, 1].
    """
    base = superpixels(image, pixels, compactness)
    count = int(base.max()) + 1
    n = np.bincount(base.ravel()).astype(np.float64)
    s = np.stack([sums(base, count, band) for band in image], axis=1)
    q = np.stack([sums(base, count, np.square(band, dtype=np.float64)) for band in image], axis=1)
    regions = _Regions(n, s, q, borders(base))
    parents: list[NDArray[np.intp]] = []
    parent: NDArray[np.intp] = np.arange(count)
    for scale in scales:
        parent = regions.merge(scale**2)[parent]
        parents.append(parent)
    return Segmentation(base, tuple(parents))


def superpixels(image: NDArray[np.float32], pixels: float, compactness: float) -> NDArray[np.intp]:
    """SLIC superpixels of an image (B, H, W), numbered from 0, (H, W)."""
    wanted = round(image[0].size / pixels)
    if wanted < 2 or min(image.shape[1:]) < 2:
        return np.zeros(image.shape[1:], np.intp)
    from skimage.segmentation import slic

    found = slic(
        image,
        n_segments=wanted,
        compactness=compactness,
        max_num_iter=_SLIC_ROUNDS,
        convert2lab=False,
        channel_axis=0,
        start_label=0,
    )
    numbers: NDArray[np.intp] = np.unique(found, return_inverse=True)[1].reshape(found.shape)
    return numbers


def borders(labels: NDArray[np.intp]) -> NDArray[np.intp]:
    """Pairs of segments that share an edge of two pixels, (E, 2), the smaller number first, each once, in order."""
    beside = np.stack([labels[:, :-1].ravel(), labels[:, 1:].ravel()], axis=1)
    below = np.stack([labels[:-1].ravel(), labels[1:].ravel()], axis=1)
    return _distinct(np.concatenate([beside, below]))


def _distinct(pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    base = int(pairs.max(initial=0)) + 1
    keys = np.unique(pairs[:, 0] * base + pairs[:, 1])
    return np.stack(np.divmod(keys, base), axis=1).astype(np.intp)


class _Regions:
    """Regions that merge: pixels n (R,), sums s and sums of squares q (R, B), and which are neighbours, (E, 2)."""

    def __init__(
        self, n: NDArray[np.float64], s: NDArray[np.float64], q: NDArray[np.float64], edges: NDArray[np.intp]
    ) -> None:
        self.n, self.s, self.q, self.edges = n, s, q, edges

    def merge(self, limit: float) -> NDArray[np.intp]:
        """Merge until no pair costs less than ``limit``; the new number of each region that there was, (R,)."""
        number = np.arange(len(self.n))
        while len(self.edges):
            u, v = self.edges.T
            cost = self._heterogeneity(u, v) - self._heterogeneity(u) - self._heterogeneity(v)
            rank = np.empty(len(cost), np.intp)
            rank[np.argsort(cost, kind="stable")] = np.arange(len(cost))
            best = np.full(len(self.n), len(cost))
            np.minimum.at(best, u, rank)
            np.minimum.at(best, v, rank)
            chosen = (best[u] == rank) & (best[v] == rank) & (cost < limit)
            if not chosen.any():
                break
            number = self._join(u[chosen], v[chosen])[number]
        return number

    def _heterogeneity(self, *parts: NDArray[np.intp]) -> NDArray[np.float64]:
        """Pixels times deviation, mean over bands, of the regions that these parts make together."""
        n, s, q = (np.add.reduce([values[part] for part in parts]) for values in (self.n, self.s, self.q))
        variance = np.maximum(q / n[:, np.newaxis] - np.square(s / n[:, np.newaxis]), 0)
        product: NDArray[np.float64] = n * np.sqrt(variance).mean(axis=1)
        return product

    def _join(self, kept: NDArray[np.intp], gone: NDArray[np.intp]) -> NDArray[np.intp]:
        """Merge each of ``gone`` into its partner in ``kept``; no region occurs twice. The new numbers, (R,)."""
        into = np.arange(len(self.n))
        into[gone] = kept
        for values in (self.n, self.s, self.q):
            values[kept] += values[gone]
        remains = np.ones(len(self.n), np.bool_)
        remains[gone] = False
        number = (np.cumsum(remains) - 1)[into]
        self.n, self.s, self.q = self.n[remains], self.s[remains], self.q[remains]
        self.edges = _distinct(number[self.edges])
        return number
