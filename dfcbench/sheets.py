"""The sheet that a person fills in: written as CSV and as GeoPackage, read back from either, all its faults told at once.

It shows where a point lies and a picture's name, and not what the map says there: judging is blind. Points stand in a
random order, so that neither order nor id tells a point's stratum.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfcbench.check_points import DRAWING, NOWHERE, CheckPoint, Drawing, read_drawing, write_drawing
from dfcbench.errors import DataError, UsageError
from dfcbench.files import write_text
from dfcbench.geopackage import CARTESIAN, WGS84, read_rows, write_points
from dfcbench.scheme import CLASSES, CODES, NAMES

CSV_SHEET = "sheet.csv"
GEOPACKAGE_SHEET = "sheet.gpkg"
GUIDE = "how-to-judge.md"

LAYER = "check_points"

UNSURE = "unsure"

COLUMNS: dict[str, str] = {
    "point": "TEXT",
    "patch": "TEXT",
    "row": "INTEGER",
    "column": "INTEGER",
    "x": "DOUBLE",
    "y": "DOUBLE",
    "crs": "TEXT",
    "chip": "TEXT",
    "class": "TEXT",
    "remark": "TEXT",
}
"""Of both sheets, with their SQL types."""

_FILLED_IN = ("class", "remark")
_PLACE = ("patch", "row", "column")

_MEANINGS = {
    1: "trees higher than 2 m cover more than 60 %",
    2: "shrubs of 1 to 2 m cover more than 10 %",
    3: "trees higher than 2 m cover 10 to 60 %",
    4: "grass and herbs lower than 2 m",
    5: "land under water for good, of which plants cover more than 10 %",
    6: "fields, also mixed with natural vegetation",
    7: "buildings and sealed ground, at least 30 %",
    8: "snow or ice for at least 10 months of the year",
    9: "sand, rock or soil; plants cover less than 10 %",
    10: "lakes, rivers and sea",
}
"""Of the classes, merged as in Table I of the contest's paper from the IGBP legend (Sulla-Menashe and Friedl, User Guide to
Collection 6 MODIS Land Cover, 2018, Table 3)."""

_ID = re.compile(r"p\d+-([0-9a-f]+)")


@dataclass(frozen=True)
class Fault:
    """What is wrong in one place of a sheet."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass
class Judgements:
    """What a sheet says: class code by point id, points whose judge was unsure, points not judged yet, and remarks."""

    classes: dict[str, int] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    blank: set[str] = field(default_factory=set)
    remarks: dict[str, str] = field(default_factory=dict)


def write_sheets(folder: Path, drawing: Drawing, answers: Mapping[str, tuple[str, str]] | None = None) -> None:
    """Write both sheets and the guide for judges; ``answers`` fill in class and remark of the CSV by point id.

    The GeoPackage has degrees of longitude and latitude where all patches are georeferenced; else columns to the right and
    rows downwards of each patch, from its upper left corner.
    """
    rows = [_row(point, "", "") for point in drawing.points]
    places = [(p.longitude, p.latitude) for p in drawing.points if p.longitude is not None and p.latitude is not None]
    located = len(places) == len(rows)
    pixels = [(point.column + 0.5, -(point.row + 0.5)) for point in drawing.points]
    where = (
        "longitude and latitude" if located else "no georeference: columns and, downwards, rows of each point's patch"
    )
    description = f"Check points of drawing {drawing.digest}; {where}"
    srs = WGS84 if located else CARTESIAN
    write_points(folder / GEOPACKAGE_SHEET, LAYER, description, COLUMNS, rows, places if located else pixels, srs)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(point, *(answers or {}).get(point.id, ("", ""))) for point in drawing.points)
    write_text(folder / GUIDE, _guide(drawing, located))
    write_text(folder / CSV_SHEET, buffer.getvalue())


def claim(folder: Path, drawing: Drawing) -> None:
    """Write drawing.json into a folder that is new or empty, or holds the same drawing and nothing that was judged.

    Raises UsageError for any other folder, DataError if the one there cannot be read; nothing is changed then.
    """
    if filled := _filled_sheets(folder):
        raise UsageError(
            f"{filled[0]}: was filled in, and is not overwritten. Choose another --out, or put it elsewhere."
        )
    if (folder / DRAWING).exists():
        if read_drawing(folder) != drawing:
            raise UsageError(f"{folder}: holds another drawing. Choose another --out, or delete that folder.")
    elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UsageError(f"{folder}: is not empty, and holds no drawing. Choose another --out.")
    write_drawing(folder, drawing)


