"""Damage, loss and contention, through the command on real files: told in one line, nothing lost, and mended by the same
command, which ends with the same bytes as a run that nothing happened to. docs/troubleshooting.md lists all of it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dfcbench import files
from dfcbench.cli.app import Terminated
from dfcbench.report import run_figures
from dfcbench.submission import find_submissions
from tests import datamaker
from tests.conftest import Shell
from tests.in_process import call, content, told
from tests.plugins import LEARNING

COMMAND = ("run", "--track", 1, "--method", "learning.py", "--data", "data", "--workers", 1)


@pytest.fixture(scope="module", autouse=True)
def plain_figures() -> Iterator[None]:
    """Figures take most of the time of so small a run; test_kills.py has them drawn."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("confusion_figure", "panel_figure"):
            patch.setattr(run_figures, name, lambda what, path, title: files.write_bytes(path, title.encode()))
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, not to be changed."""
    return datamaker.write_contest(tmp_path_factory.mktemp("faults") / "data", validation=2, test=5)


@pytest.fixture
def here(tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with data, the plug-in and a cache of its own."""
    shutil.copytree(source, tmp_path / "data")
    (tmp_path / "learning.py").write_text(LEARNING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFCBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, source: Path, plain_figures: None) -> Path:
    """A folder in which the command came to its end; not to be changed."""
    place = tmp_path_factory.mktemp("finished")
    shutil.copytree(source, place / "data", copy_function=shutil.copy2)
    (place / "learning.py").write_text(LEARNING)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("DFCBENCH_CACHE", str(place / "cache"))
        outcome = call(*COMMAND)
    assert outcome.code == 0, outcome.err
    return place


