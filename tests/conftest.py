"""Every test has a cache of its own session, and no setting of the person's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfcbench.archive import Archive
from tests import datamaker


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
