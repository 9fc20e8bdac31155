"""The MLflow store: where it is, and what dfcbench does with it; every call may raise whatever MLflow raises.

This and ``tracking`` are the only rooms that know mlflow, which is imported here, and only once a run is recorded.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dfcbench import tracking_names as names
from dfcbench.errors import DfcbenchError, SubmissionError
from dfcbench.files import write_json
from dfcbench.submission import ARTIFACTS, CONFUSION, META, SCORES, Submission

DEFAULT_URI = "sqlite:///mlflow.db"
"""What a plain ``mlflow ui`` in the same directory opens."""

RECORD = "tracking.json"
"""In the run's folder: which MLflow run goes on when the run is resumed. Of this machine, and no part of the result."""

_CONNECT_SECONDS = 3.0

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Set unless the user has set them: by default MLflow tries an absent server for minutes, and is loud."""

UI_ENVIRONMENT = {**_ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""For the server of ``ui_command``, unless the user has set them: nothing here needs its job queue's processes."""

# MLflow's limits, mlflow.utils.validation (3.x).
_METRICS_PER_BATCH = 1000
_ENTITIES_PER_BATCH = 100
_DIGEST_LENGTH = 36


def store_uri(uri: str | None = None) -> str:
    """Where runs are recorded: ``uri``, else MLFLOW_TRACKING_URI, else an sqlite file in the current directory.

    The path of an sqlite file comes back absolute, so that it means the same from everywhere.
    """
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    path = _sqlite_path(chosen)
    return f"sqlite:///{path}" if path else chosen


def ui_command(uri: str | None = None, port: int | None = None, host: str | None = None) -> list[str]:
    """The command that shows a store: MLflow's own UI, or the browser where the store is a server already."""
    chosen = store_uri(uri)
    if chosen.startswith(("http://", "https://")):
        return [sys.executable, "-m", "webbrowser", chosen]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", chosen, "--workers", "1"]
    command += ["--port", str(port)] if port else []
    return command + (["--host", host] if host else [])


def is_empty(uri: str) -> bool:
    """Whether the store is an sqlite file that is not there yet, or has no run; others are not looked into."""
    path = _sqlite_path(uri)
    if path is None:
        return False
    if not path.exists():
        return True
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            return database.execute("SELECT 1 FROM runs LIMIT 1").fetchone() is None
    except sqlite3.Error:  # of another kind, damaged or locked: for MLflow to tell
        return False


