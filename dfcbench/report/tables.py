"""One table, rendered as Markdown, plain text, CSV, LaTeX or for the terminal. Values stay numbers until then."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from tabulate import tabulate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.containers import Lines
    from rich.table import Table as RichTable
    from rich.text import Text

Kind = Literal["text", "count", "number", "percent", "interval"]
Cell = str | int | float | tuple[float, float] | None

UNDEFINED = "-"

_ANY_WIDTH = 10_000
"""Characters: more than any table needs."""


@dataclass(frozen=True)
class Column:
    """A column: its title, what its cells are, and how it is called elsewhere.

    kind: ``text``; ``count`` (whole numbers); ``number`` (shown with two decimals); ``percent`` (fractions, shown times
    100 with two decimals); ``interval`` (pairs of fractions). name: header in CSV, where an interval becomes two columns.
    short: title where room is scarce. block: 0 stays at the left of every part when a terminal is too narrow and the table
    is broken into its blocks.
    """

    title: str
    kind: Kind = "text"
    name: str = ""
    short: str = ""
    block: int = 0

    @property
    def key(self) -> str:
        return self.name or self.title.lower().replace(" ", "_")


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns; None is undefined. bold: cells (row, column) that stand out.

    rules: rows before which a line is drawn, where the format has lines. notes: sentences below.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    bold: frozenset[tuple[int, int]] = frozenset()
    rules: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"Row {number} has {len(row)} cells for {len(self.columns)} columns.")


def best_in_columns(rows: Sequence[Sequence[Cell]], columns: Sequence[int]) -> frozenset[tuple[int, int]]:
    """Cells with the largest number of each of those columns, several on ties, none if all are alike."""
    marks = set()
    for column in columns:
        values = {number: row[column] for number, row in enumerate(rows) if isinstance(row[column], int | float)}
        if len(values) > 1 and len(set(values.values())) == 1:
            continue
        marks |= {(number, column) for number, value in values.items() if value == max(values.values())}  # type: ignore[type-var]
    return frozenset(marks)


def text_of(cell: Cell, kind: Kind) -> str:
    """A cell as it is read by people."""
    if cell is None:
        return UNDEFINED
    if kind == "percent" and isinstance(cell, int | float):
        return f"{100 * cell:.2f}"
    if kind == "interval" and isinstance(cell, tuple):
        return f"{100 * cell[0]:.2f} to {100 * cell[1]:.2f}"
    if kind == "number" and isinstance(cell, int | float):
        return f"{cell:,.2f}"
    if kind == "count" and isinstance(cell, int):
        return f"{cell:,}"
    return str(cell)


def to_markdown(table: Table, *, level: int = 2) -> str:
    """A GitHub-flavoured table under a heading of that level (no heading without a title), with notes below."""
    parts = [f"{'#' * level} {table.title}"] if table.title else []
    parts.append(
        tabulate(
            _texts(table, escape_markdown, lambda text: f"**{text}**"),
            headers=[escape_markdown(column.title) for column in table.columns],
            tablefmt="pipe",
            disable_numparse=True,
            colalign=_alignment(table),
        )
    )
    parts += list(table.notes)
    return "\n\n".join(parts) + "\n"


def to_plain(table: Table) -> str:
    """Plain text for logs."""
    grid = tabulate(
        _texts(table, _one_line, str),
        headers=[_one_line(column.title) for column in table.columns],
        tablefmt="simple",
        disable_numparse=True,
        colalign=_alignment(table),
    )
    return "\n".join([*([table.title] if table.title else []), grid, *table.notes]) + "\n"


def to_csv(tables: Sequence[tuple[Mapping[str, str], Table]] | Table) -> str:
    """Comma-separated values at full precision: fractions, not percent; undefined cells are empty.

    Several tables share one header: the names of all their columns in order of first appearance, after those of the
    mapping that comes with each table and fills its leading cells (such as the section).
    """
    parts: Sequence[tuple[Mapping[str, str], Table]] = [({}, tables)] if isinstance(tables, Table) else tables
    lines: list[dict[str, Any]] = []
    for extra, table in parts:
        lines += [{**extra, **_csv_cells(table.columns, row)} for row in table.rows]
    headers = dict.fromkeys(name for extra, _ in parts for name in extra)
    headers |= dict.fromkeys(name for _, table in parts for name in _csv_names(table.columns))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(headers), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return buffer.getvalue()


def to_latex(table: Table) -> str:
    """A ``tabular`` with booktabs rules; goes into a document that loads that package."""
    alignment = "".join("l" if column.kind == "text" else "r" for column in table.columns)
    header = " & ".join(escape_latex(column.title) for column in table.columns)
    lines = [f"\\begin{{tabular}}{{{alignment}}}", "\\toprule", header + r" \\", "\\midrule"]
    for number, row in enumerate(_texts(table, escape_latex, lambda text: rf"\textbf{{{text}}}")):
        if number in table.rules:
            lines.append("\\midrule")
        lines.append(" & ".join(row) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join([f"% {_one_line(text)}" for text in (table.title, *table.notes) if text] + lines) + "\n"


def show(table: Table, console: Console | None = None) -> None:
    """Print to the terminal. Where it is too narrow, blocks of columns follow each other."""
    from rich.console import Console
    from rich.markup import escape

    console = console or Console()
    parts: list[list[int]] = []
    for block in sorted({column.block for column in table.columns} - {0}) or [0]:
        more = {i for i, c in enumerate(table.columns) if c.block == block}
        if parts and _width(_rich(table, sorted({*parts[-1], *more})), console) <= console.width:
            parts[-1] = sorted({*parts[-1], *more})
        else:
            parts.append(sorted({*more, *(i for i, c in enumerate(table.columns) if c.block == 0)}))
    if table.title:
        console.print(f"[bold]{escape(table.title)}[/bold]", highlight=False)
    for part in parts:
        console.print(_rich(table, part))
    for note in table.notes:
        console.print(note, style="dim", markup=False, highlight=False)


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    for character in "\\`*<[|":
        text = text.replace(character, "\\" + character)
    return _one_line(text)


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is, on one line."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: "\\" + character for character in "&%$#_{}"}
    return _one_line("".join(special.get(character, character) for character in text))


def _width(rich: RichTable, console: Console) -> int:
    return console.measure(rich, options=console.options.update(max_width=_ANY_WIDTH)).maximum


def _rich(table: Table, chosen: Sequence[int]) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    cell_text = _breaking_text()
    rich = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for index in chosen:
        column = table.columns[index]
        justify: Literal["left", "right"] = "left" if column.kind == "text" else "right"
        rich.add_column(
            Text(column.short or column.title), justify=justify, no_wrap=column.kind != "text", overflow="fold"
        )
    for number, row in enumerate(table.rows):
        if number in table.rules:
            rich.add_section()
        cells = [
            cell_text(text_of(row[i], table.columns[i].kind), style="bold" if (number, i) in table.bold else "")
            for i in chosen
        ]
        rich.add_row(*cells)
    return rich


@cache
def _breaking_text() -> type[Text]:
    """Rich's text, which also breaks a word after a slash before it breaks it anywhere: "Urban/" and "Built-up"."""
    from rich.text import Text

    class Breaking(Text):
        def wrap(self, console: Console, width: int, **how: Any) -> Lines:
            broken = Text("".join(_broken(word, width) for word in re.split(r"(\s+)", self.plain)), style=self.style)
            return broken.wrap(console, width, **how)

    return Breaking


