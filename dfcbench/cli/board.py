"""``dfcbench leaderboard``, ``ui`` and ``track``: what comes after runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfcbench.cli.app import app, reported
from dfcbench.cli.options import SUBMISSIONS, SplitOption, SubmissionsOption, TrackOption

track_app = typer.Typer(help="The MLflow record of runs.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(track_app, name="track")

LEADERBOARDS = Path("leaderboards")


@app.command()
@reported
def leaderboard(
    track: TrackOption,
    split: SplitOption = "test",
    data_name: Annotated[
        str | None, typer.Option("--data-name", help="Only this data set, as submissions call it. Default: all.")
    ] = None,
    submissions: SubmissionsOption = SUBMISSIONS,
    out: Annotated[Path, typer.Option("--out", help="Folder for the boards' Markdown and CSV files.")] = LEADERBOARDS,
) -> None:
    """Rank the finished submissions, one board per data set; print the boards and write them as Markdown and CSV."""
    from dfcbench.errors import SubmissionError
    from dfcbench.leaderboard import build
    from dfcbench.report.board import board_heading, board_tables, write_board
    from dfcbench.report.tables import show
    from dfcbench.submission import find_submissions

    found, problems = find_submissions(submissions, track, split)
    for problem in problems:
        typer.echo(f"warning: left out: {problem.reason}", err=True)
    names = sorted({str(submission.meta["data"]["name"]) for submission in found})
    if data_name is not None:
        names = [name for name in names if name == data_name]
    if not names:
        which = f" of {data_name}" if data_name else ""
        raise SubmissionError(
            f"{submissions}: no finished submission{which} on Track {track}, {split}. Make one first: "
            f"dfcbench run --track {track} --split {split} --method bag"
        )
    for name in names:
        board = build(found, data=name, track=track, split=split)
        typer.echo(f"Track {track}, {split}")
        for line in board_heading(board):
            typer.echo(line.replace("*", "").replace("`", ""))
        for table in board_tables(board):
            show(table)
        page, values = write_board(board, out)
        typer.echo(f"Written: {page}, {values}\n")


@app.command()
@reported
def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the page.")] = 5000,
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
) -> None:
    """Open the MLflow UI on the store that runs are recorded in; Ctrl-C ends it."""
    import subprocess

    from dfcbench.tracking import store_uri, ui_command

    store = store_uri()
    page = store if store.startswith("http") else f"http://{host}:{port} (Ctrl-C ends it)"
    typer.echo(f"Runs recorded in {store}: {page}", err=True)
    raise typer.Exit(subprocess.run(ui_command(port=port, host=host), check=False).returncode)


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
