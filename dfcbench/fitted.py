"""A finished run's method with what it learned, ready to be asked about other images; or the reason why it cannot be."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pydantic import ValidationError

from dfcbench.contest import FusionContest
from dfcbench.errors import DfcbenchError, MethodCrash, PluginError, SubmissionError, UsageError
from dfcbench.learned import damaged
from dfcbench.method import Method, Needs, PartMaps, RunContext
from dfcbench.patches import PatchSet
from dfcbench.registry import Loaded, Registry
from dfcbench.submission import FITTED, FITTED_MARK, MAPS_BADGE, Submission

_SUGGESTED = 4
"""Methods that a message names."""


@dataclass(frozen=True)
class Fitted:
    """A run, its method, and what the method needs under the run's parameters."""

    submission: Submission
    method: Method
    needs: Needs

    @property
    def shown(self) -> frozenset[str]:
        """Which of ``s1``, ``s2`` and ``low`` the method may read."""
        return self.needs.inputs | ({"low"} if self.needs.labels != "none" else frozenset())


def recall(submission: Submission, registry: Registry, reference: str | None = None) -> Fitted:
    """The run's method under the run's parameters, not fitted yet.

    ``reference`` says where the method is, if not under its own name (``path.py:Class``). Raises SubmissionError for
    maps made elsewhere, PluginError if the method is not found, UsageError if it is not the one that the run was made
    with, or cannot map a scene at all.
    """
    meta = submission.meta
    if MAPS_BADGE in meta["badges"]:
        raise SubmissionError(
            f"{submission.folder}: holds maps made elsewhere; the method that made them is not known here."
        )
    loaded = _load(submission, registry, reference)
    try:
        method = loaded.method(loaded.method.Params(**meta["parameters"]))
        needs = method.requires()
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UsageError(
            f"{submission.folder}: {loaded.method.name} does not take this run's parameters ({faults})."
        ) from error
    except DfcbenchError:
        raise
    except Exception as error:
        raise MethodCrash(f"{loaded.method.name} cannot be made: {type(error).__name__}: {error}.") from error
    fitted = Fitted(submission, method, needs)
    if needs.feedback:
        raise UsageError(
            f"{method.name} is tuned on the contest server's scores, and no server scores your scene. {_others(registry)}"
        )
    if not fitted.shown:
        _refuse_parts(fitted, registry)
    return fitted


def restore(fitted: Fitted, registry: Registry) -> None:
    """Load what the run learned.

    Raises UsageError if that is about the run's own images only, SubmissionError if it is gone or cannot be read.
    """
    submission, method = fitted.submission, fitted.method
    if fitted.needs.transductive:
        if parts := _parts(fitted):
            way = (
                f"It builds upon the maps of other runs ({parts}) besides, so it cannot be fitted on your scene either."
            )
        elif fitted.needs.labels == "none":
            way = "Fit it on your scene with --fit."
        else:
            way = "Fit it on your scene with --fit and --lr (low-resolution labels of the scene)."
        raise UsageError(
            f"{method.name} is transductive: in {submission.folder.name} it was fitted on the very images that the run "
            f"scored, and what it learned is about no others. {way} {_others(registry)}"
        )
    folder = submission.folder / FITTED
    if not (folder / FITTED_MARK).exists():
        raise SubmissionError(
            f"{submission.folder}: what the run learned ({FITTED}/) is not here; version control keeps scores only. "
            f"Make it again: {command(submission)}"
        )
    try:
        if lost := damaged(folder, folder / FITTED_MARK):
            raise ValueError(f"{lost} is damaged")
        method.load(folder)
    except Exception as error:
        raise SubmissionError(
            f"{folder}: what the run learned cannot be loaded ({type(error).__name__}: {error}). Make it again: "
            f"{command(submission)}"
        ) from error


