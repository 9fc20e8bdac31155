"""Comparisons: paired intervals against a loop, seeds, regions, patches, what is refused; and through the command line."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from dfcbench import rasters
from dfcbench.archive import Archive, region_of
from dfcbench.comparison import (
    Estimate,
    Side,
    compare,
    fold,
    map_differences,
    net_differences,
    representatives,
)
from dfcbench.errors import SubmissionError, UsageError
from dfcbench.maps import map_path, write_labels
from dfcbench.report.comparison import markdown, regions_table, scores_table, values_csv
from dfcbench.report.comparison_figures import BOTH, FIRST, NEITHER, SECOND, UNKNOWN, who_is_right
from dfcbench.scheme import SCORED_CODES, SCORED_NAMES
from dfcbench.scoring import MEASURES, Confusion, Scores, confusion_matrix, resamples
from dfcbench.submission import Submission, write_scores
from tests import datamaker
from tests.conftest import Shell
from tests.made_submissions import made_submission

PATCHES = 7
NOISY = '''\
"""A plug-in file."""
import numpy as np
from dfcbench.method import Method, Needs, Prediction


class Noisy(Method):
    """Low-resolution labels with a few random pixels."""

    name = "noisy"
    needs = Needs(inputs=frozenset(), labels="low")

    def fit(self, contest, run):
        self.seed_ = run.seed

    def predict(self, patches, run):
        generator = np.random.default_rng(self.seed_)
        for patch in patches:
            low = patch.low
            noise = generator.random(low.shape) < 0.3
            yield Prediction(patch.id, np.where(noise, 10, low).astype(np.uint8))
'''


def references(patches: int = PATCHES, side: int = 12) -> list[np.ndarray]:
    """Reference maps; class 9 occurs in the first patch only, so that many resamples lack it."""
    generator = np.random.default_rng(5)
    maps = [generator.choice(np.array((1, 2, 4, 10), np.uint8), (side, side)) for _ in range(patches)]
    maps[0][:3] = 9
    return maps


def guesses(seed: int, quality: float) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [
        np.where(
            generator.random(reference.shape) < quality, reference, generator.choice(SCORED_CODES, reference.shape)
        ).astype(np.uint8)
        for reference in references()
    ]


def patch_ids(prefix: str = "ROIs0000_test_0_p") -> list[str]:
    return [f"{prefix}{number}" for number in range(PATCHES)]


def confusion_of(maps: list[np.ndarray], ids: list[str] | None = None) -> Confusion:
    pairs = zip(ids or patch_ids(), references(), maps, strict=True)
    return Confusion.collect((i, confusion_matrix(reference, guess)) for i, reference, guess in pairs)


def scored(root: Path, confusion: Confusion, name: str = "bag", run: str = "a", **changes: object) -> Submission:
    submission = made_submission(root, name, run, quality=None, **{"data": {"patches": PATCHES}, **changes})  # type: ignore[arg-type]
    write_scores(submission.folder, confusion)
    return Submission(submission.folder)


def pair(root: Path) -> tuple[Submission, Submission]:
    first = scored(root, confusion_of(guesses(1, 0.5)), "first")
    second = scored(root, confusion_of(guesses(2, 0.6)), "second")
    return first, second


def brute(confusions: list[Confusion]) -> dict[str, list[float]]:
    """Mean over runs of every measure in every resample, written as loops."""
    found: dict[str, list[float]] = {name: [] for name in MEASURES}
    for weights in np.concatenate(list(resamples(PATCHES))):
        each: dict[str, list[float]] = {name: [] for name in MEASURES}
        for confusion in confusions:
            total = np.zeros((11, 11))
            for weight, matrix in zip(weights, confusion.matrices, strict=True):
                total += weight * matrix.astype(float)
            square = total[np.ix_(SCORED_CODES, SCORED_CODES)]
            rows = total[list(SCORED_CODES)].sum(axis=1)
            recalls = [square[k, k] / rows[k] if rows[k] else np.nan for k in range(8)]
            each["average_accuracy"].append(np.nanmean(recalls))
            overall = np.trace(square) / rows.sum()
            chance = sum(rows[k] * square[:, k].sum() for k in range(8)) / rows.sum() ** 2
            each["overall_accuracy"].append(overall)
            each["kappa"].append((overall - chance) / (1 - chance))
            for k, name in enumerate(SCORED_NAMES):
                each[name].append(recalls[k])
        for name, values in each.items():
            found[name].append(float(np.mean(values)))
    return found


def test_intervals_of_differences_equal_a_bootstrap_written_as_a_loop(tmp_path: Path) -> None:
    one, other = (
        [scored(tmp_path, confusion_of(guesses(10 * q + s, q / 10)), f"m{q}", f"s{s}", seed=s) for s in (0, 1, 2)[:n]]
        for q, n in ((5, 3), (6, 2))
    )
    found = compare(fold([*one, *other])).whole
    first, second = (brute([run.confusion for run in runs]) for runs in (one, other))
    absent = 0
    for name in MEASURES:
        differences = np.array(second[name]) - np.array(first[name])
        absent = max(absent, int(np.isnan(differences).sum()) if name == "Barren" else 0)
        known = differences[~np.isnan(differences)]
        estimate = found.differences[0, 1][name]
        if not known.size:
            assert estimate == Estimate(None, None)
            continue
        assert estimate.interval == pytest.approx(tuple(np.quantile(known, [0.025, 0.975])), abs=1e-8)
    assert absent > 100, "resamples without the class that one patch has"


def test_scores_are_of_summed_matrices_and_means_over_seeds(tmp_path: Path) -> None:
    runs = [scored(tmp_path, confusion_of(guesses(s, 0.5)), "m", f"s{s}", seed=s) for s in (0, 1, 2)]
    other = scored(tmp_path, confusion_of(guesses(9, 0.7)), "n")
    comparison = compare(fold([runs[2], other, runs[0], runs[1]]))
    assert [side.seeds for side in comparison.sides] == [(0, 1, 2), (0,)]
    averages = [Scores.of(run.confusion).average_accuracy for run in runs]
    found = comparison.whole.scores[0]["average_accuracy"]
    assert found.value == pytest.approx(np.mean(averages))
    assert found.spread == pytest.approx(np.std(averages, ddof=1))
    alone = comparison.whole.scores[1]["average_accuracy"]
    own = Scores.of(other.confusion)
    assert (alone.value, alone.interval, alone.spread) == (own.average_accuracy, own.average_accuracy_interval, None)
    assert comparison.whole.scores[1]["Shrubland"].value == own.classes["Shrubland"].producers_accuracy


def test_a_run_compared_with_itself_differs_by_nothing(tmp_path: Path) -> None:
    run, _ = pair(tmp_path)
    found = compare(fold([run, run])).whole.differences[0, 1]
    present = [name for name in MEASURES if found[name].value is not None]
    assert {"average_accuracy", "kappa", "Barren", "Water"} <= set(present)
    for name in present:
        assert (found[name].value, found[name].interval, found[name].sign) == (0, (0, 0), 0)


def test_swapping_two_runs_flips_the_sign(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    there = compare(fold([first, second])).whole.differences[0, 1]
    back = compare(fold([second, first])).whole.differences[0, 1]
    for name in MEASURES:
        one, other = there[name], back[name]
        if one.value is None:
            assert other.value is None
            continue
        assert one.interval is not None and other.interval is not None and other.value is not None
        assert one.value == -other.value
        assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]), abs=2e-9)
        assert one.sign == -other.sign


def test_a_class_that_was_improved_has_an_interval_above_zero_and_the_others_none(tmp_path: Path) -> None:
    maps = guesses(3, 0.5)
    better = [np.where((r == 2) & (np.arange(r.size).reshape(r.shape) % 2 == 0), r, m).astype(np.uint8)
              for r, m in zip(references(), maps, strict=True)]  # fmt: skip
    runs = [scored(tmp_path, confusion_of(maps), "plain"), scored(tmp_path, confusion_of(better), "better")]
    found = compare(fold(runs)).whole.differences[0, 1]
    assert found["Shrubland"].sign == 1
    assert found["average_accuracy"].sign == 1
    for name in ("Forest", "Grassland", "Barren", "Water"):
        assert (found[name].value, found[name].sign) == (0, 0)
    table = scores_table(compare(fold(runs)))
    marks = {row[0]: row[-1] for row in table.rows}
    assert (marks["Shrubland"], marks["Forest"], marks["average accuracy"]) == ("+", "", "+")
    assert {row for row, _ in table.bold} >= {SCORED_NAMES.index("Shrubland")}
    worse = scores_table(compare(fold(runs[::-1])))
    assert {row[0]: row[-1] for row in worse.rows}["Shrubland"] == "-"


def test_patches_may_lie_in_another_order(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    turned = scored(tmp_path, second.confusion.select(second.confusion.ids[::-1]), "turned")
    straight = compare(fold([first, second])).whole.differences[0, 1]
    assert compare(fold([first, turned])).whole.differences[0, 1] == straight


def test_one_patch_has_differences_and_no_intervals(tmp_path: Path) -> None:
    runs = [
        scored(tmp_path, confusion_of(guesses(s, 0.5)).select(patch_ids()[:1]), f"m{s}", data={"patches": 1})
        for s in (1, 2)
    ]
    found = compare(fold(runs)).whole.differences[0, 1]["average_accuracy"]
    assert found.value is not None
    assert (found.interval, found.sign) == (None, 0)


def test_unequal_runs_are_refused_with_what_differs(tmp_path: Path) -> None:
    first, _ = pair(tmp_path)
    same = confusion_of(guesses(2, 0.6))
    altered = same.matrices.copy()
    altered[2, 1, 1] += 1
    others = {
        "other data.*fingerprint ffffffffffffffff.*fingerprint 0000": scored(
            tmp_path, same, "a", data={"fingerprint": "0" * 16, "patches": PATCHES}
        ),
        "other splits, test and validation": scored(tmp_path, same, "b", split="validation"),
        "other patches, 7 and 5, of which 5 are the same": scored(tmp_path, same.select(same.ids[:5]), "c"),
        "other reference labels in 1 of 7 patches": scored(tmp_path, Confusion(same.ids, altered), "d"),
    }
    for says, other in others.items():
        with pytest.raises(UsageError, match=says):
            compare(fold([first, other]))


def test_only_seeds_of_one_setting_are_folded(tmp_path: Path) -> None:
    same = confusion_of(guesses(1, 0.5))
    runs = [
        scored(tmp_path, same, "m", "a", seed=0),
        scored(tmp_path, same, "m", "b", seed=1),
        scored(tmp_path, same, "m", "c", seed=2, parameters={"clusters": 9}, overrides={"clusters": 9}),
        scored(tmp_path, same, "m", "d", seed=3, preset="published"),
        scored(tmp_path, same, "m", "e", seed=4, track=2),
        scored(tmp_path, same, "m", "f", seed=0, commit="another run of a seed that is there"),
        scored(tmp_path, same, "n", "g", seed=5),
    ]
    sides = fold(runs)
    assert [side.seeds for side in sides] == [(0, 1), (2,), (3,), (4,), (0,), (5,)]
    assert [side.letter for side in sides] == list("ABCDEF")
    assert len({side.label for side in sides}) == 6
    assert "clusters=9" in sides[1].label
    assert "Track 2" in sides[3].label
    assert sides[5].label == "n"
    assert [side.seeds for side in fold(runs[:2])] == [(0,), (1,)], "nothing else was named"
    assert [side.seeds for side in fold([*runs[:2], runs[6]], seeds=False)] == [(0,), (1,), (5,)]
    assert [side.seeds for side in fold([runs[0], runs[6], runs[0]])] == [(0,), (5,)], "no run counts twice"
    with pytest.raises(UsageError, match="at least two"):
        fold(runs[:1])
    with pytest.raises(UsageError, match="too many"):
        fold(runs * 5, seeds=False)


def test_pairwise_tells_every_difference(tmp_path: Path) -> None:
    runs = [scored(tmp_path, confusion_of(guesses(s, 0.4 + s / 10)), f"m{s}") for s in range(3)]
    assert compare(fold(runs)).pairs == ((0, 1), (0, 2))
    comparison = compare(fold(runs), pairwise=True)
    assert comparison.pairs == ((0, 1), (0, 2), (1, 2))
    values = {pair: comparison.whole.differences[pair]["kappa"].value for pair in comparison.pairs}
    assert values[0, 2] == pytest.approx((values[0, 1] or 0) + (values[1, 2] or 0))


def test_regions_are_scored_for_themselves(tmp_path: Path) -> None:
    ids = [f"ROIs0000_autumn_Mumbai_p{n}" for n in range(3)] + [f"ROIs0000_winter_KippaRing_p{n}" for n in range(4)]
    assert [region_of(i) for i in (*ids[::4], "ROIs0000_test_0_p1", "odd")] == ["Mumbai", "KippaRing", None, None]
    runs = [scored(tmp_path, confusion_of(guesses(s, 0.5), ids), f"m{s}", split="regional") for s in (1, 2)]
    comparison = compare(fold(runs))
    assert [(part.region, part.patches) for part in comparison.regions] == [("KippaRing", 4), ("Mumbai", 3)]
    for part, chosen in zip(comparison.regions, (ids[3:], ids[:3]), strict=True):
        own = [Scores.of(run.confusion.select(chosen)) for run in runs]
        assert [s["average_accuracy"].value for s in part.scores] == [s.average_accuracy for s in own]
        assert [s["average_accuracy"].interval for s in part.scores] == [s.average_accuracy_interval for s in own]
    table = regions_table(comparison)
    assert table is not None
    assert [row[0] for row in table.rows] == ["KippaRing", "Mumbai"]
    assert "## By region" in markdown(comparison, [], 0)
    assert regions_table(compare(fold(pair(tmp_path / "else")))) is None


def test_csv_has_every_number_at_full_precision(tmp_path: Path) -> None:
    comparison = compare(fold(pair(tmp_path)))
    rows = list(csv.DictReader(io.StringIO(values_csv(comparison))))
    assert len(rows) == 3 * 11
    (row,) = [r for r in rows if (r["side"], r["minus"], r["measure"]) == ("B", "A", "average_accuracy")]
    expected = comparison.whole.differences[0, 1]["average_accuracy"]
    assert (float(row["value"]), (float(row["value_low"]), float(row["value_high"]))) == (
        expected.value,
        expected.interval,
    )


def test_the_lowest_common_seed_speaks_for_a_pair(tmp_path: Path) -> None:
    runs = {s: scored(tmp_path, confusion_of(guesses(s, 0.5)), "m", f"s{s}", seed=s) for s in (0, 1, 2)}
    one, other = Side("A", "a", (runs[0], runs[1])), Side("B", "b", (runs[1], runs[2]))
    assert representatives(one, other) == (runs[1], runs[1])
    assert representatives(one, Side("C", "c", (runs[2],))) == (runs[0], runs[2])


def mapped(root: Path, data: Archive, quality: float, seed: int) -> Submission:
    """A submission with maps of the data's test split and the scores that follow from them."""
    generator = np.random.default_rng(seed)
    submission = made_submission(root, f"m{seed}", quality=None, data={"fingerprint": data.fingerprint("test")})
    pairs = []
    for patch in data.labelled("test"):
        right = generator.random(patch.shape) < quality
        labels = np.where(right, patch.high, generator.choice(SCORED_CODES, patch.shape)).astype(np.uint8)
        write_labels(submission.folder, patch.id, labels, None)
        pairs.append((patch.id, confusion_matrix(patch.high, labels)))
    write_scores(submission.folder, Confusion.collect(pairs))
    return submission


