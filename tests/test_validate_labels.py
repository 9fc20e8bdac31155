"""``dfcbench validate-labels`` from the draw to the report: a judge of known faults proves what is estimated."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dfcbench.archive import Archive
from dfcbench.scheme import NAMES, SCORED_CODES, SCORED_NAMES
from dfcbench.scoring import Confusion
from tests import datamaker
from tests.in_process import Outcome, call, told

FAULTS = {name: 0.25 if name in ("Croplands", "Water") else 0.1 for name in SCORED_NAMES}
"""How often the judge of these tests takes a class for the next one."""


def validate(verb: str, *arguments: object, expect: int = 0) -> Outcome:
    outcome = call("validate-labels", verb, *arguments)
    assert outcome.code == expect, outcome.err
    return outcome


def sheet(folder: Path) -> tuple[list[str], list[dict[str, str]]]:
    with (folder / "sheet.csv").open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or []), list(reader)


def fill_in(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "sheet.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def values(folder: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """Lines of report.csv by region, measure and class, those of the confusion matrix left out."""
    with (folder / "report.csv").open(newline="", encoding="utf-8") as file:
        return {(r["region"], r["measure"], r["class"]): r for r in csv.DictReader(file) if r["measure"] != "share"}


def holds(row: dict[str, str], truth: float) -> bool:
    return float(row["value_low"]) <= truth <= float(row["value_high"])


def near(row: dict[str, str], truth: float) -> bool:
    """Within four standard errors: of one draw the interval itself misses by chance, in one of twenty."""
    return abs(float(row["value"]) - truth) < 4 * float(row["standard_error"])


def confused(generator: np.random.Generator, code: int) -> int:
    """A judge with the confusion matrix of FAULTS: a class is right, or taken for the next one."""
    wrong = generator.random() < FAULTS[NAMES[code]]
    return SCORED_CODES[(SCORED_CODES.index(code) + wrong) % len(SCORED_CODES)]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path


@pytest.mark.parametrize("by_class", [False, True])
def test_a_judge_of_known_confusion_is_recovered_within_the_intervals(place, tiny_root, by_class):
    """The judge's answers are taken for true, so the labels' accuracies follow from FAULTS and the classes' areas."""
    patches = Archive.open(tiny_root).labelled("validation")
    counts = np.bincount(np.concatenate([patch.high.ravel() for patch in patches]), minlength=11)[list(SCORED_CODES)]
    faults = np.array(list(FAULTS.values()))
    right, taken = counts * (1 - faults), np.roll(counts * faults, 1)
    truth = {("overall_accuracy", ""): right.sum() / counts.sum()}
    with np.errstate(invalid="ignore"):
        for k, name in enumerate(SCORED_NAMES):
            truth["precision", name] = 1 - faults[k]
            truth["recall", name] = right[k] / (right[k] + taken[k])
    folder = place / "check"
    how = ("--by-class", "--points", 12) if by_class else ("--points", 60)
    validate("draw", "--data", tiny_root, "--split", "validation", "--out", folder, *how)
    generator = np.random.default_rng(1)
    reference = {patch.id: patch.high for patch in patches}
    rows = sheet(folder)[1]
    for row in rows:
        code = int(reference[row["patch"]][int(row["row"]), int(row["column"])])
        row["class"] = NAMES[confused(generator, code)]
    fill_in(folder, rows)
    validate("report", folder, "--judge", "Nobody but a test")
    found = values(folder)
    assert {region for region, _, _ in found} == {"all", *Archive.open(tiny_root).regions("validation")}
    held = {
        (measure, name): holds(found["all", measure, name], value)
        for (measure, name), value in truth.items()
        if ("all", measure, name) in found and found["all", measure, name]["value"]
    }
    assert len(held) > 10
    assert near(found["all", "overall_accuracy", ""], truth["overall_accuracy", ""])
    assert np.mean(list(held.values())) > 0.85, held


@pytest.fixture(scope="module")
def mapped(tmp_path_factory, tiny_root) -> Path:
    """A place with a run of the MODIS labels on the tiny demo contest."""
    folder = tmp_path_factory.mktemp("mapped")
    common = ("--data", tiny_root, "--submissions", folder / "submissions", "--workers", 1)
    assert call("run", "--track", 1, "--method", "low-resolution-labels", *common).code == 0
    return folder


def true_scores(mapped: Path) -> dict[tuple[str, str], float | None]:
    (path,) = mapped.glob("submissions/track1/low-resolution-labels/*/scores.json")
    scores = json.loads(path.read_text())
    total = Confusion.load(path.with_name("confusion.npz")).total
    found = {("overall_accuracy", ""): scores["overall_accuracy"], ("mean_recall", ""): scores["average_accuracy"]}
    for code, name in zip(SCORED_CODES, SCORED_NAMES, strict=True):
        found["recall", name] = scores["classes"][name]["producers_accuracy"]
        found["precision", name] = total[code, code] / total[:, code].sum() if total[:, code].any() else None
    return found


