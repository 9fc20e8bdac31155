"""``dfcbench run``: one method on one track and split."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from dfcbench.cli.app import app, reported
from dfcbench.cli.console import Terminal
from dfcbench.cli.options import (
    SUBMISSIONS,
    DataOption,
    MethodsDirOption,
    SchedulerOption,
    SplitOption,
    SubmissionsOption,
    TrackOption,
    demo_at,
    device_for,
    joined,
    open_archive,
    open_registry,
    parse_parameters,
    sealed_registry,
)
from dfcbench.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from dfcbench.plan import Plan
    from dfcbench.submission import Submission
    from dfcbench.tracking import Tracker

log = logging.getLogger("dfcbench")


class IfExists(StrEnum):
    """What to do about a run that is there already."""

    skip = "skip"
    resume = "resume"
    rerun = "rerun"


EXAMPLES = """Examples:

  dfcbench run --track 1 --method bag

  dfcbench run --track 1 --method bag --split validation --data /data/DFC2020 -p clusters=48 --seed 1

  dfcbench run --track 1 --method my_method.py:MyMethod --limit 4 --dry-run

  dfcbench run --track 1 --method their_method.py --sealed

  dfcbench run --track 1 --method bag --data /shared/DFC2020 --scheduler tcp://10.0.0.1:8786

Common errors: a method that learns from high-resolution labels needs --track 2; Track 2 is scored on --split test only.
"""


@app.command(epilog=EXAMPLES)
@reported
def run(
    method: Annotated[str, typer.Option("--method", help="Name of a method, or a file of yours as path.py:Class.")],
    track: TrackOption,
    split: SplitOption = "test",
    data: DataOption = None,
    parameters: Annotated[
        list[str] | None, typer.Option("-p", metavar="KEY=VALUE", help="A parameter of the method; repeatable.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="published or quick. Default: quick on the demo, else published.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all random draws.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only so many patches, evenly spaced; never ranked.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Threads over patches. Default: one per core.")
    ] = None,
    scheduler: SchedulerOption = None,
    if_exists: Annotated[
        IfExists,
        typer.Option(
            "--if-exists",
            help="skip: leave what is there, finished or not. resume: go on with a broken run, show a finished one, make "
            "up for maps that are missing. rerun: start over; the former run is moved to .NAME.before-N beside it.",
        ),
    ] = IfExists.resume,
    keep_probabilities: Annotated[
        bool,
        typer.Option("--keep-probabilities", help="Keep the class probabilities too, for methods that build on them."),
    ] = False,
    sealed: Annotated[
        bool,
        typer.Option(
            "--sealed",
            help="Run the method in a process that gets only what the track shows; the kernel guards the rest where it can.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    submissions: SubmissionsOption = SUBMISSIONS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Run a method on a track: fit it, map every patch of the split, score the maps, record everything."""
    from dfcbench.contest import FusionContest
    from dfcbench.plan import Plan, resolve_parameters
    from dfcbench.states import order, state

    if sealed and scheduler is not None:
        raise UsageError(
            "--sealed with --scheduler: a sealed method works in one process of this machine, and the workers of a cluster "
            "are not sealed. Leave one of the two away."
        )
    terminal = Terminal()
    given, faults = parse_parameters(parameters)
    archive, seal = None, None
    registry = open_registry(methods_dir)
    if sealed:  # what is to be hidden is known before any method's process begins
        seal = _offered(terminal)
        registry.find(method)
        archive = open_archive(data, terminal)
        registry = sealed_registry(methods_dir, seal, archive, submissions, given)
    with ExitStack() as planning:
        planning.callback(registry.rest)
        loaded = registry.load(method)
        try:  # every typo is told, at once, before any data are touched
            resolve_parameters(loaded.method, given, preset, demo=demo_at(data) is not None)
        except UsageError as error:
            faults.append(str(error))
        if faults:
            raise UsageError(" ".join(faults))
        archive = archive or open_archive(data, terminal)
        contest = FusionContest(archive, track, split, limit)
        params, chosen = resolve_parameters(loaded.method, given, preset, demo=archive.identity.demo)
        plan = Plan(
            contest=contest,
            loaded=loaded,
            params=params,
            preset=chosen,
            seed=seed,
            device=device_for(device, scheduler),
            workers=workers or cores(),
            submissions=submissions,
            registry=registry,
            overrides=given,
            seal=seal,
        )
        plans = order(plan)
        for each in plans:
            each.contest.check(each.needs)
            _show_plan(each, state(each), terminal)
        found = state(plan)
    if dry_run:
        return
    if if_exists is IfExists.skip and found != "new":
        terminal.note(f"Skipped: a {found} run is there. Use --if-exists resume or rerun.")
        return
    with joined(scheduler, archive, submissions, terminal) as door:
        plan = replace(plan, door=door) if door is not None else plan
        submission = perform(plan, terminal, rerun=if_exists is IfExists.rerun, keep_probabilities=keep_probabilities)
    _show_result(plan, submission)


