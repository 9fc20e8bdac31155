"""The training loop: losses, schedules, exact resume, validation, early stop, time budget, and what it is fed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dfcbench.errors import DataError, UsageError
from dfcbench.method import RunContext
from dfcbench.scheme import SCORED_CODES
from dfcbench_methods.channels import CHANNELS, Channels
from dfcbench_methods.networks import training
from dfcbench_methods.networks.data import Crops, LabelScore, Reader, label_shares, moments, stacked
from dfcbench_methods.networks.losses import cross_entropy, hard_cross_entropy, soft_cross_entropy
from dfcbench_methods.networks.optimisers import Schedule
from dfcbench_methods.networks.torch_state import weights_of
from dfcbench_methods.networks.training import Score, train
from dfcbench_methods.networks.unet import UNet
from tests.network_maker import FakePatches, Killed, Recorder, make_patch

pytestmark = pytest.mark.usefixtures("one_torch_thread")


# Losses


def test_hard_and_soft_losses_agree_with_torch() -> None:
    logits, codes = torch.randn(2, 8, 5, 4), torch.randint(8, (2, 5, 4))
    codes[0, :2] = 255
    weights = torch.rand(8) + 0.1
    soft = torch.nn.functional.one_hot(codes.where(codes != 255, 0), 8).movedim(-1, 1) * (codes != 255)[:, None]
    for chosen in (None, weights):
        wanted = torch.nn.functional.cross_entropy(logits, codes, chosen, ignore_index=255)
        torch.testing.assert_close(hard_cross_entropy(logits, codes.byte(), chosen), wanted)
        torch.testing.assert_close(soft_cross_entropy(logits, soft.float(), chosen), wanted)
        torch.testing.assert_close(cross_entropy(logits, codes.byte(), chosen), wanted)


def test_ignored_pixels_give_no_gradient() -> None:
    logits = torch.randn(2, 8, 4, 4, requires_grad=True)
    codes = torch.randint(8, (2, 4, 4), dtype=torch.uint8)
    codes[1] = 255
    codes[0, 0, 0] = 255
    hard_cross_entropy(logits, codes).backward()
    assert (logits.grad[1] == 0).all() and (logits.grad[0, :, 0, 0] == 0).all()
    assert (logits.grad[0, :, 1:] != 0).all()


def test_a_batch_without_any_label_gives_a_loss_of_zero_and_no_gradient() -> None:
    logits = torch.randn(1, 8, 4, 4, requires_grad=True)
    for weights in (None, torch.rand(8)):
        loss = hard_cross_entropy(logits, torch.full((1, 4, 4), 255, dtype=torch.uint8), weights)
        loss.backward()
        assert float(loss.detach()) == 0 and (logits.grad == 0).all()


# Optimisers and schedules


@pytest.mark.parametrize(
    ("name", "rates"),
    [("constant", [0.2, 0.2, 0.2]), ("cosine", [0.2, 0.1, 0.0]), ("poly", [0.2, 0.2 * 0.5**0.9, 0.0])],
)
def test_schedules_run_from_the_rate_to_their_end(name: Any, rates: list[float]) -> None:
    schedule = Schedule(100, 0.2, schedule=name)
    assert [schedule.rate_at(step) for step in (0, 50, 100)] == pytest.approx(rates)


def test_a_warm_up_rises_evenly_to_the_rate_of_the_schedule_and_changes_nothing_after() -> None:
    plain, warm = Schedule(100, 0.2), Schedule(100, 0.2, warm_up=9)
    shares = [warm.rate_at(step) / plain.rate_at(step) for step in range(100)]
    assert shares[:9] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert shares[9:] == [1.0] * 91


def test_a_factor_reaches_the_parameters_that_it_names_and_no_others() -> None:
    network = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    schedule = Schedule(10, 0.5, optimiser="sgd", factors={"head.": 10})
    optimiser = schedule.optimiser_of(network)
    schedule.set_rate(optimiser, 5)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        assert rates[id(parameter)] == pytest.approx(2.5 if name.startswith("head") else 0.25)
    assert len(rates) == 4
    with pytest.raises(ValueError, match="tail"):
        Schedule(10, 0.5, factors={"tail.": 2}).optimiser_of(network)


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD), ("rmsprop", torch.optim.RMSprop)]
)
def test_the_optimiser_has_the_settings_asked_for(name: Any, kind: type) -> None:
    optimiser = Schedule(10, 0.5, 0.01, optimiser=name, momentum=0.7).optimiser_of(nn.Linear(2, 2))
    assert type(optimiser) is kind
    assert optimiser.param_groups[0]["weight_decay"] == 0.01
    if name != "adamw":
        assert optimiser.param_groups[0]["momentum"] == 0.7


# The loop


def halves(step: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixels whose first channel tells one of two classes."""
    x = generator.random((2, 3, 12, 12)).astype(np.float32)
    return x, (x[:, 0] > 0.5).astype(np.uint8)


