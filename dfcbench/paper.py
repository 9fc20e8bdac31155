"""The paper's tables: which runs make their rows, and what was published and measured in each cell."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dfcbench.errors import UsageError
from dfcbench.published import PublishedResult, load
from dfcbench.scheme import SCORED_NAMES
from dfcbench.submission import Submission

FILE = Path(__file__).with_name("paper_tables.toml")

REGIONS = "II"
"""The table of the regions: made of the data's reference, not of runs, so it is none of ``tables``."""

AVERAGE = "average"
"""Key of the average accuracy beside the names of classes."""

_PRESETS = ("published", "quick")
"""Runs with the paper's constants speak for a row before others do."""


@dataclass(frozen=True)
class Row:
    """One approach: the track, method and parameters that make it, and its entries in published.csv by split.

    label: no other row of the table has it. method: "" where the row is published only, and never run. short: the label
    where room is scarce. settings: what sets it apart, one cell per column of the table's ``settings``. published: where
    the paper tells a row's numbers in several places, several entries for a split. protocol, inputs: of these entries; ""
    for the row's track, and for any.
    """

    label: str
    method: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    splits: tuple[str, ...] = ()
    published: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    short: str = ""
    settings: tuple[str, ...] = ()
    protocol: str = ""
    inputs: str = ""
    track: int = 1


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper that is made of runs. ``settings``: titles of their columns.

    classes: whether it tells each class, in a line of its own; ``across``: in a column of its own instead, with a line
    for each approach. notes: sentences about what is published.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    classes: bool
    rows: tuple[Row, ...]
    settings: tuple[str, ...] = ()
    across: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What finished runs say of a row and split: mean over ``seeds`` by class name and AVERAGE; their preset.

    former: whether the preset has had other values, or the method another version, since. reconstruction: whether the
    method re-implements an entry of which little is public.
    """

    values: Mapping[str, float | None]
    seeds: int
    preset: str
    former: bool = False
    reconstruction: bool = False


IsFormer = Callable[[Submission, Mapping[str, Any]], bool]
"""Whether a run that was given these parameters would be another one today, as ``dfcbench.former.Former`` tells."""


def tables(path: Path = FILE) -> dict[str, PaperTable]:
    """All tables that are made of runs, by their number in the paper."""
    found = {}
    for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
        splits = tuple(entry["splits"])
        rows = tuple(
            Row(
                label=row["label"],
                method=row.get("method", ""),
                parameters=row.get("parameters", {}),
                splits=tuple(row.get("splits", splits)),
                published=row.get("published", {}),
                short=row.get("short", row.get("method", "").split("-")[-1]),
                settings=tuple(row.get("settings", ())),
                protocol=row.get("protocol", ""),
                inputs=row.get("inputs", ""),
                track=row.get("track", entry.get("track", 1)),
            )
            for row in entry["rows"]
        )
        found[name] = PaperTable(
            name,
            entry["title"],
            splits,
            entry["classes"],
            rows,
            settings=tuple(entry.get("settings", ())),
            across=entry.get("across", False),
            notes=tuple(entry.get("notes", ())),
        )
    return found


def table(name: str) -> PaperTable:
    """The table of runs of that number. Raises UsageError with the known ones."""
    known = tables()
    if name.upper() not in known:
        raise UsageError(f"Table {name}: there are the tables {', '.join((REGIONS, *known))}.")
    return known[name.upper()]


def published(row: Row, split: str, results: Sequence[PublishedResult] | None = None) -> PublishedResult | None:
    """What the paper, or the contest's page, told of a row on a split; None if that is not known.

    Of several entries, each number is taken from the first that tells it.
    """
    named = row.published.get(split, ())
    names = (named,) if isinstance(named, str) else named
    place = (row.protocol or f"track{row.track}", split)
    of_split = [r for r in (load() if results is None else results) if (r.protocol, r.split) == place]
    told = [r for name in names for r in of_split if r.entry == name and row.inputs in ("", r.inputs)]
    if not told:
        return None
    averages = [r.average_accuracy for r in told if r.average_accuracy is not None]
    classes = {name: value for r in reversed(told) for name, value in r.producers_accuracy.items()}
    return replace(told[0], average_accuracy=averages[0] if averages else None, producers_accuracy=classes)


def measured(
    row: Row,
    split: str,
    data: str,
    submissions: Iterable[Submission],
    is_former: IsFormer | None = None,
) -> Measured | None:
    """What finished, complete runs of a data set (``data.name``) say of a row; None if there is none.

    A run is of the row if nothing but the row's parameters was given to it. Only runs of one preset with the same
    parameters, data and version and source of the method are averaged, one per seed. Of several such groups those speak
    that are not ``is_former``, of these the ones of preset ``published``, then of ``quick``, then the one with most seeds.
    """
    groups: dict[tuple[bool, int, str, str], dict[int, Submission]] = {}
    for submission in submissions:
        meta = submission.meta
        place = (meta["track"], meta["split"], meta["data"]["name"], meta["method"]["name"])
        if place != (row.track, split, data, row.method) or submission.partial or submission.scores is None:
            continue
        if not _is_of(row, meta):
            continue
        preset = str(meta.get("preset", ""))
        order = _PRESETS.index(preset) if preset in _PRESETS else len(_PRESETS)
        former = is_former is not None and is_former(submission, row.parameters)
        seeds = groups.setdefault((former, order, preset, _kind(meta)), {})
        seeds[meta["seed"]] = min(submission, seeds.get(meta["seed"], submission), key=lambda run: run.key)
    if not groups:
        return None
    chosen = min(groups, key=lambda group: (*group[:2], -len(groups[group]), *group[2:]))
    runs = groups[chosen].values()
    scores = [run.scores for run in runs if run.scores is not None]
    values = {AVERAGE: _mean([s.average_accuracy for s in scores])}
    values |= {name: _mean([s.classes[name].producers_accuracy for s in scores]) for name in SCORED_NAMES}
    former, _, preset, _ = chosen
    return Measured(values, len(runs), preset, former, any(run.reconstruction for run in runs))


def cells(paper_table: PaperTable) -> list[tuple[Row, str]]:
    """Rows and splits that a run can fill, in the order in which to run them."""
    return [
        (row, split) for split in paper_table.splits for row in paper_table.rows if row.method and split in row.splits
    ]


def missing(
    paper_table: PaperTable, data: str, submissions: Sequence[Submission], is_former: IsFormer | None = None
) -> list[tuple[Row, str]]:
    """Of ``cells``, those without a finished run, and those whose runs are all ``is_former``."""
    found = [(row, split, measured(row, split, data, submissions, is_former)) for row, split in cells(paper_table)]
    return [(row, split) for row, split, cell in found if cell is None or cell.former]


def _is_of(row: Row, meta: Mapping[str, Any]) -> bool:
    """Whether a run has the row's parameters and no others were given; a default that the row restates need not be.

    Runs that do not tell what was given are judged by the row's parameters alone.
    """
    used, given = meta["parameters"], meta.get("overrides", {})
    return all(key in used and used[key] == value for key, value in row.parameters.items()) and all(
        key in row.parameters and row.parameters[key] == value for key, value in given.items()
    )


def _kind(meta: Mapping[str, Any]) -> str:
    """All that runs share which differ in nothing but their seeds, as a text to compare."""
    data, method = meta["data"], meta["method"]
    shared = (
        meta["parameters"],
        data["fingerprint"],
        data.get("depends_on"),
        method["version"],
        method.get("source_digest"),
    )
    return json.dumps(shared, sort_keys=True)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