def perform(plan: Plan, terminal: Terminal, *, rerun: bool = False, keep_probabilities: bool = False) -> Submission:
    """Execute the plan after the plans that it builds upon, with progress and tracking; a finished one stands."""
    from dfcbench.states import order

    if _stands(plan, rerun=rerun, keep_probabilities=keep_probabilities):
        return _standing(plan.folder)
    for part in order(plan)[:-1]:
        terminal.note(f"Part: {part.loaded.method.name} on {part.contest.split}")
        _execute(part, terminal, rerun=False, keep_probabilities=True)
    return _execute(plan, terminal, rerun=rerun, keep_probabilities=keep_probabilities)


def _offered(terminal: Terminal) -> str:
    """The seal that this machine offers; a weaker one than the kernel's is told."""
    from dfcbench.sealing.levels import KERNEL, lacking, offered

    seal = offered()
    if seal != KERNEL:
        terminal.note(
            f"Sealed: {seal}. The method gets a process of its own and no path to a hidden label, but files are not "
            f"protected by the kernel, since {lacking()}."
        )
    return seal


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _execute(plan: Plan, terminal: Terminal, *, rerun: bool, keep_probabilities: bool) -> Submission:
    from dfcbench.errors import DfcbenchError
    from dfcbench.report.score_table import describe
    from dfcbench.runner import execute
    from dfcbench.states import HALF_UNSEALED, MAPLESS, UNSEALED, state

    if _stands(plan, rerun=rerun, keep_probabilities=keep_probabilities):
        return _standing(plan.folder)
    found = state(plan)
    remake = not rerun and found == MAPLESS
    anew = rerun or found in (UNSEALED, HALF_UNSEALED)
    if remake:
        terminal.note(
            f"{plan.folder}: its scores are here, {_lacking(plan)}. Running it again; the scores stay until that is done."
        )
    if found in (UNSEALED, HALF_UNSEALED):
        terminal.note(f"{plan.folder}: was made without this seal. It is set aside, and the run begins anew.")
    watch = _Watch(plan, terminal, fresh=anew or remake)
    try:
        with terminal.progress():
            submission = execute(
                plan,
                watch,
                rerun=rerun,
                keep_probabilities=keep_probabilities,
                started=watch.begin,
                illustrate=_illustrate,
                conclude=_write_page,
                moved=lambda aside: terminal.note(f"The former run is kept in {aside}"),
            )
    except DfcbenchError as error:
        watch.fail(str(error))
        raise
    except BaseException as error:
        watch.fail(f"Interrupted by {type(error).__name__}; the same command goes on.", interrupted=True)
        if rerun and isinstance(error, KeyboardInterrupt):
            terminal.note("To go on with what this run has done, leave --if-exists rerun away.")
        raise
    if watch.tracker is not None:
        watch.tracker.finish(plan.folder, describe(submission))
    return submission


def _standing(folder: Path) -> Submission:
    """The finished run there, with what a kill right after its end kept from being done."""
    from dfcbench.run_folder import tidy
    from dfcbench.submission import ARTIFACTS, PAGE, Submission

    submission = Submission(folder)
    paged = (folder / ARTIFACTS / PAGE).exists()
    tidy(folder, None if paged else lambda: _write_page(submission))
    return submission


def _write_page(submission: Submission) -> None:
    from dfcbench.files import write_bytes
    from dfcbench.report.submission_page import run_page
    from dfcbench.submission import ARTIFACTS, PAGE

    write_bytes(submission.folder / ARTIFACTS / PAGE, run_page(submission))


