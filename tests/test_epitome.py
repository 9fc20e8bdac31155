"""Epitome as a method: what it learns, how it resumes, what it does with odd data, and the picture it leaves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from dfcbench.errors import UsageError
from dfcbench.method import RunContext
from dfcbench.scheme import SCORED_CODES
from dfcbench_methods import epitome_training
from dfcbench_methods.epitome import Epitome
from dfcbench_methods.epitome_labels import class_positions, divergence, label_em
from dfcbench_methods.epitome_likelihood import Dense, Tables
from dfcbench_methods.epitome_model import EpitomeModel
from dfcbench_methods.epitome_picture import class_colours, true_colour
from dfcbench_methods.epitome_training import Trainer, Training, train
from tests.bag_maker import FakePatch, make_contest
from tests.network_maker import Killed, Recorder

SMALL: dict[str, Any] = {
    "size": 24,
    "window": 5,
    "channels": "VV,B4,B8,B11",
    "batches": 40,
    "batch_size": 64,
    "learning_rate": 0.02,
    "precision_rate": 1.0,
    "embedding_windows": 2000,
}


def context(folder: Path, **options: Any) -> RunContext:
    return RunContext(scratch=folder, **options)


def fitted(contest: Any, run: RunContext, **options: Any) -> Epitome:
    method = Epitome(Epitome.Params(**{**SMALL, **options}))
    method.fit(contest, run)
    return method


def maps(method: Epitome, patches: Any, run: RunContext) -> dict[str, np.ndarray]:
    return {p.patch_id: p.values for p in method.predict(patches, run)}


@pytest.fixture(scope="module")
def contest() -> Any:
    return make_contest([(64, 64), (64, 64), (50, 71)], seed=3)


@pytest.fixture(scope="module")
def learned(contest: Any, tmp_path_factory: pytest.TempPathFactory) -> Epitome:
    return fitted(contest, context(tmp_path_factory.mktemp("learned")))


def accuracy(labels: list[np.ndarray], patches: Any) -> float:
    """Average accuracy over the classes that are there."""
    found, truth = (np.concatenate([a.ravel() for a in arrays]) for arrays in (labels, [p.high for p in patches]))
    return float(np.mean([(found[truth == code] == code).mean() for code in np.unique(truth)]))


def test_it_beats_the_low_resolution_labels(tmp_path: Path) -> None:
    contest = make_contest([(96, 96)] * 8, seed=1)
    run = context(tmp_path)
    method = fitted(contest, run, size=32, batches=200, batch_size=128)
    codes = np.array(SCORED_CODES)
    found = [codes[values.argmax(axis=0)] for values in maps(method, contest.target, run).values()]
    ours, theirs = accuracy(found, contest.target), accuracy([p.low for p in contest.target], contest.target)
    assert ours > theirs + 0.1, (ours, theirs)


def test_published_preset_is_the_papers() -> None:
    assert Epitome.presets["published"] == {}
    params = Epitome.Params()
    found = (params.size, params.window, params.batches, params.batch_size, params.learning_rate)
    assert found == (299, 7, 10_000, 256, 0.003)
    assert (params.embedding_windows, params.prior_smoothing) == (200_000, 0.05)


def test_a_planted_epitome_is_recovered(tmp_path: Path) -> None:
    """From noisy windows of an epitome, training finds one that explains and repaints them nearly as well."""
    size, window, noise = 12, 5, 80**-0.5
    field = gaussian_filter(np.random.default_rng(0).standard_normal((2, size, size)), (0, 1.5, 1.5), mode="wrap")
    mean = 0.5 + 0.2 * field / field.std()
    planted = EpitomeModel(mean, np.full_like(mean, noise**-2), np.zeros((size, size)), window)
    tiled = np.tile(mean, (1, 2, 2))[:, : size + window - 1, : size + window - 1]

    def windows(n: int, images: int, generator: np.random.Generator) -> np.ndarray:
        views = np.lib.stride_tricks.sliding_window_view(tiled, (window, window), axis=(1, 2))
        y, x = generator.integers(size, size=(2, n))
        clean = views[:, y, x].transpose(1, 0, 2, 3)
        return (clean + noise * generator.standard_normal(clean.shape)).astype(np.float32)

    recorder = Recorder()
    settings = Training(16, window, 2, (1.0, 1.0), 800, 256, learning_rate=0.01, precision_rate=1.0)
    found = train(settings, windows, context(tmp_path, reporter=recorder))
    sample = windows(200, 1, np.random.default_rng(1))

    def likelihood(model: EpitomeModel) -> float:
        dense = Dense(Tables.of(model, np.ones(2), 1.0))
        return float(np.mean([dense.log_evidence(x)[window // 2, window // 2] for x in sample]))

    best, start = likelihood(planted), likelihood(Trainer(settings, context(tmp_path / "new")).model())
    assert likelihood(found) > best - 0.2 * (best - start)
    repainted = Dense(Tables.of(found, np.ones(2), 1.0)).centre_labels(tiled, found.mean)
    inner = slice(window // 2, -(window // 2))
    error = np.sqrt(np.mean((repainted - tiled)[:, inner, inner] ** 2))
    assert error < 0.05, "a quarter of the planted means' standard deviation"
    logged = recorder.values["epitome_log_likelihood"]
    assert len(logged) == 80 and logged[-1] > logged[0]


def test_training_learns_from_the_worst_and_spares_the_used(tmp_path: Path) -> None:
    """A position in use is barred: windows all alike spread over the epitome instead of piling up in one place."""
    x = np.full((64, 1, 3, 3), 0.7, np.float32)
    settings = Training(6, 3, 1, (1.0,), batches=60, batch_size=64, learning_rate=0.02, precision_rate=0.1)
    model = train(settings, lambda n, images, generator: np.tile(x, (n // 64, 1, 1, 1)), context(tmp_path))
    assert np.abs(model.mean - 0.7).max() < 0.05
    assert model.precision.min() >= 1 and model.precision.max() <= 100
    assert np.abs(model.logit).max() <= 4 and abs(model.logit.mean()) < 1e-3


@pytest.mark.parametrize("step", [3, 25])
def test_a_killed_training_goes_on_to_the_same_weights(
    tmp_path: Path, contest: Any, learned: Epitome, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epitome_training, "CHECKPOINT_BATCHES", 10)
    with pytest.raises(Killed):
        fitted(contest, context(tmp_path, reporter=Recorder(step)))
    again = fitted(contest, context(tmp_path))
    for name in ("mean", "precision", "logit"):
        np.testing.assert_array_equal(getattr(again.model_, name), getattr(learned.model_, name))
    np.testing.assert_array_equal(again.labels_, learned.labels_)


def test_a_finished_training_is_not_repeated(tmp_path: Path, contest: Any, learned: Epitome) -> None:
    first = fitted(contest, context(tmp_path))
    second = fitted(contest, context(tmp_path, reporter=Recorder(stop_at=1)))
    np.testing.assert_array_equal(first.model_.mean, second.model_.mean)


def test_maps_depend_neither_on_workers_nor_on_the_other_patches(
    tmp_path: Path, contest: Any, learned: Epitome
) -> None:
    all_of_them = maps(learned, contest.target, context(tmp_path))
    for patch in contest.target:
        alone = maps(learned, [patch], context(tmp_path, workers=2))[patch.id]
        assert alone.shape == (8, *patch.shape)
        np.testing.assert_array_equal(alone, all_of_them[patch.id])


def test_probabilities_sum_to_one(tmp_path: Path, contest: Any, learned: Epitome) -> None:
    for values in maps(learned, contest.target, context(tmp_path)).values():
        np.testing.assert_allclose(values.sum(axis=0), 1.0, atol=1e-4)


def test_save_and_load_keep_the_maps(tmp_path: Path, contest: Any, learned: Epitome) -> None:
    learned.save(tmp_path)
    copy = Epitome(learned.params)
    copy.load(tmp_path)
    for name, values in maps(copy, contest.target, context(tmp_path)).items():
        np.testing.assert_array_equal(values, maps(learned, contest.target, context(tmp_path))[name])


@pytest.mark.parametrize("size", [(4, 4), (5, 40), (33, 20)])
@pytest.mark.parametrize("prediction", ["window", "centre"])
def test_any_patch_size_and_one_patch_only(tmp_path: Path, size: tuple[int, int], prediction: str) -> None:
    contest = make_contest([size], seed=1)
    run = context(tmp_path)
    method = fitted(contest, run, batches=3, embedding_windows=100, prediction=prediction, window=7)
    (values,) = maps(method, contest.target, run).values()
    assert values.shape == (8, *size) and np.isfinite(values).all()


def test_bad_pixels_constant_bands_and_missing_labels_do_no_harm(tmp_path: Path) -> None:
    contest = make_contest([(30, 30), (30, 30), (30, 30)], seed=2)
    first, second, third = contest.target
    first.s1[:, :10] = np.nan
    first.s2[:] = 0
    second.s2[3] = 65535
    third.low[:] = 0
    for patch in contest.target:
        patch.s2[7] = 1234
    run = context(tmp_path)
    method = fitted(contest, run, batches=5, embedding_windows=300)
    for values in maps(method, contest.target, run).values():
        assert np.isfinite(values).all() and values.min() >= 0


def test_pixels_without_a_label_do_not_enter_the_embedding(tmp_path: Path, learned: Epitome) -> None:
    patches = make_contest([(32, 32)], seed=5).target
    patches[0].low[:] = 0
    patches[0].low[:3] = 7
    mass = learned._embed(patches, context(tmp_path))
    assert mass.shape == (10, 24 * 24)
    assert mass[6].sum() > 0 and mass.sum() == mass[6].sum()
    assert mass.sum() < 0.5 * learned.params.embedding_windows


def test_channels_are_stretched_to_the_unit_interval(tmp_path: Path, contest: Any, learned: Epitome) -> None:
    from dfcbench_methods.epitome import Stretched

    read = Stretched(learned.params.channels, learned.limits_)
    x = np.concatenate([read(p).reshape(4, -1) for p in contest.target], axis=1)
    assert x.min() == 0 and x.max() == 1
    assert ((x == 0).mean(axis=1) < 0.03).all() and ((x == 1).mean(axis=1) < 0.03).all()


def test_the_picture_is_left_behind(tmp_path: Path, contest: Any) -> None:
    import matplotlib.image

    fitted(contest, context(tmp_path / "scratch", artifacts=tmp_path / "kept"), batches=2, embedding_windows=100)
    assert matplotlib.image.imread(tmp_path / "kept" / "epitome.png").std() > 0.05


def test_colours_of_the_picture() -> None:
    labels = np.zeros((8, 2, 2))
    labels[7] = 1
    np.testing.assert_allclose(class_colours(labels)[0, 0] * 255, (0x1C, 0x0D, 0xFF), atol=0.5)
    mean = np.zeros((3, 4, 4))
    mean[1, 0, 0] = 1
    model = EpitomeModel(mean, np.ones_like(mean), np.zeros((4, 4)), 3)
    assert true_colour(model, ("B2", "B4", "B3"))[0, 0].tolist() == [1, 0, 0]
    assert true_colour(model, ("VV",)).shape == (4, 4, 3)


@pytest.mark.parametrize("seed", range(5))
def test_divergence_of_the_label_em_never_rises(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions = class_positions(rng.gamma(0.3, size=(10, 60)) * (rng.random((10, 1)) < 0.9))
    prior = rng.dirichlet(np.full(8, 0.5), size=10)
    labels, history = label_em(prior, positions, 60)
    assert len(history) == 61
    assert (np.diff(history) <= 1e-12).all() and history[-1] < history[0]
    assert history[-1] == pytest.approx(divergence(prior, positions, labels))
    np.testing.assert_allclose(labels.sum(axis=1), 1.0)


def test_label_em_finds_labels_that_explain_the_prior() -> None:
    """Each low-resolution class has positions of its own: they take on its row of the prior."""
    positions = class_positions(np.kron(np.eye(10), np.ones(4)))
    prior = np.random.default_rng(0).dirichlet(np.ones(8), size=10)
    labels, history = label_em(prior, positions, 50)
    np.testing.assert_allclose(labels[::4], prior, atol=1e-6)
    assert history[-1] == pytest.approx(0, abs=1e-9)


def test_classes_and_positions_without_windows_are_left_out() -> None:
    mass = np.zeros((10, 6))
    mass[2, :3] = 1
    mass[4, 2:5] = 2
    positions = class_positions(mass)
    assert positions[2].sum() == pytest.approx(1) and positions[0].sum() == 0
    labels, _ = label_em(np.random.default_rng(0).dirichlet(np.ones(8), size=10), positions, 30)
    assert np.isfinite(labels).all()
    np.testing.assert_allclose(labels[5], 1 / 8)


def test_observed_positions_keep_their_frequency() -> None:
    mass = np.array([[3.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(class_positions(mass, balanced=False), [[0.75, 0.25], [1, 0]])
    np.testing.assert_allclose(class_positions(mass), [[0.75 / 1.75, 1 / 1.75], [1, 0]])


@pytest.mark.parametrize("bad", [{"window": 4}, {"size": 5, "window": 7}, {"channels": "B99"}, {"weights": "VV=0"}])
def test_parameters_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Epitome.Params(**bad)


def test_an_empty_split_is_an_error_with_a_reason(tmp_path: Path) -> None:
    empty = SimpleNamespace(target=[], label_prior=np.full((10, 8), 1 / 8))
    with pytest.raises(UsageError, match="no patches"):
        fitted(empty, context(tmp_path))


def test_torch_predicts_the_same_maps(tmp_path: Path, learned: Epitome, monkeypatch: pytest.MonkeyPatch) -> None:
    from dfcbench_methods.epitome_torch import TorchDense

    patches: list[FakePatch] = make_contest([(20, 26)], seed=8).target
    wanted = maps(learned, patches, context(tmp_path))
    tables = Tables.of(learned.model_, np.array(learned._channel_weights()), learned.params.temperature * 25)
    monkeypatch.setattr(learned, "_dense", lambda temperature, run: TorchDense(tables, "cpu"), raising=False)
    for name, values in maps(learned, patches, context(tmp_path)).items():
        np.testing.assert_allclose(values, wanted[name], atol=1e-4)
