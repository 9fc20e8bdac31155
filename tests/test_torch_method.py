"""TorchMethod and its subclasses: what they ask for, learn, leave out and resume; and weights that make the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from dfcbench.archive import Archive
from dfcbench.contest import FusionContest
from dfcbench.errors import DataError, UsageError
from dfcbench.method import RunContext
from dfcbench.patches import HOLDOUT_SCENES
from dfcbench.plan import Plan, resolve_parameters
from dfcbench.registry import Registry
from dfcbench.scheme import SCORED_CODES
from dfcbench_methods.adapters import TorchMethod
from dfcbench_methods.deeplabv3 import DeepLabV3
from dfcbench_methods.networks import training
from dfcbench_methods.networks.weight_files import digest
from dfcbench_methods.torch_method import TorchParams
from dfcbench_methods.unet import UNet
from tests.network_maker import FakePatches, Killed, Recorder, make_patch, make_training

SMALL: dict[str, Any] = {"steps": 30, "batch": 4, "crop": 32, "validate_every": 10, "validation_patches": 2}
NARROW: dict[type[TorchMethod], dict[str, Any]] = {
    UNet: {"width": 4, "optimiser": "adamw", "learning_rate": 1e-2, "schedule": "cosine"},
    DeepLabV3: {"width": 4, "backbone": "resnet50", "optimiser": "adamw", "learning_rate": 5e-3, "head_factor": 1},
}


pytestmark = pytest.mark.usefixtures("one_torch_thread")


class Pixelwise(TorchMethod):
    """A network that sees single pixels."""

    name = "pixel-wise"

    def network(self, channels: int, classes: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, 32, 1), nn.ReLU(), nn.Conv2d(32, classes, 1))


def pixelwise(**options: Any) -> Pixelwise:
    return Pixelwise(TorchParams(**{**SMALL, "learning_rate": 0.02, "scaling": "moments", **options}))


def accuracy(method: TorchMethod, patches: Any, run: RunContext) -> float:
    truth = {patch.id: patch.low for patch in patches}
    return float(np.mean([p.labels() == truth[p.patch_id] for p in method.predict(patches, run)]))


@pytest.mark.parametrize("inputs", ["s2", "s1+s2"])
def test_a_network_of_one_s_own_is_a_method_in_a_few_lines(tmp_path: Path, inputs: Any) -> None:
    contest = make_training()
    run = RunContext(scratch=tmp_path, workers=2)
    method = pixelwise(inputs=inputs, steps=80)
    method.fit(contest, run)
    unseen = FakePatches(make_patch("ROIs0000_test_0", n, (40, 24), (0, 3, 7), seed=9) for n in range(3))
    assert accuracy(method, unseen, run) > 0.97
    for prediction in method.predict(unseen, run):
        assert prediction.values.shape == (8, 40, 24)
        np.testing.assert_allclose(prediction.values.sum(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("kind", [UNet, DeepLabV3])
def test_built_in_networks_learn_and_predict_patches_of_odd_sizes(tmp_path: Path, kind: Any) -> None:
    contest = make_training(shape=(45, 37))
    run = RunContext(scratch=tmp_path)
    method = kind(kind.Params(**{**SMALL, **NARROW[kind], "steps": 60, "crop": 32}))
    method.fit(contest, run)
    assert accuracy(method, contest.training, run) > 0.6
    shapes = [(45, 37), (13, 70), (3, 3)]
    odd = FakePatches(make_patch("ROIs0000_test_0", n, s, (0, 3), seed=9) for n, s in enumerate(shapes))
    assert [p.values.shape[1:] for p in method.predict(odd, run)] == shapes


@pytest.mark.parametrize("kind", [UNet, DeepLabV3])
def test_patches_smaller_than_the_crops_will_do(tmp_path: Path, kind: Any) -> None:
    contest = make_training(shape=(16, 16))
    run = RunContext(scratch=tmp_path)
    method = kind(kind.Params(**{**SMALL, **NARROW[kind], "steps": 3, "crop": 64}))
    method.fit(contest, run)
    assert [p.values.shape for p in method.predict(contest.training, run)] == [(8, 16, 16)] * 6


def test_a_class_that_never_occurs_is_never_predicted_and_does_no_harm(tmp_path: Path) -> None:
    for number, weights in enumerate(("none", "inverse", "root")):
        run = RunContext(scratch=tmp_path / str(number))
        method = pixelwise(class_weights=weights, steps=100)
        contest = make_training(classes=(0, 3, 7))
        method.fit(contest, run)
        found = np.concatenate([p.labels().ravel() for p in method.predict(contest.training, run)])
        assert set(np.unique(found)) == {SCORED_CODES[c] for c in (0, 3, 7)}


def test_savanna_and_snow_are_ignored(tmp_path: Path) -> None:
    """Labels of the ignored classes change nothing of what is learned."""
    learned = []
    for code in (0, 3, 8):
        contest = make_training()
        for patch in contest.training:
            patch.low[:10] = code
        method = pixelwise()
        method.fit(contest, RunContext(scratch=tmp_path / str(code)))
        learned.append(method.weights_)
    for other in learned[1:]:
        for key, value in learned[0].items():
            np.testing.assert_array_equal(other[key], value)


def test_labels_of_nothing_but_savanna_are_an_error(tmp_path: Path) -> None:
    contest = make_training()
    for patch in contest.training:
        patch.low[:] = 3
    with pytest.raises(DataError, match="scored class"):
        pixelwise().fit(contest, RunContext(scratch=tmp_path))


def test_hold_out_scenes_are_not_trained_on_but_choose_the_network(tmp_path: Path) -> None:
    """The hold-out scene alone has the truth; training scenes are labelled at random."""
    held = sorted(HOLDOUT_SCENES)[0]
    contest = make_training(scenes=2)
    contest.training += [make_patch(held, n, (32, 32), (0, 3, 7), seed=5) for n in range(2)]
    read = []

    class Watched:
        """A patch that tells when its labels are read."""

        def __init__(self, patch: Any) -> None:
            self._patch = patch

        def __getattr__(self, name: str) -> Any:
            if name == "low":
                read.append(self._patch.scene)
            return getattr(self._patch, name)

    contest.training = FakePatches(Watched(patch) for patch in contest.training)
    recorder = Recorder()
    method = pixelwise(batch=4)
    method.fit(contest, RunContext(scratch=tmp_path, reporter=recorder))
    assert read.count(held) == 3 * 2  # three validations of two patches, and not once more
    assert len(recorder.values["pixel_wise_holdout_accuracy"]) == 3


def test_a_single_scene_leaves_nothing_to_hold_out_and_the_last_network_counts(tmp_path: Path) -> None:
    recorder = Recorder()
    method = pixelwise(steps=60)
    contest = make_training(scenes=1)
    run = RunContext(scratch=tmp_path, reporter=recorder)
    method.fit(contest, run)
    assert "pixel_wise_holdout_accuracy" not in recorder.values
    assert accuracy(method, contest.training, run) > 0.95


@pytest.mark.parametrize("kind", [UNet, DeepLabV3])
def test_a_killed_training_goes_on_to_the_same_weights(
    tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(training, "_CHECKPOINT_SHARE", 1e9)

    def fitted(folder: Path, stop_at: int | None = None) -> dict[str, np.ndarray]:
        method = kind(kind.Params(**{**SMALL, **NARROW[kind], "steps": 12, "validate_every": 5}))
        method.fit(make_training(), RunContext(scratch=folder, reporter=Recorder(stop_at)))
        return method.weights_

    whole = fitted(tmp_path / "whole")
    with pytest.raises(Killed):
        fitted(tmp_path / "broken", stop_at=8)
    broken = fitted(tmp_path / "broken")
    for key, value in whole.items():
        np.testing.assert_array_equal(broken[key], value, err_msg=key)


def test_what_was_learned_survives_save_and_load(tmp_path: Path) -> None:
    contest, run = make_training(), RunContext(scratch=tmp_path)
    method, other = pixelwise(), pixelwise()
    method.fit(contest, run)
    method.save(tmp_path)
    other.load(tmp_path)
    for first, second in zip(method.predict(contest.training, run), other.predict(contest.training, run), strict=True):
        np.testing.assert_array_equal(first.values, second.values)


def test_a_map_does_not_depend_on_which_others_are_asked_for(tmp_path: Path) -> None:
    contest, run = make_training(), RunContext(scratch=tmp_path, workers=2)
    method = UNet(UNet.Params(**{**SMALL, **NARROW[UNet], "steps": 3}))
    method.fit(contest, run)
    together = {p.patch_id: p.values for p in method.predict(contest.training, run)}
    for patch in contest.training:
        [alone] = method.predict(FakePatches([patch]), run)
        np.testing.assert_array_equal(alone.values, together[patch.id])


@pytest.mark.parametrize("kind", [UNet, DeepLabV3, Pixelwise])
def test_radar_is_asked_for_only_where_it_is_an_input(kind: Any) -> None:
    assert kind(kind.Params()).requires().inputs == {"s2"}
    needs = kind(kind.Params(inputs="s1+s2")).requires()
    assert needs.inputs == {"s1", "s2"} and needs.training and not needs.transductive and needs.labels == "low"


def test_defaults_are_what_is_published() -> None:
    unet, deeplab = UNet.Params(), DeepLabV3.Params()
    assert (unet.optimiser, unet.weight_decay, unet.width) == ("rmsprop", 5e-4, 64)
    assert (deeplab.optimiser, deeplab.momentum, deeplab.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (deeplab.learning_rate, deeplab.head_factor, deeplab.batch) == (1e-3, 10, 32)
    assert (deeplab.validate_every, deeplab.backbone, deeplab.width) == (5000, "resnet101", 64)
    for kind in (UNet, DeepLabV3):
        assert kind.Params().class_weights == "none"


def test_the_head_of_deeplab_learns_faster(tmp_path: Path) -> None:
    method = DeepLabV3(DeepLabV3.Params(backbone="resnet50", width=4))
    network = method._new(RunContext())
    optimiser = method._schedule().optimiser_of(network)
    rate = {id(p): group["factor"] for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        assert rate[id(parameter)] == (1 if name.startswith("backbone.") else 10), name


# Weights


def test_a_network_starts_from_the_weights_of_a_file(tmp_path: Path) -> None:
    contest = make_training()
    first = pixelwise(steps=40)
    first.fit(contest, RunContext(scratch=tmp_path / "first"))
    path = tmp_path / "first.pt"
    torch.save({key: torch.from_numpy(value) for key, value in first.weights_.items()}, path)
    second = pixelwise(steps=1, learning_rate=1e-9, weights=str(path))
    second.fit(contest, RunContext(scratch=tmp_path / "second", seed=5))
    for key, value in first.weights_.items():
        np.testing.assert_allclose(second.weights_[key], value, atol=1e-6)


def test_weights_of_another_width_are_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "wide.pt"
    torch.save(UNet(UNet.Params(width=8)).network(10, 8).state_dict(), path)
    method = UNet(UNet.Params(**{**SMALL, **NARROW[UNet], "weights": str(path)}))
    with pytest.raises(UsageError, match=r"of another shape: down\.0\.0\.weight \(8, 10, 3, 3\) instead of \(4, 10"):
        method.fit(make_training(), RunContext(scratch=tmp_path))


def test_backbone_weights_reach_the_backbone_and_nothing_else(tmp_path: Path) -> None:
    def build(**options: Any) -> DeepLabV3:
        return DeepLabV3(DeepLabV3.Params(backbone="resnet50", width=4, **options))

    torch.manual_seed(5)
    other = build().network(10, 8).backbone.state_dict()
    path = tmp_path / "imagenet.pt"
    torch.save({**other, "fc.weight": torch.zeros(1000, 128), "fc.bias": torch.zeros(1000)}, path)
    method = build(backbone_weights=str(path))
    plain, started = (method._new(RunContext()) for _ in range(2))
    method.start(started)
    for name, value in started.state_dict().items():
        wanted = other[name.removeprefix("backbone.")] if name.startswith("backbone.") else plain.state_dict()[name]
        torch.testing.assert_close(value, wanted, rtol=0, atol=0)


def test_the_content_of_the_file_makes_the_run(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"one")
    first = UNet.Params(weights=str(path))
    assert first.weights_digest == digest(str(path))
    assert UNet.Params(**first.model_dump()) == first
    path.write_bytes(b"two")
    second = UNet.Params(weights=str(path))
    assert second.model_dump() != first.model_dump()
    with pytest.raises(ValidationError, match="content"):
        UNet.Params(**first.model_dump())
    with pytest.raises(ValidationError, match="cannot be read"):
        UNet.Params(weights=str(tmp_path / "absent.pt"))
    assert UNet.Params().weights_digest == ""
    imagenet = DeepLabV3.Params(backbone_weights=str(path))
    assert imagenet.backbone_weights_digest == digest(str(path)) and imagenet.weights_digest == ""


def test_a_run_s_key_tells_the_content_of_its_files_and_not_their_place(small: Archive, tmp_path: Path) -> None:
    def plan(method: str, **params: Any) -> Plan:
        loaded = Registry().load(method)
        resolved, preset = resolve_parameters(loaded.method, params, None, demo=False)
        return Plan(FusionContest(small, 1, "test"), loaded, resolved, preset, 0, "cpu", 1, tmp_path / "submissions")

    (tmp_path / "elsewhere").mkdir()
    first, second, third = (tmp_path / name for name in ("a.pt", "elsewhere/b.pt", "c.pt"))
    for path, content in ((first, b"one"), (second, b"one"), (third, b"two")):
        path.write_bytes(content)
    for method, name in (("unet", "weights"), ("deeplabv3", "weights"), ("deeplabv3", "backbone_weights")):
        here, there, other = (plan(method, **{name: str(path)}) for path in (first, second, third))
        assert here.key == there.key and here.folder == there.folder
        assert len({here.key, other.key, plan(method).key}) == 3
        assert here.parameters[name] == str(first) != there.parameters[name], "the submission still tells the path"
    both = [plan("deeplabv3", weights=str(a), backbone_weights=str(b)).key for a, b in ((first, third), (third, first))]
    assert both[0] != both[1]


def test_backbone_weights_are_refused_by_a_network_without_a_resnet(tmp_path: Path) -> None:
    class Headless(DeepLabV3):
        def network(self, channels: int, classes: int) -> nn.Module:
            return nn.Conv2d(channels, classes, 1)

    path = tmp_path / "imagenet.pt"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    method = Headless(DeepLabV3.Params(backbone_weights=str(path)))
    with pytest.raises(UsageError, match="Conv2d has none as its backbone"):
        method.start(method.network(10, 8))


def test_describing_the_methods_imports_no_torch() -> None:
    code = (
        "import sys; from dfcbench_methods.adapters import TorchMethod; import dfcbench_methods.unet as u, "
        "dfcbench_methods.deeplabv3 as d; u.UNet(u.UNet.Params()).requires(); d.DeepLabV3(d.DeepLabV3.Params()).requires();"
        "assert not {'torch', 'sklearn', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_adapters_know_only_their_names() -> None:
    import dfcbench_methods.adapters as adapters

    assert adapters.TorchMethod is TorchMethod
    with pytest.raises(AttributeError, match="KerasMethod"):
        _ = adapters.KerasMethod  # type: ignore[attr-defined]
