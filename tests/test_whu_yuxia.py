"""WHU_YuXia's three branches, their fusion and the rules, on made-up contests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dfcbench.errors import DataError
from dfcbench.scheme import SCORED_CODES, SCORED_NAMES
from dfcbench_methods.whu_yuxia import WhuYuxia
from tests import datamaker
from tests.bag_maker import average_accuracy
from tests.forest_maker import Killed, Reporter, context, labels, maps, track1
from tests.in_process import call

SMALL: dict[str, Any] = {"trees": 6, "draw": 3000, "types": 24, "superpixel": 16, "cnn": "none", "engine": "sklearn"}


class Maps:
    """A part that knows the truth but for noise."""

    def __init__(self, contest: Any) -> None:
        rng = np.random.default_rng(0)
        self.found = {}
        for patch in contest.target:
            p = rng.dirichlet(np.ones(8), patch.shape).transpose(2, 0, 1)
            p += 2.0 * (np.array(SCORED_CODES)[:, None, None] == patch.high)
            self.found[patch.id] = (p / p.sum(axis=0)).astype(np.float32)

    def probabilities(self, patch_id: str) -> np.ndarray:
        return self.found[patch_id]


def fitted(contest: Any, run: Any, **parameters: Any) -> WhuYuxia:
    method = WhuYuxia(WhuYuxia.Params(**{**SMALL, **parameters}))
    method.fit(contest, run)
    return method


@pytest.fixture(scope="module")
def contest() -> Any:
    return track1(5, (48, 40), seed=1)


def test_it_beats_the_labels_that_it_learns_from_and_every_branch_is_there(tmp_path, contest):
    low = average_accuracy(contest, {patch.id: patch.low for patch in contest.target})
    run = context(tmp_path, parts={"cnn": Maps(contest)})
    method = fitted(contest, run, cnn="unet")
    assert average_accuracy(contest, labels(maps(method, contest.target, run))) > low
    assert method.weights_.shape == (3, 8)
    record = json.loads(run.artifact("fusion.json").read_text())
    assert list(record["branches"]) == ["segmentation", "forest", "cnn"]
    weights = np.array([list(b["weights"].values()) for b in record["branches"].values()])
    np.testing.assert_allclose(weights.sum(axis=0), 1)


@pytest.mark.parametrize(
    ("switched", "names"),
    [
        ({"forest": False}, ["segmentation"]),
        ({"segmentation": False}, ["forest"]),
        ({"segmentation": False, "forest": False, "cnn": "unet"}, ["cnn"]),
    ],
)
def test_one_branch_alone_is_that_branch(tmp_path, contest, switched, names):
    run = context(tmp_path, parts={"cnn": Maps(contest)} if switched.get("cnn") else None)
    method = fitted(contest, run, rules="none", **switched)
    assert method._names() == names
    assert (set(method.parts()) == {"cnn"}) == ("cnn" in names)
    found = maps(method, contest.target, run)
    if names == ["cnn"]:
        for name, p in found.items():
            np.testing.assert_allclose(p, run.parts["cnn"].probabilities(name), atol=1e-6)
    if names == ["forest"]:
        patch = contest.target[0]
        from dfcbench_methods.features.stack import PLAIN, Stack

        x = np.ascontiguousarray(Stack()(patch)[PLAIN.index("NDVI") :].reshape(12, -1).T)
        expected = method.trees_.probabilities(x).T.reshape(8, *patch.shape)
        np.testing.assert_allclose(found[patch.id], expected, atol=1e-5)


def test_segments_have_one_class_each_at_a_single_scale_but_for_their_labels(tmp_path, contest):
    """Of one scale, a segment has one probability: its type and its place speak for all of its pixels."""
    run = context(tmp_path)
    method = fitted(contest, run, forest=False, rules="none", scales=(2.0,))
    from dfcbench_methods.features.stack import Stack

    patch = contest.target[2]
    p = maps(method, [patch], run)[patch.id]
    numbers = method._segments(Stack()(patch)).labels(0)
    for number in np.unique(numbers):
        inside = p[:, numbers == number]
        np.testing.assert_allclose(inside, inside[:, :1].repeat(inside.shape[1], axis=1), atol=1e-6)


def test_the_rules_change_what_they_speak_against_and_nothing_else(tmp_path, contest):
    run = context(tmp_path)
    method = fitted(contest, run, doubt=0.0)
    plain = WhuYuxia(method.params.model_copy(update={"rules": ()}))
    vars(plain).update({k: v for k, v in vars(method).items() if k.endswith("_")})
    before, after = (maps(m, contest.target, run) for m in (plain, method))
    from dfcbench_methods.features.stack import Stack
    from dfcbench_methods.index_rules import RULES, indices_of

    touched = 0
    for patch in contest.target:
        indices = indices_of(Stack()(patch)[:10])
        doubted = np.zeros((8, *patch.shape), bool)
        for rule in RULES:
            doubted |= rule.speaks(indices) & method.kept_[rule.name][:, None, None]
        silent = ~doubted.any(axis=0)
        np.testing.assert_allclose(after[patch.id][:, silent], before[patch.id][:, silent], atol=1e-6)
        possible = ((before[patch.id] > 0) & ~doubted).any(axis=0)
        assert (after[patch.id][doubted & possible] == 0).all()
        touched += (~silent).sum()
    assert touched


def test_what_each_branch_and_rule_brings_is_logged(tmp_path, contest):
    class Kept:
        def __init__(self) -> None:
            self.values: dict[str, float] = {}

        def advance(self, label: str, done: int, total: int | None) -> None:
            pass

        def metrics(self, values: Any, step: int | None) -> None:
            self.values.update(values)

    kept = Kept()
    fitted(contest, context(tmp_path, reporter=kept))
    expected = {f"{b}_{what}" for b in ("segmentation", "forest") for what in ("agreement", "estimated_accuracy")}
    expected |= {f"rule_{name}_changed" for name in ("water", "dry", "urban", "barren", "vegetated", "bare")}
    assert expected | {"rules_changed"} <= set(kept.values)
    assert all(0 <= kept.values[name] <= 1 for name in expected)


class StoppedWhen(Reporter):
    """Ends the run when this stage begins."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label

    def advance(self, label: str, done: int, total: int | None) -> None:
        if label == self.label and done:
            raise Killed


