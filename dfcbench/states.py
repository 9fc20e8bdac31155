"""In which state a run's folder is, and in which order the runs that build upon each other are made."""

from __future__ import annotations

from dfcbench.errors import SubmissionError
from dfcbench.maps import has_maps, probabilities_path
from dfcbench.plan import Plan
from dfcbench.sealing.levels import at_least
from dfcbench.sealing.marks import may_go_on
from dfcbench.submission import FITTED, META, PREDICTIONS, Submission

WORK = "work"
"""Folder of a run under way: what the method keeps, checkpoints, which stages are done."""
REMAKE = "remake.json"
"""In ``work/`` while the maps of a finished run are made again: until it is gone, maps and scores may not agree."""

MAPLESS = "finished (maps missing)"
"""State of a run of which scores and provenance are there, as in version control, and maps are not."""

UNSEALED = "finished (not sealed)"
"""State of a run that is there without the seal, or with a weaker one than, is asked for."""
HALF_UNSEALED = "unfinished (not sealed)"
"""State of a run that was begun without that seal: nothing of it is gone on with."""


def state(plan: Plan) -> str:
    """``new``, ``unfinished`` (a run was broken off or failed there), ``finished``, MAPLESS, UNSEALED or HALF_UNSEALED.

    Scores and boards take a run without maps as finished; whoever runs it wants the maps.
    """
    folder = plan.folder
    if not folder.exists():
        return "new"
    try:
        submission = Submission(folder)
        if not submission.finished or submission.key != plan.key:
            return _unfinished(plan, None)
        submission.check()
    except SubmissionError:  # none yet, or damaged: what is wrong is written anew at the end of the run
        return _unfinished(plan, submission)
    if plan.sealed is not None and not at_least(submission.sealed, plan.sealed):
        return UNSEALED
    whole = has_maps(folder, plan.contest.scored.ids) and not (folder / WORK / REMAKE).exists()
    return "finished" if whole else MAPLESS


def _unfinished(plan: Plan, damaged: Submission | None) -> str:
    if plan.sealed is None or not any((plan.folder / name).exists() for name in (META, FITTED, PREDICTIONS, WORK)):
        return "unfinished"
    try:
        seal = None if damaged is None else damaged.sealed
    except SubmissionError:
        seal = None
    return "unfinished" if may_go_on(plan.folder / WORK, seal, plan.sealed) else HALF_UNSEALED


def order(plan: Plan) -> list[Plan]:
    """The plan behind all plans that it builds upon, each once: run them in this order."""
    plans: dict[str, Plan] = {}
    for part in plan.parts.values():
        if isinstance(part, Plan):
            plans |= {p.key: p for p in order(part)}
    return [*plans.values(), plan]


def lacks_probabilities(plan: Plan) -> bool:
    """Whether some patch of the plan's submission has no probabilities kept."""
    return not all(probabilities_path(plan.folder, i).exists() for i in plan.contest.scored.ids)
