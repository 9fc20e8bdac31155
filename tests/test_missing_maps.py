"""Finished submissions without their maps, as version control keeps them: results for boards, to be run again by ``run``."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from dfcbench.errors import SubmissionError
from dfcbench.registry import Registry
from dfcbench.runner import execute
from dfcbench.states import MAPLESS, state
from dfcbench.submission import Submission, find_submissions
from tests.conftest import Shell
from tests.plugins import with_predict
from tests.test_runner import Quiet, make_plan

COUNTING = '''\
"""A plug-in file."""
import os
import time
from pathlib import Path
import numpy as np
from dfcbench.method import Method, Needs, Prediction


class Counting(Method):
    """Logs while it is fitted; fails or waits in the third patch while a file says so."""

    name = "counting"
    needs = Needs(inputs=frozenset(), labels="low")

    def fit(self, contest, run):
        for step in range(3):
            run.log({"loss": 1.0 / (1 + step)}, step=step)

    def predict(self, patches, run):
        for number, patch in enumerate(patches):
            if number == 2 and os.path.exists("fail"):
                raise RuntimeError("no luck")
            while number == 2 and os.path.exists("wait"):
                Path("waiting").touch()
                time.sleep(0.05)
            yield Prediction(patch.id, patch.low)
'''
KEPT = ("submission.json", "scores.json", "confusion.npz", "metrics.jsonl", "timing.json")
"""What is committed of a submission."""
RESULT = ("scores.json", "confusion.npz")


def as_committed(folder: Path) -> None:
    """Take away what version control does not keep."""
    for path in list(folder.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in KEPT:
            path.unlink()


def result(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULT}


def maps(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "predictions").glob("*.tif"))}


class Interrupting(Quiet):
    """Ctrl-C when scoring begins."""

    def stage(self, name: str) -> None:
        if name == "score":
            raise KeyboardInterrupt


def building_upon(part: str) -> str:
    """A plug-in that hands the maps of a part on."""
    body = "        for patch in patches:\n            yield Prediction(patch.id, run.parts['one'].labels(patch.id))"
    source = with_predict(body, name="upper", needs="Needs(inputs=frozenset(), labels='low')")
    return source.replace("import Method, Needs", "import Method, Needs, Part").replace(
        "    def fit", f"    def parts(self):\n        return {{'one': Part({part!r})}}\n\n    def fit"
    )


@pytest.fixture
def command(small_root: Path) -> tuple[object, ...]:
    return ("run", "--track", 1, "--method", "counting.py", "--data", small_root)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, empty_store: Path, small_root: Path) -> Path:
    """A folder in which ``dfcbench run`` made one submission; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "counting.py").write_text(COUNTING)
    Shell(folder)("run", "--track", 1, "--method", "counting.py", "--data", small_root)
    return folder


@pytest.fixture
def committed(dfcbench: Shell, whole: Path) -> tuple[Path, dict[str, bytes], dict[str, bytes]]:
    """A copy of that submission without what version control does not keep; its result, and the maps that it had."""
    shutil.copy(whole / "counting.py", dfcbench.folder)
    shutil.copytree(whole / "submissions", dfcbench.folder / "submissions")
    (folder,) = (path.parent for path in dfcbench.folder.glob("submissions/*/*/*/submission.json"))
    before = result(folder), maps(folder)
    as_committed(folder)
    return folder, *before


def test_a_finished_run_without_maps_is_run_again_and_says_so(dfcbench: Shell, command, committed) -> None:
    folder, before, drawn = committed
    path = folder / "submission.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "software": {"numpy": "of long ago"}}))
    planned = dfcbench(*command, "--dry-run")
    assert "finished (maps missing)" in planned.stderr
    assert "Skipped" in dfcbench(*command, "--if-exists", "skip").stderr
    assert maps(folder) == {}
    again = dfcbench(*command)
    assert "its scores are here, its maps are not" in again.stderr
    assert "average accuracy" in again.stdout
    assert maps(folder) == drawn
    assert result(folder) == before
    assert not (folder / "work").exists()
    losses = [entry["value"] for entry in Submission(folder).metric_history()]
    assert losses == [1.0, 0.5, 1 / 3], "what was logged the first time is not there twice"
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]
    stamp = (folder / "scores.json").stat().st_mtime_ns
    assert json.loads(path.read_text())["software"] == meta["software"], "provenance of the maps that are there"
    assert "its maps are not" not in dfcbench(*command).stderr
    assert (folder / "scores.json").stat().st_mtime_ns == stamp, "now it is finished"
    next((folder / "predictions").glob("*_p3.tif")).unlink()
    dfcbench(*command)
    assert maps(folder) == drawn, "one missing map is made up for"