def test_patches_are_ordered_by_pixels_that_one_run_alone_has_right(tmp_path: Path, small: Archive) -> None:
    runs = mapped(tmp_path, small, 0.5, 1), mapped(tmp_path, small, 0.7, 2)
    reference = small.labelled("test")
    found = map_differences(*runs, reference, workers=2)
    assert [d.size for d in found] == sorted((d.size for d in found), reverse=True)
    by_id = {patch.id: patch.high for patch in reference}
    for difference in found:
        high = by_id[difference.patch_id]
        a, b = (rasters.read(map_path(run.folder, difference.patch_id))[0] for run in runs)
        only = [0, 0]
        for index in np.ndindex(high.shape):
            if high[index] in SCORED_CODES:
                only[0] += a[index] == high[index] != b[index]
                only[1] += b[index] == high[index] != a[index]
        assert difference.only == tuple(only)
        assert difference.size >= 1
    net = {d.patch_id: d for d in net_differences(*runs)}
    for difference in found:
        other = net[difference.patch_id]
        assert (other.pixels, other.right, other.only) == (difference.pixels, difference.right, None)
        assert other.size <= difference.size


def test_maps_that_are_not_those_that_were_scored_are_refused(tmp_path: Path, small: Archive) -> None:
    runs = mapped(tmp_path, small, 0.5, 1), mapped(tmp_path, small, 0.7, 2)
    reference = small.labelled("test")
    patch = reference[3]
    write_labels(runs[1].folder, patch.id, np.full(patch.shape, 3, np.uint8), None)
    with pytest.raises(SubmissionError, match="is not the map that was scored"):
        map_differences(*runs, reference)


