"""Recording in a real MLflow with a real sqlite store: what is recorded, resuming, failing, and catching up later."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dfcbench import tracking, tracking_names, tracking_store
from dfcbench.errors import DfcbenchError
from dfcbench.scheme import SCORED_NAMES
from dfcbench.submission import Submission
from dfcbench.tracking import Tracker, store_uri, sync, ui_command
from tests.made_submissions import DATA, made_meta, made_submission

EXPERIMENT = f"dfcbench/{DATA}/track1-test"


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sqlite file with MLflow's tables; making them costs seconds, copying them nothing."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    tracking_store.Store(f"sqlite:///{path}").client.search_experiments()
    return path


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "a store"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    yield f"sqlite:///{folder / 'mlflow.db'}"


def runs(uri: str) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def points(uri: str, run_id: str, name: str) -> list[tuple[int, float]]:
    from mlflow.tracking import MlflowClient

    return sorted((m.step, m.value) for m in MlflowClient(tracking_uri=uri).get_metric_history(run_id, name))


def opened(tracker: Tracker) -> Tracker:
    """The tracker once its run is open in the store."""
    tracker._worker.do(lambda: None, 30)
    assert tracker.run_id is not None
    return tracker


def add_line(folder: Path, name: str, value: float, step: object = None) -> None:
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"name": name, "value": value, "step": step, "time": 1000.0}) + "\n")


def write_metrics(folder: Path, *steps: int) -> None:
    lines = [json.dumps({"name": "bound", "value": -1.0 / (1 + s), "step": s, "time": 1000.0 + s}) for s in steps]
    (folder / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))


def test_a_run_is_recorded_whole(tmp_path: Path, uri: str) -> None:
    from mlflow.tracking import MlflowClient

    submission = made_submission(tmp_path, badges=["transductive"])
    (submission.folder / "artifacts").mkdir()
    (submission.folder / "artifacts" / "confusion.png").write_bytes(b"picture")
    tracker = Tracker.start(submission.meta, submission.folder, uri)
    tracker.metrics({"bound": -2.0}, step=7)
    tracker.metrics({"entropy": 0.5})
    tracker.metrics({"entropy": 0.25})
    tracker.finish(description="| class |")

    (run,) = runs(uri)
    assert run.info.run_id == tracker.run_id
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"bag-{submission.key[:8]}"
    assert run.data.params == {"clusters": "32", "channels.s2": "[1, 2, 3]", "seed": "0"}
    scores = submission.scores
    assert scores is not None
    metrics = run.data.metrics
    assert metrics["average_accuracy"] == scores.average_accuracy
    assert (metrics["average_accuracy_low"], metrics["average_accuracy_high"]) == scores.average_accuracy_interval
    assert {m for m in metrics if m.startswith("producers_accuracy/")} == {
        f"producers_accuracy/{name.replace('/', '_')}" for name in SCORED_NAMES
    }
    assert metrics["users_accuracy/Urban_Built-up"] == scores.classes["Urban/Built-up"].users_accuracy
    assert points(uri, run.info.run_id, "bound") == [(7, -2.0)]
    assert points(uri, run.info.run_id, "entropy") == [(0, 0.5), (1, 0.25)]
    tags = run.data.tags
    assert tags["dfcbench.key"] == submission.key
    assert tags["dfcbench.badges"] == "transductive"
    assert tags["mlflow.note.content"] == "| class |"
    assert tags["mlflow.source.git.commit"] == submission.meta["commit"]
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == (DATA, "f" * 16)
    client = MlflowClient(tracking_uri=uri)
    assert [f.path for f in client.list_artifacts(run.info.run_id)] == [
        "artifacts",
        "confusion.npz",
        "scores.json",
        "submission.json",
    ]
    picture = client.download_artifacts(run.info.run_id, "artifacts/confusion.png", str(tmp_path))
    assert Path(picture).read_bytes() == b"picture"


def test_parts_lie_under_what_is_composed_of_them_and_seeds_under_the_first(tmp_path: Path, uri: str) -> None:
    part = made_submission(tmp_path, "bag", "a")
    seeds = [made_submission(tmp_path, "bag", f"s{seed}", seed=seed) for seed in (1, 2)]
    other = made_submission(tmp_path, "bag", "b", parameters={"clusters": 8})
    whole = made_submission(tmp_path, "ensemble", "c", parts={"bag": part.key})
    again = made_submission(tmp_path, "smoothing", "d", parts={"ensemble": whole.key, "bag": part.key})
    for submission in (part, *seeds, other, whole, again, seeds[0]):
        tracker = Tracker.start(submission.meta, submission.folder, uri)
        tracker.finish()

    recorded = {run.data.tags["dfcbench.key"]: run for run in runs(uri)}
    assert len(recorded) == 6
    keys = {run.info.run_id: key for key, run in recorded.items()}
    parents = {key: keys.get(run.data.tags.get("mlflow.parentRunId", "")) for key, run in recorded.items()}
    assert parents == {
        part.key: whole.key,
        seeds[0].key: part.key,
        seeds[1].key: part.key,
        other.key: None,
        whole.key: again.key,
        again.key: None,
    }


@pytest.mark.parametrize(
    ("changes", "related"),
    [
        ({"seed": 1}, True),
        ({"commit": "f" * 16, "software": {"numpy": "3"}, "device": "cuda"}, True),
        ({"parameters": {"clusters": 8}}, False),
        ({"method": {"version": "2"}}, False),
        ({"data": {"fingerprint": "0" * 16}}, False),
        ({"data": {"depends_on": {"test": "f" * 16, "training": "0" * 16}}}, False),
        ({"data": {"limit": 3}}, False),
    ],
)
def test_runs_are_of_one_family_if_nothing_that_decides_their_result_differs_but_the_seed(
    changes: dict[str, Any], related: bool
) -> None:
    usual = {"depends_on": {"test": "f" * 16, "training": "1" * 16}}
    first = made_meta(data=usual)
    changes = {**changes, "data": {**usual, **changes.get("data", {})}}
    assert (tracking_names.family(made_meta(**changes)) == tracking_names.family(first)) is related


def test_sync_puts_parts_under_what_is_composed_of_them_whatever_their_names(tmp_path: Path, uri: str) -> None:
    part = made_submission(tmp_path, "zebra", "a")
    whole = made_submission(tmp_path, "ant", "b", parts={"zebra": part.key})
    copy = made_submission(tmp_path, "bee", "c", key=part.key)
    report = sync(tmp_path, uri)

    assert len(report.recorded) == 2
    assert len(report.present) == 1 and not report.problems, "a copy under the same key is known already"
    recorded = {run.data.tags["dfcbench.key"]: run for run in runs(uri)}
    assert recorded[copy.key].data.tags["mlflow.parentRunId"] == recorded[whole.key].info.run_id


def test_a_run_made_anew_does_not_lie_under_the_former_one(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    Tracker.start(submission.meta, submission.folder, uri).finish()
    (submission.folder / "tracking.json").unlink()
    tracker = Tracker.start(submission.meta, submission.folder, uri, fresh=True)
    tracker.finish()

    found = runs(uri)
    assert len(found) == 2
    assert all("mlflow.parentRunId" not in run.data.tags for run in found)


def test_resumed_run_goes_on_in_the_same_mlflow_run(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    first = Tracker.start({**submission.meta, "status": "running"}, submission.folder, uri)
    first.metrics({"bound": -1.0}, step=0)
    first._worker.do(first._flush, 10)
    write_metrics(submission.folder, 0, 1, 2)  # steps 1 and 2 were lost when the process was killed
    second = Tracker.start(submission.meta, submission.folder, uri)
    second.metrics({"bound": -0.25}, step=3)
    second.finish()
    (run,) = runs(uri)
    assert first.run_id == second.run_id == run.info.run_id
    assert points(uri, run.info.run_id, "bound") == [(0, -1.0), (1, -0.5), (2, -1 / 3), (3, -0.25)]
    assert run.info.status == "FINISHED"


def test_metrics_logged_while_the_store_opens_are_recorded_once(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_open = threading.Event()
    prompt_store = tracking.Store

    def slow_store(uri: str) -> tracking_store.Store:
        assert may_open.wait(30)
        return prompt_store(uri)

    monkeypatch.setattr(tracking, "Store", slow_store)
    submission = made_submission(tmp_path)
    for value in (4.0, 3.0):
        add_line(submission.folder, "entropy", value)  # of an earlier process
    tracker = Tracker.start(submission.meta, submission.folder, uri)
    for step, value in enumerate((2.0, 1.0)):
        tracker.metrics({"entropy": value})
        add_line(submission.folder, "entropy", value)
        tracker.metrics({"bound": -value}, step=step)
        add_line(submission.folder, "bound", -value, step)
    assert tracker.run_id is None
    may_open.set()
    tracker.finish()
    (run,) = runs(uri)
    assert points(uri, run.info.run_id, "entropy") == [(0, 4.0), (1, 3.0), (2, 2.0), (3, 1.0)]
    assert points(uri, run.info.run_id, "bound") == [(0, -2.0), (1, -1.0)]


def test_history_that_makes_no_sense_costs_one_warning(
    tmp_path: Path, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    submission = made_submission(tmp_path)
    add_line(submission.folder, "bound", -1.0, step="first")
    tracker = Tracker.start(submission.meta, submission.folder, uri)
    tracker.metrics({"bound": -0.5}, step=1)
    tracker.finish()
    assert not tracker.active
    assert len([r for r in caplog.records if r.name == "dfcbench"]) == 1


def test_fresh_run_leaves_the_former_of_its_key_as_it_was(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    former = Tracker.start(submission.meta, submission.folder, uri)
    former.metrics({"entropy": 0.5})
    former.finish(description="former")
    add_line(submission.folder, "entropy", 0.5)
    fresh = Tracker.start(submission.meta, submission.folder, uri, fresh=True)
    fresh.metrics({"entropy": 0.25})
    fresh.finish(description="fresh")

    found = {run.info.run_id: run for run in runs(uri)}
    assert found.keys() == {former.run_id, fresh.run_id}
    assert former.run_id is not None and fresh.run_id is not None
    assert points(uri, former.run_id, "entropy") == [(0, 0.5)]
    assert points(uri, fresh.run_id, "entropy") == [(0, 0.25)]
    assert submission.scores is not None
    for tracker, note in ((former, "former"), (fresh, "fresh")):
        run = found[tracker.run_id]
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.note.content"] == note
        assert run.data.metrics["kappa"] == submission.scores.kappa
    assert found[former.run_id].data.tags["dfcbench.key"] != submission.key
    assert found[fresh.run_id].data.tags["dfcbench.key"] == submission.key
    assert opened(Tracker.start(submission.meta, submission.folder, uri)).run_id == fresh.run_id


def test_run_is_found_by_its_key_when_the_note_is_lost(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    first = Tracker.start(submission.meta, submission.folder, uri)
    first.finish()
    (submission.folder / "tracking.json").unlink()
    second = Tracker.start(submission.meta, submission.folder, uri)
    second.finish()
    assert [run.info.run_id for run in runs(uri)] == [first.run_id] == [second.run_id]


def test_note_of_another_key_is_not_followed(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    first = opened(Tracker.start(submission.meta, submission.folder, uri))
    second = opened(Tracker.start(made_meta(seed=1), submission.folder, uri))
    assert first.run_id != second.run_id


def test_failed_run_says_so(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    (submission.folder / "failure.json").write_text("{}")
    Tracker.start(submission.meta, submission.folder, uri).fail("the method raised ValueError")
    (run,) = runs(uri)
    assert run.info.status == "FAILED"
    assert run.data.tags["mlflow.note.content"] == "the method raised ValueError"
    Tracker.start(submission.meta, submission.folder, uri).fail("interrupted", interrupted=True)
    assert [run.info.status for run in runs(uri)] == ["KILLED"]


def test_failure_after_the_end_leaves_a_recorded_run_finished(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    Tracker.start(submission.meta, submission.folder, uri).finish(description="| class |")
    (before,) = runs(uri)
    for interrupted in (False, True):
        tracker = opened(Tracker.start(submission.meta, submission.folder, uri))
        assert [run.info.status for run in runs(uri)] == ["FINISHED"]
        tracker.fail("no room for probabilities", interrupted=interrupted)
        (after,) = runs(uri)
        assert (after.info.status, after.info.end_time) == ("FINISHED", before.info.end_time)
        assert after.data.tags["mlflow.note.content"] == "| class |"


def test_failure_after_the_end_records_the_finished_folder_whole(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    Tracker.start(submission.meta, submission.folder, uri).fail("no room for probabilities")
    (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    assert submission.scores is not None
    assert run.data.metrics["kappa"] == submission.scores.kappa


def test_finished_folder_of_another_key_hides_no_failure(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    Tracker.start(made_meta(seed=1), submission.folder, uri).fail("the method raised ValueError")
    assert [run.info.status for run in runs(uri)] == ["FAILED"]


def test_live_metric_does_not_hide_a_score(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    tracker = Tracker.start(submission.meta, submission.folder, uri)
    tracker.metrics({"kappa": 17.0, "odd name? / ../x": 1.0}, step=100)
    tracker.finish()
    (run,) = runs(uri)
    assert submission.scores is not None
    assert run.data.metrics["kappa"] == submission.scores.kappa
    assert run.data.metrics["method/kappa"] == 17.0
    assert run.data.metrics["odd name_/x"] == 1.0


def test_long_and_odd_parameters_are_taken(tmp_path: Path, uri: str) -> None:
    parameters: dict[str, Any] = {"long": "x" * 9000, "a&b": None, "nested": {"deep": {"er": 0.5}}, "empty": {}}
    parameters |= {f"p{i}": i for i in range(150)}
    submission = made_submission(tmp_path, parameters=parameters)
    Tracker.start(submission.meta, submission.folder, uri).finish()
    (run,) = runs(uri)
    params = run.data.params
    assert len(params["long"]) == 6000
    assert (params["a_b"], params["nested.deep.er"], params["p149"]) == ("null", "0.5", "149")


def test_many_metrics_cost_the_method_little(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    tracker = Tracker.start(submission.meta, submission.folder, uri)
    start = time.process_time()
    for step in range(3000):
        tracker.metrics({"bound": float(step)}, step)
    tracker.finish()
    assert time.process_time() - start < 10
    (run,) = runs(uri)
    assert len(points(uri, run.info.run_id, "bound")) == 3000


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("kind", ["no server", "no database", "no directory", "no such scheme", "file store"])
def test_unusable_store_costs_one_warning(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "text.db").write_text("this is no database")
    uri = {
        "no server": f"http://user:secret@127.0.0.1:{unused_port()}",
        "no database": f"sqlite:///{tmp_path}/text.db",
        "no directory": f"sqlite:///{tmp_path}/absent/mlflow.db",
        "no such scheme": "nonsense://somewhere",
        "file store": (tmp_path / "mlruns").as_uri(),
    }[kind]
    submission = made_submission(tmp_path)
    start = time.perf_counter()
    with caplog.at_level(logging.INFO, logger="dfcbench"):
        tracker = Tracker.start(submission.meta, submission.folder, uri)
        tracker.metrics({"bound": 1.0})
        tracker.finish()
        tracker.fail("too late")
    assert time.perf_counter() - start < 15
    assert not tracker.active
    (record,) = [r for r in caplog.records if r.name == "dfcbench"]
    assert "dfcbench track sync" in record.getMessage()
    assert "secret" not in record.getMessage()
    with pytest.raises(DfcbenchError, match="cannot be used"):
        sync(tmp_path, uri)


def test_server_that_never_answers_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 1.0)
    submission = made_submission(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.perf_counter()
        tracker = Tracker.start(submission.meta, submission.folder, f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracker.metrics({"bound": 1.0})
        tracker.finish()
        assert time.perf_counter() - start < 5
    assert [r.name for r in caplog.records if r.levelno == logging.WARNING and r.name == "dfcbench"] == ["dfcbench"]


def test_mlflow_that_cannot_be_imported_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    submission = made_submission(tmp_path)
    Tracker.start(submission.meta, submission.folder, f"sqlite:///{tmp_path}/mlflow.db").finish()
    assert len([r for r in caplog.records if r.name == "dfcbench"]) == 1


def test_store_that_breaks_midway_is_caught_up_by_sync(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    submission = made_submission(tmp_path)
    write_metrics(submission.folder, 0, 1)
    tracker = opened(Tracker.start(submission.meta, submission.folder, uri))
    with monkeypatch.context() as patch:

        def broken(*_: object, **__: object) -> None:
            raise OSError("disk full")

        assert tracker._store is not None
        patch.setattr(tracker._store, "log_points", broken)
        tracker.metrics({"bound": -0.1}, step=2)
        tracker.finish()
    assert len([r for r in caplog.records if "disk full" in r.getMessage()]) == 1
    assert [run.info.status for run in runs(uri)] == ["RUNNING"]
    write_metrics(submission.folder, 0, 1, 2)
    report = sync(tmp_path, uri)
    assert report.recorded == (submission.folder,)
    (run,) = runs(uri)
    assert run.info.run_id == tracker.run_id
    assert run.info.status == "FINISHED"
    assert [step for step, _ in points(uri, run.info.run_id, "bound")] == [0, 1, 2]


def test_sync_records_once_with_history_and_hides_nothing(tmp_path: Path, uri: str) -> None:
    root = tmp_path / "submissions"
    good = made_submission(root, run="good")
    write_metrics(good.folder, 0, 1, 5)
    unscored = made_submission(root, run="unscored", quality=None, seed=1)
    made_submission(root, run="broken", seed=2).folder.joinpath("scores.json").write_text("{")
    made_submission(root, run="failed", seed=3).folder.joinpath("failure.json").write_text("{}")
    seen: list[tuple[int, int]] = []

    def describe(submission: Submission) -> str:
        return f"note of {submission.folder.name}"

    first = sync(root, uri, describe=describe, progress=lambda done, total: seen.append((done, total)))
    assert first.recorded == (good.folder, unscored.folder)
    assert [problem.folder.name for problem in first.problems] == ["broken"]
    assert seen[-1] == (2, 2)
    second = sync(root, uri)
    assert (second.recorded, second.present) == ((), first.recorded)
    found = {run.data.tags["dfcbench.key"]: run for run in runs(uri)}
    assert len(runs(uri)) == len(found) == 2
    run = found[good.key]
    assert [step for step, _ in points(uri, run.info.run_id, "bound")] == [0, 1, 5]
    assert run.info.start_time == 1_000_000
    assert run.data.tags["mlflow.note.content"] == "note of good"
    assert "average_accuracy" not in found[unscored.key].data.metrics


def test_tracker_and_sync_do_not_double_a_run(tmp_path: Path, uri: str) -> None:
    submission = made_submission(tmp_path)
    Tracker.start(submission.meta, submission.folder, uri).finish()
    assert sync(tmp_path, uri).present == (submission.folder,)
    assert len(runs(uri)) == 1


def test_note_in_the_folder_holds_no_password() -> None:
    assert tracking_store.safe("postgresql://me:secret@host:1/db") == "postgresql://host:1/db"
    assert tracking_store.safe("sqlite:////data/a@b.db") == "sqlite:////data/a@b.db"


def test_store_is_the_one_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere:5000")
    assert store_uri() == "http://somewhere:5000"
    assert store_uri("sqlite:////else.db") == "sqlite:////else.db"
    assert ui_command(port=5001, host="0.0.0.0")[1:] == ["-m", "webbrowser", "http://somewhere:5000"]
    command = ui_command("sqlite:////else.db", 5001, "::1")
    assert command[1:6] == ["-m", "mlflow", "ui", "--backend-store-uri", "sqlite:////else.db"]
    assert command[-4:] == ["--port", "5001", "--host", "::1"]


def test_a_new_store_is_made_without_a_word_and_mlflow_is_imported_late(tmp_path: Path) -> None:
    meta = json.dumps(made_meta())
    code = f"""
import json, logging, sys
from pathlib import Path
from dfcbench.tracking import Tracker
assert "mlflow" not in sys.modules
logging.basicConfig(level=logging.INFO)
tracker = Tracker.start(json.loads({meta!r}), Path("run"), "sqlite:///mlflow.db")
tracker.metrics({{"bound": 1.0}})
tracker.fail("enough")
assert tracker.active
assert not logging.getLogger("dfcbench").disabled
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "mlflow.db").exists()
    assert not (tmp_path / "mlruns").exists()
