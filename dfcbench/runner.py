"""plan -> fit -> predict -> score: the only room that calls a method; resume lives here.

A run's folder holds, while it is under way, ``work/`` (what the method keeps, checkpoints, which stages are done) and
the maps written so far. The last thing written is submission.json with status ``finished``; before that, the run is no
result. Every file is written atomically, so a kill at any moment leaves a folder from which the same command goes on.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dfcbench import rasters
from dfcbench.answers import checked
from dfcbench.contest import ContestView
from dfcbench.errors import DataError, DfcbenchError, MethodCrash, SubmissionError, UsageError
from dfcbench.feedback import Feedback
from dfcbench.files import (
    append_lines,
    disk_refuses,
    unwritable,
    write_json,
)
from dfcbench.learned import damaged, mark_whole
from dfcbench.mapped import MapLedger
from dfcbench.maps import (
    SubmissionMaps,
    as_probabilities,
    map_path,
    probabilities_path,
    write_labels,
    write_probabilities,
)
from dfcbench.method import FEEDBACK_LIMIT, Method, Prediction, RunContext
from dfcbench.packing import pack_where_it_pays, packed_folder
from dfcbench.patches import Patch, PatchSet
from dfcbench.plan import Plan, Ready
from dfcbench.records import label_name
from dfcbench.run_folder import LEDGER, LOG, held, record_failure, set_aside, told_of_the_disk
from dfcbench.scoring import Confusion, confusion_matrix
from dfcbench.sealing.engaging import engaged
from dfcbench.sealing.marks import mark
from dfcbench.sealing.places import hidden_places
from dfcbench.states import HALF_UNSEALED, MAPLESS, REMAKE, UNSEALED, WORK, lacks_probabilities, state
from dfcbench.submission import (
    ARTIFACTS,
    FAILURE,
    FINISHED,
    FITTED,
    FITTED_MARK,
    METRICS,
    Submission,
    write_scores,
    write_submission,
)

log = logging.getLogger("dfcbench")

TIMING = "timing.json"
MAPPED = "mapped.txt"
"""In ``work/``: checksums of the maps written so far."""


class Observer(Protocol):
    """Who watches a run: the terminal, MLflow, or nobody."""

    def stage(self, name: str) -> None:
        """A stage begins: pack, fit, predict or score."""

    def advance(self, label: str, done: int, total: int | None) -> None:
        """Work called ``label`` has got to ``done`` of ``total``."""

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        """The method logged these."""


def execute(
    plan: Plan,
    observer: Observer,
    *,
    rerun: bool = False,
    keep_probabilities: bool = False,
    started: Callable[[], None] | None = None,
    illustrate: Callable[[Plan, Submission], None] | None = None,
    conclude: Callable[[Submission], None] | None = None,
    moved: Callable[[Path], None] | None = None,
) -> Submission:
    """Run the plan, or go on with it where it stopped; a finished run is returned as it is unless ``rerun``.

    What was made without the seal that the plan asks for is set aside as for ``rerun``, and the run begins anew.
    A finished run without its maps is run again in its place: its scores and its submission.json stay what they are, and
    count, until the new ones are there to take their place, however often the run fails or is broken off.
    The plans that it builds upon must be finished (see ``order``). With ``keep_probabilities``, those that are missing
    are made up for from what was fitted, also of a finished run. ``started`` is called once the run is this process's
    own; ``illustrate`` may add files to the submission's artifacts before it counts as finished, ``conclude`` afterwards,
    while no other process can be at the run; ``moved`` is told the folder to which ``rerun`` moved the former run.
    Raises UsageError if another process is at the same run, MethodCrash if the method raises, ContractError if it breaks
    its contract, DataError if the folder cannot be written.
    """
    folder = plan.folder
    with held(folder):
        found = state(plan)
        aside = set_aside(folder) if rerun or found in (UNSEALED, HALF_UNSEALED) else None
        if aside is not None and moved is not None:
            moved(aside)
        if started is not None:
            started()
        found = state(plan)
        _require_seal(plan, found, more=keep_probabilities)
        if found == "finished":
            shutil.rmtree(folder / WORK, ignore_errors=True)
            if keep_probabilities and lacks_probabilities(plan):
                _Run(plan, observer, keep_probabilities).map_patches()
                shutil.rmtree(folder / WORK, ignore_errors=True)
        else:
            (folder / FAILURE).unlink(missing_ok=True)
            try:
                with told_of_the_disk(folder):
                    _Run(plan, observer, keep_probabilities, remake=found == MAPLESS).go(illustrate)
            except DfcbenchError as error:
                log.error("%s", error, exc_info=error)
                if found != MAPLESS:  # its former result stands
                    record_failure(folder, error)
                raise
        submission = Submission(folder)
        if conclude is not None:
            conclude(submission)
    return submission


def _require_seal(plan: Plan, found: str, *, more: bool) -> None:
    """Raise UsageError if something would be added to a sealed run's result by one that is not."""
    if plan.sealed is not None or found not in ("finished", MAPLESS) or Submission(plan.folder).sealed is None:
        return
    if found == MAPLESS or (more and lacks_probabilities(plan)):
        raise UsageError(
            f"{plan.folder}: is a sealed run, of which maps are missing. Add --sealed to make them, or --if-exists rerun to "
            "replace it by a run without a seal."
        )


