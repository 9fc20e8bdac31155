"""Bags of visual words in sliding windows, and topics of windows, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import digamma as reference_digamma

from dfcbench_methods.features.topics import Topics, digamma
from dfcbench_methods.features.words import word_counts, word_shares


def plainly(words: np.ndarray, kinds: int, window: int) -> np.ndarray:
    radius = window // 2
    out = np.empty((*words.shape, kinds), int)
    for y in range(words.shape[0]):
        for x in range(words.shape[1]):
            part = words[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
            out[y, x] = np.bincount(part.ravel(), minlength=kinds)
    return out


@pytest.mark.parametrize("shape", [(9, 14), (1, 6), (5, 1), (20, 3)])
@pytest.mark.parametrize("window", [1, 3, 7, 41])
def test_sliding_histograms_are_those_of_every_window(shape: tuple[int, int], window: int) -> None:
    words = np.random.default_rng(0).integers(0, 5, shape)
    counts = word_counts(words, 6, window)
    np.testing.assert_array_equal(counts, plainly(words, 6, window))
    shares = word_shares(counts)
    assert shares.shape == (6, *shape) and shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(shares[2], counts[..., 2] / counts.sum(axis=2), rtol=1e-6)


@pytest.mark.parametrize(("window", "kinds"), [(4, 6), (257, 6), (3, 4)])
def test_windows_without_a_centre_or_too_large_and_unknown_words_are_refused(window: int, kinds: int) -> None:
    with pytest.raises(ValueError, match=r"windows of|words run"):
        word_counts(np.full((3, 3), 4), kinds, window)


def documents(seed: int = 0, n: int = 120) -> np.ndarray:
    """Windows of 81 words, each about one or two of four topics."""
    generator = np.random.default_rng(seed)
    topics = generator.dirichlet(np.full(10, 0.3), 4)
    return np.array([generator.multinomial(81, generator.dirichlet(np.full(4, 0.2)) @ topics) for _ in range(n)])


def test_digamma_is_that_of_scipy() -> None:
    x = np.concatenate([np.geomspace(1e-3, 1, 50), np.linspace(1, 300, 200)])
    np.testing.assert_allclose([digamma(float(v)) for v in x], reference_digamma(x), rtol=1e-8, atol=1e-8)


def test_topics_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import LatentDirichletAllocation

    known, new = documents(), documents(1)
    model = LatentDirichletAllocation(4, max_iter=10, random_state=3).fit(known)
    topics = Topics.of(known, 4, 10, seed=3)
    np.testing.assert_allclose(topics.shares(new), model.transform(new), atol=1e-9)


def test_maps_hold_scikit_learns_topics_at_the_strided_windows_and_lie_between_them_elsewhere() -> None:
    from sklearn.decomposition import LatentDirichletAllocation

    words = np.random.default_rng(2).integers(0, 10, (11, 18))
    words[:, 9:] = np.minimum(words[:, 9:], 2)
    counts = word_counts(words, 10, 5)
    model = LatentDirichletAllocation(4, max_iter=10, random_state=3).fit(documents())
    maps = Topics.of(documents(), 4, 10, seed=3).maps(counts, stride=4)
    assert maps.shape == (4, 11, 18)
    np.testing.assert_allclose(maps.sum(axis=0), 1, atol=1e-5)
    rows, columns = [0, 4, 8, 10], [0, 4, 8, 12, 16, 17]
    at_windows = model.transform(counts[np.ix_(rows, columns)].reshape(-1, 10)).reshape(4, 6, 4)
    np.testing.assert_allclose(maps[:, rows][:, :, columns], np.moveaxis(at_windows, 2, 0), atol=1e-5)
    np.testing.assert_allclose(maps[:, 4, 9], 0.75 * maps[:, 4, 8] + 0.25 * maps[:, 4, 12], atol=1e-6)
    np.testing.assert_allclose(maps[:, 9, 8], (maps[:, 8, 8] + maps[:, 10, 8]) / 2, atol=1e-6)


def test_every_window_gets_its_own_topics_with_a_stride_of_one() -> None:
    counts = word_counts(np.random.default_rng(4).integers(0, 10, (4, 1)), 10, 3)
    topics = Topics.of(documents(), 4, 5, seed=0)
    np.testing.assert_allclose(topics.maps(counts, 1), np.moveaxis(topics.shares(counts), 2, 0), atol=1e-6)
