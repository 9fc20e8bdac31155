"""The mathematics of bag clustering: against plain loops, and against its own bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dfcbench_methods import bag_engine
from dfcbench_methods.bag_engine import CpuEngine, Dense, View
from dfcbench_methods.bag_model import BagModel, Settings, Statistics, label_likelihood, label_round, maximise
from dfcbench_methods.bag_torch import TorchEngine
from tests.bag_maker import Plain, entropy, windows

HEIGHT, WIDTH, CHANNELS = 9, 7, 3
BLOCKS = ("gaussians", "bags", "labels")


def case(seed: int = 0, **options: Any) -> tuple[BagModel, View, Dense, Plain]:
    """A random model, image and q(s), and the same as plain equations."""
    generator = np.random.default_rng(seed)
    usual = {"clusters": 6, "bags": 5, "radius": 2, "smoothing": 0.0, "weights": (1.0, 0.5, 2.0)}
    settings = Settings(**{**usual, **options})
    model = BagModel(
        settings=settings,
        mean=generator.random((settings.clusters, CHANNELS)),
        variance=generator.uniform(0.02, 0.2, (settings.clusters, CHANNELS)),
        bag_share=generator.dirichlet(np.ones(settings.bags)),
        in_bag=generator.dirichlet(np.ones(settings.clusters), size=settings.bags),
        in_label=generator.dirichlet(np.ones(settings.clusters), size=8),
    )
    n = HEIGHT * WIDTH
    view = View(
        x=generator.random((CHANNELS, n)),
        low=generator.integers(0, 11, n, dtype=np.uint8),
        log_prior=np.log(generator.dirichlet(np.ones(8), size=11)),
        shape=(HEIGHT, WIDTH),
    )
    members = windows(HEIGHT, WIDTH, settings.radius)
    counts = np.array([len(m) for m in members], float)
    plain = Plain(
        x=view.x.T,
        kappa=counts if settings.exact_borders else np.full(n, float(settings.window)),
        prior=np.exp(view.log_prior)[view.low],
        weights=np.array(settings.weights),
        members=members,
        **{name: getattr(model, name) for name in ("mean", "variance", "bag_share", "in_bag", "in_label")},
    )
    return model, view, Dense(generator.dirichlet(np.ones(settings.clusters), size=n)), plain


@pytest.mark.parametrize("exact_borders", [False, True])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_a_sweep_equals_plain_loops(radius: int, exact_borders: bool) -> None:
    model, view, start, plain = case(radius=radius, exact_borders=exact_borders)
    tables = model.tables(np.float64)
    result = CpuEngine(model.settings, np.float64).sweep(tables, view, start, labels=True)
    q_b, q_l = plain.bags(start.q), plain.labels(start.q)
    q_s = plain.clusters(q_b, q_l)
    assert isinstance(result.state, Dense) and result.q_label is not None
    np.testing.assert_allclose(result.state.q, q_s, atol=1e-10)
    np.testing.assert_allclose(result.q_label.reshape(8, -1).T, plain.labels(q_s), atol=1e-6)
    assert result.statistics.bound(model, tables) == pytest.approx(plain.bound(q_b, q_s, q_l), rel=1e-11)

    new = maximise(model, result.statistics, tables.centre)
    weight = plain.kappa[:, None] * q_s
    mean = weight.T @ plain.x / weight.sum(axis=0)[:, None]
    np.testing.assert_allclose(new.mean, mean, rtol=1e-9)
    for s in range(model.settings.clusters):
        spread = (weight[:, s, None] * (plain.x - mean[s]) ** 2).sum(axis=0) / weight[:, s].sum()
        np.testing.assert_allclose(new.variance[s], np.maximum(spread, 1e-6), rtol=1e-8)
    np.testing.assert_allclose(new.bag_share, q_b.mean(axis=0), rtol=1e-10)
    in_bag = np.zeros_like(model.in_bag)
    for j, pixels in enumerate(plain.members):
        for i in pixels:
            in_bag += np.outer(q_b[j], q_s[i])
    np.testing.assert_allclose(new.in_bag, in_bag / in_bag.sum(axis=1, keepdims=True), rtol=1e-10)
    in_label = q_l.T @ q_s
    np.testing.assert_allclose(new.in_label, in_label / in_label.sum(axis=1, keepdims=True), rtol=1e-10)


@pytest.mark.parametrize("exact_borders", [False, True])
def test_the_bound_never_falls_at_any_half_step(exact_borders: bool) -> None:
    model, view, state, plain = case(1, exact_borders=exact_borders)
    q_s = state.q
    q_b, q_l = np.full((len(q_s), 5), 0.2), np.full((len(q_s), 8), 0.125)
    values = [plain.bound(q_b, q_s, q_l)]
    engine = CpuEngine(model.settings, np.float64)
    for _ in range(6):
        tables = model.tables(np.float64)
        result = engine.sweep(tables, view, state)
        assert isinstance(result.state, Dense)
        q_b, q_l = plain.bags(q_s), q_l
        values.append(plain.bound(q_b, q_s, q_l))
        q_l = plain.labels(q_s)
        values.append(plain.bound(q_b, q_s, q_l))
        state, q_s = result.state, result.state.q
        values.append(plain.bound(q_b, q_s, q_l))
        assert result.statistics.bound(model, tables) == pytest.approx(values[-1], rel=1e-11)
        for block in BLOCKS:
            alone = maximise(model, result.statistics, tables.centre, **{name: name == block for name in BLOCKS})
            changed = ("mean", "variance", "bag_share", "in_bag", "in_label")
            plain = replace(
                plain,
                **{
                    name: getattr(alone, name)
                    for name in changed
                    if not np.array_equal(getattr(alone, name), getattr(model, name))
                },
            )
            values.append(plain.bound(q_b, q_s, q_l))
        model = maximise(model, result.statistics, tables.centre)
    rises = np.diff(values)
    assert (rises >= -1e-9 * np.abs(values[:-1])).all(), rises.min()
    assert values[-1] > values[0] + 1


def test_with_smoothing_the_reported_bound_is_a_bound_and_posteriors_still_raise_it() -> None:
    model, view, state, plain = case(2, smoothing=1e-2)

    def blend(q: np.ndarray) -> np.ndarray:
        mixed: np.ndarray = (q + 1e-2) / (1 + q.shape[1] * 1e-2)
        return mixed

    tables = model.tables(np.float64)
    engine = CpuEngine(model.settings, np.float64)
    values = []
    for _ in range(5):
        old = blend(state.q)
        result = engine.sweep(tables, view, state)
        assert isinstance(result.state, Dense)
        state = result.state
        q_b, q_l, q_s = blend(plain.bags(old)), plain.labels(old), blend(state.q)
        np.testing.assert_allclose(q_s, blend(plain.clusters(q_b, q_l)), atol=1e-10)
        values.append(result.statistics.bound(model, tables))
        assert values[-1] <= plain.bound(q_b, q_s, q_l)
        exact_entropy = entropy(q_b) + entropy(q_s)
        share_b, share_s = 5e-2 / 1.05, 6e-2 / 1.06
        least = (1 - share_b) * entropy(plain.bags(old)) + len(q_b) * share_b * np.log(5)
        least += (1 - share_s) * entropy(plain.clusters(q_b, q_l)) + len(q_s) * share_s * np.log(6)
        assert values[-1] == pytest.approx(plain.bound(q_b, q_s, q_l) - exact_entropy + least, rel=1e-11)
    assert (np.diff(values) >= -1e-9 * abs(values[0])).all()


def test_smoothing_enters_the_parameters_as_published() -> None:
    model, view, state, _ = case(3)
    smooth = replace(model, settings=replace(model.settings, smoothing=1e-4))
    tables = smooth.tables(np.float64)
    statistics = CpuEngine(smooth.settings, np.float64).sweep(tables, view, state).statistics
    at = model.settings.bags
    q_sums = statistics.moments[at : at + 8]
    expected = (q_sums + 1e-4 * q_sums.sum(axis=1, keepdims=True)) / (1 + 6e-4)  # q(s) + 1e-4, renormalised
    expected /= expected.sum(axis=1, keepdims=True)
    expected = (expected + 1e-4) / (1 + 6e-4)  # p(s|l) + 1e-4, renormalised
    np.testing.assert_allclose(maximise(smooth, statistics, tables.centre).in_label, expected, rtol=1e-12)


def test_bands_of_rows_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    model, view, state, _ = case(4)
    results = []
    for pixels in (1, 3 * WIDTH, 10_000):
        monkeypatch.setattr(bag_engine, "BAND_PIXELS", pixels)
        results.append(CpuEngine(model.settings, np.float64).sweep(model.tables(np.float64), view, state))
    for other in results[1:]:
        np.testing.assert_allclose(other.statistics.moments, results[0].statistics.moments, rtol=1e-12)
        np.testing.assert_allclose(other.state.q, results[0].state.q, rtol=1e-10)  # type: ignore[union-attr]


def test_statistics_of_two_images_are_those_of_their_union() -> None:
    model, view, state, _ = case(5)
    _, second, _, _ = case(6)
    tables, engine = model.tables(np.float64), CpuEngine(model.settings, np.float64)
    parts = [engine.sweep(tables, v, state).statistics for v in (view, second)]
    union = Statistics.zeros(tables)
    for part in parts:
        union.add(part)
    assert union.pixels == 2 * HEIGHT * WIDTH
    assert union.bound(model, tables) == pytest.approx(sum(part.bound(model, tables) for part in parts))
    np.testing.assert_array_equal(union.by_code.sum(axis=1), sum(p.by_code for p in parts).sum(axis=1))


@pytest.mark.parametrize("texture", [True, False])
def test_torch_agrees_with_the_kernels(texture: bool) -> None:
    model, view, state, _ = case(7, smoothing=1e-4, exact_borders=True)
    tables = model.tables(np.float64, texture)
    start = state if texture else None
    one = CpuEngine(model.settings, np.float64).sweep(tables, view, start, labels=True)
    two = TorchEngine(model.settings, "cpu", np.float64).sweep(tables, view, start, labels=True)
    np.testing.assert_allclose(two.statistics.moments, one.statistics.moments, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(two.statistics.by_code, one.statistics.by_code, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(two.statistics.bags, one.statistics.bags, rtol=1e-9)
    assert two.statistics.bound(model, tables) == pytest.approx(one.statistics.bound(model, tables), rel=1e-12)
    np.testing.assert_allclose(two.q_label, one.q_label, atol=1e-6)


def test_a_label_round_is_the_block_update_where_clusters_are_hard_and_raises_their_likelihood() -> None:
    model, view, _, plain = case(8)
    hard = np.eye(model.settings.clusters)[np.random.default_rng(0).integers(0, 6, HEIGHT * WIDTH)]
    by_code = np.zeros((1, 11, 6))
    np.add.at(by_code[0], view.low, hard)
    expected = plain.labels(hard).T @ hard
    likelihoods = [label_likelihood(model, by_code, view.log_prior[None])]
    new = label_round(model, [(by_code, view.log_prior[None])])
    np.testing.assert_allclose(new.in_label, expected / expected.sum(axis=1, keepdims=True), rtol=1e-10)
    for _ in range(5):
        model = label_round(model, [(by_code, view.log_prior[None])])
        likelihoods.append(label_likelihood(model, by_code, view.log_prior[None]))
    assert (np.diff(likelihoods) >= -1e-9).all()


def test_kernels_do_not_overflow_on_colours_far_from_every_cluster() -> None:
    model, view, _, _ = case(9)
    sharp = replace(model, variance=np.full_like(model.variance, 1e-6))
    single = replace(view, x=view.x.astype(np.float32), log_prior=view.log_prior.astype(np.float32))
    tables = sharp.tables(np.float32, texture=False)
    result = CpuEngine(sharp.settings, np.float32).sweep(tables, single, None)
    assert np.isfinite(result.statistics.moments).all()
    assert np.isfinite(result.statistics.bound(sharp, tables))