class _Run:
    def __init__(self, plan: Plan, observer: Observer, keep_probabilities: bool, *, remake: bool = False) -> None:
        self.plan = plan
        self.observer = observer
        self.folder = plan.folder
        self.work = plan.folder / WORK
        self.method = plan.method
        self.remake = remake
        self.metrics = _MetricsFile((self.work if remake else self.folder) / METRICS, observer)
        self.timing = _Timing(self.work / TIMING)
        self.ledger = MapLedger(self.work / MAPPED)
        self.keep_probabilities = keep_probabilities

    def go(self, illustrate: Callable[[Plan, Submission], None] | None) -> None:
        plan = self.plan
        log.info("run %s: %s", plan.key, json.dumps(plan.describe()))
        if self.remake and not (self.work / REMAKE).exists():
            write_json(self.work / REMAKE, {"fitted": (self.folder / FITTED / FITTED_MARK).exists()})
        answers = self.map_patches()
        if plan.contest.has_reference:
            with self.timing.stage("score"):
                self.observer.stage("score")
                write_scores(self.folder, self._confusion())
        if illustrate is not None:
            illustrate(plan, Submission(self.folder))
        if not self._fitted_before():
            workers = plan.workers if plan.door is None else plan.door.workers
            write_json(self.folder / TIMING, {"seconds": self.timing.seconds, "workers": workers})
            if self.remake and (self.work / METRICS).exists():
                (self.work / METRICS).replace(self.folder / METRICS)
        answered = {} if answers is None else {"feedback": {"answers": answers, "limit": FEEDBACK_LIMIT}}
        write_submission(self.folder, {**plan.describe(), **answered, "status": FINISHED})
        shutil.rmtree(self.work, ignore_errors=True)

    def _fitted_before(self) -> bool:
        """Whether only maps are made again: what the former run logged, and the time it took, then stay."""
        told = self.work / REMAKE
        return self.remake and bool(json.loads(told.read_text(encoding="utf-8"))["fitted"])

    def map_patches(self) -> int | None:
        """Fit, unless that is done, and predict what is missing; how many answers the server gave, if one was asked."""
        contest = self.plan.contest
        feedback = Feedback(contest.reference, self.folder / LEDGER) if self.plan.needs.feedback else None
        view = contest.view(self.plan.needs, self._packed, feedback)
        run = self._context()
        mark(self.work, self.plan.sealed)
        try:
            with self._at_work(view, run) as self.method:
                with self.timing.stage("fit"):
                    self._fit(view, run)
                with self.timing.stage("predict"):
                    self._predict(view.to_predict(), run)
        finally:
            self.metrics.flush()
        return None if feedback is None else FEEDBACK_LIMIT - feedback.remaining

    def _at_work(self, view: ContestView, run: RunContext) -> AbstractContextManager[Method]:
        """The method itself or, sealed, what speaks to its process."""
        if self.plan.seal is None:
            return nullcontext(self.plan.method)
        hidden = hidden_places(self.plan.contest.archive, self.plan.submissions)
        artifacts, fitted = self.folder / ARTIFACTS, self.folder / FITTED
        return engaged(
            self.plan.method, view, run, self.metrics, hidden, fitted=fitted, work=self.work, artifacts=artifacts
        )

    def _context(self) -> RunContext:
        return RunContext(
            seed=self.plan.seed,
            device=self.plan.device,
            workers=self.plan.workers,
            scratch=self.work / "scratch",
            artifacts=self.folder / ARTIFACTS,
            reporter=self.metrics,
            parts={name: self._maps_of(part) for name, part in self.plan.parts.items()},
            door=self.plan.door,
        )

    def _maps_of(self, part: Plan | Ready) -> SubmissionMaps:
        """Raises SubmissionError if the part is not finished."""
        if not Submission(part.folder).finished:
            raise SubmissionError(f"{part.folder}: {self.method.name} builds upon this run, which is not finished.")
        ids = part.contest.scored.ids if isinstance(part, Plan) else self.plan.contest.scored.ids
        return SubmissionMaps(part.folder, ids)

    def _packed(self, patches: PatchSet, split: str) -> PatchSet:
        self.observer.stage("pack")
        fingerprint = self.plan.contest.archive.fingerprint(split)
        with self.timing.stage("pack"):
            return pack_where_it_pays(
                patches,
                packed_folder(split, fingerprint),
                lambda done, total: self.observer.advance(f"packing {split}", done, total),
                self.plan.door,
            )

    def _fit(self, view: ContestView, run: RunContext) -> None:
        fitted = self.folder / FITTED
        done = fitted / FITTED_MARK
        if done.exists():
            try:
                if lost := damaged(fitted, done):
                    raise ValueError(f"{lost} is damaged")
                self.method.load(fitted)
                return
            except Exception as error:
                log.warning("%s: what fit learned cannot be loaded (%s); fitting anew.", fitted, error)
                if self.plan.seal is None:  # a sealed one has begun anew by itself
                    self.method = self.plan.loaded.method(self.plan.params)
        done.unlink(missing_ok=True)
        self.observer.stage("fit")
        with self._guarded("fit"):
            self.method.fit(view, run)
        fitted.mkdir(parents=True, exist_ok=True)
        with self._guarded("save"):
            self.method.save(fitted)
        mark_whole(fitted, done)

    def _predict(self, patches: PatchSet, run: RunContext) -> None:
        self.observer.stage("predict")
        wanted = {patch.id: patch for patch in self.plan.contest.scored if not self._is_mapped(patch.id)}
        finished = len(patches) - len(wanted)
        label = "predicting"
        self.observer.advance(label, finished, len(patches))
        if not wanted:
            return
        with self._guarded("predict"):
            predictions = self.method.predict(patches.select(list(wanted)), run)
            for answer in checked(predictions, wanted, self.method.name, patches.ids):
                self._write(*answer)
                finished += 1
                self.observer.advance(label, finished, len(patches))

    def _is_mapped(self, patch_id: str) -> bool:
        if self.keep_probabilities and not self.ledger.sound(probabilities_path(self.folder, patch_id)):
            return False
        return self.ledger.sound(map_path(self.folder, patch_id))

    def _write(self, patch: Patch, prediction: Prediction, labels: NDArray[np.uint8]) -> None:
        if self.keep_probabilities:
            values = np.asarray(prediction.values)
            values = values if values.ndim == 3 else as_probabilities(labels)
            write_probabilities(self.folder, patch.id, values, patch.georeference)
            self.ledger.note(probabilities_path(self.folder, patch.id))
        if not map_path(self.folder, patch.id).exists():
            write_labels(self.folder, patch.id, labels, patch.georeference)
            self.ledger.note(map_path(self.folder, patch.id))

    def _confusion(self) -> Confusion:
        reference, folder = self.plan.contest.reference, self.folder

        def count(patch: Any) -> tuple[str, Any]:
            high, labels = patch.high, rasters.read(map_path(folder, patch.id))[0]
            if high.shape != labels.shape:
                raise DataError(
                    f"{label_name(patch.id)}: has {high.shape} pixels, the images of that patch {labels.shape}. "
                    "`dfcbench data verify` lists such files."
                )
            return patch.id, confusion_matrix(high, labels)

        run = RunContext(workers=self.plan.workers, reporter=self.metrics, door=self.plan.door)
        return Confusion.collect(run.map(count, reference, label="scoring"))

    @contextmanager
    def _guarded(self, call: str) -> Iterator[None]:
        """A method's own exception becomes MethodCrash, told apart from the harness's errors that pass through it."""
        try:
            yield
        except (DfcbenchError, KeyboardInterrupt):
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, OSError) and disk_refuses(error):
                raise unwritable(Path(error.filename or self.folder), error) from error
            log.exception("%s.%s failed", self.method.name, call)
            raise MethodCrash(
                f"{self.method.name}.{call} raised {type(error).__name__}: {error}. The traceback is in "
                f"{self.folder / LOG}. Maps written so far are kept; the same command goes on from there."
            ) from error


