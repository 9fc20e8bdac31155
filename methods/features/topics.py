"""Topics of windows: what a window's visual words are about, by latent Dirichlet allocation.

Source: Blei, Ng and Jordan, Journal of Machine Learning Research 3 (2003). scikit-learn learns the topics; a window's shares
of topics are found by the same fixed point as its ``transform``, compiled, since that takes a window at a time in Python
and there is one for every few pixels of every patch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..compiled import exact_kernel

_MOST_UPDATES = 100
_CHANGE = 1e-3
"""Updates of a window's topics, and the mean change below which they end: scikit-learn's defaults."""
_EPSILON = float(np.finfo(np.float64).eps)


@exact_kernel
def digamma(x: float) -> float:
    """For x > 0: carried above 6 by its recurrence, then its asymptotic series (Bernardo, Applied Statistics 25, 1976)."""
    value = 0.0
    while x < 6.0:
        value -= 1.0 / x
        x += 1.0
    r = 1.0 / x
    value += math.log(x) - 0.5 * r
    r *= r
    return value - r * (1 / 12 - r * (1 / 120 - r / 252))


@exact_kernel
def _infer(counts: NDArray[np.float64], prior: float, words: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Variational posterior of each document's topics: counts (n, K), words (T, K), out (n, T), normalised."""
    topics, kinds = words.shape
    mass = np.empty(topics)
    weight = np.empty(topics)
    ratio = np.empty(kinds)
    for n in range(counts.shape[0]):
        for t in range(topics):
            mass[t] = 1.0
        total = float(topics)
        for _ in range(_MOST_UPDATES):
            base = digamma(total)
            for t in range(topics):
                weight[t] = math.exp(digamma(mass[t]) - base)
            for k in range(kinds):
                ratio[k] = 0.0
                if counts[n, k] > 0:
                    expected = _EPSILON
                    for t in range(topics):
                        expected += weight[t] * words[t, k]
                    ratio[k] = counts[n, k] / expected
            change = 0.0
            total = 0.0
            for t in range(topics):
                updated = 0.0
                for k in range(kinds):
                    updated += ratio[k] * words[t, k]
                updated = weight[t] * updated + prior
                change += abs(updated - mass[t])
                mass[t] = updated
                total += updated
            if change / topics < _CHANGE:
                break
        for t in range(topics):
            out[n, t] = mass[t] / total


@dataclass(frozen=True)
class Topics:
    """words (T, K): exp E[log p(word | topic)]; prior: of a window's topics, the same for each."""

    words: NDArray[np.float64]
    prior: float

    @classmethod
    def of(cls, counts: NDArray[np.integer], topics: int, iterations: int, seed: int) -> Topics:
        """Learned from documents: counts (n, K) of words by window."""
        from sklearn.decomposition import LatentDirichletAllocation

        model = LatentDirichletAllocation(topics, max_iter=iterations, random_state=seed).fit(counts)
        return cls(np.ascontiguousarray(model.exp_dirichlet_component_), float(model.doc_topic_prior_))

    def shares(self, counts: NDArray[np.integer]) -> NDArray[np.float64]:
        """Of each window, how much it is about each topic: counts (..., K) -> (..., T), summing to 1."""
        flat = np.ascontiguousarray(counts.reshape(-1, counts.shape[-1]), np.float64)
        out = np.empty((len(flat), len(self.words)))
        _infer(flat, self.prior, self.words, out)
        return out.reshape(*counts.shape[:-1], len(self.words))

    def maps(self, counts: NDArray[np.integer], stride: int) -> NDArray[np.float32]:
        """Topics of the window about every pixel, (T, H, W), from counts (H, W, K).

        They are found for every ``stride``-th row and column and the last ones, and interpolated linearly between.
        """
        height, width = counts.shape[:2]
        rows, columns = _every(height, stride), _every(width, stride)
        grid = self.shares(counts[np.ix_(rows, columns)])
        down, across = _between(rows, height), _between(columns, width)
        found = np.einsum("yr,rct,xc->tyx", down, grid, across, optimize=["einsum_path", (0, 1), (0, 1)])
        return np.ascontiguousarray(found, np.float32)


def _every(length: int, stride: int) -> NDArray[np.intp]:
    return np.unique(np.append(np.arange(0, length, stride), length - 1))


def _between(places: NDArray[np.intp], length: int) -> NDArray[np.float64]:
    """Weights (length, places) of linear interpolation."""
    unit = np.eye(len(places))
    return np.stack([np.interp(np.arange(length), places, row) for row in unit], axis=1)
