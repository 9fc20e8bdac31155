"""``dfcbench table``: the paper's tables, measured beside published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfcbench.cli.app import app, reported
from dfcbench.cli.board import LEADERBOARDS
from dfcbench.cli.console import Terminal
from dfcbench.cli.options import (
    SUBMISSIONS,
    DataOption,
    MethodsDirOption,
    SchedulerOption,
    SubmissionsOption,
    device_for,
    given_data,
    joined,
    open_archive,
    open_registry,
)
from dfcbench.cli.run import cores, perform
from dfcbench.errors import DataError, UsageError
from dfcbench.files import writable_folder

if TYPE_CHECKING:
    from dfcbench.archive import Archive
    from dfcbench.paper import PaperTable
    from dfcbench.registry import Registry
    from dfcbench.threads import Door

EXAMPLES = """Examples:

  dfcbench table II --data /data/DFC_Public_Dataset

  dfcbench table VI

  dfcbench table VI --run --seed 1

  dfcbench table IX --run

  dfcbench table all --run   (every built-in method; resumable)
"""


@app.command(epilog=EXAMPLES)
@reported
def table(
    number: Annotated[str, typer.Argument(help="Number of the table in the paper, such as VI; or all.")],
    data: DataOption = None,
    run: Annotated[bool, typer.Option("--run", help="Run what the table still lacks, in order; resumable.")] = False,
    preset: Annotated[str | None, typer.Option("--preset", help="Preset of those runs.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of those runs.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Threads over patches.")] = None,
    scheduler: SchedulerOption = None,
    submissions: SubmissionsOption = SUBMISSIONS,
    methods_dir: MethodsDirOption = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the tables' files.")] = LEADERBOARDS,
) -> None:
    """Show one of the paper's tables, or all: what finished runs on one data set measured, beside what was published.

    Table II tells the regions of the data, from their high-resolution labels.
    """
    from dfcbench import demo, paper
    from dfcbench.former import Former
    from dfcbench.report.paper_table import paper_table, write_paper_table
    from dfcbench.report.tables import show
    from dfcbench.submission import find_submissions

    every, regions = number.lower() == "all", number.upper() == paper.REGIONS
    definitions = list(paper.tables().values()) if every else [] if regions else [paper.table(number)]
    terminal = Terminal()
    chosen = device_for(device, scheduler) if run else device
    writable_folder(out)
    archive = None
    if run or regions or given_data(data) is not None:
        archive = open_archive(data, terminal)
        name = archive.identity.name
    else:
        name = demo.name()
        terminal.note(f"No --data given: looking up runs on the demo contest ({name}).")
    if every or regions:
        _regions(archive, name, terminal, out, workers or cores(), required=regions)
    registry = open_registry(methods_dir)
    failed: list[tuple[str, DataError | UsageError]] = []
    for definition in definitions:
        if run and archive is not None:
            with joined(scheduler, archive, submissions, terminal) as door:
                failed += _run_missing(
                    definition, archive, terminal, preset, seed, chosen, workers, door, submissions, registry
                )
        found, problems = find_submissions(submissions)
        for problem in problems:
            typer.echo(f"warning: left out: {problem.reason}", err=True)
        former = Former(registry, found)
        rendered = paper_table(definition, name, found, former)
        show(rendered)
        written = write_paper_table(rendered, definition.name, name, out)
        typer.echo(f"Written: {', '.join(map(str, written))}")
        if not run and (lacking := paper.missing(definition, name, found, former)):
            given = f" --data {data}" if data else ""
            terminal.note(
                f"Run(s) lacking, or of a former preset: {len(lacking)}. Make them: "
                f"dfcbench table {definition.name}{given} --run"
            )
    if failed:
        first = failed[0][1]
        rows = ", ".join(place for place, _ in failed)
        raise type(first)(f"{len(failed)} run(s) left out: {rows}. The first: {first}") from first


def _regions(
    archive: Archive | None, name: str, terminal: Terminal, out: Path, workers: int, *, required: bool
) -> None:
    """Table II from the data or, where none were opened, from the record that an earlier one left; unless ``required``,
    a note where neither tells regions."""
    from dfcbench.regions import survey
    from dfcbench.report.regions_table import read_regions, regions_table, write_regions
    from dfcbench.report.tables import show

    if archive is None:
        found = read_regions(out, name)
        if found is None:
            terminal.note("Left out: Table II, which is made of the data. Make it: dfcbench table II")
            return
    else:
        try:
            with terminal.progress():
                found = survey(archive, lambda done, total: terminal.advance("counting", done, total), workers)
        except DataError as error:
            if required:
                raise
            terminal.note(f"Left out: Table II: {error}")
            return
    show(regions_table(found))
    typer.echo(f"Written: {', '.join(map(str, write_regions(found, out)))}")


def _run_missing(
    definition: PaperTable,
    archive: Archive,
    terminal: Terminal,
    preset: str | None,
    seed: int,
    device: str,
    workers: int | None,
    door: Door | None,
    submissions: Path,
    registry: Registry,
) -> list[tuple[str, DataError | UsageError]]:
    """Run the rows whose run, by its key, is not there; return those that the data, or the row's own settings, do not
    allow, with reasons."""
    from dfcbench import paper
    from dfcbench.contest import FusionContest
    from dfcbench.plan import Plan, resolve_parameters
    from dfcbench.submission import find_submissions

    present = {submission.key for submission in find_submissions(submissions)[0]}
    failed: list[tuple[str, DataError | UsageError]] = []
    for row, split in paper.cells(definition):
        try:
            loaded = registry.load(row.method)
            params, named = resolve_parameters(loaded.method, row.parameters, preset, demo=archive.identity.demo)
            plan = Plan(
                contest=FusionContest(archive, row.track, split),
                loaded=loaded,
                params=params,
                preset=named,
                seed=seed,
                device=device,
                workers=workers or cores(),
                submissions=submissions,
                registry=registry,
                overrides=row.parameters,
                door=door,
            )
            if plan.key in present:
                continue
            terminal.note(f"Table {definition.name}: {row.label}, {split}")
            perform(plan, terminal, keep_probabilities=True)
        except (DataError, UsageError) as error:
            terminal.note(f"Left out: {row.label}, {split}: {error}")
            failed.append((f"Table {definition.name}, {row.label} ({split})", error))
    return failed
