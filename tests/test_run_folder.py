"""What a run that was killed in its last moment left is put in order by whoever is shown it, and by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from dfcbench.errors import UnwritableError, UsageError
from dfcbench.run_folder import LOCK, held, tidy


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A finished run whose page was being written, and whose work was being removed."""
    for name in ("work/scratch/rest.npy", "artifacts/.tmp-page-a1.html", "predictions/0.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_leftovers_go_and_the_page_is_written(killed):
    tidy(killed, lambda: (killed / "artifacts" / "page.html").write_text("page") and None)
    assert files(killed) == [LOCK, "artifacts/page.html", "predictions/0.tif"]
    assert not (killed / "work").exists()


@pytest.mark.parametrize("left", ["work/scratch/rest.npy", "artifacts/.tmp-page-a1.html"])
def test_each_leftover_alone_is_enough_to_be_swept(tmp_path, left):
    (tmp_path / left).parent.mkdir(parents=True)
    (tmp_path / left).write_text("left")
    tidy(tmp_path)
    assert files(tmp_path) == [LOCK]


def test_what_a_process_at_the_run_is_writing_stays(killed):
    before = files(killed)
    with FileLock(killed / LOCK):
        tidy(killed, lambda: pytest.fail("written into another's run"))
    assert files(killed) == sorted([*before, LOCK])


def test_a_run_in_order_is_not_touched(tmp_path):
    (tmp_path / "submission.json").write_text("{}")
    tidy(tmp_path)
    assert files(tmp_path) == ["submission.json"]


def test_a_folder_that_takes_no_page_is_shown_all_the_same(killed):
    def refused() -> None:
        raise UnwritableError("read-only")

    tidy(killed, refused)
    assert files(killed) == [LOCK, "predictions/0.tif"]


def test_one_process_holds_a_run_and_begins_with_a_swept_folder(killed):
    with held(killed):
        assert "artifacts/.tmp-page-a1.html" not in files(killed)
        with pytest.raises(UsageError, match="another process"), held(killed):
            pytest.fail("two hold it")
