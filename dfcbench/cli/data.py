"""``dfcbench data``: what is there, whether it is sound, importing archives, and the demo contest."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfcbench.cli.app import app, reported
from dfcbench.cli.console import Terminal
from dfcbench.cli.options import DataOption, open_archive
from dfcbench.errors import DataError

if TYPE_CHECKING:
    from dfcbench.archive import Archive
    from dfcbench.verify import Fault

data_app = typer.Typer(
    help="Look at the data, check them, import the contest's archives, write the demo contest.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")


class DemoSize(StrEnum):
    """How large a demo contest is."""

    tiny = "tiny"
    demo = "demo"
    full = "full"


@data_app.command("info")
@reported
def info(
    data: DataOption = None,
    sample: Annotated[
        int, typer.Option("--sample", min=0, help="Patches per split that band statistics are taken from; 0 for all.")
    ] = 200,
) -> None:
    """Tell what was found: splits, patches, modalities, class shares, band statistics."""
    from dfcbench.report.data_tables import summary_tables
    from dfcbench.report.tables import show
    from dfcbench.summary import summarise

    terminal = Terminal()
    archive = open_archive(data, terminal)
    with terminal.progress():
        summaries = summarise(
            archive, sample=sample or None, progress=lambda done, total: terminal.advance("reading", done, total)
        )
    typer.echo(f"{archive.identity.title}, in {archive.root}\n")
    for summary in summaries:
        for table in summary_tables(summary):
            show(table)


@data_app.command("verify")
@reported
def verify(data: DataOption = None) -> None:
    """Read every file and report all faults at once; exit code 3 if there is an error."""
    terminal = Terminal()
    archive = open_archive(data, terminal)
    _tell(archive, _faults(archive, terminal))


@data_app.command("import")
@reported
def import_archives(
    archives: Annotated[list[Path], typer.Argument(help="The contest's zip archives, as downloaded.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to unpack into; what is complete there is kept.")],
) -> None:
    """Unpack the contest's archives into the contest's layout, resuming where an earlier import stopped, and verify."""
    from dfcbench.archive import Archive
    from dfcbench.importer import import_archives as unpack

    terminal = Terminal()
    with terminal.progress():
        report = unpack(archives, out, progress=lambda done, total: terminal.advance("unpacking", done, total))
    typer.echo(
        f"{report.written} file(s) written to {out}, {report.present} there already; "
        f"{report.unknown} not of the contest, {len(report.refused)} refused."
    )
    for name in report.examples:
        typer.echo(f"  not of the contest: {name}")
    for name, reason in report.refused:
        typer.echo(f"  refused: {name}: {reason}")
    refused = f"{out}: {len(report.refused)} file(s) refused, listed above. Import sound archives in their place."
    if report.refused and not report.splits:
        raise DataError(refused)
    archive = Archive.open(out)
    faults = _faults(archive, terminal)
    absent = [fault for fault in faults if _is_not_imported(fault)]
    for fault in absent:
        typer.echo(f"Not imported yet: {fault.split}: {fault.message}")
    _tell(archive, [fault for fault in faults if fault not in absent])
    if report.refused:
        raise DataError(refused)


@data_app.command("demo")
@reported
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder to write the contest into.")],
    size: Annotated[DemoSize, typer.Option("--size", help="tiny, demo, or full (986 + 5128 patches).")] = DemoSize.demo,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed is another contest.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Delete another demo contest that lies in --out.")] = False,
) -> None:
    """Write the demo contest: an artificial landscape in the contest's own layout."""
    from dfcbench.demo import generate

    terminal = Terminal()
    with terminal.progress():
        generate(
            out,
            size.value,
            seed,
            replace=replace,
            progress=lambda done, total: terminal.advance("generating the demo contest", done, total),
        )
    typer.echo(f"Demo contest ({size.value}, seed {seed}) in {out}. Next: dfcbench data info --data {out}")


def _faults(archive: Archive, terminal: Terminal) -> list[Fault]:
    from dfcbench.verify import verify as check

    with terminal.progress():
        return check(archive, progress=lambda done, total: terminal.advance("verifying", done, total), workers=2)


def _tell(archive: Archive, faults: Sequence[Fault]) -> None:
    """Print the faults and their number; DataError if one of them is an error."""
    for fault in faults:
        typer.echo(str(fault))
    patches = sum(len(records) for records in archive.splits.values())
    errors = sum(fault.severity == "error" for fault in faults)
    typer.echo(f"{patches} patches checked in {archive.root}: {errors} error(s), {len(faults) - errors} warning(s).")
    if errors:
        raise DataError(f"{archive.root}: {errors} error(s), listed above. Replace those files by fresh copies.")


def _is_not_imported(fault: Fault) -> bool:
    """Whether a whole modality of a split is not there: one archive of several, which may follow."""
    whole = fault.path is None and fault.patch_id is None
    return whole and fault.kind == "missing" and fault.message.startswith("none of")
