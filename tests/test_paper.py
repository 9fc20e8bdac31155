"""The paper's tables: rows find their runs, cells say what was measured and published, and on which data."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfcbench import paper
from dfcbench.errors import UsageError
from dfcbench.published import load
from dfcbench.registry import Registry
from dfcbench.report.paper_table import paper_table, write_paper_table
from dfcbench.report.tables import to_markdown
from dfcbench.scoring import Scores
from dfcbench.submission import find_submissions
from tests.made_submissions import made_submission


def test_every_row_names_a_method_on_offer_and_parameters_that_it_has():
    registry = Registry()
    for definition in paper.tables().values():
        for row in definition.rows:
            method = registry.load(row.method).method
            assert set(row.parameters) <= set(method.Params.model_fields)
            assert method.Params(**row.parameters)


def test_every_published_cell_is_an_entry_of_the_published_results():
    for definition in paper.tables().values():
        for row in definition.rows:
            assert set(row.published) <= set(row.splits)
            for split in row.published:
                assert paper.published(row, definition.track, split) is not None, (row.label, split)


def test_published_cells_are_the_papers_numbers():
    cells = {
        (row.label, split): paper.published(row, 1, split)
        for row in paper.table("VI").rows
        for split in ("validation", "test")
    }
    known = {place: round(100 * result.average_accuracy, 2) for place, result in cells.items() if result}
    assert known == {
        ("Neural smoothing", "validation"): 70.4,
        ("Neural smoothing", "test"): 53.6,
        ("Neural smoothing, fitted on validation", "test"): 48.4,
        ("Final ensemble", "test"): 57.49,
    }


def test_an_unknown_table_names_those_that_exist():
    with pytest.raises(UsageError, match="VI, VII"):
        paper.table("XII")


def make(folder: Path, method: str, seed: int = 0, official: bool = False):
    """A finished submission of the test split."""
    return made_submission(folder, method, f"seed{seed}", seed=seed, data={"official": official})


def test_a_cell_is_the_mean_over_seeds_of_the_runs_that_match(tmp_path):
    for seed in range(3):
        make(tmp_path, "bag", seed)
    found, problems = find_submissions(tmp_path)
    assert problems == []
    meta = found[0].meta
    row = paper.Row("Bag", "bag", splits=("test",))
    cell = paper.measured(row, meta["track"], meta["split"], meta["data"]["name"], found)
    assert cell.seeds == 3
    expected = [Scores.of(s.confusion).average_accuracy for s in found]
    assert cell.values[paper.AVERAGE] == pytest.approx(sum(expected) / 3)
    other = paper.Row("Bag", "bag", {"clusters": -1})
    assert paper.measured(other, meta["track"], meta["split"], meta["data"]["name"], found) is None
    assert paper.measured(row, meta["track"], meta["split"], "other-data", found) is None


def test_missing_names_the_rows_and_splits_without_a_run(tmp_path):
    submission = make(tmp_path, "bag")
    definition = paper.table("VI")
    lacking = paper.missing(definition, submission.meta["data"]["name"], [submission])
    names = [(row.label, split) for row, split in lacking]
    assert (("Bag clustering", submission.meta["split"]) in names) is False
    assert ("Neural smoothing, fitted on validation", "validation") not in names
    assert len(names) == 11 - 1


def test_on_other_data_no_difference_to_published_values_is_told(tmp_path):
    submission = make(tmp_path, "final-ensemble")
    assert submission.meta["data"]["official"] is False
    table = paper_table(paper.table("VI"), submission.meta["data"]["name"], [submission])
    assert not any("difference" in column.title for column in table.columns)
    text = to_markdown(table)
    assert "Not the data of DFC2020" in text
    assert submission.meta["data"]["title"] in text


def test_on_dfc2020_the_difference_is_measured_minus_published(tmp_path):
    submission = make(tmp_path, "final-ensemble", official=True)
    table = paper_table(paper.table("VI"), submission.meta["data"]["name"], [submission])
    at = [column.title for column in table.columns].index("test, difference")
    row = next(r for r in table.rows if r[0] == "Final ensemble")
    (told,) = [r for r in load() if r.entry == "final ensemble"]
    assert row[at] == pytest.approx(submission.scores.average_accuracy - told.average_accuracy)
    assert row[at - 2] == submission.scores.average_accuracy
    bag = next(r for r in table.rows if r[0] == "Bag clustering")
    assert bag[1:] == (None,) * (len(table.columns) - 1), "unknown and unmeasured cells stay empty"


def test_the_class_table_has_every_class_and_the_best_of_each_line_bold(tmp_path):
    runs = [make(tmp_path / name, name, seed) for seed, name in enumerate(["bag", "epitome"])]
    table = paper_table(paper.table("VII"), runs[0].meta["data"]["name"], runs)
    assert len(table.rows) == 9
    for number, row in enumerate(table.rows):
        known = {at: row[at] for at in (1, 2) if row[at] is not None}
        best = {at for at, value in known.items() if value == max(known.values())}
        assert {at for r, at in table.bold if r == number} == best


def test_tables_are_written_as_markdown_csv_and_latex_and_twice_the_same(tmp_path):
    submission = make(tmp_path, "bag")
    table = paper_table(paper.table("VII"), "data", [submission])
    first = [path.read_bytes() for path in write_paper_table(table, "VII", "data", tmp_path / "out")]
    second = [path.read_bytes() for path in write_paper_table(table, "VII", "data", tmp_path / "out")]
    assert first == second
    assert [path.suffix for path in sorted((tmp_path / "out" / "data").iterdir())] == [".csv", ".md", ".tex"]
