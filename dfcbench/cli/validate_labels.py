"""``dfcbench validate-labels``: how right labels or maps are, from points that people judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfcbench.cli.app import app, reported
from dfcbench.cli.console import Terminal
from dfcbench.cli.options import SUBMISSIONS, DataOption, SubmissionsOption, open_archive
from dfcbench.cli.run import cores
from dfcbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from dfcbench.archive import Archive
    from dfcbench.check_points import Codes, Drawing, Subject
    from dfcbench.patches import PatchSet
    from dfcbench.submission import Submission

validate_app = typer.Typer(
    help="Draw check points for people to judge, and tell how right the labels or a submission's maps are.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(validate_app, name="validate-labels")

LABELS = "labels"

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `validate-labels draw` wrote.")]

DRAW_EXAMPLES = """Examples:

  dfcbench validate-labels draw --data /data/dfc --split validation --points 100 --out check

  dfcbench validate-labels draw --what bag --by-class --points 50 --out check-bag

50 points of every class are the usual least (Congalton, Remote Sensing of Environment 37, 1991). The folder gets sheet.csv
and sheet.gpkg (fill in one of them), a picture per point, and how-to-judge.md. drawing.json tells what the map says: judges
must not see it. The same command draws the same points; a sheet that was filled in is never overwritten.
"""

REPORT_EXAMPLES = """Examples:

  dfcbench validate-labels report check --judge "A. Reader"

  dfcbench validate-labels report check --sheet returned.csv --partial

  dfcbench validate-labels report check --maps unet --out check-unet

Exit code 3 if the sheet has faults; all of them are listed with their lines.
"""

SIMULATE_EXAMPLES = """Example:

  dfcbench validate-labels simulate check --error 0.1
