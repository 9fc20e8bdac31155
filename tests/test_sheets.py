"""Sheets as spreadsheets and people leave them: read alike, or every fault told with its line."""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dfcbench.archive import Archive
from dfcbench.check_points import Drawing, Subject, draw
from dfcbench.errors import DataError
from dfcbench.scheme import CLASSES, CODES, NAMES
from dfcbench.sheets import CSV_SHEET, GEOPACKAGE_SHEET, Judgements, class_code, read_sheet, the_sheet, write_sheets

DATA = {"name": "made", "title": "Made up", "official": False, "fingerprint": "f" * 16}


def drawing_of(root: Path, seed: int = 0) -> Drawing:
    patches = Archive.open(root).labelled("validation")
    subject = Subject(DATA, "validation")
    return draw(patches, lambda row: patches[row].high, subject, points=12, by_class=False, seed=seed)


@pytest.fixture
def drawing(small_root) -> Drawing:
    return drawing_of(small_root)


@pytest.fixture
def filled(tmp_path: Path, drawing: Drawing) -> Path:
    """A sheet in which point number n has class code 1 + n % 10, but for an unsure one; some remarks are hard to read."""
    answers = {p.id: (NAMES[CODES[n % 10]], "") for n, p in enumerate(drawing.points)}
    first, second, third = (point.id for point in drawing.points[:3])
    answers[first] = ("unsure", "Zürich?")
    answers[second] = (answers[second][0], 'a "field", or two\nlines')
    answers[third] = (answers[third][0], "=1+1; no formula")
    write_sheets(tmp_path, drawing, answers)
    return tmp_path / CSV_SHEET


def expected(drawing: Drawing) -> dict[str, int]:
    return {p.id: CODES[n % 10] for n, p in enumerate(drawing.points) if n}


def rewritten(path: Path, change: Callable[[list[list[str]]], list[list[str]]] = list, **how) -> str:
    with path.open(newline="", encoding="utf-8") as file:
        rows = change(list(csv.reader(file)))
    buffer = io.StringIO()
    csv.writer(buffer, **{"lineterminator": "\n", **how}).writerows(rows)
    return buffer.getvalue()


def codes(form: str) -> Callable[[list[list[str]]], list[list[str]]]:
    """Class names replaced by codes in a format."""
    known = {name: code for code, name in NAMES.items()}
    return lambda rows: [[form % known[cell] if cell in known else cell for cell in row] for row in rows]


def places(form: str) -> Callable[[list[list[str]]], list[list[str]]]:
    """Rows and columns as a spreadsheet writes numbers."""
    return lambda rows: [rows[0], *([*row[:2], form % int(row[2]), form % int(row[3]), *row[4:]] for row in rows[1:])]


MANNERS: dict[str, Callable[[Path], bytes]] = {
    "as it was written": lambda path: path.read_bytes(),
    "a byte order mark": lambda path: b"\xef\xbb\xbf" + path.read_bytes(),
    "line ends of Windows": lambda path: rewritten(path, lineterminator="\r\n").encode(),
    "semicolons": lambda path: rewritten(path, delimiter=";").encode(),
    "tabs in UTF-16": lambda path: rewritten(path, delimiter="\t", lineterminator="\r\n").encode("utf-16"),
    "all quoted": lambda path: rewritten(path, quoting=csv.QUOTE_ALL).encode(),
    "Windows-1252": lambda path: rewritten(path).encode("cp1252"),
    "codes": lambda path: rewritten(path, codes("%d")).encode(),
    "codes of Excel": lambda path: rewritten(path, codes("%.1f")).encode(),
    "codes of a German Excel": lambda path: rewritten(path, codes("%d,0"), delimiter=";").encode(),
    "places of Excel": lambda path: rewritten(path, places("%.1f")).encode(),
    "rows turned round": lambda path: rewritten(path, lambda rows: [rows[0], *rows[:0:-1]]).encode(),
    "columns turned round": lambda path: rewritten(path, lambda rows: [row[::-1] for row in rows]).encode(),
    "columns of one's own": lambda path: rewritten(path, lambda rows: [["Nr", *row, ""] for row in rows]).encode(),
    "needed columns alone": lambda path: rewritten(path, lambda rows: [[row[0], row[8]] for row in rows]).encode(),
    "capitals": lambda path: rewritten(path, lambda rows: [[c.upper() for c in rows[0]], *rows[1:]]).encode(),
    "shouted classes": lambda path: rewritten(path, lambda rows: [[*r[:8], r[8].upper(), r[9]] for r in rows]).encode(),
    "spaces": lambda path: rewritten(path, lambda rows: [[f" {cell} " for cell in row] for row in rows]).encode(),
    "empty lines": lambda path: (rewritten(path) + "\n,,,,,,,,,\n   \n").encode(),
}


@pytest.mark.parametrize("manner", MANNERS)
def test_a_sheet_is_read_alike_however_a_spreadsheet_saves_it(filled, drawing, manner):
    filled.write_bytes(MANNERS[manner](filled))
    judgements, faults = read_sheet(filled, drawing)
    assert faults == []
    assert judgements.classes == expected(drawing)
    assert judgements.unsure == {drawing.points[0].id}
    assert not judgements.blank
    if manner != "needed columns alone":
        assert judgements.remarks[drawing.points[0].id] == "Zürich?"
        assert len(judgements.remarks) == 3


