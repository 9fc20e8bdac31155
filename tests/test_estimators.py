"""Estimates from judged points: published examples, brute force, and how often the intervals hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta

from dfcbench.estimators import Sample, areas, overall_accuracy, producers_accuracy, users_accuracy
from dfcbench.scheme import SCORED_CODES as CLASSES
from dfcbench.scoring import SIZE

SHARES = np.array([0.28, 0.11, 0.15, 0.04, 0.16, 0.15, 0.03, 0.08])
"""Of the made-up population's map: unequal, as in the contest."""
PIXELS = 10**8


def by_class(table: NDArray[np.integer], sizes: NDArray[np.integer], codes: tuple[int, ...]) -> Sample:
    """Strata are the map's classes: counts (..., H, H), class of the map down, judged class across."""
    counts = np.zeros((*table.shape[:-2], len(codes), SIZE, SIZE), np.int64)
    holds = np.zeros((len(codes), SIZE), np.bool_)
    for stratum, code in enumerate(codes):
        counts[..., stratum, code, list(codes)] = table[..., stratum, :]
        holds[stratum, code] = True
    return Sample(np.asarray(sizes), holds, counts)


OLOFSSON = by_class(
    np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]]),
    np.array([200_000, 150_000, 3_200_000, 6_450_000]),
    (1, 2, 3, 4),
)
"""The worked example of Olofsson et al. 2014, Sec. 5: forest change, strata of a map's four classes."""


def stehman() -> Sample:
    """The worked example of Stehman 2014: 40 points in 4 strata that are not the map's classes A to D."""
    strata = np.repeat(range(4), 10)
    judged = "AAAAACBABCABBBBBAABBCCCCCDDBBADDDDDDDCCB"
    mapped = "AAAAAAABBBABBBBBBBBBBBCCCCCCBBDDDDDDDDDD"
    counts = np.zeros((4, SIZE, SIZE), np.int64)
    np.add.at(counts, (strata, [ord(c) - 64 for c in mapped], [ord(c) - 64 for c in judged]), 1)
    holds = np.zeros((4, SIZE), np.bool_)
    holds[:, 1:5] = True
    return Sample(np.array([40_000, 30_000, 20_000, 10_000]), holds, counts)


def test_the_example_of_olofsson_and_others_comes_out_as_printed():
    assert round(float(overall_accuracy(OLOFSSON).value), 2) == 0.95
    assert round(1.96 * float(overall_accuracy(OLOFSSON).standard_error), 2) == 0.02
    users = [users_accuracy(OLOFSSON, k) for k in (1, 2, 3, 4)]
    assert [round(float(u.value), 2) for u in users] == [0.88, 0.73, 0.93, 0.96]
    assert [round(1.96 * float(u.standard_error), 2) for u in users] == [0.07, 0.10, 0.04, 0.02]
    producers = [producers_accuracy(OLOFSSON, k) for k in (1, 2, 3, 4)]
    assert [round(float(p.value), 2) for p in producers] == [0.75, 0.85, 0.93, 0.96]
    assert round(1.96 * float(producers[0].standard_error), 2) == 0.21
    assert round(float(areas(OLOFSSON)[:, 1].sum())) == 235_086


