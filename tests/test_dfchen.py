"""dfchen's entry: its vote, its retraining on confident labels of the scored images, resume, and odd contests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dfcbench.method import RunContext
from dfcbench.scheme import SCORED_CODES
from dfcbench.submission import Submission
from dfcbench.testing import contest as easy
from dfcbench_methods.dfchen import DfChen
from dfcbench_methods.networks import training
from tests.bag_maker import average_accuracy
from tests.branch_maker import Killed, KMeansPart, Stopper, contest_of, labels, maps
from tests.in_process import call

SMALL: dict[str, Any] = {
    "pixels": 3000,
    "trees": 12,
    "min_samples": 10,
    "engine": "sklearn",
    "clusters": 12,
    "backbone": "resnet50",
    "width": 4,
    "optimiser": "adamw",
    "head_factor": 1.0,
    "batch": 2,
    "crop": 32,
    "steps": 8,
    "retraining_steps": 6,
    "threads": 1,
}


def made(**changes: Any) -> DfChen:
    return DfChen(DfChen.Params(**{**SMALL, **changes}))


def context(method: DfChen, contest: Any, folder: Path, **options: Any) -> RunContext:
    part = KMeansPart(contest, method.parts()["kmeans"].parameters, folder / "part")
    return RunContext(scratch=folder / "scratch", parts={"kmeans": part}, **options)


@pytest.fixture(scope="module")
def contest() -> Any:
    return contest_of([(40, 48)] * 6, 3)


def test_the_map_beats_low_resolution_labels(tmp_path: Path, contest: Any) -> None:
    method = made()
    run = context(method, contest, tmp_path)
    method.fit(contest, run)
    found = maps(method, contest.target, run)
    for p in found.values():
        assert p.min() >= 0
        np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-4)
    theirs = average_accuracy(contest, {p.id: p.low for p in contest.target})
    assert average_accuracy(contest, labels(found)) > theirs


def test_the_map_is_the_smoothed_vote_of_forest_network_and_k_means(tmp_path: Path, contest: Any) -> None:
    method = made(forest_vote=2.0, network_vote=1.0, kmeans_vote=1.0, smoothing=3, retraining_steps=0)
    run = context(method, contest, tmp_path)
    method.fit(contest, run)
    patch = contest.target[0]
    network, kmeans = method.network_.mapper(run)(patch), run.parts["kmeans"].probabilities(patch.id)
    vote = (2 * method._forest(patch) + network + kmeans) / 4
    padded = np.pad(vote, ((0, 0), (1, 1), (1, 1)), mode="symmetric")
    height, width = patch.shape
    expected = sum(padded[:, a : a + height, b : b + width] for a in range(3) for b in range(3)) / 9
    np.testing.assert_allclose(maps(method, [patch], run)[patch.id], expected, atol=1e-5)


def test_retraining_learns_from_confident_labels_of_the_scored_images_alone(
    tmp_path: Path, contest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def spy(self: Any, patches: Any, codes: Any, run: RunContext, stage: str, **options: Any) -> None:
        seen[stage] = (patches.ids, [codes(patch) for patch in patches])
        plainly(self, patches, codes, run, stage, **options)

    from dfcbench_methods.deeplabv3 import DeepLabV3

    plainly = DeepLabV3.learn
    monkeypatch.setattr(DeepLabV3, "learn", spy)
    shares = []
    for confidence in (0.35, 0.5):
        method = made(confidence=confidence)
        stopper = Stopper()
        run = context(method, contest, tmp_path / str(confidence), reporter=stopper)
        method.fit(contest, run)
        ids, codes = seen["dfchen-retraining"]
        assert ids == contest.target.ids
        assert {int(code) for found in codes for code in np.unique(found)} <= {0, *SCORED_CODES}
        share = np.mean([(found > 0).mean() for found in codes])
        np.testing.assert_allclose(stopper.values["confident_share"], share)
        shares.append(share)
        held = set(contest.labelled.ids) - set(seen["dfchen"][0])
        assert len(held) == 1 and not held & set(ids)
    assert 0 < shares[1] < shares[0] < 1


def test_without_a_confident_pixel_the_first_network_stays(tmp_path: Path, contest: Any) -> None:
    found = {}
    for name, changes in (("never sure", {"confidence": 1.0}), ("not retrained", {"retraining_steps": 0})):
        method = made(**changes)
        run = context(method, contest, tmp_path / name)
        method.fit(contest, run)
        found[name] = maps(method, contest.target, run)
    for patch_id, p in found["never sure"].items():
        np.testing.assert_array_equal(found["not retrained"][patch_id], p)


def test_what_each_branch_brings_is_logged(tmp_path: Path, contest: Any) -> None:
    stopper = Stopper()
    method = made()
    method.fit(contest, context(method, contest, tmp_path, reporter=stopper))
    branches = ("forest", "kmeans", "network", "retrained_network")
    expected = {f"{name}_agreement" for name in branches} | {"smoothing_changed", "retraining_changed"}
    expected |= {f"{name}_held_out_average_accuracy" for name in (*branches, "final")}
    assert expected <= set(stopper.values)
    assert all(0 <= stopper.values[name][0] <= 1 for name in expected)
    assert {"dfchen_loss", "dfchen_retraining_loss"} <= set(stopper.values)


@pytest.mark.parametrize("label", ["training dfchen", "combining", "training dfchen-retraining", "comparing branches"])
def test_a_killed_run_ends_in_the_same_maps(
    tmp_path: Path, contest: Any, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    method = made(steps=4, retraining_steps=3)
    run = context(method, contest, tmp_path / "whole")
    method.fit(contest, run)
    whole = maps(method, contest.target, run)
    method = made(steps=4, retraining_steps=3)
    with pytest.raises(Killed):
        method.fit(contest, context(method, contest, tmp_path / "broken", reporter=Stopper(label)))
    again = Stopper()
    run = context(method, contest, tmp_path / "broken", reporter=again, workers=2)
    method.fit(contest, run)
    for name, p in maps(method, contest.target, run).items():
        np.testing.assert_array_equal(p, whole[name])
    assert "drawing pixels" not in again.seen, "the forest is kept"
    assert ("combining" in again.seen) == (label in ("training dfchen", "combining"))


def test_odd_contests_get_maps(tmp_path: Path) -> None:
    """Patches of several sizes, without data here and there, and classes that never occur."""
    contest = contest_of([(25, 31), (40, 17), (33, 33), (21, 50)], 2, lacking=(5, 9))
    contest.target[0].s1[:, :5] = np.nan
    contest.target[1].s2[:] = 0
    method = made(steps=3, retraining_steps=2)
    run = context(method, contest, tmp_path)
    method.fit(contest, run)
    for patch_id, p in maps(method, contest.target, run).items():
        (shape,) = (patch.shape for patch in contest.target if patch.id == patch_id)
        assert p.shape == (8, *shape) and np.isfinite(p).all()


def test_a_whole_run_makes_its_part_and_scores(tmp_path: Path) -> None:
    easy.write(tmp_path / "data", side=32)
    small = [
        word
        for name, value in {**SMALL, "steps": 3, "retraining_steps": 2}.items()
        for word in ("-p", f"{name}={value}")
    ]
    done = call(
        *("run", "--track", 2, "--method", "dfchen", "--data", tmp_path / "data"),
        *("--submissions", tmp_path / "out", *small),
    )
    assert done.code == 0, done.err
    (folder,) = (tmp_path / "out" / "track2" / "dfchen").iterdir()
    scores = Submission(folder).scores
    assert scores is not None and (scores.average_accuracy or 0) > 0.5
    assert list((tmp_path / "out" / "track2" / "kmeans").iterdir())


def test_it_is_a_reconstruction_and_says_so() -> None:
    assert DfChen.reconstruction
    assert "reconstruction" in (DfChen.__doc__ or "") and "reconstruction" in DfChen.citation
    assert DfChen.needs.transductive and DfChen.needs.labels == "high"
    with pytest.raises(ValidationError, match="odd"):
        DfChen.Params(smoothing=4)
