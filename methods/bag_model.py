"""The global parameters of bag clustering, how they are started, and how a sweep's statistics re-estimate them.

Words: cluster s of colours (S of them), bag b of clusters (B), label l (L = 8), pixel i, window j, channel c (C).
``smoothing`` (epsilon) is added to q(b), q(s), p(s|b) and p(s|l), which are then renormalised. For the posteriors this
is the linear map q -> M q with M = (I + epsilon) / (1 + S epsilon), so it is applied to the tables and statistics
and costs nothing per pixel; their entropy is bounded from below by concavity, H(M q) >= (1 - d) H(q) + d log S with
d = S epsilon / (1 + S epsilon), and the block updates remain the exact maximisers of the bound that results.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.scheme import CODES, SCORED_CODES

LABELS = len(SCORED_CODES)
LOW_CODES = max(CODES) + 1
EMPTY = 1e-3
"""A cluster or bag that holds less than this many pixels keeps its parameters: there is nothing to estimate from."""

TINY = 1e-30
"""Stands in for a probability of zero under a logarithm; within float32 with all products that a sweep makes of it."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What is fixed before the fit. ``weights`` multiply the log-likelihood of each channel, shape (C,)."""

    clusters: int = 32
    bags: int = 32
    radius: int = 2
    smoothing: float = 1e-4
    variance_floor: float = 1e-6
    exact_borders: bool = False
    weights: tuple[float, ...] = (1.0,)

    @property
    def window(self) -> int:
        """Pixels of a whole window."""
        return (2 * self.radius + 1) ** 2

    def kappa(self, height: int, width: int) -> Array:
        """How often the Gaussian of each pixel counts, (H, W): the windows over it, or the whole window everywhere."""
        if not self.exact_borders:
            return np.full((height, width), float(self.window))
        rows, columns = (
            np.minimum(np.arange(n), self.radius) + np.minimum(np.arange(n)[::-1], self.radius) + 1.0
            for n in (height, width)
        )
        return np.outer(rows, columns)


@dataclass(frozen=True)
class BagModel:
    """Global parameters, float64: mean, variance (S, C); p(b) (B,); p(s|b) (B, S); p(s|l) (L, S)."""

    settings: Settings
    mean: Array
    variance: Array
    bag_share: Array
    in_bag: Array
    in_label: Array

    def tables(self, dtype: type[np.floating[Any]], texture: bool = True) -> Tables:
        """The parameters folded into the matrices that a sweep multiplies with."""
        s = self.settings
        weights = np.asarray(s.weights)
        centre = self.mean.mean(axis=0)
        mean = self.mean - centre
        log_bag, log_label = (np.log(np.maximum(p, TINY)) for p in (self.in_bag, self.in_label))
        blend_s, blend_b = blend(s.clusters, s.smoothing), blend(s.bags, s.smoothing)
        constant = -0.5 * (weights * (mean**2 / self.variance + np.log(2 * np.pi * self.variance))).sum(axis=1)
        to_cluster = np.concatenate(
            [
                blend_b @ log_bag,
                log_label,
                (weights * mean / self.variance).T,
                (-0.5 * weights / self.variance).T,
                constant[None],
            ]
        )
        return Tables(
            settings=s,
            texture=texture,
            centre=centre.astype(dtype),
            log_bag_share=np.log(self.bag_share).astype(dtype),
            to_bag=np.ascontiguousarray(blend_s @ log_bag.T, dtype),
            to_label=np.ascontiguousarray(blend_s @ log_label.T, dtype),
            to_cluster=np.ascontiguousarray(to_cluster if texture else to_cluster[s.bags :], dtype),
        )


