"""The report on judged check points: tables, a Markdown page, CSV and LaTeX, as the contest paper's Table III and Fig. 3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dfcbench.check_points import Drawing, Subject, code_name
from dfcbench.files import write_text
from dfcbench.map_accuracy import Accuracy, Estimate, Validation
from dfcbench.report.figures import confusion_figure
from dfcbench.report.tables import Cell, Column, Table, escape_markdown, to_csv, to_latex, to_markdown
from dfcbench.scheme import NAMES
from dfcbench.scoring import LEVEL, SIZE, Confusion

ALL = "all"
_INTERVAL = f"{100 * LEVEL:g} % interval"


@dataclass(frozen=True)
class Report:
    """What is reported: the estimates, of what, and by whom it was judged; ``subject`` is the drawing's, or of the other
    map whose accuracies were estimated at its points. simulated: how the simulated judge described itself."""

    validation: Validation
    drawing: Drawing
    subject: Subject
    judge: str | None = None
    simulated: str | None = None


def heading(report: Report) -> list[str]:
    """Sentences: what is judged, of which data, by whom, how it was drawn."""
    subject, drawing = report.subject, report.drawing
    what = "reference labels" if subject.method is None else f"maps of {subject.method} (run {subject.run})"
    data = subject.data
    told = "" if data["official"] else "; not the official data of DFC2020"
    if any(stratum.region for stratum in drawing.strata):
        per = "per class in each region" if drawing.by_class else "per region"
    else:
        per = ("per class" if drawing.by_class else "in all") + ", as the data tell no regions"
    judge = f"Judged by {report.judge}." if report.judge else "Who judged is not told."
    lines = [
        f"Of what: {what}, {subject.split} split.",
        f"Data: {data['title']} ({data['name']}, fingerprint {data['fingerprint']}){told}.",
        judge,
        f"Drawing {drawing.digest}: {len(drawing.points):,} points, up to {drawing.asked:,} {per}; seed {drawing.seed}.",
    ]
    if report.simulated:
        lines[2] = (
            f"SIMULATED: no person judged, but the {report.simulated}. This tries the estimator and tells nothing else."
        )
    return lines


def title(report: Report) -> str:
    """Of the page."""
    what = "the reference labels" if report.subject.method is None else report.subject.method
    return f"Accuracy of {what} at judged points" + (" (SIMULATED judge)" if report.simulated else "")


def regions_table(report: Report) -> Table:
    """Overall accuracy, mean precision and mean recall by region and of all together."""
    columns = (
        Column("region"),
        Column("points", "count", block=1),
        Column("judged", "count", block=1),
        Column("unsure", "count", block=1),
        *_estimate_columns("overall accuracy", "overall", 1),
        *_estimate_columns("mean precision", "precision", 2),
        *_estimate_columns("mean recall", "recall", 3),
    )
    parts = [*report.validation.regions, report.validation.whole]
    rows = tuple(
        (
            *(part.region or ALL, part.points, part.judged, part.unsure),
            *(*_cells(part.overall), *_cells(part.precision), *_cells(part.recall)),
        )
        for part in parts
    )
    rules = frozenset({len(rows) - 1}) if len(rows) > 1 else frozenset()
    return Table("By region", columns, rows, notes=tuple(_notes(report)), rules=rules)


def classes_table(part: Accuracy) -> Table:
    """Precision and recall of each class that occurs."""
    columns = (
        Column("class"),
        Column("points on the map", "count", "mapped_points", "mapped", block=1),
        Column("points judged so", "count", "judged_points", "judged", block=1),
        Column("share of the map", "percent", "mapped_share", "of the map", block=1),
        Column("estimated true share", "percent", "true_share", "true share", block=1),
        *_estimate_columns("precision (user's)", "precision", 2),
        *_estimate_columns("recall (producer's)", "recall", 3),
    )
    rows = tuple(
        (NAMES[c.code], c.mapped, c.judged, c.mapped_share, c.share, *_cells(c.precision), *_cells(c.recall))
        for c in part.classes
    )
    return Table(f"By class: {part.region or ALL}", columns, rows)


def points_table(part: Accuracy) -> Table:
    """The confusion matrix in judged points."""
    return _matrix(
        part, part.counts, "count", f"Judged points: {part.region or ALL}", "Class of the map down, the judge's across."
    )


def areas_table(part: Accuracy) -> Table:
    """The confusion matrix of all pixels, estimated, in percent of them."""
    note = "Class of the map down, the true one across; in percent of all pixels."
    shares = part.areas / (part.areas.sum() or 1.0)
    return _matrix(part, shares, "percent", f"Estimated confusion matrix: {part.region or ALL}", note)


def tables(report: Report) -> list[Table]:
    """All tables of the terminal and of the page's whole part."""
    whole = report.validation.whole
    return [regions_table(report), classes_table(whole), points_table(whole), areas_table(whole)]


def write(report: Report, folder: Path) -> list[Path]:
    """Write report.md, report.csv, report.tex and the figure of the confusion matrix; returns their paths."""
    # the figure takes pixels, with the true class down
    pixels = np.rint(report.validation.whole.areas.T).astype(np.uint32)[np.newaxis]
    figure = confusion_figure(Confusion((ALL,), pixels), folder / "confusion.png", title(report))
    texts = {"report.md": markdown(report, figure.name), "report.csv": values_csv(report), "report.tex": latex(report)}
    for name, text in texts.items():
        write_text(folder / name, text)
    return [*(folder / name for name in texts), figure]


