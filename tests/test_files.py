"""Atomic writes, and what is said where nothing can be written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from dfcbench.errors import DataError
from dfcbench.files import replacing, writable_folder, write_text


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_block_that_fails_leaves_the_former_file_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "former")

    def fail() -> None:
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        fail()
    assert names(tmp_path) == {"a.txt"}
    assert (tmp_path / "a.txt").read_text() == "former"


def test_a_full_disk_is_told_with_the_file_that_was_asked_for(tmp_path: Path) -> None:
    def fail() -> None:
        with replacing(tmp_path / "a.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match=r"/a\.txt: cannot be written \(No space left on device\)"):
        fail()
    assert not names(tmp_path)


def test_a_fault_of_another_file_is_not_taken_for_one_of_the_place(tmp_path: Path) -> None:
    def read_another() -> None:
        with replacing(tmp_path / "a.txt"):
            (tmp_path / "absent").read_text()

    with pytest.raises(FileNotFoundError, match="absent"):
        read_another()


def test_a_file_in_the_way_is_named_and_kept(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    reason = "precious is a file, and a folder is needed there"
    with pytest.raises(DataError, match=rf"precious: cannot be written .*{reason}.*another place"):
        writable_folder(precious)
    with pytest.raises(DataError, match=rf"below: cannot be written .*{reason}"):
        writable_folder(precious / "below")
    with pytest.raises(DataError, match=rf"x\.txt: cannot be written .*{reason}"):
        write_text(precious / "x.txt", "")
    assert precious.read_text() == "kept"


def test_a_folder_where_a_file_shall_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder: cannot be written"):
        write_text(tmp_path / "folder", "text")
    assert names(tmp_path) == {"folder"}


def test_a_writable_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    assert not names(writable_folder(tmp_path / "a" / "b"))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux's /proc is a place where even root makes nothing")
def test_a_place_where_nothing_can_be_made_is_told() -> None:
    with pytest.raises(DataError, match="/proc/x: cannot be written"):
        writable_folder(Path("/proc/x"))
