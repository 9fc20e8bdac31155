"""Maps made elsewhere, from zip to board: scored by the contest's rule, kept once, and packed as the contest took them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dfcbench import __version__, rasters
from dfcbench.archive import Archive
from dfcbench.contest import FusionContest
from dfcbench.contest_zip import pack
from dfcbench.entering import Outcome, check, enter
from dfcbench.errors import DataError, SubmissionError, UsageError
from dfcbench.leaderboard import build
from dfcbench.maps import map_path
from dfcbench.records import label_name
from dfcbench.report.submission_page import run_page
from dfcbench.scheme import SCORED_CODES
from dfcbench.submission import MAPS_BADGE, Submission, find_submissions, write_submission
from tests import datamaker
from tests.conftest import Shell
from tests.hand_in_maker import codes_of, good_maps, make_folder, make_zip


@pytest.fixture
def contest(small: Archive) -> FusionContest:
    return FusionContest(small, 1, "test")


def entered(path: Path, contest: FusionContest, root: Path, team: str = "Our lab", method: str = "A net") -> Outcome:
    return enter(path, contest, team=team, method=method, submissions=root, workers=2)


def test_the_score_is_the_contests_rule_over_all_pixels(contest: FusionContest, tmp_path: Path) -> None:
    outcome = entered(make_zip(tmp_path / "m.zip", good_maps(contest.scored.ids)), contest, tmp_path / "subs")
    truth = np.stack([patch.high for patch in contest.reference])
    guess = np.stack([codes_of(i) for i in contest.scored.ids])
    recalls = [(guess[truth == code] == code).mean() for code in SCORED_CODES if (truth == code).any()]
    assert outcome.submission is not None and outcome.submission.scores is not None
    assert outcome.submission.scores.average_accuracy == pytest.approx(np.mean(recalls), abs=1e-12)
    assert outcome.submission.scores.overall_accuracy == pytest.approx((truth == guess).mean(), abs=1e-12)


def test_the_submission_is_whole_and_stands_in_a_section_of_its_own(contest: FusionContest, tmp_path: Path) -> None:
    root = tmp_path / "subs"
    outcome = entered(make_zip(tmp_path / "m.zip", good_maps(contest.scored.ids)), contest, root)
    (found,), problems = find_submissions(root)
    assert not problems
    found.check()
    assert found.folder == outcome.submission.folder
    for patch in contest.scored:
        path = map_path(found.folder, patch.id)
        assert np.array_equal(rasters.read(path)[0], codes_of(patch.id))
        assert rasters.info(path).georeference == patch.georeference
    board = build([found], data=contest.archive.identity.name, track=1, split="test")
    (section,) = board.sections
    assert section.kind == MAPS_BADGE
    assert section.entries[0].label == "A net (team=Our lab)"


def test_the_same_maps_are_recognised_in_whatever_wrapping(contest: FusionContest, tmp_path: Path) -> None:
    maps, root = good_maps(contest.scored.ids), tmp_path / "subs"
    first = entered(make_zip(tmp_path / "m.zip", maps), contest, root)
    again = {name: rasters.encode(codes_of(name.replace("_dfc", "")[:-4])) for name in maps}  # other bytes, same pixels
    second = entered(make_folder(tmp_path / "maps", again), contest, root, team="Another lab")
    assert not first.known
    assert second.known
    assert second.submission.folder == first.submission.folder
    assert len(find_submissions(root)[0]) == 1


def test_other_pixels_or_another_track_are_another_submission(contest: FusionContest, tmp_path: Path) -> None:
    maps, root = good_maps(contest.scored.ids), tmp_path / "subs"
    first = entered(make_zip(tmp_path / "m.zip", maps), contest, root)
    changed = codes_of(contest.scored.ids[0]).copy()
    changed[3, 4] = changed[3, 4] % 10 + 1
    other = {**maps, label_name(contest.scored.ids[0]): rasters.encode(changed)}
    second = entered(make_zip(tmp_path / "n.zip", other), contest, root)
    third = entered(tmp_path / "m.zip", FusionContest(contest.archive, 2, "test"), root)
    assert len({outcome.submission.key for outcome in (first, second, third)}) == 3
    assert not any(outcome.known for outcome in (first, second, third))


def test_faulty_maps_leave_nothing_behind(contest: FusionContest, tmp_path: Path) -> None:
    maps, root = good_maps(contest.scored.ids), tmp_path / "subs"
    maps[label_name(contest.scored.ids[3])] = b"no tif"  # found when others have been written already
    outcome = entered(make_zip(tmp_path / "m.zip", maps), contest, root)
    assert outcome.submission is None
    assert [fault.kind for fault in outcome.inspection.faults] == ["unreadable"]
    assert not list(root.iterdir())


def test_a_failure_on_the_way_leaves_nothing_behind(contest: FusionContest, tmp_path: Path) -> None:
    def fail(submission: Submission) -> None:
        raise KeyboardInterrupt

    path, root = make_zip(tmp_path / "m.zip", good_maps(contest.scored.ids)), tmp_path / "subs"
    with pytest.raises(KeyboardInterrupt):
        enter(path, contest, team="t", method="m", submissions=root, illustrate=fail)
    assert not list(root.iterdir())


def test_without_reference_maps_are_checked_and_not_scored(tmp_path: Path) -> None:
    datamaker.write_contest(tmp_path / "data", test_labels=False)
    contest = FusionContest(Archive.open(tmp_path / "data"), 1, "test")
    path = make_zip(tmp_path / "m.zip", good_maps(contest.scored.ids))
    assert not check(path, contest).faults
    with pytest.raises(DataError, match="submission check"):
        entered(path, contest, tmp_path / "subs")


@pytest.mark.parametrize("name", ["", "  ", "../..", "a\nb", "x" * 81, "\x1b[2J"])
def test_names_that_no_board_can_show_are_refused(name: str, contest: FusionContest, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="printable"):
        entered(tmp_path / "m.zip", contest, tmp_path / "subs", team=name)


@pytest.mark.parametrize("name", ["Équipe Øst", "../../etc", "团队", "a/b\\c", "." * 9 + "x" * 70])
def test_any_other_name_makes_a_folder_within_the_submissions(
    name: str, contest: FusionContest, tmp_path: Path
) -> None:
    path, root = make_zip(tmp_path / "m.zip", good_maps(contest.scored.ids)), tmp_path / "subs"
    outcome = entered(path, contest, root, team=name, method=name)
    assert outcome.submission.folder.resolve().parent.parent == (root / "track1").resolve()
    assert outcome.submission.meta["parameters"]["team"] == name


@pytest.fixture
def finished(contest: FusionContest, tmp_path: Path) -> Submission:
    return entered(make_zip(tmp_path / "in.zip", good_maps(contest.scored.ids)), contest, tmp_path / "subs").submission


def test_packing_gives_a_flat_sorted_zip_with_the_same_bytes_each_time(finished: Submission, tmp_path: Path) -> None:
    assert not pack(finished, tmp_path / "a.zip").faults
    for path in (finished.folder / "predictions").iterdir():
        path.touch()
    assert not pack(finished, tmp_path / "b.zip").faults
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos] == sorted(label_name(i) for i in finished.confusion.ids)
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}


def test_what_was_packed_is_what_was_handed_in(finished: Submission, contest: FusionContest, tmp_path: Path) -> None:
    pack(finished, tmp_path / "a.zip")
    outcome = entered(tmp_path / "a.zip", contest, finished.folder.parents[2])
    assert outcome.known
    assert outcome.submission.folder == finished.folder


def test_a_missing_or_wrong_map_is_told_and_no_zip_written(finished: Submission, tmp_path: Path) -> None:
    first, second = finished.confusion.ids[:2]
    map_path(finished.folder, first).unlink()
    rasters.write(map_path(finished.folder, second), np.zeros((16, 16), np.uint8))
    report = pack(finished, tmp_path / "a.zip")
    assert [(fault.kind, fault.where) for fault in report.faults] == [
        ("missing", label_name(first)),
        ("codes", label_name(second)),
    ]
    assert not (tmp_path / "a.zip").exists()


def test_packing_replaces_zips_and_nothing_else(finished: Submission, tmp_path: Path) -> None:
    precious, older = tmp_path / "precious.txt", tmp_path / "older.zip"
    for path in (precious, older):
        path.write_text("precious")
    with pytest.raises(UsageError, match=r"\.zip"):
        pack(finished, precious)
    assert precious.read_text() == "precious"
    pack(finished, older)
    assert zipfile.is_zipfile(older)


def test_a_page_of_maps_made_elsewhere_tells_nothing_of_their_making(finished: Submission) -> None:
    assert finished.meta["software"] == {"dfcbench": __version__}
    page = run_page(finished).decode()
    assert f"dfcbench {__version__}" in page
    for untold in ("version </td>", "version</td>", "numpy", "the preset"):
        assert untold not in page, untold


def test_a_run_without_maps_or_of_some_patches_is_not_packed(finished: Submission, tmp_path: Path) -> None:
    meta = dict(finished.meta)
    write_submission(finished.folder, {**meta, "data": {**meta["data"], "limit": 2}})
    with pytest.raises(SubmissionError, match="maps 2 of 7 patches"):
        pack(Submission(finished.folder), tmp_path / "a.zip")
    write_submission(finished.folder, meta)
    for path in (finished.folder / "predictions").iterdir():
        path.unlink()
    with pytest.raises(SubmissionError, match="no maps there"):
        pack(Submission(finished.folder), tmp_path / "a.zip")


def test_an_unscored_run_is_packed_if_the_number_of_its_maps_is_right(finished: Submission, tmp_path: Path) -> None:
    for name in ("scores.json", "confusion.npz"):
        (finished.folder / name).unlink()
    assert pack(Submission(finished.folder), tmp_path / "a.zip").maps == 7
    next((finished.folder / "predictions").iterdir()).unlink()
    with pytest.raises(SubmissionError, match="6 maps, where the split has 7"):
        pack(Submission(finished.folder), tmp_path / "b.zip")


def test_a_run_is_packed_checked_scored_and_shown_by_commands(dfcbench: Shell, small_root: Path) -> None:
    common = ("--track", 1, "--data", small_root)
    dfcbench("run", *common, "--method", "low-resolution-labels")
    (run,), _ = find_submissions(dfcbench.folder / "submissions")
    packed = dfcbench("submission", "pack", "low-resolution-labels")
    (made,) = dfcbench.folder.glob("*.zip")
    assert f"Next: dfcbench submission check {made.name} --track 1 --split test --data FOLDER" in packed.stdout
    checked = dfcbench("submission", "check", made, *common).stdout
    assert "7 maps, nothing to object" in checked
    place = f"--track 1 --split test --data {small_root}"
    assert f"Next: dfcbench submission score {made} --team TEAM --method METHOD {place}\n" in checked
    assert "nothing to object" in dfcbench("submission", "check", run.folder, *common).stdout
    score = ("submission", "score", made, "--team", "Our lab", "--method", "LR again", *common)
    scored = dfcbench(*score)
    assert "average accuracy" in scored.stdout
    assert "entered before, as LR again by Our lab" in dfcbench(*score).stdout
    (entry,) = [s for s in find_submissions(dfcbench.folder / "submissions")[0] if s.meta["badges"] == [MAPS_BADGE]]
    assert entry.scores == run.scores
    assert (entry.folder / "artifacts" / "confusion.png").exists()
    assert "Maps made elsewhere" in dfcbench("leaderboard", "--track", 1).stdout
    assert "1 run(s) recorded, 1 there already" in dfcbench("track", "sync").stdout


def test_a_broken_zip_is_told_in_a_table_and_by_the_exit_code(dfcbench: Shell, small_root: Path) -> None:
    ids = [f"ROIs0000_test_0_p{number}" for number in range(7)]
    maps = good_maps(ids[2:])
    maps[label_name(ids[3])] = b"no tif"
    bad = make_zip(dfcbench.folder / "bad.zip", {**maps, "__MACOSX/._x.tif": b""})
    dfcbench.environment["COLUMNS"] = "150"
    for command in (("check",), ("score", "--team", "t", "--method", "m")):
        told = dfcbench("submission", *command, bad, "--track", 1, "--data", small_root, expect=7)
        assert "Faults: missing 2, unreadable 1" in told.stdout
        assert label_name(ids[0]) in told.stdout
        assert "Remarks: junk 1" in told.stdout
        assert "3 fault(s), listed above" in told.stderr
    assert not (dfcbench.folder / "submissions" / "track1").exists()


def test_many_faults_of_a_kind_are_counted_and_all_of_them_told_if_asked(dfcbench: Shell, tmp_path: Path) -> None:
    datamaker.write_contest(tmp_path / "data", validation=1, test=13)
    empty = make_zip(dfcbench.folder / "empty.zip", {})
    check_it = ("submission", "check", empty, "--track", 1, "--data", tmp_path / "data")
    dfcbench.environment["COLUMNS"] = "150"
    short, whole = dfcbench(*check_it, expect=7), dfcbench(*check_it, "--all", expect=7)
    assert "… and 3 more" in short.stdout
    assert whole.stdout.count("ROIs0000_test_dfc_0_p") == 13


def test_track_2_is_not_scored_on_its_own_training_data(dfcbench: Shell, small_root: Path) -> None:
    where = ("--track", 2, "--split", "validation", "--data", small_root)
    assert "training data" in dfcbench("submission", "check", "x.zip", *where, expect=2).stderr


def test_the_submissions_description_is_stable_json(finished: Submission) -> None:
    meta = json.loads((finished.folder / "submission.json").read_text())
    assert meta["data"]["patches"] == 7
    assert meta["method"]["name"] == "A net"
    assert "Our lab" in meta["method"]["summary"]