def test_who_is_right_tells_five_cases() -> None:
    reference = np.array([[1, 1, 1, 1, 3, 0]], np.uint8)
    first = np.array([[1, 1, 2, 2, 3, 0]], np.uint8)
    second = np.array([[1, 2, 1, 4, 3, 0]], np.uint8)
    assert who_is_right(reference, first, second).tolist() == [[BOTH, FIRST, SECOND, NEITHER, UNKNOWN, UNKNOWN]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, empty_store: Path, small_root: Path) -> Path:
    """A folder in which ``dfcbench run`` made two seeds of one method and one run of another; not to be changed."""
    folder = tmp_path_factory.mktemp("compared")
    shutil.copy(empty_store, folder / "mlflow.db")
    (folder / "noisy.py").write_text(NOISY)
    shell = Shell(folder)
    common = ("run", "--track", 1, "--data", small_root)
    shell(*common, "--method", "low-resolution-labels")
    for seed in (0, 1):
        shell(*common, "--method", "noisy.py", "--seed", seed)
    return folder


def test_two_methods_are_compared_from_the_command_line(ran: Path, small_root: Path, tmp_path: Path) -> None:
    shell = Shell(ran)
    shell.environment["COLUMNS"] = "160"
    command = ("compare", "low-resolution-labels", "noisy", "--data", small_root, "--patches", 2)
    told = shell(*command, "--out", tmp_path / "one").stdout
    for words in ("average accuracy", "kappa x 100", "B - A", "sd", "only A right", "0, 1", "not the official data"):
        assert words in told
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"comparison.md", "comparison.csv", "patches.csv", "differences.png", "patches-A-B.png"}
    page = (tmp_path / "one" / "comparison.md").read_text()
    assert "](differences.png)" in page and "](patches-A-B.png)" in page
    assert page.count("| ROIs0000_test_0_p") == 2
    assert len((tmp_path / "one" / "patches.csv").read_text().splitlines()) == 1 + 7
    runs = [Submission(path.parent) for path in sorted(ran.glob("submissions/track1/noisy/*/submission.json"))]
    averages = [run.scores.average_accuracy for run in runs if run.scores]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "one" / "comparison.csv").read_text())))
    (row,) = [r for r in rows if (r["side"], r["minus"], r["measure"]) == ("B", "", "average_accuracy")]
    assert float(row["value"]) == pytest.approx(np.mean(averages))
    assert float(row["standard_deviation"]) == pytest.approx(np.std(averages, ddof=1))
    shell(*command, "--out", tmp_path / "two")
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_runs_are_named_by_folder_and_key_and_seeds_kept_apart(ran: Path) -> None:
    shell = Shell(ran)
    folders = sorted(path.parent for path in ran.glob("submissions/track1/noisy/*/submission.json"))
    key = Submission(folders[1]).key
    told = shell("compare", folders[0], key[:10], "--patches", 0).stdout
    assert "noisy (seed 0)" in told and "noisy (seed 1)" in told
    assert "Patches that differ" not in told
    told = shell("compare", "low-resolution-labels", "noisy", "--no-fold", "--pairwise", "--patches", 0).stdout
    assert "C - B" in told and "sd" not in told.split("Classes:")[0]
    same = shell("compare", key, key, "--patches", 0)
    assert "0.00 to 0.00" in same.stdout
    assert "A and B are the same: noisy" in same.stderr
    assert "are the same" not in shell("compare", folders[0], folders[1], "--patches", 0).stderr