def _lacking(plan: Plan) -> str:
    """Which maps of a finished run are not there, as part of a sentence."""
    from dfcbench.maps import map_path

    there = [map_path(plan.folder, patch_id).exists() for patch_id in plan.contest.scored.ids]
    missing = there.count(False)
    if missing == len(there):
        return "its maps are not"
    return f"{missing} of its {len(there)} maps are not" if missing else "and its maps are being made again"


def _stands(plan: Plan, *, rerun: bool, keep_probabilities: bool) -> bool:
    """Whether the plan's submission is there with all that is asked for."""
    from dfcbench.states import lacks_probabilities, state

    return not rerun and state(plan) == "finished" and not (keep_probabilities and lacks_probabilities(plan))


class _Watch:
    """The terminal and, once the run is this process's own, MLflow watch together."""

    def __init__(self, plan: Plan, terminal: Terminal, *, fresh: bool) -> None:
        self.stage = terminal.stage
        self.advance = terminal.advance
        self.tracker: Tracker | None = None
        self._plan = plan
        self._terminal = terminal
        self._fresh = fresh

    def begin(self) -> None:
        from dfcbench.tracking import Tracker

        self.tracker = Tracker.start(self._plan.describe(), self._plan.folder, fresh=self._fresh)

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        self._terminal.metrics(values, step)
        if self.tracker is not None:
            self.tracker.metrics(values, step)

    def fail(self, message: str, *, interrupted: bool = False) -> None:
        if self.tracker is not None:
            self.tracker.fail(message, interrupted=interrupted)


def _illustrate(plan: Plan, submission: Submission) -> None:
    """Figures for MLflow and the pages; a run does not fail for the want of a picture, but for that of a disk."""
    from dfcbench.errors import UnwritableError
    from dfcbench.report.run_figures import illustrate

    try:
        illustrate(plan.contest, plan.loaded.method.name, submission)
    except UnwritableError:
        raise
    except Exception:
        log.warning("the run's figures could not be drawn; the log has the reason.")
        log.exception("figures")


def _show_plan(plan: Plan, found: str, terminal: Terminal) -> None:
    from dfcbench.sealing.levels import MEANINGS

    identity = plan.contest.archive.identity
    limit = f", {plan.contest.limit} of them" if plan.contest.limit else ""
    badges = f" [{', '.join(plan.badges)}]" if plan.badges else ""
    lines = {
        "method": f"{plan.loaded.method.name} {plan.loaded.method.version}{badges}, from {plan.loaded.origin}",
        "data": f"{identity.title}",
        "scored": f"track {plan.contest.track}, {plan.contest.split} split, "
        f"{len(plan.contest.archive.splits[plan.contest.split])} patches{limit}"
        + ("" if plan.contest.has_reference else "; no reference labels here, so maps are made and not scored"),
        "preset": f"{plan.preset}: " + (", ".join(f"{k}={v}" for k, v in plan.parameters.items()) or "no parameters"),
        "runs on": f"{plan.device}, {plan.workers} worker(s), seed {plan.seed}",
        "sealed": "" if plan.sealed is None else f"{plan.sealed}: {MEANINGS[plan.sealed]}",
        "folder": f"{plan.folder} ({found})",
    }
    for name, text in lines.items():
        if text:
            terminal.note(f"{name:>8}  {text}")


def _show_result(plan: Plan, submission: Submission) -> None:
    from dfcbench.report.score_table import score_table
    from dfcbench.report.tables import show
    from dfcbench.submission import ARTIFACTS, PAGE

    scores = submission.scores
    if scores is None:
        typer.echo(f"Maps without scores: {submission.folder}")
        typer.echo("The data have no high-resolution labels of this split, so there is nothing to compare them with.")
        return
    identity, contest = plan.contest.archive.identity, plan.contest
    title = f"{plan.loaded.method.name} ({plan.preset}), Track {contest.track}, {contest.split}: {identity.title}"
    show(score_table(scores, title))
    if not identity.official:
        typer.echo("Not the data of DFC2020: these scores do not compare with published ones.")
    typer.echo(f"Submission: {submission.folder}")
    if (page := submission.folder / ARTIFACTS / PAGE).exists():
        typer.echo(f"Page: {page}")
    typer.echo(
        f"Next: dfcbench leaderboard --track {plan.contest.track} --split {plan.contest.split}   ·   dfcbench ui"
    )
