"""Epitome likelihoods, posteriors and mixtures against sums written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dfcbench_methods import epitome_torch
from dfcbench_methods.epitome_likelihood import Dense, Tables, windows_over
from dfcbench_methods.epitome_model import EpitomeModel
from dfcbench_methods.epitome_torch import TorchDense
from dfcbench_methods.epitome_training import energies

TEMPERATURE = 4.0
WEIGHTS = np.array([1.0, 0.5, 1.0])


def torus(window: int, size: int = 11, channels: int = 3) -> EpitomeModel:
    rng = np.random.default_rng(window)
    shape = (channels, size, size)
    return EpitomeModel(rng.random(shape), rng.uniform(1, 20, shape), rng.normal(size=shape[1:]), window)


def picture(height: int = 9, width: int = 13, channels: int = 3) -> NDArray[np.float64]:
    return np.random.default_rng(1).random((channels, height, width))


def brute_joint(model: EpitomeModel, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """log p(x, u) / T, one window, position, offset and channel at a time in effect."""
    radius = model.window // 2
    _, height, width = x.shape
    padded = np.pad(x, ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
    out = np.zeros((height, width, model.size, model.size))
    for a in range(-radius, radius + 1):
        for b in range(-radius, radius + 1):
            mean, precision = (np.roll(m, (-a, -b), (1, 2)) for m in (model.mean, model.precision))
            pixels = padded[:, radius + a : radius + a + height, radius + b : radius + b + width]
            difference = pixels[:, :, :, None, None] - mean[:, None, None]
            terms = -precision[:, None, None] * difference**2 / 2 + np.log(precision / (2 * np.pi))[:, None, None] / 2
            out += np.einsum("c,chwuv->hwuv", WEIGHTS, terms)
    logit = model.logit - np.log(np.exp(model.logit).sum())
    return (out + logit) / TEMPERATURE


def brute_posterior(model: EpitomeModel, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    joint = np.exp(brute_joint(model, x))
    evidence = joint.sum(axis=(2, 3))
    return joint / evidence[:, :, None, None], np.log(evidence)


def brute_windows(
    posterior: NDArray[np.float64], table: NDArray[np.float64], window: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean mixture of the windows over each pixel, and how many they are."""
    height, width = posterior.shape[:2]
    total, count = np.zeros((len(table), height, width)), np.zeros((height, width))
    radius = window // 2
    for a in range(-radius, radius + 1):
        for b in range(-radius, radius + 1):
            moved = np.einsum("hwuv,luv->lhw", posterior, np.roll(table, (-a, -b), (1, 2)))
            for y in range(max(0, -a), min(height, height - a)):
                for z in range(max(0, -b), min(width, width - b)):
                    total[:, y + a, z + b] += moved[:, y, z]
                    count[y + a, z + b] += 1
    return total / count, count


@pytest.fixture(params=["numba", "torch", "torch in strips"])
def dense_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    def make(model: EpitomeModel, dtype=np.float64) -> Dense | TorchDense:
        tables = Tables.of(model, WEIGHTS, TEMPERATURE, dtype)
        if request.param == "numba":
            return Dense(tables)
        if request.param == "torch in strips":
            monkeypatch.setattr(epitome_torch, "STRIP_BYTES", 8000)
        return TorchDense(tables, "cpu")

    return make


@pytest.mark.parametrize("window", [1, 3, 5, 7])
def test_log_likelihood_equals_brute_force(window: int) -> None:
    model, x = torus(window), picture()
    found = Dense(Tables.of(model, WEIGHTS, TEMPERATURE, np.float64)).log_joint(x)
    np.testing.assert_allclose(found, brute_joint(model, x), rtol=0, atol=1e-11)


def test_training_sees_the_same_likelihood() -> None:
    model, x = torus(5), picture()
    views = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(1, 2))
    windows = torch.from_numpy(views[:, 1:3, 2:6].reshape(3, -1, 5, 5).transpose(1, 0, 2, 3).copy())
    parameters = (torch.from_numpy(np.array(p)) for p in (model.mean, model.precision, model.logit))
    found = energies(*parameters, windows, torch.from_numpy(WEIGHTS)[:, None, None], TEMPERATURE)
    wanted = brute_joint(model, x)[3:5, 4:8].reshape(found.shape)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("window", [1, 3, 7])