def test_without_maps_or_data_counts_of_pixels_are_told(ran: Path, small_root: Path, tmp_path: Path) -> None:
    shell = Shell(ran)
    plain = shell("compare", "low-resolution-labels", "noisy")
    assert "No data at hand" in plain.stderr
    assert "the least that can differ" in " ".join(plain.stdout.split())
    copy = tmp_path / "submissions"
    shutil.copytree(ran / "submissions", copy)
    for folder in copy.glob("track1/noisy/*/predictions"):
        shutil.rmtree(folder)
    told = shell("compare", "low-resolution-labels", "noisy", "--submissions", copy, "--data", small_root)
    assert "its maps are not here" in told.stderr
    assert "only A right" not in told.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("noisy",), 0, "noisy (seed 1)"),
        (("low-resolution-labels",), 2, "at least two"),
        (("noisy", "nosy"), 2, "Did you mean noisy"),
        (("noisy", "low-resolution-labels", "--track", "2"), 2, "no scored run there"),
        (("noisy", "low-resolution-labels", "--data", "{other}"), 2, "is not what these runs are about"),
        (("noisy", "low-resolution-labels", "--data", "nowhere"), 3, "does not exist"),
    ],
)
def test_what_does_not_fit_is_told(ran: Path, tmp_path_factory, arguments, code, words) -> None:
    if "{other}" in arguments:
        other = datamaker.write_contest(tmp_path_factory.mktemp("other"))
        arguments = [argument.format(other=other) for argument in arguments]
    done = Shell(ran)("compare", *arguments, expect=code)
    assert words in (done.stderr if code else done.stdout)


def test_help_says_why_mcnemar_is_not_offered(ran: Path) -> None:
    told = " ".join(Shell(ran)("compare", "--help").stdout.split())
    assert "McNemar" in told and "neighbouring pixels are not" in told
