"""Gaussian naive Bayes on centres of clusters instead of pixels.

A centre counts with as many pixels of a class as its cluster is believed to hold, and stands for pixels that scatter about
it: without their scatter, a class of a single cluster would have no width at all. In all else this is scikit-learn's
``GaussianNB`` with sample weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_VARIANCE = 1e-3
"""Of a standardised feature: a deviation of 3 % of its whole deviation, below which only constants fall."""


@dataclass(frozen=True)
class CentroidBayes:
    """mean and variance (C, F) by class; ``known`` (C,) are the classes that have any weight. Classes are equally likely
    beforehand, since the score counts them alike."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    known: NDArray[np.bool_]

    @classmethod
    def of(
        cls, centres: NDArray[np.floating], scatter: NDArray[np.floating], weights: NDArray[np.floating]
    ) -> CentroidBayes:
        """From centres (k, F) in standardised features, the variances (k, F) of the pixels about each, and weights (k, C).

        A class's variance is that of its centres plus the mean of their scatter.
        """
        centres, scatter, weights = (np.asarray(a, np.float64) for a in (centres, scatter, weights))
        total = weights.sum(axis=0)
        known = total > 0
        share = (weights / np.where(known, total, 1)).T
        mean = share @ centres
        variance = share @ (centres**2 + scatter) - mean**2
        return cls(mean, np.maximum(variance, LEAST_VARIANCE), known)

    def probabilities(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """x (n, F), standardised alike -> (n, C), rows summing to 1; 0 for a class without weight."""
        precision = 1 / self.variance
        logits = x**2 @ (-0.5 * precision.T).astype(np.float32) + x @ (self.mean * precision).T.astype(np.float32)
        constant = -0.5 * (self.mean**2 * precision + np.log(self.variance)).sum(axis=1)
        logits += np.where(self.known, constant, -np.inf).astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        p: NDArray[np.float32] = np.exp(logits, out=logits)
        p /= p.sum(axis=1, keepdims=True)
        return p
