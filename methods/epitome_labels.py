"""Labels on an epitome: where low-resolution classes fall, p(u|c), and the high-resolution classes that explain them.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. IV; iterations as in the authors' published code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TINY = 1e-300


def class_positions(mass: NDArray[Any], balanced: bool = True) -> Array:
    """p(u|c), (K, U) with rows summing to 1, from summed posteriors (K, U): rows c are low-resolution classes.

    ``balanced``, as published: every position is divided by its sum over classes first, so that it counts for what it
    says about classes, not for how often it is used. A class that was not sampled keeps a row of zeros.
    """
    share = np.array(mass, np.float64)
    if balanced:
        share /= np.maximum(share.sum(axis=0), _TINY)
    total = share.sum(axis=1, keepdims=True)
    positions: Array = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
    return positions


def divergence(prior: Array, positions: Array, labels: Array) -> float:
    """sum_c KL(P[c, .] || sum_u p(u|c) p(l|u)) over the classes that have positions, in nats."""
    seen = positions.sum(axis=1) > 0
    target, mixture = prior[seen], positions[seen] @ labels
    return float((target * np.log(np.maximum(target, _TINY) / np.maximum(mixture, _TINY))).sum())


def label_em(prior: Array, positions: Array, iterations: int) -> tuple[Array, list[float]]:
    """p(l|u) (U, L) that mixes, under p(u|c) (K, U), to P = p(l|c) (K, L); and the divergence before and after each.

    Expectation maximisation from the uniform distribution; the divergence never rises. Positions that no class reaches
    stay uniform.
    """
    seen = positions.sum(axis=1) > 0
    prior, positions = prior[seen], positions[seen]
    labels = np.full((positions.shape[1], prior.shape[1]), 1.0 / prior.shape[1])
    reached = positions.sum(axis=0) > 0
    history = [divergence(prior, positions, labels)]
    for _ in range(iterations):
        ratio = prior / np.maximum(positions @ labels, _TINY)
        update = labels * (positions.T @ ratio)
        labels[reached] = update[reached] / update[reached].sum(axis=1, keepdims=True)
        history.append(divergence(prior, positions, labels))
    return labels, history
