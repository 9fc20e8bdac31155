"""Table II: the regions of a data set, and the record beside it from which the table can be made again without the data."""

from __future__ import annotations

import json
from pathlib import Path

from dfcbench.errors import DataError
from dfcbench.files import json_text, write_bytes
from dfcbench.paper import REGIONS
from dfcbench.regions import Region, Regions
from dfcbench.report.board import CLASS_COLUMNS
from dfcbench.report.paper_table import render_paper_table
from dfcbench.report.tables import Cell, Column, Table, best_in_columns

TITLE = f"Table {REGIONS}. Regions: size, season, classes of the reference, and correlation with all regions together"


def regions_table(found: Regions) -> Table:
    """A line for each region, and one for all of them; the largest share of each class is bold."""
    columns = (
        Column("region"),
        Column("patches", "count", block=1),
        Column("km2", "number", block=1),
        Column("season", block=1),
        Column("correlation", "number", short="corr.", block=1),
        *CLASS_COLUMNS,
    )
    whole = found.whole
    rows = [_cells(region, found.correlation(region)) for region in found.regions]
    bold = best_in_columns(rows, range(len(columns) - len(CLASS_COLUMNS), len(columns)))
    splits = ", ".join(f"{split} {digits}" for split, digits in sorted(found.fingerprints.items()))
    notes = [
        f"Data: {found.title} (fingerprints: {splits})."
        + ("" if found.official else " Not the official data of DFC2020."),
        "Classes: shares in percent of the reference pixels that have a scored class. km2: all pixels, of 10 m.",
        "Correlation: Pearson's, of a region's eight shares with those of all regions together.",
        "The cells of the paper's Table II could not be recovered.",
    ]
    if not any(region.season for region in found.regions):
        notes.append("These data do not tell seasons.")
    return Table(
        TITLE,
        columns,
        (*rows, _cells(whole, None)),
        notes=tuple(notes),
        bold=bold,
        rules=frozenset({len(rows)}),
    )


def render_regions(found: Regions) -> dict[str, bytes]:
    """``<data>/table-II.md``, ``.csv``, ``.tex``, and the record, ``.json``, by their paths below the folder of boards."""
    return render_paper_table(regions_table(found), REGIONS, found.name) | {
        _record(found.name): json_text(found.to_json()).encode("utf-8")
    }


def write_regions(found: Regions, root: Path) -> tuple[Path, ...]:
    """Write these files below ``root``, and return their paths."""
    files = render_regions(found)
    for path, content in files.items():
        write_bytes(root / path, content)
    return tuple(root / path for path in files)


def read_regions(root: Path, data: str) -> Regions | None:
    """What the record of a data set below ``root`` tells; None if there is none.

    Raises DataError if it cannot be read, or is about other data.
    """
    path = root / _record(data)
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Write it anew with `dfcbench table II`.") from error
    found = Regions.from_json(value, str(path))
    if found.name != data:
        raise DataError(f"{path}: is about {found.name}, and lies in the folder of {data}. Delete it.")
    return found


def _record(data: str) -> str:
    return f"{data}/table-{REGIONS}.json"


def _cells(region: Region, correlation: float | None) -> tuple[Cell, ...]:
    return (region.name, region.patches, region.area, region.season, correlation, *region.shares)
