"""The views: what a track and a method's needs do not show is not there."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest

from dfcbench import rasters
from dfcbench.archive import Archive
from dfcbench.contest import FusionContest, label_prior
from dfcbench.errors import DataError, HiddenError, UsageError
from dfcbench.method import Needs
from dfcbench.scheme import CODES, SCORED_CODES
from tests import datamaker

TRANSDUCTIVE = Needs(labels="low", transductive=True, prior=True)


def test_no_patch_of_any_view_has_high_resolution_labels(small):
    for split in ("test", "validation"):
        view = FusionContest(small, 1, split).view(TRANSDUCTIVE)
        for patches in (view.target, view.validation, view.to_predict()):
            assert not hasattr(patches[0], "high")
            assert "high" not in patches.modalities
            with pytest.raises(AttributeError):
                _ = patches[0].high


def reachable(thing: object) -> list[object]:
    seen: dict[int, object] = {}
    waiting = [thing]
    while waiting:
        item = waiting.pop()
        if (
            id(item) in seen
            or isinstance(item, type)
            or (type(item).__module__ in ("builtins", "types") and callable(item))
        ):
            continue
        seen[id(item)] = item
        waiting.extend(gc.get_referents(item))
    return list(seen.values())


@pytest.mark.parametrize("split", ["test", "validation"])
def test_no_path_to_a_label_file_is_reachable_from_a_view_of_track_1(small, split):
    view = FusionContest(small, 1, split).view(TRANSDUCTIVE)
    texts = [str(item) for item in reachable(vars(view)) if isinstance(item, str | Path)]
    assert any("_s2" in text or text == "s2" for text in texts), "the walk reaches the paths that are shown"
    assert not [text for text in texts if "dfc_" in text or "_dfc" in text]
    assert b"dfc_" not in pickle.dumps(view.target)


def test_track_2_shows_the_reference_of_validation_and_not_of_test(small):
    view = FusionContest(small, 2, "test").view(Needs(labels="high", transductive=True))
    assert set(np.unique(view.labelled[0].high)) <= set(SCORED_CODES)
    assert not hasattr(view.target[0], "high")
    assert set(view.labelled.ids).isdisjoint(view.target.ids)


def test_the_reference_is_shown_to_those_who_declare_that_they_learn_from_it(small):
    view = FusionContest(small, 2, "test").view(Needs(labels="low"))
    with pytest.raises(HiddenError, match="labels='high'"):
        _ = view.labelled


def test_labelled_on_track_1_is_refused_with_the_rule(small):
    view = FusionContest(small, 1, "test").view(TRANSDUCTIVE)
    assert not hasattr(view, "labelled")
    with pytest.raises(HiddenError, match="Track 1 never shows high-resolution labels"):
        _ = view.labelled


def test_target_is_refused_to_a_method_that_is_not_transductive(small):
    view = FusionContest(small, 1, "test").view(Needs(labels="low"))
    with pytest.raises(HiddenError, match="transductive=True"):
        _ = view.target
    assert len(view.to_predict()) == 7


def test_the_scored_split_is_not_shown_as_validation_to_a_method_that_is_not_transductive(small):
    view = FusionContest(small, 1, "validation").view(Needs(labels="low"))
    with pytest.raises(HiddenError):
        _ = view.validation
    assert len(FusionContest(small, 1, "test").view(Needs(labels="low")).validation) == 5


def test_training_is_shown_when_asked_for(small):
    assert len(FusionContest(small, 1, "test").view(Needs(training=True)).training) == 8
    with pytest.raises(HiddenError, match="training=True"):
        _ = FusionContest(small, 1, "test").view(Needs()).training


def test_modalities_that_the_needs_do_not_name_are_withheld(small):
    patch = FusionContest(small, 1, "test").view(Needs(inputs={"s1"}, labels="none")).to_predict()[0]
    assert patch.s1.shape == (2, 16, 16)
    for name in ("s2", "low"):
        with pytest.raises(HiddenError, match="Declare it"):
            getattr(patch, name)


@pytest.mark.parametrize(
    ("track", "split", "error", "words"),
    [
        (3, "test", UsageError, "tracks 1 and 2"),
        (1, "training", UsageError, "choose one of"),
        (2, "validation", UsageError, "that track's training data"),
        (1, "regional", DataError, "no regional split"),
    ],
)
def test_what_the_contest_does_not_have_is_refused_with_its_rule(small, track, split, error, words):
    with pytest.raises(error, match=words):
        FusionContest(small, track, split)


def test_high_labels_on_track_1_are_refused(small):
    with pytest.raises(UsageError, match="--track 2"):
        FusionContest(small, 1, "test").view(Needs(labels="high"))


def test_missing_inputs_are_told_before_a_run(tmp_path):
    datamaker.write_split(tmp_path, "DFC2020/ROIs0000_test", "0", "0", range(2), datamaker.DFC2020, ["s2", "lc"])
    contest = FusionContest(Archive.open(tmp_path), 1, "test")
    with pytest.raises(DataError, match="s1"):
        contest.check(Needs(inputs={"s1", "s2"}))
    contest.check(Needs(inputs={"s2"}))
    with pytest.raises(DataError, match="SEN12MS"):
        contest.check(Needs(inputs={"s2"}, training=True))


def test_limit_takes_patches_evenly_from_the_whole_split(small):
    contest = FusionContest(small, 1, "test", limit=3)
    numbers = [int(i.rpartition("_p")[2]) for i in contest.scored.ids]
    assert numbers == [0, 3, 6]
    assert contest.reference.ids == contest.scored.ids
    assert FusionContest(small, 1, "test", limit=7).limit is None
    assert len(FusionContest(small, 1, "validation", limit=2).view(TRANSDUCTIVE).validation) == 2


def test_label_prior_is_the_share_of_reference_classes_by_low_resolution_class(small):
    prior = label_prior(small)
    low = np.concatenate([p.low.ravel() for p in small.labelled("validation")])
    high = np.concatenate([p.high.ravel() for p in small.labelled("validation")])
    for row, code in enumerate(CODES):
        here = low == code
        chosen = high[here] if here.any() else high
        np.testing.assert_allclose(prior[row], [(chosen == c).mean() for c in SCORED_CODES], atol=1e-12)
    np.testing.assert_array_equal(label_prior(small), prior)


def test_label_prior_without_reference_says_what_to_add(tmp_path):
    datamaker.write_split(
        tmp_path, "DFC2020/ROIs0000_validation", "validation", "0", range(2), datamaker.DFC2020, ["s1", "s2", "lc"]
    )
    archive = Archive.open(tmp_path)
    with pytest.raises(DataError, match=r"dfc_validation\.zip"):
        label_prior(archive)
    contest = FusionContest(archive, 1, "validation")
    with pytest.raises(DataError, match=r"dfc_validation\.zip"):
        contest.check(TRANSDUCTIVE)
    with pytest.raises(HiddenError, match="prior=True"):
        _ = contest.view(Needs(labels="low")).label_prior


def test_labels_of_different_sizes_are_told_by_patch(tmp_path):
    datamaker.write_contest(tmp_path)
    path = datamaker.file(tmp_path, "DFC2020/ROIs0000_validation", "validation", "dfc", "0_p1")
    rasters.write(path, np.ones((12, 12), np.uint8))
    with pytest.raises(DataError, match=r"ROIs0000_validation_0_p1 are \(16, 16\) and \(12, 12\)"):
        label_prior(Archive.open(tmp_path))


def test_a_split_with_some_of_its_labels_is_refused_with_one_that_lacks(tmp_path):
    datamaker.write_contest(tmp_path)
    datamaker.file(tmp_path, "DFC2020/ROIs0000_test", "0", "dfc", "0_p2").unlink()
    with pytest.raises(DataError, match=r"1 of 4 patches .* ROIs0000_test_dfc_0_p2\.tif"):
        _ = FusionContest(Archive.open(tmp_path), 1, "test").has_reference
    assert FusionContest(Archive.open(tmp_path), 1, "test", limit=2).has_reference, "p0 and p3 have theirs"


def test_the_fingerprints_of_a_run_are_those_of_what_it_depends_on(small):
    contest = FusionContest(small, 1, "test")
    assert set(contest.fingerprints(Needs())) == {"test", "validation"}
    assert set(contest.fingerprints(Needs(training=True))) == {"test", "validation", "training"}
