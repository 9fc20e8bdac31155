"""``dfcbench submission``: maps as the contest's zip, maps from elsewhere, and the contest's server."""

from __future__ import annotations

import datetime
import logging
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dfcbench.cli.app import app, reported
from dfcbench.cli.console import Terminal
from dfcbench.cli.options import (
    SUBMISSIONS,
    DataOption,
    SplitOption,
    SubmissionsOption,
    TrackOption,
    demo_at,
    open_archive,
)
from dfcbench.cli.run import cores
from dfcbench.errors import SubmissionError, UsageError

if TYPE_CHECKING:
    from dfcbench.contest import FusionContest
    from dfcbench.handed_in import Finding, Inspection
    from dfcbench.submission import Submission

log = logging.getLogger("dfcbench")

submission_app = typer.Typer(
    help="Pack a run's maps as the contest's zip; check and score maps made elsewhere; export the contest to Codabench.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(submission_app, name="submission")

MOST_ROWS = 10
"""Findings of one kind that the table lists, unless all are asked for: a list of 5128 helps nobody."""

MapsArgument = Annotated[Path, typer.Argument(metavar="ZIP|DIR", help="A zip of maps, or a folder of them.")]
AllOption = Annotated[bool, typer.Option("--all", help=f"List every fault, not the first {MOST_ROWS} of each kind.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Threads over patches. Default: one per core.")
]

PACK_EXAMPLES = """Examples:

  dfcbench submission pack submissions/track1/bag/test-demo-v3-demo-s0-seed0-de4dfd0a

  dfcbench submission pack bag -o maps.zip

RUN is what `dfcbench run` prints behind "Submission:", or a run's name or key, or the beginning of one; a method's name
will do where it has one finished run.
"""

CHECK_EXAMPLES = """Examples:

  dfcbench submission check maps.zip --track 1

  dfcbench submission check maps/ --track 1 --split validation --data /data/DFC2020 --all

The contest's format: a flat zip with one single-band uint8 tif per patch, of the patch's size, codes 1..10, named as the
patch's label file, such as ROIs0000_test_dfc_0_p17.tif. Exit code 7 if there is a fault.
"""

SCORE_EXAMPLES = """Examples:

  dfcbench submission score maps.zip --team "My lab" --method my-net --track 1

  dfcbench leaderboard --track 1

The maps are kept as a submission with the badge "maps only"; boards rank such submissions among themselves. Maps that
were scored before are recognised by their content.
"""

EXPORT_EXAMPLES = """Examples:

  dfcbench submission export-codabench --data /data/DFC2020 --start 2026-03-01 -o bundle.zip

  dfcbench submission export-codabench --track 1 -o bundle/

Upload the zip at Codabench: Benchmarks, Management, Upload. With both tracks in one bundle, each phase has two tasks, and
who uploads maps must untick the other track; a bundle of one track has no such trap. The bundle holds reference labels:
give it to nobody but the server.
"""


@submission_app.command("pack", epilog=PACK_EXAMPLES)
@reported
def pack(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A finished run: its folder, or its name or key under --submissions.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The zip (*.zip). Default: named after the run, in this folder.")
    ] = None,
    submissions: SubmissionsOption = SUBMISSIONS,
    every: AllOption = False,
) -> None:
    """Write the contest's zip of a run's maps: uint8 tifs under their official names, flat."""
    from dfcbench.contest_zip import pack as write
    from dfcbench.contest_zip import zip_name
    from dfcbench.selection import choose_one

    chosen = choose_one(run, submissions)
    target = out or Path(zip_name(chosen))
    report = write(chosen, target)
    if report.faults:
        _show(report, every)
        raise SubmissionError(
            f"{chosen.folder}: {len(report.faults)} fault(s), listed above; no zip was written. The contest takes no such "
            "maps: give the command that made the run again with --if-exists rerun, or mend its method."
        )
    typer.echo(f"{target}: {report.maps} maps, {target.stat().st_size:,} bytes")
    place = [] if demo_at(None) in (None, chosen.meta["data"]["name"]) else ["--data", "FOLDER"]
    where = ["--track", str(chosen.meta["track"]), "--split", chosen.meta["split"], *place]
    typer.echo(f"Next: dfcbench submission check {shlex.quote(str(target))} {shlex.join(where)}")


@submission_app.command("check", epilog=CHECK_EXAMPLES)
@reported
def check(
    maps: MapsArgument,
    track: TrackOption,
    split: SplitOption = "test",
    data: DataOption = None,
    every: AllOption = False,
    workers: WorkersOption = None,
) -> None:
    """Report every fault of maps at once: what is missing, surplus, double, of another format, or no map at all."""
    from dfcbench.entering import check as inspect

    terminal = Terminal()
    contest = _contest(data, track, split, terminal)
    with terminal.progress():
        report = inspect(maps, contest, workers=workers or cores(), progress=_told(terminal, "checking"))
    _show(report, every)
    _refuse_faults(maps, report)
    typer.echo(f"{maps}: {report.maps} maps, nothing to object.")
    if contest.has_reference:
        place = [] if data is None else ["--data", str(data)]
        where = shlex.join(["--track", str(track), "--split", split, *place])
        typer.echo(f"Next: dfcbench submission score {shlex.quote(str(maps))} --team TEAM --method METHOD {where}")