def _broken(word: str, width: int) -> str:
    """The word with line breaks after slashes, so that each line has at most ``width`` characters, if it can be."""
    lines = [""]
    for piece in re.findall(r"[^/]*/|[^/]+", word) if len(word) > width else [word]:
        if lines[-1] and len(lines[-1] + piece) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def _texts(table: Table, escape: Any, embolden: Any) -> list[list[str]]:
    texts = []
    for number, row in enumerate(table.rows):
        cells = [escape(text_of(cell, column.kind)) for cell, column in zip(row, table.columns, strict=True)]
        texts.append([embolden(cell) if (number, i) in table.bold else cell for i, cell in enumerate(cells)])
    return texts


def _alignment(table: Table) -> tuple[str, ...]:
    return tuple("left" if column.kind == "text" else "right" for column in table.columns)


def _csv_names(columns: Sequence[Column]) -> list[str]:
    return list(_csv_cells(columns, (None,) * len(columns)))


def _csv_cells(columns: Sequence[Column], row: Sequence[Cell]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for column, cell in zip(columns, row, strict=True):
        if column.kind == "interval":
            low, high = cell if isinstance(cell, tuple) else ("", "")
            cells[f"{column.key}_low"], cells[f"{column.key}_high"] = low, high
        else:
            cells[column.key] = "" if cell is None else cell
    return cells


def _one_line(text: str) -> str:
    return " ".join(text.split())
