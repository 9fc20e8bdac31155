"""Killed and terminated at random moments of every stage, again and again: the same command ends with the same bytes.

Eight kills in the normal suite; ``DFCBENCH_KILLS=56 pytest tests/test_kills.py`` makes as many as one likes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfcbench.submission import Submission, find_submissions
from tests import datamaker
from tests.in_process import NO_STORE, content
from tests.kill_launcher import STAGES
from tests.plugins import LEARNING

KILLS = int(os.environ.get("DFCBENCH_KILLS", "8"))
EACH = 8
"""Kills of one run: two in fit and in predict, one in each other stage."""
LAUNCHER = Path(__file__).with_name("kill_launcher.py")
PATIENCE = 300


class Place:
    """A folder with the plug-in, a cache of its own, and the command that is killed in it."""

    def __init__(self, folder: Path, data: Path) -> None:
        folder.mkdir()
        (folder / "learning.py").write_text(LEARNING)
        self.folder = folder
        self.command = ("run", "--track", "1", "--method", "learning.py", "--data", str(data), "--workers", "2")

    def __call__(self, **environment: object) -> tuple[int, str]:
        """Exit status and stderr."""
        done = subprocess.run(
            [sys.executable, str(LAUNCHER), *self.command],
            cwd=self.folder,
            env={
                **os.environ,
                "DFCBENCH_CACHE": str(self.folder / "cache"),
                "MLFLOW_TRACKING_URI": NO_STORE,
                **{name: str(value) for name, value in environment.items()},
            },
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return done.returncode, done.stderr

    def submission(self) -> Submission:
        """The one submission."""
        (found,), problems = find_submissions(self.folder / "submissions")
        assert not problems
        return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return datamaker.write_contest(tmp_path_factory.mktemp("kills") / "data", validation=2, test=5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[dict[str, bytes], dict[str, int]]:
    """What an uninterrupted run leaves, and how many moments each of its stages has."""
    place = Place(tmp_path_factory.mktemp("whole") / "place", data)
    code, err = place(KILL_COUNTS=place.folder / "counts.json")
    assert code == 0, err
    return content(place.submission().folder), json.loads((place.folder / "counts.json").read_text())


def losses(submission: Submission) -> dict[tuple[str, int], float]:
    return {(entry["name"], entry["step"]): entry["value"] for entry in submission.metric_history()}


def deaths(rng: random.Random, moments: dict[str, int]) -> Iterator[tuple[str, dict[str, object]]]:
    """Stage by stage, each with its random moment and signal."""
    for stage in sorted([*STAGES, "fit", "predict"], key=STAGES.index):
        how = rng.choice([signal.SIGKILL, signal.SIGTERM])
        delay = rng.choice([0.0, 0.0, rng.uniform(0, 0.02)])
        event = rng.randrange(max(1, moments[stage]))
        yield stage, {"KILL_STAGE": stage, "KILL_EVENT": event, "KILL_SIGNAL": int(how), "KILL_DELAY": delay}


@pytest.mark.parametrize("seed", range(-(-KILLS // EACH)))
def test_kills_in_every_stage_end_byte_equal_with_an_uninterrupted_run(tmp_path, data, whole, seed):
    result, moments = whole
    assert all(moments.values()), f"a stage without a moment to be killed at: {moments}"
    place, came = Place(tmp_path / "place", data), Counter[str]()
    for stage, how in deaths(random.Random(seed), moments):
        for event in (how["KILL_EVENT"], 0):  # a run that goes on has fewer moments: then at its first
            code, err = place(**{**how, "KILL_EVENT": event})
            assert "Traceback" not in err, err
            if code:
                break
        assert code in (-signal.SIGKILL, 143, 0), f"{how}: {code}\n{err}"
        if code == 143:
            assert "terminated. Give the same command again to go on" in err
        came[stage] += bool(code)
        for submission in find_submissions(place.folder / "submissions")[0]:
            assert content(submission.folder) == result, f"{stage}: a broken run counts as finished"
    assert came.keys() >= set(STAGES[:-1]) and came.total() >= EACH - 1, came
    code, err = place()
    assert code == 0, err
    submission = place.submission()
    assert content(submission.folder) == result
    assert (submission.folder / "artifacts" / "page.html").exists()
    assert sorted(losses(submission)) == [("sum", step) for step in range(5)], "what was logged before a kill is there"
    timing = json.loads((submission.folder / "timing.json").read_text())
    assert all(seconds >= 0 for seconds in timing["seconds"].values())
    assert not [path for path in submission.folder.rglob("*") if path.name.startswith(".tmp-")]
    assert not (submission.folder / "work").exists()
