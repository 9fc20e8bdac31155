"""Both entries of team Pineapples: what they learn from, their branches, rules, resume, and odd contests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dfcbench.method import RunContext
from dfcbench.scheme import SCORED_NAMES
from dfcbench_methods.class_rules import Rule
from dfcbench_methods.pineapples import PIXEL_FEATURES, PineapplesTrack1, PineapplesTrack2, plain
from tests.bag_maker import average_accuracy
from tests.branch_maker import Killed, Stopper, contest_of, labels, maps

SMALL: dict[str, Any] = {
    "clusters": 30,
    "cluster_pixels": 4000,
    "restarts": 1,
    "pixels": 4000,
    "trees": 12,
    "min_samples": 10,
    "engine": "sklearn",
}
TRACK1: dict[str, Any] = {**SMALL, "words": 10, "window": 7, "topics": 3, "documents": 200, "topic_stride": 3}
BOTH = [PineapplesTrack1, PineapplesTrack2]


def fitted(kind: Any, contest: Any, run: RunContext, **changes: Any) -> Any:
    method = kind(kind.Params(**{**(TRACK1 if kind is PineapplesTrack1 else SMALL), **changes}))
    method.fit(contest, run)
    return method


@pytest.fixture(scope="module")
def contest() -> Any:
    return contest_of([(44, 60)] * 7, 3)


@pytest.mark.parametrize("kind", BOTH)
def test_the_map_beats_the_labels_that_it_is_made_from(tmp_path: Path, contest: Any, kind: Any) -> None:
    run = RunContext(scratch=tmp_path)
    found = maps(fitted(kind, contest, run), contest.target, run)
    for p in found.values():
        np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-4)
    theirs = average_accuracy(contest, {p.id: p.low for p in contest.target})
    assert average_accuracy(contest, labels(found)) > theirs + 0.15


def test_track_1_never_asks_for_the_reference_and_track_2_learns_the_forest_from_it(tmp_path: Path) -> None:
    made = contest_of([(30, 40)] * 4, 2)

    class View:
        target, label_prior = made.target, made.label_prior

    fitted(PineapplesTrack1, View(), RunContext(scratch=tmp_path / "1"))
    with pytest.raises(AttributeError, match="labelled"):
        fitted(PineapplesTrack2, View(), RunContext(scratch=tmp_path / "2"))
    for patch in made.labelled:
        patch.high[:] = 7
    method = fitted(PineapplesTrack2, made, RunContext(scratch=tmp_path / "3"))
    x = method._branches(made.target[0])
    assert (x["forest"].argmax(axis=0) == SCORED_NAMES.index("Urban/Built-up")).all()
    assert len(np.unique(x["clusters"].argmax(axis=0))) > 2, "clusters know low-resolution labels alone"


def test_features_are_of_pixels_then_words_then_topics(tmp_path: Path, contest: Any) -> None:
    method = fitted(PineapplesTrack1, contest, RunContext(scratch=tmp_path))
    patch = contest.target[1]
    x = method.features_(patch)
    assert x.shape == (PIXEL_FEATURES + 10 + 3, *patch.shape) and x.dtype == np.float32
    np.testing.assert_array_equal(x[:PIXEL_FEATURES], plain(patch))
    np.testing.assert_allclose(x[PIXEL_FEATURES : PIXEL_FEATURES + 10].sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(x[PIXEL_FEATURES + 10 :].sum(axis=0), 1, rtol=1e-5)
    track2 = fitted(PineapplesTrack2, contest, RunContext(scratch=tmp_path / "2"))
    np.testing.assert_array_equal(track2.features_(patch), plain(patch))


def test_the_map_is_the_weighted_vote_where_no_rule_speaks(tmp_path: Path, contest: Any) -> None:
    weights = {"cluster_vote": 0.5, "bayes_vote": 0.0, "forest_vote": 1.5, "rules": False}
    run = RunContext(scratch=tmp_path)
    method = fitted(PineapplesTrack2, contest, run, **weights)
    assert method.rules_ == ()
    patch = contest.target[0]
    branches = method._branches(patch)
    expected = 0.25 * branches["clusters"] + 0.75 * branches["forest"]
    np.testing.assert_allclose(maps(method, [patch], run)[patch.id], expected, atol=1e-6)
    (only,) = maps(method, contest.target[:1], run).values()
    np.testing.assert_array_equal(only, maps(method, contest.target, run)[patch.id])


def test_rules_take_away_what_they_exclude_and_tell_how_much(tmp_path: Path, contest: Any) -> None:
    stopper = Stopper()
    run = RunContext(scratch=tmp_path, reporter=stopper)
    method = fitted(PineapplesTrack2, contest, run, rules=False)
    before = labels(maps(method, contest.target, run))
    assert stopper.values["rules_changed"] == [0.0]
    method.rules_ = (Rule("Water", "NDVI", 0.9, 1.0, ""),)
    after = labels(maps(method, contest.target, run))
    was, now = (np.concatenate([m.ravel() for m in found.values()]) for found in (before, after))
    assert (was == 10).any() and not (now == 10).any()
    np.testing.assert_array_equal(now[was != 10], was[was != 10])


def test_what_each_branch_brings_is_logged(tmp_path: Path, contest: Any) -> None:
    for kind in BOTH:
        stopper = Stopper()
        fitted(kind, contest, RunContext(scratch=tmp_path / kind.name, reporter=stopper))
        found = {name: values[-1] for name, values in stopper.values.items()}
        expected = {f"{branch}_agreement" for branch in ("clusters", "bayes", "forest")} | {"rules_changed"}
        if kind is PineapplesTrack2:
            of = [f"{branch}_held_out" for branch in ("clusters", "bayes", "forest", "vote", "final")]
            expected |= {f"{name}_{score}" for name in of for score in ("accuracy", "average_accuracy")}
        else:
            expected |= {"cleaned_label_share"}
        assert expected <= set(found)
        assert all(0 <= value <= 1 for value in found.values())


def test_held_out_patches_are_those_that_the_forest_does_not_learn_from(tmp_path: Path) -> None:
    """Of two labelled patches one is held out: with another truth there, the maps are the same and its score is not."""

    def run_with(relabelled: int | None) -> tuple[dict[str, np.ndarray], float]:
        contest = contest_of([(30, 40)] * 4, 2)
        if relabelled is not None:
            contest.labelled[relabelled].high[:] = 10
        stopper = Stopper()
        run = RunContext(scratch=tmp_path / str(relabelled), reporter=stopper)
        found = maps(fitted(PineapplesTrack2, contest, run), contest.target, run)
        return found, stopper.values["forest_held_out_accuracy"][0]

    truth, score = run_with(None)
    same = []
    for number in (0, 1):
        found, other = run_with(number)
        same.append(all(np.array_equal(found[name], p) for name, p in truth.items()))
        assert other != score
    assert sorted(same) == [False, True]


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        (PineapplesTrack1, "counting labels of clusters"),
        (PineapplesTrack1, "drawing windows"),
        (PineapplesTrack1, "comparing branches"),
        (PineapplesTrack2, "comparing branches"),
    ],
)
def test_a_killed_run_ends_in_the_same_maps_and_makes_no_piece_twice(
    tmp_path: Path, contest: Any, kind: Any, label: str
) -> None:
    run = RunContext(scratch=tmp_path / "whole")
    whole = maps(fitted(kind, contest, run), contest.target, run)
    with pytest.raises(Killed):
        fitted(kind, contest, RunContext(scratch=tmp_path / "broken", reporter=Stopper(label)))
    again = Stopper()
    run = RunContext(scratch=tmp_path / "broken", reporter=again, workers=2)
    broken = maps(fitted(kind, contest, run), contest.target, run)
    for name, p in whole.items():
        np.testing.assert_array_equal(broken[name], p)
    if label != "counting labels of clusters":
        assert "counting labels of clusters" not in again.seen


@pytest.mark.parametrize("kind", BOTH)
def test_odd_contests_get_maps(tmp_path: Path, kind: Any) -> None:
    """Patches of several sizes, without data here and there, and classes that never occur."""
    contest = contest_of([(9, 31), (40, 17), (33, 33), (21, 50), (16, 16)], 2, lacking=(5, 9))
    contest.target[0].s1[:, :5] = np.nan
    contest.target[1].s2[:] = 0
    contest.target[1].low[:] = 0
    run = RunContext(scratch=tmp_path)
    for patch_id, p in maps(fitted(kind, contest, run), contest.target, run).items():
        (shape,) = (patch.shape for patch in contest.target if patch.id == patch_id)
        assert p.shape == (8, *shape) and np.isfinite(p).all()


def test_words_and_topics_fit_the_forest_and_somebody_votes() -> None:
    with pytest.raises(ValidationError, match="at most 40 together"):
        PineapplesTrack1.Params(words=36, topics=5)
    with pytest.raises(ValidationError, match="nobody has a vote"):
        PineapplesTrack2.Params(cluster_vote=0, bayes_vote=0, forest_vote=0)
    with pytest.raises(ValidationError, match="odd"):
        PineapplesTrack1.Params(window=8)


@pytest.mark.parametrize("kind", BOTH)
def test_they_are_reconstructions_and_say_so(kind: Any) -> None:
    assert kind.reconstruction
    assert "reconstruction" in kind.__doc__ and "reconstruction" in kind.citation
    assert kind.needs.transductive and kind.needs.prior