@pytest.mark.parametrize("drawn_from", ["the maps", "the labels"])
def test_a_handful_of_judged_pixels_tells_the_scores_that_the_whole_reference_gives(
    place, tiny_root, mapped, drawn_from
):
    """Drawn from the maps, or judged once on the labels and then used for the maps (`--maps`)."""
    truth = true_scores(mapped)
    folder = place / "check"
    submissions = ("--submissions", mapped / "submissions")
    what = ("--what", "low-resolution-labels", *submissions) if drawn_from == "the maps" else ()
    validate("draw", *what, "--data", tiny_root, "--by-class", "--points", 12, "--out", folder)
    validate("simulate", folder, "--error", 0, "--data", tiny_root)
    again = ("--maps", "low-resolution-labels", *submissions) if drawn_from == "the labels" else ()
    assert "maps of low-resolution-labels" in validate("report", folder, *again).out
    held = {
        (measure, name): holds(row, truth[measure, name])
        for (region, measure, name), row in values(folder).items()
        if region == "all" and row["value"] and truth.get((measure, name)) is not None
    }
    assert len(held) > 10
    for measure in ("overall_accuracy", "mean_recall"):
        assert near(values(folder)["all", measure, ""], truth[measure, ""])
    assert np.mean(list(held.values())) > 0.85, held


def test_every_output_says_that_the_judge_was_simulated_and_the_data_artificial(place, tiny_root):
    validate("draw", "--data", tiny_root, "--split", "validation", "--points", 40, "--out", "check")
    told_so = validate("simulate", "check", "--error", 0.2, "--data", tiny_root).out
    printed = validate("report", "check", "--judge", "A. Reader").out
    page, table, lines = (Path("check", f"report.{kind}").read_text() for kind in ("md", "tex", "csv"))
    assert "SIMULATED" in told_so
    for text in (printed, page, table):
        assert "SIMULATED" in text and "error rate 0.2" in text
        assert "A. Reader" not in text
        assert "not the official data of DFC2020" in text and "Demo contest" in text
    rows = list(csv.DictReader(lines.splitlines()))
    assert {(row["judge"], row["official"], row["of"], row["split"]) for row in rows} == {
        ("simulated", "no", "labels", "validation")
    }
    assert "| all " in page and "![Estimated confusion matrix](confusion.png)" in page and "\\toprule" in table
    assert Path("check/confusion.png").stat().st_size > 5000
    shares = [float(row["value"]) for row in rows if row["measure"] == "share" and row["region"] == "all"]
    assert sum(shares) == pytest.approx(1)


def test_regions_have_rows_of_their_own_and_a_person_is_named(place):
    data = datamaker.write_regional(place / "data")
    validate("draw", "--data", data, "--split", "regional", "--points", 30, "--out", "check")
    rows = sheet(Path("check"))[1]
    reference = {patch.id: patch.high for patch in Archive.open(data).labelled("regional")}
    for row in rows:
        truth = int(reference[row["patch"]][int(row["row"]), int(row["column"])])
        row["class"] = str(truth if "Mumbai" not in row["patch"] else 1 if truth != 1 else 2)
    rows[0]["class"] = "unsure"
    fill_in(Path("check"), rows)
    printed = validate("report", "check", "--judge", "A. Reader").out
    found = values(Path("check"))
    regions = {region for region, _, _ in found} - {"all"}
    assert "Judged by A. Reader." in printed and "1 point(s) whose judge was unsure" in " ".join(printed.split())
    assert float(found["Mumbai", "overall_accuracy", ""]["value"]) == 0
    for region in ("CapeTown", "BlackForest", "KippaRing"):
        assert float(found[region, "overall_accuracy", ""]["value"]) == 1
        assert float(found[region, "overall_accuracy", ""]["value_low"]) < 0.95
    assert float(found["all", "overall_accuracy", ""]["value"]) == pytest.approx(0.75), "four regions of equal size"
    assert sum(int(found[region, "overall_accuracy", ""]["points"]) for region in regions) == 119
    assert "SIMULATED" not in printed


