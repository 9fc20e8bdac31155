"""Segmentation: superpixels, the merging of regions against its definition, and nesting over scales."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label as connected

from dfcbench_methods.segmentation import _Regions, borders, segmented, superpixels


def blocks(size: int = 48, noise: float = 0.02, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An image of 2 bands with four quadrants, two of which are nearly alike, and which quadrant a pixel is in."""
    half = size // 2
    truth = np.kron(np.arange(4).reshape(2, 2), np.ones((half, half), int))
    levels = np.array([[0.0, 0.2, 2.0, 4.0], [0.0, 0.1, 3.0, 1.0]])
    noisy = levels[:, truth] + noise * np.random.default_rng(seed).standard_normal((2, size, size))
    return noisy.astype(np.float32), truth


def heterogeneity(pixels: np.ndarray) -> float:
    """Of pixels (n, B), as in Baatz and Schaepe."""
    return len(pixels) * float(pixels.std(axis=0).mean())


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (5, 7), (33, 50)])
def test_every_pixel_is_in_one_segment_and_segments_are_numbered_without_gaps(size):
    image = np.random.default_rng(0).standard_normal((3, *size)).astype(np.float32)
    found = segmented(image, 16, 0.1, (0.5, 2, 8))
    for scale in range(3):
        labels = found.labels(scale)
        assert labels.shape == size
        np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))


def test_an_even_image_is_one_segment():
    assert segmented(np.ones((3, 40, 40), np.float32), 16, 0.1, (1.0,)).labels(0).max() == 0


def test_segments_are_connected_and_nest_over_scales():
    image = np.random.default_rng(1).standard_normal((2, 40, 56)).cumsum(axis=1).astype(np.float32)
    found = segmented(image, 16, 0.1, (1, 3, 9))
    counts = []
    for scale in range(3):
        labels = found.labels(scale)
        counts.append(labels.max() + 1)
        for number in range(counts[-1]):
            assert connected(labels == number)[1] == 1
        if scale:
            for number in np.unique(found.labels(scale - 1)):
                assert len(np.unique(labels[found.labels(scale - 1) == number])) == 1
    assert counts[0] > counts[1] > counts[2]


def test_a_small_scale_tells_apart_what_a_large_one_joins():
    image, truth = blocks()
    found = segmented(image, 16, 0.01, (1.0, 12.0))
    table = np.zeros((found.labels(0).max() + 1, 4), int)
    np.add.at(table, (found.labels(0), truth), 1)
    assert table.max(axis=1).sum() > 0.98 * truth.size, "quadrants that differ share a segment"
    assert len(table) < 20
    large = found.labels(1)
    upper, lower = (np.bincount(large[truth == quadrant]).argmax() for quadrant in (0, 3))
    assert (large[truth <= 1] == upper).mean() > 0.98, "the two that are nearly alike are one segment"
    assert upper != lower


def test_no_neighbours_are_left_that_cost_less_than_the_scale():
    image = np.random.default_rng(2).standard_normal((3, 24, 24)).cumsum(axis=2).astype(np.float32) / 3
    labels = segmented(image, 9, 0.1, (2.0,)).labels(0)
    pixels = [image[:, labels == number].T for number in range(labels.max() + 1)]
    assert len(pixels) > 3
    for u, v in borders(labels):
        cost = (
            heterogeneity(np.concatenate([pixels[u], pixels[v]])) - heterogeneity(pixels[u]) - heterogeneity(pixels[v])
        )
        assert cost >= 2.0**2 - 1e-3


def test_mutually_best_neighbours_merge_first():
    """In a row 0, 0.1, 1, 1.1 the inner pair is worse than the outer ones; a greedy step from the left does not matter."""
    values = np.array([0.0, 0.1, 1.0, 1.1])
    n = np.full(4, 10.0)
    s = (n * values)[:, np.newaxis]
    q = (n * values**2)[:, np.newaxis]
    regions = _Regions(n, s, q, np.array([[0, 1], [1, 2], [2, 3]]))
    assert regions.merge(2.0).tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(regions.n, [20, 20])
    assert regions.edges.tolist() == [[0, 1]]
    assert regions.merge(1e9).tolist() == [0, 0]
    assert not len(regions.edges)


def test_borders_are_the_pairs_of_neighbours():
    assert borders(np.array([[0, 0, 1], [2, 2, 1]])).tolist() == [[0, 1], [0, 2], [1, 2]]
    assert borders(np.zeros((3, 3), int)).shape == (0, 2)


def test_means_are_those_of_the_pixels():
    image, _ = blocks(noise=0.5)
    found = segmented(image, 16, 0.1, (1.0, 4.0))
    for scale in range(2):
        labels = found.labels(scale)
        for number, mean in enumerate(found.means(scale, image)):
            np.testing.assert_allclose(mean, image[:, labels == number].mean(axis=1), atol=1e-5)


def test_superpixels_are_about_as_large_as_asked_for():
    image = np.random.default_rng(3).standard_normal((3, 64, 64)).astype(np.float32)
    assert 30 <= superpixels(image, 64, 1.0).max() + 1 <= 120


def test_the_same_image_has_the_same_segments():
    image, _ = blocks(noise=0.5)
    first, second = (segmented(image, 16, 0.1, (1.0, 4.0)) for _ in range(2))
    np.testing.assert_array_equal(first.labels(1), second.labels(1))
