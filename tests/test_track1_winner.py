"""Ensemble, neural smoothing and final ensemble: what each does with its parts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dfcbench.method import Answer, RunContext
from dfcbench.scheme import SCORED_CODES
from dfcbench_methods.ensemble import EnsembleParams, Track1Ensemble
from dfcbench_methods.final_ensemble import FinalEnsemble, FinalEnsembleParams
from dfcbench_methods.networks.losses import soft_cross_entropy
from dfcbench_methods.networks.optimisers import Schedule
from dfcbench_methods.networks.smoother import smoother
from dfcbench_methods.networks.torch_state import weights_of
from dfcbench_methods.networks.training import train
from dfcbench_methods.smoothing import NeuralSmoothing, SmoothingParams


def shares(seed: int, shape: tuple[int, int] = (8, 8)) -> np.ndarray:
    p = np.random.default_rng(seed).random((8, *shape)).astype(np.float32) ** 4
    return p / p.sum(0)


class Maps:
    """Parts made up in memory."""

    def __init__(self, probabilities: dict[str, np.ndarray]) -> None:
        self._probabilities = probabilities
        self.ids = tuple(probabilities)

    def probabilities(self, patch_id: str) -> np.ndarray:
        return self._probabilities[patch_id]


class FakePatch:
    def __init__(self, patch_id: str, s1=None, s2=None) -> None:
        self.id, self.s1, self.s2 = patch_id, s1, s2


@pytest.mark.parametrize("rule", ["mean", "product"])
def test_the_ensemble_sums_to_one_and_its_weights_reach_from_one_part_to_the_other(rule):
    first, second = shares(0), shares(1)

    def combine(weight: float) -> np.ndarray:
        return Track1Ensemble(EnsembleParams(bag_weight=weight, rule=rule)).combine(first, second)

    np.testing.assert_allclose(combine(0.3).sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(combine(1), first, atol=1e-4)
    np.testing.assert_allclose(combine(0), second, atol=1e-4)


def test_the_mean_rule_is_the_average_by_default():
    first, second = shares(0), shares(1)
    np.testing.assert_allclose(Track1Ensemble().combine(first, second), (first + second) / 2, atol=1e-6)


def test_the_smoother_is_the_published_network():
    import torch

    network = smoother(12, 8)
    convolutions = [m for m in network if isinstance(m, torch.nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size) for c in convolutions] == [
        (12, 64, (3, 3)),
        *[(64, 64, (3, 3))] * 4,
        (64, 8, (1, 1)),
    ]
    assert sum(p.numel() for p in network.parameters()) == (12 * 9 + 1) * 64 + 4 * (64 * 9 + 1) * 64 + 65 * 8


def test_the_smoother_sees_11_by_11_pixels_and_no_more():
    import torch

    network = smoother(3, 8).eval()
    for layer in network:
        if isinstance(layer, torch.nn.Conv2d):  # nothing is cut off by a ReLU, so every pixel in sight counts
            torch.nn.init.constant_(layer.weight, 0.01)
            torch.nn.init.constant_(layer.bias, 0.1)
    x = torch.rand(1, 3, 41, 41, requires_grad=True)
    network(x)[0, :, 20, 20].sum().backward()
    seen = x.grad[0].abs().sum(0) > 0
    rows, columns = torch.nonzero(seen, as_tuple=True)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (15, 25, 15, 25)
    assert seen[15:26, 15:26].all()


def test_a_start_after_he_carries_the_differences_between_pixels_to_the_end_and_torchs_does_not():
    import torch

    torch.manual_seed(0)
    x = torch.randn(4, 12, 24, 24)
    uniform, he = (smoother(12, 8, initialisation=kind)(x).detach() for kind in ("uniform", "he"))
    spread = {name: float(y.std(dim=(0, 2, 3)).mean()) for name, y in (("uniform", uniform), ("he", he))}
    assert spread["uniform"] < 0.05
    assert 0.3 < spread["he"] < 3


def test_the_loss_is_cross_entropy_and_ignores_pixels_without_a_target():
    import torch

    logits = torch.randn(2, 8, 4, 4, requires_grad=True)
    codes = torch.randint(8, (2, 4, 4))
    targets = torch.nn.functional.one_hot(codes, 8).movedim(-1, 1).float()
    torch.testing.assert_close(
        soft_cross_entropy(logits, targets), torch.nn.functional.cross_entropy(logits, codes), rtol=1e-5, atol=1e-6
    )
    targets[0] = 0
    soft_cross_entropy(logits, targets).backward()
    assert (logits.grad[0] == 0).all()
    assert (logits.grad[1] != 0).any()


def trained(folder: Path, stop_at: int | None = None) -> dict[str, np.ndarray]:
    import torch

    class Stop(Exception):
        pass

    def batch_of(step: int, generator: np.random.Generator):
        if step == stop_at:
            raise Stop
        x = generator.random((2, 3, 12, 12)).astype(np.float32)
        return x, np.concatenate([x, 1 - x.mean(1, keepdims=True), *[0 * x[:, :1]] * 4], axis=1)

    torch.manual_seed(0)
    network = smoother(3, 8, width=8)
    try:
        train(network, batch_of, Schedule(60, 1e-2, 0.01), RunContext(scratch=folder), "net")
    except Stop:
        return {}
    return weights_of(network)


def test_a_training_broken_off_ends_in_the_same_weights_as_an_uninterrupted_one(tmp_path):
    whole = trained(tmp_path / "whole")
    assert trained(tmp_path / "broken", stop_at=37) == {}
    broken = trained(tmp_path / "broken")
    for key, value in whole.items():
        np.testing.assert_array_equal(broken[key], value, err_msg=key)


class Scene:
    """Two halves with colours of their own, and parts whose probabilities are right but for speckle."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self.patches, maps, self.truth = [], {}, {}
        for number in range(4):
            truth = np.zeros((48, 48), int)
            truth[:, 10 + 8 * number :] = 3
            s2 = rng.normal(1500 + 1500 * (truth == 3), 200, (13, 48, 48)).clip(0).astype(np.uint16)
            s1 = rng.normal(-14, 2, (2, 48, 48)).astype(np.float32)
            noisy = np.where(rng.random((48, 48)) < 0.3, rng.integers(0, 8, (48, 48)), truth)
            patch_id = f"ROIs0000_test_0_p{number}"
            maps[patch_id] = np.eye(8, dtype=np.float32)[noisy].transpose(2, 0, 1) * 0.9 + 0.0125
            self.truth[patch_id] = truth
            self.patches.append(FakePatch(patch_id, s1, s2))
        self.maps = Maps(maps)

    def target(self):
        scene = self

        class Patches(list):
            shapes = np.array([[48, 48]] * 4)

            def subset(self, n, generator):
                return self

        return Patches(scene.patches)


