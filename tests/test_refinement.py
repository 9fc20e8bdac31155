"""Refinement of low-resolution labels: each step on cases made up for it, and all of them on patches."""

from __future__ import annotations

import numpy as np
import pytest

from dfcbench.scheme import SCORED_CODES
from dfcbench_methods import refinement
from dfcbench_methods.forest_labels import Refining, training_labels
from dfcbench_methods.forest_sampling import NONE
from dfcbench_methods.forests import Growing
from tests.forest_maker import Patches, context, plain_patch

FOREST, SHRUBLAND, SAVANNA, GRASSLAND, WETLANDS, SNOW, BARREN, WATER = 1, 2, 3, 4, 5, 8, 9, 10


def blobs(sizes: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Samples around far centres: features (n, 4), the last of which is their bareness, and which blob each is of."""
    rng = np.random.default_rng(seed)
    centres = rng.permuted(np.arange(len(sizes) * 4).reshape(len(sizes), 4), axis=0).astype(float)
    blob = np.repeat(np.arange(len(sizes)), sizes)
    return (centres[blob] + rng.normal(0, 0.05, (len(blob), 4))).astype(np.float32), blob


@pytest.mark.parametrize("seed", range(3))
def test_the_barest_of_five_clusters_of_shrubland_is_barren(seed):
    x, blob = blobs([300, 200, 150, 100, 50], seed)
    clusters = refinement.shrubland_clusters(x, x[:, 3], 5, seed)
    barest = max(range(5), key=lambda k: x[blob == k, 3].mean())
    np.testing.assert_array_equal(clusters.barren(x), blob == barest)


def test_clusters_do_not_depend_on_the_units_of_a_feature():
    x, _ = blobs([100, 100, 100, 100, 100])
    scale = np.array([1, 1000, 1, 1e-3], np.float32)
    one = refinement.shrubland_clusters(x, x[:, 3], 5).barren(x)
    other = refinement.shrubland_clusters(x * scale, x[:, 3], 5).barren(x * scale)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("n", [0, 1])
def test_without_two_different_samples_shrubland_stays(n):
    assert refinement.shrubland_clusters(np.ones((n, 3), np.float32), np.ones(n)) is None
    assert refinement.shrubland_clusters(np.ones((500, 3), np.float32), np.ones(500)) is None


def test_fewer_samples_than_clusters_make_fewer_clusters():
    x = np.array([[0, 0], [1, 1], [9, 9]], np.float32)
    assert refinement.shrubland_clusters(x, x[:, 1], 5).barren(x).tolist() == [False, False, True]


def test_low_resolution_barren_and_snow_are_dropped_and_nothing_else():
    low = np.arange(11, dtype=np.uint8)
    assert refinement.without_barren(low).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 10]


@pytest.mark.parametrize(("water", "least", "expected"), [(0, 1, GRASSLAND), (1, 1, WETLANDS), (3, 4, GRASSLAND)])
def test_savanna_is_wetlands_where_the_patch_contains_water_and_grassland_elsewhere(water, least, expected):
    low = np.array([[SAVANNA, SAVANNA, FOREST, GRASSLAND, WETLANDS], [WATER, WATER, WATER, SAVANNA, 0]], np.uint8)
    low[1, water:3] = FOREST
    codes, added = refinement.without_savanna(low, least)
    np.testing.assert_array_equal(added, low == SAVANNA)
    assert set(codes[added]) == {expected}
    np.testing.assert_array_equal(codes[~added], low[~added])


def test_added_samples_are_kept_where_the_forest_is_sure_of_their_own_label():
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [0.1, 0.9]])
    labels = np.array([0, 0, 0, 1], np.uint8)
    assert refinement.confident(labels, p, 0.5).tolist() == [True, False, True, True]
    assert refinement.confident(labels, p, 0.95).tolist() == [False] * 4
    assert refinement.confident(labels[:0], p[:0]).tolist() == []


def bands_and_bareness(patch) -> np.ndarray:
    """As many features as the plain stack has, the first band in all of them."""
    return np.repeat(patch.s2[1:2].astype(np.float32), 24, axis=0)


SETTINGS = Refining(5, 1, 0.5, 100_000, (GRASSLAND, WETLANDS), Growing(trees=3, min_samples=2))


def refined(target: list, labelled: list, tmp_path, features=bands_and_bareness, settings: Refining = SETTINGS):
    population = training_labels(Patches(labelled), Patches(target), settings, features, context(tmp_path))
    codes = np.array([*SCORED_CODES, *[0] * (NONE - 7)])
    return [codes[population.labels(i)] for i in range(len(population))]


def test_savanna_that_looks_like_another_class_is_filtered_out(tmp_path):
    """Left half Savanna as dark as the wetlands around it, right half Savanna as bright as forests elsewhere."""
    low = np.full((20, 20), SAVANNA)
    low[0], low[1] = WATER, WETLANDS
    wet = plain_patch("wet", low)
    wet.s2[:, 0] = 100
    wet.s2[:, 2:, 10:] = 5000
    woods = plain_patch("woods", np.full((60, 60), FOREST), s2=5000)
    (wet_codes, wood_codes) = refined([wet, woods], [], tmp_path)
    assert (wet_codes[2:, :10] == WETLANDS).all()
    assert (wet_codes[2:, 10:] == 0).all()
    assert (wet_codes[1] == WETLANDS).all(), "Wetlands of the low-resolution labels are not asked about"
    assert (wood_codes == FOREST).all()


def test_shrubland_gives_the_new_barren_and_the_old_one_is_gone(tmp_path):
    low = np.full((20, 20), SHRUBLAND)
    low[:2] = BARREN
    patch = plain_patch("shrubs", low)
    patch.s2 += (np.arange(20)[:, None] // 4 * 1000).astype(np.uint16)
    (codes,) = refined([patch], [], tmp_path)
    assert (codes[:2] == 0).all()
    assert (codes[16:] == BARREN).all()
    assert (codes[2:16] == SHRUBLAND).all()


def test_of_the_reference_wetlands_and_grassland_are_left_out_only_where_refined_labels_have_them(tmp_path):
    labelled = plain_patch("reference", np.zeros((8, 10)))
    labelled.high = np.repeat(np.array([*SCORED_CODES, 0, 0], np.uint8)[None], 8, axis=0)
    low = np.full((20, 20), SAVANNA)
    low[:5] = FOREST
    grassy = plain_patch("grassy", low)
    grassy.s2[:, :5] = 4000
    codes = refined([grassy], [labelled], tmp_path)[0]
    assert set(np.unique(codes)) == {0, *SCORED_CODES} - {GRASSLAND}, "no refined sample is of Wetlands"


def test_labels_without_savanna_water_or_shrubland_pass_as_they_are(tmp_path):
    low = np.repeat(np.array([FOREST, 6, 7, SNOW, 0]), 4).reshape(4, 5)
    (codes,) = refined([plain_patch("p", low)], [], tmp_path)
    np.testing.assert_array_equal(codes, np.where(low == SNOW, 0, low))