class Store:
    """What dfcbench does with MLflow's client; every method may raise whatever MLflow raises."""

    def __init__(self, uri: str) -> None:
        _require_usable(uri)
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is raised as well; no traceback beside it
        self.uri = uri
        self.client = MlflowClient(tracking_uri=uri)
        self._experiments: dict[str, str] = {}

    def holds(self, meta: Mapping[str, Any]) -> bool:
        """Whether the key is recorded to its end."""
        experiment = self.client.get_experiment_by_name(names.experiment_name(meta))
        run = self._find(experiment.experiment_id, meta) if experiment else None
        return run is not None and run.info.status == "FINISHED"

    def supersede(self, meta: Mapping[str, Any]) -> None:
        """Give the recorded run of this key another key, so that the next one is a run of its own."""
        run = self._find(self._experiment(meta), meta)
        if run is not None:
            mark = f"-before-{run.info.run_id[:8]}"
            self.client.set_tag(run.info.run_id, names.KEY_TAG, f"{meta['key']}{mark}")
            self.client.set_tag(run.info.run_id, names.FAMILY_TAG, f"{names.family(meta)}{mark}")

    def begin(self, meta: Mapping[str, Any], folder: Path, time_ms: int | None = None) -> str:
        """Id of the run of this folder or key; parameters, tags and data set are recorded.

        It is running from now on, unless it is finished in the store and in the folder alike.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

        experiment = self._experiment(meta)
        run = self._noted(folder, meta) or self._find(experiment, meta)
        tags = names.tags(meta)
        if run is None:
            run = self.client.create_run(experiment, start_time=time_ms, run_name=names.run_name(meta), tags=tags)
        else:
            if run.info.status != "FINISHED" or not holds_result(folder, meta):
                self.client.update_run(run.info.run_id, status="RUNNING")
            self.client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        run_id: str = run.info.run_id
        self._nest(experiment, run_id, meta)
        known = run.data.params
        params = [Param(key, value) for key, value in names.parameters(meta).items() if key not in known]
        for some in _parts(params, _ENTITIES_PER_BATCH):
            self.client.log_batch(run_id, params=some)
        data = meta["data"]
        dataset = Dataset(
            name=data["name"],
            digest=data["fingerprint"][:_DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"title": data["title"], "official": data["official"]}),
            profile=json.dumps({"num_rows": data["patches"], "unit": "patches"}),
        )
        self.client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", str(meta["split"]))])])
        if folder.is_dir():
            write_json(folder / RECORD, {"uri": safe(self.uri), "experiment_id": experiment, "run_id": run_id})
        return run_id

    def log_points(self, run_id: str, points: Sequence[names.Point]) -> None:
        from mlflow.entities import Metric

        for some in _parts(points, _METRICS_PER_BATCH):
            self.client.log_batch(run_id, metrics=[Metric(*point) for point in some])

    def add_points(self, run_id: str, points: Sequence[names.Point]) -> None:
        """Record those that the run lacks; a point is known by its name, step and value."""
        known: dict[str, set[tuple[int, float]]] = {}
        held = self.client.get_run(run_id).data.metrics if points else {}
        for name in {point[0] for point in points} & held.keys():
            known[name] = {(m.step, m.value) for m in self.client.get_metric_history(run_id, name)}
        self.log_points(run_id, [p for p in points if (p[3], p[1]) not in known.get(p[0], set())])

    def complete(self, run_id: str, submission: Submission, description: str, time_ms: int | None = None) -> None:
        """Scores, artifacts and note; the status comes last, so that a run that says FINISHED is whole."""
        now = time_ms or names.now()
        if submission.scores is not None:
            values = names.metric_values(submission.scores)
            self.add_points(run_id, [(name, value, now, 0) for name, value in values.items()])
        for file in (META, SCORES, CONFUSION):
            if (submission.folder / file).exists():
                self.client.log_artifact(run_id, str(submission.folder / file))
        artifacts = submission.folder / ARTIFACTS
        if artifacts.is_dir() and any(artifacts.iterdir()):
            self.client.log_artifacts(run_id, str(artifacts), ARTIFACTS)
        self.note(run_id, description)
        self.terminate(run_id, "FINISHED", time_ms)

    def terminate(self, run_id: str, status: str, time_ms: int | None = None) -> None:
        """Give the run its last status; it ends no earlier than it began, whatever the clock did in between."""
        began = self.client.get_run(run_id).info.start_time or 0
        self.client.set_terminated(run_id, status, max(time_ms or names.now(), began))

    def note(self, run_id: str, text: str) -> None:
        if text:
            self.client.set_tag(run_id, "mlflow.note.content", text[: names.TAG_LENGTH])

    def _experiment(self, meta: Mapping[str, Any]) -> str:
        from mlflow.exceptions import MlflowException

        name = names.experiment_name(meta)
        if name not in self._experiments:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                try:
                    self._experiments[name] = self.client.create_experiment(
                        name, _artifact_location(self.uri, name), tags=names.EXPERIMENT_TAGS
                    )
                    return self._experiments[name]
                except MlflowException:  # another process was faster
                    found = self.client.get_experiment_by_name(name)
                    if found is None:
                        raise
            if found.lifecycle_stage != "active":
                raise DfcbenchError(
                    f"the experiment '{name}' was deleted there; restore it, or remove it with `mlflow gc`"
                )
            self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def _nest(self, experiment: str, run_id: str, meta: Mapping[str, Any]) -> None:
        """The parts of a composed run lie under it, unless they lie elsewhere; other seeds lie under the first run."""
        for key in names.parts(meta):
            part = self._find(experiment, {"key": key})
            if part is not None and names.PARENT_TAG not in part.data.tags:
                self.client.set_tag(part.info.run_id, names.PARENT_TAG, run_id)
        relatives = f"tags.`{names.FAMILY_TAG}` = '{names.family(meta)}'"
        first = self.client.search_runs(
            [experiment], relatives, max_results=1, order_by=["attributes.start_time ASC", "attributes.run_id ASC"]
        )
        if first and first[0].info.run_id != run_id:
            self.client.set_tag(run_id, names.PARENT_TAG, first[0].info.run_id)

    def _find(self, experiment: str, meta: Mapping[str, Any]) -> Any:
        key = re.sub(r"[^\w.-]", "", str(meta["key"]))
        found = self.client.search_runs([experiment], f"tags.`{names.KEY_TAG}` = '{key}'", max_results=1)
        return found[0] if found else None

    def _noted(self, folder: Path, meta: Mapping[str, Any]) -> Any:
        """The run that the folder's own note names, if it is of this store, not deleted, and of this key."""
        with contextlib.suppress(Exception):
            note = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if note["uri"] == safe(self.uri):
                run = self.client.get_run(note["run_id"])
                if run.info.lifecycle_stage == "active" and run.data.tags.get(names.KEY_TAG) == meta["key"]:
                    return run
        return None


def holds_result(folder: Path, meta: Mapping[str, Any]) -> bool:
    """Whether the folder holds the finished run of this key."""
    submission = Submission(folder)
    try:
        return submission.finished and submission.key == meta["key"]
    except SubmissionError:
        return False


def started(submission: Submission) -> int:
    first = next(iter(names.history(submission, Counter())), None)
    return min(ended(submission), first[2]) if first else ended(submission)


def ended(submission: Submission) -> int:
    return int((submission.folder / META).stat().st_mtime * 1000)


def _artifact_location(uri: str, experiment: str) -> str | None:
    """Beside the sqlite file; a server, or another database, decides for itself."""
    path = _sqlite_path(uri)
    return (path.parent / "mlartifacts" / experiment).as_uri() if path else None


def _require_usable(uri: str) -> None:
    """Find quickly what MLflow would try again and again: a file that is no database, a server that is not there."""
    path = _sqlite_path(uri)
    if path is not None:
        if not path.parent.is_dir():
            raise DfcbenchError(f"there is no directory {path.parent}")
        if path.is_dir() or (path.exists() and path.stat().st_size and path.open("rb").read(15) != b"SQLite format 3"):
            raise DfcbenchError(f"{path} is no sqlite database; move it away, or set MLFLOW_TRACKING_URI")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise DfcbenchError(f"{path} cannot be written")
    elif uri.startswith(("http://", "https://")):
        parts = urlsplit(uri)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), _CONNECT_SECONDS).close()


def _sqlite_path(uri: str) -> Path | None:
    name = uri.removeprefix("sqlite:///")
    return None if name == uri or not name or name == ":memory:" or "?" in name else Path(name).absolute()


def safe(uri: str) -> str:
    """The URI without a password."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def reason(error: BaseException, uri: str) -> str:
    if isinstance(error, SubmissionError):
        return str(error)
    lines = str(error).replace(uri, safe(uri)).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return (text if isinstance(error, DfcbenchError) else f"{type(error).__name__}: {text}")[:300].rstrip(".")


def _parts(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
