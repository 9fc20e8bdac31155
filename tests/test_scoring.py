"""Scoring against scikit-learn, against counting by hand, and on the edges of the contest's rule."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from dfcbench.errors import DataError, SubmissionError
from dfcbench.scheme import NAMES, SCORED_CODES, SCORED_NAMES
from dfcbench.scoring import Confusion, Scores, confusion_matrix, resamples
from tests.made_submissions import made_confusion


def scores_of(reference: np.ndarray, prediction: np.ndarray) -> Scores:
    return Scores.of(Confusion.collect([("p0", confusion_matrix(reference, prediction))]))


def maps(codes: st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.uint8, (9, 7), elements=codes)


anything = st.integers(0, 10)


@given(maps(anything), maps(anything))
@settings(max_examples=50, deadline=None)
def test_confusion_matrix_equals_scikit_learn(reference: np.ndarray, prediction: np.ndarray) -> None:
    expected = metrics.confusion_matrix(reference.ravel(), prediction.ravel(), labels=range(11))
    np.testing.assert_array_equal(confusion_matrix(reference, prediction), expected)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_scores_equal_scikit_learn(data: st.DataObject) -> None:
    """Some classes absent, some predictions outside the scored classes, some reference pixels without a label."""
    some = data.draw(st.sets(st.sampled_from([0, 3, *SCORED_CODES]), min_size=1))
    reference = data.draw(maps(st.sampled_from(sorted(some))))
    prediction = data.draw(maps(anything))
    scores = scores_of(reference, prediction)
    known = np.isin(reference, SCORED_CODES)
    truth, guess = reference[known], prediction[known]
    assert scores.pixels == truth.size
    assert scores.ignored == reference.size - truth.size
    if not truth.size:
        assert scores.average_accuracy is None
        return
    present = sorted(set(truth.tolist()))
    recall = metrics.recall_score(truth, guess, labels=present, average=None, zero_division=np.nan)
    precision = metrics.precision_score(truth, guess, labels=SCORED_CODES, average=None, zero_division=np.nan)
    jaccard = metrics.jaccard_score(truth, guess, labels=present, average=None)
    f1 = metrics.f1_score(truth, guess, labels=present, average=None)
    for code, *expected in zip(present, recall, jaccard, f1, strict=True):
        found = scores.classes[NAMES[code]]
        assert (found.producers_accuracy, found.iou, found.f1) == pytest.approx(expected, abs=1e-12)
    for name, value in zip(SCORED_NAMES, precision, strict=True):
        users = scores.classes[name].users_accuracy
        assert users is None if np.isnan(value) else users == pytest.approx(value, abs=1e-12)
    with pytest.warns() if set(guess.tolist()) - set(present) else nullcontext():
        assert scores.average_accuracy == pytest.approx(metrics.balanced_accuracy_score(truth, guess), abs=1e-12)
    assert scores.overall_accuracy == pytest.approx(metrics.accuracy_score(truth, guess), abs=1e-12)
    assert scores.mean_iou == pytest.approx(jaccard.mean(), abs=1e-12)
    assert scores.macro_f1 == pytest.approx(f1.mean(), abs=1e-12)
    if scores.kappa is not None:
        assert scores.kappa == pytest.approx(metrics.cohen_kappa_score(truth, guess), abs=1e-12)
    else:
        assert present == sorted(set(guess.tolist()))
        assert len(present) == 1


def test_absent_class_is_left_out_of_the_averages() -> None:
    reference = np.array([[1, 1, 10, 10]], np.uint8)
    scores = scores_of(reference, np.array([[1, 2, 10, 10]], np.uint8))
    assert scores.average_accuracy == 0.75
    assert scores.mean_iou == 0.75
    assert scores.classes["Shrubland"].producers_accuracy is None
    assert scores.classes["Shrubland"].users_accuracy == 0.0
    assert scores.classes["Barren"].users_accuracy is None


@pytest.mark.parametrize("code", [0, 3, 8])
def test_unscored_prediction_is_an_error_of_the_true_class(code: int) -> None:
    reference = np.full((4, 4), 5, np.uint8)
    prediction = reference.copy()
    prediction[0] = code
    scores = scores_of(reference, prediction)
    assert scores.average_accuracy == 0.75
    assert scores.classes["Wetlands"].iou == 0.75
    assert scores.classes["Wetlands"].users_accuracy == 1.0


def test_predictions_on_unlabelled_pixels_change_nothing_but_the_count() -> None:
    reference = np.array([[1, 1, 10, 0, 3, 8]], np.uint8)
    one = scores_of(reference, np.array([[1, 10, 10, 10, 10, 10]], np.uint8))
    other = scores_of(reference, np.array([[1, 10, 10, 1, 2, 0]], np.uint8))
    assert one == other
    assert (one.pixels, one.ignored) == (3, 3)


def test_pixels_are_pooled_over_patches_not_averaged() -> None:
    big = confusion_matrix(np.full((10, 10), 1, np.uint8), np.full((10, 10), 1, np.uint8))
    small = confusion_matrix(np.full((1, 10), 1, np.uint8), np.full((1, 10), 2, np.uint8))
    scores = Scores.of(Confusion.collect([("a", big), ("b", small)]))
    assert scores.average_accuracy == pytest.approx(100 / 110)


def test_maps_larger_than_a_chunk_are_counted_whole() -> None:
    generator = np.random.default_rng(1)
    reference, prediction = generator.integers(0, 11, (2, 300, 517), dtype=np.int16)
    expected = np.zeros((11, 11), np.int64)
    np.add.at(expected, (reference, prediction), 1)
    np.testing.assert_array_equal(confusion_matrix(reference, prediction), expected)


def test_codes_outside_the_scheme_are_refused_by_side() -> None:
    good, bad = np.ones((2, 2), np.uint8), np.full((2, 2), 11, np.uint8)
    with pytest.raises(SubmissionError, match=r"prediction holds codes 11 to 11"):
        confusion_matrix(good, bad)
    with pytest.raises(DataError, match="reference"):
        confusion_matrix(bad, good)
    with pytest.raises(SubmissionError, match="-1"):
        confusion_matrix(good, np.full((2, 2), -1, np.int16))
    with pytest.raises(SubmissionError, match="float32"):
        confusion_matrix(good, good.astype(np.float32))
    with pytest.raises(SubmissionError, match="shape"):
        confusion_matrix(good, np.ones((2, 3), np.uint8))


def test_confusion_round_trip_is_exact_and_bytes_repeat(tmp_path: Path) -> None:
    confusion = made_confusion(0.5)
    confusion.save(tmp_path / "a.npz")
    confusion.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = Confusion.load(tmp_path / "a.npz")
    assert back.ids == confusion.ids
    np.testing.assert_array_equal(back.matrices, confusion.matrices)
    assert Scores.of(back) == Scores.of(confusion)


@pytest.mark.parametrize("damage", ["missing", "garbage", "truncated", "another npz", "object array", "empty"])
def test_unreadable_confusion_names_the_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "confusion.npz"
    made_confusion(0.5).save(path)
    if damage == "missing":
        path.unlink()
    elif damage == "garbage":
        path.write_bytes(b"no zip at all")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "another npz":
        np.savez(path, other=np.zeros(3))
    elif damage == "object array":
        np.savez(path, ids=np.array([{}], dtype=object), matrices=np.zeros((1, 11, 11)))
    else:
        path.write_bytes(b"")
    with pytest.raises(SubmissionError, match=r"confusion\.npz"):
        Confusion.load(path)


def test_a_patch_must_not_count_twice() -> None:
    matrix = confusion_matrix(np.ones((2, 2), np.uint8), np.ones((2, 2), np.uint8))
    with pytest.raises(SubmissionError, match="twice"):
        Confusion.collect([("a", matrix), ("a", matrix)])


def test_json_round_trip() -> None:
    for scores in (
        Scores.of(made_confusion(0.5)),
        scores_of(np.full((2, 2), 1, np.uint8), np.full((2, 2), 1, np.uint8)),
        Scores.of(Confusion.collect([])),
    ):
        assert Scores.from_json(json.loads(json.dumps(scores.to_json(), allow_nan=False))) == scores


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "format 2"),
        ({"kappa": 1.5}, "1.5"),
        ({"pixels": -1}, "-1"),
        ({"classes": {}}, "Forest"),
        ({"average_accuracy": float("nan")}, "nan"),
        ({"interval": None}, "NoneType"),
    ],
)
def test_malformed_scores_are_refused(change: dict[str, object], says: str) -> None:
    value = Scores.of(made_confusion(0.5)).to_json() | change
    with pytest.raises(SubmissionError, match=says):
        Scores.from_json(value, "here/scores.json")


def test_perfect_and_useless_maps() -> None:
    perfect = Scores.of(made_confusion(1.0))
    assert (perfect.average_accuracy, perfect.kappa, perfect.mean_iou) == (1.0, 1.0, 1.0)
    assert perfect.average_accuracy_interval == (1.0, 1.0)
    useless = Scores.of(made_confusion(0.0, patches=40))
    assert useless.kappa == pytest.approx(0, abs=0.02)


def test_interval_has_the_width_that_theory_gives() -> None:
    """One class, independent patches with 70 or 90 % right: the standard error of the mean is 0.1 / sqrt(n)."""
    n = 400
    matrices = np.zeros((n, 11, 11), np.uint32)
    right = np.where(np.arange(n) % 2, 70, 90)
    matrices[:, 1, 1], matrices[:, 1, 2] = right, 100 - right
    scores = Scores.of(Confusion(tuple(map(str, range(n))), matrices))
    assert scores.average_accuracy_interval is not None
    low, high = scores.average_accuracy_interval
    assert low < 0.8 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / np.sqrt(n), rel=0.1)
    assert scores.classes["Forest"].producers_accuracy_interval == scores.average_accuracy_interval
    assert scores.classes["Water"].producers_accuracy_interval is None


def test_interval_equals_a_bootstrap_written_as_a_loop() -> None:
    confusion = made_confusion(0.4, patches=5, side=3)
    averages = []
    for weights in np.concatenate(list(resamples(5))):
        total = np.einsum("n,nij->ij", weights, confusion.matrices.astype(np.int64))
        rows = [c for c in SCORED_CODES if total[c].sum()]
        averages.append(np.mean([total[c, c] / total[c].sum() for c in rows]))
    expected = np.quantile(averages, [0.025, 0.975])
    assert Scores.of(confusion).average_accuracy_interval == pytest.approx(tuple(expected), abs=1e-9)


def test_one_patch_has_no_interval() -> None:
    scores = Scores.of(made_confusion(0.5, patches=1))
    assert scores.average_accuracy is not None
    assert scores.average_accuracy_interval is None


def test_resamples_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resamples(7, count=30)))
    monkeypatch.setattr("dfcbench.scoring._WEIGHTS_AT_A_TIME", 21)
    blocks = list(resamples(7, count=30))
    assert len(blocks) == 10
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert (whole.sum(axis=1) == 7).all()
