"""Runs side by side as tables, as a Markdown page and as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dfcbench.comparison import Comparison, Estimate, Part, PatchDifference
from dfcbench.report.tables import Cell, Column, Table, escape_markdown, to_csv, to_markdown
from dfcbench.scheme import SCORED_NAMES
from dfcbench.scoring import LEVEL, RESAMPLES
from dfcbench.submission import Submission

ROWS = (
    *((name, name) for name in SCORED_NAMES),
    ("average_accuracy", "average accuracy"),
    ("overall_accuracy", "overall accuracy"),
    ("kappa", "kappa x 100"),
)
"""Measures in the order of the table, with their titles."""

_SIGNS = {1: "+", -1: "-", 0: ""}

WHY_NO_MCNEMAR = (
    "McNemar's test on pixels is not offered: it takes pixels for independent, and neighbouring pixels are not."
)


@dataclass(frozen=True)
class Patches:
    """The patches of one pair of sides, from the one that differs most; ``runs`` are those that were looked at."""

    pair: tuple[int, int]
    runs: tuple[Submission, Submission]
    differences: Sequence[PatchDifference]

    @property
    def by_pixel(self) -> bool:
        """Whether maps were looked at, and not only counts of right pixels."""
        return all(d.only is not None for d in self.differences)


def sides_table(comparison: Comparison) -> Table:
    """Which run or runs each letter stands for."""
    columns = (
        Column(""),
        Column("method"),
        Column("preset", block=1),
        Column("track", block=1),
        Column("seeds", block=1),
        Column("badges", block=1),
        Column("keys", block=2),
    )
    rows: list[tuple[Cell, ...]] = []
    for side in comparison.sides:
        meta = side.runs[0].meta
        rows.append(
            (
                side.letter,
                side.label,
                str(meta.get("preset") or ""),
                str(meta["track"]),
                ", ".join(map(str, side.seeds)),
                ", ".join(map(str, meta["badges"])),
                ", ".join(run.key for run in side.runs),
            )
        )
    notes = []
    if len({side.runs[0].meta["track"] for side in comparison.sides}) > 1:
        notes.append("Runs of different tracks were shown different labels; the maps are scored alike.")
    return Table("", columns, tuple(rows), notes=tuple(notes))


def scores_table(comparison: Comparison) -> Table:
    """Producer's accuracy of each class, AA, OA and kappa of every side, and the differences with their intervals."""
    columns = [Column("class"), *_side_columns(comparison), *_pair_columns(comparison)]
    part = comparison.whole
    rows = []
    marked: set[tuple[int, int]] = set()
    for number, (measure, title) in enumerate(ROWS):
        row: list[Cell] = [title]
        for side, scores in zip(comparison.sides, part.scores, strict=True):
            row += [scores[measure].value, *([scores[measure].spread] if len(side.runs) > 1 else [])]
        row += _differences(comparison, part, measure, marked, number, len(row))
        rows.append(tuple(row))
    return Table(
        f"{part.patches:,} patches",
        tuple(columns),
        tuple(rows),
        notes=tuple(_notes(comparison)),
        bold=frozenset(marked),
        rules=frozenset({len(SCORED_NAMES)}),
    )


def regions_table(comparison: Comparison) -> Table | None:
    """Average accuracies and their differences by region; None if the data tell no regions."""
    if not comparison.regions:
        return None
    columns = [Column("region"), Column("patches", "count"), *_side_columns(comparison), *_pair_columns(comparison)]
    rows = []
    marked: set[tuple[int, int]] = set()
    for number, part in enumerate(comparison.regions):
        row: list[Cell] = [part.region, part.patches]
        for side, scores in zip(comparison.sides, part.scores, strict=True):
            average = scores["average_accuracy"]
            row += [average.value, *([average.spread] if len(side.runs) > 1 else [])]
        row += _differences(comparison, part, "average_accuracy", marked, number, len(row))
        rows.append(tuple(row))
    notes = ("Average accuracy over the classes that a region has; intervals from its own patches.",)
    return Table("By region", tuple(columns), tuple(rows), notes=notes, bold=frozenset(marked))


def patches_table(comparison: Comparison, patches: Patches, most: int) -> Table:
    """The ``most`` patches in which the two sides of a pair differ most."""
    first, second = (comparison.sides[i].letter for i in patches.pair)
    columns = [Column("patch"), Column("pixels", "count"), Column(f"{first} right", "count")]
    columns.append(Column(f"{second} right", "count"))
    if patches.by_pixel:
        columns += [Column(f"only {first} right", "count"), Column(f"only {second} right", "count")]
    rows = []
    for d in patches.differences[:most]:
        rows.append((d.patch_id, d.pixels, *d.right, *((d.only or ()) if patches.by_pixel else ())))
    notes = [f"Of the runs {patches.runs[0].folder.name} and {patches.runs[1].folder.name}."]
    if not patches.by_pixel:
        notes.append(
            "Ordered by the difference of right pixels, the least that can differ: which pixels are right is not known "
            "without both runs' maps and the data."
        )
    title = f"Patches that differ most, {first} and {second}"
    return Table(title, tuple(columns), tuple(rows), notes=tuple(notes))