def _filled_sheets(folder: Path) -> list[Path]:
    return [path for path in (folder / CSV_SHEET, folder / GEOPACKAGE_SHEET) if path.exists() and _is_filled_in(path)]


def _is_filled_in(path: Path) -> bool:
    """Whether somebody has written anything into a sheet, or it is not what was written there; so it is to be kept."""
    try:
        rows = list(_rows(path, []))
    except DataError:
        return True
    return not rows or any(text for _, row in rows for name in _FILLED_IN if (text := row.get(name, "").strip()))


def the_sheet(folder: Path) -> Path:
    """The sheet in a folder that was filled in. Raises DataError if none was, or both were."""
    filled = _filled_sheets(folder)
    if len(filled) == 1:
        return filled[0]
    if filled:
        raise DataError(
            f"{folder}: both {CSV_SHEET} and {GEOPACKAGE_SHEET} were filled in. Say with --sheet which one counts."
        )
    raise DataError(
        f"{folder}: no sheet was filled in. Write classes into the column class of {CSV_SHEET} or {GEOPACKAGE_SHEET}, as "
        f"{GUIDE} tells, or name a sheet that lies elsewhere with --sheet."
    )


def read_sheet(path: Path, drawing: Drawing) -> tuple[Judgements, list[Fault]]:
    """What the sheet says of the drawing's points, and everything that is wrong with it.

    A CSV may be of any spreadsheet: with commas, semicolons or tabs, in UTF-8 or UTF-16 with or without a byte order mark
    or in Windows-1252, with rows and columns in any order and columns of its own. A class is a name or a code (10 or 10.0).
    Raises DataError if the file cannot be read at all.
    """
    faults: list[Fault] = []
    judgements = Judgements()
    points = {point.id: point for point in drawing.points}
    lines: dict[str, str] = {}
    foreign: dict[str, list[str]] = {}
    for where, row in _rows(path, faults):
        name = row["point"].strip()
        point = points.get(name)
        if point is None:
            known = _ID.fullmatch(name)
            if known and known[1] != drawing.digest[: len(known[1])]:
                foreign.setdefault(known[1], []).append(where)
            else:
                told = f"there is no point {name!r} in this drawing" if name else "the point's id is missing"
                faults.append(Fault(where, f"{told}. Ids must stay as they were drawn."))
            continue
        if name in lines:
            faults.append(Fault(where, f"point {name} stands in {lines[name]} too. Keep one of them."))
            continue
        lines[name] = where
        faults += (Fault(where, message) for message in _displaced(point, row))
        _judge(judgements, name, row, where, faults)
    for other, places in foreign.items():
        faults.append(
            Fault(
                places[0] if len(places) == 1 else f"{places[0]} and {len(places) - 1} more",
                f"points of another drawing ({other}...); this folder holds {drawing.digest}.",
            )
        )
    if not faults or lines:
        faults += (Fault("missing", f"point {name} is not in the sheet.") for name in points if name not in lines)
    if not faults and not judgements.classes and not judgements.unsure:
        faults.append(Fault("column class", "no point is judged."))
    return judgements, faults


