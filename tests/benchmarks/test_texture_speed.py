"""Speed of the sliding GLCM on a 256 x 256 plane, beside a loop over scikit-image in the same run.

``pytest tests/benchmarks/test_texture_speed.py --benchmark-enable -s``. Times are processor time of one thread, the
least of several rounds: others may use the machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.ndimage import gaussian_filter
from skimage.feature import graycomatrix, graycoprops

from dfcbench_methods.features.texture import LEVELS, WINDOW, quantise, texture

SIDE = 256
LIMIT_MS = 4.0
LIMIT_RATIO = 1000.0
LIMIT_SPREAD = 1.5
"""Slowest over fastest number of levels."""
DEPTHS = (2, 4, 8, 16, 32, 64)
USUAL_WINDOWS = 300
"""scikit-image's cost is the same for every window, so that of 65536 follows."""
OFFSETS = ((0, 1), (1, 1), (1, 0), (1, -1))
ANGLES = [0, math.pi / 4, math.pi / 2, 3 * math.pi / 4]
SKIMAGE = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "ASM")
KINDS = ("noise", "smooth", "constant")


def plane_of(kind: str) -> NDArray[np.float32]:
    """Noise strews pairs over the whole histogram; in smooth and constant planes one count waits for the last."""
    if kind == "constant":
        return np.full((SIDE, SIDE), 0.5, np.float32)
    noise = np.random.default_rng(0).standard_normal((SIDE, SIDE))
    field = gaussian_filter(noise, 3) if kind == "smooth" else noise
    return (0.5 + 0.2 * field / field.std()).astype(np.float32)


def milliseconds(function: Callable[[], object], rounds: int = 15) -> float:
    """Least processor time of a call."""
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return 1000 * min(times)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    texture(np.zeros((WINDOW, WINDOW)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_plane_and_offset_take_at_most_four_milliseconds(kind: str) -> None:
    plane = plane_of(kind)
    one, four = milliseconds(lambda: texture(plane)), milliseconds(lambda: texture(plane, offsets=OFFSETS))
    print(f"\n{kind}: 1 offset {one:.2f} ms, 4 offsets {four:.2f} ms")
    assert one <= LIMIT_MS
    assert four <= 4 * LIMIT_MS


@pytest.mark.parametrize("count", [1, 4])
def test_a_thousand_times_a_loop_over_scikit_image(count: int) -> None:
    plane = plane_of("smooth")
    padded = np.pad(quantise(plane), WINDOW // 2, mode="reflect")
    pixels = np.random.default_rng(1).integers(SIDE, size=(USUAL_WINDOWS, 2))

    def usual() -> NDArray[np.float64]:
        rows = []
        for y, x in pixels:
            part = padded[y : y + WINDOW, x : x + WINDOW]
            matrix = graycomatrix(part, [1], ANGLES[:count], LEVELS, symmetric=True, normed=True)
            rows.append([graycoprops(matrix, name).mean() for name in SKIMAGE])
        return np.array(rows)

    found = texture(plane, offsets=OFFSETS[:count])
    np.testing.assert_allclose(found[:, pixels[:, 0], pixels[:, 1]].T, usual(), rtol=1e-5, atol=1e-5)
    plain = milliseconds(usual, rounds=3) * SIDE * SIDE / USUAL_WINDOWS
    ours = milliseconds(lambda: texture(plane, offsets=OFFSETS[:count]))
    print(
        f"\n{count} offsets: scikit-image {plain / 1000:.1f} s (extrapolated), {ours:.2f} ms, ratio {plain / ours:.0f}"
    )
    assert plain / ours >= LIMIT_RATIO


@pytest.mark.parametrize("kind", KINDS)
def test_cost_does_not_depend_on_the_number_of_levels(kind: str) -> None:
    plane = plane_of(kind)
    times = {levels: milliseconds(lambda levels=levels: texture(plane, levels=levels)) for levels in DEPTHS}
    print(f"\n{kind}: " + ", ".join(f"{levels} levels {ms:.2f} ms" for levels, ms in times.items()))
    assert max(times.values()) <= LIMIT_SPREAD * min(times.values())


@pytest.mark.benchmark(group="texture of a 256 x 256 plane, one offset")
@pytest.mark.parametrize("kind", KINDS)
def test_texture(benchmark: BenchmarkFixture, kind: str) -> None:
    benchmark(texture, plane_of(kind))