def test_what_was_logged_stays_where_only_maps_are_made_again(dfcbench: Shell, command, whole: Path) -> None:
    shutil.copy(whole / "counting.py", dfcbench.folder)
    shutil.copytree(whole / "submissions", dfcbench.folder / "submissions")
    (folder,) = (path.parent for path in dfcbench.folder.glob("submissions/*/*/*/submission.json"))
    before = {name: (folder / name).read_bytes() for name in KEPT}
    shutil.rmtree(folder / "predictions")
    dfcbench(*command)
    assert len(maps(folder)) > 0
    assert {name: (folder / name).read_bytes() for name in KEPT} == before


def test_boards_take_it_as_finished(dfcbench: Shell, committed) -> None:
    folder, before, _ = committed
    assert "counting" in dfcbench("leaderboard").stdout
    dfcbench("leaderboard", "--check")
    assert result(folder) == before
    assert maps(folder) == {}


def test_scores_stay_when_the_maps_cannot_be_made_again(dfcbench: Shell, command, committed) -> None:
    folder, before, drawn = committed
    meta = (folder / "submission.json").read_bytes()
    (dfcbench.folder / "fail").touch()
    assert "no luck" in dfcbench(*command, expect=6).stderr
    assert result(folder) == before
    assert (folder / "submission.json").read_bytes() == meta
    (found,) = find_submissions(dfcbench.folder / "submissions")[0]
    assert found.finished
    assert "counting" in dfcbench("leaderboard", "--track", 1).stdout
    (dfcbench.folder / "fail").unlink()
    dfcbench(*command)
    assert maps(folder) == drawn
    assert result(folder) == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_scores_stay_when_it_is_broken_off_and_the_same_command_goes_on(
    dfcbench: Shell, command, committed, how
) -> None:
    folder, before, drawn = committed
    (dfcbench.folder / "wait").touch()
    process = dfcbench.start(*command)
    until = time.monotonic() + 60
    while not (dfcbench.folder / "waiting").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode
    missing = len(drawn) - len(maps(folder))
    assert 0 < missing < len(drawn)
    assert result(folder) == before
    assert [s.folder for s in find_submissions(dfcbench.folder / "submissions")[0]] == [folder]
    (dfcbench.folder / "wait").unlink()
    again = dfcbench(*command)
    assert f"{missing} of its {len(drawn)} maps are not" in again.stderr
    assert (maps(folder), result(folder)) == (drawn, before)
    assert not (folder / "work").exists()


def test_maps_that_were_all_made_and_not_yet_scored_are_not_taken_for_those_that_were(small, tmp_path: Path) -> None:
    """A kill between the last map and the scores: the next run scores these maps, and not those of the former run."""
    plan = make_plan(small, tmp_path)
    execute(plan, Quiet())
    before = result(plan.folder)
    as_committed(plan.folder)
    assert state(plan) == MAPLESS
    with pytest.raises(KeyboardInterrupt):
        execute(plan, Interrupting())
    assert len(maps(plan.folder)) == 7
    assert result(plan.folder) == before
    content = next(iter(maps(plan.folder).values()))
    for name in maps(plan.folder):  # as another machine's rounding might make them
        (plan.folder / "predictions" / name).write_bytes(content)
    (plan.folder / "work" / "mapped.txt").unlink()  # with checksums of the maps as they were made here
    assert state(plan) == MAPLESS
    execute(plan, Quiet())
    assert result(plan.folder) != before
    predicted = Submission(plan.folder).confusion.matrices.sum(axis=1)
    assert (predicted == predicted[0]).all(), "every patch has the same map"
    assert state(plan) == "finished"


def test_a_part_without_maps_is_made_again_before_what_builds_upon_it(dfcbench: Shell, small_root: Path) -> None:
    (dfcbench.folder / "upper.py").write_text(building_upon("low-resolution-labels"))
    command = ("run", "--track", 1, "--method", "upper.py", "--data", small_root)
    dfcbench(*command)
    part, upper = (
        next((dfcbench.folder / "submissions/track1").glob(f"{name}/*/submission.json")).parent
        for name in ("low-resolution-labels", "upper")
    )
    drawn = maps(upper)
    as_committed(part)
    assert "its maps are not" not in dfcbench(*command).stderr, "what is finished needs no part"
    as_committed(upper)
    told = dfcbench(*command).stderr
    assert told.count("its scores are here, its maps are not") == 2
    assert (maps(part), maps(upper)) == (drawn, drawn)


def test_nothing_is_built_upon_a_named_run_without_maps(small, tmp_path: Path) -> None:
    part = make_plan(small, tmp_path / "part")
    execute(part, Quiet())
    as_committed(part.folder)
    source = building_upon(str(part.folder))
    with pytest.raises(SubmissionError, match="its maps are not"):
        _ = make_plan(small, tmp_path / "upper", source, registry=Registry()).key
    execute(part, Quiet())
    upper = make_plan(small, tmp_path / "upper", source, registry=Registry())
    assert maps(execute(upper, Quiet()).folder) == maps(part.folder)
