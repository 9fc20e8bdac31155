"""Man-made geometry: fields in village lands, street blocks in districts, roads. One pixel is 10 m."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dfcbench.demo.noise import Field, Shape, fractal, uniform_hash


@dataclass(frozen=True)
class Parcels:
    """A division of the block into oblongs, each domain with its own direction; every array has the block's shape."""

    key: NDArray[np.int32]
    """Number of the parcel; neighbours differ."""
    edge: Field
    """Pixels to the nearest side of the parcel."""
    furrow: NDArray[np.int32]
    """Number of the pixel-wide strip along the parcel's long side: direction of ploughing, rows of houses."""
    centre_row: NDArray[np.int32]
    centre_column: NDArray[np.int32]
    """A pixel near the parcel's middle."""


def divide(
    rng: np.random.Generator, shape: Shape, spacing: float, width: float, length: float, *, turn: float, warp: float
) -> Parcels:
    """Cut the block into parcels of about ``width`` x ``length`` px inside domains about ``spacing`` px apart.

    Both sides of ``shape`` must be multiples of 3.
    ``turn`` is the spread of the domains' directions in radians around a common one; ``warp`` bends all lines, in px.
    """
    rows, columns = shape
    y, x = np.meshgrid(np.arange(rows, dtype=np.float32), np.arange(columns, dtype=np.float32), indexing="ij")
    if warp:
        y += fractal(rng, shape, 3.0, longest=100, shortest=24) * np.float32(warp)
        x += fractal(rng, shape, 3.0, longest=100, shortest=24) * np.float32(warp)
    count = max(3, round(rows * columns / spacing**2))
    seeds_y = rng.uniform(0, rows, count).astype(np.float32)
    seeds_x = rng.uniform(0, columns, count).astype(np.float32)
    thin_y, thin_x = y[::3, ::3], x[::3, ::3]
    domain = np.zeros(thin_y.shape, np.int32)
    nearest = np.full(thin_y.shape, np.inf, np.float32)
    for i in range(count):
        apart = np.square(thin_y - seeds_y[i])
        apart += np.square(thin_x - seeds_x[i])
        closer = apart < nearest
        np.copyto(nearest, apart, where=closer)
        domain[closer] = i
    domain = domain.repeat(3, axis=0).repeat(3, axis=1)
    angle = rng.uniform(0, np.pi) + rng.normal(0, turn, count)
    widths = width * np.exp(rng.normal(0, 0.25, count))
    lengths = length * np.exp(rng.normal(0, 0.25, count))

    def per_domain(values: NDArray[np.floating]) -> Field:
        return values.astype(np.float32)[domain]

    cosine, sine = per_domain(np.cos(angle)), per_domain(np.sin(angle))
    across, along = x * cosine + y * sine, y * cosine - x * sine
    w, n = per_domain(widths), per_domain(lengths)
    seed = int(rng.integers(2**31))
    rank = np.floor(along / n).astype(np.int32)
    offset = uniform_hash(seed, domain, rank)
    place = across / w + offset
    lot = np.floor(place).astype(np.int32)
    pair = lot >> 1
    joined = uniform_hash(seed + 7, domain, rank, pair) < 0.35  # some lots are twice as wide
    first = np.where(joined, pair << 1, lot)
    span = np.where(joined, np.float32(2), np.float32(1))
    within = place - first
    side = np.minimum(within, span - within) * w
    end = along / n - rank
    edge = np.minimum(side, np.minimum(end, 1 - end) * n)
    key = (uniform_hash(seed + 11, domain, rank, first) * np.float32(2**24)).astype(np.int32)
    middle_across = (first + span / 2 - offset) * w
    middle_along = (rank + np.float32(0.5)) * n
    centre_x = middle_across * cosine - middle_along * sine
    centre_y = middle_across * sine + middle_along * cosine
    return Parcels(
        key=key,
        edge=edge,
        furrow=np.floor(across).astype(np.int32),
        centre_row=np.clip(centre_y, 0, rows - 1).astype(np.int32),
        centre_column=np.clip(centre_x, 0, columns - 1).astype(np.int32),
    )


def roads(
    rng: np.random.Generator, shape: Shape, towns: NDArray[np.floating], exits: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Roads from each town to the next and to ``exits`` points on the border: (two-lane roads, one motorway).

    ``towns`` is (n, 2): row, column, the largest first.
    """
    ways: list[tuple[NDArray[np.floating], NDArray[np.floating]]] = []
    for i in range(1, len(towns)):
        apart = np.hypot(*(towns[:i] - towns[i]).T)
        ways.append((towns[i], towns[int(np.argmin(apart))]))
    size = np.array(shape, float)
    for i in range(exits):
        far = rng.uniform(0, 1, 2) * size
        far[rng.integers(2)] = 0.0
        if rng.random() < 0.5:
            far = size - far
        ways.append((towns[i % len(towns)], far))
    bend = [fractal(rng, shape, 3.0, longest=200, shortest=24) * 7 for _ in range(2)]
    minor = np.zeros(shape, bool)
    for start, stop in ways:
        minor |= _line(shape, start, stop, bend)
    major = np.zeros(shape, bool)
    if exits > 2:
        side = rng.uniform(0.15, 0.85, 2)
        start, stop = np.array([0.0, side[0]]), np.array([1.0, side[1]])
        if rng.random() < 0.5:
            start, stop = start[::-1], stop[::-1]
        major = _line(shape, start * size, stop * size, bend)
        major = ndimage.binary_dilation(major)
    return minor, major


def _line(
    shape: Shape, start: NDArray[np.floating], stop: NDArray[np.floating], bend: list[Field]
) -> NDArray[np.bool_]:
    count = int(np.hypot(*(stop - start)) * 3) + 2
    points = start[:, None] + (stop - start)[:, None] * np.linspace(0, 1, count)
    r, c = (np.clip(p, 0, n - 1).astype(int) for p, n in zip(points, shape, strict=True))
    line = np.zeros(shape, bool)
    row = np.clip(points[0] + bend[0][r, c], 0, shape[0] - 1).astype(int)
    column = np.clip(points[1] + bend[1][r, c], 0, shape[1] - 1).astype(int)
    line[row, column] = True
    return line
