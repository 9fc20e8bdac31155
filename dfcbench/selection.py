"""Which runs a person means: by a submission's folder, by a run's name or key, or by a method's name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dfcbench.errors import SubmissionError, UsageError
from dfcbench.submission import META, Problem, Submission, find_submissions

_SHOWN = 6
"""Names that a message lists before it says how many more there are."""

Ground = tuple[str, str, str]
"""What runs must have in common to be compared: name and fingerprint of the data, split."""


@dataclass(frozen=True)
class Meant:
    """The runs that one argument may mean; ``named`` if it is one run and nothing else."""

    argument: str
    runs: tuple[Submission, ...]
    named: bool

    @property
    def grounds(self) -> frozenset[Ground]:
        return frozenset(map(_ground, self.runs))

    @property
    def tracks(self) -> frozenset[int]:
        return frozenset(run.meta["track"] for run in self.runs)


def choose(
    arguments: Sequence[str],
    root: Path,
    *,
    track: int | None = None,
    split: str | None = None,
    data: str | None = None,
) -> tuple[list[Submission], list[Problem]]:
    """The scored, finished runs that the arguments mean, in their order, and the folders under ``root`` that are broken.

    An argument is a submission's folder (also as a path below ``root``), a method's name, or a run's name or key or the
    beginning of one that no other shares. A method's name means all its runs on one data set, split and track: those of
    ``track``, ``split`` and ``data`` (the data's name) where these are given, else those that it has in common with the
    other arguments; of runs on all patches and on some, the former. Raises UsageError where that leaves a choice, or
    nothing fits; SubmissionError for a named run that is not finished or not scored.
    """
    found, problems = find_submissions(root)
    meant = [_meant(argument, found, root, (track, split, data)) for argument in arguments]
    meant = _on_one_ground(meant)
    meant = _on_one_track(meant)
    return [run for each in meant for run in each.runs], problems


def choose_one(argument: str, root: Path) -> Submission:
    """The one run that the argument means, scored or not: named as in ``choose``, or a method's only finished run.

    Raises UsageError if nothing fits or several do, SubmissionError if the run is not finished.
    """
    run = _only(argument, _fitting(argument, find_submissions(root)[0], root)[0])
    if not run.finished:
        raise SubmissionError(f"{run.folder}: is not finished. Give the command that made it again; it goes on.")
    return run


def _meant(
    argument: str, found: Sequence[Submission], root: Path, wanted: tuple[int | None, str | None, str | None]
) -> Meant:
    runs, of_method = _fitting(argument, found, root)
    if of_method:
        return Meant(argument, _runs_of(argument, runs, wanted), named=False)
    return Meant(argument, (_scored(_only(argument, runs)),), named=True)


def _fitting(argument: str, found: Sequence[Submission], root: Path) -> tuple[list[Submission], bool]:
    """The runs that the argument may mean, and whether it is the name of their method."""
    for folder in (Path(argument).expanduser(), root / argument):
        if (folder / META).is_file():
            return [Submission(folder)], False
    of_method = [run for run in found if run.meta["method"]["name"] == argument]
    if of_method:
        return of_method, True
    for test in (_is_called, _begins):
        if runs := [run for run in found if test(run, argument)]:
            return runs, False
    raise UsageError(_unknown(argument, found, root))


def _only(argument: str, runs: Sequence[Submission]) -> Submission:
    if len(runs) > 1:
        listed = _listed([str(run.folder) for run in runs])
        raise UsageError(f"{argument!r} may mean {len(runs)} runs: {listed}. Name one by its folder or whole key.")
    return runs[0]


def _is_called(run: Submission, argument: str) -> bool:
    return argument in (run.key, run.folder.name)


def _begins(run: Submission, argument: str) -> bool:
    return bool(argument) and (run.key.startswith(argument) or run.folder.name.startswith(argument))


def _unknown(argument: str, found: Sequence[Submission], root: Path) -> str:
    methods = sorted({str(run.meta["method"]["name"]) for run in found})
    if not methods:
        return f"{argument!r}: there is no finished run under {root}. Make some first, with `dfcbench run`, or name folders."
    near = difflib.get_close_matches(argument, [*methods, *(run.folder.name for run in found)], 1)
    return (
        f"{argument!r} is no submission's folder, and under {root} no method, run or key is called so."
        + (f" Did you mean {near[0]}?" if near else "")
        + f" Methods with finished runs there: {_listed(methods)}."
    )


def _scored(run: Submission) -> Submission:
    if not run.finished:
        raise SubmissionError(f"{run.folder}: is not finished, so it cannot be compared. Run it to its end first.")
    if run.scores is None or run.scores.average_accuracy is None:
        raise SubmissionError(
            f"{run.folder}: has no scores, so it cannot be compared. Score its maps where the reference labels are."
        )
    return run


def _runs_of(
    method: str, runs: Sequence[Submission], wanted: tuple[int | None, str | None, str | None]
) -> tuple[Submission, ...]:
    track, split, data = wanted
    chosen = [
        run
        for run in runs
        if track in (None, run.meta["track"])
        and split in (None, run.meta["split"])
        and data in (None, run.meta["data"]["name"])
        and run.scores is not None
        and run.scores.average_accuracy is not None
    ]
    if not chosen:
        there = _listed(sorted({_place(run) for run in runs}))
        raise UsageError(f"{method} has no scored run there; its finished runs are on {there}.")
    return tuple(run for run in chosen if not run.partial) or tuple(chosen)


def _on_one_ground(meant: Sequence[Meant]) -> list[Meant]:
    """Methods narrowed to the data and split that all arguments share; runs that differ are left for others to refuse."""
    if all(len(each.grounds) == 1 for each in meant):
        return list(meant)
    common = frozenset.intersection(*(each.grounds for each in meant))
    if len(common) != 1:
        raise UsageError(
            (
                "The arguments have runs in common on " + _listed(sorted(map(_ground_text, common))) + "."
                if common
                else "No data set and split has runs of all arguments: " + _grounds_of(meant) + "."
            )
            + " Choose with --split and --data-name, or name runs instead of methods."
        )
    return [replace(each, runs=tuple(run for run in each.runs if _ground(run) in common)) for each in meant]


def _on_one_track(meant: Sequence[Meant]) -> list[Meant]:
    """Methods with runs on both tracks narrowed to the one that all arguments share."""
    if all(len(each.tracks) == 1 for each in meant):
        return list(meant)
    common = frozenset.intersection(*(each.tracks for each in meant))
    if len(common) != 1:
        several = next(each for each in meant if len(each.tracks) > 1)
        raise UsageError(f"{several.argument} has runs on both tracks. Choose with --track 1 or --track 2.")
    return [replace(each, runs=tuple(run for run in each.runs if run.meta["track"] in common)) for each in meant]


def _ground(run: Submission) -> Ground:
    data = run.meta["data"]
    return data["name"], data["fingerprint"], run.meta["split"]


def _ground_text(ground: Ground) -> str:
    name, fingerprint, split = ground
    return f"the {split} split of {name} (fingerprint {fingerprint})"


def _grounds_of(meant: Sequence[Meant]) -> str:
    return "; ".join(f"{each.argument}: {_listed(sorted(map(_ground_text, each.grounds)))}" for each in meant)


def _place(run: Submission) -> str:
    return f"Track {run.meta['track']}, {run.meta['split']} of {run.meta['data']['name']}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
