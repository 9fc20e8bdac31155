"""Disks that are full or read-only: real ones, small and mounted for the test, where that is allowed; see also
test_files.py for what each single write does.

The command says so in one line, keeps what is done, and goes on once there is room."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dfcbench import files
from dfcbench.report import run_figures
from tests import datamaker
from tests.in_process import NO_STORE, Outcome, call, content, told
from tests.plugins import LEARNING

PAGE_BYTES = 4096
"""A tmpfs gives out whole pages."""


def mount(*words: object) -> bool:
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    return done.returncode == 0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return datamaker.write_contest(tmp_path_factory.mktemp("disks") / "data", validation=2, test=5)


@pytest.fixture(scope="module", autouse=True)
def plain_figures() -> Iterator[None]:
    """Figures take most of the time of so small a run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("confusion_figure", "panel_figure"):
            patch.setattr(run_figures, name, lambda what, path, title: files.write_bytes(path, title.encode()))
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "learning.py").write_text(LEARNING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFCBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def disk(here: Path) -> Iterator[Path]:
    """A disk of 4 MB, mounted below the current folder."""
    place = here / "disk"
    place.mkdir()
    if shutil.which("mount") is None or not mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", place):
        pytest.skip("no disk can be mounted here: that takes Linux and its administrator")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def run(data: Path, *more: object, store: str = NO_STORE) -> Outcome:
    return call("run", "--track", 1, "--method", "learning.py", "--data", data, "--workers", 1, *more, store=store)


def run_folder(root: Path) -> Path:
    (folder,) = [f for f in root.glob("track1/learning/*") if not f.name.startswith(".")]
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path, plain_figures: None) -> tuple[dict[str, bytes], int]:
    """What an undisturbed run leaves, and how many bytes of a disk it takes."""
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("DFCBENCH_CACHE", str(place / "cache"))
        (place / "learning.py").write_text(LEARNING)
        outcome = run(data)
    assert outcome.code == 0, outcome.err
    sizes = [path.stat().st_size for path in (place / "submissions").rglob("*") if path.is_file()]
    return content(run_folder(place / "submissions")), sum(-(-size // PAGE_BYTES) * PAGE_BYTES for size in sizes)


def fill(disk: Path, free: int) -> Path:
    """A file that leaves so many bytes of the disk."""
    ballast = disk / "ballast"
    left = shutil.disk_usage(disk).free - free
    ballast.write_bytes(bytes(max(0, left)))
    return ballast


@pytest.mark.parametrize("tenth", [0, 2, 4, 6, 8, 9])
def test_a_disk_that_fills_up_under_the_submissions_is_told_and_the_run_goes_on(here, data, disk, whole, tenth):
    result, size = whole
    ballast = fill(disk, size * tenth // 10)
    line = told(run(data, "--submissions", disk / "s"), 3, str(disk), "No space left on device", "Check space")
    assert line.count("error:") == 1
    kept = {path: path.stat().st_mtime_ns for path in disk.glob("s/*/*/*/predictions/[!.]*")}
    ballast.unlink()
    outcome = run(data, "--submissions", disk / "s")
    assert outcome.code == 0, outcome.err
    assert content(run_folder(disk / "s")) == result
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "maps that were there are not made twice"
    assert not list(disk.rglob(".tmp-*"))


@pytest.mark.parametrize("free", [0, 3 * PAGE_BYTES])
def test_a_full_cache_costs_speed_alone(here, data, disk, whole, free, monkeypatch):
    fill(disk, free)
    monkeypatch.setenv("DFCBENCH_CACHE", str(disk / "cache"))
    outcome = run(data)
    assert outcome.code == 0, outcome.err
    assert "reading the tifs" in outcome.err
    assert "Traceback" not in outcome.err
    assert content(run_folder(here / "submissions")) == whole[0]


def test_a_full_disk_under_mlflow_costs_one_warning_and_sync_makes_up_for_it(
    here, data, disk, whole, empty_store, capfd
):
    shutil.copy(empty_store, disk / "mlflow.db")
    ballast = fill(disk, 0)
    store = f"sqlite:///{disk / 'mlflow.db'}"
    outcome = run(data, store=store)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("warning:") == 1 and "`dfcbench track sync` records it later" in outcome.err
    assert "Traceback" not in outcome.err + capfd.readouterr().err
    assert content(run_folder(here / "submissions")) == whole[0]
    ballast.unlink()
    assert "1 run(s) recorded" in call("track", "sync", store=store).out


def test_boards_and_zips_on_a_full_disk_leave_the_former_ones(here, data, disk):
    assert run(data).code == 0
    assert call("leaderboard", "--out", disk / "boards").code == 0
    assert call("submission", "pack", "learning", "-o", disk / "maps.zip").code == 0
    before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    fill(disk, 0)
    told(call("leaderboard", "--out", disk / "boards"), 3, "No space left on device", "boards")
    told(call("submission", "pack", "learning", "-o", disk / "maps.zip"), 3, "No space left on device", "maps.zip")
    assert {path: path.read_bytes() for path in before} == before
    told(call("data", "demo", "--size", "tiny", "--out", disk / "demo"), 3, str(disk / "demo"))
    told(call("methods", "new", "mine", "--out", disk / "mine.py"), 3, "mine.py")


def test_check_points_on_a_full_disk_are_told_by_file_and_drawn_once_there_is_room(here, data, disk):
    command = (
        "validate-labels",
        "draw",
        "--data",
        data,
        "--split",
        "validation",
        "--points",
        8,
        "--out",
        disk / "check",
    )
    for left in (0, 8_192, 24_576):  # no drawing, no picture, some pictures
        ballast = fill(disk, left)
        assert str(disk / "check") in told(call(*command), 3)
        assert not (disk / "check" / "sheet.csv").exists()
        ballast.unlink()
    assert call(*command).code == 0
    assert call(*command[:-1], here / "check").code == 0
    files = [path for path in (here / "check").rglob("*") if path.is_file()]
    assert all((disk / "check" / path.relative_to(here / "check")).read_bytes() == path.read_bytes() for path in files)


@pytest.fixture
def read_only(here: Path, disk: Path) -> Path:
    """A disk that nothing can be written to."""
    assert mount("-o", "remount,ro", disk)
    return disk


def test_a_read_only_place_is_told_before_the_work(here, data, read_only):
    outcome = run(data, "--submissions", read_only / "s")
    told(outcome, 3, str(read_only), "Read-only file system", "another place")
    assert "fit …" not in outcome.err
    told(call("data", "demo", "--size", "tiny", "--out", read_only / "demo"), 3, "Read-only file system")


def test_a_run_whose_folder_becomes_read_only_goes_on_when_it_is_not(here, data, disk, whole):
    (here / "stop in predict").touch()
    told(run(data, "--submissions", disk), 6)
    (here / "stop in predict").unlink()
    assert mount("-o", "remount,ro", disk)
    told(run(data, "--submissions", disk), 3, "Read-only file system")
    assert mount("-o", "remount,rw", disk)
    assert run(data, "--submissions", disk).code == 0
    assert content(run_folder(disk)) == whole[0]
    assert mount("-o", "remount,ro", disk)
    shown = run(data, "--submissions", disk)
    assert shown.code == 0 and "average accuracy" in shown.out, "what is finished is shown from where it is"


def test_a_read_only_cache_and_current_folder_cost_warnings_alone(here, data, read_only, whole, monkeypatch):
    monkeypatch.setenv("DFCBENCH_CACHE", str(read_only / "cache"))
    outcome = run(data, "--submissions", here / "s", store=f"sqlite:///{read_only / 'mlflow.db'}")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("warning:") == 3, "a packed copy of each split, and MLflow"
    assert content(run_folder(here / "s")) == whole[0]


# Without a disk of one's own: the refusal is put where all writes of the harness begin.


@pytest.mark.parametrize(
    "name",
    ["fitted.pkl", "sum.checkpoint", "metrics.jsonl", "scores.json", "confusion.npz", "patches.png", "timing.json"],
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_refused_file_is_named_at_whatever_stage(here, data, whole, name, number, monkeypatch):
    real_make, real_open = files.tempfile.mkstemp, Path.open

    def mkstemp(prefix: str = "", suffix: str = "", **rest: object) -> object:
        if prefix.startswith(f".tmp-{Path(name).stem}-") and suffix == Path(name).suffix:
            raise OSError(number, os.strerror(number))
        return real_make(prefix=prefix, suffix=suffix, **rest)  # type: ignore[call-overload]

    def opened(path: Path, mode: str = "r", *rest: object, **more: object) -> object:
        if path.name == name and "a" in mode:
            raise OSError(number, os.strerror(number), str(path))
        return real_open(path, mode, *rest, **more)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(files.tempfile, "mkstemp", mkstemp)
        patch.setattr(Path, "open", opened)
        told(run(data), 3, name, os.strerror(number), "Check space and permissions there")
    assert run(data).code == 0
    assert content(run_folder(here / "submissions")) == whole[0]


def test_a_method_whose_own_file_the_disk_refuses_has_not_crashed(here, data, whole, monkeypatch):
    source = LEARNING.replace(
        "        self.bias_ =", '        np.save(run.scratch / "own.npy", np.zeros(10))\n        self.bias_ ='
    )
    assert source != LEARNING
    (here / "learning.py").write_text(source)

    def full(*_: object, **__: object) -> None:
        raise OSError("80 requested and 0 written")

    with monkeypatch.context() as patch:
        patch.setattr("numpy.save", full)
        told(run(data), 3, "80 requested and 0 written", "Check space")
    assert run(data).code == 0
