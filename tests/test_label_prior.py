"""The prior over labels: rows sum to one, the published arithmetic, and what happens where labels are missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dfcbench.errors import ContractError
from dfcbench.method import RunContext
from dfcbench_methods.label_prior import LocalPrior, image_prior, smoothed_prior, under_prior
from tests.bag_maker import FakePatch
from tests.forest_maker import plain_patch

TABLE = np.random.default_rng(0).dirichlet(np.ones(8), size=10)


def test_smoothing_adds_to_every_cell_and_renormalises() -> None:
    expected = (TABLE[3] + 0.05) / (1 + 8 * 0.05)
    np.testing.assert_allclose(smoothed_prior(TABLE)[3], expected)


def test_counts_serve_as_well_as_shares() -> None:
    np.testing.assert_allclose(smoothed_prior(1000 * TABLE), smoothed_prior(TABLE))


@pytest.mark.parametrize("empty", [0.0, np.nan])
def test_class_never_seen_becomes_uniform(empty: float) -> None:
    table = TABLE.copy()
    table[7] = empty
    prior = smoothed_prior(table)
    np.testing.assert_allclose(prior[7], 1 / 8)
    np.testing.assert_allclose(np.delete(prior, 7, axis=0), np.delete(smoothed_prior(TABLE), 7, axis=0))


def test_wrong_shape_and_negative_cells_are_refused() -> None:
    with pytest.raises(ContractError, match=r"\(8, 10\)"):
        smoothed_prior(TABLE.T)
    with pytest.raises(ContractError, match="negative"):
        smoothed_prior(-TABLE)


def test_blur_is_ten_parts_the_pixel_and_one_part_the_image() -> None:
    prior = smoothed_prior(TABLE)
    low = np.array([[1, 1], [1, 3]], np.uint8)
    mean = (3 * prior[0] + prior[2]) / 4
    blurred = image_prior(prior, low)
    np.testing.assert_allclose(blurred[1], (10 * prior[0] + mean) / 11)
    np.testing.assert_allclose(blurred[3], (10 * prior[2] + mean) / 11)


def test_savanna_and_snow_are_labels_like_any_other() -> None:
    prior = smoothed_prior(TABLE)
    blurred = image_prior(prior, np.full((4, 4), 8, np.uint8))
    np.testing.assert_allclose(blurred[8], prior[7])
    blurred = image_prior(prior, np.full((4, 4), 3, np.uint8))
    np.testing.assert_allclose(blurred[3], prior[2])


def test_pixels_without_a_label_take_the_image_mean_and_do_not_enter_it() -> None:
    prior = smoothed_prior(TABLE)
    low = np.array([[0, 0, 0], [0, 5, 6]], np.uint8)
    np.testing.assert_allclose(image_prior(prior, low)[0], (prior[4] + prior[5]) / 2)


def test_image_without_any_label_is_uniform_where_it_knows_nothing() -> None:
    np.testing.assert_allclose(image_prior(smoothed_prior(TABLE), np.zeros((3, 3), np.uint8))[0], 1 / 8)


@given(
    hnp.arrays(np.float64, (10, 8), elements=st.floats(0, 1e6)),
    hnp.arrays(np.uint8, (5, 7), elements=st.integers(0, 10)),
    st.floats(0, 100),
)
def test_every_row_is_a_distribution(table: np.ndarray, low: np.ndarray, weight: float) -> None:
    rows = image_prior(smoothed_prior(table), low, weight)
    assert rows.shape == (11, 8)
    assert (rows > 0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1)


def images(seed: int = 0) -> list[FakePatch]:
    """Patches of several sizes with random low-resolution labels, some without any."""
    rng = np.random.default_rng(seed)
    lows = [rng.integers(0, 11, size) for size in ((6, 9), (4, 4), (12, 5))] + [np.zeros((3, 3))]
    return [plain_patch(f"p{number}", low) for number, low in enumerate(lows)]


@pytest.mark.parametrize("balanced", [False, True])
def test_the_local_prior_is_that_of_each_image_and_balanced_it_counts_classes_alike(balanced):
    table = smoothed_prior(np.random.default_rng(1).random((10, 8)))
    patches = images()
    local = LocalPrior.of(patches, table, 10.0, balanced, RunContext())
    codes = np.concatenate([patch.low.ravel() for patch in patches])
    mean = table[codes[codes > 0] - 1].mean(axis=0)
    np.testing.assert_allclose(local.mean, mean)
    for patch in patches:
        p = local(patch.low)
        assert p.shape == (8, *patch.shape)
        expected = image_prior(table, patch.low)[patch.low[1, 2]] / (mean if balanced else 1)
        np.testing.assert_allclose(p[:, 1, 2], expected / expected.sum(), rtol=1e-5)


def test_without_any_label_the_local_prior_is_uniform():
    local = LocalPrior.of([plain_patch("p", np.zeros((4, 4)))], smoothed_prior(np.eye(10, 8)), 10.0, True, RunContext())
    np.testing.assert_allclose(local(np.zeros((4, 4), np.uint8)), 1 / 8)


def test_a_classifier_under_another_prior_is_the_one_that_learned_under_it():
    """Bayes' rule with known densities: what is learned in shares a becomes what is learned in shares b."""
    rng = np.random.default_rng(2)
    density = rng.random((8, 50))
    a, b = rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(8))
    under_a, under_b = ((w[:, None] * density) / (w @ density) for w in (a, b))
    np.testing.assert_allclose(under_prior(under_a, a, np.tile(b[:, None], 50)), under_b, rtol=1e-4)


def test_a_class_that_was_not_learned_stays_out_and_where_nothing_is_left_the_prior_stands():
    p = np.zeros((8, 2))
    p[0, 0] = 1
    p[3, 1] = 1
    learned = np.full(8, 1 / 7)
    learned[5] = 0
    prior = np.full((8, 2), 1 / 8)
    prior[:, 1] = np.eye(8)[6]
    found = under_prior(p, learned, prior)
    np.testing.assert_allclose(found[:, 0], np.eye(8)[0])
    np.testing.assert_allclose(found[:, 1], np.eye(8)[6])