class _MetricsFile:
    """Passes progress on, and appends what the method logs to metrics.jsonl.

    Each call is handed to the system at once, not to the disk: a killed process loses none of it, as a checkpoint saved
    right after it would not be asked for these steps again.
    """

    def __init__(self, path: Path, observer: Observer) -> None:
        self._path = path
        self._observer = observer
        self._file: FileIO | None = None

    def advance(self, label: str, done: int, total: int | None) -> None:
        self._observer.advance(label, done, total)

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        now = time.time()
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for name in values.keys() - finite.keys():  # JSON has no word for them
            log.warning("metric %s is %s at step %s; left out.", name, values[name], step)
        entries = [
            {"name": name, "value": value, "step": step, "time": round(now, 3)} for name, value in finite.items()
        ]
        self._append("".join(json.dumps(entry) + "\n" for entry in entries))
        self._observer.metrics(finite, step)

    def flush(self) -> None:
        """All is written; let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, lines: str) -> None:
        try:
            if self._file is None and lines:
                append_lines(self._path, "")  # ends a line that a kill cut short
                self._file = self._path.open("ab", buffering=0)
            if self._file is not None:
                self._file.write(lines.encode())
        except OSError as error:
            raise unwritable(self._path, error) from error


class _Timing:
    """Seconds by stage, added up over interruptions; inner stages are not counted in outer ones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.seconds: dict[str, float] = json.loads(path.read_text())
        except (OSError, ValueError):
            self.seconds = {}
        self._inner = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        outer, self._inner = self._inner, 0.0
        start = time.monotonic()
        try:
            yield
        finally:
            elapsed = time.monotonic() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + elapsed - self._inner, 3)
            self._inner = outer + elapsed
            write_json(self._path, self.seconds)
