"""Boards: who ranks, beside whom, and what the pages say about their data."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest

from dfcbench.errors import SubmissionError
from dfcbench.leaderboard import Leaderboard, build, build_all
from dfcbench.report.board import board_csv, board_markdown, board_tables, write_board
from dfcbench.submission import find_submissions
from tests.made_submissions import DATA, made_submission


def board(root: Path, **changes: object) -> Leaderboard:
    where = {"data": DATA, "track": 1, "split": "test", **changes}
    return build(find_submissions(root)[0], **where)  # type: ignore[arg-type]


def names(table: Leaderboard, kind: str) -> list[tuple[int | None, str]]:
    return [(e.rank, e.method) for s in table.sections if s.kind == kind for e in s.entries]


def test_best_average_accuracy_comes_first(tmp_path: Path) -> None:
    for name, quality in {"middle": 0.5, "worst": 0.2, "best": 0.9}.items():
        made_submission(tmp_path, name, quality=quality)
    assert names(board(tmp_path), "ranked") == [(1, "best"), (2, "middle"), (3, "worst")]


def test_equal_scores_share_a_rank_in_alphabetical_order(tmp_path: Path) -> None:
    for name in ("b", "c", "a"):
        made_submission(tmp_path, name, quality=0.5)
    made_submission(tmp_path, "d", quality=0.3)
    assert names(board(tmp_path), "ranked") == [(1, "a"), (1, "b"), (1, "c"), (4, "d")]


def test_seeds_are_rows_of_their_own(tmp_path: Path) -> None:
    for seed in (0, 1):
        made_submission(tmp_path, "bag", run=f"s{seed}", seed=seed)
    assert sorted(e.seed for e in board(tmp_path).sections[0].entries) == [0, 1]


def test_runs_that_differ_in_their_training_data_alone_tell_their_keys(tmp_path: Path) -> None:
    first, second = (made_submission(tmp_path, "forest", run, key=run * 16) for run in "ab")
    other = made_submission(tmp_path, "forest", "c", seed=1)
    labels = {entry.key: entry.label for entry in board(tmp_path).sections[0].entries}
    assert labels == {first.key: "forest (key=aaaaaaaa)", second.key: "forest (key=bbbbbbbb)", other.key: "forest"}


def test_runs_of_one_method_with_other_parameters_can_be_told_apart(tmp_path: Path) -> None:
    made_submission(tmp_path, "forest", "a", 0.5, parameters={"inputs": "s2"}, overrides={})
    given = {"inputs": "s1+s2", "bands": ["VV", "B4"], "trees": 7}
    made_submission(tmp_path, "forest", "b", 0.7, parameters=given, overrides=given)
    found = board(tmp_path)
    shown = 'bands=["VV","B4"] inputs=s1+s2 trees=7'
    (table,) = board_tables(found)
    at = [column.title for column in table.columns].index("method")
    assert [row[at] for row in table.rows] == [f"forest ({shown})", "forest"]
    assert "inputs=s1+s2" in board_markdown(found)
    rows = list(csv.DictReader(io.StringIO(board_csv(found))))
    assert [(row["method"], row["parameters"]) for row in rows] == [("forest", shown), ("forest", "")]


def test_incomplete_tuned_and_unscored_runs_stand_apart(tmp_path: Path) -> None:
    made_submission(tmp_path, "plain", quality=0.3)
    made_submission(tmp_path, "limited", quality=0.9, data={"patches": 24, "limit": 6})
    made_submission(tmp_path, "tuned", quality=0.8, badges=["transductive", "leaderboard-tuned"])
    made_submission(tmp_path, "maps", quality=0.7, badges=["maps only"])
    made_submission(tmp_path, "blind", quality=None)
    found = board(tmp_path)
    assert [s.kind for s in found.sections] == ["ranked", "leaderboard-tuned", "maps only", "partial", "unscored"]
    assert names(found, "ranked") == [(1, "plain")]
    assert names(found, "leaderboard-tuned") == [(1, "tuned")]
    assert names(found, "partial") == [(None, "limited")]
    assert names(found, "unscored") == [(None, "blind")]


def test_other_data_tracks_and_splits_stay_away(tmp_path: Path) -> None:
    made_submission(tmp_path, "mine")
    made_submission(tmp_path, "other-data", data={"name": "else"})
    made_submission(tmp_path, "other-track", track=2)
    made_submission(tmp_path, "other-split", split="validation")
    assert names(board(tmp_path), "ranked") == [(1, "mine")]
    every = [(b.data, b.name) for b in build_all(find_submissions(tmp_path)[0])]
    assert every == [
        (DATA, "track1-test"),
        (DATA, "track1-validation"),
        (DATA, "track2-test"),
        ("else", "track1-test"),
    ]
    with pytest.raises(SubmissionError, match="Track 2, validation"):
        board(tmp_path, track=2, split="validation")


def test_data_that_only_share_a_name_are_not_ranked_together(tmp_path: Path) -> None:
    made_submission(tmp_path, "lone", quality=0.9, data={"fingerprint": "0" * 16})
    for name in ("a", "b"):
        made_submission(tmp_path, name, quality=0.4)
    found = board(tmp_path)
    assert found.fingerprints == ("f" * 16, "0" * 16)
    assert [[e.method for e in s.entries] for s in found.sections] == [["a", "b"], ["lone"]]
    assert [s.entries[0].rank for s in found.sections] == [1, 1]
    page = board_markdown(found)
    assert "2 different sets of data" in page
    assert f"## Ranked, data {'0' * 16}" in page


def test_published_results_appear_on_official_data_only(tmp_path: Path) -> None:
    made_submission(tmp_path / "demo", "bag")
    made_submission(tmp_path / "real", "bag", data={"name": "dfc2020", "title": "DFC2020", "official": True})
    demo, real = board(tmp_path / "demo"), board(tmp_path / "real", data="dfc2020")
    assert demo.published == ()
    assert "57.49" not in board_markdown(demo)
    assert "not comparable" in board_markdown(demo)
    page = board_markdown(real)
    assert "57.49" in page
    assert "GRSS 2020 Data Fusion Contest results page" in page
    assert "not comparable" not in page
    assert page.index("Published: official") < page.index("Published: results told")
    assert page.index("## Ranked") < page.index("Published: official")


def test_one_unofficial_run_keeps_published_results_away(tmp_path: Path) -> None:
    made_submission(tmp_path, "a", data={"name": "dfc2020", "official": True})
    made_submission(tmp_path, "b", data={"name": "dfc2020", "official": False})
    assert board(tmp_path, data="dfc2020").published == ()


def test_pages_do_not_depend_on_the_order_of_the_folders(tmp_path: Path) -> None:
    for number in range(6):
        made_submission(tmp_path, f"m{number % 3}", run=f"r{number}", quality=0.5, seed=number % 2)
    submissions, _ = find_submissions(tmp_path)
    where = {"data": DATA, "track": 1, "split": "test"}
    first = build(submissions, **where)  # type: ignore[arg-type]
    random.Random(1).shuffle(submissions)
    second = build(submissions, **where)  # type: ignore[arg-type]
    assert board_markdown(first) == board_markdown(second)
    assert board_csv(first) == board_csv(second)


def test_written_board_reads_back_at_full_precision(tmp_path: Path) -> None:
    submission = made_submission(tmp_path / "submissions", "bag", badges=["transductive"])
    page, values, *_ = write_board(board(tmp_path / "submissions"), tmp_path / "leaderboards")
    assert page == tmp_path / "leaderboards" / DATA / "track1-test.md"
    (row,) = csv.DictReader(io.StringIO(values.read_text()))
    scores = submission.scores
    assert scores is not None
    assert float(row["average_accuracy"]) == scores.average_accuracy
    assert float(row["Water"]) == scores.classes["Water"].producers_accuracy
    assert (float(row["average_accuracy_low"]), float(row["average_accuracy_high"])) == scores.average_accuracy_interval
    assert (row["section"], row["badges"], row["key"]) == ("ranked", "transductive", submission.key)
    text = page.read_text()
    assert f"{100 * (scores.average_accuracy or 0):.2f}" in text
    assert "`ffffffffffffffff`" in text


def test_data_name_cannot_leave_the_boards_folder(tmp_path: Path) -> None:
    made_submission(tmp_path, "bag", data={"name": "../outside"})
    with pytest.raises(SubmissionError, match="outside"):
        board(tmp_path, data="../outside")


def test_names_of_strangers_cannot_break_the_table(tmp_path: Path) -> None:
    made_submission(tmp_path, "bag", method={"name": "a | b\n<script>"})
    page = board_markdown(board(tmp_path))
    line = next(line for line in page.splitlines() if "script" in line)
    assert r"a \| b \<script>" in line


def test_best_of_each_column_is_bold(tmp_path: Path) -> None:
    made_submission(tmp_path, "good", quality=0.9)
    made_submission(tmp_path, "bad", quality=0.2)
    (table,) = board_tables(board(tmp_path))
    assert {row for row, _ in table.bold} == {0}
    assert len(table.bold) == 3 + 8
