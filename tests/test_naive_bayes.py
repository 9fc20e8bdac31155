"""Gaussian naive Bayes on centres of clusters: by hand, as scikit-learn's, and as that of the pixels themselves."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from dfcbench_methods.naive_bayes import LEAST_VARIANCE, CentroidBayes


def test_by_hand() -> None:
    """One feature. The first class has centres 0 and 2 with weights 3 and 1, the second has centre 4, of scatter 1."""
    centres, scatter = np.array([[0.0], [2.0], [4.0]]), np.array([[0.5], [0.5], [1.0]])
    bayes = CentroidBayes.of(centres, scatter, np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0]]))
    np.testing.assert_allclose(bayes.mean.ravel(), [0.5, 4.0])
    np.testing.assert_allclose(bayes.variance.ravel(), [0.75 + 0.5, 1.0])
    first, second = norm.pdf(2.0, 0.5, np.sqrt(1.25)), norm.pdf(2.0, 4.0, 1.0)
    found = bayes.probabilities(np.array([[2.0]], np.float32))
    np.testing.assert_allclose(found, [[first / (first + second), second / (first + second)]], rtol=1e-5)


def test_without_scatter_it_is_scikit_learns_on_the_centres() -> None:
    from sklearn.naive_bayes import GaussianNB

    generator = np.random.default_rng(0)
    centres = generator.normal(0, 2, (30, 4))
    y = np.arange(30) % 3
    sizes = generator.integers(1, 500, 30)
    plain = GaussianNB(priors=[1 / 3] * 3, var_smoothing=0).fit(centres, y, sizes)
    bayes = CentroidBayes.of(centres, np.zeros_like(centres), np.eye(3)[y] * sizes[:, None])
    x = generator.normal(0, 2, (200, 4)).astype(np.float32)
    np.testing.assert_allclose(bayes.mean, plain.theta_)
    np.testing.assert_allclose(bayes.variance, plain.var_)
    np.testing.assert_allclose(bayes.probabilities(x), plain.predict_proba(x), atol=1e-5)


def test_with_scatter_a_class_is_as_wide_as_its_pixels() -> None:
    generator = np.random.default_rng(1)
    pixels, of = generator.normal(0, [1, 3], (900, 2)), generator.integers(0, 5, 900)
    centres = np.array([pixels[of == k].mean(axis=0) for k in range(5)])
    scatter = np.array([pixels[of == k].var(axis=0) for k in range(5)])
    bayes = CentroidBayes.of(centres, scatter, np.bincount(of)[:, None])
    np.testing.assert_allclose(bayes.mean[0], pixels.mean(axis=0))
    np.testing.assert_allclose(bayes.variance[0], pixels.var(axis=0))


def test_a_class_without_weight_never_is_and_one_without_width_gets_some() -> None:
    bayes = CentroidBayes.of(np.array([[0.0], [1.0]]), np.zeros((2, 1)), np.array([[1.0, 0, 0], [0, 0, 1.0]]))
    p = bayes.probabilities(np.linspace(-300, 300, 50, dtype=np.float32)[:, None])
    assert np.isfinite(p).all() and (p[:, 1] == 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)
    assert (bayes.variance[[0, 2]] == LEAST_VARIANCE).all()
