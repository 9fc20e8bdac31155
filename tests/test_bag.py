"""Bag clustering as a method: what it reads, what it may depend on, what it survives, and what it is worth."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dfcbench.errors import UsageError
from dfcbench.method import RunContext
from dfcbench_methods import bag_em, bag_engine
from dfcbench_methods.bag import CHANNELS, Bag, BagParams, Reader
from tests.bag_maker import FakePatch, average_accuracy, make_contest

SMALL: dict[str, Any] = {"clusters": 12, "bags": 6, "sweeps": 6, "label_rounds": 3}


class Recorder:
    """A reporter that remembers, and interrupts the run when a metric of some step arrives."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.values: list[Mapping[str, float]] = []
        self.stop_at = stop_at

    def advance(self, label: str, done: int, total: int | None) -> None:
        pass

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        if step == self.stop_at:
            raise KeyboardInterrupt
        self.values.append(values)


def fitted(contest: Any, run: RunContext, **options: Any) -> Bag:
    method = Bag(BagParams(**{**SMALL, **options}))
    method.fit(contest, run)
    return method


def maps(method: Bag, patches: Any, run: RunContext) -> dict[str, np.ndarray]:
    return {p.patch_id: p.labels() for p in method.predict(patches, run)}


def parameters(method: Bag) -> list[np.ndarray]:
    names = ("mean", "variance", "bag_share", "in_bag", "in_label")
    return [getattr(model, name) for model in method.models_ for name in names]


def context(tmp_path: Path, name: str = "run", **options: Any) -> RunContext:
    return RunContext(scratch=tmp_path / name, **options)


@pytest.fixture(scope="module")
def contest() -> Any:
    return make_contest([(48, 60), (40, 40), (64, 32)])


@pytest.mark.parametrize(
    ("seed", "options"),
    [(1, {"cell": 16, "scale": 7.0}), (2, {"cell": 8, "scale": 4.0, "noise": 60.0}), (3, {"cell": 24, "noise": 250.0})],
)
def test_it_beats_the_low_resolution_labels_by_twenty_points(
    tmp_path: Path, seed: int, options: dict[str, Any]
) -> None:
    contest = make_contest([(96, 96)] * 6, seed=seed, **options)
    run = context(tmp_path)
    method = Bag(BagParams(**Bag.presets["quick"]))
    method.fit(contest, run)
    low = average_accuracy(contest, {p.id: p.low for p in contest.target})
    assert average_accuracy(contest, maps(method, contest.target, run)) > low + 0.2


def test_published_preset_is_the_papers() -> None:
    params = BagParams(**Bag.presets["published"])
    assert (params.clusters, params.bags, params.radius, params.sweeps) == (32, 32, 2, 31)
    assert (params.texture_warm_up, params.label_warm_up, params.label_rounds) == (3, 2, 1)
    assert (params.smoothing, params.prior_smoothing, params.prior_weight) == (1e-4, 0.05, 10.0)
    assert not params.exact_borders


@pytest.mark.parametrize("exact_borders", [False, True])
def test_bound_rises_from_sweep_to_sweep(tmp_path: Path, contest: Any, exact_borders: bool) -> None:
    recorder = Recorder()
    run = context(tmp_path, reporter=recorder)
    exact = {"precision": "float64", "smoothing": 0.0, "tolerance": 0.0, "label_rounds": 1}
    fitted(contest, run, **exact, sweeps=12, exact_borders=exact_borders)
    bounds = np.array([values["bound"] for values in recorder.values if "bound" in values])
    assert len(bounds) == 9
    assert (np.diff(bounds) >= -1e-9 * np.abs(bounds[:-1])).all()
    assert bounds[-1] > bounds[0]


def test_compact_states_keep_the_bound_and_the_labels_of_float64(tmp_path: Path, contest: Any) -> None:
    recorders, labels = [], []
    for precision in ("float32", "float64"):
        recorders.append(Recorder())
        run = context(tmp_path, precision, reporter=recorders[-1])
        method = fitted(contest, run, precision=precision, sweeps=10, tolerance=0.0)
        labels.append(np.concatenate([m.ravel() for m in maps(method, contest.target, run).values()]))
    single, double = (np.array([v["bound"] for v in r.values if "bound" in v]) for r in recorders)
    np.testing.assert_allclose(single, double, rtol=2e-3)
    assert (np.diff(single) > -2e-5 * np.abs(single[1:])).all()
    assert (labels[0] == labels[1]).mean() > 0.995


