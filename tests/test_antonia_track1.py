"""Antonia on Track 1: cleaning without a reference, forests, and the refinement by p(HR | LR)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dfcbench.errors import DataError
from dfcbench.scheme import CODES, SCORED_NAMES
from dfcbench.submission import RECONSTRUCTION_BADGE
from dfcbench_methods.antonia_track1 import AntoniaTrack1
from dfcbench_methods.refinement import barren_within_shrubland
from tests import datamaker
from tests.bag_maker import average_accuracy
from tests.forest_maker import Killed, Reporter, context, labels, maps, track1
from tests.in_process import call

SMALL: dict[str, Any] = {
    "forests_weighted": 2,
    "forests_unweighted": 1,
    "trees": 4,
    "draw": 3000,
    "min_samples": 20,
    "engine": "sklearn",
}
BARREN = SCORED_NAMES.index("Barren")


def fitted(contest: Any, run: Any, **parameters: Any) -> AntoniaTrack1:
    method = AntoniaTrack1(AntoniaTrack1.Params(**{**SMALL, **parameters}))
    method.fit(contest, run)
    return method


@pytest.fixture(scope="module")
def contest() -> Any:
    return track1()


def test_it_beats_the_labels_that_it_learns_from_and_the_refinement_helps(tmp_path):
    contest = track1(6, (60, 48), seed=3)
    low = average_accuracy(contest, {patch.id: patch.low for patch in contest.target})
    found = {}
    for refine in (False, True):
        run = context(tmp_path / str(refine))
        method = fitted(contest, run, refine=refine, texture=False, draw=10_000)
        found[refine] = average_accuracy(contest, labels(maps(method, contest.target, run)))
    assert found[True] > low
    assert found[True] > found[False]


def test_the_refinement_is_bayes_rule_with_the_estimated_confusion(tmp_path, contest):
    run = context(tmp_path)
    method = fitted(contest, run, texture=False, balanced=False)
    patch = contest.target[0]
    vote = np.random.default_rng(0).dirichlet(np.ones(8), patch.shape).transpose(2, 0, 1).astype(np.float32)
    p = method._refined(patch, vote)
    table = method.local_.table(patch.low)
    for y, x in ((7, 11), (0, 0), (30, 5)):
        best = vote[:, y, x].argmax()
        column = 4 * best + min(3, int(4 * vote[best, y, x]))
        product = table[patch.low[y, x]] * method.likelihood_[:, column]
        np.testing.assert_allclose(p[:, y, x], product / product.sum(), rtol=1e-4)


def test_forests_vote_on_patches_that_they_have_not_learned_from(tmp_path):
    """A class that only one patch has at low resolution is unknown to those who vote on it, and known to the others."""
    contest = track1()
    for patch in contest.target:
        patch.low[patch.low == 7] = 1
    contest.target[2].low[:20] = 7
    run = context(tmp_path)
    found = maps(fitted(contest, run, texture=False, refine=False), contest.target, run)
    urban = {name: p[SCORED_NAMES.index("Urban/Built-up")].max() for name, p in found.items()}
    assert urban["patch_2"] == 0
    assert urban["patch_1"] > 0


def test_one_patch_alone_is_voted_on_by_the_forests_that_learned_from_it(tmp_path):
    contest = track1(1, (30, 30))
    run = context(tmp_path)
    (p,) = maps(fitted(contest, run, texture=False), contest.target, run).values()
    np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-4)


def test_barren_is_looked_for_within_shrubland_where_the_matrix_says_so(tmp_path, contest):
    shares = {}
    for within in (False, True):
        prior = np.full((10, 8), 1 / 8)
        prior[CODES.index(9), BARREN] = 0.1 if within else 0.9
        prior[CODES.index(2), BARREN] = 0.4 if within else 0.1
        assert barren_within_shrubland(prior) is within
        told = type(contest)(**{**vars(contest), "label_prior": prior})
        run = context(tmp_path / str(within))
        fitted(told, run, texture=False)
        shares[within] = json.loads(run.artifact("forests.json").read_text())["training_pixels"]["Barren"]
    low = np.concatenate([patch.low.ravel() for patch in contest.target])
    assert shares[False] == (low == 9).sum()
    assert 0 < shares[True] < (low == 2).sum()


def test_barren_stays_where_there_is_no_shrubland_to_find_it_in(tmp_path):
    contest = track1(3, (24, 24), seed=7)
    for patch in contest.target:
        patch.low[patch.low == 2] = 1
        patch.low[:4, :4] = 9
    contest.label_prior[CODES.index(9), BARREN], contest.label_prior[CODES.index(2), BARREN] = 0.0, 0.5
    run = context(tmp_path)
    fitted(contest, run, texture=False)
    kept = json.loads(run.artifact("forests.json").read_text())["training_pixels"]["Barren"]
    assert kept == sum((patch.low == 9).sum() for patch in contest.target) > 0


@pytest.mark.parametrize("stop_at", [1, 3])
def test_a_killed_run_ends_in_the_same_maps(tmp_path, contest, stop_at):
    run = context(tmp_path / "whole")
    whole = maps(fitted(contest, run, texture=False), contest.target, run)
    with pytest.raises(Killed):
        fitted(contest, context(tmp_path / "broken", reporter=Reporter(stop_at=stop_at)), texture=False)
    run = context(tmp_path / "broken", workers=2)
    broken = maps(fitted(contest, run, texture=False), contest.target, run)
    for name, p in whole.items():
        np.testing.assert_array_equal(broken[name], p)


def test_save_and_load_keep_the_maps_without_the_scratch_folder(tmp_path, contest):
    run = context(tmp_path)
    method = fitted(contest, run)
    expected = maps(method, contest.target, run)
    (tmp_path / "fitted").mkdir()
    method.save(tmp_path / "fitted")
    shutil.rmtree(tmp_path / "scratch")
    copy = AntoniaTrack1(method.params)
    copy.load(tmp_path / "fitted")
    for name, p in maps(copy, contest.target, context(tmp_path)).items():
        np.testing.assert_array_equal(p, expected[name])


def test_missing_classes_bad_pixels_and_unlabelled_patches_do_no_harm(tmp_path):
    contest = track1(4, (9, 20), seed=5)
    contest.target[0].s1[:, :4] = np.nan
    contest.target[0].s2[:] = 0
    contest.target[1].low[:] = 0
    for patch in contest.target:
        patch.low[np.isin(patch.low, (7, 10))] = 4
    run = context(tmp_path)
    for p in maps(fitted(contest, run), contest.target, run).values():
        assert p.shape == (8, 9, 20) and np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-4)


def test_without_any_label_there_is_an_error_with_a_reason(tmp_path):
    contest = track1(2, (8, 8))
    for patch in contest.target:
        patch.low[:] = 0
    with pytest.raises(DataError, match="has a low-resolution label to learn from"):
        fitted(contest, context(tmp_path))


@pytest.mark.parametrize("wrong", [{"forests_weighted": 0, "forests_unweighted": 0}, {"pixel_weight": 0}])
def test_parameters_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        AntoniaTrack1.Params(**wrong)


def test_it_says_that_it_is_a_reconstruction():
    assert AntoniaTrack1.reconstruction is True
    assert "A reconstruction." in (__import__(AntoniaTrack1.__module__, fromlist=["x"]).__doc__ or "")


def test_a_run_from_the_command_line_on_oblong_patches(tmp_path: Path):
    datamaker.write_contest(tmp_path / "data", datamaker.VARIANTS["oblong"])
    given = [word for key, value in {**SMALL, "draw": 400}.items() for word in ("-p", f"{key}={value}")]
    done = call(
        "run",
        "--track",
        1,
        "--method",
        "antonia-track1",
        "--data",
        tmp_path / "data",
        "--submissions",
        tmp_path / "out",
        *given,
    )
    assert done.code == 0, done.err
    (folder,) = (tmp_path / "out" / "track1" / "antonia-track1").iterdir()
    told = json.loads((folder / "submission.json").read_text())
    assert set(told["badges"]) == {"transductive", RECONSTRUCTION_BADGE}
    logged = {json.loads(line)["name"] for line in (folder / "metrics.jsonl").read_text().splitlines()}
    assert {"refinement_changed", "forests_agree_with_low", "refined_agrees_with_low"} <= logged
