"""Submission folders: the truth of a run on disk, from which MLflow and the boards can be rebuilt.

``submissions/track1/<method>/<run>/`` holds submission.json (what was run on what), scores.json and confusion.npz
(where the split has reference labels), metrics.jsonl (what the method logged), predictions/, artifacts/. A run counts
if its submission.json says ``finished`` and no failure.json lies beside it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dfcbench.errors import SubmissionError
from dfcbench.files import write_json
from dfcbench.scoring import Confusion, Scores

FORMAT = 1
"""Version of submission.json."""

META = "submission.json"
SCORES = "scores.json"
CONFUSION = "confusion.npz"
METRICS = "metrics.jsonl"
FAILURE = "failure.json"
ARTIFACTS = "artifacts"
PAGE = "page.html"
"""In the artifacts: the run's own page."""
PREDICTIONS = "predictions"
PROBABILITIES = "probabilities"
FITTED = "fitted"
FITTED_MARK = "complete.json"
"""In ``fitted/`` once all that was learned is there."""

FINISHED = "finished"

TUNED_BADGE = "leaderboard-tuned"
"""Of runs that asked the contest's server for scores of the split that they are scored on."""

RECONSTRUCTION_BADGE = "reconstruction"
"""Of methods that re-implement an entry of which little is public."""

MAPS_BADGE = "maps only"
"""Of maps that were made elsewhere: nothing is known of how they came about."""

_TOLERANCE = 1e-9
"""Largest difference between stored scores and those computed anew: rounding of intervals, nothing more."""

_MOST_SHOWN = 60
"""Characters of a wrong value that a message repeats."""
_MOST_PATCHES = 10**9
"""Of a split: SEN12MS, the largest, has 180,662."""

_MLFLOW_FOLDERS = ("mlartifacts", "mlruns")
"""They hold copies of submissions, which must not count twice."""

_SCHEMA: dict[str, Any] = {
    "key": str,
    "status": str,
    "track": int,
    "split": str,
    "method": {"name": str, "version": str},
    "parameters": dict,
    "seed": int,
    "badges": list,
    "data": {"name": str, "title": str, "official": bool, "fingerprint": str, "patches": int},
}
"""What every submission.json must have; it may have more."""

_TEXT_OR_NONE = (str, type(None))
_OPTIONAL: dict[str, Any] = {
    "preset": _TEXT_OR_NONE,
    "overrides": dict,
    "needs": {"inputs": list},
    "parts": dict,
    "feedback": dict,
    "software": dict,
    "commit": _TEXT_OR_NONE,
    "device": _TEXT_OR_NONE,
    "method": {"summary": str, "citation": str, "origin": str, "source_digest": _TEXT_OR_NONE, "reconstruction": bool},
    "data": {"limit": (int, type(None)), "depends_on": dict},
}
"""What it may have besides, and is looked at: of these types, as it may come from strangers."""


@dataclass(frozen=True)
class Submission:
    """One run's folder. Content is read when asked for, and once; SubmissionError names the file that is at fault."""

    folder: Path

    @cached_property
    def meta(self) -> Mapping[str, Any]:
        """The content of submission.json, checked for what the harness needs."""
        path = self.folder / META
        value = _read_json(path)
        _require(value, where=str(path))
        return dict(value)

    @cached_property
    def scores(self) -> Scores | None:
        """The content of scores.json; None if the run was not scored, because its split has no reference labels.

        Raises SubmissionError if only one of scores.json and confusion.npz is there.
        """
        path = self.folder / SCORES
        scored, counted = path.exists(), (self.folder / CONFUSION).exists()
        if counted and not scored:
            raise SubmissionError(f"{path}: missing beside {CONFUSION}. Score the run again.")
        if scored and not counted:
            raise SubmissionError(f"{self.folder / CONFUSION}: missing beside {SCORES}. Run the method again.")
        return Scores.from_json(_read_json(path), where=str(path)) if scored else None

    @cached_property
    def confusion(self) -> Confusion:
        """One confusion matrix per patch."""
        return Confusion.load(self.folder / CONFUSION)

    @property
    def finished(self) -> bool:
        """Whether the run ended well."""
        return self.meta["status"] == FINISHED and not (self.folder / FAILURE).exists()

    @property
    def key(self) -> str:
        """The hash of all that decides a run's result."""
        return str(self.meta["key"])

    @property
    def sealed(self) -> str | None:
        """How the method was kept from what the track hides, ``kernel`` or ``process``; None if it was not."""
        seal = self.meta.get("sealed")
        return seal if isinstance(seal, str) else None

    @property
    def reconstruction(self) -> bool:
        """Whether its method re-implements an entry of which little is public; runs that do not say so are of none."""
        return self.meta["method"].get("reconstruction") is True

    @property
    def changes(self) -> str:
        """The parameters that were given and differ from the preset's, as the command line takes them, such as
        ``inputs=s1+s2 trees=10``."""
        return " ".join(f"{key}={_plain(value)}" for key, value in sorted(self.meta.get("overrides", {}).items()))

    @property
    def partial(self) -> bool:
        """Whether only some of the split's patches were asked for."""
        return self.meta["data"].get("limit") is not None

    def metric_history(self) -> Iterator[Mapping[str, Any]]:
        """What the method logged: ``name``, ``value``, ``step`` and ``time`` (seconds) of each line of metrics.jsonl.

        A line cut short by a kill is passed over.
        """
        path = self.folder / METRICS
        if not path.exists():
            return
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict) and isinstance(entry.get("name"), str) and _is_number(entry.get("value")):
                    yield entry

    def check(self) -> None:
        """Raise SubmissionError, with every fault found, unless the folder agrees with itself.

        Scores must follow from confusion.npz, and the number of patches must be the one that submission.json tells.
        """
        faults = []
        scores = self.scores
        if scores is not None:
            faults += _differences(scores.to_json(), Scores.of(self.confusion).to_json())
            data = self.meta["data"]
            expected = min(data["patches"], data["limit"]) if self.partial else data["patches"]
            if scores.patches != expected:
                faults.append(f"{scores.patches} patches are scored, {META} promises {expected}")
        if faults:
            raise SubmissionError(f"{self.folder}: {'; '.join(faults)}. Score or run it again.")