def test_a_geopackage_is_filled_in_as_well(filled, drawing):
    path = filled.with_name(GEOPACKAGE_SHEET)
    assert read_sheet(path, drawing)[0] == Judgements(blank={point.id for point in drawing.points})
    with closing(sqlite3.connect(path)) as database, database:
        for point, code in expected(drawing).items():
            database.execute("UPDATE check_points SET class = ? WHERE point = ?", (code, point))
        database.execute("UPDATE check_points SET class = 'Unsure' WHERE class = ''")
    judgements, faults = read_sheet(path, drawing)
    assert faults == []
    assert (judgements.classes, judgements.unsure) == (expected(drawing), {drawing.points[0].id})
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM check_points WHERE fid = 5")
        database.execute("UPDATE check_points SET class = 11 WHERE fid = 7")
        database.execute("UPDATE check_points SET row = row + 1 WHERE fid = 9")
    told = [str(fault) for fault in read_sheet(path, drawing)[1]]
    assert [text.partition(":")[0] for text in told] == ["feature 7", "feature 9", "missing"]
    assert drawing.points[4].id in told[-1]


def test_every_fault_is_told_at_once_with_its_line(filled, drawing):
    """Lines are those of the file: the remark of line 3 goes on in line 4."""
    ids = [point.id for point in drawing.points]

    def spoil(rows):
        rows[4][8] = "Forrest"
        rows[5][8] = "11"
        rows[6][8] = "0"
        rows[7][2] = "99"
        rows[8][0] = ids[8]
        rows[10][0] = "p99-000000"
        rows[11][0] = ""
        rows[12].append("shifted by a comma")
        return rows

    filled.write_text(rewritten(filled, spoil))
    told = [str(fault) for fault in read_sheet(filled, drawing)[1]]
    for line, *words in (
        ("line 6", "'Forrest'", "forest"),
        ("line 7", "'11'"),
        ("line 8", "'0'", "unsure"),
        ("line 9", ids[6], "row 99", f"row {drawing.points[6].row}"),
        ("line 10", ids[8], "drawn at"),
        ("line 11", ids[8], "stands in line 10 too"),
        ("line 12", "another drawing (000000...)", drawing.digest),
        ("line 13", "id is missing"),
        ("line 14", "11 cells where the header has 10"),
    ):
        (fault,) = [text for text in told if text.startswith(f"{line}:")]
        assert all(word in fault for word in words), fault
    missing = [text for text in told if text.startswith("missing")]
    assert [re.search(r"point (\S+) is not", text)[1] for text in missing] == [ids[7], ids[9], ids[10], ids[11]]
    assert len(told) == 9 + 4


@pytest.mark.parametrize(
    ("content", "where", "words"),
    [
        ("", "line 1", "empty"),
        ("\n\n", "line 1", "empty"),
        ("point,klass\np1-a,3\n", "header", "no column class"),
        ("a;b\n1;2\n", "header", "no column point and no column class"),
        ("point,class,class\np1-a,3,3\n", "line 1", "class is there twice"),
        ('point,class\n"p1-a"x,3\n', "line 2", "as CSV"),
        ("point,class\n", "missing", "not in the sheet"),
    ],
)
def test_sheets_that_are_none_are_told(tmp_path, drawing, content, where, words):
    (tmp_path / "sheet.csv").write_text(content)
    faults = read_sheet(tmp_path / "sheet.csv", drawing)[1]
    assert (faults[0].where, words in faults[0].message) == (where, True), faults


def test_the_sheet_of_another_drawing_is_told_in_one_line(tmp_path, small_root, drawing):
    other = drawing_of(small_root, seed=1)
    write_sheets(tmp_path, other, {point.id: ("Water", "") for point in other.points})
    (fault,) = read_sheet(tmp_path / CSV_SHEET, drawing)[1]
    assert "line 2 and 11 more" in str(fault) and "another drawing" in str(fault)


def test_a_sheet_without_a_judgement_is_told(tmp_path, drawing):
    write_sheets(tmp_path, drawing)
    (fault,) = read_sheet(tmp_path / CSV_SHEET, drawing)[1]
    assert "no point is judged" in fault.message


def test_a_spreadsheets_own_file_and_a_missing_one_are_refused_by_name(tmp_path, drawing):
    (tmp_path / "sheet.csv").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(DataError, match="Save the sheet as CSV"):
        read_sheet(tmp_path / "sheet.csv", drawing)
    with pytest.raises(DataError, match=r"none\.csv"):
        read_sheet(tmp_path / "none.csv", drawing)


def test_the_sheet_that_was_filled_in_is_the_one_that_counts(filled, drawing):
    folder = filled.parent
    assert the_sheet(folder) == filled
    with closing(sqlite3.connect(folder / GEOPACKAGE_SHEET)) as database, database:
        database.execute("UPDATE check_points SET class = 'Water' WHERE fid = 1")
    with pytest.raises(DataError, match="both"):
        the_sheet(folder)
    write_sheets(folder, drawing)
    with pytest.raises(DataError, match="no sheet was filled in"):
        the_sheet(folder)


def test_classes_go_by_name_half_a_name_and_code():
    for c in CLASSES:
        assert class_code(c.name) == class_code(c.name.lower()) == class_code(str(c.code)) == class_code(f"{c.code}.0")
    assert class_code("urban") == class_code("BUILT-UP") == 7
    for text in ("", "0", "11", "1.5", "-1", "nan", "inf", "1e400", "forests", "1 Forest"):
        assert class_code(text) is None, text
