"""A board as web pages: one for the board, and one for each of its submissions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from dfcbench.leaderboard import Entry, Leaderboard, Section
from dfcbench.report.board import MEANING, PUBLISHED_NOTES, by_status, published_table, section_notes, section_title
from dfcbench.report.html import (
    BADGES,
    HtmlCell,
    HtmlColumn,
    HtmlTable,
    badge_list,
    heat_cell,
    number_cell,
    render,
    statement,
    text_cell,
)
from dfcbench.report.submission_page import submission_page
from dfcbench.report.tables import Table, best_in_columns
from dfcbench.scheme import SCORED_NAMES

_WIDTH, _HEIGHT = 92, 14
"""Of the drawing of an interval, in CSS pixels."""
_AXIS_STEP = 0.05
"""The drawings' common axis begins and ends at a multiple of 5 %."""

_CLASS_COLUMNS = tuple(
    HtmlColumn(name, f"producer's accuracy of {name}, %", numeric=True, largest_first=True, css="n")
    for name in SCORED_NAMES
)
_COLUMNS = (
    HtmlColumn("#", "rank", numeric=True, css="n"),
    HtmlColumn("method", css="stick"),
    HtmlColumn("AA", "average accuracy, %", numeric=True, largest_first=True, css="n"),
    HtmlColumn("95 % interval", "of the average accuracy, %; sorts by its lower end", True, True, "tight"),
    HtmlColumn("OA", "overall accuracy, %", numeric=True, largest_first=True, css="n"),
    HtmlColumn("kappa", "Cohen's kappa x 100", numeric=True, largest_first=True, css="n"),
    *_CLASS_COLUMNS,
    HtmlColumn("preset"),
    HtmlColumn("seed", numeric=True, css="n"),
)


@dataclass(frozen=True)
class _Group:
    title: str
    notes: tuple[str, ...]
    table: HtmlTable


def board_pages(board: Leaderboard) -> dict[str, bytes]:
    """Pages by their paths below the folder of boards: ``<data>/track1-test.html``, and one in the folder of that name
    for each submission. The same bytes for the same board, wherever its submissions lie.
    """
    sections = page_names(board)
    runs = {entry.key: name for named in sections for entry, name in named}
    pages = {f"{board.data}/{board.name}.html": board_page(board)}
    for section, named in zip(board.sections, sections, strict=True):
        for entry, name in named:
            others = {key: run for key, run in runs.items() if run != name}
            pages[f"{board.data}/{board.name}/{name}"] = submission_page(board, section, entry, others)
    return pages


