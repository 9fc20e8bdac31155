"""``dfcbench compare``: runs side by side, and where on the ground they differ."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfcbench.cli.app import app, reported
from dfcbench.cli.console import Terminal
from dfcbench.cli.options import SUBMISSIONS, SubmissionsOption, given_data
from dfcbench.cli.run import cores
from dfcbench.errors import DataError, UsageError
from dfcbench.files import writable_folder, write_text

if TYPE_CHECKING:
    from dfcbench.archive import Archive
    from dfcbench.comparison import Comparison
    from dfcbench.patches import LabelledPatchSet
    from dfcbench.report.comparison import Patches

EXAMPLES = """Examples:

  dfcbench compare bag epitome --track 1 --split test

  dfcbench compare submissions/track1/bag/* 7c14c73c --out comparison

  dfcbench compare random-forest --pairwise --patches 0

McNemar's test on pixels is not offered: it takes pixels for independent, and neighbouring pixels are not.
"""


@app.command(epilog=EXAMPLES)
@reported
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C ...]",
            help="Submission folders, names or keys of runs (or their beginnings), or methods: all their finished runs.",
            show_default=False,
        ),
    ],
    track: Annotated[int | None, typer.Option("--track", help="Of the methods' runs, those on this track.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="Of the methods' runs, those on this split.")] = None,
    data_name: Annotated[
        str | None, typer.Option("--data-name", help="Of the methods' runs, those on this data set.")
    ] = None,
    pairwise: Annotated[bool, typer.Option("--pairwise", help="Differences of all pairs, not only to A.")] = False,
    no_fold: Annotated[
        bool, typer.Option("--no-fold", help="Keep seeds of one method apart, instead of their mean and deviation.")
    ] = False,
    patches: Annotated[
        int, typer.Option("--patches", min=0, max=40, help="Patches to show, those that differ most; 0 for none.")
    ] = 6,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder of the contest's data, to tell pixel by pixel who is right. Default: DFCBENCH_DATA, else the demo "
            "contest if that is what the runs are about.",
        ),
    ] = None,
    submissions: SubmissionsOption = SUBMISSIONS,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for Markdown, CSV and figures. Default: print only.")
    ] = None,
) -> None:
    """Compare runs: class by class, with paired bootstrap intervals over patches, by region and by patch."""
    from dfcbench.comparison import compare as side_by_side
    from dfcbench.comparison import fold
    from dfcbench.contest import require_place
    from dfcbench.report.comparison import heading, tables
    from dfcbench.report.tables import show
    from dfcbench.selection import choose

    terminal = Terminal()
    require_place(track, split)
    chosen, problems = choose(runs, submissions, track=track, split=split, data=data_name)
    for problem in problems:
        typer.echo(f"warning: left out: {problem.reason}", err=True)
    comparison = side_by_side(fold(chosen, seeds=not no_fold), pairwise=pairwise)
    _note_same(comparison, terminal)
    if out is not None:
        writable_folder(out)
    reference = _reference(comparison, data, terminal) if patches else None
    differing = _differing(comparison, reference, terminal) if patches else []
    written = [] if out is None else _write(comparison, differing, patches, reference, out)
    typer.echo(f"Data: {heading(comparison)}")
    for table in tables(comparison, differing, patches):
        show(table)
    if written:
        typer.echo(f"Written: {', '.join(map(str, written))}")


def _note_same(comparison: Comparison, terminal: Terminal) -> None:
    """Say so where a side is compared with itself."""
    for first, second in (tuple(comparison.sides[i] for i in pair) for pair in comparison.pairs):
        if [run.key for run in first.runs] == [run.key for run in second.runs]:
            terminal.note(f"{first.letter} and {second.letter} are the same: {first.label}. They differ in nothing.")


def _reference(comparison: Comparison, data: Path | None, terminal: Terminal) -> LabelledPatchSet | None:
    """The patches with their reference, if these data are at hand; a note says why not.

    Raises UsageError if ``data`` was given and is not what the runs are about.
    """
    run = comparison.sides[0].runs[0]
    meta, split = run.meta["data"], run.meta["split"]
    try:
        archive = _archive(data, meta["name"])
        if archive is None:
            terminal.note("No data at hand, so who is right in which pixel is not told; --data or DFCBENCH_DATA tells.")
            return None
        found = archive.fingerprint(split)
        if found != meta["fingerprint"]:
            raise UsageError(
                f"{archive.root}: its {split} split (fingerprint {found}) is not what these runs are about, "
                f"{meta['title']} (fingerprint {meta['fingerprint']}). Give their data, or leave --data away."
            )
        return archive.labelled(split).select(run.confusion.ids)
    except (DataError, UsageError) as error:
        if data is not None:
            raise
        terminal.note(f"Who is right in which pixel is not told: {error}")
        return None


def _archive(data: Path | None, name: str) -> Archive | None:
    from dfcbench import demo
    from dfcbench.archive import Archive

    folder = given_data(data)
    if folder is None:
        made = demo.cache_directory() / name
        folder = made if (made / demo.MANIFEST).is_file() else None
    return None if folder is None else Archive.open(folder)


def _differing(comparison: Comparison, reference: LabelledPatchSet | None, terminal: Terminal) -> list[Patches]:
    from dfcbench.comparison import map_differences, net_differences, representatives
    from dfcbench.maps import has_maps
    from dfcbench.report.comparison import Patches

    found = []
    for pair in comparison.pairs:
        first, second = (comparison.sides[i] for i in pair)
        a, b = representatives(first, second)
        mapless = [] if reference is None else [run for run in (a, b) if not has_maps(run.folder, reference.ids)]
        for run in mapless:
            terminal.note(f"{run.folder}: its maps are not here; `dfcbench run` makes them again.")
        if reference is None or mapless:
            differences = net_differences(a, b)
        else:
            advance = partial(terminal.advance, f"patches of {first.letter} and {second.letter}")
            with terminal.progress():
                differences = map_differences(a, b, reference, workers=cores(), progress=advance)
        found.append(Patches(pair, (a, b), tuple(differences)))
    return found


def _write(
    comparison: Comparison, differing: list[Patches], most: int, reference: LabelledPatchSet | None, out: Path
) -> list[Path]:
    from dfcbench.report.comparison import markdown, patches_csv, values_csv
    from dfcbench.report.comparison_figures import differences_figure, pair_views, patches_figure

    figures = {"differences.png": "Differences with their intervals"}
    written = [differences_figure(comparison, out / "differences.png")]
    for each in differing:
        if reference is None or not each.by_pixel:
            continue
        first, second = (comparison.sides[i] for i in each.pair)
        views = pair_views(each.runs, each.differences[:most], reference)
        name = f"patches-{first.letter}-{second.letter}.png"
        title = f"Where {first.letter} ({first.label}) and {second.letter} ({second.label}) differ most"
        written.append(patches_figure(views, (first.letter, second.letter), out / name, title))
        figures[name] = title
    texts = {"comparison.md": markdown(comparison, differing, most, figures), "comparison.csv": values_csv(comparison)}
    if differing:
        texts["patches.csv"] = patches_csv(comparison, differing)
    for name, text in texts.items():
        write_text(out / name, text)
    return [*(out / name for name in texts), *written]
