"""The paper's tables: which runs make their rows, and what was published and measured in each cell."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfcbench.errors import UsageError
from dfcbench.published import PublishedResult, load
from dfcbench.scheme import SCORED_NAMES
from dfcbench.submission import Submission

FILE = Path(__file__).with_name("paper_tables.toml")

AVERAGE = "average"
"""Key of the average accuracy beside the names of classes."""

_PRESETS = ("published", "quick")
"""Runs with the paper's constants speak for a row before others do."""


@dataclass(frozen=True)
class Row:
    """One approach: the method and parameters that make it, and its entries in published.csv by split."""

    label: str
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    splits: tuple[str, ...] = ()
    published: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper. ``classes`` tells whether it has a line for every class."""

    name: str
    title: str
    track: int
    splits: tuple[str, ...]
    classes: bool
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Measured:
    """What finished runs say of a row and split: mean over ``seeds`` by class name and AVERAGE; their preset."""

    values: Mapping[str, float | None]
    seeds: int
    preset: str


def tables(path: Path = FILE) -> dict[str, PaperTable]:
    """All tables by their number in the paper."""
    found = {}
    for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
        splits = tuple(entry["splits"])
        rows = tuple(
            Row(
                label=row["label"],
                method=row["method"],
                parameters=row.get("parameters", {}),
                splits=tuple(row.get("splits", splits)),
                published=row.get("published", {}),
            )
            for row in entry["rows"]
        )
        found[name] = PaperTable(name, entry["title"], entry["track"], splits, entry["classes"], rows)
    return found


def table(name: str) -> PaperTable:
    """The table of that number. Raises UsageError with the known ones."""
    known = tables()
    if name.upper() not in known:
        raise UsageError(f"Table {name}: there are the tables {', '.join(known)}.")
    return known[name.upper()]


def published(
    row: Row, track: int, split: str, results: Sequence[PublishedResult] | None = None
) -> PublishedResult | None:
    """What the paper, or the contest's page, told of a row on a split; None if that is not known."""
    entry = row.published.get(split)
    for result in load() if results is None else results:
        if (result.protocol, result.split, result.entry) == (f"track{track}", split, entry):
            return result
    return None


def measured(row: Row, track: int, split: str, data: str, submissions: Iterable[Submission]) -> Measured | None:
    """What finished, complete runs of a data set (``data.name``) say of a row; None if there is none.

    Of runs with different parameters those of preset ``published`` speak, then those of ``quick``; of several, the
    group with most seeds. Seeds are averaged.
    """
    groups: dict[tuple[int, str, str], list[Submission]] = {}
    for submission in submissions:
        meta = submission.meta
        place = (meta["track"], meta["split"], meta["data"]["name"], meta["method"]["name"])
        if place != (track, split, data, row.method) or submission.partial or submission.scores is None:
            continue
        parameters = meta["parameters"]
        if any(parameters.get(key) != value for key, value in row.parameters.items()):
            continue
        preset = str(meta.get("preset", ""))
        order = _PRESETS.index(preset) if preset in _PRESETS else len(_PRESETS)
        groups.setdefault((order, preset, str(sorted(parameters.items()))), []).append(submission)
    if not groups:
        return None
    chosen = min(groups, key=lambda group: (group[0], -len(groups[group]), group[2]))
    runs = groups[chosen]
    scores = [run.scores for run in runs if run.scores is not None]
    values = {AVERAGE: _mean([s.average_accuracy for s in scores])}
    values |= {name: _mean([s.classes[name].producers_accuracy for s in scores]) for name in SCORED_NAMES}
    return Measured(values, len({run.meta["seed"] for run in runs}), chosen[1])


def missing(paper_table: PaperTable, data: str, submissions: Sequence[Submission]) -> list[tuple[Row, str]]:
    """Rows and splits that no finished run fills, in the order in which to run them."""
    return [
        (row, split)
        for split in paper_table.splits
        for row in paper_table.rows
        if split in row.splits and measured(row, paper_table.track, split, data, submissions) is None
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
