"""The prior p_i(l) over high-resolution classes of a pixel, from its low-resolution label and its image.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. IV. Rows are the 10 low-resolution classes of ``scheme.CODES``,
columns the 8 scored classes of ``scheme.SCORED_CODES``. Savanna and Snow/Ice are low-resolution classes like any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import ContractError
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