@pytest.fixture(scope="module")
def whole(finished: Path) -> dict[str, bytes]:
    """What an undisturbed run leaves."""
    return content(run_folder(finished))


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with all that the undisturbed run left."""
    place = tmp_path / "copied"
    shutil.copytree(finished, place, copy_function=shutil.copy2)
    monkeypatch.chdir(place)
    monkeypatch.setenv("DFCBENCH_CACHE", str(place / "cache"))
    return place


def run_folder(place: Path) -> Path:
    (folder,) = [f for f in place.glob("submissions/track1/learning/*") if not f.name.startswith(".")]
    return folder


def image(place: Path, token: str, number: int) -> Path:
    return datamaker.file(place / "data", "DFC2020/ROIs0000_test", "0", token, f"0_p{number}")


def goes_on(place: Path, whole: dict[str, bytes]) -> str:
    """The same command once more: it ends as if nothing had happened. Returns what it said on stderr."""
    outcome = call(*COMMAND)
    assert outcome.code == 0, outcome.err
    assert content(run_folder(place)) == whole
    assert not list(run_folder(place).rglob(".tmp-*"))
    return outcome.err


def stop(place: Path, where: str) -> None:
    """The run breaks off in fit or in predict, with what it has done so far kept."""
    (place / f"stop in {where}").touch()
    told(call(*COMMAND), 6, f"stopped in {where}", "same command goes on", "run.log")
    (place / f"stop in {where}").unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def other_json(path: Path) -> None:
    path.write_text('{"format": 1}')


def no_json(path: Path) -> None:
    path.write_text("[1, 2")


Damage = Callable[[Path], None]


# Data


def test_a_truncated_tif_is_named_and_a_fresh_copy_is_enough(here: Path, whole):
    path = image(here, "s2", 2)
    sound = path.read_bytes()
    truncate(path)
    told(call(*COMMAND), 3, path.name, "fresh copy")
    assert find_submissions(here / "submissions") == ([], [])
    path.write_bytes(sound)
    assert call(*COMMAND).code == 0
    ((found,), _) = find_submissions(here / "submissions")
    assert content(found.folder) == whole


@pytest.mark.parametrize("fate", ["vanishes", "truncated"])
def test_a_tif_that_is_spoilt_between_plan_and_read_is_named_and_what_was_mapped_is_kept(
    here: Path, whole, fate: str, monkeypatch: pytest.MonkeyPatch
):
    path = image(here, "lc", 3)
    sound = path.read_bytes()
    written = files.replacing

    def spoiling(target: Path):
        if target.parent.name == "predictions":
            path.unlink(missing_ok=True) if fate == "vanishes" else path.write_bytes(sound[:100])
        return written(target)

    with monkeypatch.context() as patch:
        patch.setattr("dfcbench.rasters.replacing", spoiling)
        patch.setattr("dfcbench.runner.pack_where_it_pays", lambda patches, *_: patches)
        told(call(*COMMAND), 3, path.name)
    folder = run_folder(here)
    kept = {p.name: p.stat().st_mtime_ns for p in (folder / "predictions").iterdir()}
    assert 0 < len(kept) < 5
    path.write_bytes(sound)
    assert "fit …" not in goes_on(here, whole)
    assert {name: (folder / "predictions" / name).stat().st_mtime_ns for name in kept} == kept


def test_a_packed_copy_makes_up_for_a_tif_that_vanishes_but_not_silently_for_its_header(here: Path, whole):
    stop(here, "predict")
    path = image(here, "s2", 4)
    sound = path.rename(here / "aside")
    told(call(*COMMAND), 3, "0_p4")
    sound.rename(path)
    goes_on(here, whole)


# What the harness keeps


@pytest.mark.parametrize(("modality", "damage"), [("s1", truncate), ("s2", flip), ("low", empty)])
def test_a_damaged_packed_copy_changes_no_pixel(here: Path, whole, modality: str, damage: Damage):
    stop(here, "fit")
    for path in (here / "cache" / "packed").rglob(f"{modality}-*.bin"):
        damage(path)
    goes_on(here, whole)


@pytest.mark.parametrize("damage", [truncate, flip, other_json])
def test_a_damaged_index_of_a_packed_copy_changes_no_pixel(here: Path, whole, damage: Damage):
    stop(here, "fit")
    for path in (here / "cache" / "packed").rglob("s2.json"):
        damage(path)
    goes_on(here, whole)


@pytest.mark.parametrize("damage", [truncate, empty, flip])
def test_a_damaged_checkpoint_is_told_and_the_stage_starts_anew(here: Path, whole, damage: Damage):
    stop(here, "fit")
    (checkpoint,) = run_folder(here).rglob("*.checkpoint")
    damage(checkpoint)
    assert "sum.checkpoint is damaged; that stage starts anew" in goes_on(here, whole)


@pytest.mark.parametrize(
    ("name", "damage"),
    [("fitted.pkl", truncate), ("fitted.pkl", flip), ("complete.json", empty), ("complete.json", flip)],
)
def test_a_damaged_fitted_state_is_told_and_fitted_anew(here: Path, whole, name: str, damage: Damage):
    stop(here, "predict")
    damage(run_folder(here) / "fitted" / name)
    assert "fitting anew" in goes_on(here, whole)


@pytest.mark.parametrize("damage", [truncate, empty, flip])
def test_a_damaged_map_of_a_broken_run_is_told_and_made_again(here: Path, whole, damage: Damage):
    stop(here, "predict")
    path = min((run_folder(here) / "predictions").iterdir())
    damage(path)
    err = goes_on(here, whole)
    assert f"{path.name}: is damaged. It is made again." in err


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("submission.json", truncate),
        ("submission.json", empty),
        ("submission.json", other_json),
        ("scores.json", no_json),
        ("scores.json", other_json),
        ("scores.json", flip),
        ("confusion.npz", truncate),
        ("confusion.npz", flip),
        ("confusion.npz", empty),
    ],
)
def test_a_damaged_submission_is_left_out_and_written_anew(copied: Path, whole, name: str, damage: Damage):
    folder = run_folder(copied)
    damage(folder / name)
    told(call("leaderboard"), 7, "no finished submission")
    assert "fit …" not in goes_on(copied, whole), "it is made of the maps that are there"


def test_a_submission_of_another_key_in_its_place_is_not_taken_for_it(copied: Path, whole):
    path = run_folder(copied) / "submission.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "key": "0" * 16}))
    goes_on(copied, whole)


def test_a_line_of_metrics_that_a_kill_cut_short_spoils_no_other(here: Path, whole):
    stop(here, "fit")
    path = run_folder(here) / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    goes_on(here, whole)
    ((found,), _) = find_submissions(here / "submissions")
    assert [entry["step"] for entry in found.metric_history()] == [0, 1, 3, 4]


def test_the_page_that_a_kill_kept_from_being_written_is_made_up_for(copied: Path, whole):
    page = run_folder(copied) / "artifacts" / "page.html"
    former = page.read_bytes()
    page.unlink()
    assert "fit …" not in goes_on(copied, whole)
    assert page.read_bytes() == former


# Others, and the clock


def test_a_second_process_is_told_to_wait_and_disturbs_nothing(here: Path, whole, empty_store: Path):
    waiting = """while n == 2 and os.path.exists("stop in predict"):
                open("waiting", "w").close()
                time.sleep(0.05)"""
    stopping = """if n == 2 and os.path.exists("stop in predict"):
                raise RuntimeError("stopped in predict")"""
    assert stopping in LEARNING
    (here / "learning.py").write_text(LEARNING.replace(stopping, waiting))
    (here / "stop in predict").touch()
    shutil.copy(empty_store, here / "mlflow.db")
    first = Shell(here).start(*COMMAND)
    until = time.monotonic() + 120
    while not (here / "waiting").exists() and time.monotonic() < until:
        time.sleep(0.05)
    told(call(*COMMAND), 2, "another process is at this run", "--seed")
    assert first.poll() is None
    (here / "stop in predict").unlink()
    _, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    mine = content(run_folder(here))
    same = [name for name in mine if name.startswith(("scores", "confusion", "predictions"))]
    assert len(same) == 7
    assert all(mine[name] == whole[name] for name in same), "the plug-in's source is another one, and nothing else"


def test_a_clock_that_jumps_makes_nothing_negative_and_loses_nothing(
    here: Path, whole, empty_store: Path, monkeypatch: pytest.MonkeyPatch
):
    from mlflow.tracking import MlflowClient

    shutil.copy(empty_store, here / "mlflow.db")
    uri = f"sqlite:///{here / 'mlflow.db'}"
    real, calls = time.time, iter(range(10**9))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + 3600.0 * (-5, 0, 3, -11, 7)[next(calls) % 5] - 60.0 * next(calls))
        outcome = call(*COMMAND, store=uri)
    assert outcome.code == 0, outcome.err
    assert "warning" not in outcome.err
    folder = run_folder(here)
    assert content(folder) == whole
    assert all(seconds >= 0 for seconds in json.loads((folder / "timing.json").read_text())["seconds"].values())
    ((found,), _) = find_submissions(here / "submissions")
    assert [entry["step"] for entry in found.metric_history()] == [0, 1, 2, 3, 4]
    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    assert len(client.get_metric_history(run.info.run_id, "sum")) == 5


def test_sigterm_is_told_apart_from_ctrl_c(here: Path, monkeypatch: pytest.MonkeyPatch):
    def end(*_: object) -> None:
        raise Terminated

    monkeypatch.setattr("dfcbench.runner.write_scores", end)
    outcome = call(*COMMAND)
    assert outcome.code == 143
    assert "terminated. Give the same command again" in outcome.err
    assert sys.exc_info() == (None, None, None)
