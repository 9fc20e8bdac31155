"""Classes of clusters: mixtures planted in low-resolution labels are found again, and combined with a pixel's own label."""

from __future__ import annotations

import numpy as np
import pytest

from dfcbench.scheme import CODES, SCORED_CODES
from dfcbench_methods.cluster_classes import LEAST_SHARE, ClusterClasses, mixtures
from dfcbench_methods.label_prior import image_prior


def confusion(seed: int = 0, right: float = 0.4) -> np.ndarray:
    """p(c | l), (8, 10): labels that are right in so many of a class's pixels, and otherwise confused at random."""
    generator = np.random.default_rng(seed)
    of_class = (1 - right) * generator.dirichlet(np.full(10, 0.5), 8)
    of_class[np.arange(8), np.array(SCORED_CODES) - 1] += right
    return of_class


@pytest.mark.parametrize("seed", range(4))
def test_planted_mixtures_are_found_where_counting_labels_is_wrong(seed: int) -> None:
    of_class = confusion(seed)
    planted = np.random.default_rng(seed).dirichlet(np.full(8, 0.2), 12)
    counts = np.rint(1e6 * planted @ of_class)
    found = mixtures(counts, of_class)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(found, planted, atol=0.03)
    counted = counts[:, np.array(SCORED_CODES) - 1]
    counted /= counted.sum(axis=1, keepdims=True)
    assert np.abs(counted - planted).max() > 0.15


def test_no_other_mixture_makes_the_labels_likelier() -> None:
    generator = np.random.default_rng(0)
    of_class, counts = confusion(), generator.integers(0, 300, (5, 10))

    def likelihood(shares: np.ndarray) -> np.ndarray:
        return np.asarray((counts * np.log(shares @ of_class)).sum(axis=1))

    best = likelihood(mixtures(counts, of_class))
    for _ in range(200):
        assert (likelihood(generator.dirichlet(np.full(8, 0.3), 5) + 1e-12) <= best + 1e-6 * abs(best)).all()


def test_a_cluster_without_labels_may_be_anything() -> None:
    found = mixtures(np.zeros((2, 10), int), confusion())
    np.testing.assert_array_equal(found, np.full((2, 8), 1 / 8))


def planted(clusters: np.ndarray, n: int = 4000, right: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Pixels by cluster and code, (k, 11), and p(l | c), for clusters of one class each."""
    of_class = confusion(1, right)
    counts = np.zeros((len(clusters), 11), int)
    counts[:, 1:] = np.rint(n * of_class[clusters])
    joint = np.zeros((10, 8))
    for k, c in enumerate(clusters):
        joint[:, c] += counts[k, 1:]
    return counts, joint / np.maximum(joint.sum(axis=1, keepdims=True), 1)


def test_probabilities_are_cluster_times_label_over_the_classs_share() -> None:
    counts, prior = planted(np.array([0, 3, 3, 7, 5, 1, 2, 4, 6]))
    classes = ClusterClasses.of(counts, prior)
    generator = np.random.default_rng(0)
    clusters, low = generator.integers(0, 9, (6, 7)), generator.integers(0, 11, (6, 7)).astype(np.uint8)
    found = classes.probabilities(clusters, low)
    label = image_prior(classes.prior, low)
    seen = counts[:, 1:].sum(axis=0) / counts[:, 1:].sum()
    share = np.maximum(seen @ classes.prior, LEAST_SHARE)
    for y in range(6):
        for x in range(7):
            p = classes.likelihood[clusters[y, x]] * label[low[y, x]] / share
            np.testing.assert_allclose(found[:, y, x], p / p.sum(), rtol=1e-4, atol=1e-30)


def test_clusters_of_one_class_are_found_although_most_of_their_labels_are_wrong() -> None:
    truth = np.array([0, 3, 3, 7, 5, 1, 2, 4, 6])
    counts, prior = planted(truth, right=0.45)
    assert (ClusterClasses.of(counts, prior).likelihood.argmax(axis=1) == truth).all()


def test_a_class_that_no_label_speaks_for_is_not_raised_to_all_the_others() -> None:
    """No Wetlands anywhere: equal weight for classes must not turn what little is left of it into a map of Wetlands."""
    truth = np.array([0, 1, 2, 4, 5, 6, 7])
    counts, prior = planted(truth)
    classes = ClusterClasses.of(counts, prior)
    low = np.array([[CODES[c] for c in range(10)]], np.uint8)
    for k in range(len(truth)):
        best = classes.probabilities(np.full(low.shape, k), low).argmax(axis=0)
        assert (best != 3).all()
