"""Reading patches: the packed copy against rasterio, on the same files in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import rasterio
from pytest_benchmark.fixture import BenchmarkFixture

from dfcbench.archive import Archive
from dfcbench.patches import PatchSet
from tests import datamaker

REQUIRED_RATIO = 4.0
PATCHES = 40


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    variant = datamaker.Variant({"s1": "float32", "s2": "uint16", "lc": "uint16", "dfc": "uint8"}, size=256)
    root = tmp_path_factory.mktemp("speed")
    datamaker.write_split(root, "DFC2020/ROIs0000_test", "0", "0", range(PATCHES), variant)
    return Archive.open(root).patches("test")


@pytest.fixture(scope="module")
def copy(plain: PatchSet, tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    return plain.packed(tmp_path_factory.mktemp("pack"))


def read_s2(patches: PatchSet) -> int:
    return sum(patch.s2.shape[0] for patch in patches)


def read_rasterio(paths: list[Path]) -> int:
    """What one would write without dfcbench."""
    bands = 0
    for path in paths:
        with rasterio.open(path) as source:
            bands += source.read().shape[0]
    return bands


def seconds(function: Callable[[], object], rounds: int = 5) -> float:
    """The best of some rounds: the least disturbed by what else the machine does."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def test_packed_copy_reads_at_least_four_times_faster_than_rasterio(plain: PatchSet, copy: PatchSet) -> None:
    paths = [record.path("s2") for record in plain._records]
    usual = seconds(lambda: read_rasterio(paths))
    fast = seconds(lambda: read_s2(copy))
    print(f"rasterio {PATCHES / usual:.0f} patches/s, packed {PATCHES / fast:.0f} patches/s, ratio {usual / fast:.1f}")
    assert usual / fast >= REQUIRED_RATIO


@pytest.mark.benchmark(group="read 13 bands of 40 patches")
def test_read_tifs(benchmark: BenchmarkFixture, plain: PatchSet) -> None:
    benchmark(read_s2, plain)


@pytest.mark.benchmark(group="read 13 bands of 40 patches")
def test_read_packed(benchmark: BenchmarkFixture, copy: PatchSet) -> None:
    benchmark(read_s2, copy)
