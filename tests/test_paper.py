"""The paper's tables: rows find their runs, cells say what was measured and published, and on which data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import typer

from dfcbench import paper
from dfcbench.cli import table as command
from dfcbench.errors import DataError, UsageError
from dfcbench.former import Former
from dfcbench.plan import Plan
from dfcbench.published import PublishedResult, load
from dfcbench.registry import Registry
from dfcbench.report.paper_table import paper_table, write_paper_table
from dfcbench.report.tables import to_markdown
from dfcbench.scoring import Scores
from dfcbench.submission import Submission, find_submissions, write_scores, write_submission
from dfcbench_methods import forests
from dfcbench_methods.antonia import Antonia
from dfcbench_methods.bag import Bag
from tests.conftest import Shell
from tests.made_submissions import DATA, made_confusion, made_submission


def test_every_row_names_a_method_on_offer_and_parameters_that_it_has():
    registry = Registry()
    for definition in paper.tables().values():
        for row in definition.rows:
            if not row.method:
                assert row.published and not row.parameters
                continue
            method = registry.load(row.method).method
            assert set(row.parameters) <= set(method.Params.model_fields)
            assert method.Params(**row.parameters)


def test_every_published_cell_is_an_entry_of_the_published_results():
    for definition in paper.tables().values():
        for row in definition.rows:
            assert set(row.published) <= set(row.splits)
            for split in row.published:
                assert paper.published(row, split) is not None, (row.label, split)


def test_published_cells_are_the_papers_numbers():
    cells = {
        (row.label, split): paper.published(row, split)
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


def test_published_cells_of_track_2_are_the_papers_numbers():
    cells = {row.label: paper.published(row, "test") for row in paper.table("IX").rows}
    assert [round(100 * cells[f"Experiment {i}"].average_accuracy, 2) for i in (1, 2, 4)] == [51.65, 60.41, 61.42]
    assert cells["Experiment 3"].average_accuracy is None
    told = {
        label: {name: round(100 * value, 2) for name, value in cell.producers_accuracy.items()}
        for label, cell in cells.items()
    }
    assert told == {
        "Experiment 1": {},
        "Experiment 2": {"Croplands": 54.40, "Urban/Built-up": 81.16},
        "Experiment 3": {"Water": 97.85, "Croplands": 59.43, "Urban/Built-up": 83.91},
        "Experiment 4": {"Water": 98.96},
    }


def test_every_row_has_a_cell_for_each_column_of_settings():
    for definition in paper.tables().values():
        for row in definition.rows:
            assert len(row.settings) == len(definition.settings), (definition.name, row.label)


def test_of_several_published_entries_each_number_is_of_the_first_that_tells_it():
    def entry(name: str, average: float | None, **classes: float) -> PublishedResult:
        return PublishedResult("track2", "test", name, "team", "S1", "paper", "", "somewhere", average, classes)

    row = paper.Row("row", "bag", published={"test": ["a", "b"]}, track=2)
    results = [entry("b", 0.5, Water=0.2, Forest=0.3), entry("a", None, Water=0.9), entry("c", 0.7, Barren=0.1)]
    found = paper.published(row, "test", results)
    assert (found.average_accuracy, found.producers_accuracy) == (0.5, {"Water": 0.9, "Forest": 0.3})
    assert paper.published(row, "validation", results) is None


def experiments(tmp_path: Path) -> list[Submission]:
    return [
        made_submission(tmp_path, "antonia", f"e{i}", 0.3 + i / 10, track=2, parameters={"experiment": i})
        for i in (1, 2, 3, 4)
    ]


def test_table_viii_tells_the_settings_of_the_experiments_beside_their_average_accuracy(tmp_path):
    runs = experiments(tmp_path)
    table = paper_table(paper.table("VIII"), runs[0].meta["data"]["name"], runs)
    titles = [column.title for column in table.columns]
    assert titles[:4] == ["approach", "labels", "features", "mask"]
    assert [row[3] for row in table.rows] == ["none", "none", "none", "water"]
    assert [row[4] for row in table.rows] == [run.scores.average_accuracy for run in runs]
    assert [row[5] for row in table.rows] == [0.5165, 0.6041, None, 0.6142]
    assert table.bold == {(max(range(4), key=lambda i: table.rows[i][4]), 4)}


def test_table_ix_tells_each_class_of_each_experiment(tmp_path):
    runs = experiments(tmp_path)
    table = paper_table(paper.table("IX"), runs[0].meta["data"]["name"], runs)
    at = [column.title for column in table.columns].index("Experiment 3")
    water = next(row for row in table.rows if row[0] == "Water")
    assert water[at] == runs[2].scores.classes["Water"].producers_accuracy
    assert water[at + 1] == 0.9785
    assert [column.short for column in table.columns if column.title.startswith("Experiment")][:2] == [
        "exp. 1",
        "publ.",
    ]


BASELINES = ("deeplabv3", "unet", "kmeans", "random-forest")


def baselines(tmp_path: Path, **changes) -> list[Submission]:
    """Each baseline of Table IV with both inputs, as the command line records them."""
    runs = [made_submission(tmp_path, "low-resolution-labels", "lr", 0.2, split="validation", parameters={}, **changes)]
    for number, method in enumerate(BASELINES):
        for inputs, overrides in (("s2", {}), ("s1+s2", {"inputs": "s1+s2"})):
            quality = 0.3 + number / 10 + len(overrides) / 20
            meta = {"parameters": {"inputs": inputs}, "overrides": overrides, "split": "validation", **changes}
            runs.append(made_submission(tmp_path, method, inputs, quality, **meta))
    return runs


def test_table_iv_tells_classes_and_average_of_each_baseline_and_inputs(tmp_path):
    runs = baselines(tmp_path)
    table = paper_table(paper.table("IV"), runs[0].meta["data"]["name"], runs)
    titles = [column.title for column in table.columns]
    assert titles[:3] == ["approach", "average accuracy", "average accuracy, published"]
    assert titles[3:] == list(runs[0].scores.classes)
    assert [row[0] for row in table.rows] == [
        "LR-HR",
        *(
            f"{name}, {inputs}"
            for name in ("DeepLabv3", "U-Net", "k-means", "Random forest")
            for inputs in ("S2", "S1+S2")
        ),
        "DeepLabv3+, S2, checkpoint",
        "DeepLabv3+, S1+S2, checkpoint",
    ]
    for row, run in zip(table.rows, runs, strict=False):
        assert row[1] == run.scores.average_accuracy
        assert row[2] is None, "cells of the paper's Table IV are not known"
        assert row[3:] == tuple(scores.producers_accuracy for scores in run.scores.classes.values())
    assert {at for number, at in table.bold if number == 8} >= {1}, "the best average is bold"
    assert "could not be recovered" in to_markdown(table)


def test_the_organisers_checkpoints_are_published_and_never_run(tmp_path):
    definition = paper.table("IV")
    table = paper_table(definition, "data", [])
    assert [row[1:3] for row in table.rows[-2:]] == [(None, 0.4493), (None, 0.4481)]
    assert all(cell is None for row in table.rows[-2:] for cell in row[3:])
    lacking = paper.missing(definition, "data", [])
    assert len(lacking) == 9
    assert all(row.method for row, _ in lacking)
    assert "checkpoint" not in " ".join(note for note in table.notes if note.startswith("Not run yet"))


def test_table_iv_lacks_nothing_once_every_baseline_ran(tmp_path):
    runs = baselines(tmp_path)
    data = runs[0].meta["data"]["name"]
    assert paper.missing(paper.table("IV"), data, runs) == []
    one_less = [run for run in runs if (run.meta["method"]["name"], run.meta.get("overrides")) != ("unet", {})][:-1]
    assert [row.label for row, _ in paper.missing(paper.table("IV"), data, one_less)] == [
        "U-Net, S2",
        "Random forest, S1+S2",
    ]


def test_published_accuracies_of_classes_have_a_line_of_their_own_in_table_iv(tmp_path, monkeypatch):
    told = PublishedResult("track1", "validation", "forest", "t", "S2", "paper", "", "x", 0.5, {"Water": 0.9})
    monkeypatch.setattr("dfcbench.report.paper_table.load", lambda: (told,))
    row = paper.Row("Forest", "random-forest", splits=("validation",), published={"validation": "forest"})
    definition = replace(paper.table("IV"), rows=(row,))
    (ours, theirs) = paper_table(definition, "data", []).rows
    assert ours[:3] == ("Forest", None, 0.5)
    assert theirs[0] == "Forest, published"
    assert [cell for cell in theirs[1:] if cell is not None] == [0.9]


def test_on_dfc2020_table_iv_tells_differences(tmp_path):
    runs = baselines(tmp_path, data={"official": True})
    rows = paper_table(paper.table("IV"), runs[0].meta["data"]["name"], runs)
    assert [column.title for column in rows.columns][3] == "difference"
    assert rows.rows[0][3] is None


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
    cell = paper.measured(row, meta["split"], meta["data"]["name"], found)
    assert cell.seeds == 3
    expected = [Scores.of(s.confusion).average_accuracy for s in found]
    assert cell.values[paper.AVERAGE] == pytest.approx(sum(expected) / 3)
    other = paper.Row("Bag", "bag", {"clusters": -1})
    assert paper.measured(other, meta["split"], meta["data"]["name"], found) is None
    assert paper.measured(row, meta["split"], "other-data", found) is None


BAG = paper.Row("Bag", "bag", splits=("test",))


def said(row: paper.Row, *runs) -> paper.Measured | None:
    return paper.measured(row, "test", DATA, runs)


@pytest.mark.parametrize(
    ("row", "parameters", "overrides", "counts"),
    [
        ({}, {"clusters": 32}, {}, True),
        ({}, {"clusters": 2}, {"clusters": 2}, False),
        ({}, {"clusters": 2}, None, True),
        ({"fitted": "a"}, {"fitted": "a", "width": 64}, {"fitted": "a"}, True),
        ({"fitted": "a"}, {"fitted": "a", "width": 64}, {}, True),
        ({"fitted": "a"}, {"fitted": "a", "width": 8}, {"fitted": "a", "width": 8}, False),
        ({"fitted": "a"}, {"fitted": "b", "width": 64}, {}, False),
        ({"fitted": "a"}, {"fitted": "b", "width": 64}, None, False),
        ({"fitted": "a", "width": 64}, {"fitted": "a", "width": 64}, {"fitted": "a"}, True),
    ],
)
def test_a_run_is_of_a_row_if_nothing_else_was_given_to_it(tmp_path, row, parameters, overrides, counts):
    given = {} if overrides is None else {"overrides": overrides}
    run = made_submission(tmp_path, "bag", parameters=parameters, **given)
    assert (said(paper.Row("Bag", "bag", row), run) is not None) is counts


@pytest.mark.parametrize(
    "other",
    [
        {"data": {"fingerprint": "0" * 16}},
        {"data": {"depends_on": {"validation": "0" * 16}}},
        {"method": {"version": "2"}},
        {"method": {"source_digest": "0" * 16}},
        {"parameters": {"clusters": 33}},
    ],
)
def test_runs_of_other_data_methods_or_parameters_are_not_averaged(tmp_path, other):
    many = [made_submission(tmp_path, "bag", f"a{seed}", seed=seed) for seed in (0, 1)]
    few = made_submission(tmp_path, "bag", "b", quality=0.9, seed=2, **other)
    for runs in ([*many, few], [few, *many]):
        assert said(BAG, *runs) == said(BAG, *many), "the group with most seeds speaks"
    official = made_submission(tmp_path, "bag", "c", quality=0.9, seed=2, preset="published", **other)
    assert said(BAG, *many, official) == said(BAG, official), "the paper's constants go before the number of seeds"
    one, another = said(BAG, many[0], few), said(BAG, few, many[0])
    assert one == another, "a tie does not depend on the order"
    assert one.seeds == 1


def test_a_seed_that_ran_twice_counts_once(tmp_path):
    runs = [
        made_submission(tmp_path, "bag", name, quality, seed, key=name * 16)
        for name, quality, seed in (("a", 0.2, 0), ("b", 0.9, 0), ("c", 0.4, 1))
    ]
    cell = said(BAG, *runs)
    assert cell.seeds == 2
    assert cell == said(BAG, *reversed(runs)) == said(BAG, runs[0], runs[2])


@pytest.fixture(params=["demo", "real"])
def place(request, tmp_path):
    """A demo contest, where rows run quick, or other data, where they run as published; the arguments that say so."""
    root = request.getfixturevalue("tiny_root" if request.param == "demo" else "small_root")
    return {"data": root, "submissions": tmp_path / "submissions", "out": tmp_path / "out"}


def asked(monkeypatch, place, number: str, **options) -> list[Plan]:
    """The runs that ``dfcbench table --run`` makes; none is made."""
    plans: list[Plan] = []
    monkeypatch.setattr(command, "perform", lambda plan, *_, **__: plans.append(plan))
    command.table(number, run=True, **place, **options)
    return plans


def finished(plan: Plan, quality: float = 0.6) -> Submission:
    """A made-up run that has the plan's key and tells what it would."""
    for part in plan.parts.values():
        finished(part, quality)
    confusion = made_confusion(quality)
    meta = plan.describe() | {"status": "finished"}
    write_scores(plan.folder, confusion)
    return write_submission(plan.folder, {**meta, "data": {**meta["data"], "patches": len(confusion.ids)}})


