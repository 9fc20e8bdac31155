"""The paper's tables as tables: measured beside published, and the difference where both are about the same data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dfcbench.files import write_bytes
from dfcbench.paper import AVERAGE, IsFormer, Measured, PaperTable, Row, measured, published
from dfcbench.published import load
from dfcbench.report.board import CLASS_COLUMNS
from dfcbench.report.html import BADGES
from dfcbench.report.tables import Cell, Column, Table, best_in_columns, to_csv, to_latex, to_markdown
from dfcbench.scheme import SCORED_NAMES
from dfcbench.submission import RECONSTRUCTION_BADGE, Submission

_AVERAGE_LABEL = "average accuracy"

_MARK = "†"
_MARK_MEANS = f"{_MARK} Reconstruction: it {BADGES[RECONSTRUCTION_BADGE]}."


def paper_table(
    definition: PaperTable, data: str, submissions: Sequence[Submission], is_former: IsFormer | None = None
) -> Table:
    """One of the paper's tables for the data set called ``data`` (as in submission.json).

    Where only runs that are ``is_former`` can speak, a note says so. Differences are told only if every run says that
    its data is the official contest's; published cells that nobody told are empty. Best measured values are bold: per
    column over the approaches of a track, in class tables per line. Rows whose runs are reconstructions are marked.
    """
    own = [s for s in submissions if s.meta["data"]["name"] == data]
    official = bool(own) and all(s.meta["data"]["official"] for s in own)
    title = own[0].meta["data"]["title"] if own else data
    runs = {
        (row.label, split): measured(row, split, data, own, is_former)
        for row in definition.rows
        for split in row.splits
        if row.method
    }
    notes = [
        f"Measured: {title}."
        + ("" if official else " Not the data of DFC2020: no difference to published values is told."),
        "Published: Robinson et al. 2021 and the contest's results page, on DFC2020; an empty cell could not be found.",
    ]
    notes += [*definition.notes, *_provenance(runs)]
    if any(run is not None and run.reconstruction for run in runs.values()):
        notes.append(_MARK_MEANS)
    if definition.across:
        return _across(definition, runs, official, tuple(notes))
    if definition.classes:
        return _by_class(definition, runs, official, tuple(notes))
    return _by_approach(definition, runs, official, tuple(notes))


def render_paper_table(table: Table, name: str, data: str) -> dict[str, bytes]:
    """``<data>/table-VI.md``, ``.csv`` and ``.tex``, by their paths below the folder of boards."""
    texts = {".md": to_markdown(table, level=1), ".csv": to_csv(table), ".tex": to_latex(table)}
    return {f"{data}/table-{name}{suffix}": text.encode("utf-8") for suffix, text in texts.items()}


def write_paper_table(table: Table, name: str, data: str, root: Path) -> tuple[Path, ...]:
    """Write the files of a table below ``root``, and return their paths."""
    files = render_paper_table(table, name, data)
    for path, content in files.items():
        write_bytes(root / path, content)
    return tuple(root / path for path in files)


def _by_approach(
    definition: PaperTable, runs: dict[tuple[str, str], Measured | None], official: bool, notes: tuple[str, ...]
) -> Table:
    columns = [Column("approach"), *(Column(title) for title in definition.settings)]
    first = len(columns)
    for split in definition.splits:
        columns += [
            Column(f"{split}, measured", "percent", f"{split}_measured", _short(split)),
            Column(f"{split}, published", "percent", f"{split}_published", "publ."),
        ]
        columns += [Column(f"{split}, difference", "percent", f"{split}_difference", "diff.")] if official else []
    rows = []
    for row in definition.rows:
        cells: list[Cell] = [_marked(row.label, row, runs), *row.settings]
        for split in definition.splits:
            run = runs.get((row.label, split))
            cells += _cells(run.values[AVERAGE] if run else None, _published(row, split, AVERAGE), official)
        rows.append(tuple(cells))
    step = 3 if official else 2
    tracks = [row.track for row in definition.rows]
    bold: frozenset[tuple[int, int]] = frozenset()
    for track in set(tracks):
        rivals = [
            cells if other == track else (None,) * len(columns) for cells, other in zip(rows, tracks, strict=True)
        ]
        bold |= best_in_columns(rivals, range(first, len(columns), step))
    rules = frozenset(number for number in range(1, len(rows)) if tracks[number] != tracks[number - 1])
    title = f"Table {definition.name}. {definition.title}"
    return Table(title, tuple(columns), tuple(rows), notes=notes, bold=bold, rules=rules)


def _by_class(
    definition: PaperTable, runs: dict[tuple[str, str], Measured | None], official: bool, notes: tuple[str, ...]
) -> Table:
    (split,) = definition.splits
    columns, values = [Column("class")], []
    measured_at = []
    names = (*SCORED_NAMES, AVERAGE)
    for row in definition.rows:
        run = runs.get((row.label, split))
        told = [_published(row, split, name) for name in names]
        found = [run.values[name] if run else None for name in names]
        measured_at.append(len(columns))
        columns.append(Column(_marked(row.label, row, runs), "percent", row.label, _marked(row.short, row, runs)))
        values.append(found)
        if any(value is not None for value in told):
            columns.append(Column(f"{row.label}, published", "percent", short="publ."))
            values.append(told)
            if official:
                columns.append(Column(f"{row.label}, difference", "percent", short="diff."))
                values.append([_difference(a, b) for a, b in zip(found, told, strict=True)])
    rows = [
        (name if name != AVERAGE else _AVERAGE_LABEL, *(column[i] for column in values)) for i, name in enumerate(names)
    ]
    bold = set()
    for number, cells in enumerate(rows):
        known = {at: cells[at] for at in measured_at if isinstance(cells[at], float)}
        bold |= {(number, at) for at, value in known.items() if value == max(known.values())}  # type: ignore[type-var]
    title = f"Table {definition.name}. {definition.title}"
    rules = frozenset({len(SCORED_NAMES)})
    return Table(title, tuple(columns), tuple(rows), notes=notes, bold=frozenset(bold), rules=rules)


def _across(
    definition: PaperTable, runs: dict[tuple[str, str], Measured | None], official: bool, notes: tuple[str, ...]
) -> Table:
    """Approaches down and classes across; what was published of an approach's classes has a line of its own below it."""
    (split,) = definition.splits
    columns = [
        Column("approach"),
        Column(_AVERAGE_LABEL, "percent", "average_accuracy", "AA", block=1),
        Column(f"{_AVERAGE_LABEL}, published", "percent", "average_accuracy_published", "AA publ.", block=1),
        *([Column("difference", "percent", "difference", "diff.", block=1)] if official else []),
        *(replace(column, block=2 + number // 4) for number, column in enumerate(CLASS_COLUMNS)),
    ]
    first = len(columns) - len(SCORED_NAMES)
    rows: list[tuple[Cell, ...]] = []
    ours = []
    for row in definition.rows:
        run = runs.get((row.label, split))
        average = _cells(run.values[AVERAGE] if run else None, _published(row, split, AVERAGE), official)
        ours.append(len(rows))
        rows.append(
            (_marked(row.label, row, runs), *average, *(run.values[name] if run else None for name in SCORED_NAMES))
        )
        told = [_published(row, split, name) for name in SCORED_NAMES]
        if any(value is not None for value in told):
            rows.append((f"{row.label}, published", *(None for _ in average), *told))
    measured_only = [cells if number in ours else (None,) * len(columns) for number, cells in enumerate(rows)]
    bold = best_in_columns(measured_only, [1, *range(first, len(columns))])
    return Table(f"Table {definition.name}. {definition.title}", tuple(columns), tuple(rows), notes=notes, bold=bold)


def _marked(text: str, row: Row, runs: dict[tuple[str, str], Measured | None]) -> str:
    own = [run for (label, _), run in runs.items() if label == row.label]
    return f"{text} {_MARK}" if any(run is not None and run.reconstruction for run in own) else text


def _short(split: str) -> str:
    return {"validation": "val."}.get(split, split)


def _published(row: Row, split: str, name: str) -> float | None:
    result = published(row, split, load())
    if result is None:
        return None
    return result.average_accuracy if name == AVERAGE else result.producers_accuracy.get(name)


def _cells(found: float | None, told: float | None, official: bool) -> list[Cell]:
    return [found, told, *([_difference(found, told)] if official else [])]


def _difference(found: float | None, told: float | None) -> float | None:
    return None if found is None or told is None else found - told


def _provenance(runs: dict[tuple[str, str], Measured | None]) -> list[str]:
    known = [run for run in runs.values() if run is not None]
    presets = sorted({run.preset for run in known})
    seeds = sorted({run.seeds for run in known})
    notes = []
    if presets:
        counts = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        notes.append(f"Preset: {', '.join(presets)}. Seeds per cell, averaged: {counts}.")
    lacking = [f"{label} ({split})" for (label, split), run in runs.items() if run is None]
    former = [f"{label} ({split})" for (label, split), run in runs.items() if run is not None and run.former]
    if former:
        notes.append(f"Measured with a former preset, or version of the method: {', '.join(former)}.")
    if lacking:
        notes.append(f"Not run yet: {', '.join(lacking)}.")
    return notes