@pytest.mark.parametrize("targets", ["soft", "hard"])
def test_smoothing_removes_the_noise_of_the_ensemble(targets):
    scene = Scene()
    params = SmoothingParams(targets=targets, most_steps=60, chip=32, batch=8, width=16, threads=1)
    method = NeuralSmoothing(params)

    class Contest:
        target = scene.target()

    run = RunContext(parts={"ensemble": scene.maps})
    method.fit(Contest(), run)
    for prediction in method.predict(scene.patches, run):
        truth = np.take(SCORED_CODES, scene.truth[prediction.patch_id])
        noisy = np.take(SCORED_CODES, scene.maps.probabilities(prediction.patch_id).argmax(0))
        assert (noisy == truth).mean() < 0.8
        assert (prediction.labels() == truth).mean() > 0.97


def test_quick_comes_nearer_to_the_ensemble_than_large_batches_from_torchs_start_of_as_many_pixels():
    scene = Scene()
    quick = NeuralSmoothing.presets["quick"] | {"most_steps": 36, "threads": 1}
    large = {"most_steps": 4, "chip": 48, "batch": 16, "learning_rate": 4e-3, "threads": 1}
    pixels = [p["most_steps"] * p["batch"] * p["chip"] ** 2 for p in (quick, large)]
    assert pixels[0] == pixels[1]

    class Contest:
        target = scene.target()

    found = []
    for params in (quick, large):
        method, run = NeuralSmoothing(SmoothingParams(**params)), RunContext(parts={"ensemble": scene.maps})
        method.fit(Contest(), run)
        found.append(
            np.mean(
                [
                    -(scene.maps.probabilities(p.patch_id) * np.log(np.maximum(p.values, 1e-9))).sum(axis=0).mean()
                    for p in method.predict(scene.patches, run)
                ]
            )
        )
    assert found[0] < found[1] - 0.1


def test_smoothing_fitted_on_validation_is_not_transductive_and_takes_the_network_of_the_run_there(tmp_path):
    scene = Scene()
    params = SmoothingParams(most_steps=3, chip=32, batch=4, width=8)

    class Contest:
        target = scene.target()

    there = NeuralSmoothing(params)
    there.fit(Contest(), RunContext(parts={"ensemble": scene.maps}))
    there.save(tmp_path)

    method = NeuralSmoothing(params.model_copy(update={"fitted_on": "validation"}))
    assert not method.requires().transductive and there.requires().transductive
    part = method.parts()["fitted"]
    assert (part.method, part.split) == ("neural-smoothing", "validation")
    assert SmoothingParams(**part.parameters) == params

    method.fit(object(), RunContext(parts={"fitted": SimpleNamespace(learned=tmp_path)}))
    for mine, its in zip(
        method.predict(scene.patches, RunContext()), there.predict(scene.patches, RunContext()), strict=True
    ):
        np.testing.assert_array_equal(mine.values, its.values)


def test_the_final_ensemble_takes_each_class_from_the_approach_that_the_server_liked_best():
    rng = np.random.default_rng(2)
    truth = {f"p{n}": rng.integers(0, 8, (16, 16)) for n in range(3)}

    def knows(classes: list[int]) -> Maps:
        maps = {}
        for patch_id, codes in truth.items():
            known = np.isin(codes, classes)
            guess = np.where(known, codes, rng.choice(classes, codes.shape))
            sure = np.where(known, 0.9, 0.3)
            maps[patch_id] = (np.eye(8)[guess].transpose(2, 0, 1) * sure + (1 - sure) / 8).astype(np.float32)
        return Maps(maps)

    parts = {"0": knows([0, 1, 2, 3]), "1": knows([4, 5, 6, 7])}
    asked = []

    class Contest:
        target = tuple(FakePatch(i) for i in truth)

        @staticmethod
        def feedback(predictions) -> Answer:
            pairs = [(truth[p.patch_id], p.labels()) for p in predictions]
            codes = np.take(SCORED_CODES, np.concatenate([t.ravel() for t, _ in pairs]))
            guesses = np.concatenate([g.ravel() for _, g in pairs])
            recalls = tuple(float((guesses[codes == c] == c).mean()) for c in SCORED_CODES)
            asked.append(float(np.mean(recalls)))
            return Answer(asked[-1], recalls)

    method = FinalEnsemble(FinalEnsembleParams(approaches=("a", "b")))
    run = RunContext(parts=parts)
    method.fit(Contest(), run)
    assert len(asked) == 2 + 4
    np.testing.assert_array_equal(method.weights_.argmax(0), [0, 0, 0, 0, 1, 1, 1, 1])
    final = Contest.feedback(method.predict(Contest.target, run)).average_accuracy
    assert final == max(asked)
    assert final >= max(asked[:2])