def test_a_finished_run_fills_its_row_until_its_preset_changes(place, monkeypatch):
    first = asked(monkeypatch, place, "VI")
    assert len(first) == 11 and {plan.preset for plan in first} <= {"quick", "published"}
    for plan in first:
        finished(plan)
    assert asked(monkeypatch, place, "VI") == []
    changed = {name: {**values, "radius": values.get("radius", 4) + 1} for name, values in Bag.presets.items()}
    monkeypatch.setattr(Bag, "presets", changed)
    again = asked(monkeypatch, place, "VI")
    built_upon_bag = {"bag", "track1-ensemble", "neural-smoothing", "final-ensemble"}
    assert {plan.loaded.method.name for plan in again} == built_upon_bag
    assert {plan.key for plan in again}.isdisjoint(plan.key for plan in first)


def test_runs_of_another_seed_preset_or_version_do_not_fill_a_row(place, monkeypatch):
    first = asked(monkeypatch, place, "IX")
    for plan in first:
        finished(plan)
    (other,) = {"quick", "published"} - {plan.preset for plan in first}
    for options in ({"seed": 1}, {"preset": other}):
        assert len(asked(monkeypatch, place, "IX", **options)) == len(first) == 4
    assert asked(monkeypatch, place, "IX") == []
    monkeypatch.setattr(Antonia, "version", "0")
    assert len(asked(monkeypatch, place, "IX")) == 4


