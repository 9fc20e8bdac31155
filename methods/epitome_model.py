"""The parameters of an epitome: what training learns, and everything else is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def box(values: NDArray[Any], window: int) -> NDArray[Any]:
    """Sums over the window around each position of a torus: (..., E, E) -> (..., E, E)."""
    shifts = range(-(window // 2), window // 2 + 1)
    for axis in (-2, -1):
        values = np.sum([np.roll(values, shift, axis) for shift in shifts], axis=0)
    return values


@dataclass(frozen=True)
class EpitomeModel:
    """A torus of Gaussians: mean and precision (C, E, E), logit (E, E) of the prior over positions; float32.

    A position stands for the ``window`` x ``window`` pixels around it.
    """

    mean: NDArray[Any]
    precision: NDArray[Any]
    logit: NDArray[Any]
    window: int

    @property
    def size(self) -> int:
        """E."""
        return int(self.mean.shape[-1])

    def log_prior(self) -> NDArray[np.float64]:
        """log p(u), (E, E)."""
        logit = self.logit.astype(np.float64)
        top = logit.max()
        share: NDArray[np.float64] = logit - top - np.log(np.exp(logit - top).sum())
        return share

    def log_volume(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        """The part of log p(x | u) that does not depend on x, (E, E): half the log precisions over 2 pi, summed."""
        terms = np.asarray(weights, np.float64)[:, None, None] * np.log(self.precision.astype(np.float64) / (2 * np.pi))
        volume: NDArray[np.float64] = box(terms.sum(axis=0) / 2, self.window)
        return volume
