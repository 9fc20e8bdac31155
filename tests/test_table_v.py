"""Table V: ranked teams of both tracks in one table, each row run and measured on its own track."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dfcbench import paper
from dfcbench.cli import table as command
from dfcbench.report.paper_table import paper_table
from dfcbench.submission import Submission, find_submissions
from tests.in_process import call
from tests.made_submissions import made_submission

TEAMS = [
    ("calebrob6", "final-ensemble", 1, "1", 57.49),
    ("WHU_YuXia", "whu-yuxia", 1, "2", 56.96),
    ("Pineapples", "pineapples-track1", 1, "3", None),
    ("Antonia", "antonia-track1", 1, "4", None),
    ("Antonia", "antonia", 2, "1", 61.42),
    ("Pineapples", "pineapples-track2", 2, "2", None),
    ("dfchen", "dfchen", 2, "3", None),
]
TWO_TRACKS = """
[T]
title = "Both tracks"
track = 1
splits = ["test"]
classes = false

[[T.rows]]
label = "LR, Track 1"
method = "low-resolution-labels"

[[T.rows]]
label = "LR, Track 2"
track = 2
method = "low-resolution-labels"
"""


def test_every_ranked_team_has_its_row_with_the_published_score_where_one_is_known():
    *teams, baseline = paper.table("V").rows
    found = []
    for row in teams:
        told = paper.published(row, "test")
        average = None if told is None else round(100 * told.average_accuracy, 2)
        found.append((row.label.partition(",")[0], row.method, row.track, *row.settings, average))
        assert row.label.endswith(f"Track {row.track}")
    assert found == TEAMS
    assert (baseline.method, dict(baseline.parameters), baseline.track) == ("unet", {"inputs": "s2"}, 1)
    assert paper.published(baseline, "test") is None


def test_no_two_rows_of_a_table_share_a_label():
    for definition in paper.tables().values():
        labels = [row.label for row in definition.rows]
        assert len(set(labels)) == len(labels), definition.name


def entries(tmp_path: Path) -> list[Submission]:
    return [
        made_submission(
            tmp_path, row.method, f"{n}", 0.2 + n / 10, track=row.track, parameters=dict(row.parameters), seed=0
        )
        for n, row in enumerate(paper.table("V").rows)
    ]


def test_a_row_is_measured_on_its_own_track(tmp_path):
    runs = entries(tmp_path)
    definition, data = paper.table("V"), runs[0].meta["data"]["name"]
    table = paper_table(definition, data, runs)
    assert [row[2] for row in table.rows] == [run.scores.average_accuracy for run in runs]
    assert paper.missing(definition, data, runs) == []
    elsewhere = [made_submission(tmp_path / "else", "dfchen", "x", track=1, parameters={})]
    lacking = [row.label for row, _ in paper.missing(definition, data, [*runs[:6], *elsewhere])]
    assert lacking == ["dfchen, Track 2", "Baseline: U-Net, S2"]


def test_each_track_has_its_best_and_a_line_between_them(tmp_path):
    runs = entries(tmp_path)
    table = paper_table(paper.table("V"), runs[0].meta["data"]["name"], runs)
    averages = [run.scores.average_accuracy for run in runs]
    best = [max((0, 1, 2, 3, 7), key=averages.__getitem__), max((4, 5, 6), key=averages.__getitem__)]
    assert table.bold == {(number, 2) for number in best}
    assert table.rules == {4, 7}


def test_the_rows_are_run_each_on_its_own_track(small_root, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(command, "perform", lambda plan, *_, **__: ran.append(plan))
    command.table("V", data=small_root, run=True, submissions=tmp_path / "s", out=tmp_path / "out")
    told = [(plan.loaded.method.name, plan.contest.track, plan.contest.split) for plan in ran]
    assert told == [*((method, track, "test") for _, method, track, *_ in TEAMS), ("unet", 1, "test")]
    assert {plan.loaded.method.name for plan in ran if plan.loaded.method.reconstruction} == {
        method for _, method, *_ in TEAMS if method not in ("final-ensemble", "antonia")
    }


def test_a_table_of_two_tracks_is_run_written_and_proved(small_root, tmp_path, monkeypatch):
    (tmp_path / "tables.toml").write_text(TWO_TRACKS)
    definitions = paper.tables(tmp_path / "tables.toml")
    monkeypatch.setattr(paper, "tables", lambda: definitions)
    monkeypatch.chdir(tmp_path)
    done = call("table", "T", "--data", small_root, "--run")
    assert done.code == 0, done.err
    assert [note for note in done.err.splitlines() if note.startswith("Table T: ")] == [
        "Table T: LR, Track 1, test",
        "Table T: LR, Track 2, test",
    ]
    found, _ = find_submissions(tmp_path / "submissions")
    assert sorted(run.meta["track"] for run in found) == [1, 2]
    again = call("table", "T", "--data", small_root, "--run")
    assert "Table T: LR" not in again.err, "what is there is not run again"
    (file,) = tmp_path.glob("leaderboards/*/table-T.csv")
    lines = [line.split(",") for line in file.read_text().splitlines()[1:]]
    measured = {line[-2] for line in lines}
    assert measured == {str(found[0].scores.average_accuracy)}
    assert call("leaderboard").code == 0
    assert call("leaderboard", "--check").code == 0
    file.write_text("else")
    assert call("leaderboard", "--check").code == 1


def test_a_row_s_track_decides_which_published_entries_are_meant():
    (row,) = (row for row in paper.table("V").rows if row.method == "antonia")
    assert paper.published(row, "test") is not None
    assert paper.published(replace(row, track=1), "test") is None