def test_a_table_says_which_rows_a_former_preset_filled(place, monkeypatch, capsys):
    bag, epitome, *others = asked(monkeypatch, place, "VII")
    for plan in (epitome, *others):
        finished(plan)
    for seed in range(2):
        finished(replace(bag, seed=seed), quality=0.3)
    capsys.readouterr()

    def shown() -> tuple[str, str]:
        command.table("VII", **place)
        out, err = capsys.readouterr()
        return " ".join(out.split()), " ".join(err.split())

    out, err = shown()
    assert "former preset" not in out + err and "lacking" not in err
    monkeypatch.setattr(Bag, "presets", {name: {**values, "radius": 3} for name, values in Bag.presets.items()})
    out, err = shown()
    told = "Bag clustering (test), Ensemble (test), Neural smoothing (test), Final ensemble (test)."
    assert f"Measured with a former preset, or version of the method: {told}" in out
    assert f"lacking, or of a former preset: 4. Make them: dfcbench table VII --data {place['data']} --run" in err
    today, *others = asked(monkeypatch, place, "VII")
    for plan in others:
        finished(plan)
    run = finished(today, quality=0.8)
    capsys.readouterr()
    out, err = shown()
    assert "former preset" not in out + err
    assert f"{100 * run.scores.average_accuracy:.2f}" in out, (
        "the present preset speaks, though the former has more seeds"
    )


