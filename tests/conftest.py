"""Every run of the tests has a cache of its own, and no setting of the person's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dfcbench.archive import Archive
from tests import datamaker


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DFCBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        for name in ("DFCBENCH_DATA", "DFCBENCH_METHODS", "DFCBENCH_SUBMISSIONS", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A contest of 5 validation and 7 test patches of 16 x 16 pixels, and a little SEN12MS; not to be changed."""
    root = tmp_path_factory.mktemp("data") / "small"
    datamaker.write_contest(root, validation=5, test=7)
    datamaker.write_sen12ms(root)
    return root


@pytest.fixture
def small(small_root: Path) -> Archive:
    return Archive.open(small_root)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables made, to copy: making them takes seconds."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny demo contest; not to be changed."""
    from dfcbench.demo import generate

    return generate(tmp_path_factory.mktemp("demo") / "tiny", "tiny")


@pytest.fixture
def one_torch_thread():
    """Small networks learn fastest so, and always the same."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Shell:
    """Runs the ``dfcbench`` command in a folder of its own, with an MLflow store of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """The command, which hears Ctrl-C even where the tests run in a shell's background, which ignores it."""
        return subprocess.Popen(
            [sys.executable, "-m", "dfcbench", *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hear_interrupts if os.name == "posix" else None,
        )

    def __call__(self, *arguments: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == expect, f"exit code {process.returncode}, expected {expect}\n{out}\n{err}"
        if expect and "--debug" not in arguments:
            assert "Traceback" not in err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def dfcbench(tmp_path: Path, empty_store: Path) -> Shell:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Shell(tmp_path)
