"""`dfcbench predict`: a run is found, its method recalled with what it learned, or the reason told why it cannot map."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from dfcbench import rasters
from dfcbench.archive import Archive
from dfcbench.blending import Tiling
from dfcbench.cli.options import open_registry
from dfcbench.contest import FusionContest, label_prior
from dfcbench.errors import DataError, HiddenError, PluginError, SubmissionError, UsageError
from dfcbench.fitted import Fitted, NoParts, command, fit_anew, recall, require_fittable, restore
from dfcbench.mapping import training_windows
from dfcbench.maps import map_path
from dfcbench.method import Method, Needs, RunContext
from dfcbench.registry import Registry
from dfcbench.scene import Scene
from dfcbench.selection import choose_one
from dfcbench.submission import MAPS_BADGE, Submission
from tests.conftest import Shell
from tests.made_submissions import made_submission
from tests.plugins import with_predict
from tests.test_mapping import UTM, silent, write_scene


@pytest.fixture(scope="module")
def registry() -> Registry:
    return open_registry(None)


def run_of(tmp_path: Path, name: str, parameters: dict | None = None, **changes) -> Submission:
    """A finished run of a built-in method, which has learned nothing."""
    submission = made_submission(tmp_path / "subs", name, f"test-{name}", **changes)
    meta = {**submission.meta, "parameters": parameters or {}}
    meta["method"] = {**meta["method"], "source_digest": changes.get("method", {}).get("source_digest")}
    (submission.folder / "submission.json").write_text(json.dumps(meta))
    return Submission(submission.folder)


def refusal(submission: Submission, registry: Registry) -> str:
    with pytest.raises(UsageError) as error:
        restore(recall(submission, registry), registry)
    return str(error.value)


def test_a_transductive_method_tells_why_and_what_to_do(tmp_path, registry):
    told = refusal(run_of(tmp_path, "bag"), registry)
    assert "fitted on the very images that the run scored" in told
    assert "--fit and --lr" in told
    assert "random-forest" in told and "low-resolution-labels" not in told, "methods that can are named, no others"


def test_composed_methods_tell_whose_maps_they_are_made_of(tmp_path, registry):
    told = refusal(run_of(tmp_path, "track1-ensemble"), registry)
    assert "bag, epitome" in told
    assert "--fit" not in told
    smoothing = run_of(tmp_path, "neural-smoothing")
    assert "cannot be fitted on your scene either" in refusal(smoothing, registry)
    with pytest.raises(UsageError, match="track1-ensemble"):
        require_fittable(recall(smoothing, registry), registry)
    assert "server" in refusal(run_of(tmp_path, "final-ensemble"), registry)


def test_maps_of_parts_are_refused_to_whoever_asks(tmp_path, registry):
    parts = NoParts(recall(run_of(tmp_path, "neural-smoothing"), registry), registry)
    assert RunContext(parts=parts).parts is parts
    for ask in (lambda: parts["ensemble"], lambda: list(parts.values()), lambda: len(parts)):
        with pytest.raises(UsageError, match="maps of other runs"):
            ask()


def test_a_smoothing_network_of_the_validation_images_is_not_refused(tmp_path, registry):
    fitted = recall(run_of(tmp_path, "neural-smoothing", {"fitted_on": "validation"}), registry)
    with pytest.raises(SubmissionError, match="not here"):
        restore(fitted, registry)


def test_a_run_out_of_version_control_names_the_command_that_makes_it_again(tmp_path, registry):
    run = run_of(tmp_path, "random-forest", {"trees": 7}, seed=3, preset="quick", overrides={"trees": 7})
    with pytest.raises(SubmissionError, match="version control keeps scores only") as error:
        restore(recall(run, registry), registry)
    words = "dfcbench run --track 1 --method random-forest --split test --seed 3 --preset quick -p trees=7 --if-exists rerun"
    assert words in str(error.value) and command(run) == words


def test_what_was_learned_and_is_damaged_is_not_used(tmp_path, registry):
    run = run_of(tmp_path, "random-forest")
    (run.folder / "fitted").mkdir()
    (run.folder / "fitted" / "complete.json").write_text("{}")
    (run.folder / "fitted" / "fitted.pkl").write_bytes(b"\x80\x05nothing")
    with pytest.raises(SubmissionError, match="cannot be loaded"):
        restore(recall(run, registry), registry)


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"badges": [MAPS_BADGE]}, SubmissionError, "maps made elsewhere"),
        ({"method": {"version": "0"}}, UsageError, "version 0 then, 1 now"),
        ({"method": {"source_digest": "abc"}}, UsageError, "the source of .* has changed"),
        ({"method": {"name": "mine", "source_digest": "abc", "origin": "mine.py:Mine"}}, PluginError, "mine.py:Mine"),
        ({"method": {"name": "random-forst"}}, PluginError, "Did you mean random-forest"),
    ],
)
def test_a_run_whose_method_is_not_here_any_more_is_not_mapped_with_another(tmp_path, registry, changes, kind, told):
    with pytest.raises(kind, match=told):
        recall(run_of(tmp_path, "random-forest", **changes), registry)


def test_parameters_that_the_method_does_not_take_are_told(tmp_path, registry):
    with pytest.raises(UsageError, match=r"does not take this run's parameters.*leaves"):
        recall(run_of(tmp_path, "random-forest", {"leaves": 3}), registry)


def test_a_run_is_found_by_folder_name_key_and_method(tmp_path):
    root = tmp_path / "subs"
    one = made_submission(root, "unet", "test-unet")
    made_submission(root, "bag", "test-one")
    made_submission(root, "bag", "test-two", seed=1)
    unscored = made_submission(root, "kmeans", "test-kmeans", quality=None)
    for argument in (str(one.folder), "track1/unet/test-unet", "test-unet", one.key, one.key[:6], "unet"):
        assert choose_one(argument, root).folder == one.folder
    assert choose_one("kmeans", root).folder == unscored.folder, "a map needs no scores"
    with pytest.raises(UsageError, match=r"may mean 2 runs: .*test-one.*test-two"):
        choose_one("bag", root)
    with pytest.raises(UsageError, match="Did you mean unet"):
        choose_one("unett", root)
    made_submission(root, "epitome", "test-e", status="running")
    with pytest.raises(SubmissionError, match="not finished"):
        choose_one("track1/epitome/test-e", root)


class Transductive(Method):
    name = "transductive"
    needs = Needs(inputs=frozenset({"s1", "s2"}), labels="low", transductive=True, prior=True)

    def fit(self, contest, run):
        self.ids_ = contest.target.ids
        self.shapes_ = contest.target.shapes
        self.low_ = {int(code) for patch in contest.target for code in np.unique(patch.low)}
        self.prior_ = contest.label_prior
        for hidden in ("labelled", "training"):
            with pytest.raises(HiddenError):
                getattr(contest, hidden)
        assert not hasattr(contest.target[0], "high")

    def predict(self, patches, run):
        raise NotImplementedError


def transductive_run(tmp_path: Path, archive: Archive) -> tuple[Fitted, FusionContest]:
    contest = FusionContest(archive, 1, "test")
    needs = Transductive.needs
    run = made_submission(tmp_path / "subs", "transductive", data={"depends_on": contest.fingerprints(needs)})
    return Fitted(run, Transductive(), needs), contest


def test_fitting_on_a_scene_shows_its_own_windows_with_their_labels_and_the_contests_prior(tmp_path, small):
    fitted, contest = transductive_run(tmp_path, small)
    files = write_scene(tmp_path, 100, 60)
    s1 = rasters.read(files["s1"])
    s1[:, 3, 3] = np.nan
    rasters.write(files["s1"], s1, UTM)
    rasters.write(tmp_path / "low.tif", np.full((1, 100, 60), 17, np.uint8), UTM)
    scene = Scene.open({**files, "low": tmp_path / "low.tif"})
    (tmp_path / "scratch").mkdir()
    patches = training_windows(scene, Tiling(32, 8), tmp_path / "scratch", silent)
    fit_anew(fitted, contest, patches, RunContext())
    method = fitted.method
    assert isinstance(method, Transductive)
    assert len(method.ids_) == 4 * 2 - 1, "the window with a gap is left out"
    assert "scene_r0_c0" not in method.ids_ and "scene_r68_c28" in method.ids_
    assert (method.shapes_ == 32).all()
    assert method.low_ == {10}
    np.testing.assert_array_equal(method.prior_, label_prior(small))


def test_a_scene_full_of_gaps_is_fitted_on_what_there_is_and_one_without_data_on_nothing(tmp_path):
    files = write_scene(tmp_path, 64, 64)
    s2 = rasters.read(files["s2"])
    s2[:, ::16, ::16] = 0
    rasters.write(files["s2"], s2, UTM)
    (tmp_path / "scratch").mkdir()
    assert len(training_windows(Scene.open(files), Tiling(32, 8), tmp_path / "scratch", silent)) == 4
    rasters.write(files["s2"], np.zeros_like(s2), UTM)
    with pytest.raises(DataError, match="no pixel has data"):
        training_windows(Scene.open(files), Tiling(32, 8), tmp_path / "scratch", silent)


def test_windows_that_are_left_out_of_fitting_are_counted(tmp_path):
    files = write_scene(tmp_path, 64, 64)
    s2 = rasters.read(files["s2"])
    s2[:, :32, :32] = 0
    notes: list[str] = []

    def cut(scratch: str) -> int:
        rasters.write(files["s2"], s2, UTM)
        (tmp_path / scratch).mkdir()
        return len(training_windows(Scene.open(files), Tiling(32, 8), tmp_path / scratch, silent, notes.append))

    assert cut("one") == 3
    s2[:, 40, 40] = 0
    assert cut("two") == 2
    assert notes == [
        "1 of 4 windows has no data; fitted on the other 3.",
        "1 of 4 windows has no data and 1 of 4 windows has gaps; fitted on the other 2.",
    ]


def test_fitting_asks_for_the_runs_own_data_and_for_a_method_that_is_fitted_so(tmp_path, small, registry):
    fitted, contest = transductive_run(tmp_path, small)
    other = made_submission(tmp_path / "subs", "other", data={"depends_on": {"test": "0" * 16}})
    with pytest.raises(UsageError, match="--data"):
        fit_anew(Fitted(other, fitted.method, fitted.needs), contest, contest.scored, RunContext())
    with pytest.raises(UsageError, match="leave --fit out"):
        require_fittable(recall(run_of(tmp_path, "random-forest"), registry), registry)


def mosaic(archive: Archive, folder: Path, columns: int) -> tuple[dict[str, Path], list[str]]:
    """A scene of the test split's patches side by side, and their ids by row."""
    patches = archive.patches("test")
    chosen = [patches[i] for i in range(len(patches) // columns * columns)]

    def tiled(images: list[np.ndarray]) -> np.ndarray:
        rows = [np.concatenate(images[i : i + columns], axis=-1) for i in range(0, len(images), columns)]
        return np.concatenate(rows, axis=-2)

    files = {"s1": folder / "s1.tif", "s2": folder / "s2.tif"}
    rasters.write(files["s1"], tiled([patch.s1 for patch in chosen]), UTM)
    rasters.write(files["s2"], tiled([patch.s2 for patch in chosen]), UTM)
    return files, [patch.id for patch in chosen]


def test_a_run_maps_a_scene_of_its_own_patches_as_it_mapped_them(tiny_root, dfcbench: Shell, tmp_path):
    dfcbench("run", "--track", 1, "--method", "random-forest", "--data", tiny_root, "-p", "trees=5", "-p", "patches=8")
    files, ids = mosaic(Archive.open(tiny_root), tmp_path, 2)
    done = dfcbench("predict", "random-forest", "--s1", files["s1"], "--s2", files["s2"], "-o", "out/map.tif")
    assert "does not read Sentinel-1" in done.stderr
    assert "mapping windows" in done.stderr
    found = rasters.read(tmp_path / "out" / "map.tif")[0]
    folder = next((tmp_path / "submissions" / "track1" / "random-forest").iterdir())
    maps = [rasters.read(map_path(folder, patch_id))[0] for patch_id in ids]
    expected = np.concatenate([np.concatenate(maps[i : i + 2], axis=1) for i in range(0, len(maps), 2)])
    np.testing.assert_array_equal(found, expected)
    forest = int((found == 1).sum())
    assert f"{forest:,}" in done.stdout
    assert rasters.info(tmp_path / "out" / "map.tif").georeference.crs_name == "EPSG:32632"
    assert "QGIS" in done.stdout and "rio info out/map.tif" in done.stdout
    height, width = found.shape
    assert f"{height} x {width} pixels (height x width)" in done.stderr
    (tmp_path / "precious.txt").write_text("precious")
    told = dfcbench("predict", "random-forest", "--s2", files["s2"], "-o", "precious.txt", expect=2)
    assert ".tif" in told.stderr and (tmp_path / "precious.txt").read_text() == "precious"
    rasters.write(tmp_path / "empty.tif", np.zeros((13, 40, 40), np.uint16), UTM)
    done = dfcbench("predict", "random-forest", "--s2", "empty.tif", "-o", "none.tif")
    assert "warning: empty.tif: has no data anywhere" in done.stderr and "the map is empty" in done.stderr
    assert not rasters.read(tmp_path / "none.tif").any()
    dfcbench("predict", "random-forest", "-o", "map.tif", expect=2)
    told = dfcbench("predict", "random-forest", "--s2", files["s1"], "-o", "map.tif", expect=3)
    assert "13" in told.stderr
    assert "own files" in dfcbench("predict", "random-forest", "--s2", "a.tif", "-o", "a.tif", expect=2).stderr
    assert not (tmp_path / "map.tif").exists()


SLOW = with_predict(
    """        for patch in patches:
            if patch.id.startswith("scene"):
                open("begun", "w").close()
                time.sleep(30)
            yield Prediction(patch.id, np.full(patch.shape, 1, np.uint8))
"""
)


def test_ctrl_c_leaves_no_file(small_root, dfcbench: Shell, tmp_path):
    (tmp_path / "odd.py").write_text(SLOW)
    dfcbench("run", "--track", 1, "--method", "odd.py", "--data", small_root)
    files = write_scene(tmp_path, 40, 40)
    scene = ("--s1", files["s1"], "--s2", files["s2"], "-o", "out/map.tif")
    assert "--method path.py:Class" in dfcbench("predict", "odd", *scene, expect=4).stderr
    process = dfcbench.start("predict", "odd", "--method", "odd.py", *scene)
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "was not written" in err
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "odd.py").write_text(SLOW + "\n# changed\n")
    assert "has changed" in dfcbench("predict", "odd", "--method", "odd.py", *scene, expect=2).stderr
