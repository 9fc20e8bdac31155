"""Accuracies of a whole map from a few judged points: estimates, standard errors and intervals of a stratified sample.

Notation: stratum ``h`` has ``N_h`` pixels, of which ``n_h`` were drawn at random and judged. Every measure is a ratio, or
the mean of several: of all pixels that are *in question* (those that the map gives a class, those that truly have it, or
simply all), the share that is a *hit*. With p_h and q_h the shares of hits and of misses among a stratum's points,

    Y = sum_h N_h p_h,   X = sum_h N_h (p_h + q_h),   R = Y / X

(Stehman, Int. J. Remote Sensing 35, 2014, 4923-4939; where strata are the map's classes these are the estimators of
Olofsson et al., Remote Sensing of Environment 148, 2014, 42-57, eqs. 1-7). The standard error is that of the combined ratio
(Cochran, Sampling Techniques, 3rd ed. 1977, Secs. 5.4 and 6.11), with z = 1 - R for a hit, -R for a miss, 0 for the rest:

    V(R) = 1 / X^2  sum_h N_h^2 (1 - n_h / N_h) s_h^2(z) / n_h

A mean of ratios has the mean of their z / X; so covariances between classes are in it.

Intervals do not rest on that error alone: where every judged point of a large stratum is a hit, its s_h is 0, and R plus or
minus twice the error misses the truth far too often. They are beta intervals, as Clopper and Pearson's of a single
proportion, at an effective sample size (Korn and Graubard, Survey Methodology 24, 1998, 193-201). R and V are computed once
with one more miss, for the lower end, and once with one more hit, for the upper end. That one point is shared by the strata
in which it might have been found, in proportion to their pixels; Tiwari, Clegg and Zou (Statistical Methods in Medical
Research 15, 2006, 547-569) share it equally for weighted sums of rare counts, which is too little where one stratum
outweighs the others. In a single stratum the interval is exactly Clopper and Pearson's. In a mean of K ratios each one gets
1 / sqrt(K) of a point, as standard errors of K ratios add up in squares too; a Kth part is too little, since ratios of few
points are biased, and in a mean all their biases add up.
``tests/test_estimators.py`` measures how often they hold the truth.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dfcbench.scheme import NO_LABEL
from dfcbench.scoring import LEVEL, SIZE

Floats = NDArray[np.float64]


class Estimates(NamedTuple):
    """Estimates of one measure, one per sample: arrays (...), NaN where undefined.

    standard_error is undefined where a stratum has a single judged point; low and high are the ends of the interval.
    """

    value: Floats
    standard_error: Floats
    low: Floats
    high: Floats


class Sample(NamedTuple):
    """A stratified sample, or many of one design.

    sizes: pixels N_h of each stratum, (H,). holds: which codes the map may have in a stratum, (H, 11), bool. counts: judged
    points by stratum, code of the map and code that the judge gave, (..., H, 11, 11). A stratum without judged points
    has no weight: the others speak for themselves alone.
    """

    sizes: NDArray[np.integer]
    holds: NDArray[np.bool_]
    counts: NDArray[np.integer]

    def of(self, strata: NDArray[Any]) -> Sample:
        """The sample of these strata, given by position or as a mask."""
        return Sample(self.sizes[strata], self.holds[strata], self.counts[..., strata, :, :])


def overall_accuracy(sample: Sample) -> Estimates:
    """Share of all pixels whose class is right."""
    hits = np.trace(sample.counts, axis1=-2, axis2=-1)[..., np.newaxis]
    judged = sample.counts.sum(axis=(-2, -1))[..., np.newaxis]
    can_hit = np.asarray(sample.holds[:, NO_LABEL + 1 :].any(axis=1, keepdims=True))
    return _mean_ratio(sample, hits, judged - hits, can_hit, np.ones_like(can_hit))


def producers_accuracy(sample: Sample, *codes: int) -> Estimates:
    """Of the pixels that truly have a class, the share that the map gives it (recall).

    Of several classes: the mean over those that were found among the judged points.
    """
    chosen = list(codes)
    hits = sample.counts[..., chosen, chosen]
    others = np.array([[code for code in range(SIZE) if code != k] for k in chosen])
    can_miss = np.stack([sample.holds[:, row].any(axis=1) for row in others], axis=1)
    return _mean_ratio(sample, hits, sample.counts[..., chosen].sum(axis=-2) - hits, sample.holds[:, chosen], can_miss)


def users_accuracy(sample: Sample, *codes: int) -> Estimates:
    """Of the pixels that the map gives a class, the share that truly has it (precision).

    Of several classes: the mean over those that were found on the map at the judged points.
    """
    chosen = list(codes)
    hits = sample.counts[..., chosen, chosen]
    misses = sample.counts[..., chosen, :].sum(axis=-1) - hits
    return _mean_ratio(sample, hits, misses, sample.holds[:, chosen], sample.holds[:, chosen])


def areas(sample: Sample) -> Floats:
    """The confusion matrix of the whole map, (..., 11, 11): estimated pixels, code of the map down, true code across
    (Olofsson et al. 2014, eq. 4)."""
    judged = sample.counts.sum(axis=(-2, -1))
    weight = np.where(judged > 0, sample.sizes / np.maximum(judged, 1), 0.0)
    total: Floats = (weight[..., np.newaxis, np.newaxis] * sample.counts).sum(axis=-3)
    return total


def _mean_ratio(
    sample: Sample,
    hits: NDArray[np.integer],
    misses: NDArray[np.integer],
    can_hit: NDArray[np.bool_],
    can_miss: NDArray[np.bool_],
) -> Estimates:
    """The mean over components of hits / (hits + misses). hits, misses: (..., H, C); can_hit, can_miss: (H, C), whether a
    stratum can have such points. A component without points is left out; no point counts in two components."""
    judged = sample.counts.sum(axis=(-2, -1)).astype(np.float64)
    counted = (judged > 0) & (can_hit | can_miss).any(axis=-1)
    strata = _Strata(np.where(counted, sample.sizes, 0), np.where(counted, 1 - judged / sample.sizes, 0.0), judged)
    known = (hits + misses).sum(axis=-2) > 0

    def one_point(possible: NDArray[np.bool_]) -> Floats:
        """Over the strata where it may be, less what of them has been seen, and over the components, (..., H, C)."""
        places = (possible & known[..., np.newaxis, :]) * strata.sizes[..., np.newaxis]
        shares = places / np.maximum(places.sum(axis=-2, keepdims=True), 1) * strata.unseen[..., np.newaxis]
        added: Floats = shares / np.sqrt(np.maximum(known.sum(axis=-1), 1))[..., np.newaxis, np.newaxis]
        return added

    with np.errstate(divide="ignore", invalid="ignore"):
        value, deviations = _linearised(strata, hits, misses, known)
        # deviations are mean squares: s^2 / n = mean square / (n - 1)
        error = np.sqrt(_variance(strata, judged - 1, deviations))
        low = _end(strata, hits, misses, one_point(can_miss), known, (1 - LEVEL) / 2, miss=True)
        high = _end(strata, hits, misses, one_point(can_hit), known, (1 + LEVEL) / 2, miss=False)
    some = known.any(axis=-1)
    error = np.where(some, error, np.nan)
    low = np.where(some & (hits.sum(axis=(-2, -1)) == 0), 0.0, np.fmin(low, value))
    high = np.where(some & (misses.sum(axis=(-2, -1)) == 0), 1.0, np.fmax(high, value))
    return Estimates(value, error, low, high)


class _Strata(NamedTuple):
    """By stratum, (..., H): pixels (0 where it does not count), share of them that nobody has seen, judged points."""

    sizes: NDArray[Any]
    unseen: Floats
    judged: Floats


def _linearised(
    strata: _Strata, hits: NDArray[Any], misses: NDArray[Any], known: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """The mean of ratios (...), and by stratum the mean square deviation of the linearised variable, (..., H)."""
    points = np.where(strata.judged > 0, strata.judged, 1.0)[..., np.newaxis]
    sizes = strata.sizes[..., np.newaxis]
    p, q = hits / points, misses / points
    in_question = (sizes * (p + q)).sum(axis=-2)
    ratio = np.where(known, (sizes * p).sum(axis=-2) / in_question, 0.0)
    parts = known.sum(axis=-1)
    scale = np.where(known, 1 / (in_question * parts[..., np.newaxis]), 0.0)
    up, down = ((1 - ratio) * scale)[..., np.newaxis, :], (-ratio * scale)[..., np.newaxis, :]
    mean = (p * up + q * down).sum(axis=-1)
    square = (p * up**2 + q * down**2).sum(axis=-1)
    return ratio.sum(axis=-1) / parts, np.maximum(square - mean**2, 0.0)


def _variance(strata: _Strata, divisor: Floats, deviations: Floats) -> Floats:
    """Of an estimate, from its strata; one that was seen as a whole adds nothing."""
    each = strata.sizes.astype(np.float64) ** 2 * strata.unseen * deviations / divisor
    variance: Floats = np.where(strata.unseen > 0, each, 0.0).sum(axis=-1)
    return variance


def _end(
    strata: _Strata,
    hits: NDArray[Any],
    misses: NDArray[Any],
    added: Floats,
    known: NDArray[np.bool_],
    level: float,
    *,
    miss: bool,
) -> Floats:
    """One end of the interval, with the added point counted as a miss or a hit: a quantile of the beta distribution that
    has the mean R and the variance V, the shares of a stratum being those of a Dirichlet distribution."""
    from scipy.special import betaincinv

    hits, misses = (hits, misses + added) if miss else (hits + added, misses)
    enlarged = strata._replace(judged=strata.judged + added.sum(axis=-1))
    value, deviations = _linearised(enlarged, hits, misses, known)
    variance = _variance(enlarged, enlarged.judged + 1, deviations)
    size = value * (1 - value) / variance - 1
    usable = (variance > 0) & (size > 0)
    end: Floats = np.where(usable, betaincinv(value * size, (1 - value) * size, level), value)
    return end
