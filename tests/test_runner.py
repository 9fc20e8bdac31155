"""plan -> fit -> predict -> score: contracts, failures, and runs that are broken off and go on."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from dfcbench import rasters
from dfcbench.archive import Archive
from dfcbench.contest import FusionContest
from dfcbench.errors import ContractError, DataError, MethodCrash, UsageError
from dfcbench.machine import resolve_device
from dfcbench.plan import Plan, resolve_parameters
from dfcbench.registry import Registry
from dfcbench.runner import execute
from dfcbench.scoring import Confusion, confusion_matrix
from dfcbench.states import state
from dfcbench.submission import find_submissions
from tests import datamaker
from tests.conftest import Shell
from tests.plugins import MAJORITY, with_predict

RESULT_FILES = ("submission.json", "scores.json", "confusion.npz")


class Quiet:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.seen: dict[str, int] = {}

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def advance(self, label: str, done: int, total: int | None) -> None:
        self.seen[label] = done

    def metrics(self, values, step) -> None:
        self.seen.update(dict.fromkeys(values, step))


def make_plan(archive: Archive, out: Path, source: str = MAJORITY, *, limit: int | None = None, **options) -> Plan:
    out.mkdir(parents=True, exist_ok=True)
    file = out / "plugin.py"
    file.write_text(source)
    loaded = Registry().load(str(file))
    params, preset = resolve_parameters(loaded.method, options.pop("params", {}), None, demo=False)
    contest = FusionContest(archive, options.pop("track", 1), options.pop("split", "test"), limit)
    settings = {"seed": 0, "device": "cpu", "workers": 1, **options}
    return Plan(contest, loaded, params, preset, submissions=out / "submissions", **settings)


def content(folder: Path) -> dict[str, bytes]:
    files = [folder / name for name in RESULT_FILES] + sorted((folder / "predictions").iterdir())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_run_ends_as_a_complete_submission(small, tmp_path):
    plan, observer = make_plan(small, tmp_path), Quiet()
    assert state(plan) == "new"
    submission = execute(plan, observer)
    submission.check()
    assert state(plan) == "finished"
    assert observer.stages[-2:] == ["predict", "score"]
    assert observer.seen["scoring"] == 7
    assert submission.meta["badges"] == []
    assert submission.meta["data"]["official"] is False
    maps = sorted(path.name for path in (plan.folder / "predictions").iterdir())
    assert maps == sorted(f"ROIs0000_test_dfc_0_p{n}.tif" for n in range(7))
    assert not (plan.folder / "work").exists()
    assert set(json.loads((plan.folder / "timing.json").read_text())["seconds"]) >= {"fit", "predict", "score"}


def test_maps_hold_what_the_method_predicted_and_scores_follow_from_them(small, tmp_path):
    plan = make_plan(small, tmp_path)
    submission = execute(plan, Quiet())
    matrices = []
    for patch in small.labelled("test"):
        path = plan.folder / "predictions" / f"ROIs0000_test_dfc_0_p{patch.id.rpartition('_p')[2]}.tif"
        written = rasters.read(path)
        code = np.bincount(patch.low.ravel(), minlength=11)[1:].argmax() + 1
        assert written.dtype == np.uint8
        assert (written == code).all()
        matrices.append((patch.id, confusion_matrix(patch.high, written[0])))
    np.testing.assert_array_equal(submission.confusion.matrices, Confusion.collect(matrices).matrices)


@pytest.mark.parametrize("damage", ["matrices lost", "score changed"])
def test_damaged_scores_are_made_anew_from_the_maps_by_the_same_command(small, tmp_path, damage):
    plan = make_plan(small, tmp_path)
    execute(plan, Quiet())
    before = content(plan.folder)
    if damage == "matrices lost":
        (plan.folder / "confusion.npz").unlink()
    else:
        scores = json.loads((plan.folder / "scores.json").read_text())
        (plan.folder / "scores.json").write_text(json.dumps({**scores, "average_accuracy": 0.99}))
    assert state(make_plan(small, tmp_path)) == "unfinished"
    execute(make_plan(small, tmp_path), Quiet())
    assert content(plan.folder) == before


def test_a_finished_run_is_not_run_again_unless_asked(small, tmp_path):
    plan = make_plan(small, tmp_path)
    execute(plan, Quiet())
    before = (plan.folder / "scores.json").stat().st_mtime_ns
    observer = Quiet()
    execute(make_plan(small, tmp_path), observer)
    assert observer.stages == []
    assert (plan.folder / "scores.json").stat().st_mtime_ns == before
    again = Quiet()
    execute(make_plan(small, tmp_path), again, rerun=True)
    assert "fit" in again.stages
    aside = [p for p in plan.folder.parent.iterdir() if p.name.startswith(".")]
    assert len(aside) == 1
    assert (aside[0] / "scores.json").exists(), "the former run is kept"
    assert len(find_submissions(plan.submissions)[0]) == 1


def test_the_key_tells_runs_apart_and_nothing_else(small, tmp_path):
    base = make_plan(small, tmp_path / "a")
    assert make_plan(small, tmp_path / "b", workers=2, device="cuda").key == base.key
    others = [
        make_plan(small, tmp_path / "c", seed=1),
        make_plan(small, tmp_path / "d", params={"offset": 2}),
        make_plan(small, tmp_path / "e", limit=3),
        make_plan(small, tmp_path / "f", split="validation"),
        make_plan(small, tmp_path / "g", track=2),
        make_plan(small, tmp_path / "h", MAJORITY + "\n# edited\n"),
    ]
    assert len({base.key, *(plan.key for plan in others)}) == 7


def test_the_key_follows_the_content_of_the_data_not_its_place(tmp_path):
    first = datamaker.write_contest(tmp_path / "one")
    second = datamaker.write_contest(tmp_path / "two")
    third = datamaker.write_contest(tmp_path / "three")
    path = datamaker.file(third, "DFC2020/ROIs0000_test", "0", "dfc", "0_p1")
    labels = rasters.read(path)
    labels[0, 3, 3] = 1 if labels[0, 3, 3] != 1 else 2
    rasters.write(path, labels)
    keys = [make_plan(Archive.open(root), tmp_path / f"run{i}").key for i, root in enumerate([first, second, third])]
    assert keys[0] == keys[1] != keys[2]


def test_a_run_on_some_patches_says_so(small, tmp_path):
    submission = execute(make_plan(small, tmp_path, limit=3), Quiet())
    submission.check()
    assert submission.partial
    assert submission.meta["data"]["patches"] == 3


def test_without_reference_there_are_maps_and_no_scores(tmp_path):
    archive = Archive.open(datamaker.write_contest(tmp_path / "data", test_labels=False))
    submission = execute(make_plan(archive, tmp_path), Quiet())
    assert submission.finished
    assert submission.scores is None
    assert len(list((submission.folder / "predictions").iterdir())) == 4


def test_probabilities_become_the_most_probable_scored_class(small, tmp_path):
    body = """
        for patch in patches:
            p = np.zeros((8, *patch.shape), np.float32)
            p[3, :8] = 0.6
            p[7, 8:] = 0.9
            yield Prediction(patch.id, p)
    """
    plan = make_plan(small, tmp_path, with_predict(body))
    execute(plan, Quiet())
    written = rasters.read(next((plan.folder / "predictions").iterdir()))[0]
    assert (written[:8] == 5).all()
    assert (written[8:] == 10).all()


GOOD = "yield Prediction(patch.id, np.ones(patch.shape, np.uint8))"
BREACHES = {
    "nothing": ("return iter(())", "no prediction for 7 of 7"),
    "one missing": (f"for patch in patches[1:]:\n            {GOOD}", "no prediction for 1 of 7"),
    "twice": (f"for patch in [*patches, patches[0]]:\n            {GOOD}", "a second time"),
    "unknown id": ("yield Prediction('p0', np.ones((16, 16), np.uint8))", "no patch has that id"),
    "no prediction": ("yield 3", "int, not a Prediction"),
    "wrong size": ("yield Prediction(patches[0].id, np.ones((16, 17), np.uint8))", "16 x 17 pixels"),
    "wrong classes": ("yield Prediction(patches[0].id, np.ones((7, 16, 16)))", r"shape \(7, 16, 16\)"),
    "code 11": ("yield Prediction(patches[0].id, np.full((16, 16), 11))", "codes run from 11 to 11"),
    "fractions": ("yield Prediction(patches[0].id, np.ones((16, 16)))", "not integers"),
    "nan": ("yield Prediction(patches[0].id, np.full((8, 16, 16), np.nan))", "NaN"),
    "negative": ("yield Prediction(patches[0].id, np.full((8, 16, 16), -0.1))", "below 0"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_of_contract_is_told_and_is_no_result(small, tmp_path, breach):
    body, words = BREACHES[breach]
    plan = make_plan(small, tmp_path, with_predict(f"        {body}"))
    with pytest.raises(ContractError, match=words):
        execute(plan, Quiet())
    assert state(plan) == "unfinished"
    assert json.loads((plan.folder / "failure.json").read_text())["error"] == "ContractError"
    assert find_submissions(plan.submissions)[0] == []


CRASH = """
        for n, patch in enumerate(patches):
            if n == 3 and not os.path.exists(os.environ["MENDED"]):
                raise RuntimeError("out of luck")
            yield Prediction(patch.id, np.ones(patch.shape, np.uint8))
