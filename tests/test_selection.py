"""Which runs an argument of ``dfcbench compare`` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfcbench.errors import SubmissionError, UsageError
from dfcbench.selection import choose
from dfcbench.submission import write_submission
from tests.made_submissions import made_meta, made_submission

OTHER = {"name": "other", "fingerprint": "0" * 16}


def chosen(root: Path, *arguments: str, **options: object) -> list[str]:
    runs, problems = choose(arguments, root, **options)  # type: ignore[arg-type]
    assert problems == []
    return [f"{run.meta['method']['name']}/{run.folder.name}" for run in runs]


def test_a_run_is_named_by_folder_name_key_or_their_beginning(tmp_path: Path) -> None:
    run = made_submission(tmp_path, "bag", "test-demo-seed0-abc", key="0123456789abcdef")
    made_submission(tmp_path, "bag", "test-demo-seed1-def", seed=1, key="0123ffff89abcdef")
    folder = str(run.folder)
    for argument in (folder, "track1/bag/test-demo-seed0-abc", "test-demo-seed0-abc", "0123456789abcdef", "01234",
                     "test-demo-seed0"):  # fmt: skip
        assert chosen(tmp_path, argument) == ["bag/test-demo-seed0-abc"], argument
    with pytest.raises(UsageError, match=r"'0123' may mean 2 runs.*test-demo-seed1-def.*whole key"):
        choose(["0123"], tmp_path)
    with pytest.raises(UsageError, match="Did you mean bag"):
        choose(["bog"], tmp_path)
    with pytest.raises(UsageError, match="no finished run under"):
        choose(["bag"], tmp_path / "nowhere")


def test_a_method_means_all_its_scored_runs_and_whole_ones_before_partial_ones(tmp_path: Path) -> None:
    for seed in (0, 1):
        made_submission(tmp_path, "bag", f"s{seed}", seed=seed)
    made_submission(tmp_path, "bag", "unscored", quality=None)
    made_submission(tmp_path, "bag", "some", data={"patches": 24, "limit": 6})
    made_submission(tmp_path, "quick", "some", data={"patches": 24, "limit": 6})
    assert chosen(tmp_path, "bag") == ["bag/s0", "bag/s1"]
    assert chosen(tmp_path, "quick") == ["quick/some"]


def test_methods_are_narrowed_to_what_the_arguments_have_in_common(tmp_path: Path) -> None:
    made_submission(tmp_path, "bag", "here")
    made_submission(tmp_path, "bag", "validation", split="validation")
    made_submission(tmp_path, "bag", "other", data=OTHER)
    made_submission(tmp_path, "epitome", "there", data=OTHER)
    assert chosen(tmp_path, "bag", "epitome") == ["bag/other", "epitome/there"]
    assert chosen(tmp_path, "bag", "validation") == ["bag/validation", "bag/validation"]
    assert chosen(tmp_path, "bag", split="validation") == ["bag/validation"]
    assert chosen(tmp_path, "bag", data="other") == ["bag/other"]
    with pytest.raises(UsageError, match=r"in common on .*test split of other.*validation split.*--data-name"):
        choose(["bag"], tmp_path)
    made_submission(tmp_path, "unet", "a", split="regional")
    with pytest.raises(UsageError, match=r"No data set and split has runs of all arguments: bag: .*unet: .*regional"):
        choose(["bag", "unet"], tmp_path)
    with pytest.raises(UsageError, match=r"no scored run there.*Track 1, regional"):
        choose(["unet"], tmp_path, track=2)


def test_methods_on_both_tracks_need_a_track_unless_another_argument_tells_it(tmp_path: Path) -> None:
    for track in (1, 2):
        made_submission(tmp_path, "bag", f"t{track}", track=track)
    made_submission(tmp_path, "unet", "hr", track=2)
    assert chosen(tmp_path, "bag", "unet") == ["bag/t2", "unet/hr"]
    assert chosen(tmp_path, "t1", "unet") == ["bag/t1", "unet/hr"], "named runs of two tracks may be compared"
    assert chosen(tmp_path, "bag", track=1) == ["bag/t1"]
    with pytest.raises(UsageError, match=r"both tracks.*--track 1 or --track 2"):
        choose(["bag"], tmp_path)


def test_named_runs_must_be_finished_and_scored(tmp_path: Path) -> None:
    made_submission(tmp_path, "bag", "unscored", quality=None)
    with pytest.raises(SubmissionError, match="has no scores"):
        choose(["unscored"], tmp_path)
    broken = write_submission(tmp_path / "broken", made_meta(status="failed"))
    with pytest.raises(SubmissionError, match="is not finished"):
        choose([str(broken.folder)], tmp_path)


def test_a_broken_folder_hides_no_other(tmp_path: Path) -> None:
    run = made_submission(tmp_path, "bag")
    damaged = made_submission(tmp_path, "bag", "damaged", seed=1).folder
    (damaged / "submission.json").write_text("{")
    runs, problems = choose(["bag"], tmp_path)
    assert [r.folder for r in runs] == [run.folder]
    assert [p.folder for p in problems] == [damaged]
