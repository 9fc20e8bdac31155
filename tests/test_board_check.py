"""``dfcbench leaderboard``: all boards, and the proof that they are what the submissions say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dfcbench.leaderboard import build_all
from dfcbench.paper import tables
from dfcbench.report.board_check import Scope, faults, paper_tables, render_boards
from dfcbench.report.paper_table import paper_table, write_paper_table
from dfcbench.submission import find_submissions
from tests.conftest import Shell
from tests.made_submissions import DATA, made_submission


def fill(root: Path) -> None:
    for name, quality in {"bag": 0.6, "epitome": 0.4}.items():
        made_submission(root, name, quality=quality)
        made_submission(root, name, "v", quality=quality, split="validation")
    made_submission(root, "unet", "t2", quality=0.8, track=2)
    made_submission(root, "unet", "else", quality=0.8, data={"name": "else"})


@pytest.fixture
def shell(dfcbench: Shell) -> Shell:
    fill(dfcbench.folder / "submissions")
    return dfcbench


def contents(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_without_options_every_board_is_written_and_proved(shell: Shell) -> None:
    told = shell("leaderboard").stdout
    for words in ("Track 1, test", "Track 1, validation", "Track 2, test"):
        assert words in told
    boards = shell.folder / "leaderboards"
    stems = {str(path.relative_to(boards)) for path in boards.rglob("track?-*.md")}
    assert stems == {
        f"{DATA}/track1-test.md",
        f"{DATA}/track1-validation.md",
        f"{DATA}/track2-test.md",
        "else/track1-test.md",
    }
    before = contents(boards)
    assert "4 board(s) are what 6 submission(s) say" in shell("leaderboard", "--check").stdout
    assert contents(boards) == before
    shutil.rmtree(boards)
    shell("leaderboard", "--check", expect=1)
    assert not boards.exists(), "a check writes nothing"


def test_with_options_only_those_boards_are_written_and_looked_at(shell: Shell) -> None:
    shell("leaderboard", "--track", 1, "--split", "test", "--data-name", DATA)
    boards = shell.folder / "leaderboards"
    assert {path.split("/")[0] for path in contents(boards)} == {DATA}
    assert all(path.startswith(f"{DATA}/track1-test") for path in contents(boards))
    shell("leaderboard", "--check", "--track", 1, "--split", "test", "--data-name", DATA)
    (boards / DATA / "track2-test.md").write_text("another board")
    shell("leaderboard", "--check", "--track", 1, "--split", "test", "--data-name", DATA)
    shell("leaderboard", "--check", "--track", 2, expect=1)


def test_each_file_that_differs_is_missing_or_surplus_is_listed(shell: Shell) -> None:
    shell("leaderboard")
    boards = shell.folder / "leaderboards"
    page, values = boards / DATA / "track1-test.md", boards / DATA / "track1-validation.csv"
    page.write_bytes(page.read_bytes() + b" ")
    values.unlink()
    (boards / DATA / "track1-regional.md").write_text("of submissions that are gone")
    (boards / "gone").mkdir()
    (boards / "gone" / "track1-test.csv").write_text("of data that are gone")
    (boards / "README.md").write_text("not a board")
    (boards / DATA / ".note").write_text("nobody's business")
    failed = shell("leaderboard", "--check", expect=1)
    assert failed.stdout.splitlines() == [
        f"surplus: leaderboards/{DATA}/track1-regional.md",
        f"differs: leaderboards/{DATA}/track1-test.md",
        f"missing: leaderboards/{DATA}/track1-validation.csv",
        "surplus: leaderboards/gone/track1-test.csv",
    ]
    assert "4 file(s)" in failed.stderr
    assert "dfcbench leaderboard" in failed.stderr


def test_a_submission_that_changed_makes_its_board_differ(shell: Shell) -> None:
    shell("leaderboard")
    made_submission(shell.folder / "submissions", "bag", quality=0.7)
    failed = shell("leaderboard", "--check", expect=1)
    assert f"differs: leaderboards/{DATA}/track1-test.md" in failed.stdout
    assert "track1-validation" not in failed.stdout


def test_a_submission_that_contradicts_itself_is_left_out_and_fails_the_check_with_its_reason(shell: Shell) -> None:
    path = shell.folder / "submissions" / "track1" / "bag" / "a" / "scores.json"
    value = json.loads(path.read_text())
    value["average_accuracy"] = 0.99
    path.write_text(json.dumps(value))
    assert "left out: submissions/track1/bag/a: scores.json says average_accuracy = 0.99" in shell("leaderboard").stderr
    failed = shell("leaderboard", "--check", expect=1)
    (line,) = failed.stdout.splitlines()
    assert line.startswith(
        "unsound: submissions/track1/bag/a: scores.json says average_accuracy = 0.99, confusion.npz gives"
    )
    assert "0 file(s) are not what the submissions say, and 1 submission(s) or record(s) are unsound" in failed.stderr
    (path.parent / "submission.json").write_text("{")
    failed = shell("leaderboard", "--check", expect=1)
    assert "cannot be read as JSON" in failed.stdout


def test_paper_tables_beside_the_boards_are_written_anew_after_new_runs(shell: Shell) -> None:
    shell("table", "VII")
    tables = sorted((shell.folder / "leaderboards" / DATA).glob("table-*"))
    before = [path.read_bytes() for path in tables]
    shell("leaderboard")
    shell("leaderboard", "--check")
    made_submission(shell.folder / "submissions", "bag", quality=0.7)
    failed = shell("leaderboard", "--check", expect=1)
    assert f"differs: leaderboards/{DATA}/table-VII.md" in failed.stdout
    assert f"Written: leaderboards/{DATA}/table-VII.md" in shell("leaderboard").stdout
    shell("leaderboard", "--check")
    assert sorted((shell.folder / "leaderboards" / DATA).glob("table-*")) == tables, "no table that was not there"
    assert all(path.read_bytes() != old for path, old in zip(tables, before, strict=True))


def test_pages_of_runs_that_left_are_removed_and_nobody_else_s_files(shell: Shell) -> None:
    shell("leaderboard")
    pages = shell.folder / "leaderboards" / DATA / "track1-test"
    (gone,) = pages.glob("epitome-*.html")
    (left,) = pages.glob("bag-*.html")
    ours = gone.read_bytes()
    mine = {
        "notes-0123abcd.html": b"<!DOCTYPE html><title>Mine</title>",
        "epitome.html": ours,
        "bag-12345678.png": b"x",
    }
    for name, content in mine.items():
        (pages / name).write_bytes(content)
    (pages / "kept").mkdir()
    (pages / "kept" / gone.name).write_bytes(ours)
    numbered = gone.with_name(f"{gone.stem}-2.html")
    numbered.write_bytes(ours)
    shutil.rmtree(shell.folder / "submissions" / "track1" / "epitome" / "a")
    shell("leaderboard", "--split", "validation")
    assert gone.exists(), "another board's page"
    told = shell("leaderboard").stdout
    removed = [line.split(",")[0] for line in told.splitlines() if line.startswith("Removed")]
    assert sorted(removed) == sorted(
        f"Removed: {page.relative_to(shell.folder).as_posix()}" for page in (gone, numbered)
    )
    assert sorted(p.relative_to(pages).as_posix() for p in pages.rglob("*") if p.is_file()) == sorted(
        [*mine, f"kept/{gone.name}", left.name]
    )


def test_paper_tables_beside_the_boards_are_proved_where_they_are(tmp_path: Path) -> None:
    fill(tmp_path / "submissions")
    found, _ = find_submissions(tmp_path / "submissions")
    out = tmp_path / "boards"
    assert paper_tables(out, found, Scope()) == {}
    name, definition = next((n, d) for n, d in tables().items() if {row.track for row in d.rows} == {1})
    written = write_paper_table(paper_table(definition, DATA, found), name, DATA, out)
    expected = render_boards(build_all(found)) | paper_tables(out, found, Scope())
    shown = {(f.path, f.kind) for f in faults(expected, out, Scope()) if "table" in f.path}
    assert shown == set()
    written[1].write_text("else")
    written[2].unlink()
    (out / DATA / "table-none.md").write_text("no such table")
    shown = {(f.path, f.kind) for f in faults(expected, out, Scope()) if "table" in f.path}
    assert shown == {
        (f"{DATA}/table-{name}.csv", "differs"),
        (f"{DATA}/table-{name}.tex", "missing"),
        (f"{DATA}/table-none.md", "surplus"),
    }
    assert paper_tables(out, found, Scope(track=1)) == {}


def test_what_a_scope_covers() -> None:
    assert Scope().covers("data/anything/below.html")
    assert not Scope().covers("README.md")
    assert not Scope(data="data").covers("database/track1-test.md")
    one = Scope(track=1, split="test")
    for path in ("d/track1-test.md", "d/track1-test/page.html", "d/track1-test-2.png"):
        assert one.covers(path)
    for path in ("d/track2-test.md", "d/track1-testing.md", "d/track1-validation.md", "d/table-VI.md"):
        assert not one.covers(path)
    assert Scope(track=2).covers("d/track2-validation.csv")
    assert Scope(split="test").covers("d/track2-test.csv")