def fit_anew(fitted: Fitted, contest: FusionContest, patches: PatchSet, run: RunContext) -> None:
    """Fit the run's method on other images, as if these were scored, with whatever else the run's contest shows it.

    Raises UsageError if the method is not transductive, or the contest's data are not the run's, MethodCrash if the
    method raises.
    """
    method, meta = fitted.method, fitted.submission.meta
    found, needed = contest.fingerprints(fitted.needs), meta["data"].get("depends_on", {})
    if found != needed:
        raise UsageError(
            f"{contest.archive.root}: holds {contest.archive.identity.title}; the run was made with {meta['data']['title']} "
            f"(fingerprints {found} and {needed}). Name the run's own data with --data."
        )
    view = contest.view(fitted.needs, scored=patches)
    try:
        method.fit(view, run)
    except (DfcbenchError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        raise MethodCrash(f"{method.name}.fit raised {type(error).__name__}: {error} on the scene.") from error


def require_fittable(fitted: Fitted, registry: Registry) -> None:
    """Raise UsageError unless fitting on the scene is what the method does with scored images, and it can."""
    if _parts(fitted):
        _refuse_parts(fitted, registry)
    if not fitted.needs.transductive:
        raise UsageError(
            f"--fit is for transductive methods, which are fitted on the images that they map. {fitted.method.name} is "
            "not: leave --fit out, and what the run learned is used."
        )


class NoParts(Mapping[str, PartMaps]):
    """The maps of a method's parts, which tell nothing of a scene: whoever asks for them is told so."""

    def __init__(self, fitted: Fitted, registry: Registry) -> None:
        self._refusal = (fitted, registry)

    def __getitem__(self, name: str) -> PartMaps:
        _refuse_parts(*self._refusal)

    def __iter__(self) -> Iterator[str]:
        _refuse_parts(*self._refusal)

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        _refuse_parts(*self._refusal)


def command(submission: Submission) -> str:
    """The command that makes the run again from the start."""
    meta = submission.meta
    origin = meta["method"].get("origin", "")
    plugin = bool(meta["method"].get("source_digest"))
    words = ["dfcbench", "run", "--track", str(meta["track"]), "--method", origin if plugin else meta["method"]["name"]]
    words += ["--split", meta["split"], "--seed", str(meta["seed"])]
    words += ["--preset", meta["preset"]] if meta.get("preset") else []
    for key, value in meta.get("overrides", {}).items():
        words += ["-p", f"{key}={_as_text(value)}"]
    if limit := meta["data"].get("limit"):
        words += ["--limit", str(limit)]
    words += ["--sealed"] if submission.sealed else []
    return shlex.join([*words, "--if-exists", "rerun"])


def _load(submission: Submission, registry: Registry, reference: str | None) -> Loaded:
    about = submission.meta["method"]
    try:
        loaded = registry.load(reference or about["name"])
    except PluginError as error:
        if reference or not about.get("source_digest"):
            raise
        raise PluginError(
            f"{submission.folder}: its method {about['name']!r} is a plug-in of the file {about['origin']}. Say where that "
            f"lies, with --method path.py:Class or --methods-dir. ({error})"
        ) from error
    method = loaded.method
    if method.name != about["name"]:
        raise UsageError(f"--method {reference} is {method.name!r}; the run was made with {about['name']!r}.")
    then, now = (about["version"], about.get("source_digest")), (method.version, loaded.digest)
    if then != now:
        what = (
            f"version {then[0]} then, {now[0]} now"
            if then[0] != now[0]
            else f"the source of {loaded.origin} has changed"
        )
        raise UsageError(
            f"{submission.folder}: {method.name} is not what it was when this run was made ({what}), so what it learned may "
            "mean something else. Run it again, and map with the new run."
        )
    return loaded


def _refuse_parts(fitted: Fitted, registry: Registry) -> NoReturn:
    raise UsageError(
        f"{fitted.method.name} builds upon the maps of other runs ({_parts(fitted) or 'none'}), which show nothing of your "
        f"scene. Map the scene with one of those methods, or another. {_others(registry)}"
    )


def _parts(fitted: Fitted) -> str:
    return ", ".join(part.method for part in fitted.method.parts().values())


def _others(registry: Registry) -> str:
    """Methods that can map a scene, as far as their sources tell."""
    names = [
        entry.name
        for entry in registry.entries
        if entry.problem is None
        and entry.sketch.needs is not None
        and entry.sketch.needs.inputs
        and not entry.sketch.needs.transductive
        and not entry.sketch.needs.feedback
    ]
    told = f", such as {', '.join(names[:_SUGGESTED])}" if names else ""
    return f"Methods that are not transductive map any scene once they have run{told}; `dfcbench methods` lists all."


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