"""


@validate_app.command("draw", epilog=DRAW_EXAMPLES)
@reported
def draw_points(
    out: Annotated[Path, typer.Option("--out", help="Folder for sheets and pictures; new, or of the same drawing.")],
    data: DataOption = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="test, validation or regional. Default: the submission's; of labels, test."),
    ] = None,
    what: Annotated[
        str,
        typer.Option(
            "--what", metavar="labels|RUN", help="The reference labels, or a run: its folder, name, key, method."
        ),
    ] = LABELS,
    points: Annotated[int, typer.Option("--points", min=1, help="Points per region, or per class and region.")] = 50,
    by_class: Annotated[
        bool, typer.Option("--by-class", help="So many points of every class of the map in each region.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed draws other points.")] = 0,
    submissions: SubmissionsOption = SUBMISSIONS,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Threads over patches. Default: one per core.")
    ] = None,
) -> None:
    """Draw random check points, stratified by region, and write sheets and pictures for a person to judge, blindly."""
    from dfcbench.check_points import draw
    from dfcbench.report.chips import write_chips
    from dfcbench.sheets import CSV_SHEET, GUIDE, claim, write_sheets

    terminal = Terminal()
    run = None if what == LABELS else _run(what, split, submissions)
    archive = open_archive(data, terminal)
    patches, codes, subject = _labels(archive, split or "test") if run is None else _maps(archive, run)
    regions = {record.id: name for name, records in archive.regions(subject.split).items() for record in records}
    with terminal.progress():
        drawing = draw(
            patches,
            codes,
            subject,
            points=points,
            by_class=by_class,
            seed=seed,
            regions=[regions.get(patch_id) for patch_id in patches.ids],
            workers=workers or cores(),
            progress=lambda done, total: terminal.advance("reading labels", done, total),
        )
        claim(out, drawing)
        write_chips(
            out,
            drawing,
            patches,
            workers or cores(),
            lambda done, total: terminal.advance("drawing pictures", done, total),
        )
        write_sheets(out, drawing)
    for stratum in drawing.strata:
        if stratum.points < points:
            terminal.note(f"{stratum.title} has {stratum.pixels} pixel(s) only; all of them were drawn.")
    typer.echo(
        f"{len(drawing.points)} points in {len(drawing.strata)} strata: {out / CSV_SHEET} (drawing {drawing.digest})"
    )
    typer.echo(f"Next: fill it in as {out / GUIDE} tells, then dfcbench validate-labels report {out}")


@validate_app.command("report", epilog=REPORT_EXAMPLES)
@reported
def report_accuracy(
    folder: FolderArgument,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="The sheet that was filled in, if it is not the one in DIR.")
    ] = None,
    judge: Annotated[str | None, typer.Option("--judge", metavar="NAME", help="Who judged.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Report although some points are not judged yet; they are left out.")
    ] = False,
    maps: Annotated[
        str | None,
        typer.Option(
            "--maps", metavar="RUN", help="Accuracy of this run's maps at the same points, not of what was drawn."
        ),
    ] = None,
    submissions: SubmissionsOption = SUBMISSIONS,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the report's files. Default: DIR.")] = None,
) -> None:
    """Tell overall accuracy, precision, recall and the confusion matrix with intervals; write report.md, .csv and .tex."""
    from dfcbench.check_points import read_drawing
    from dfcbench.files import writable_folder
    from dfcbench.map_accuracy import validate
    from dfcbench.report.label_validation import Report, heading, tables, title, write
    from dfcbench.report.tables import show
    from dfcbench.sheets import read_sheet, the_sheet
    from dfcbench.simulated_judge import simulation

    drawing = read_drawing(folder)
    chosen = sheet or the_sheet(folder)
    place = writable_folder(out or folder)
    judgements, faults = read_sheet(chosen, drawing)
    for fault in faults:
        typer.echo(f"{chosen}: {fault}")
    if faults:
        raise DataError(f"{chosen}: {len(faults)} fault(s), listed above. Mend them in the sheet.")
    if judgements.blank and not partial:
        names = ", ".join(sorted(judgements.blank)[:6])
        raise DataError(
            f"{chosen}: {len(judgements.blank)} of {len(drawing.points)} points are not judged yet, such as {names}. Judge "
            "them, write unsure where that cannot be done, or report on the others with --partial."
        )
    subject, mapped = drawing.subject, None
    if maps is not None:
        subject, mapped = _other_maps(drawing, maps, submissions)
    simulated = simulation(judgements)
    report = Report(validate(drawing, judgements, mapped), drawing, subject, judge, simulated)
    typer.echo(f"{title(report)}\n\n" + "\n".join(heading(report)) + "\n")
    for table in tables(report):
        show(table)
    typer.echo(f"Written: {', '.join(map(str, write(report, place)))}")


@validate_app.command("simulate", epilog=SIMULATE_EXAMPLES)
@reported
def simulate_judge(
    folder: FolderArgument,
    error: Annotated[
        float, typer.Option("--error", min=0, max=1, help="How often it names another class than the reference's.")
    ] = 0.1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of its errors.")] = 0,
    data: DataOption = None,
) -> None:
    """Fill in the sheet from the reference with a known rate of errors, to try the tool; every report says SIMULATED."""
    from dfcbench.check_points import read_drawing
    from dfcbench.sheets import CSV_SHEET, claim, write_sheets
    from dfcbench.simulated_judge import simulate

    drawing = read_drawing(folder)
    archive = open_archive(data, Terminal())
    split = drawing.subject.split
    _require_same(archive, split, drawing.subject.data["fingerprint"], drawing.subject.data["title"])
    answers = simulate(drawing, archive.labelled(split), error, seed)
    claim(folder, drawing)
    write_sheets(folder, drawing, answers)
    typer.echo(f"{folder / CSV_SHEET}: filled in by a SIMULATED judge. Next: dfcbench validate-labels report {folder}")


def _labels(archive: Archive, split: str) -> tuple[PatchSet, Codes, Subject]:
    from dfcbench.check_points import Subject

    labelled = archive.labelled(split)
    found = archive.identity
    data = {"name": found.name, "title": found.title, "official": found.official}
    data["fingerprint"] = archive.fingerprint(split)
    return labelled, lambda row: labelled[row].high, Subject(data, split)


def _run(what: str, split: str | None, submissions: Path) -> Submission:
    from dfcbench.selection import choose_one

    run = choose_one(what, submissions)
    if split not in (None, run.meta["split"]):
        raise UsageError(f"--split {split}: {run.folder} is of the {run.meta['split']} split. Leave --split away.")
    return run


def _maps(archive: Archive, run: Submission) -> tuple[PatchSet, Codes, Subject]:
    from dfcbench.contest import FusionContest
    from dfcbench.maps import SubmissionMaps

    meta = run.meta
    _require_same(archive, meta["split"], meta["data"]["fingerprint"], meta["data"]["title"])
    patches = FusionContest(archive, meta["track"], meta["split"], meta["data"].get("limit")).scored
    maps = SubmissionMaps(run.folder, patches.ids)
    return patches, lambda row: maps.labels(patches.ids[row]), _subject(run)


def _subject(run: Submission) -> Subject:
    from dfcbench.check_points import Subject

    data = {name: run.meta["data"][name] for name in ("name", "title", "official", "fingerprint")}
    return Subject(data, run.meta["split"], run.meta["method"]["name"], run.folder.name, run.key)


def _other_maps(drawing: Drawing, maps: str, submissions: Path) -> tuple[Subject, dict[str, int]]:
    """The run and what its maps say at the drawing's points. Raises UsageError if it is of other data or another split."""
    from dfcbench.check_points import codes_at
    from dfcbench.maps import SubmissionMaps

    run = _run(maps, drawing.subject.split, submissions)
    subject, drawn = _subject(run), drawing.subject
    if subject.data["fingerprint"] != drawn.data["fingerprint"]:
        raise UsageError(
            f"{run.folder}: is of {subject.data['title']} (fingerprint {subject.data['fingerprint']}); the points were "
            f"drawn from {drawn.data['title']} (fingerprint {drawn.data['fingerprint']}). Name a run on the same data."
        )
    ids = sorted({point.patch for point in drawing.points})
    found = SubmissionMaps(run.folder, ids)
    codes = codes_at(drawing, ids, lambda row: found.labels(ids[row]))
    return subject, {point.id: code for point, code in zip(drawing.points, codes, strict=True)}


def _require_same(archive: Archive, split: str, fingerprint: str, title: str) -> None:
    found = archive.fingerprint(split)
    if found != fingerprint:
        raise UsageError(
            f"{archive.root}: its {split} split (fingerprint {found}) is not what this is about, {title} (fingerprint "
            f"{fingerprint}). Give those data with --data."
        )
