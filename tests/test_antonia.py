"""The Track 2 winner as a method: its experiments, its mask, its engines, and what it does with odd data."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dfcbench.errors import DataError
from dfcbench.scheme import SCORED_CODES, SCORED_NAMES
from dfcbench_methods import forests
from dfcbench_methods.antonia import Antonia, with_water
from dfcbench_methods.features.stack import PLAIN, TEXTURE, Stack, Texture, by_pixel
from tests import datamaker
from tests.bag_maker import average_accuracy
from tests.conftest import Shell
from tests.forest_maker import Killed, Reporter, context, labels, maps, plain_patch, track2

SMALL: dict[str, Any] = {
    "forests_weighted": 2,
    "forests_unweighted": 1,
    "water_forests": 2,
    "trees": 3,
    "draw": 1500,
    "min_samples": 10,
    "engine": "sklearn",
}
WATER = SCORED_NAMES.index("Water")


def fitted(contest: Any, run: Any, **parameters: Any) -> Antonia:
    method = Antonia(Antonia.Params(**{**SMALL, **parameters}))
    method.fit(contest, run)
    return method


@pytest.fixture(scope="module")
def contest() -> Any:
    return track2()


@pytest.mark.parametrize("experiment", [1, 2, 3, 4])
def test_every_experiment_learns_the_classes(tmp_path, contest, experiment):
    run = context(tmp_path)
    found = maps(fitted(contest, run, experiment=experiment), contest.target, run)
    for p in found.values():
        np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-4)
    assert average_accuracy(contest, labels(found)) > 0.35, "chance is 0.125"


def test_experiment_1_looks_at_the_reference_alone(tmp_path, contest):
    class View:
        labelled = contest.labelled

    run = context(tmp_path)
    method = fitted(View(), run, experiment=1)
    assert not method.requires().transductive
    assert Antonia().requires().transductive
    recorded = json.loads(run.artifact("forests.json").read_text())["training_pixels"]
    high = np.concatenate([patch.high.ravel() for patch in contest.labelled])
    assert recorded == {name: int((high == code).sum()) for name, code in zip(SCORED_NAMES, SCORED_CODES, strict=True)}


def test_experiments_differ_in_what_they_are_named_for(tmp_path, contest):
    """2 adds samples and leaves two classes of the reference out; 3 and 4 learn from the same labels as 2."""
    pixels = {}
    for experiment in (1, 2, 3, 4):
        run = context(tmp_path / str(experiment))
        method = fitted(contest, run, experiment=experiment)
        pixels[experiment] = json.loads(run.artifact("forests.json").read_text())["training_pixels"]
        kinds = {member.kind for member in method.members_}
        assert kinds == ({"main", "water"} if experiment == 4 else {"main"})
        assert len(method._stack().names) == (36 if experiment >= 3 else 24)
    assert pixels[2] == pixels[3] == pixels[4]
    assert pixels[2]["Forest"] > pixels[1]["Forest"]
    refined = fitted(contest, context(tmp_path / "all"), experiment=2, excluded=())
    kept = json.loads((tmp_path / "all" / "artifacts" / "forests.json").read_text())["training_pixels"]
    assert refined.params.excluded == ()
    for name in SCORED_NAMES:
        difference = pixels[1][name] if name in ("Wetlands", "Grassland") else 0
        assert kept[name] - pixels[2][name] == difference


def test_features_are_the_24_and_the_12_in_order(contest):
    patch = contest.target[0]
    x = Stack(Texture())(patch)
    assert x.shape == (36, *patch.shape) and x.dtype == np.float32
    assert (len(PLAIN), len(TEXTURE)) == (24, 12)
    np.testing.assert_array_equal(x[:24], Stack()(patch))
    np.testing.assert_allclose(x[PLAIN.index("B4")], patch.s2[3].clip(0, 10000) / 10000, rtol=1e-6)
    np.testing.assert_allclose(x[PLAIN.index("VH")], (patch.s1[1].clip(-25, 0) + 25) / 25, atol=1e-6)
    red, nir = x[PLAIN.index("B4")], x[PLAIN.index("B8")]
    np.testing.assert_allclose(x[PLAIN.index("NDVI")], (nir - red) / (nir + red), atol=1e-5)
    np.testing.assert_array_equal(by_pixel(x)[41], x[:, 1, 1])


def test_texture_is_that_of_the_grey_image_and_of_vh(contest):
    from dfcbench_methods.features.texture import texture

    patch = contest.target[0]
    x = Stack(Texture(window=5, levels=16, offsets=((1, 0), (0, 1)), grey_maximum=0.5))(patch)
    r, g, b = (patch.s2[i].clip(0, 10000) / 10000 for i in (3, 2, 1))
    grey = (0.299 * r + 0.587 * g + 0.114 * b).astype(np.float32)
    vh = (patch.s1[1].clip(-25, 0) + 25) / 25
    rules = {"levels": 16, "window": 5, "offsets": ((1, 0), (0, 1))}
    assert np.mean(np.isclose(x[24:30], texture(grey, high=0.5, **rules), atol=1e-4)) > 0.99
    assert np.mean(np.isclose(x[30:], texture(vh, high=1.0, **rules), atol=1e-4)) > 0.99


def columns(*shares: dict[str, float]) -> np.ndarray:
    """Probabilities (8, 1, n) from shares by class."""
    p = np.zeros((8, 1, len(shares)), np.float32)
    for i, of_pixel in enumerate(shares):
        for name, share in of_pixel.items():
            p[SCORED_NAMES.index(name), 0, i] = share
    return p


MAIN = columns({"Forest": 0.7, "Water": 0.3}, {"Forest": 0.4, "Water": 0.6}, {"Barren": 1.0}, {"Water": 1.0})
MASK = columns({"Water": 0.8, "Forest": 0.2}, {"Forest": 1.0}, {"Forest": 1.0}, {"Forest": 0.9, "Water": 0.1})


def test_the_mask_adds_water_and_leaves_the_rest_of_the_map():
    p = with_water(MAIN, MASK)
    np.testing.assert_array_equal(p[..., 0], MASK[..., 0])
    np.testing.assert_array_equal(p[..., 1:], MAIN[..., 1:])


def test_a_mask_that_decides_gives_dry_pixels_their_next_class():
    p = with_water(MAIN, MASK, decides=True)
    names = [SCORED_NAMES[k] for k in p[:, 0].argmax(axis=0)]
    assert names == ["Water", "Forest", "Barren", "Forest"]
    np.testing.assert_allclose(p.sum(axis=0), 1)
    assert p[WATER, 0, 1] == 0


@pytest.mark.parametrize("mode", ["overwrites", "decides"])
def test_water_is_on_the_map_where_the_water_forests_see_it(tmp_path, contest, mode):
    run = context(tmp_path)
    method = fitted(contest, run, water_mask=mode)
    plain = Antonia(method.params.model_copy(update={"experiment": 3}))
    for member in method.members_:
        assert method._read(member.name).roots.size == SMALL["trees"]
    plain.members_ = [member for member in method.members_ if member.kind == "main"]
    plain._read = method._read
    seen = [member for member in method.members_ if member.kind == "water"]
    forests = [method._read(member.name) for member in seen]
    before, after = (maps(m, contest.target, run) for m in (plain, method))
    for patch in contest.target:
        x = by_pixel(Stack()(patch))
        wet = (sum(t.probabilities(x) for t in forests).argmax(axis=1) == WATER).reshape(patch.shape)
        was, now = before[patch.id].argmax(axis=0) == WATER, after[patch.id].argmax(axis=0) == WATER
        np.testing.assert_array_equal(now, wet if mode == "decides" else was | wet)
        np.testing.assert_array_equal(after[patch.id][:, ~wet & ~was], before[patch.id][:, ~wet & ~was])


@pytest.mark.parametrize("forests", [1, 4])
def test_a_killed_run_ends_in_the_same_maps(tmp_path, contest, forests):
    run = context(tmp_path / "whole")
    whole = maps(fitted(contest, run), contest.target, run)
    with pytest.raises(Killed):
        fitted(contest, context(tmp_path / "broken", reporter=Reporter(stop_at=forests)))
    run = context(tmp_path / "broken")
    broken = maps(fitted(contest, run), contest.target, run)
    for name, p in whole.items():
        np.testing.assert_array_equal(broken[name], p)


def test_save_and_load_keep_the_maps_without_the_scratch_folder(tmp_path, contest):
    run = context(tmp_path)
    method = fitted(contest, run)
    expected = maps(method, contest.target, run)
    (tmp_path / "fitted").mkdir()
    method.save(tmp_path / "fitted")
    shutil.rmtree(tmp_path / "scratch")
    copy = Antonia(method.params)
    copy.load(tmp_path / "fitted")
    for one in (method, copy):
        for name, p in maps(one, contest.target, context(tmp_path, workers=2)).items():
            np.testing.assert_array_equal(p, expected[name])
    next((tmp_path / "fitted").glob("water-*.npz")).unlink()
    with pytest.raises(FileNotFoundError):
        Antonia(method.params).load(tmp_path / "fitted")


def test_a_map_does_not_depend_on_the_other_patches(tmp_path, contest):
    run = context(tmp_path)
    method = fitted(contest, run)
    together = maps(method, contest.target, run)
    for i, patch in enumerate(contest.target):
        np.testing.assert_array_equal(maps(method, contest.target[i : i + 1], run)[patch.id], together[patch.id])


@pytest.mark.skipif(not importlib.util.find_spec("sklearnex"), reason="scikit-learn-intelex is not installed here")
def test_both_engines_agree_within_a_point_of_average_accuracy(tmp_path):
    contest = track2(4, 6, (64, 64), seed=3)
    found = {}
    for engine in ("sklearn", "sklearnex"):
        run = context(tmp_path / engine)
        settings = {"engine": engine, "experiment": 2, "draw": 8_000, "trees": 10, "min_samples": 20}
        method = fitted(contest, run, forests_weighted=3, forests_unweighted=3, **settings)
        found[engine] = average_accuracy(contest, labels(maps(method, contest.target, run)))
        assert json.loads(run.artifact("forests.json").read_text())["engine"] == engine
    assert found["sklearn"] > 0.5
    assert abs(found["sklearn"] - found["sklearnex"]) < 0.01


def test_auto_becomes_the_engine_that_is_there(monkeypatch):
    for here in ("sklearn", "sklearnex"):
        monkeypatch.setattr(forests, "engine_here", lambda here=here: here)
        assert Antonia.Params().engine == here
    monkeypatch.setattr(forests, "engine_here", lambda: "sklearn")
    with pytest.raises(ValidationError, match="pip install scikit-learn-intelex"):
        Antonia.Params(engine="sklearnex")


@pytest.mark.parametrize(
    "wrong",
    [
        {"experiment": 5},
        {"forests_weighted": 0, "forests_unweighted": 0},
        {"weighted_vote": 0, "unweighted_vote": 0},
        {"texture_window": 12},
        {"excluded": "Marsh"},
        {"confidence": 1.5},
        {"texture_offsets": []},
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        Antonia.Params(**wrong)


@pytest.mark.parametrize("size", [(9, 20), (5, 5), (33, 12)])
def test_other_patch_sizes(tmp_path, size):
    contest = track2(3, 3, size, seed=2)
    run = context(tmp_path)
    for p in maps(fitted(contest, run), contest.target, run).values():
        assert p.shape == (8, *size) and np.isfinite(p).all()


def test_bad_pixels_constant_bands_and_missing_labels_do_no_harm(tmp_path):
    contest = track2(3, 3, (24, 24), seed=5)
    for patch in (contest.labelled[0], contest.target[0]):
        patch.s1[:, :10] = np.nan
        patch.s2[:] = 0
    contest.target[1].s2[3] = 65535
    contest.target[1].low[:] = 0
    contest.labelled[1].high[:] = 0
    for patch in [*contest.labelled, *contest.target]:
        patch.s2[7] = 1234
    run = context(tmp_path)
    for p in maps(fitted(contest, run), contest.target, run).values():
        assert np.isfinite(p).all()
        np.testing.assert_allclose(p.sum(axis=0), 1, atol=1e-4)


def test_a_class_without_samples_is_never_predicted(tmp_path):
    contest = track2(3, 3, (24, 24), seed=6)
    for patch in [*contest.labelled, *contest.target]:
        patch.high[patch.high == 7] = 0
        patch.low[patch.low == 7] = 0
    run = context(tmp_path)
    for p in maps(fitted(contest, run), contest.target, run).values():
        assert (p[SCORED_NAMES.index("Urban/Built-up")] == 0).all()


def test_low_resolution_labels_without_water_savanna_and_shrubland(tmp_path):
    contest = track2(3, 3, (24, 24), seed=7)
    for patch in contest.target:
        patch.low[np.isin(patch.low, (2, 3, 10))] = 1
    run = context(tmp_path)
    assert set(maps(fitted(contest, run), contest.target, run)) == {patch.id for patch in contest.target}


def test_a_draw_larger_than_all_there_is_takes_all_and_says_so(tmp_path, contest, caplog):
    run = context(tmp_path)
    with caplog.at_level("INFO", "dfcbench"):
        fitted(contest, run, draw=10**9, experiment=1, trees=1)
    total = sum(patch.high.size for patch in contest.labelled)
    assert f"on all {total} training pixels" in caplog.text
    assert json.loads(run.artifact("forests.json").read_text())["rows"] == total


def test_without_any_label_there_is_an_error_with_a_reason(tmp_path):
    contest = track2(1, 1, (8, 8))
    contest.labelled[0].high[:] = 0
    contest.target[0] = plain_patch("blank", np.zeros((8, 8)))
    with pytest.raises(DataError, match="nothing to learn from"):
        fitted(contest, context(tmp_path))


GIVEN = [f"{key}={value}" for key, value in {**SMALL, "draw": 400, "engine": "auto"}.items()]


def command(*more: str) -> list[str]:
    given = [word for pair in [*GIVEN, *more] for word in ("-p", pair)]
    return ["run", "--track", "2", "--method", "antonia", "--workers", "2", *given]


def test_a_run_from_the_command_line_says_what_it_scales_down(dfcbench: Shell, small_root: Path):
    told = dfcbench(*command(), "--data", small_root)
    (meta,) = dfcbench.folder.glob("submissions/track2/antonia/*/submission.json")
    submission = json.loads(meta.read_text())
    assert submission["badges"] == ["transductive", "HR labels"]
    engine = submission["parameters"]["engine"]
    assert engine == forests.engine_here()
    assert json.loads((meta.parent / "artifacts" / "forests.json").read_text())["engine"] == engine
    log = (meta.parent / "run.log").read_text()
    assert "draw 400 instead of 40000000" in log
    assert "average accuracy" in told.stdout
    assert len(list((meta.parent / "predictions").glob("*.tif"))) == 7


def test_a_contest_without_high_resolution_labels_of_validation_is_refused(dfcbench: Shell, tmp_path: Path):
    datamaker.write_split(
        tmp_path, "DFC2020/ROIs0000_validation", "validation", "0", range(2), datamaker.DFC2020, datamaker.TOKENS[:3]
    )
    datamaker.write_split(tmp_path, "DFC2020/ROIs0000_test", "0", "0", range(2), datamaker.DFC2020)
    told = dfcbench(*command(), "--data", tmp_path, expect=DataError.exit_code)
    assert "dfc_validation.zip" in told.stderr