"""


def test_a_crash_keeps_the_maps_and_the_same_run_goes_on(small, tmp_path, monkeypatch):
    monkeypatch.setenv("MENDED", str(tmp_path / "mended"))
    plan = make_plan(small, tmp_path, with_predict(CRASH))
    with pytest.raises(MethodCrash, match="RuntimeError: out of luck") as caught:
        execute(plan, Quiet())
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert len(list((plan.folder / "predictions").iterdir())) == 3
    assert "Traceback" in (plan.folder / "run.log").read_text()
    (tmp_path / "mended").touch()
    observer = Quiet()
    assert execute(make_plan(small, tmp_path, with_predict(CRASH)), observer).finished
    assert "fit" not in observer.stages, "fit was finished and is not done again"
    assert not (plan.folder / "failure.json").exists()


def test_an_unreadable_patch_is_an_error_of_the_data_not_of_the_method(tmp_path):
    root = datamaker.write_contest(tmp_path / "data")
    path = datamaker.file(root, "DFC2020/ROIs0000_test", "0", "lc", "0_p2")
    path.write_bytes(path.read_bytes()[:200])
    plan = make_plan(Archive.open(root), tmp_path)
    with pytest.raises(DataError, match=path.name):
        execute(plan, Quiet())


def test_two_processes_do_not_work_on_one_run(small, tmp_path):
    plan = make_plan(small, tmp_path)
    plan.folder.mkdir(parents=True)
    with FileLock(plan.folder / ".lock"), pytest.raises(UsageError, match="another process"):
        execute(plan, Quiet())
    assert execute(plan, Quiet()).finished


KILLS = {
    "in fit": "fit",
    "at the end of fit": "fitted",
    "in predict": "predict",
    "after the last prediction": "predicted",
}
KILLED = '''\
import os, signal
import numpy as np
from dfcbench.method import Method, Needs, Prediction


def die(place):
    if os.environ.get("DIE_AT") == place:
        os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Method):
    """Random colours decide; killed on request."""

    name = "mortal"
    needs = Needs(labels="low", transductive=True)

    def fit(self, contest, run):
        state = run.load_checkpoint("sum") or {"next": 0, "sum": 0.0}
        for n, patch in enumerate(contest.target):
            if n < state["next"]:
                continue
            state = {"next": n + 1, "sum": state["sum"] + float(patch.s2.mean())}
            run.save_checkpoint("sum", state)
            run.log({"sum": state["sum"]}, n)
            if n == 4:
                die("fit")
        self.bias_ = state["sum"] + run.generator("fit").random()
        die("fitted")

    def predict(self, patches, run):
        for n, patch in enumerate(patches):
            if n == 3:
                die("predict")
            noise = run.generator("predict", patch.id).random((8, *patch.shape))
            yield Prediction(patch.id, noise + (self.bias_ % 1) * (patch.low % 8 == np.arange(8)[:, None, None]))
        die("predicted")
'''


@pytest.fixture(scope="module")
def whole(small_root, empty_store, tmp_path_factory) -> dict[str, bytes]:
    """What an uninterrupted run of ``KILLED`` leaves."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "mortal.py").write_text(KILLED)
    Shell(folder)("run", "--track", 1, "--method", "mortal.py", "--data", small_root)
    (submission,) = find_submissions(folder / "submissions")[0]
    return content(submission.folder)


