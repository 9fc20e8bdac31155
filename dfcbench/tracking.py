"""Recording runs in MLflow, live and afterwards.

MLflow is a view of the submission folder. It may be absent, unreachable or broken: a run then ends as well as it would
have, with one warning, and ``sync`` records it later. All calls happen in one background thread and are waited for only
so long, so that no server can hold a run up.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfcbench import tracking_names as names
from dfcbench.background import Worker
from dfcbench.errors import DfcbenchError
from dfcbench.submission import Problem, Submission, find_submissions
from dfcbench.tracking_store import Store, ended, holds_result, reason, safe, started, store_uri, ui_command

__all__ = ["SyncReport", "Tracker", "store_uri", "sync", "ui_command"]

log = logging.getLogger("dfcbench")

FINISH_SECONDS = 120.0
"""Waiting for the store at the end of a run: for what is left to record, artifacts above all."""
_FLUSH_SECONDS = 5.0
_FLUSH_COUNT = 500
Describe = Callable[[Submission], str]


class Tracker:
    """One run in MLflow while it happens. No method raises because of MLflow: the first failure is logged, once."""

    def __init__(self, meta: Mapping[str, Any], folder: Path, uri: str | None = None) -> None:
        self.uri = store_uri(uri)
        self.run_id: str | None = None
        self._meta = meta
        self._folder = folder
        self._points: list[names.Point] = []
        self._steps: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._warned = False
        self._worker = Worker(self._flush, _FLUSH_SECONDS)
        self._store: Store | None = None

    @classmethod
    def start(cls, meta: Mapping[str, Any], folder: Path, uri: str | None = None, *, fresh: bool = False) -> Tracker:
        """Open the store and the run: a new one, or the one in which this folder or this key was recorded before.

        It happens in the background, as importing MLflow alone takes seconds. ``fresh`` makes a new run in any case;
        the former one of this key keeps its place under another key.
        ``meta`` is the content of submission.json, whatever its status. What metrics.jsonl holds at this moment and the
        store lacks (a killed run's last seconds) is added; steps are counted on from there. So call it before the run
        logs anything, and only while no other process is at the run.
        """
        tracker = cls(meta, folder, uri)
        try:
            history = [] if fresh else names.history(Submission(folder), tracker._steps)
        except Exception as error:
            tracker._warn(error)
        else:
            tracker._worker.post(lambda: tracker._begin(fresh, history), tracker._warn)
        return tracker

    @property
    def active(self) -> bool:
        """Whether MLflow has worked so far."""
        return not self._warned

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record live metrics: cheap, written a few seconds later. Without a step, each name counts its own."""
        if self._warned:
            return
        now = names.now()
        with self._lock:
            for name, value in values.items():
                self._points.append((names.live_name(name), float(value), now, self._step(name, step)))
            full = len(self._points) >= _FLUSH_COUNT
        if full:
            self._worker.wake()

    def finish(self, folder: Path | None = None, description: str = "") -> None:
        """Record scores and artifacts of the finished folder, and ``description`` (Markdown) as the run's note."""
        submission = Submission(folder or self._folder)

        def work() -> None:
            if self._store and self.run_id:
                self._flush()
                self._store.complete(self.run_id, submission, description)

        self._close(work)

    def fail(self, message: str, *, interrupted: bool = False) -> None:
        """Mark the run as failed, or as interrupted (it may go on later), with ``message`` as its note.

        If the folder holds the finished run all the same (more was to be made of it), the run stays FINISHED, with the
        note that it has.
        """

        def work() -> None:
            if self._store is None or self.run_id is None:
                return
            self._flush()
            if holds_result(self._folder, self._meta):
                if not self._store.holds(self._meta):
                    submission = Submission(self._folder)
                    self._store.complete(self.run_id, submission, "", ended(submission))
                return
            self._store.note(self.run_id, message)
            self._store.terminate(self.run_id, "KILLED" if interrupted else "FAILED")

        self._close(work)

    def _begin(self, fresh: bool, history: Sequence[names.Point]) -> None:
        store = Store(self.uri)
        if fresh:
            store.supersede(self._meta)
        run_id = store.begin(self._meta, self._folder)
        store.add_points(run_id, history)
        self._store, self.run_id = store, run_id

    def _step(self, name: str, step: int | None) -> int:
        self._steps[name] += 1
        return self._steps[name] - 1 if step is None else int(step)

    def _flush(self) -> None:
        if self._store is None or self.run_id is None or self._warned:
            return
        with self._lock:
            points, self._points = self._points, []
        try:
            self._store.log_points(self.run_id, points)
        except Exception as error:
            self._warn(error)

    def _close(self, work: Callable[[], None]) -> None:
        self._do(work, FINISH_SECONDS)
        self._worker.stop()

    def _do(self, work: Callable[[], None], seconds: float) -> None:
        if self._warned:
            return
        try:
            self._worker.do(work, seconds)
        except Exception as error:
            self._warn(error)

    def _warn(self, error: BaseException) -> None:
        with self._lock:
            first, self._warned = not self._warned, True
        if first:
            log.warning(
                "MLflow (%s) does not record this run: %s. The run itself is not affected; "
                "`dfcbench track sync` records it later.",
                safe(self.uri),
                reason(error, self.uri),
            )


@dataclass(frozen=True)
class SyncReport:
    """What ``sync`` did: folders recorded now, folders that were recorded before, and folders that could not be."""

    uri: str
    recorded: tuple[Path, ...]
    present: tuple[Path, ...]
    problems: tuple[Problem, ...]


def sync(
    root: Path,
    uri: str | None = None,
    *,
    describe: Describe | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SyncReport:
    """Record every finished submission under ``root`` that the store does not hold yet, with its metric history.

    Doing it twice adds nothing. ``describe`` gives the Markdown note of a run; ``progress`` is told done and total.
    Raises DfcbenchError if the store itself cannot be used.
    """
    chosen = store_uri(uri)
    submissions, problems = find_submissions(root)
    submissions = _parts_first(submissions)
    recorded, present = [], []
    try:
        store = Store(chosen)
    except Exception as error:
        raise DfcbenchError(f"MLflow at {safe(chosen)} cannot be used: {reason(error, chosen)}.") from error
    for number, submission in enumerate(submissions):
        if progress:
            progress(number, len(submissions))
        try:
            if store.holds(submission.meta):
                present.append(submission.folder)
                continue
            run_id = store.begin(submission.meta, submission.folder, time_ms=started(submission))
            store.add_points(run_id, names.history(submission, Counter()))
            store.complete(run_id, submission, describe(submission) if describe else "", time_ms=ended(submission))
            recorded.append(submission.folder)
        except Exception as error:
            problems.append(Problem(submission.folder, reason(error, chosen)))
    if progress:
        progress(len(submissions), len(submissions))
    return SyncReport(safe(chosen), tuple(recorded), tuple(present), tuple(problems))


def _parts_first(submissions: Sequence[Submission]) -> list[Submission]:
    """Runs in their old order, but after the runs that they are composed of: these are then found, and lie under them."""
    known = {submission.key: submission for submission in submissions}
    ordered: list[Submission] = []
    seen: set[Path] = set()

    def place(submission: Submission) -> None:
        if submission.folder in seen:
            return
        seen.add(submission.folder)
        for key in names.parts(submission.meta):
            if key in known:
                place(known[key])
        ordered.append(submission)

    for submission in submissions:
        place(submission)
    return ordered
