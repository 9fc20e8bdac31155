"""``dfcbench leaderboard`` and ``track``: what comes after runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfcbench.cli.app import app, reported
from dfcbench.cli.options import SUBMISSIONS, SubmissionsOption, open_registry

if TYPE_CHECKING:
    from dfcbench.report.board_check import Scope
    from dfcbench.submission import Problem, Submission

track_app = typer.Typer(help="The MLflow record of runs.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(track_app, name="track")

LEADERBOARDS = Path("leaderboards")


EXAMPLES = """Examples:

  dfcbench leaderboard

  dfcbench leaderboard --track 1 --split test

  dfcbench leaderboard --check
"""


@app.command(epilog=EXAMPLES)
@reported
def leaderboard(
    track: Annotated[int | None, typer.Option("--track", help="Only this track. Default: every one.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="Only this split. Default: every one.")] = None,
    data_name: Annotated[
        str | None, typer.Option("--data-name", help="Only this data set, as submissions call it. Default: all.")
    ] = None,
    submissions: SubmissionsOption = SUBMISSIONS,
    out: Annotated[Path, typer.Option("--out", help="Folder of the boards' files.")] = LEADERBOARDS,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Write nothing: build the boards anew and compare them, and the paper's tables beside them, byte by byte "
            "with what lies in --out. Exit status 1 if they are not what the submissions say.",
        ),
    ] = False,
) -> None:
    """Rank the finished submissions, one board per data set, track and split; print the boards and write their files.

    Without --track and --split, the paper's tables that lie beside the boards are written anew too. Pages of runs that
    are no longer there are removed.
    """
    from dfcbench.contest import require_place
    from dfcbench.errors import SubmissionError
    from dfcbench.files import remove, writable_folder, write_bytes
    from dfcbench.former import Former
    from dfcbench.leaderboard import build_all
    from dfcbench.report.board import board_heading, board_tables, write_board
    from dfcbench.report.board_check import Scope, paper_tables, regions_tables, stale_pages
    from dfcbench.report.tables import show
    from dfcbench.submission import find_submissions

    require_place(track, split)
    found, problems = find_submissions(submissions)
    scope = Scope(track, split, data_name)
    chosen = [s for s in found if _in_scope(s, scope)]
    if check:
        _check(found, chosen, problems, out, scope)
        return
    for problem in problems:
        typer.echo(f"warning: left out: {problem.reason}", err=True)
    if not chosen:
        what = "".join(
            [
                f" of {data_name}" if data_name else "",
                f" on Track {track}" if track else "",
                f" on the {split} split" if split else "",
            ]
        )
        raise SubmissionError(
            f"{submissions}: no finished submission{what}. Make one first: "
            f"dfcbench run --track {track or 1} --split {split or 'test'} --method bag"
        )
    writable_folder(out)
    for board in build_all(chosen):
        typer.echo(f"Track {board.track}, {board.split}")
        for line in board_heading(board):
            typer.echo(line.replace("*", "").replace("`", ""))
        for table in board_tables(board):
            show(table)
        first, *others = write_board(board, out)
        more = f" and {len(others)} more of this board" if others else ""
        typer.echo(f"Written: {first}{more}")
        for page in stale_pages(board, out):
            remove(page)
            typer.echo(f"Removed: {page}, the page of a run that is no longer on the board")
        typer.echo()
    regions, unsound = regions_tables(out, found, scope)
    for problem in unsound:
        typer.echo(f"warning: {problem.reason}", err=True)
    for path, content in (paper_tables(out, found, scope, Former(open_registry(None), found)) | regions).items():
        write_bytes(out / path, content)
        if path.endswith(".md"):
            typer.echo(f"Written: {out / path} and its other forms")


def _in_scope(submission: Submission, scope: Scope) -> bool:
    meta = submission.meta
    return (
        scope.track in (None, meta["track"])
        and scope.split in (None, meta["split"])
        and scope.data in (None, meta["data"]["name"])
    )


def _check(found: list[Submission], chosen: list[Submission], problems: list[Problem], out: Path, scope: Scope) -> None:
    from dfcbench.former import Former
    from dfcbench.leaderboard import build_all
    from dfcbench.report.board_check import faults, paper_tables, regions_tables, render_boards

    boards = build_all(chosen)
    regions, unsound = regions_tables(out, found, scope)
    expected = render_boards(boards) | paper_tables(out, found, scope, Former(open_registry(None), found)) | regions
    problems = [*problems, *unsound]
    wrong = faults(expected, out, scope)
    for fault in wrong:
        typer.echo(f"{fault.kind}: {out / fault.path}")
    for problem in problems:
        typer.echo(f"unsound: {problem.reason}")
    if wrong or problems:
        advice = "`dfcbench leaderboard` writes them anew; delete what is surplus then."
        typer.echo(
            f"error: {out}: {len(wrong)} file(s) are not what the submissions say, and {len(problems)} submission(s) or "
            f"record(s) are unsound; they are listed above. {advice if wrong else ''}".rstrip(),
            err=True,
        )
        raise typer.Exit(1)
    typer.echo(f"{out}: {len(expected)} file(s) of {len(boards)} board(s) are what {len(chosen)} submission(s) say.")


@track_app.command("sync")
@reported
def sync(submissions: SubmissionsOption = SUBMISSIONS) -> None:
    """Record in MLflow every finished submission that is not there yet."""
    from dfcbench.cli.console import Terminal
    from dfcbench.errors import SubmissionError
    from dfcbench.report.score_table import describe
    from dfcbench.tracking import sync as record

    terminal = Terminal()
    with terminal.progress():
        report = record(
            submissions, describe=describe, progress=lambda done, total: terminal.advance("recording", done, total)
        )
    typer.echo(f"{report.uri}: {len(report.recorded)} run(s) recorded, {len(report.present)} there already.")
    for problem in report.problems:
        typer.echo(f"  not recorded: {problem.folder}: {problem.reason}", err=True)
    if report.problems:
        raise SubmissionError(f"{len(report.problems)} submission(s) could not be recorded; they are listed above.")
