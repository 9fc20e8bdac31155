"""Submission folders: what is written is read back, and what is broken says so and hides nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dfcbench.errors import SubmissionError
from dfcbench.maps import SubmissionMaps
from dfcbench.scoring import Confusion, Scores
from dfcbench.submission import Submission, find_submissions, rescore, write_scores, write_submission
from tests.made_submissions import made_confusion, made_meta, made_submission


def test_written_folder_reads_back(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    scores = write_scores(folder, made_confusion(0.7))
    write_submission(folder, made_meta())
    submission = Submission(folder)
    assert submission.finished
    assert submission.meta == made_meta()
    assert submission.scores == scores == Scores.of(submission.confusion)
    submission.check()


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for run in ("a", "b"):
        made_submission(tmp_path, run=run)
    for name in ("submission.json", "scores.json", "confusion.npz"):
        a, b = (tmp_path / "track1" / "bag" / run / name for run in ("a", "b"))
        assert a.read_bytes() == b.read_bytes()


def test_run_without_reference_is_valid_and_has_no_scores(tmp_path: Path) -> None:
    submission = made_submission(tmp_path, quality=None)
    assert submission.scores is None
    submission.check()
    found, problems = find_submissions(tmp_path)
    assert (len(found), problems) == (1, [])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no such file"),
        ("{", "JSON"),
        ("[]", "list"),
        ('{"format": 2}', "format 2"),
        ('{"format": 1}', "key is missing"),
        (json.dumps(made_meta(track="1")), "track is '1'"),
        (json.dumps(made_meta(data={"official": "no"})), r"data\.official"),
    ],
)
def test_bad_description_says_what_is_wrong(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "submission.json").write_text(text)
    with pytest.raises(SubmissionError, match=says) as caught:
        _ = Submission(tmp_path).meta
    assert str(tmp_path / "submission.json") in str(caught.value)


def test_incomplete_description_is_not_written(tmp_path: Path) -> None:
    meta = made_meta()
    del meta["data"]["fingerprint"]
    with pytest.raises(SubmissionError, match=r"data\.fingerprint"):
        write_submission(tmp_path, meta)
    assert not (tmp_path / "submission.json").exists()


def test_check_finds_scores_that_contradict_the_matrices(tmp_path: Path) -> None:
    submission = made_submission(tmp_path)
    path = submission.folder / "scores.json"
    value = json.loads(path.read_text())
    value["average_accuracy"] += 0.05
    value["classes"]["Water"]["pixels"] += 1
    path.write_text(json.dumps(value))
    with pytest.raises(SubmissionError) as caught:
        Submission(submission.folder).check()
    assert "average_accuracy" in str(caught.value)
    assert "classes.Water.pixels" in str(caught.value)


def test_scores_that_contradict_the_matrices_do_not_count(tmp_path: Path) -> None:
    sound, forged = (made_submission(tmp_path, name) for name in ("bag", "epitome"))
    path = forged.folder / "scores.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "average_accuracy": 0.99}))
    found, problems = find_submissions(tmp_path)
    assert [s.key for s in found] == [sound.key]
    assert [problem.folder for problem in problems] == [forged.folder]
    assert "average_accuracy" in problems[0].reason


def test_check_finds_missing_patches(tmp_path: Path) -> None:
    submission = made_submission(tmp_path, data={"patches": 7})
    with pytest.raises(SubmissionError, match=r"6 patches are scored.*promises 7"):
        submission.check()
    made_submission(tmp_path, run="limited", data={"patches": 24, "limit": 6}).check()


def test_rescore_mends_scores(tmp_path: Path) -> None:
    submission = made_submission(tmp_path)
    before = (submission.folder / "scores.json").read_bytes()
    (submission.folder / "scores.json").write_text("{}")
    assert rescore(Submission(submission.folder)) == Scores.of(submission.confusion)
    assert (submission.folder / "scores.json").read_bytes() == before


@pytest.mark.parametrize("lost", ["scores.json", "confusion.npz"])
def test_half_a_score_is_no_score(tmp_path: Path, lost: str) -> None:
    submission = made_submission(tmp_path)
    (submission.folder / lost).unlink()
    with pytest.raises(SubmissionError, match=lost.replace(".", r"\.")):
        _ = Submission(submission.folder).scores


def test_broken_folder_hides_no_other(tmp_path: Path) -> None:
    good = made_submission(tmp_path, run="good")
    made_submission(tmp_path, run="bad", name="a-first").folder.joinpath("submission.json").write_text("{")
    made_submission(tmp_path, run="worse").folder.joinpath("scores.json").write_text("{}")
    found, problems = find_submissions(tmp_path)
    assert [s.folder for s in found] == [good.folder]
    assert [p.folder.name for p in problems] == ["bad", "worse"]
    assert "scores.json" in problems[1].reason


def test_unfinished_and_failed_runs_do_not_count(tmp_path: Path) -> None:
    made_submission(tmp_path, run="running", status="running")
    failed = made_submission(tmp_path, run="failed")
    (failed.folder / "failure.json").write_text("{}")
    assert find_submissions(tmp_path) == ([], [])


def test_find_filters_by_track_and_split_in_a_stable_order(tmp_path: Path) -> None:
    for run, changes in {"c": {}, "a": {"split": "validation"}, "b": {"track": 2}, "d": {}}.items():
        made_submission(tmp_path, run=run, **changes)
    assert [s.folder.name for s in find_submissions(tmp_path)[0]] == ["a", "b", "c", "d"]
    assert [s.folder.name for s in find_submissions(tmp_path, track=1)[0]] == ["a", "c", "d"]
    assert [s.folder.name for s in find_submissions(tmp_path, track=1, split="test")[0]] == ["c", "d"]
    assert find_submissions(tmp_path / "nowhere") == ([], [])


def test_copies_in_mlflow_folders_do_not_count_twice(tmp_path: Path) -> None:
    submission = made_submission(tmp_path)
    made_submission(tmp_path / "mlartifacts")
    assert [s.folder for s in find_submissions(tmp_path)[0]] == [submission.folder]


def test_metric_history_passes_over_a_line_cut_short(tmp_path: Path) -> None:
    submission = made_submission(tmp_path)
    lines = [{"name": "bound", "value": -1.5, "step": 0, "time": 1.0}, {"name": "bound", "value": 2, "step": 1}]
    text = "\n".join(map(json.dumps, lines)) + '\n{"name": "bou'
    (submission.folder / "metrics.jsonl").write_text(text)
    assert list(submission.metric_history()) == lines


def test_wrong_ids_in_the_matrices_are_refused(tmp_path: Path) -> None:
    confusion = made_confusion(0.5)
    with pytest.raises(SubmissionError, match="twice"):
        Confusion(("same",) * 6, confusion.matrices)


def test_what_a_part_learned_is_handed_on_only_when_it_is_there_whole(tmp_path: Path) -> None:
    maps = SubmissionMaps(tmp_path, ())
    (tmp_path / "fitted").mkdir()
    (tmp_path / "fitted" / "state.pkl").write_bytes(b"half")
    with pytest.raises(SubmissionError, match=r"not here.*--if-exists rerun"):
        _ = maps.learned
    (tmp_path / "fitted" / "complete.json").write_text("{}")
    assert maps.learned == tmp_path / "fitted"