def test_neither_workers_nor_bands_change_the_result(
    tmp_path: Path, contest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = context(tmp_path, "one")
    reference = fitted(contest, run)
    expected = maps(reference, contest.target, run)
    run = context(tmp_path, "three", workers=3)
    threaded = fitted(contest, run)
    for one, other in zip(parameters(reference), parameters(threaded), strict=True):
        np.testing.assert_array_equal(one, other)
    for patch_id, labels in maps(threaded, contest.target, run).items():
        np.testing.assert_array_equal(labels, expected[patch_id])
    exact = {"precision": "float64", "sweeps": 5}
    whole = fitted(contest, context(tmp_path, "whole"), **exact)
    monkeypatch.setattr(bag_engine, "BAND_PIXELS", 500)
    banded = fitted(contest, context(tmp_path, "bands"), **exact)
    for one, other in zip(parameters(whole), parameters(banded), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("step", [0, 2, 3, 4, 9])
def test_a_killed_fit_goes_on_to_the_same_bytes(tmp_path: Path, contest: Any, step: int) -> None:
    options = {"restarts": 2, "tolerance": 0.0}
    whole = fitted(contest, context(tmp_path, "whole"), **options)
    with pytest.raises(KeyboardInterrupt):
        fitted(contest, context(tmp_path, "killed", reporter=Recorder(stop_at=step)), **options)
    resumed = fitted(contest, context(tmp_path, "killed"), **options)
    assert resumed.bounds_ == whole.bounds_
    for one, other in zip(parameters(whole), parameters(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_states_are_gone_after_the_fit(tmp_path: Path, contest: Any) -> None:
    run = context(tmp_path)
    fitted(contest, run)
    assert {p.suffix for p in run.scratch.rglob("*") if p.is_file()} <= {".checkpoint"}


def test_a_map_does_not_depend_on_the_other_patches(tmp_path: Path, contest: Any) -> None:
    run = context(tmp_path)
    method = fitted(contest, run)
    together = maps(method, contest.target, run)
    method.save(tmp_path)
    again = Bag(method.params)
    again.load(tmp_path)
    for patch in reversed(contest.target):
        np.testing.assert_array_equal(maps(again, [patch], run)[patch.id], together[patch.id])


def test_prediction_settles_where_the_fit_did(tmp_path: Path, contest: Any) -> None:
    recorder = Recorder()
    run = context(tmp_path, reporter=recorder)
    method = fitted(contest, run, sweeps=15, tolerance=0.0)
    reader = Reader(contest.target, method.params, contest.label_prior, np.float32)
    engine = bag_engine.CpuEngine(method.params.settings())
    from dfcbench_methods.bag_em import infer

    bounds = [infer(engine, method.models_[0], reader[i], 8, 1e-5)[1] for i in range(3)]
    sizes = [p.low.size for p in contest.target]
    assert np.average(bounds, weights=sizes) == pytest.approx(recorder.values[-1]["bound"], rel=1e-3)


def test_restarts_keep_the_highest_bound(tmp_path: Path, contest: Any) -> None:
    method = fitted(contest, context(tmp_path), restarts=3, sweeps=5)
    (bounds,) = method.bounds_
    assert len(set(bounds)) == 3
    best = int(np.argmax(bounds))
    run = context(tmp_path)  # the same folder: finished fits are not repeated
    again = fitted(contest, run, restarts=3, sweeps=5)
    np.testing.assert_array_equal(again.models_[0].mean, run.load_checkpoint(f"bag-0-{best}").model.mean)


def test_stop_rule_ends_the_sweeps_early(tmp_path: Path, contest: Any) -> None:
    recorder = Recorder()
    fitted(contest, context(tmp_path, reporter=recorder), sweeps=60, tolerance=1e-3, label_rounds=5)
    assert len(recorder.values) < 30
    assert abs(recorder.values[-1]["bound_change"]) < 1e-3
    assert abs(recorder.values[-2]["bound_change"]) >= 1e-3 or abs(recorder.values[-2]["label_bound_change"]) >= 1e-3


def test_fit_on_a_subset_reads_no_other_patch_and_predicts_all(tmp_path: Path) -> None:
    contest = make_contest([(32, 32)] * 8)
    read: set[str] = set()

    class Watched(list[FakePatch]):
        def __getitem__(self, index: Any) -> Any:
            patch = super().__getitem__(index)
            patch.__class__ = type("W", (FakePatch,), {"s2": property(lambda p: read.add(p.id) or vars(p)["s2"])})
            return patch

    contest.target = Watched(contest.target)
    run = context(tmp_path)
    method = fitted(contest, run, fit_patches=3)
    assert len(read) == 3
    assert len(maps(method, contest.target, run)) == 8


def test_images_per_model(tmp_path: Path) -> None:
    contest = make_contest([(32, 32)] * 5)
    run = context(tmp_path)
    method = fitted(contest, run, images_per_model=2)
    assert len(method.models_) == 3
    assert list(method.group_of_.values()) == [0, 0, 1, 1, 2]
    known = maps(method, contest.target, run)
    stranger = contest.target[0]
    expected = known[stranger.id]
    stranger.id = "stranger"
    assert (maps(method, [stranger], run)["stranger"] == expected).mean() > 0.9


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (2, 200), (100, 150)])
def test_any_patch_size(tmp_path: Path, size: tuple[int, int]) -> None:
    contest = make_contest([size])
    run = context(tmp_path)
    (prediction,) = fitted(contest, run).predict(contest.target, run)
    assert prediction.values.shape == (8, *size)
    assert prediction.labels().shape == size


def test_bad_pixels_constant_bands_and_missing_labels_do_no_harm(tmp_path: Path) -> None:
    contest = make_contest([(40, 40)] * 3)
    first, second, third = contest.target
    first.s1[:, :10] = np.nan
    second.s2[:] = 0
    second.s1[:] = np.nan
    third.low[:] = 0
    first.low[:, :5] = 0
    for patch in contest.target:
        patch.s2[5] = 1234
    contest.label_prior[4] = np.nan
    run = context(tmp_path)
    method = fitted(contest, run)
    for array in parameters(method):
        assert np.isfinite(array).all()
    for prediction in method.predict(contest.target, run):
        prediction.labels()
        np.testing.assert_allclose(prediction.values.sum(axis=0), 1, rtol=1e-5)


def test_memory_does_not_grow_with_the_number_of_patches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bag_em, "SAMPLE_PIXELS", 4000)  # so that both contests fill the samples
    monkeypatch.setattr(bag_em, "SAMPLE_PATCHES", 2)
    peaks = []
    for count in (2, 4, 40):  # the first compiles
        contest = make_contest([(48, 48)] * count)
        run = context(tmp_path, str(count))
        tracemalloc.start()
        method = fitted(contest, run, sweeps=5, clusters=32)
        for _ in method.predict(contest.target, run):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    labels_of_the_others = 36 * 48 * 48
    assert peaks[2] - peaks[1] < labels_of_the_others


def test_reader_scales_and_orders_the_channels() -> None:
    patch = make_contest([(4, 5)]).target[0]
    params = BagParams(channels="B12,VH,B2", weights="VH=0.25,B2=3")  # type: ignore[arg-type]
    view = Reader([patch], params, np.full((10, 8), 1 / 8), np.float32)[0]
    np.testing.assert_allclose(view.x[0], patch.s2[12].ravel() / 1e4, rtol=1e-6)
    np.testing.assert_allclose(view.x[1], np.clip((patch.s1[1].ravel() + 25) / 25, 0, 1), atol=1e-6)
    np.testing.assert_allclose(view.x[2], patch.s2[1].ravel() / 1e4, rtol=1e-6)
    assert params.settings().weights == (1.0, 0.25, 3.0)
    assert Bag(params).requires().inputs == {"s1", "s2"}
    assert Bag(BagParams(channels=("B2", "B3"))).requires().inputs == {"s2"}
    assert BagParams().channels == CHANNELS and len(CHANNELS) == 12


@pytest.mark.parametrize(
    "bad", [{"channels": "B2,B99"}, {"channels": "B2,B2"}, {"weights": {"B2": 0.0}}, {"clusters": 300}]
)
def test_parameters_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        BagParams(**bad)


def test_an_empty_split_is_an_error_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no patches"):
        fitted(make_contest([]), context(tmp_path))


def test_cuda_agrees_with_the_processor(tmp_path: Path, contest: Any) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    results = []
    for device in ("cpu", "cuda"):
        run = context(tmp_path, device, device=device)
        method = fitted(contest, run)
        results.append(np.concatenate([m.ravel() for m in maps(method, contest.target, run).values()]))
    assert (results[0] == results[1]).mean() > 0.995


def test_torch_backend_fits_to_the_same_labels(tmp_path: Path, contest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dfcbench_methods.bag_torch import TorchEngine

    run = context(tmp_path, "kernels")
    expected = maps(fitted(contest, run), contest.target, run)
    monkeypatch.setattr(Bag, "_engine", lambda self, run: TorchEngine(self.params.settings(), "cpu"))
    run = context(tmp_path, "torch")
    found = maps(fitted(contest, run), contest.target, run)
    agreement = np.mean(np.concatenate([(found[k] == expected[k]).ravel() for k in expected]))
    assert agreement > 0.995
