"""Leaderboards as tables, as a Markdown page and as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dfcbench.files import write_text
from dfcbench.leaderboard import MAPS_BADGE, Entry, Leaderboard, Section
from dfcbench.published import PROTOCOLS, PublishedResult
from dfcbench.report.tables import Cell, Column, Table, best_in_columns, escape_markdown, to_csv, to_markdown
from dfcbench.scheme import SCORED_NAMES
from dfcbench.submission import TUNED_BADGE

_SHORT = {
    "Shrubland": "Shrub.",
    "Grassland": "Grass.",
    "Wetlands": "Wetl.",
    "Croplands": "Crop.",
    "Urban/Built-up": "Urban",
}
CLASS_COLUMNS = tuple(Column(name, "percent", name, _SHORT.get(name, name), block=2) for name in SCORED_NAMES)
"""A column for each scored class, in the second block of a table."""

_MEASURED = (
    Column("rank", "count", "rank", "#"),
    Column("method", name="label", block=1),
    Column("preset", name="preset", block=3),
    Column("seed", name="seed", block=1),
    Column("AA", "percent", "average_accuracy", block=1),
    Column("95 % interval", "interval", "average_accuracy", block=1),
    Column("OA", "percent", "overall_accuracy", block=1),
    Column("kappa x 100", "percent", "kappa", "kappa", block=1),
    *CLASS_COLUMNS,
    Column("badges", name="badges", block=3),
    Column("run", name="run", block=3),
)
_IN_FILE = (
    *(column if column.key != "label" else Column("method", name="method") for column in _MEASURED),
    Column("parameters", name="parameters"),
    Column("version", name="version"),
    Column("patches", "count", name="patches"),
    Column("key", name="key"),
    Column("fingerprint", name="fingerprint"),
)
"""Columns of the CSV file: method and parameters apart, and provenance."""

_PUBLISHED = (
    Column("entry", name="method", block=1),
    Column("team", name="team", block=1),
    Column("inputs", name="inputs", block=1),
    Column("AA", "percent", "average_accuracy"),
    *CLASS_COLUMNS,
    Column("protocol", name="protocol", block=3),
    Column("source", name="source", block=3),
)

_TITLES = {
    "ranked": "Ranked",
    TUNED_BADGE: "Tuned on the server's answers",
    MAPS_BADGE: "Maps made elsewhere",
    "partial": "Partial runs (not ranked)",
    "unscored": "Without scores (not ranked)",
}
_REMARKS = {
    TUNED_BADGE: "These runs used the scores of earlier submissions on the same split, so they rank among themselves.",
    MAPS_BADGE: "Only the maps of these submissions are known, so they rank among themselves.",
    "partial": "These runs cover some of the patches only, and can be compared with no other.",
    "unscored": "No reference labels were at hand when these were run.",
}
_STATUS_TITLES = {
    "official": "official results of the contest",
    "paper": "results told in publications",
    "checkpoint": "networks put on the web",
    "third party": "results of others",
}


def board_tables(board: Leaderboard) -> list[Table]:
    """One table per section, and one per status of the published results."""
    tables = [_section_table(board, section) for section in board.sections]
    return tables + [_published_table(status, results) for status, results in _by_status(board.published)]


def board_heading(board: Leaderboard) -> list[str]:
    """Sentences on top of a page: which data these are, and what they may be compared with."""
    prints = board.fingerprints
    lines = [
        f"Data: {escape_markdown(board.title)} (`{board.data}`), "
        + (
            "the official data of the 2020 IEEE GRSS Data Fusion Contest (DFC2020)."
            if board.official
            else "not the official data of DFC2020: scores here are **not comparable** with those of the contest."
        )
    ]
    if len(prints) == 1:
        lines.append(f"Fingerprint of the data: `{prints[0]}`.")
    else:
        listed = ", ".join(f"`{p}`" for p in prints)
        lines.append(
            f"**Submissions under this name were made on {len(prints)} different sets of data** "
            f"(fingerprints {listed}); each set is ranked for itself."
        )
    lines.append(
        "AA is the mean producer's accuracy over the classes present in the reference, the contest's score; intervals "
        "are from a bootstrap over patches; class columns are producer's accuracies. All in percent."
    )
    return lines


def board_markdown(board: Leaderboard) -> str:
    """The whole page; the same bytes for the same board."""
    head = f"# Track {board.track}, {board.split}: {escape_markdown(board.title)}"
    parts = [head, *board_heading(board), *(to_markdown(table).rstrip("\n") for table in board_tables(board))]
    return "\n\n".join(parts) + "\n"


def board_csv(board: Leaderboard) -> str:
    """All sections in one table at full precision, with provenance; the first column tells the section."""
    parts = [({"section": s.kind}, _entries_table("", s.entries, _IN_FILE)) for s in board.sections]
    parts += [
        ({"section": f"published: {k}"}, _published_table(k, results)) for k, results in _by_status(board.published)
    ]
    return to_csv(parts)


def write_board(board: Leaderboard, root: Path) -> tuple[Path, Path]:
    """Write ``<root>/<data>/track1-test.md`` and ``.csv``, and return their paths."""
    folder = root / board.data
    page, values = folder / f"{board.name}.md", folder / f"{board.name}.csv"
    write_text(page, board_markdown(board))
    write_text(values, board_csv(board))
    return page, values


def _section_table(board: Leaderboard, section: Section) -> Table:
    title = _TITLES[section.kind]
    if len(board.fingerprints) > 1:
        title += f", data {section.fingerprint}"
    notes = (_REMARKS[section.kind],) if section.kind in _REMARKS else ()
    columns = _MEASURED
    if section.kind == "partial":
        columns = (*_MEASURED, Column("patches", "count", name="patches"))
    return _entries_table(title, section.entries, columns, notes)


def _entries_table(
    title: str, entries: Sequence[Entry], columns: tuple[Column, ...], notes: tuple[str, ...] = ()
) -> Table:
    rows = [tuple(_cell(entry, column) for column in columns) for entry in entries]
    ranked = any(entry.rank for entry in entries)
    percent = [i for i, column in enumerate(columns) if column.kind == "percent"]
    bold = best_in_columns(rows, percent) if ranked and len(rows) > 1 else frozenset()
    return Table(title, columns, tuple(rows), notes=notes, bold=bold)


def _cell(entry: Entry, column: Column) -> Cell:
    scores = entry.scores
    if column.key in SCORED_NAMES:
        return scores.classes[column.key].producers_accuracy if scores else None
    if column.kind == "interval":
        return scores.average_accuracy_interval if scores else None
    if column.key in ("average_accuracy", "overall_accuracy", "kappa"):
        value: float | None = getattr(scores, column.key) if scores else None
        return value
    if column.key == "badges":
        return ", ".join(entry.badges)
    cell: Cell = getattr(entry, column.key)
    return cell


def _by_status(results: Sequence[PublishedResult]) -> Iterator[tuple[str, list[PublishedResult]]]:
    for status in dict.fromkeys(result.status for result in results):
        yield status, [result for result in results if result.status == status]


def _published_table(status: str, results: Sequence[PublishedResult]) -> Table:
    """Columns of classes that no source tells are left out."""
    told = [name for name in SCORED_NAMES if any(name in r.producers_accuracy for r in results)]
    columns = tuple(c for c in _PUBLISHED if c.key in told or c.key not in SCORED_NAMES)
    rows = tuple(
        (
            r.entry,
            r.team,
            r.inputs,
            r.average_accuracy,
            *(r.producers_accuracy.get(name) for name in told),
            PROTOCOLS[r.protocol][1],
            r.source + (f" ({r.remark})" if r.remark else ""),
        )
        for r in results
    )
    notes = ("Taken from their sources, not measured here.",)
    return Table(f"Published: {_STATUS_TITLES[status]}", columns, rows, notes=notes)