def test_the_example_of_stehman_comes_out_as_printed():
    sample = stehman()
    for estimate, value, error in (
        (overall_accuracy(sample), 0.63, 0.085),
        (users_accuracy(sample, 2), 0.574, 0.125),
        (producers_accuracy(sample, 2), 0.794, 0.117),
    ):
        assert float(estimate.value) == pytest.approx(value, abs=5e-4)
        assert float(estimate.standard_error) == pytest.approx(error, abs=5e-4)
    assert areas(sample)[:, 1].sum() == pytest.approx(35_000)
    assert areas(sample)[2, 3] == pytest.approx(8_000), "mapped as B, truly C"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_values_and_errors_are_those_of_a_loop_over_points(seed):
    """The formulas as they stand in the docstring, point by point, in strata that mix classes of the map."""
    generator = np.random.default_rng(seed)
    strata, size = 3, generator.integers(40, 90, 3)
    judged = generator.integers(2, 30, strata)
    points = [generator.choice([1, 2, 4], (int(n), 2)) for n in judged]
    counts = np.zeros((strata, SIZE, SIZE), np.int64)
    for h, pairs in enumerate(points):
        np.add.at(counts, (h, pairs[:, 0], pairs[:, 1]), 1)
    holds = np.zeros((strata, SIZE), np.bool_)
    holds[:, [1, 2, 4]] = True
    sample = Sample(size, holds, counts)

    def by_hand(parts):
        """Mean of ratios, from pairs of functions of (mapped, judged): is it a hit, is it in question."""
        ratios = []
        for hit, question in parts:
            y = sum(N * np.mean([hit(m, r) for m, r in p]) for N, p in zip(size, points, strict=True))
            x = sum(N * np.mean([question(m, r) for m, r in p]) for N, p in zip(size, points, strict=True))
            if x:
                ratios.append((hit, question, y / x, x))
        variance = 0.0
        for N, p in zip(size, points, strict=True):
            z = [sum((h(m, r) - R * q(m, r)) / X for h, q, R, X in ratios) / len(ratios) for m, r in p]
            variance += N**2 * (1 - len(p) / N) * np.var(z, ddof=1) / len(p)
        return np.mean([R for *_, R, _ in ratios]), math.sqrt(variance)

    def producers(k):
        return (lambda m, r: (m == k) & (r == k)), (lambda m, r: r == k)

    def users(k):
        return (lambda m, r: (m == k) & (r == k)), (lambda m, r: m == k)

    whole = (lambda m, r: m == r), (lambda m, r: True)
    for estimate, parts in (
        (overall_accuracy(sample), [whole]),
        (producers_accuracy(sample, 1, 2, 4), [producers(k) for k in (1, 2, 4)]),
        (users_accuracy(sample, 1, 2, 4), [users(k) for k in (1, 2, 4)]),
        *((producers_accuracy(sample, k), [producers(k)]) for k in (1, 2, 4) if counts[:, :, k].any()),
        *((users_accuracy(sample, k), [users(k)]) for k in (1, 2, 4) if counts[:, k].any()),
    ):
        value, error = by_hand(parts)
        assert float(estimate.value) == pytest.approx(value)
        assert float(estimate.standard_error) == pytest.approx(error, abs=1e-12)
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@pytest.mark.parametrize(("right", "points"), [(0, 8), (1, 8), (17, 20), (20, 20), (49, 50)])
def test_of_a_single_stratum_the_interval_is_that_of_clopper_and_pearson(right, points):
    sample = by_class(np.array([[right, points - right], [0, 1]]), np.array([10**12, 1]), (1, 2))
    found = users_accuracy(sample, 1)
    low = 0.0 if right == 0 else beta.ppf(0.025, right, points - right + 1)
    high = 1.0 if right == points else beta.ppf(0.975, right + 1, points - right)
    assert (float(found.low), float(found.high)) == pytest.approx((low, high), abs=1e-6)


def test_a_stratum_seen_as_a_whole_is_known_and_one_never_seen_has_no_weight():
    whole = by_class(np.array([[6, 4], [3, 7]]), np.array([10, 10]), (1, 2))
    found = overall_accuracy(whole)
    assert float(found.value) == float(found.low) == float(found.high) == pytest.approx(0.65)
    assert float(found.standard_error) == 0
    unseen = by_class(np.array([[8, 2], [0, 0]]), np.array([1000, 9000]), (1, 2))
    alone = by_class(np.array([[8, 2], [0, 0]]), np.array([1000, 9000]), (1, 2)).of(np.array([0]))
    assert np.allclose(overall_accuracy(unseen), overall_accuracy(alone))
    assert np.isnan(producers_accuracy(unseen, 4).value)
    assert np.isnan(users_accuracy(unseen, 2)).all()