def page_name(method: str, key: str) -> str:
    """File name of a submission's page, such as ``bag-7c14c73c.html``; whatever is no plain character becomes ``-``."""
    words = (re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.") or "run" for word in (method[:60], key[:8]))
    return "-".join(words) + ".html"


def is_page_name(name: str) -> bool:
    """Whether ``page_names`` may have given a file this name; keys are hexadecimal digits."""
    return re.fullmatch(r"[A-Za-z0-9._-]+-[0-9a-f]{8}(-[0-9]+)?\.html", name) is not None


def page_names(board: Leaderboard) -> list[list[tuple[Entry, str]]]:
    """By section, its entries with the names of their pages; equal names are numbered in the board's order."""
    taken: set[str] = set()
    sections = []
    for section in board.sections:
        named = []
        for entry in section.entries:
            name = plain = page_name(entry.method, entry.key)
            number = 1
            while name.lower() in taken:
                number += 1
                name = f"{plain.removesuffix('.html')}-{number}.html"
            taken.add(name.lower())
            named.append((entry, name))
        sections.append(named)
    return sections


def board_page(board: Leaderboard) -> bytes:
    """The board's own page."""
    groups = [_measured(board, s, named) for s, named in zip(board.sections, page_names(board), strict=True)]
    groups += [_published(published_table(status, results)) for status, results in by_status(board.published)]
    found = dict.fromkeys(badge for s in board.sections for e in s.entries for badge in e.badges)
    return render(
        "board.html",
        board=board,
        statement=statement(board),
        meaning=MEANING,
        groups=groups,
        badges=[(badge, BADGES[badge]) for badge in BADGES if badge in found],
    )


def _measured(board: Leaderboard, section: Section, named: Sequence[tuple[Entry, str]]) -> _Group:
    title = section_title(board, section)
    entries = section.entries
    classes = [
        [e.scores.classes[name].producers_accuracy if e.scores else None for name in SCORED_NAMES] for e in entries
    ]
    ranked = len(entries) > 1 and any(e.rank for e in entries)
    best = best_in_columns(classes, range(len(SCORED_NAMES))) if ranked else frozenset()
    axis = _axis(entries)
    rows = []
    for number, (entry, name) in enumerate(named):
        scores = entry.scores
        cells = [
            number_cell(entry.rank, "count", "n"),
            _method(entry, f"{board.name}/{name}"),
            _strong(number_cell(scores.average_accuracy if scores else None, "percent", "n")),
            _interval(entry, axis),
            number_cell(scores.overall_accuracy if scores else None, "percent", "n"),
            number_cell(scores.kappa if scores else None, "percent", "n"),
            *(heat_cell(value, bold=(number, k) in best) for k, value in enumerate(classes[number])),
            text_cell(entry.preset, "tight"),
            number_cell(entry.seed, "text", "n"),
        ]
        if section.kind == "partial":
            cells.append(number_cell(entry.patches, "count", "n"))
        rows.append(tuple(cells))
    columns = _COLUMNS
    if section.kind == "partial":
        columns = (*_COLUMNS, HtmlColumn("patches", numeric=True, largest_first=True, css="n"))
    return _Group(
        title, section_notes(section), HtmlTable(title, columns, tuple(rows), sorted_by=0 if ranked else None)
    )


def _published(table: Table) -> _Group:
    """Published results; their class columns are heat maps too, and what is unknown stays empty."""
    columns, rows = [], []
    for number, column in enumerate(table.columns):
        percent = column.kind == "percent"
        css = "n" if percent else "stick" if number == 0 else ""
        columns.append(HtmlColumn(column.title, numeric=percent, largest_first=percent, css=css))
    for row in table.rows:
        cells = []
        for number, (column, value) in enumerate(zip(table.columns, row, strict=True)):
            if column.key in SCORED_NAMES:
                cells.append(heat_cell(value if isinstance(value, float) else None))
            elif column.kind == "percent":
                cells.append(_strong(number_cell(value, "percent", "n")))
            else:
                cells.append(text_cell(str(value or ""), "stick name" if number == 0 else "long" if number > 2 else ""))
        rows.append(tuple(cells))
    return _Group(table.title, PUBLISHED_NOTES, HtmlTable(table.title, tuple(columns), tuple(rows)))


def _method(entry: Entry, link: str) -> HtmlCell:
    html = Markup('<a href="{}">{}</a>').format(link, entry.method)
    if entry.parameters:
        html += Markup("<small>{}</small>").format(entry.parameters)
    if entry.badges:
        html += Markup("<small>{}</small>").format(badge_list(entry.badges))
    return HtmlCell(html, " ".join(entry.label.split()), "stick name")


def _strong(cell: HtmlCell) -> HtmlCell:
    return HtmlCell(Markup("<strong>{}</strong>").format(cell.html), cell.value, cell.css) if cell.value else cell


def _interval(entry: Entry, axis: tuple[float, float]) -> HtmlCell:
    scores = entry.scores
    if scores is None or scores.average_accuracy is None or scores.average_accuracy_interval is None:
        return HtmlCell(Markup(""), "", "tight")
    cell = number_cell(scores.average_accuracy_interval, "interval", "tight")
    low, middle, high = (
        round(4 + (value - axis[0]) / (axis[1] - axis[0]) * (_WIDTH - 8), 1)
        for value in (
            scores.average_accuracy_interval[0],
            scores.average_accuracy,
            scores.average_accuracy_interval[1],
        )
    )
    y = _HEIGHT // 2
    drawing = Markup(
        '<svg class="whisker" viewBox="0 0 {w} {h}" aria-hidden="true"><path class="axis" d="M0 {y}H{w}"/>'
        '<path d="M{low} {y}H{high}M{low} {a}V{b}M{high} {a}V{b}"/><circle cx="{middle}" cy="{y}" r="3.5"/></svg>'
    ).format(w=_WIDTH, h=_HEIGHT, y=y, low=low, high=high, middle=middle, a=y - 4, b=y + 4)
    return HtmlCell(cell.html + drawing, cell.value, cell.css)


def _axis(entries: Sequence[Entry]) -> tuple[float, float]:
    """The range of all intervals of a section, to the next multiples of _AXIS_STEP."""
    ends = list(_ends(entries)) or [0.0, 1.0]
    low = math.floor(min(ends) / _AXIS_STEP) * _AXIS_STEP
    high = math.ceil(max(ends) / _AXIS_STEP) * _AXIS_STEP
    return low, max(high, low + _AXIS_STEP)


def _ends(entries: Sequence[Entry]) -> Iterator[float]:
    for entry in entries:
        if entry.scores and entry.scores.average_accuracy_interval:
            yield from entry.scores.average_accuracy_interval
            yield entry.scores.average_accuracy or 0.0