@pytest.mark.parametrize("moment", KILLS)
def test_a_killed_run_ends_with_the_same_bytes_as_an_uninterrupted_one(whole, small_root, dfcbench, moment):
    (dfcbench.folder / "mortal.py").write_text(KILLED)
    command = ("run", "--track", 1, "--method", "mortal.py", "--data", small_root)
    dfcbench.environment["DIE_AT"] = KILLS[moment]
    dfcbench(*command, expect=-signal.SIGKILL)
    assert find_submissions(dfcbench.folder / "submissions")[0] == []
    del dfcbench.environment["DIE_AT"]
    dfcbench(*command)
    (submission,) = find_submissions(dfcbench.folder / "submissions")[0]
    assert content(submission.folder) == whole


def test_a_damaged_fitted_state_is_fitted_anew(small, tmp_path, monkeypatch):
    monkeypatch.setenv("MENDED", str(tmp_path / "mended"))
    plan = make_plan(small, tmp_path, with_predict(CRASH))
    with pytest.raises(MethodCrash):
        execute(plan, Quiet())
    (plan.folder / "fitted" / "fitted.pkl").write_bytes(b"not a pickle")
    (tmp_path / "mended").touch()
    observer = Quiet()
    assert execute(make_plan(small, tmp_path, with_predict(CRASH)), observer).finished
    assert "fit" in observer.stages