def test_a_run_built_upon_one_of_a_former_preset_is_of_a_former_preset(place, monkeypatch):
    runs = [finished(plan) for plan in asked(monkeypatch, place, "VI")]
    every, _ = find_submissions(place["submissions"])

    def former() -> set[str]:
        is_former = Former(Registry(), every)
        given = {"neural-smoothing": {"fitted_on": "validation"}}
        return {
            run.meta["method"]["name"]
            for run in runs
            if is_former(run, given.get(run.meta["method"]["name"], {}) if run.meta["overrides"] else {})
        }

    assert former() == set()
    monkeypatch.setattr(Bag, "presets", {name: {**values, "radius": 3} for name, values in Bag.presets.items()})
    assert former() == {"bag", "track1-ensemble", "neural-smoothing", "final-ensemble"}
    every = [run for run in every if run.meta["method"]["name"] != "bag"]
    assert former() == {"bag"}, "what a run was built upon is not told where that run is gone"


def test_a_preset_that_is_no_more_is_a_former_one_and_of_an_unknown_method_nothing_is_told(tmp_path):
    gone, unknown = made_submission(tmp_path, "bag", preset="slow"), made_submission(tmp_path, "of-somebody")
    is_former = Former(Registry(), [gone, unknown])
    assert (is_former(gone, {}), is_former(unknown, {})) == (True, False)