def tables(comparison: Comparison, patches: Sequence[Patches], most: int) -> list[Table]:
    """All tables, in the order of a page."""
    found = [sides_table(comparison), scores_table(comparison), regions_table(comparison)]
    found += [patches_table(comparison, each, most) for each in patches if most and each.differences]
    return [table for table in found if table is not None]


def heading(comparison: Comparison) -> str:
    """Which data these runs are about."""
    meta = comparison.sides[0].runs[0].meta
    data = meta["data"]
    told = "" if data["official"] else ", not the official data of DFC2020"
    return f"{data['title']} ({data['name']}, fingerprint {data['fingerprint']}){told}; {meta['split']} split"


def markdown(
    comparison: Comparison, patches: Sequence[Patches], most: int, figures: Mapping[str, str] | None = None
) -> str:
    """The whole page; ``figures`` maps file names to what they show."""
    letters = ", ".join(f"{side.letter} {side.label}" for side in comparison.sides)
    parts = [f"# Comparison: {escape_markdown(letters)}", f"Data: {escape_markdown(heading(comparison))}."]
    parts += [to_markdown(table).rstrip("\n") for table in tables(comparison, patches, most)]
    parts += [f"![{escape_markdown(shown)}]({name})" for name, shown in (figures or {}).items()]
    return "\n\n".join(parts) + "\n"


def values_csv(comparison: Comparison) -> str:
    """Every number at full precision, one per line; ``minus`` is the side that is taken off in a difference."""
    columns = (
        Column("region"),
        Column("side"),
        Column("minus"),
        Column("label"),
        Column("measure"),
        Column("value", "percent"),
        Column("interval", "interval", name="value"),
        Column("spread", "percent", name="standard_deviation"),
        Column("seeds", "count"),
    )
    rows: list[tuple[Cell, ...]] = []

    def add(part: Part, side: int, minus: int | None, values: Mapping[str, Estimate]) -> None:
        it = comparison.sides[side]
        other = "" if minus is None else comparison.sides[minus].letter
        for measure, _ in ROWS:
            e = values[measure]
            rows.append((part.region, it.letter, other, it.label, measure, e.value, e.interval, e.spread, len(it.runs)))

    for part in (comparison.whole, *comparison.regions):
        for number, values in enumerate(part.scores):
            add(part, number, None, values)
        for (first, second), values in part.differences.items():
            add(part, second, first, values)
    return to_csv(Table("", columns, tuple(rows)))


def patches_csv(comparison: Comparison, patches: Sequence[Patches]) -> str:
    """Every patch of every pair."""
    names = ("patch", "pixels", "first_right", "second_right", "only_first_right", "only_second_right")
    columns = tuple(Column(name) for name in names)
    parts = []
    for each in patches:
        first, second = (comparison.sides[i].letter for i in each.pair)
        rows = tuple((d.patch_id, d.pixels, *d.right, *(d.only or (None, None))) for d in each.differences)
        parts.append(({"first": first, "second": second}, Table("", columns, rows)))
    return to_csv(parts)


def _side_columns(comparison: Comparison) -> list[Column]:
    columns = []
    for side in comparison.sides:
        columns.append(Column(f"{side.letter} {side.label}", "percent", short=side.letter, block=1))
        if len(side.runs) > 1:
            title = f"{side.letter}: sd of {len(side.runs)} seeds"
            columns.append(Column(title, "percent", short="sd", block=1))
    return columns


def _pair_columns(comparison: Comparison) -> list[Column]:
    columns = []
    for number, (first, second) in enumerate(comparison.pairs):
        title = f"{comparison.sides[second].letter} - {comparison.sides[first].letter}"
        columns += [
            Column(title, "percent", block=2 + number),
            Column(
                f"{100 * LEVEL:g} % interval of {title}",
                "interval",
                short=f"{100 * LEVEL:g} % interval",
                block=2 + number,
            ),
            Column("apart from 0", short="!= 0", block=2 + number),
        ]
    return columns


def _differences(
    comparison: Comparison, part: Part, measure: str, marked: set[tuple[int, int]], row: int, first_column: int
) -> list[Cell]:
    cells: list[Cell] = []
    for pair in comparison.pairs:
        estimate = part.differences[pair][measure]
        if estimate.sign:
            marked.add((row, first_column + len(cells)))
        cells += [estimate.value, estimate.interval, _SIGNS[estimate.sign]]
    return cells


def _notes(comparison: Comparison) -> list[str]:
    notes = [
        "Classes: producer's accuracy. All in percent, differences in percentage points.",
        f"Intervals: {100 * LEVEL:g} %, from {RESAMPLES:,} bootstrap resamples of the patches, the same ones for all runs. "
        "+ and - mark differences whose interval lies wholly above or below 0; of twenty such intervals without any "
        "true difference, one does so by chance.",
    ]
    if any(len(side.runs) > 1 for side in comparison.sides):
        notes.append(
            "Where a side has several seeds, its values are means over them, in every resample too, and sd is their "
            "standard deviation; the intervals tell of the choice of patches, not of seeds."
        )
    notes.append(WHY_NO_MCNEMAR)
    return notes