def test_evidence_and_centre_form_equal_brute_force(dense_of, window: int) -> None:
    model, x = torus(window), picture()
    table = np.random.default_rng(2).random((8, 11, 11))
    posterior, evidence = brute_posterior(model, x)
    np.testing.assert_allclose(dense_of(model).log_evidence(x), evidence, atol=1e-6)
    wanted = np.einsum("hwuv,luv->lhw", posterior, table)
    np.testing.assert_allclose(dense_of(model).centre_labels(x, table), wanted, atol=1e-6)
    np.testing.assert_allclose(dense_of(model, np.float32).centre_labels(x, table), wanted, atol=1e-5)


@pytest.mark.parametrize("window", [1, 3, 7])
def test_window_form_equals_brute_force(dense_of, window: int) -> None:
    model, x = torus(window), picture()
    table = np.random.default_rng(2).random((8, 11, 11))
    wanted, _ = brute_windows(brute_posterior(model, x)[0], table, window)
    np.testing.assert_allclose(dense_of(model).window_labels(x, table), wanted, atol=1e-6)
    np.testing.assert_allclose(dense_of(model, np.float32).window_labels(x, table), wanted, atol=1e-5)


def test_posteriors_are_added_by_group_of_the_pixel(dense_of) -> None:
    model, x = torus(3), picture()
    group = np.random.default_rng(2).integers(0, 4, x.shape[1:]).astype(np.uint8)
    posterior, _ = brute_posterior(model, x)
    part = (slice(2, 7), slice(3, 13))
    wanted = np.stack([posterior[part][group[part] == g].sum(axis=0) for g in range(4)])
    sums = np.ones_like(wanted)
    dense_of(model).add_posteriors(x, group, sums, part)
    np.testing.assert_allclose(sums - 1, wanted, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (40, 17)])
def test_images_of_any_size(shape: tuple[int, int]) -> None:
    """Smaller than the window, and wider than a tile."""
    model, x = torus(7), picture(*shape)
    table = np.random.default_rng(2).random((8, 11, 11))
    wanted, _ = brute_windows(brute_posterior(model, x)[0], table, 7)
    np.testing.assert_allclose(Dense(Tables.of(model, WEIGHTS, TEMPERATURE)).window_labels(x, table), wanted, atol=1e-5)


def test_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    from dfcbench_methods import epitome_likelihood

    dense, x = Dense(Tables.of(torus(7), WEIGHTS, TEMPERATURE, np.float64)), picture(9, 45)
    table = np.random.default_rng(2).random((8, 11, 11))
    whole = dense.window_labels(x, table), dense.centre_labels(x, table)
    monkeypatch.setattr(epitome_likelihood, "_CACHE", 1)
    assert len(dense.tables.tiles(45)) == 3
    np.testing.assert_allclose(dense.window_labels(x, table), whole[0], atol=1e-12)
    np.testing.assert_allclose(dense.centre_labels(x, table), whole[1], atol=1e-12)


def test_peaked_posteriors_survive_the_cut() -> None:
    """Windows cut from the epitome itself, at a temperature where all but a few positions are left out."""
    model = EpitomeModel(torus(7).mean, np.full((3, 11, 11), 80.0), np.zeros((11, 11)), 7)
    x = np.tile(model.mean, (1, 2, 2))[:, 3:20, 2:19]
    table = np.eye(121).reshape(121, 11, 11)[:8]
    tables = Tables.of(model, WEIGHTS, 0.4)
    posterior = Dense(tables).centre_labels(x, np.eye(121).reshape(121, 11, 11))
    rows, columns = np.mgrid[3:14, 3:14]
    found = posterior[:, 3:14, 3:14].argmax(axis=0)
    np.testing.assert_array_equal(found, (rows + 3) % 11 * 11 + (columns + 2) % 11)
    np.testing.assert_allclose(
        Dense(tables).window_labels(x, table), TorchDense(tables, "cpu").window_labels(x, table), atol=1e-5
    )


def test_windows_over_a_pixel() -> None:
    assert windows_over(8, 3).tolist() == [4, 5, 6, 7, 7, 6, 5, 4]
    assert windows_over(2, 3).tolist() == [2, 2]
    assert windows_over(1, 3).tolist() == [1]