def markdown(report: Report, figure: str | None = None) -> str:
    """The whole page; ``figure`` is the file name of the confusion matrix."""
    found = tables(report)
    for part in report.validation.regions:
        found += [classes_table(part), points_table(part)]
    parts = [f"# {escape_markdown(title(report))}", *(f"- {escape_markdown(line)}" for line in heading(report))]
    text = parts[0] + "\n\n" + "\n".join(parts[1:])
    pages = [text, *(to_markdown(table).rstrip("\n") for table in found)]
    if figure:
        pages.append(f"![Estimated confusion matrix]({figure})")
    return "\n\n".join(pages) + "\n"


def latex(report: Report) -> str:
    """All tables, each a ``tabular``, with what they are about in comments."""
    head = "".join(f"% {' '.join(line.split())}\n" for line in (title(report), *heading(report)))
    return "\n".join([head, *(to_latex(table) for table in tables(report))])


def values_csv(report: Report) -> str:
    """Every number at full precision: measures, one per line, and the cells of the confusion matrices."""
    subject = report.subject
    about = {
        "data": str(subject.data["name"]),
        "official": "yes" if subject.data["official"] else "no",
        "split": subject.split,
        "of": subject.method or "labels",
        "judge": "simulated" if report.simulated else report.judge or "",
    }
    measures = (
        Column("region"),
        Column("measure"),
        Column("class"),
        Column("value", "percent"),
        Column("standard_error", "percent"),
        Column("interval", "interval", name="value"),
        Column("points", "count"),
    )
    cells = (
        Column("region"),
        Column("measure"),
        Column("class"),
        Column("judged_class"),
        Column("value"),
        Column("points"),
    )
    rows: list[tuple[Cell, ...]] = []
    matrix: list[tuple[Cell, ...]] = []
    for part in (*report.validation.regions, report.validation.whole):
        name = part.region or ALL
        rows += [
            (name, measure, kind, e.value, e.standard_error, e.interval, n) for measure, kind, e, n in _measures(part)
        ]
        total = part.areas.sum() or 1.0
        for row in range(SIZE):
            for column in range(SIZE):
                if part.counts[row, column]:
                    share = float(part.areas[row, column] / total)
                    matrix.append(
                        (name, "share", code_name(row), code_name(column), share, int(part.counts[row, column]))
                    )
    return to_csv([(about, Table("", measures, tuple(rows))), (about, Table("", cells, tuple(matrix)))])


def _measures(part: Accuracy) -> Iterator[tuple[str, str, Estimate, int]]:
    yield "overall_accuracy", "", part.overall, part.judged
    yield "mean_precision", "", part.precision, part.judged
    yield "mean_recall", "", part.recall, part.judged
    for c in part.classes:
        yield "precision", NAMES[c.code], c.precision, c.mapped
        yield "recall", NAMES[c.code], c.recall, c.judged


def _estimate_columns(name: str, key: str, block: int) -> tuple[Column, ...]:
    return (
        Column(name, "percent", key, block=block),
        Column(f"{_INTERVAL} of {name}", "interval", key, _INTERVAL, block=block),
        Column(f"standard error of {name}", "percent", f"{key}_standard_error", "s.e.", block=block),
    )


def _cells(estimate: Estimate) -> tuple[Cell, ...]:
    return estimate.value, estimate.interval, estimate.standard_error


def _matrix(part: Accuracy, values: Any, kind: Any, name: str, note: str) -> Table:
    rows = [code for code in range(SIZE) if part.counts[code].any()]
    across = [code for code in range(SIZE) if part.counts[:, code].any()]
    columns = (
        Column("class of the map"),
        *(Column(code_name(code), kind, block=1 + number // 4) for number, code in enumerate(across)),
        Column("in all", kind, block=1 + len(across) // 4),
    )
    convert = int if kind == "count" else float
    lines = [
        (code_name(code), *(convert(values[code, k]) for k in across), convert(values[code].sum())) for code in rows
    ]
    lines.append(("in all", *(convert(values[:, k].sum()) for k in across), convert(values.sum())))
    diagonal = frozenset((rows.index(k), 1 + across.index(k)) for k in rows if k in across)
    return Table(name, columns, tuple(lines), notes=(note,), bold=diagonal, rules=frozenset({len(rows)}))


def _notes(report: Report) -> Iterator[str]:
    validation = report.validation
    yield (
        "In percent. Precision is the user's accuracy, recall the producer's; means over the scored classes that occur at "
        "the points. Every point is weighted by the pixels it stands for (Olofsson et al. 2014; Stehman 2014)."
    )
    yield (
        f"Intervals hold the truth in about {100 * LEVEL:g} of 100 drawings, if the judge is right. They are not made from "
        "the standard errors (s.e.), which are too small where few points were judged."
    )
    whole = validation.whole
    if whole.unsure or whole.blank:
        yield (
            f"Left out, as if they were like the others of their stratum: {whole.unsure:,} point(s) whose judge was unsure, "
            f"{whole.blank:,} that are not judged yet."
        )
    if validation.silent:
        pixels = sum(stratum.pixels for stratum in validation.silent)
        share = pixels / sum(stratum.pixels for stratum in report.drawing.strata)
        names = ", ".join(stratum.title for stratum in validation.silent)
        yield (
            f"Nothing is known of {100 * share:.2f} % of the pixels, and the estimates leave them out: no point was judged "
            f"in {names}."
        )
    if report.subject != report.drawing.subject:
        drawn = report.drawing.subject
        yield (
            f"The points were drawn from {drawn.method or 'the reference labels'}, in whose strata they are weighted "
            "(Stehman 2014)."
        )