@pytest.mark.parametrize("stage", ["drawing pixels", "naming segments", "weighing branches"])
def test_a_killed_run_ends_in_the_same_maps_with_other_workers(tmp_path, contest, stage):
    run = context(tmp_path / "whole")
    whole = maps(fitted(contest, run), contest.target, run)
    with pytest.raises(Killed):
        fitted(contest, context(tmp_path / "broken", reporter=StoppedWhen(stage)))
    run = context(tmp_path / "broken", workers=2)
    broken = maps(fitted(contest, run), contest.target, run)
    for name, p in whole.items():
        np.testing.assert_array_equal(broken[name], p)


@pytest.mark.parametrize("size", [(9, 20), (5, 5), (33, 12)])
def test_other_sizes_bad_pixels_and_missing_classes(tmp_path, size):
    contest = track1(4, size, seed=5)
    contest.target[0].s1[:, :2] = np.nan
    contest.target[0].s2[:] = 0
    contest.target[1].low[:] = 0
    for patch in contest.target:
        patch.low[np.isin(patch.low, (2, 3, 10))] = 4
        patch.s2[7] = 1234
    run = context(tmp_path)
    for p in maps(fitted(contest, run), contest.target, run).values():
        assert p.shape == (8, *size) and np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-4)


def test_a_contest_of_one_colour(tmp_path):
    contest = track1(2, (12, 12))
    for patch in contest.target:
        patch.s1[:], patch.s2[:] = -10, 1500
    run = context(tmp_path)
    assert all(np.isfinite(p).all() for p in maps(fitted(contest, run), contest.target, run).values())


def test_without_any_label_there_is_an_error_with_a_reason(tmp_path):
    contest = track1(2, (8, 8))
    for patch in contest.target:
        patch.low[:] = 0
    with pytest.raises(DataError, match="has a low-resolution label to learn from"):
        fitted(contest, context(tmp_path))


@pytest.mark.parametrize(
    "wrong",
    [
        {"segmentation": False, "forest": False},
        {"rules": "water,snow"},
        {"scales": (5.0, 2.0)},
        {"scales": (0.0, 2.0)},
        {"doubt": 1.5},
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        WhuYuxia.Params(**{"cnn": "none", **wrong})


def test_it_says_that_it_is_a_reconstruction():
    assert WhuYuxia.reconstruction is True
    assert "A reconstruction." in (__import__(WhuYuxia.__module__, fromlist=["x"]).__doc__ or "")


def test_a_run_from_the_command_line_with_a_part_on_oblong_patches(tmp_path: Path):
    datamaker.write_contest(tmp_path / "data", datamaker.VARIANTS["oblong"])
    given = {**SMALL, "draw": 400, "cnn": "low-resolution-labels", "rules": "water,dry"}
    words = [word for key, value in given.items() for word in ("-p", f"{key}={value}")]
    done = call(
        "run",
        "--track",
        1,
        "--method",
        "whu-yuxia",
        "--data",
        tmp_path / "data",
        "--submissions",
        tmp_path / "out",
        *words,
    )
    assert done.code == 0, done.err
    assert sorted(folder.name for folder in (tmp_path / "out" / "track1").iterdir()) == [
        "low-resolution-labels",
        "whu-yuxia",
    ]
    (folder,) = (tmp_path / "out" / "track1" / "whu-yuxia").iterdir()
    record = json.loads((folder / "artifacts" / "fusion.json").read_text())
    assert list(record["branches"]) == ["segmentation", "forest", "cnn"]
    assert set(record["rules"]) == {"water", "dry"}
    assert set(record["branches"]["cnn"]["weights"]) == set(SCORED_NAMES)
