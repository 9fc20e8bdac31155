"""One table in every format: the same numbers, the right alignment, nothing that breaks the format."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from dfcbench.report.score_table import score_table
from dfcbench.report.tables import (
    Column,
    Table,
    best_in_columns,
    escape_latex,
    show,
    to_csv,
    to_latex,
    to_markdown,
    to_plain,
)
from dfcbench.scoring import Confusion, Scores, confusion_matrix
from tests.made_submissions import made_confusion

TABLE = Table(
    "Title",
    (
        Column("name"),
        Column("AA", "percent", "average_accuracy", block=1),
        Column("95 % interval", "interval", "average_accuracy", block=1),
        Column("pixels", "count", block=2),
    ),
    (("a_1|b", 1 / 3, (0.25, 0.5), 1234567), ("50 % & more", None, None, None)),
    notes=("A note.",),
    bold=frozenset({(0, 1)}),
)


def shown(table: Table, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    show(table, console)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_markdown() -> None:
    lines = to_markdown(TABLE).splitlines()
    assert lines[0] == "## Title"
    cells = [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines[2:6]]
    assert cells[0] == ["name", "AA", "95 % interval", "pixels"]
    assert lines[3].count(":|") == 3  # numbers are aligned to the right
    assert cells[2] == [r"a_1\|b", "**33.33**", "25.00 to 50.00", "1,234,567"]
    assert cells[3] == ["50 % & more", "-", "-", "-"]
    assert lines[-1] == "A note."


def test_csv_keeps_fractions_and_splits_intervals() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    assert float(rows[0]["average_accuracy"]) == 1 / 3
    assert (rows[0]["average_accuracy_low"], rows[0]["average_accuracy_high"]) == ("0.25", "0.5")
    assert rows[0]["pixels"] == "1234567"
    assert set(rows[1].values()) == {"50 % & more", ""}


def test_csv_joins_tables_with_different_columns() -> None:
    other = Table("", (Column("name"), Column("extra")), (("x", "y"),))
    rows = list(csv.DictReader(io.StringIO(to_csv([({"section": "one"}, TABLE), ({"section": "two"}, other)]))))
    assert [row["section"] for row in rows] == ["one", "one", "two"]
    assert (rows[2]["name"], rows[2]["extra"], rows[2]["pixels"]) == ("x", "y", "")


def test_latex_is_escaped_and_ruled() -> None:
    text = to_latex(TABLE)
    assert r"\begin{tabular}{lrrr}" in text
    assert r"a\_1|b & \textbf{33.33} & 25.00 to 50.00 & 1,234,567 \\" in text
    assert r"50 \% \& more & - & - & - \\" in text
    assert [text.count(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")] == [1, 1, 1]
    assert escape_latex("\\~{x}\n^") == r"\textbackslash{}\textasciitilde{}\{x\} \textasciicircum{}"


def test_plain_text_has_title_numbers_and_notes() -> None:
    text = to_plain(TABLE)
    assert text.startswith("Title\n")
    assert "33.33" in text
    assert text.endswith("A note.\n")


def test_wide_terminal_shows_one_table_and_a_narrow_one_its_blocks() -> None:
    wide, narrow = shown(TABLE, 120), shown(TABLE, 45)
    assert wide.count("name") == 1
    assert narrow.count("name") == 2
    for text in (wide, narrow):
        assert "33.33" in text
        assert "1,234,567" in text
        assert "…" not in text


def test_words_too_long_for_their_column_break_after_a_slash() -> None:
    table = Table("", (Column("class"), Column("note")), (("Urban/Built-up", "x" * 12),))
    assert "Urban/Built-up" in shown(table, 80)
    narrow = [line.split()[0] for line in shown(table, 24).splitlines() if line.strip()]
    assert narrow[-2:] == ["Urban/", "Built-up"]
    parts = shown(Table("", (Column("p"),), (("one/two/three/fourfive",),)), 10).split()
    assert parts[-3:] == ["one/two/", "three/", "fourfive"]
    assert "".join(shown(Table("", (Column("p"),), (("abcdefgh",),)), 6).split()[-2:]) == "abcdefgh"


def test_markup_in_names_is_shown_as_it_is() -> None:
    table = Table("[bold]t", (Column("name"),), (("[red]x[/red]",),), notes=("[link]",))
    text = shown(table, 80)
    assert "[red]x[/red]" in text
    assert "[bold]t" in text
    assert "[link]" in text


def test_best_marks_every_winner_and_no_undefined_cell() -> None:
    rows = [("a", 0.5, None), ("b", 0.7, None), ("c", 0.7, 0.1)]
    assert best_in_columns(rows, [1, 2]) == {(1, 1), (2, 1), (2, 2)}


def test_ragged_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="Row 0 has 1 cells"):
        Table("", (Column("a"), Column("b")), (("x",),))


def test_score_table_shows_percent_and_dashes() -> None:
    import numpy as np

    reference = np.array([[1, 1, 10, 0]], np.uint8)
    prediction = np.array([[1, 10, 10, 1]], np.uint8)
    scores = Scores.of(Confusion.collect([("p", confusion_matrix(reference, prediction))]))
    lines = {line.split("  ")[0]: line.split() for line in to_plain(score_table(scores, "bag")).splitlines()}
    assert lines["Forest"][-5:] == ["50.00", "-", "100.00", "50.00", "2"]
    assert lines["Wetlands"][-5:] == ["-", "-", "-", "-", "0"]
    assert lines["average accuracy"][2:] == ["75.00", "-", "-", "50.00", "3"]
    assert "1 reference pixels have no scored class" in to_plain(score_table(scores))


def test_score_table_holds_the_intervals() -> None:
    scores = Scores.of(made_confusion(0.6))
    assert scores.average_accuracy_interval is not None
    low, high = scores.average_accuracy_interval
    assert f"{100 * low:.2f} to {100 * high:.2f}" in to_markdown(score_table(scores))
    assert f"{100 * (scores.kappa or 0):.2f}" in to_latex(score_table(scores))