@dataclass(frozen=True)
class Tables:
    """A ``BagModel`` as a sweep uses it; ``dtype`` throughout.

    to_bag (S, B) and to_label (S, L) turn q(s) into the evidence for b and l. to_cluster (K, S) turns the features
    [window sums of q(b), q(l), kappa x, kappa x^2, kappa] into the logits of q(s), K = B + L + 2 C + 1; the first B
    rows are absent without texture. x is taken from ``centre`` (C,), lest the squares cancel in float32.
    """

    settings: Settings
    texture: bool
    centre: NDArray[Any]
    log_bag_share: NDArray[Any]
    to_bag: NDArray[Any]
    to_label: NDArray[Any]
    to_cluster: NDArray[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.to_cluster.dtype


@dataclass
class Statistics:
    """Sums over pixels, float64, that the M step and the bound need; sums of statistics are statistics of the union.

    moments (K, S) = features^T q(s); bags (B,) = sum of q(b); by_code (11, S) = sum of q(s) over the pixels of each
    low-resolution code; bag_entropy, label_gain, log_total as the kernels return them. All before smoothing.
    """

    moments: Array
    bags: Array
    by_code: Array
    pixels: int = 0
    bag_entropy: float = 0.0
    label_gain: float = 0.0
    log_total: float = 0.0

    @classmethod
    def zeros(cls, tables: Tables) -> Statistics:
        s = tables.settings
        return cls(np.zeros(tables.to_cluster.shape), np.zeros(s.bags), np.zeros((LOW_CODES, s.clusters)))

    def add(self, other: Statistics) -> None:
        self.moments += other.moments
        self.bags += other.bags
        self.by_code += other.by_code
        self.pixels += other.pixels
        self.bag_entropy += other.bag_entropy
        self.label_gain += other.label_gain
        self.log_total += other.log_total

    def bound(self, model: BagModel, tables: Tables) -> float:
        """The bound on the log-evidence, in nats, of the posteriors just computed with ``tables`` of ``model``.

        Without texture it is that of the model without bags, and the two are not comparable.
        """
        s = model.settings
        share = _blended(s.clusters, s.smoothing)
        # Rows of q(s) sum to 1, so the features' sums are there, and from them the mean over s of all logits.
        mean_logit = float(self.moments.sum(axis=1) @ tables.to_cluster.astype(np.float64).mean(axis=1))
        total = self.label_gain + (1 - share) * self.log_total + share * mean_logit
        total += self.pixels * share * np.log(s.clusters)
        if tables.texture:
            share = _blended(s.bags, s.smoothing)
            total += (1 - share) * self.bag_entropy + self.pixels * share * np.log(s.bags)
            total += float(self.bags @ blend(s.bags, s.smoothing) @ np.log(model.bag_share))
        return float(total)


def _blended(size: int, smoothing: float) -> float:
    return size * smoothing / (1 + size * smoothing)


def blend(size: int, smoothing: float) -> Array:
    """The symmetric matrix that adds ``smoothing`` to a distribution and renormalises it."""
    return (np.eye(size) + smoothing) / (1 + size * smoothing)


def _conditional(counts: Array, previous: Array, smoothing: float) -> Array:
    """Rows of counts as distributions with ``smoothing`` added; rows that are empty stay as they were."""
    totals = counts.sum(axis=1, keepdims=True)
    rows = np.where(totals > EMPTY, counts / np.maximum(totals, EMPTY), previous)
    return np.where(totals > EMPTY, rows @ blend(counts.shape[1], smoothing), previous)


def maximise(
    model: BagModel,
    statistics: Statistics,
    centre: NDArray[Any],
    *,
    gaussians: bool = True,
    bags: bool = True,
    labels: bool = True,
) -> BagModel:
    """The M step for the blocks asked for. ``centre`` is that of the tables with which the statistics were made."""
    s = model.settings
    moments = statistics.moments @ blend(s.clusters, s.smoothing)
    at = moments.shape[0] - (LABELS + 2 * model.mean.shape[1] + 1)
    by_label, first, second, weight = np.split(
        moments[at:], np.cumsum([LABELS, model.mean.shape[1], model.mean.shape[1]])
    )
    change: dict[str, Any] = {}
    if gaussians:
        total = weight.T
        alive = total > EMPTY
        offset = first.T / np.maximum(total, EMPTY)
        spread = second.T / np.maximum(total, EMPTY) - offset**2
        change["mean"] = np.where(alive, centre.astype(np.float64) + offset, model.mean)
        change["variance"] = np.where(alive, np.maximum(spread, s.variance_floor), model.variance)
    if labels:
        change["in_label"] = _conditional(by_label, model.in_label, s.smoothing)
    if bags:
        blend_b = blend(s.bags, s.smoothing)
        change["in_bag"] = _conditional(blend_b @ moments[:at], model.in_bag, s.smoothing)
        share = blend_b @ statistics.bags
        # A bag that no window uses must keep a finite logarithm.
        share = np.maximum(share / share.sum(), TINY)
        change["bag_share"] = share / share.sum()
    return replace(model, **change)


def label_likelihood(model: BagModel, by_code: Array, log_prior: Array) -> float:
    """Sum over the pixels of patches of log sum_l p_i(l) p(s|l): what the labels explain of the clusters, in nats.

    by_code (N, 11, S) and log_prior (N, 11, 8), one of each per patch.
    """
    return float((by_code * np.log(np.maximum(np.exp(log_prior) @ model.in_label, TINY))).sum())


def label_round(model: BagModel, batches: Iterable[tuple[Array, Array]]) -> BagModel:
    """One more update of q(l) and p(s|l) with q(s) held, from the (by_code, log_prior) of all patches in batches.

    A pixel enters by its code and cluster, with q(l | s) ~ p_i(l) p(s|l); where q(s) is hard, as it nearly always is,
    that is q(l) itself. So a round costs a few thousand operations per patch instead of a pass over its pixels.
    """
    s = model.settings
    counts = np.zeros_like(model.in_label)
    for by_code, log_prior in batches:
        prior = np.exp(log_prior)
        ratio = by_code @ blend(s.clusters, s.smoothing) / np.maximum(prior @ model.in_label, TINY)
        counts += np.einsum("ncl,ncs->ls", prior, ratio, optimize=True)
    return replace(model, in_label=_conditional(counts * model.in_label, model.in_label, s.smoothing))