def test_unknown_parameters_are_refused_with_the_valid_ones(small, tmp_path):
    with pytest.raises(UsageError, match=r"ofset.*offset=0"):
        make_plan(small, tmp_path, params={"ofset": 2})
    with pytest.raises(UsageError, match="less than or equal to 10"):
        make_plan(small, tmp_path, params={"offset": 11})


def test_the_preset_is_quick_on_the_demo_and_published_elsewhere():
    bag = Registry().load("bag").method
    assert resolve_parameters(bag, {}, None, demo=True)[1] == "quick"
    assert resolve_parameters(bag, {}, None, demo=False)[1] == "published"
    assert resolve_parameters(bag, {}, "published", demo=True)[1] == "published"
    with pytest.raises(UsageError, match="no preset 'slow'"):
        resolve_parameters(bag, {}, "slow", demo=True)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resolve_device("auto") == "cpu"
    with pytest.raises(UsageError, match="0 CUDA device"):
        resolve_device("cuda")
    with pytest.raises(UsageError, match="choose auto"):
        resolve_device("gpu")


def test_the_maps_of_a_run_are_never_read_as_a_reference(tmp_path):
    root = datamaker.write_contest(tmp_path, test_labels=False)
    for _ in range(2):
        archive = Archive.open(root)
        assert not archive.has_labels("test")
        submission = execute(make_plan(archive, root), Quiet())
        assert submission.scores is None
    assert len(find_submissions(root / "submissions")[0]) == 1


def test_a_damaged_submission_json_is_written_anew_by_the_same_run(small, tmp_path):
    plan = make_plan(small, tmp_path)
    execute(plan, Quiet())
    before = content(plan.folder)
    (plan.folder / "submission.json").write_text("")
    assert state(plan) == "unfinished"
    execute(make_plan(small, tmp_path), Quiet())
    assert content(plan.folder) == before


def test_what_a_kill_left_half_written_is_cleared_away(small, tmp_path):
    plan = make_plan(small, tmp_path)
    (plan.folder / "predictions").mkdir(parents=True)
    (plan.folder / "predictions" / ".tmp-ROIs0000_test_dfc_0_p2-abcd1234.tif").write_bytes(b"half")
    execute(plan, Quiet())
    assert not [path for path in plan.folder.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (
            with_predict("        yield").replace("self.contest_ = None", "raise SystemExit(0)"),
            MethodCrash,
            "SystemExit",
        ),
        (with_predict("        return 3"), ContractError, "returned int"),
        (
            with_predict("        yield").replace(
                "    def fit", "    def parts(self):\n        return 1 / 0\n\n    def fit"
            ),
            MethodCrash,
            "ZeroDivisionError",
        ),
    ],
)
def test_whatever_a_method_does_wrong_is_its_own_fault_by_name(small, tmp_path, source, error, words):
    with pytest.raises(error, match=words):
        execute(make_plan(small, tmp_path, source), Quiet())


def test_a_reference_of_another_size_is_a_fault_of_the_data(tmp_path):
    root = datamaker.write_contest(tmp_path / "data")
    path = datamaker.file(root, "DFC2020/ROIs0000_test", "0", "dfc", "0_p1")
    rasters.write(path, np.ones((12, 12), np.uint8))
    with pytest.raises(DataError, match=path.name):
        execute(make_plan(Archive.open(root), tmp_path), Quiet())


def test_submissions_that_cannot_be_written_are_told(small, tmp_path):
    (tmp_path / "submissions").write_text("a file")
    with pytest.raises(DataError, match="submissions is a file, and a folder is needed there"):
        execute(make_plan(small, tmp_path), Quiet())


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_parameters_that_are_no_numbers_are_refused_before_the_run(value):
    bag = Registry().load("bag").method
    with pytest.raises(UsageError, match="finite"):
        resolve_parameters(bag, {"tolerance": float(value)}, None, demo=False)


def test_a_plug_in_is_another_one_when_a_module_beside_it_changes(small, tmp_path):
    (tmp_path / "colours_of_mine.py").write_text("SHIFT = 1\n")
    source = "import colours_of_mine\n" + MAJORITY
    first = make_plan(small, tmp_path, source).key
    assert make_plan(small, tmp_path, source).key == first
    (tmp_path / "colours_of_mine.py").write_text("SHIFT = 2\n")
    assert make_plan(small, tmp_path, source).key != first


def test_only_parameters_that_differ_from_preset_and_defaults_count_as_changed(small, tmp_path):
    usual = replace(make_plan(small, tmp_path / "a", params={"offset": 0}), overrides={"offset": 0})
    other = replace(make_plan(small, tmp_path / "b", params={"offset": 3}), overrides={"offset": 3})
    assert usual.describe()["overrides"] == {}
    assert other.describe()["overrides"] == {"offset": 3}