def _judge(judgements: Judgements, name: str, row: Mapping[str, str], where: str, faults: list[Fault]) -> None:
    text = " ".join(row["class"].split())
    if remark := row.get("remark", "").strip():
        judgements.remarks[name] = remark
    if not text:
        judgements.blank.add(name)
    elif text.casefold() == UNSURE:
        judgements.unsure.add(name)
    elif (code := class_code(text)) is not None:
        judgements.classes[name] = code
    else:
        near = difflib.get_close_matches(text.casefold(), [*_CODES, UNSURE], 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        faults.append(Fault(where, f"{text!r} is no class. Give a name or code of {GUIDE}, or {UNSURE}.{hint}"))


def class_code(text: str) -> int | None:
    """The class that a judge means by its name, half of a name with a slash, or its code, also as 10.0 or 10,0."""
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return _CODES.get(text.casefold())
    return int(number) if number in CODES else None


_CODES = {c.name.casefold(): c.code for c in CLASSES}
_CODES |= {part: code for name, code in _CODES.items() for part in name.split("/")}


def _displaced(point: CheckPoint, row: Mapping[str, str]) -> Iterator[str]:
    """Where the sheet says that the point lies elsewhere: its id or its place was edited. Absent columns say nothing."""
    drawn = {"patch": point.patch, "row": str(point.row), "column": str(point.column)}
    said = {name: re.sub(r"[.,]0+$", "", row[name].strip()) for name in _PLACE if name in row}
    if wrong := [f"{name} {text or 'nothing'}" for name, text in said.items() if text != drawn[name]]:
        place = f"patch {point.patch}, row {point.row}, column {point.column}"
        yield f"point {point.id} was drawn at {place}; here stands {', '.join(wrong)}. Ids and places must stay."


def _rows(path: Path, faults: list[Fault]) -> Iterator[tuple[str, dict[str, str]]]:
    """Where a row stands, and its cells by column. The columns ``point`` and ``class`` are there, or nothing is."""
    if path.suffix.lower() == ".gpkg":
        found: Iterable[tuple[str, dict[str, str]]] = (
            (f"feature {number}", {name.lower(): "" if value is None else str(value) for name, value in row.items()})
            for number, row in read_rows(path, LAYER)
        )
    else:
        found = _csv_rows(path, faults)
    for where, row in found:
        if lacking := [name for name in ("point", "class") if name not in row]:
            faults.append(Fault("header", f"there is no column {' and no column '.join(lacking)}."))
            return
        yield where, row


def _csv_rows(path: Path, faults: list[Fault]) -> Iterator[tuple[str, dict[str, str]]]:
    text = _text(path)
    first = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            where, start = f"line {start}", reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = [cell.strip().lower() for cell in cells]
                if twice := sorted({name for name in header if name and header.count(name) > 1}):
                    faults.append(Fault(where, f"the column {', '.join(twice)} is there twice."))
                    return
                continue
            if any(cell.strip() for cell in cells[len(header) :]):
                told = f"{len(cells)} cells where the header has {len(header)}. Put quotation marks around remarks."
                faults.append(Fault(where, told))
                continue
            yield where, dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=False))
    except csv.Error as error:
        faults.append(Fault(f"line {start}", f"cannot be read as CSV ({error})."))
    if header is None:
        faults.append(Fault("line 1", "the sheet is empty."))


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise DataError(f"{path}: is a spreadsheet's own file. Save the sheet as CSV, and name that.")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _row(point: CheckPoint, answer: str, remark: str) -> dict[str, Any]:
    known = {name: getattr(point, name) for name in ("patch", "row", "column", "x", "y", "crs", "chip")}
    return {"point": point.id, **known, "class": answer, "remark": remark}


def _guide(drawing: Drawing, located: bool) -> str:
    classes = "\n".join(f"| {code} | {name} | {_MEANINGS[code]} |" for code, name in NAMES.items())
    place = (
        "`x` and `y` are the middle of the point's pixel in the coordinate system `crs`."
        if located
        else f"Where `crs` is `{NOWHERE}`, the data have no georeference: `x` and `y` count columns and rows of the patch, "
        "from its upper left corner, and points of the GeoPackage have no place on a map."
    )
    return f"""# How to judge

{len(drawing.points)} check points, drawing {drawing.digest}.
Data: {drawing.subject.data["title"]}, {drawing.subject.split} split.

Look at each point's picture in `chips/`: to the left the surroundings, magnified, with the pixel to be judged framed; to the
right the whole patch, with the frame of the left half. Write into the column `class` of `{CSV_SHEET}` **or**
`{GEOPACKAGE_SHEET}` (not both) which class covers most of that one pixel: its name or its code. Write `{UNSURE}` where it
cannot be told; such points are counted and left out. `remark` is yours. Ids, patches, rows and columns must stay as they
are; the order of rows, and columns of your own, do not matter.

Do not open `{DRAWING}` before you are done: it tells what the map says.

| code | class | what it is |
|---:|---|---|
{classes}

What a class is follows the IGBP legend of the MODIS land cover, whose classes the contest merged. Its shares are meant for
500 m; of a single pixel of 10 m, judge what stands or lies there.

{place}
"""
