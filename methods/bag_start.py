"""Where bag clustering starts: colour clusters from sampled pixels, bags from sampled windows.

The paper starts at random. Seeding by k-means++ (Arthur & Vassilvitskii 2007) instead saves most of the sweeps that a
random start spends on sorting colours out, each of which reads every image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bag_model import LABELS, Array, BagModel, Settings

SAMPLE_ROUNDS = 20
"""Rounds of expectation maximisation on the sampled pixels; beyond some 15 the sample's clusters barely move."""


def spread_seeds(points: Array, count: int, generator: np.random.Generator, trials: int = 5) -> NDArray[np.intp]:
    """Indices (count,) of points (n, D) far from each other: k-means++, the best of ``trials`` draws at each step.

    Where fewer than ``count`` points differ, some are chosen more than once.
    """
    chosen = [int(generator.integers(len(points)))]
    nearest = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < count:
        total = nearest.sum()
        if total <= 0:
            chosen.append(int(generator.integers(len(points))))
            continue
        edges = np.cumsum(nearest)
        draws = np.minimum(np.searchsorted(edges, generator.random(trials) * edges[-1]), len(points) - 1)
        candidates = np.minimum(nearest, ((points[None] - points[draws][:, None]) ** 2).sum(axis=2))
        best = int(candidates.sum(axis=1).argmin())
        chosen.append(int(draws[best]))
        nearest = candidates[best]
    return np.array(chosen)


def initial_model(sample: NDArray[Any], settings: Settings, generator: np.random.Generator) -> BagModel:
    """Clusters fitted to sampled pixels (n, C) as a mixture of equally likely Gaussians; flat p(s|b) and p(s|l).

    p(s|l) must start flat: labels are told apart by the prior alone.
    """
    x = np.asarray(sample, np.float64)
    weights = np.asarray(settings.weights)
    spread = np.maximum(x.std(axis=0), np.sqrt(settings.variance_floor))
    mean = x[spread_seeds(x / spread * np.sqrt(weights), settings.clusters, generator)]
    # Tiny steps apart where the sample holds fewer colours than there are clusters.
    mean = mean + 1e-3 * spread * generator.standard_normal(mean.shape)
    variance = np.tile(spread**2 / settings.clusters, (settings.clusters, 1))
    for _ in range(SAMPLE_ROUNDS):
        precision = weights / variance
        logits = -0.5 * (x**2) @ precision.T + x @ (precision * mean).T
        logits -= 0.5 * (precision * mean**2 + weights * np.log(variance)).sum(axis=1)
        logits *= settings.window
        logits -= logits.max(axis=1, keepdims=True)
        q = np.exp(logits)
        q /= q.sum(axis=1, keepdims=True)
        total = q.sum(axis=0)[:, None]
        alive = total > 1.0
        safe = np.maximum(total, 1.0)
        moved = q.T @ x / safe
        scatter = q.T @ x**2 / safe - moved**2
        mean = np.where(alive, moved, mean)
        variance = np.where(alive, np.maximum(scatter, settings.variance_floor), variance)
    return BagModel(
        settings=settings,
        mean=mean,
        variance=variance,
        bag_share=np.full(settings.bags, 1.0 / settings.bags),
        in_bag=np.full((settings.bags, settings.clusters), 1.0 / settings.clusters),
        in_label=np.full((LABELS, settings.clusters), 1.0 / settings.clusters),
    )


def window_histograms(
    clusters: NDArray[np.integer[Any]], settings: Settings, count: int, generator: np.random.Generator
) -> Array:
    """Shares of the clusters in ``count`` windows drawn from a map (H, W) of most probable clusters: (count, S)."""
    height, width = clusters.shape
    r = settings.radius
    rows = generator.integers(height, size=count)[:, None] + np.arange(-r, r + 1)
    columns = generator.integers(width, size=count)[:, None] + np.arange(-r, r + 1)
    inside = clusters[np.clip(rows, 0, height - 1)[:, :, None], np.clip(columns, 0, width - 1)[:, None, :]]
    flat = inside.reshape(count, -1) + settings.clusters * np.arange(count)[:, None]
    histogram = np.bincount(flat.ravel(), minlength=count * settings.clusters).reshape(count, settings.clusters)
    return histogram / settings.window


def initial_bags(histograms: Array, settings: Settings, generator: np.random.Generator) -> Array:
    """p(s|b) from window histograms (n, S): as many unlike windows as bags, each mixed half and half with the mean.

    Unlike in the Hellinger sense, the Euclidean distance of square roots.
    """
    seeds = histograms[spread_seeds(np.sqrt(histograms), settings.bags, generator)]
    mixed = 0.5 * seeds + 0.5 * histograms.mean(axis=0)
    mixed = mixed + settings.smoothing + 1e-6
    return np.asarray(mixed / mixed.sum(axis=1, keepdims=True))
