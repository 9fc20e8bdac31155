"""Fusion by class: estimated accuracies against known ones, weights, and the sum of branches."""

from __future__ import annotations

import numpy as np
import pytest

from dfcbench_methods.branch_fusion import combinations, estimate, fused


def observers(n: int, seed: int, *rates: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]:
    """Truth, LR codes and branches that name class k rightly with rates[b][k], and p(l | c) (11, 8)."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(8, n, p=np.arange(8, 0, -1) / 36)
    low = np.where(rng.random(n) < 0.6, truth, rng.integers(0, 8, n)).astype(np.uint8) + 1
    branches = []
    for rate in rates:
        other = (truth + rng.integers(1, 8, n)) % 8
        branches.append(np.where(rng.random(n) < rate[truth], truth, other))
    counts = np.zeros((11, 8))
    np.add.at(counts, (low, truth), 1)
    counts[counts.sum(axis=1) == 0] = counts.sum(axis=0)
    return truth, low, branches, counts / counts.sum(axis=1, keepdims=True)


def test_combinations_count_each_pixel_once():
    low = np.array([[0, 10], [3, 3]], np.uint8)
    first, second = np.array([[0, 7], [1, 1]]), np.array([[2, 7], [5, 5]])
    counts = combinations(low, [first, second])
    assert counts.shape == (11, 8, 8)
    assert counts.sum() == 4 and counts[0, 0, 2] == 1 and counts[10, 7, 7] == 1 and counts[3, 1, 5] == 2


def test_accuracies_of_branches_that_err_independently_are_found():
    good, bad = np.linspace(0.9, 0.6, 8), np.linspace(0.35, 0.75, 8)
    truth, low, branches, prior = observers(200_000, 0, good, bad, np.full(8, 0.7))
    found = estimate(combinations(low, branches), prior, 30)
    for number, branch in enumerate(branches):
        for k in range(8):
            assert found.producers[number, k] == pytest.approx((branch[truth == k] == k).mean(), abs=0.04)
            assert found.users[number, k] == pytest.approx((truth[branch == k] == k).mean(), abs=0.06)
    np.testing.assert_allclose(found.share, np.bincount(truth, minlength=8) / len(truth), atol=0.02)
    f1 = np.array(
        [
            [2 * ((b == k) & (truth == k)).sum() / ((b == k).sum() + (truth == k).sum()) for k in range(8)]
            for b in branches
        ]
    )
    np.testing.assert_allclose(found.weights, f1 / f1.sum(axis=0), atol=0.03)


def test_without_iterations_the_truth_is_what_the_prior_says():
    _, low, branches, prior = observers(5000, 1, np.full(8, 0.8), np.full(8, 0.5))
    found = estimate(combinations(low, branches), prior, 0)
    posterior = prior[low]
    for number, branch in enumerate(branches):
        for k in range(8):
            assert found.producers[number, k] == pytest.approx(posterior[branch == k, k].sum() / posterior[:, k].sum())
            assert found.users[number, k] == pytest.approx(posterior[branch == k, k].mean())


@pytest.mark.parametrize("iterations", [0, 10])
def test_weights_sum_to_one_even_for_classes_that_nobody_names(iterations):
    low = np.full(100, 4, np.uint8)
    prior = np.full((11, 8), 1 / 8)
    found = estimate(combinations(low, [np.zeros(100, int), np.ones(100, int), np.ones(100, int)]), prior, iterations)
    np.testing.assert_allclose(found.weights.sum(axis=0), 1)
    np.testing.assert_allclose(found.weights[:, 5], 1 / 3)


def test_one_branch_has_all_the_weight():
    _, low, branches, prior = observers(1000, 2, np.full(8, 0.5))
    np.testing.assert_array_equal(estimate(combinations(low, branches), prior, 5).weights, np.ones((1, 8)))


def test_a_class_comes_from_the_branch_that_has_its_weight():
    rng = np.random.default_rng(0)
    a, b = (rng.dirichlet(np.ones(8), (4, 5)).transpose(2, 0, 1).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(fused([a, b], np.array([np.ones(8), np.zeros(8)])), a, rtol=1e-5)
    weights = np.array([np.arange(8) < 4, np.arange(8) >= 4], float)
    p = fused([a, b], weights)
    np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_allclose(p[0] / p[7], a[0] / b[7], rtol=1e-4)
