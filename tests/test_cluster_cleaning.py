"""Automated label cleaning: counts of labels by cluster, what is kept, and whether it is righter than what there was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dfcbench.method import RunContext
from dfcbench_methods.cluster_cleaning import Cleaner, ClusterSettings, bands, count_labels, learn
from tests.branch_maker import contest_of

SETTINGS = ClusterSettings(clusters=30, pixels=4000, restarts=2)


@pytest.fixture(scope="module")
def contest() -> Any:
    return contest_of([(50, 70)] * 5, 0)


@pytest.fixture(scope="module")
def cleaner(contest: Any) -> Cleaner:
    return learn(contest.target, contest.label_prior, SETTINGS, 0.5, RunContext())


def test_labels_of_all_pixels_are_counted_by_their_nearest_centre(contest: Any, cleaner: Cleaner) -> None:
    clustering = cleaner.clustering
    expected = np.zeros((30, 11), int)
    for patch in contest.target:
        x = bands(patch).reshape(12, -1).T
        scaled = (x - clustering.scale.mean) / clustering.scale.deviation
        distances = ((scaled[:, None].astype(np.float64) - clustering.centres[None]) ** 2).sum(axis=2)
        np.add.at(expected, (distances.argmin(axis=1), patch.low.ravel()), 1)
    found = count_labels(contest.target, clustering, RunContext(workers=2))
    assert np.abs(found - expected).sum() <= 4, "but for ties"
    assert found.sum() == 5 * 50 * 70


def test_kept_labels_are_those_on_which_both_agree_and_bayes_is_sure(contest: Any, cleaner: Cleaner) -> None:
    patch = contest.target[0]
    clusters, bayes = cleaner.probabilities(patch)
    labels = cleaner.labels(patch)
    kept = labels > 0
    agree = (clusters.argmax(axis=0) == bayes.argmax(axis=0)) & (bayes.max(axis=0) >= 0.5)
    np.testing.assert_array_equal(kept, agree)
    strict = Cleaner(cleaner.clustering, cleaner.classes, cleaner.bayes, 0.999).labels(patch)
    assert 0 < (strict > 0).sum() < kept.sum()
    assert (strict[strict > 0] == labels[strict > 0]).all()


def test_cleaned_labels_are_righter_than_low_resolution_ones(contest: Any, cleaner: Cleaner) -> None:
    truth, cleaned, low = (
        np.concatenate([of(p).ravel() for p in contest.target])
        for of in (lambda p: p.high, cleaner.labels, lambda p: p.low)
    )
    kept = cleaned > 0
    assert kept.mean() > 0.3
    assert (cleaned == truth)[kept].mean() > (low == truth)[kept].mean() + 0.2


def test_fewer_pixels_than_clusters_and_constant_images_are_no_trouble() -> None:
    contest = contest_of([(4, 5)], 0)
    contest.target[0].s2[:] = 1000
    contest.target[0].s1[:] = np.nan
    cleaner = learn(contest.target, contest.label_prior, SETTINGS, 0.5, RunContext())
    for p in cleaner.probabilities(contest.target[0]):
        assert p.shape == (8, 4, 5) and np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-5)
