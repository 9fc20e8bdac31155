"""The prior p_i(l) over high-resolution classes of a pixel, from its low-resolution label and its image; what
classifiers say under it.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. IV. Rows are the 10 low-resolution classes of ``scheme.CODES``,
columns the 8 scored classes of ``scheme.SCORED_CODES``. Savanna and Snow/Ice are low-resolution classes like any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import ContractError
from dfcbench.method import Patch, PatchSet, RunContext
from dfcbench.scheme import CODES, NO_LABEL, SCORED_CODES

SMOOTHING = 0.05
"""Added to every cell of p(l | c), as published."""
PIXEL_WEIGHT = 10.0
"""Weight of the pixel's own label against its image's mean, as published: p_i <- (10 P[c_i] + mean P[c]) / 11."""


def smoothed_prior(label_prior: NDArray[Any], smoothing: float = SMOOTHING) -> NDArray[np.float64]:
    """p(l | c) with ``smoothing`` added to every cell and rows summing to 1; shape (10, 8) -> (10, 8).

    Rows are normalised before as well, so counts serve as well as shares; a row that is empty or not finite (a
    low-resolution class never seen beside a reference) becomes uniform.
    Raises ContractError for another shape or negative cells.
    """
    table = np.asarray(label_prior, np.float64)
    expected = (len(CODES), len(SCORED_CODES))
    if table.shape != expected:
        raise ContractError(f"label prior: shape {table.shape}; expected {expected}, rows CODES, columns SCORED_CODES.")
    if (table < 0).any():
        raise ContractError("label prior: some cells are negative; give p(l | c) or counts.")
    known = np.isfinite(table).all(axis=1) & (np.nansum(table, axis=1) > 0)
    shares = np.full(expected, 1.0 / len(SCORED_CODES))
    shares[known] = table[known] / table[known].sum(axis=1, keepdims=True)
    shares += smoothing
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def image_prior(
    prior: NDArray[np.float64], low: NDArray[np.integer[Any]], weight: float = PIXEL_WEIGHT
) -> NDArray[np.float64]:
    """p_i(l) by low-resolution code for one image, shape (11, 8), row 0 for pixels without a label; rows sum to 1.

    prior (10, 8) from ``smoothed_prior``; low (H, W) simplified codes 0..10. A pixel without a label takes the mean
    over the labelled pixels of its image; where no pixel is labelled, all rows blend with the uniform distribution.
    """
    counts = np.bincount(np.asarray(low, np.uint8).ravel(), minlength=max(CODES) + 1)[1 : max(CODES) + 1]
    if counts.sum():
        mean = counts @ prior / counts.sum()
    else:
        mean = np.full(len(SCORED_CODES), 1.0 / len(SCORED_CODES))
    table = np.empty((max(CODES) + 1, len(SCORED_CODES)))
    table[NO_LABEL] = mean
    table[list(CODES)] = (weight * prior + mean) / (weight + 1.0)
    return table


class LocalPrior:
    """p_i(l) of the images of a contest, from their low-resolution labels alone.

    prior (10, 8) from ``smoothed_prior``; weight as in ``image_prior``. mean (8,) is the mean of p_i(l) over the scored
    images. ``balanced``: p_i(l) relative to that mean, so that every class is as frequent as any other in all: the
    decision that suits a score which is the mean over classes.
    """

    def __init__(self, prior: NDArray[np.float64], weight: float, balanced: bool, mean: NDArray[np.float64]) -> None:
        self.prior, self.weight, self.balanced, self.mean = prior, weight, balanced, mean

    @classmethod
    def of(
        cls, patches: PatchSet, prior: NDArray[np.float64], weight: float, balanced: bool, run: RunContext
    ) -> LocalPrior:
        """With the mean over these images."""

        def count(patch: Patch) -> NDArray[np.int64]:
            return np.bincount(patch.low.ravel(), minlength=256)[: max(CODES) + 1]

        # The mean of p_i(l) over an image is that of P[c] over its labelled pixels.
        counts = sum(run.map(count, patches), np.zeros(max(CODES) + 1, np.int64))[list(CODES)]
        uniform = np.full(len(SCORED_CODES), 1.0 / len(SCORED_CODES))
        mean = counts @ prior / counts.sum() if counts.any() else uniform
        return cls(prior, weight, balanced, mean)

    @property
    def by_label(self) -> NDArray[np.float64]:
        """p(l) by low-resolution code wherever a pixel lies, (11, 8); row 0 for pixels without a label is ``mean``."""
        return np.concatenate([self.mean[np.newaxis], self.prior])

    def table(self, low: NDArray[np.uint8]) -> NDArray[np.float64]:
        """p_i(l) by low-resolution code for one image (H, W), shape (11, 8); rows sum to 1."""
        table = image_prior(self.prior, low, self.weight)
        if self.balanced:
            table /= self.mean
            table /= table.sum(axis=1, keepdims=True)
        return table

    def __call__(self, low: NDArray[np.uint8]) -> NDArray[np.float32]:
        """p_i(l) of every pixel: (H, W) -> (8, H, W)."""
        by_class = self.table(low).T.astype(np.float32)
        return np.ascontiguousarray(by_class[:, low])


def under_prior(
    p: NDArray[np.floating[Any]], learned: NDArray[np.floating[Any]], prior: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """Class probabilities ``p`` (8, ...) of a classifier that learned from classes in shares ``learned`` (8,), as they
    are where classes have the probabilities ``prior`` (8, ...): p * prior / learned, with sum 1.

    Classes that it has not learned keep 0; where nothing is left the prior stands. Source: Saerens, Latinne and
    Decaestecker, Neural Computation 14 (2002), eq. 2.4.
    """
    known = learned > 0
    factors = np.divide(1.0, learned, out=np.zeros(len(learned)), where=known)
    adjusted = p * prior * factors.reshape(-1, *[1] * (p.ndim - 1))
    total = adjusted.sum(axis=0, keepdims=True)
    result: NDArray[np.float32] = np.where(total > 0, adjusted / np.where(total > 0, total, 1), prior).astype(
        np.float32
    )
    return result
