"""Classes of clusters from low-resolution labels and p(high-resolution | low-resolution), by maximum likelihood.

A cluster's low-resolution labels are a mixture: each of its pixels has a true class l, and shows label c with p(c | l).
What mixture of classes it is follows from how often it shows which label. Counting labels, or averaging p(l | c) over them,
would give every cluster a share of what low-resolution labels confuse everywhere; here that is taken out again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.scheme import CODES, NO_LABEL, SCORED_CODES

from .label_prior import image_prior, smoothed_prior

Array = NDArray[np.float64]

LEAST_SHARE = 0.01
"""Of a class among all pixels, below which it is not raised further where classes are to count alike: what is rarer than
one pixel in a hundred is as likely an error of the estimate."""
_ITERATIONS = 500
_CHANGE = 1e-5
"""Of a share of a class, below which expectation maximisation has converged."""


def mixtures(counts: NDArray[Any], of_class: Array) -> Array:
    """Shares of classes in each cluster, (k, L), that make its labels most likely.

    counts (k, C) pixels by cluster and low-resolution label; of_class (L, C) is p(c | l), rows summing to 1. Expectation
    maximisation from equal shares, so the likelihood never falls. A cluster without labels keeps equal shares.
    """
    counts = np.asarray(counts, np.float64)
    labelled = counts.sum(axis=1) > 0
    shown = counts[labelled] / counts[labelled].sum(axis=1, keepdims=True)
    shares = np.full((len(counts), len(of_class)), 1 / len(of_class))
    found = shares[labelled]
    for _ in range(_ITERATIONS):
        expected = found @ of_class
        ratio = np.divide(shown, expected, out=np.zeros_like(shown), where=expected > 0)
        update = found * (ratio @ of_class.T)
        update /= update.sum(axis=1, keepdims=True)
        change = np.abs(update - found).max(initial=0.0)
        found = update
        if change < _CHANGE:
            break
    shares[labelled] = found
    return shares


@dataclass(frozen=True)
class ClusterClasses:
    """What clusters say about classes, where classes count alike, as the score does.

    shares (k, 8): p(l | s). likelihood (k, 8): p(s | l) up to a factor by cluster. prior (10, 8): p(l | c), smoothed.
    marginal (8,): p(l) that ``prior`` gives the labels.
    """

    shares: Array
    likelihood: Array
    prior: Array
    marginal: Array

    @classmethod
    def of(cls, counts: NDArray[np.int64], label_prior: NDArray[Any]) -> ClusterClasses:
        """From pixels by cluster and simplified code, (k, 11), column 0 without a label, and p(l | c) (10, 8)."""
        prior = smoothed_prior(label_prior)
        labelled = np.delete(counts, NO_LABEL, axis=1)
        seen = labelled.sum(axis=0).astype(np.float64)
        seen = seen / seen.sum() if seen.any() else np.full(len(CODES), 1 / len(CODES))
        joint = seen[:, None] * prior
        marginal = joint.sum(axis=0)
        shares = mixtures(labelled, (joint / marginal).T)
        sizes = counts.sum(axis=1)
        total = sizes @ shares / max(1, sizes.sum())
        likelihood = shares / np.maximum(total, LEAST_SHARE)
        return cls(shares, likelihood / likelihood.sum(axis=1, keepdims=True), prior, np.maximum(marginal, LEAST_SHARE))

    def probabilities(self, clusters: NDArray[np.intp], low: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Classes of the pixels of a patch from cluster and low-resolution label, both (H, W): (8, H, W).

        p(l | s, c) ~ p(s | l) p_i(l) / p(l): cluster and label err independently, and classes count alike. p_i(l) is the
        pixel's prior with its image's mean (``label_prior``).
        """
        of_label = image_prior(self.prior, low) / self.marginal
        table = self.likelihood[:, None] * of_label[None]
        table /= table.sum(axis=2, keepdims=True)
        found = table.astype(np.float32)[clusters, low]
        return np.ascontiguousarray(np.moveaxis(found, 2, 0)).reshape(len(SCORED_CODES), *low.shape)
