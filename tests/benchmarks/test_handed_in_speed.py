"""Scoring a zip of the test split's 5128 maps from start to end, against plain reading of the same files in one run.

Run with ``pytest tests/benchmarks/test_handed_in_speed.py -s``. It needs some 500 MB of disk and two minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dfcbench import rasters
from dfcbench.records import label_name
from dfcbench.scheme import SCORED_CODES
from dfcbench.zips import write_zip

PATCHES = 5128
SIDE = 256
DIFFERENT = 64
"""Different pairs of reference and map; the others repeat them."""

MOST_SECONDS = 60
MOST_MEGABYTES = 500
MOST_RATIO = 3
"""Of checking, scoring and keeping the maps with two threads to plain reading and counting with one."""

MEASURE = """
import json, sys, time
from pathlib import Path
{work}
before = time.perf_counter(), time.process_time()
work(*map(Path, sys.argv[1:]))
seconds, cpu = time.perf_counter() - before[0], time.process_time() - before[1]
status = Path("/proc/self/status").read_text()
print(json.dumps(dict(seconds=seconds, cpu=cpu, megabytes=int(status.split("VmHWM:")[1].split()[0]) / 1024)))
"""

OURS = """
def work(data, maps, submissions):
    from dfcbench.archive import Archive
    from dfcbench.contest import FusionContest
    from dfcbench.entering import enter
    outcome = enter(maps, FusionContest(Archive.open(data), 1, "test"), team="t", method="m", submissions=submissions,
                    workers=2)
    assert outcome.submission is not None and outcome.submission.scores.patches == 5128
"""

PLAIN = """
def work(data, maps, submissions):
    import warnings, zipfile
    import numpy as np
    import rasterio
    from rasterio.io import MemoryFile
    warnings.simplefilter("ignore")
    total = np.zeros((11, 11), np.int64)
    with zipfile.ZipFile(maps) as archive:
        for name in archive.namelist():
            with MemoryFile(archive.read(name)) as memory, memory.open() as source:
                guess = source.read(1)
            with rasterio.open(data / "DFC2020/ROIs0000_test/dfc_0" / name) as source:
                truth = source.read(1)
            np.add.at(total, (truth.ravel(), guess.ravel()), 1)
    rows = total[[1, 2, 4, 5, 6, 7, 9, 10]]
    assert rows.sum()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folder of a contest with 5128 test references, and a zip of as many maps."""
    root = tmp_path_factory.mktemp("full")
    folder = root / "data" / "DFC2020" / "ROIs0000_test" / "dfc_0"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    pairs = [_pair(generator) for _ in range(DIFFERENT)]
    names = [label_name(f"ROIs0000_test_0_p{number}") for number in range(PATCHES)]
    members: dict[str, Callable[[], bytes]] = {}
    for number, name in enumerate(names):
        truth, guess = pairs[number % DIFFERENT]
        (folder / name).write_bytes(truth)
        members[name] = partial(bytes, guess)
    write_zip(root / "maps.zip", members)
    return root / "data", root / "maps.zip"


def _pair(generator: np.random.Generator) -> tuple[bytes, bytes]:
    """A reference of blobs of 4 to 32 pixels, and a map that is right for two pixels of three."""
    codes = np.array(SCORED_CODES, np.uint8)
    side = 2 ** int(generator.integers(2, 6))
    coarse = generator.choice(codes, (SIDE // side, SIDE // side))
    truth = np.kron(coarse, np.ones((side, side), np.uint8))
    wrong = np.kron(generator.random((SIDE // 4, SIDE // 4)) < 1 / 3, np.ones((4, 4), bool))
    guess = np.where(wrong, generator.choice(codes), truth)
    return rasters.encode(truth), rasters.encode(guess, compress="deflate")


def measured(work: str, *places: Path) -> dict[str, float]:
    command = [sys.executable, "-c", MEASURE.format(work=work), *map(str, places)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def test_5128_maps_are_scored_in_a_minute_and_500_megabytes(made: tuple[Path, Path], tmp_path: Path) -> None:
    ours = measured(OURS, *made, tmp_path / "submissions")
    plain = measured(PLAIN, *made, tmp_path)
    ratio = ours["seconds"] / plain["seconds"]
    print(f"\n{PATCHES} maps: ours {ours}, plain {plain}, ratio {ratio:.2f}")
    assert len(list((tmp_path / "submissions").glob("track1/m/*/predictions/*.tif"))) == PATCHES
    assert ours["megabytes"] < MOST_MEGABYTES
    assert ours["seconds"] < MOST_SECONDS
    assert ratio < MOST_RATIO


def test_a_zip_bomb_costs_no_memory(tmp_path: Path) -> None:
    """A few kilobytes that unpack to far more than any map, behind headers that say otherwise."""
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(label_name(f"ROIs0000_test_0_p{number}"), bytes(7 * 2**20))
    small = f"""
def work(maps):
    from dfcbench.handed_in import inspect
    import numpy as np
    ids = [f"ROIs0000_test_0_p{{n}}" for n in range({PATCHES})]
    assert inspect(maps, ids, lambda patch_id: np.zeros((256, 256))).faults
"""
    found = measured(small, bomb)
    print(f"\nbomb: {found}, {bomb.stat().st_size / 1024:.0f} kB")
    assert found["megabytes"] < MOST_MEGABYTES
