"""Leaderboards as tables, as a Markdown page and as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dfcbench.files import write_bytes
from dfcbench.leaderboard import MAPS_BADGE, Entry, Leaderboard, Section
from dfcbench.published import PROTOCOLS, PublishedResult
from dfcbench.report.tables import (
    Cell,
    Column,
    Table,
    best_in_columns,
    escape_latex,
    escape_markdown,
    to_csv,
    to_latex,
    to_markdown,
)
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

_IN_LATEX = tuple(
    replace(column, title=column.short or column.title)
    for column in _MEASURED
    if column.key not in ("preset", "seed", "run")
)
"""Columns of the LaTeX tables: as many as a landscape page holds, under their short titles."""

_TITLES = {
    "ranked": "Ranked",
    TUNED_BADGE: "Tuned on the server's answers",
    MAPS_BADGE: "Maps made elsewhere",
    "partial": "Partial runs (not ranked)",
    "unscored": "Without scores (not ranked)",
}
MEANING = (
    "AA is the mean producer's accuracy over the classes present in the reference, the contest's score; intervals "
    "are from a bootstrap over patches; class columns are producer's accuracies. All in percent."
)
"""What the columns of a board mean."""

_REMARKS = {
    TUNED_BADGE: "These runs used the scores of earlier submissions on the same split, so they rank among themselves.",
    MAPS_BADGE: "Only the maps of these submissions are known, so they rank among themselves.",
    "partial": "These runs cover some of the patches only, and can be compared with no other.",
    "unscored": "No reference labels were at hand when these were run.",
}
PUBLISHED_NOTES = ("Taken from their sources, not measured here.",)
_STATUS_TITLES = {
    "official": "official results of the contest",
    "paper": "results told in publications",
    "checkpoint": "networks put on the web",
    "third party": "results of others",
}


def board_tables(board: Leaderboard) -> list[Table]:
    """One table per section, and one per status of the published results."""
    tables = [_section_table(board, section) for section in board.sections]
    return tables + [published_table(status, results) for status, results in by_status(board.published)]


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
    lines.append(MEANING)
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
        ({"section": f"published: {k}"}, published_table(k, results)) for k, results in by_status(board.published)
    ]
    return to_csv(parts)


def board_latex(board: Leaderboard) -> str:
    """All sections as ``table*`` environments, to be included by a document that loads booktabs.

    Each caption says which data the scores are about.
    """
    about = f"Track {board.track}, {board.split}, {board.title}"
    if not board.official:
        about += "; not the data of DFC2020, and not comparable with the contest's scores"
    parts = [(_section_table(board, section, _IN_LATEX), MEANING) for section in board.sections]
    parts += [(published_table(status, results), "All in percent.") for status, results in by_status(board.published)]
    head = f"% {escape_latex(about)}\n% Needs \\usepackage{{booktabs}}.\n"
    return head + "".join(_float(table, about, meaning) for table, meaning in parts)


def render_board(board: Leaderboard) -> dict[str, bytes]:
    """All files of a board, by their paths below the folder of boards; the same bytes for the same board.

    ``<data>/track1-test.md``, ``.csv``, ``.tex`` and ``.html``, and below ``<data>/track1-test/`` a page for each
    submission. What is added here is written, and proved by ``leaderboard --check``.
    """
    from dfcbench.report.board_page import board_pages

    stem = f"{board.data}/{board.name}"
    texts = {
        f"{stem}.md": board_markdown(board),
        f"{stem}.csv": board_csv(board),
        f"{stem}.tex": board_latex(board),
    }
    return {path: text.encode("utf-8") for path, text in texts.items()} | board_pages(board)


def write_board(board: Leaderboard, root: Path) -> tuple[Path, ...]:
    """Write all files of a board below ``root``, and return their paths, the Markdown page and the CSV file first."""
    paths = []
    for name, content in render_board(board).items():
        paths.append(root / name)
        write_bytes(paths[-1], content)
    return tuple(paths)


def section_title(board: Leaderboard, section: Section) -> str:
    """The section's heading; it names the data where a board has several."""
    title = _TITLES[section.kind]
    return f"{title}, data {section.fingerprint}" if len(board.fingerprints) > 1 else title


def section_notes(section: Section) -> tuple[str, ...]:
    """Sentences that belong to a section of this kind."""
    return (_REMARKS[section.kind],) if section.kind in _REMARKS else ()


def _section_table(board: Leaderboard, section: Section, columns: tuple[Column, ...] = _MEASURED) -> Table:
    if section.kind == "partial":
        columns = (*columns, Column("patches", "count", name="patches"))
    return _entries_table(section_title(board, section), section.entries, columns, section_notes(section))


def _float(table: Table, about: str, meaning: str) -> str:
    caption = escape_latex(" ".join((f"{table.title}: {about}.", meaning, *table.notes)))
    return (
        f"\n\\begin{{table*}}\n\\centering\\footnotesize\\setlength{{\\tabcolsep}}{{3pt}}\n\\caption{{{caption}}}\n"
        f"{to_latex(table)}\\end{{table*}}\n"
    )


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


def by_status(results: Sequence[PublishedResult]) -> Iterator[tuple[str, list[PublishedResult]]]:
    """Published results by their status, in order of first appearance."""
    for status in dict.fromkeys(result.status for result in results):
        yield status, [result for result in results if result.status == status]


def published_table(status: str, results: Sequence[PublishedResult]) -> Table:
    """Published results of one status. Columns of classes that no source tells are left out."""
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
    return Table(f"Published: {_STATUS_TITLES[status]}", columns, rows, notes=PUBLISHED_NOTES)