def test_the_engine_of_another_machine_makes_no_run_a_former_one(place, monkeypatch):
    runs = [finished(plan) for plan in asked(monkeypatch, place, "VIII")]
    is_former = Former(Registry(), runs)
    here = forests.engine_here()
    assert {run.meta["parameters"]["engine"] for run in runs} == {here}
    monkeypatch.setattr(forests, "engine_here", lambda: "sklearn" if here == "sklearnex" else "sklearnex")
    assert not any(is_former(run, run.meta["overrides"]) for run in runs)
    assert all(is_former(run, {**run.meta["overrides"], "engine": "sklearn"}) for run in runs) == (here != "sklearn")
    monkeypatch.setattr(Antonia, "presets", {name: {**values, "trees": 3} for name, values in Antonia.presets.items()})
    assert all(is_former(run, run.meta["overrides"]) for run in runs)


def test_a_row_that_cannot_run_does_not_stop_the_others(tmp_path, small_root, monkeypatch, capsys):
    ran = []

    def perform(plan, terminal, **_):
        ran.append((plan.loaded.method.name, plan.contest.split, dict(plan.overrides)))
        if plan.contest.split == "validation":
            raise DataError("the radar is broken.")
        if plan.loaded.method.name == "epitome":
            raise UsageError("another process is at this run.")

    monkeypatch.setattr(command, "perform", perform)
    with pytest.raises(typer.Exit) as ended:
        command.table("VI", data=small_root, run=True, submissions=tmp_path / "submissions", out=tmp_path / "out")
    assert ended.value.exit_code == DataError.exit_code
    assert len(ran) == 11
    assert ("neural-smoothing", "test", {"fitted_on": "validation"}) in ran
    out, err = capsys.readouterr()
    assert "Written: " in out, "the table is shown all the same"
    *notes, summary = err.strip().splitlines()
    assert "Left out: Epitome, test: another process is at this run." in notes
    assert "6 run(s) left out: Table VI, Bag clustering (validation)" in summary
    assert "Epitome (test)" in summary
    assert "Bag clustering (test)" not in summary


def test_table_iv_runs_each_baseline_with_both_inputs_on_validation(tmp_path, small_root, monkeypatch):
    ran = []

    def perform(plan, terminal, **_):
        ran.append(
            (plan.loaded.method.name, plan.contest.split, plan.parameters.get("inputs"), sorted(plan.needs.inputs))
        )

    monkeypatch.setattr(command, "perform", perform)
    command.table("IV", data=small_root, run=True, submissions=tmp_path / "submissions", out=tmp_path / "out")
    assert ran == [
        ("low-resolution-labels", "validation", None, []),
        *((method, "validation", inputs, inputs.split("+")) for method in BASELINES for inputs in ("s2", "s1+s2")),
    ]


def test_all_tables_are_run_and_written_by_one_command(tmp_path, small_root, monkeypatch):
    ran = set()

    def perform(plan, terminal, **_):
        ran.add(plan.loaded.method.name)

    monkeypatch.setattr(command, "perform", perform)
    command.table("all", data=small_root, run=True, submissions=tmp_path / "submissions", out=tmp_path / "out")
    assert ran == {row.method for table in paper.tables().values() for row in table.rows if row.method}
    written = {path.name for path in (tmp_path / "out").rglob("*.md")}
    assert written == {f"table-{name}.md" for name in paper.tables()}


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


def test_a_method_shows_which_parameters_are_required_and_what_factories_make(dfcbench: Shell):
    (dfcbench.folder / "needy.py").write_text(
        "from dfcbench.method import Field, Method, Needs, Params\n\n\n"
        "class NeedyParams(Params):\n"
        "    source: str = Field(description='where from')\n"
        "    widths: list[int] = Field(default_factory=lambda: [8, 16], description='how wide')\n\n\n"
        "class Needy(Method):\n"
        "    name = 'needy'\n"
        "    needs = Needs(inputs=frozenset({'s1'}), labels='low')\n"
        "    Params = NeedyParams\n\n"
        "    def fit(self, contest, run):\n        pass\n\n"
        "    def predict(self, patches, run):\n        return iter(())\n"
    )
    lines = dfcbench("methods", "show", "needy.py").stdout.splitlines()
    told = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line[:6] in ("source", "widths")}
    assert told == {"source": "required where from", "widths": "[8, 16] how wide"}


def test_without_run_and_data_no_demo_contest_is_generated_for_a_table(tmp_path, monkeypatch, capsys):
    from dfcbench import demo

    def refuse(*_, **__):
        raise AssertionError("generated")

    monkeypatch.setattr(demo, "ensure", refuse)
    command.table("VI", submissions=tmp_path / "submissions", out=tmp_path / "out")
    assert (tmp_path / "out" / demo.name() / "table-VI.md").exists()
    err = capsys.readouterr().err
    assert "dfcbench table VI --run" in err
