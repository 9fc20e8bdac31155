"""k-means as a method: clusters know nothing of labels, and take classes one to one."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dfcbench.method import RunContext
from dfcbench.scheme import SCORED_CODES
from dfcbench_methods.clusters import MatchedClusters, match
from dfcbench_methods.kmeans import KMeansMapping, KMeansParams
from tests.sen12ms_maker import make_training


@pytest.mark.parametrize("seed", range(6))
def test_the_matching_is_the_best_of_all_permutations(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 1000, (6, 6)) ** 2
    found = match(counts)
    assert sorted(found) == list(range(6))
    best = max(sum(counts[k, c] for k, c in enumerate(order)) for order in permutations(range(6)))
    assert counts[np.arange(6), found].sum() == best


def test_fewer_clusters_than_classes_take_different_ones() -> None:
    counts = np.random.default_rng(0).integers(1, 1000, (3, 8))
    found = match(counts)
    best = max(sum(counts[k, c] for k, c in enumerate(order)) for order in permutations(range(8), 3))
    assert counts[np.arange(3), found].sum() == best


def test_clusters_left_over_take_their_most_frequent_class() -> None:
    counts = np.zeros((11, 8), np.int64)
    counts[np.arange(8), np.arange(8)] = 100
    counts[8, 3], counts[8, 4] = 50, 20
    counts[9, 6] = 1
    counts[:, 5] += 1
    found = match(counts)
    assert found[:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 3, 5]
    counts[10] = 0
    assert match(counts)[10] == counts.sum(axis=0).argmax(), "no pixel of its own tells the class"


def blobs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Eight well separated blobs of three features, of which the second varies 1000 times more than the others."""
    generator = np.random.default_rng(seed)
    centres = 10 * np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    y = np.repeat(np.arange(8), 200)
    x = centres[generator.permutation(8)][y] + generator.standard_normal((1600, 3))
    return (x * [1, 1000, 1]).astype(np.float32), y.astype(np.uint8)


def test_planted_clusters_get_their_classes() -> None:
    x, y = blobs()
    found = MatchedClusters(8, 5, True, seed=0).fit(x, y)
    assert sorted(found.classes_of_clusters_) == list(range(8))
    assert (found.predict(x) == y).mean() > 0.99


def test_without_standardising_the_widest_feature_decides() -> None:
    x, y = blobs()
    found = MatchedClusters(8, 5, False, seed=0).fit(x, y)
    assert (found.predict(x) == y).mean() < 0.6


def test_clusters_do_not_depend_on_labels_and_unlabelled_pixels_have_no_say() -> None:
    x, y = blobs()
    some = np.where(np.random.default_rng(1).random(len(y)) < 0.8, 255, y).astype(np.uint8)
    full, partly = (MatchedClusters(8, 3, True, seed=0).fit(x, labels) for labels in (y, some))
    np.testing.assert_array_equal(full.clustering_.centres, partly.clustering_.centres)
    np.testing.assert_array_equal(full.classes_of_clusters_, partly.classes_of_clusters_)


def test_pixels_go_to_the_nearest_centre() -> None:
    x, y = blobs(2)
    found = MatchedClusters(5, 2, True, seed=0).fit(x, y)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    distances = ((scaled[:, np.newaxis] - found.clustering_.centres) ** 2).sum(axis=2)
    np.testing.assert_array_equal(found.predict(x), found.classes_of_clusters_[distances.argmin(axis=1)])


def test_constant_features_and_fewer_pixels_than_clusters_do_no_harm() -> None:
    x = np.ones((3, 2), np.float32)
    x[:, 0] = [1, 2, 3]
    found = MatchedClusters(8, 1, True, seed=0).fit(x, np.array([0, 7, 255], np.uint8))
    assert found.predict(x).shape == (3,)
    assert np.isfinite(found.clustering_.centres).all()


def fitted(contest: Any, seed: int = 0, **params: Any) -> KMeansMapping:
    method = KMeansMapping(KMeansParams(**{"pixels": 4000, "restarts": 2, **params}))
    method.fit(contest, RunContext(seed=seed))
    return method


def test_it_is_fitted_on_sen12ms_alone_and_maps_codes() -> None:
    contest = make_training()
    training = type("TrainingOnly", (), {"training": contest.training})()
    method = fitted(training, inputs="s1+s2")
    for prediction in method.predict(contest.target, RunContext()):
        assert set(np.unique(prediction.values)) <= set(SCORED_CODES)
        assert len(np.unique(prediction.values)) > 2
    needs = method.requires()
    assert (needs.training, needs.transductive, needs.labels, needs.inputs) == (True, False, "low", {"s1", "s2"})


def test_savanna_is_clustered_but_never_matched() -> None:
    contest = make_training(seed=2)
    for patch in contest.training:
        patch.low[:20] = 3
    method = fitted(contest)
    draw = method._draw(contest, RunContext())
    assert (draw.y == 255).mean() >= 0.4
    found = method.classifier_
    every = found.clustering_.nearest(draw.x)
    counts = np.array([np.bincount(draw.y[every == k], minlength=256)[:8] for k in range(8)])
    np.testing.assert_array_equal(found.classes_of_clusters_, match(counts))
    assert sorted(found.classes_of_clusters_) == list(range(8))


def test_it_depends_on_the_seed_alone() -> None:
    contest = make_training()
    first, second, other = (fitted(contest, seed).classifier_.clustering_.centres for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_k_is_8_as_published() -> None:
    assert KMeansParams().clusters == 8
    with pytest.raises(ValidationError):
        KMeansParams(balance="equal")  # type: ignore[call-arg]