def test_the_same_command_draws_the_same_bytes_goes_on_and_never_overwrites_a_judgement(place, small_root):
    command = ("--data", small_root, "--split", "validation", "--points", 9)
    validate("draw", *command, "--out", "a")
    validate("draw", *command, "--out", "b", "--workers", 2)
    files = {path.relative_to("a"): path.read_bytes() for path in Path("a").rglob("*") if path.is_file()}
    assert files == {path.relative_to("b"): path.read_bytes() for path in Path("b").rglob("*") if path.is_file()}
    assert len(files) == 9 + 4
    for path in (*sorted(Path("b/chips").iterdir())[:4], Path("b/sheet.csv")):
        path.unlink()  # as a draw that was broken off
    validate("draw", *command, "--out", "b")
    assert files == {path.relative_to("b"): path.read_bytes() for path in Path("b").rglob("*") if path.is_file()}
    told(call("validate-labels", "draw", *command, "--seed", 1, "--out", "b"), 2, "another drawing")
    rows = sheet(Path("b"))[1]
    rows[3]["class"] = "Water"
    fill_in(Path("b"), rows)
    kept = Path("b/sheet.csv").read_bytes()
    for again in (("draw", *command, "--out", "b"), ("simulate", "b", "--data", small_root)):
        told(call("validate-labels", *again), 2, "sheet.csv", "not overwritten")
        assert Path("b/sheet.csv").read_bytes() == kept


def test_points_not_judged_yet_end_the_report_unless_it_may_be_partial(place, small_root):
    validate("draw", "--data", small_root, "--split", "validation", "--by-class", "--points", 4, "--out", "check")
    told(call("validate-labels", "report", "check"), 3, "no sheet was filled in")
    rows = sheet(Path("check"))[1]
    drawn = {point["id"]: point["code"] for point in json.loads(Path("check/drawing.json").read_text())["points"]}
    for row in rows:
        row["class"] = "" if drawn[row["point"]] == 10 else NAMES[drawn[row["point"]]]
    fill_in(Path("check"), rows)
    line = told(call("validate-labels", "report", "check"), 3, "4 of 32 points are not judged yet", "--partial")
    assert any(row["point"] in line for row in rows if not row["class"])
    printed = " ".join(validate("report", "check", "--partial", "--out", "elsewhere").out.split())
    assert "4 that are not judged yet" in printed
    assert "no point was judged in Water" in printed
    assert Path("elsewhere/report.md").exists() and not Path("check/report.md").exists()
    whole = values(Path("elsewhere"))["all", "overall_accuracy", ""]
    assert (whole["points"], float(whole["value"])) == ("28", 1.0)


def test_faults_of_a_sheet_are_listed_with_their_lines_and_nothing_is_written(place, small_root):
    validate("draw", "--data", small_root, "--split", "validation", "--points", 9, "--out", "check")
    names, rows = sheet(Path("check"))
    for row in rows:
        row["class"] = "Forest"
    rows[2]["class"], rows[5]["point"] = "Wood", rows[6]["point"]
    Path("returned").mkdir()
    fill_in(Path("returned"), rows)
    outcome = call("validate-labels", "report", "check", "--sheet", "returned/sheet.csv")
    told(outcome, 3, "returned/sheet.csv", "fault(s), listed above")
    for words in ("line 4: 'Wood' is no class", "line 8: point", "missing: point"):
        assert words in outcome.out
    assert not Path("check/report.md").exists() and names[-2:] == ["class", "remark"]


def test_what_does_not_fit_together_is_told(place, small_root, tiny_root, mapped):
    submissions = ("--submissions", mapped / "submissions")
    run = ("--what", "low-resolution-labels", *submissions)
    for arguments, code, words in (
        (("draw", "--what", "bagg", *submissions, "--out", "x"), 2, ["bagg", "low-resolution-labels"]),
        (("draw", *run, "--split", "validation", "--out", "x"), 2, ["--split validation", "test split"]),
        (("draw", *run, "--data", small_root, "--out", "x"), 2, ["fingerprint", "--data"]),
        (("draw", "--data", small_root, "--split", "regional", "--out", "x"), 3, ["no split 'regional'"]),
        (("report", "nowhere"), 3, ["drawing.json", "no such file"]),
        (("simulate", "nowhere", "--data", small_root), 3, ["drawing.json"]),
    ):
        told(call("validate-labels", *arguments), code, *words)
        assert not Path("x").exists()
    validate("draw", "--data", small_root, "--points", 5, "--out", "check")
    told(call("validate-labels", "simulate", "check", "--data", tiny_root), 2, "fingerprint", "--data")
    told(call("validate-labels", "simulate", "check", "--error", 1, "--data", small_root), 2, "--error 1")
    validate("simulate", "check", "--data", small_root)
    told(call("validate-labels", "report", "check", "--maps", "low-resolution-labels", *submissions), 2, "fingerprint")


def test_help_tells_the_three_verbs_with_examples():
    assert all(verb in call("validate-labels", "--help").out for verb in ("draw", "report", "simulate"))
    for verb in ("draw", "report", "simulate"):
        assert re.search(r"dfcbench validate-labels " + verb, call("validate-labels", verb, "--help").out)