def test_one_point_has_no_standard_error_and_a_wide_interval():
    found = overall_accuracy(by_class(np.array([[1, 0], [1, 0]]), np.array([500, 500]), (1, 2)))
    assert np.isnan(found.standard_error)
    assert found.low < 0.1 and found.high > 0.9


def populations(generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """p(true class | class of the map), (8, 8), of a made-up map, and the shares of its classes in random order."""
    right = generator.permutation(np.linspace(0.5, 0.97, 8))
    table = np.diag(right)
    for k in range(8):
        table[k, np.arange(8) != k] = (1 - right[k]) * generator.dirichlet(np.full(7, 0.5))
    return table, generator.permutation(SHARES)


@pytest.mark.parametrize("points", [10, 30])
def test_intervals_hold_the_truth_about_as_often_as_they_say_where_strata_are_classes(points):
    """300 samples of each of 10 populations; of all 19 measures together, and of each one."""
    generator = np.random.default_rng(points)
    held: dict[str, list[float]] = {}
    for _ in range(10):
        table, shares = populations(generator)
        drawn = np.stack([generator.multinomial(points, row, size=300) for row in table], axis=1)
        note_held(held, by_class(drawn, (shares * PIXELS).astype(np.int64), CLASSES), shares[:, None] * table)
    assert_about_nominal(held)


def test_intervals_hold_the_truth_about_as_often_as_they_say_where_strata_are_regions():
    generator = np.random.default_rng(7)
    held: dict[str, list[float]] = {}
    for _ in range(10):
        regions = [populations(generator) for _ in range(3)]
        sizes = np.array([0.5, 0.3, 0.2])
        cells = [shares[:, None] * table for table, shares in regions]
        counts = np.zeros((300, 3, SIZE, SIZE), np.int64)
        for h, cell in enumerate(cells):
            drawn = generator.multinomial(60, cell.ravel() / cell.sum(), size=300).reshape(300, 8, 8)
            counts[:, h][:, np.array(CLASSES)[:, None], np.array(CLASSES)] = drawn
        holds = np.zeros((3, SIZE), np.bool_)
        holds[:, CLASSES] = True
        truth = sum(size * cell for size, cell in zip(sizes, cells, strict=True))
        note_held(held, Sample((sizes * PIXELS).astype(np.int64), holds, counts), truth)
    assert_about_nominal(held)


def note_held(held: dict[str, list[float]], sample: Sample, truth: NDArray[np.float64]) -> None:
    """Share of samples whose intervals hold the measures of ``truth`` (8, 8): class of the map down, true class across."""
    right = np.diag(truth)
    wanted = {"OA": (overall_accuracy(sample), right.sum() / truth.sum())}
    wanted["AA"] = producers_accuracy(sample, *CLASSES), (right / truth.sum(axis=0)).mean()
    wanted["mean precision"] = users_accuracy(sample, *CLASSES), (right / truth.sum(axis=1)).mean()
    for k, code in enumerate(CLASSES):
        wanted[f"producer's {k}"] = producers_accuracy(sample, code), right[k] / truth[:, k].sum()
        wanted[f"user's {k}"] = users_accuracy(sample, code), right[k] / truth[k].sum()
    for name, (found, value) in wanted.items():
        known = np.isfinite(found.value)
        held.setdefault(name.partition(" ")[0], []).append(
            float(((found.low <= value) & (value <= found.high))[known].mean())
        )


def assert_about_nominal(held: dict[str, list[float]]) -> None:
    """At least 0.93 for each kind of measure, at most 0.99 of OA and AA, whose points are many: neither liberal nor vain.

    3000 samples of one measure have a standard error of 0.004; those of one population alone, 0.013.
    """
    means = {name: float(np.mean(values)) for name, values in held.items()}
    assert min(means.values()) > 0.93, means
    assert max(means["OA"], means["AA"]) < 0.99, means
    assert min(min(values) for values in held.values()) > 0.88, held
