"""The table of one run: per class and over all, in percent."""

from __future__ import annotations

from dfcbench.report.tables import Cell, Column, Table, to_markdown
from dfcbench.scoring import Scores
from dfcbench.submission import Submission

COLUMNS = (
    Column("class"),
    Column("producer's accuracy", "percent", "producers_accuracy", "producer's"),
    Column("95 % interval", "interval", "producers_accuracy", "95 % interval"),
    Column("user's accuracy", "percent", "users_accuracy", "user's"),
    Column("IoU", "percent", "iou"),
    Column("pixels", "count", "pixels"),
)


def score_table(scores: Scores, title: str = "") -> Table:
    """Classes with producer's accuracy, user's accuracy, IoU and reference pixels; below them AA, OA and kappa x 100.

    On the line of the average accuracy, the column of IoU holds the mean IoU.
    """
    rows: list[tuple[Cell, ...]] = [
        (name, c.producers_accuracy, c.producers_accuracy_interval, c.users_accuracy, c.iou, c.pixels)
        for name, c in scores.classes.items()
    ]
    first_summary = len(rows)
    rows += [
        (
            "average accuracy",
            scores.average_accuracy,
            scores.average_accuracy_interval,
            None,
            scores.mean_iou,
            scores.pixels,
        ),
        ("overall accuracy", scores.overall_accuracy, scores.overall_accuracy_interval, None, None, None),
        ("kappa x 100", scores.kappa, scores.kappa_interval, None, None, None),
    ]
    notes = [f"{scores.patches:,} patches; intervals from {scores.resamples:,} bootstrap resamples of the patches."]
    if scores.ignored:
        notes.append(f"{scores.ignored:,} reference pixels have no scored class and were left out.")
    return Table(
        title,
        COLUMNS,
        tuple(rows),
        notes=(" ".join(notes),),
        bold=frozenset({(first_summary, 0), (first_summary, 1)}),
        rules=frozenset({first_summary}),
    )


def describe(submission: Submission) -> str:
    """A run's note in MLflow, Markdown: which data it is about, and its table."""
    data = submission.meta["data"]
    told = data["title"] if data["official"] else f"{data['title']}; not the data of DFC2020"
    if submission.scores is None:
        return f"Data: {told}. Maps without scores: the data have no reference labels."
    return f"Data: {told}.\n\n{to_markdown(score_table(submission.scores))}"