@dataclass(frozen=True)
class Problem:
    """A folder that looks like a submission and cannot be read."""

    folder: Path
    reason: str


def find_submissions(
    root: Path, track: int | None = None, split: str | None = None
) -> tuple[list[Submission], list[Problem]]:
    """Finished submissions under ``root``, in the order of their paths, and the folders that could not be read.

    Unfinished and failed runs are neither. A folder whose scores do not follow from its confusion matrices counts as one
    that could not be read. A broken folder hides no other. An absent root holds nothing.
    """
    found: list[Submission] = []
    problems: list[Problem] = []
    for folder in _folders(Path(root)):
        submission = Submission(folder)
        try:
            meta = submission.meta
            wanted = track in (None, meta["track"]) and split in (None, meta["split"])
            if wanted and submission.finished:
                submission.check()
                found.append(submission)
        except SubmissionError as error:
            problems.append(Problem(folder, str(error)))
    return found, problems


def write_submission(folder: Path, meta: Mapping[str, Any]) -> Submission:
    """Write submission.json, the same bytes for the same ``meta``; SubmissionError if a needed entry is missing.

    ``format`` is added. Returns a fresh Submission, which has read nothing yet.
    """
    value = {**meta, "format": FORMAT}
    _require(value, where=str(folder / META))
    write_json(folder / META, value)
    return Submission(folder)


def write_scores(folder: Path, confusion: Confusion) -> Scores:
    """Write confusion.npz and the scores.json that follows from it."""
    confusion.save(folder / CONFUSION)
    return rescore(Submission(folder))


def rescore(submission: Submission) -> Scores:
    """Compute scores.json anew from confusion.npz, write and return it."""
    scores = Scores.of(submission.confusion)
    write_json(submission.folder / SCORES, scores.to_json())
    return scores


def _folders(root: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(root):
        if META in files:
            folders.clear()
            yield Path(path)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _MLFLOW_FOLDERS)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SubmissionError(f"{path}: no such file. Name the folder of a finished run.") from error
    except (OSError, ValueError) as error:
        raise SubmissionError(
            f"{path}: cannot be read as JSON ({error}). Run the method again to replace it."
        ) from error


def _require(value: Any, where: str) -> None:
    if not isinstance(value, Mapping):
        raise SubmissionError(f"{where}: holds {type(value).__name__}, not the description of a run.")
    if value.get("format") != FORMAT:
        raise SubmissionError(
            f"{where}: format {value.get('format')!r}; this dfcbench reads format {FORMAT}. Use the one that wrote it."
        )
    faults = list(_missing(value, _SCHEMA))
    if not faults:
        faults = list(_missing(value, _OPTIONAL, optional=True)) or list(_ill_typed_entries(value))
    if faults:
        raise SubmissionError(f"{where}: {', '.join(faults)}. Run the method again to replace it.")


def _missing(
    value: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = "", *, optional: bool = False
) -> Iterator[str]:
    for name, kind in schema.items():
        entry = value.get(name)
        wanted = dict if isinstance(kind, dict) else kind
        types = wanted if isinstance(wanted, tuple) else (wanted,)
        if name not in value:
            if not optional:
                yield f"the entry {prefix}{name} is missing"
        elif not isinstance(entry, types) or (isinstance(entry, bool) and bool not in types):
            yield f"the entry {prefix}{name} is {_short(entry)}, not of type {types[0].__name__}"
        elif isinstance(kind, dict):
            yield from _missing(entry, kind, prefix=f"{prefix}{name}.", optional=optional)


def _ill_typed_entries(value: Mapping[str, Any]) -> Iterator[str]:
    texts = {
        "badges": value["badges"],
        "parts": value.get("parts", {}).values(),
        "software": value.get("software", {}).values(),
        "data.depends_on": value["data"].get("depends_on", {}).values(),
    }
    for name, entries in texts.items():
        if strange := [entry for entry in entries if not isinstance(entry, str)]:
            yield f"the entry {name} holds {_short(strange[0])}, not a text"
    if not 0 < value["data"]["patches"] <= _MOST_PATCHES:
        yield f"the entry data.patches is {_short(value['data']['patches'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _differences(stored: Any, computed: Any, place: str = "") -> list[str]:
    if isinstance(stored, Mapping) and isinstance(computed, Mapping):
        names = sorted(stored.keys() | computed.keys())
        return [
            fault
            for name in names
            for fault in _differences(stored.get(name), computed.get(name), f"{place}.{name}" if place else name)
        ]
    if isinstance(stored, list | tuple) and isinstance(computed, list | tuple) and len(stored) == len(computed):
        return [fault for a, b in zip(stored, computed, strict=True) for fault in _differences(a, b, place)]
    same = abs(stored - computed) <= _TOLERANCE if _is_number(stored) and _is_number(computed) else stored == computed
    return [] if same else [f"{SCORES} says {place} = {stored}, {CONFUSION} gives {computed}"]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
