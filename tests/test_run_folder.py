"""What a run that was killed in its last moment left is put in order by whoever is shown it, and by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from dfcbench.archive import Archive
from dfcbench.errors import UnwritableError, UsageError
from dfcbench.run_folder import LOCK, held, tidy
from dfcbench.runner import execute
from dfcbench.submission import ARTIFACTS, META, PAGE, Submission
from tests.test_runner import Quiet, make_plan

REST = "work/scratch/rest.npy"
HALF_A_PAGE = f"{ARTIFACTS}/.tmp-page-a1.html"


@pytest.fixture
def finished(small: Archive, tmp_path: Path) -> Path:
    return execute(make_plan(small, tmp_path), Quiet()).folder


def leave(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def forbidden() -> None:
    pytest.fail("written into another's run")


def test_leftovers_go_and_the_page_is_written(finished):
    before = files(finished)
    leave(finished, REST, HALF_A_PAGE)
    tidy(finished, lambda: leave(finished, f"{ARTIFACTS}/{PAGE}"))
    assert files(finished) == before | {f"{ARTIFACTS}/{PAGE}": f"{ARTIFACTS}/{PAGE}".encode()}
    assert not (finished / "work").exists()


@pytest.mark.parametrize("left", [REST, HALF_A_PAGE])
def test_each_leftover_alone_is_enough_to_be_swept(finished, left):
    before = files(finished)
    leave(finished, left)
    tidy(finished)
    assert files(finished) == before


def test_what_a_process_at_the_run_is_writing_stays(finished):
    leave(finished, REST, HALF_A_PAGE)
    before = files(finished)
    with FileLock(finished / LOCK):
        tidy(finished, forbidden)
    assert files(finished) == before


def test_a_run_that_has_begun_anew_is_left_alone(finished):
    (finished / META).unlink()
    leave(finished, REST)
    before = files(finished)
    tidy(finished, forbidden)
    assert files(finished) == before


def test_a_folder_that_takes_no_page_is_shown_all_the_same(finished):
    before = files(finished)
    leave(finished, REST, HALF_A_PAGE)

    def refused() -> None:
        raise UnwritableError("read-only")

    tidy(finished, refused)
    assert files(finished) == before


def test_one_process_holds_a_run_and_begins_with_a_swept_folder(finished):
    leave(finished, HALF_A_PAGE)
    with held(finished):
        assert HALF_A_PAGE not in files(finished)
        with pytest.raises(UsageError, match="another process"), held(finished):
            pytest.fail("two hold it")


def test_a_lock_that_is_not_the_run_s_is_not_told_as_the_run_s(finished):
    with pytest.raises(Timeout, match="elsewhere"), held(finished):
        raise Timeout("elsewhere")
    with held(finished):  # and the run is free again
        pass


def test_a_run_is_concluded_when_it_is_finished_and_before_anyone_else_can_be_at_it(small, tmp_path):
    concluded = []

    def conclude(submission: Submission) -> None:
        with pytest.raises(Timeout), FileLock(submission.folder / LOCK, timeout=0):
            pytest.fail("somebody else is at the run")
        concluded.append(submission.finished)

    execute(make_plan(small, tmp_path), Quiet(), conclude=conclude)
    assert concluded == [True]