def network() -> nn.Module:
    """With all that has a state or draws: batch normalisation and dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(8, 8, 1)
    )


def scores(values: list[float]) -> Callable[[nn.Module], Score]:
    left = iter(values)

    def validate(trained: nn.Module) -> Score:
        assert not trained.training
        value = next(left)
        return Score(value, 1 - value)

    return validate


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(second[key], value, err_msg=key)


def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints as often as possible, however long they take."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training, "_CHECKPOINT_SHARE", 1e9)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("where", ["batch", "reporter"])
def test_a_training_that_was_killed_ends_in_the_same_weights(
    tmp_path: Path, optimiser: Any, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Schedule(40, 1e-2, 5e-4, optimiser=optimiser, factors={"4.": 3.0}, validate_every=7)
    tried = LabelLike()
    whole = weights_of(train(network(), halves, schedule, RunContext(scratch=tmp_path / "whole"), "net", tried))
    every_step(monkeypatch)
    made = []

    def dying(step: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        made.append(step)
        if where == "batch" and step == 23:
            raise Killed
        return halves(step, generator)

    recorder = Recorder(stop_at=24 if where == "reporter" else None)
    broken = RunContext(scratch=tmp_path / "broken", reporter=recorder)
    with pytest.raises(Killed):
        train(network(), dying, schedule, broken, "net", tried)
    assert threading.active_count() < 10
    torch.manual_seed(99)
    went_on = []

    def noted(step: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        went_on.append(step)
        return halves(step, generator)

    again = train(network(), noted, schedule, RunContext(scratch=tmp_path / "broken"), "net", tried)
    assert min(went_on) in (22, 23, 24)
    same(whole, weights_of(again))


class LabelLike:
    """A validation that depends on the weights alone."""

    def __call__(self, trained: nn.Module) -> Score:
        x, y = halves(0, np.random.default_rng(5))
        with torch.inference_mode():
            found = trained(torch.from_numpy(x)).argmax(dim=1).numpy()
        return Score(float((found == y).mean()), 0.0)


def test_training_leaves_torch_s_generator_and_threads_as_they_were(tmp_path: Path) -> None:
    net = network()
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    train(net, halves, Schedule(5, 1e-2), RunContext(scratch=tmp_path, workers=2), "net")
    torch.testing.assert_close(torch.rand(3), wanted, rtol=0, atol=0)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("workers", [1, 4])
def test_training_has_torch_threads_of_its_own_whatever_the_workers(tmp_path: Path, workers: int) -> None:
    seen: set[int] = set()
    net = network()
    net.register_forward_hook(lambda *_: seen.add(torch.get_num_threads()))
    train(net, halves, Schedule(3, 1e-2, threads=3), RunContext(scratch=tmp_path, workers=workers), "net")
    assert seen == {3}


def test_the_batch_of_a_step_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    made: dict[int, dict[int, np.ndarray]] = {1: {}, 4: {}}
    for workers, batches in made.items():

        def kept(step: int, generator: np.random.Generator, batches: dict[int, np.ndarray] = batches) -> Any:
            batches[step] = halves(step, generator)[0]
            return halves(step, generator)

        run = RunContext(scratch=tmp_path / str(workers), workers=workers)
        train(network(), kept, Schedule(12, 1e-2), run, "net")
    assert sorted(made[1]) == sorted(made[4]) == list(range(12))
    for step, batch in made[1].items():
        np.testing.assert_array_equal(made[4][step], batch)


def test_the_seed_changes_what_is_learned(tmp_path: Path) -> None:
    first, second = (
        weights_of(train(network(), halves, Schedule(5, 1e-2), RunContext(scratch=tmp_path / str(s), seed=s), "net"))
        for s in (0, 1)
    )
    assert any((second[key] != value).any() for key, value in first.items())


@pytest.mark.parametrize(("best_by", "step"), [("accuracy", 20), ("average_accuracy", 10)])
def test_the_best_network_by_the_hold_out_is_what_comes_back(tmp_path: Path, best_by: Any, step: int) -> None:
    schedule = Schedule(30, 1e-2, schedule="constant", validate_every=10, best_by=best_by)
    run = RunContext(scratch=tmp_path / "all")
    best = train(network(), halves, schedule, run, "net", scores([0.2, 0.9, 0.5]))
    only = Schedule(step, 1e-2, schedule="constant")
    same(weights_of(train(network(), halves, only, RunContext(scratch=tmp_path / "only"), "net")), weights_of(best))
    assert not best.training


def test_training_ends_when_validations_bring_nothing_better(tmp_path: Path) -> None:
    recorder = Recorder()
    schedule = Schedule(1000, 1e-2, validate_every=5, patience=2)
    run = RunContext(scratch=tmp_path, reporter=recorder)
    train(network(), halves, schedule, run, "net", scores([0.5, 0.6, 0.6, 0.55]))
    assert recorder.values["net_holdout_accuracy"] == [0.5, 0.6, 0.6, 0.55]
    assert run.load_checkpoint("net")["step"] == 20
    train(network(), halves, schedule, run, "net", scores([]))  # it is over: nothing is tried again


def test_a_validation_comes_at_the_end_if_none_was_due(tmp_path: Path) -> None:
    recorder = Recorder()
    run = RunContext(scratch=tmp_path, reporter=recorder)
    train(network(), halves, Schedule(12, 1e-2, validate_every=5), run, "net", scores([0.1, 0.2, 0.3]))
    assert recorder.values["net_holdout_accuracy"] == [0.1, 0.2, 0.3]


def test_a_time_budget_ends_cleanly_and_a_longer_one_goes_on(tmp_path: Path) -> None:
    def slow(step: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(0.02)
        return halves(step, generator)

    schedule = Schedule(30, 1e-2, validate_every=7)
    whole = weights_of(train(network(), halves, schedule, RunContext(scratch=tmp_path / "a"), "net", LabelLike()))
    run = RunContext(scratch=tmp_path / "b")
    short = Schedule(30, 1e-2, validate_every=7, max_minutes=0.1 / 60)
    ended = train(network(), slow, short, run, "net", LabelLike())
    assert not ended.training
    steps = run.load_checkpoint("net")["step"]
    assert 0 < steps < 30
    train(network(), slow, short, run, "net", LabelLike())
    assert run.load_checkpoint("net")["step"] == steps  # the time before counts
    same(whole, weights_of(train(network(), halves, schedule, run, "net", LabelLike())))


def test_time_spent_before_a_kill_counts_though_the_steps_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_CLOCK_SECONDS", 0.0)
    schedule = Schedule(10_000, 1e-2, max_minutes=0.3 / 60)

    def slow(step: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(0.05)
        return halves(step, generator)

    with pytest.raises(Killed):
        train(network(), slow, schedule, RunContext(scratch=tmp_path, reporter=Recorder(stop_at=5)), "net")
    run = RunContext(scratch=tmp_path)
    assert run.load_checkpoint("net") is None
    begin = time.monotonic()
    train(network(), slow, schedule, run, "net")
    spent = run.load_checkpoint("net")["elapsed"]
    assert spent >= 0.3
    assert spent > time.monotonic() - begin


def test_what_is_logged(tmp_path: Path) -> None:
    recorder = Recorder()
    schedule = Schedule(21, 1e-2, schedule="poly", validate_every=10)
    run = RunContext(scratch=tmp_path, reporter=recorder)
    train(network(), halves, schedule, run, "my-net", scores([0.5, 0.6, 0.7]))
    logged = recorder.values
    assert logged["my_net_learning_rate"] == pytest.approx([schedule.rate_at(step) for step in (0, 5, 10, 15, 20)])
    assert logged["my_net_loss"][-1] < logged["my_net_loss"][0]
    assert len(logged["my_net_accuracy"]) == 5
    assert logged["my_net_holdout_average_accuracy"] == pytest.approx([0.5, 0.4, 0.3])
    assert 0 <= logged["my_net_waiting_share"][0] <= 1
    assert logged["my_net_patches_per_second"][0] > 0


def test_the_share_of_time_spent_waiting_for_data_is_what_it_is(tmp_path: Path) -> None:
    def slow(step: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        time.sleep(0.2)
        return halves(step, generator)

    recorder = Recorder()
    train(network(), slow, Schedule(6, 1e-2), RunContext(scratch=tmp_path, reporter=recorder), "net")
    assert recorder.values["net_waiting_share"][0] > 0.5


def test_a_loss_that_is_not_finite_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    def broken(step: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x, y = halves(step, generator)
        return x * (np.nan if step == 5 else 1), y

    with pytest.raises(UsageError, match=r"nan at step 5.*learning rate"):
        train(network(), broken, Schedule(20, 1e-2), RunContext(scratch=tmp_path), "net")


def test_class_weights_turn_the_balance(tmp_path: Path) -> None:
    """Pixels without any clue: the commonest class is found, or, weighed enough, the rare one."""

    def clueless(step: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return np.ones((2, 3, 8, 8), np.float32), (generator.random((2, 8, 8)) < 0.2).astype(np.uint8)

    found = []
    for weights in (None, np.array([0.2, 0.8, 0, 0, 0, 0, 0, 0]) * 8, np.array([1.0, 20, 0, 0, 0, 0, 0, 0])):
        run = RunContext(scratch=tmp_path / str(len(found)))
        net = train(nn.Conv2d(3, 8, 1), clueless, Schedule(150, 0.05), run, "net", class_weights=weights)
        share = net(torch.ones(1, 3, 1, 1)).softmax(dim=1)[0, 1, 0, 0]
        found.append(float(share.detach()))
    assert found[0] == pytest.approx(0.2, abs=0.08)
    assert found[1] == pytest.approx(0.5, abs=0.12)
    assert found[2] > 0.7


def test_a_network_overfits_two_patches(tmp_path: Path) -> None:
    patches = [make_patch("a", n, (32, 32), (0, 2, 4, 7), seed=1) for n in range(2)]
    rng = np.random.default_rng(0)
    for patch in patches:  # labels that no colour explains: they can only be learned by heart
        patch.low = np.kron(rng.choice(SCORED_CODES, (4, 4)), np.ones((8, 8))).astype(np.uint8)
    torch.manual_seed(0)
    read = Reader("s2")
    run = RunContext(scratch=tmp_path)

    def batch_of(step: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        from dfcbench.scheme import scored_index

        return np.stack([read(p) for p in patches]), np.stack([scored_index(p.low) for p in patches])

    net = train(UNet(10, 8, 16), batch_of, Schedule(150, 5e-3), run, "net")
    assert LabelScore(patches, read, run, 1)(net).accuracy > 0.99


# What it is fed


@pytest.mark.parametrize("inputs", ["s2", "s1+s2"])
def test_inputs_are_the_chosen_channels_in_their_order(inputs: Any) -> None:
    patch = make_patch("a", 0, (20, 30), (0, 1), seed=0)
    patch.s1[0, 3, 4] = np.nan
    names = CHANNELS if inputs == "s1+s2" else CHANNELS[2:]
    wanted = Channels(names)(patch)
    window = (slice(3, 15), slice(10, 30))
    np.testing.assert_array_equal(Reader(inputs)(patch), wanted)
    np.testing.assert_array_equal(Reader(inputs)(patch, window), wanted[:, *window])
    assert Reader(inputs).channels == len(names)


def test_moments_make_inputs_of_mean_0_and_deviation_1() -> None:
    patches = FakePatches(make_patch("a", n, (32, 32), (0, 1, 2), seed=0) for n in range(3))
    plain = Reader("s1+s2")
    found = moments(patches, plain, RunContext(), np.random.default_rng(0))
    x = np.concatenate([Reader("s1+s2", found)(p).reshape(12, -1) for p in patches], axis=1)
    np.testing.assert_allclose(x.mean(axis=1), 0, atol=0.2)
    np.testing.assert_allclose(x.std(axis=1), 1, atol=0.2)


@pytest.mark.parametrize("shape", [(40, 56), (24, 24)])
def test_crops_come_with_their_own_labels_mirrored_or_not(shape: tuple[int, int]) -> None:
    patch = make_patch("a", 0, shape, (0,), seed=0)
    codes = np.random.default_rng(0).choice(11, shape)
    patch.low = codes.astype(np.uint8)
    patch.s2[1] = codes * 100  # band B2, first among the inputs, shows the label
    inputs, targets = Crops([patch], Reader("s2"), 24, 64)(0, np.random.default_rng(1))
    assert inputs.shape == (64, 10, 24, 24) and targets.shape == (64, 24, 24) and targets.dtype == np.uint8
    shown = np.rint(inputs[:, 0] * 100).astype(int)
    index = {code: i for i, code in enumerate(SCORED_CODES)}
    wanted = np.vectorize(lambda code: index.get(code, 255))(shown)
    np.testing.assert_array_equal(targets, wanted)
    corners = np.lib.stride_tricks.sliding_window_view(codes, (24, 24)).reshape(-1, 24, 24)
    kinds = set()
    for crop in shown:
        flips = [crop, crop[::-1], crop[:, ::-1], crop[::-1, ::-1]]
        matching = [k for k, flip in enumerate(flips) if (corners == flip).all(axis=(1, 2)).any()]
        assert matching
        kinds |= set(matching)
    assert kinds == {0, 1, 2, 3}


def test_crops_reach_every_pixel_of_a_patch() -> None:
    patch = make_patch("a", 0, (20, 21), (0,), seed=0)
    patch.s2[1] = np.arange(420).reshape(20, 21)
    inputs, _ = Crops([patch], Reader("s2"), 16, 400)(0, np.random.default_rng(1))
    assert len(np.unique(np.rint(inputs[:, 0] * 10000))) == 420


def test_a_patch_smaller_than_the_crop_is_continued_without_labels() -> None:
    patch = make_patch("a", 0, (10, 16), (3,), seed=0)
    inputs, targets = Crops([patch], Reader("s2"), 32, 8)(0, np.random.default_rng(1))
    assert inputs.shape == (8, 10, 32, 32)
    assert (targets != 255).sum() == 8 * 10 * 16 and (targets[targets != 255] == 3).all()
    assert inputs.min() > 0


def test_the_score_on_labels_is_that_of_a_plain_count() -> None:
    patches = [make_patch("a", n, shape, (0, 3, 5), seed=0) for n, shape in enumerate([(20, 24)] * 3 + [(17, 9)])]
    for patch in patches:
        patch.low[:4] = 3  # Savanna
        patch.low[4:6] = 0
    torch.manual_seed(0)
    net = nn.Conv2d(10, 8, 1)
    truth, found = [], []
    for patch in patches:
        with torch.no_grad():
            labels = net(torch.from_numpy(Reader("s2")(patch)[None])).argmax(dim=1)[0].numpy()
        known = np.isin(patch.low, SCORED_CODES)
        truth.append(patch.low[known])
        found.append(np.take(SCORED_CODES, labels)[known])
    y, z = np.concatenate(truth), np.concatenate(found)
    average = np.mean([(z[y == code] == code).mean() for code in np.unique(y)])
    for batch in (1, 2, 16):
        score = LabelScore(patches, Reader("s2"), RunContext(workers=2), batch)(net)
        assert score == pytest.approx(((y == z).mean(), average))


def test_a_hold_out_without_labels_scores_nothing() -> None:
    patch = make_patch("a", 0, (16, 16), (0,), seed=0)
    patch.low[:] = 3
    assert LabelScore([patch], Reader("s2"), RunContext(), 1)(nn.Conv2d(10, 8, 1)) == (0.0, 0.0)


def test_examples_are_stacked_by_shape_and_in_order() -> None:
    shapes = [(2, 2), (2, 2), (2, 2), (3, 2), (2, 2)]
    examples = [(np.full((1, *s), n, np.float32), np.full(s, n, np.uint8)) for n, s in enumerate(shapes)]
    groups = [sorted(set(y.ravel().tolist())) for _, y in stacked(examples, 2)]
    assert groups == [[0, 1], [2], [3], [4]]


def test_label_shares_leave_out_savanna_and_refuse_labels_of_nothing_else() -> None:
    patches = FakePatches([make_patch("a", 0, (16, 16), (0, 7), seed=0)])
    patches[0].low[:8] = 3
    np.testing.assert_allclose(label_shares(patches, RunContext()), [0.5, 0, 0, 0, 0, 0, 0, 0.5])
    patches[0].low[:] = 3
    with pytest.raises(DataError, match="no"):
        label_shares(patches, RunContext())


def test_jitter_gives_each_band_of_a_crop_a_gain_of_its_own() -> None:
    patch = make_patch("a", 0, (16, 16), (2,), seed=0)
    patch.s1 = np.full((2, 16, 16), -15, np.float32)
    patch.s2 = np.full((13, 16, 16), 1000, np.uint16)
    inputs, _ = Crops([patch], Reader("s1+s2"), 16, 500, jitter=0.1)(0, np.random.default_rng(0))
    flat = inputs.reshape(500, 12, -1)
    assert flat.std(axis=2).max() < 1e-6
    decibels, reflectance = flat[:, :2, 0] * 25 - 25, flat[:, 2:, 0]
    gains = np.concatenate([10 ** ((decibels + 15) / 10), reflectance / 0.1], axis=1)
    np.testing.assert_allclose(np.log(gains).std(axis=0), 0.1, rtol=0.15)
    assert abs(np.corrcoef(gains.T) - np.eye(12)).max() < 0.2