@submission_app.command("score", epilog=SCORE_EXAMPLES)
@reported
def score(
    maps: MapsArgument,
    team: Annotated[str, typer.Option("--team", help="Who made the maps.")],
    method: Annotated[str, typer.Option("--method", help="How they call their method.")],
    track: TrackOption,
    split: SplitOption = "test",
    data: DataOption = None,
    submissions: SubmissionsOption = SUBMISSIONS,
    every: AllOption = False,
    workers: WorkersOption = None,
) -> None:
    """Check maps made elsewhere, score them by the contest's rule, and enter them as a submission."""
    from dfcbench.entering import enter

    terminal = Terminal()
    contest = _contest(data, track, split, terminal)

    def illustrate(submission: Submission) -> None:
        _illustrate(contest, method, submission)

    with terminal.progress():
        outcome = enter(
            maps,
            contest,
            team=team,
            method=method,
            submissions=submissions,
            workers=workers or cores(),
            progress=_told(terminal, "scoring"),
            illustrate=illustrate,
        )
    _show(outcome.inspection, every)
    if outcome.submission is None:
        _refuse_faults(maps, outcome.inspection)
        return
    _show_scores(outcome.submission, contest)
    if outcome.known:
        meta = outcome.submission.meta
        entered = f"as {meta['method']['name']} by {meta.get('parameters', {}).get('team', 'nobody named')}"
        typer.echo(f"These very maps were entered before, {entered}; nothing was written.")
    typer.echo(f"Submission: {outcome.submission.folder}")
    typer.echo(f"Next: dfcbench leaderboard --track {track} --split {split}   ·   dfcbench track sync")


@submission_app.command("export-codabench", epilog=EXPORT_EXAMPLES)
@reported
def export_codabench(
    out: Annotated[Path, typer.Option("-o", "--out", help="A zip to upload (*.zip), or a new folder.")],
    data: DataOption = None,
    track: Annotated[int | None, typer.Option("--track", help="Only this track. Default: both.")] = None,
    start: Annotated[
        datetime.datetime | None,
        typer.Option("--start", formats=["%Y-%m-%d"], help="First day of the validation phase. Default: today."),
    ] = None,
    test_start: Annotated[
        datetime.datetime | None,
        typer.Option("--test-start", formats=["%Y-%m-%d"], help="First day of the test phase. Default: 28 days later."),
    ] = None,
    workers: WorkersOption = None,
) -> None:
    """Write a competition bundle for a Codabench server, with the reference labels of your own data."""
    from dfcbench.codabench import Schedule, export
    from dfcbench.contest import TRACKS

    if track is not None and track not in TRACKS:
        raise UsageError(f"Track {track}: the contest has tracks 1 and 2.")
    schedule = Schedule.starting(
        start.date() if start else datetime.datetime.now(datetime.UTC).date(),
        test_start.date() if test_start else None,
    )
    terminal = Terminal()
    archive = open_archive(data, terminal)
    tracks = TRACKS if track is None else (track,)
    with terminal.progress():
        export(archive, out, schedule, tracks, workers=workers or cores(), progress=_told(terminal, "exporting"))
    phases = (
        f"validation from {schedule.validation}, test from {schedule.test} (change the dates in Codabench's editor)"
    )
    typer.echo(f"{out}: {archive.identity.title}; {phases}")
    typer.echo("It holds the reference labels: give it to nobody but the server.")


def _contest(data: Path | None, track: int, split: str, terminal: Terminal) -> FusionContest:
    from dfcbench.contest import FusionContest

    return FusionContest(open_archive(data, terminal), track, split)


def _told(terminal: Terminal, label: str) -> Any:
    def progress(done: int, total: int) -> None:
        terminal.advance(label, done, total)

    return progress


def _show(report: Inspection[Any], every: bool) -> None:
    """Faults and remarks as tables."""
    for title, findings in (("Faults", report.faults), ("Remarks", report.remarks)):
        if findings:
            _show_findings(title, findings, every)


def _show_findings(title: str, findings: list[Finding], every: bool) -> None:
    from dfcbench.report.tables import Cell, Column, Table, show

    counts = Counter(finding.kind for finding in findings)
    shown: Counter[str] = Counter()
    rows: list[tuple[Cell, ...]] = []
    for finding in findings:
        shown[finding.kind] += 1
        if every or shown[finding.kind] <= MOST_ROWS:
            rows.append((finding.kind, finding.where, finding.message))
        elif shown[finding.kind] == counts[finding.kind]:
            more = counts[finding.kind] - MOST_ROWS
            rows.append((finding.kind, f"… and {more:,} more", "--all lists them"))
    told = ", ".join(f"{kind} {count:,}" for kind, count in counts.items())
    show(Table(f"{title}: {told}", (Column("kind"), Column("file"), Column("what")), tuple(rows)))


def _refuse_faults(maps: Path, report: Inspection[Any]) -> None:
    if report.faults:
        raise SubmissionError(
            f"{maps}: {len(report.faults):,} fault(s), listed above. Mend them all, and give the command again."
        )


def _show_scores(submission: Submission, contest: FusionContest) -> None:
    from dfcbench.report.score_table import score_table
    from dfcbench.report.tables import show

    scores, identity = submission.scores, contest.archive.identity
    if scores is not None:
        name = submission.meta["method"]["name"]
        show(score_table(scores, f"{name}, Track {contest.track}, {contest.split}: {identity.title}"))
    if not identity.official:
        typer.echo("Not the data of DFC2020: these scores do not compare with published ones.")


def _illustrate(contest: FusionContest, method: str, submission: Submission) -> None:
    """Figures for MLflow and the pages; maps are entered whether they can be drawn or not."""
    from dfcbench.report.run_figures import illustrate

    try:
        illustrate(contest, method, submission)
    except Exception:
        log.warning("the figures could not be drawn; the log has the reason.")
        log.exception("figures")
