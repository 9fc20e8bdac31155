"""Relief and water courses of one block: where the sea, the rivers and the lakes are, and how high everything else is.

One pixel is 10 m; heights are in m.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dfcbench.demo.noise import Field, Shape, distance, fractal, quantile, shrink
from dfcbench.demo.regions import Setting

PIXEL = 10.0
"""Ground sampling of the contest's rasters in m."""

_HILLSLOPE = 4.0
"""Standard deviation in pixels of the blur that rounds hills off: below the spacing of valleys, some 200 m, relief has
far less power than a fractal, as soil creep outdoes running water there (Perron, Kirchner & Dietrich 2008, J. Geophys.
Res. 113, F04003)."""

_BROOK = 0.8
"""Catchment in km2 from which a brook is seen."""
_COARSE = 6
"""Water courses are traced on a grid of 60 m."""


@dataclass(frozen=True)
class Terrain:
    """Relief of one block; every array has the block's shape."""

    height: Field
    """m above the sea, or above the lowest point inland."""
    slope_y: Field
    slope_x: Field
    """Rise per m towards the south and towards the east."""
    above_water: Field
    """m above the nearest water course or shore (HAND: height above nearest drainage)."""
    shore_distance: Field
    """m to the sea or a river, 0 in it."""
    sea: NDArray[np.bool_]
    river: NDArray[np.bool_]
    stream: NDArray[np.bool_]
    """Water courses narrower than a pixel: trees, wet ground and small pools along them."""
    depth: Field
    """m into the water from its shore, 0 on land."""

    @cached_property
    def steepness(self) -> Field:
        """Rise per m, downhill."""
        return np.hypot(self.slope_y, self.slope_x)

    @cached_property
    def slope_of_place(self) -> Field:
        """Rise per m of a place of some hectares, which decides about its use."""
        slope: Field = ndimage.gaussian_filter(self.steepness, 8.0, truncate=2.5)
        return slope


def build(rng: np.random.Generator, shape: Shape, setting: Setting) -> Terrain:
    """Relief from fractal noise, a regional tilt and carved valleys; drainage by flooding from the outlets."""
    rows, columns = shape
    y, x = np.meshgrid(
        np.arange(rows, dtype=np.float32) - np.float32(rows / 2),
        np.arange(columns, dtype=np.float32) - np.float32(columns / 2),
        indexing="ij",
    )
    bearing = rng.uniform(0, 2 * np.pi)
    inland = (np.float32(np.cos(bearing)) * x + np.float32(np.sin(bearing)) * y) / np.float32(max(rows, columns) / 2)
    height = fractal(rng, shape, 3.6, longest=450, shortest=5)
    if setting.rugged:
        ridges = 1 - np.abs(fractal(rng, shape, 3.2, longest=300, shortest=6)) * np.float32(1.25)
        height += np.float32(setting.rugged) * ridges
    height = ndimage.gaussian_filter(height, _HILLSLOPE, truncate=3.0)
    height *= np.float32(setting.relief)
    height += np.float32(setting.tilt * setting.relief) * inland
    if setting.lagoon:
        height += _barrier(inland, setting)

    sea_share = setting.sea
    level = quantile(height, sea_share) if sea_share else quantile(height, 0.0) - setting.relief
    height -= np.float32(level)
    sea = height < 0 if sea_share else np.zeros(shape, bool)

    trunk_line = np.zeros(shape, bool)
    if setting.river:
        trunk_line = _meanders(rng, shape, bearing, setting.river)
        apart = distance(trunk_line, 2) * np.float32(PIXEL)
        valley = np.exp(-np.square(apart / np.float32(setting.floodplain)))
        floor = np.float32(0.3 * setting.relief if not sea_share else 0.5)
        height = np.where(sea, height, height * (1 - valley) + floor * valley)
        width = setting.river * (1 + 0.3 * fractal(rng, shape, 2.5, longest=120, shortest=20))
        trunk = apart < width / 2
        trunk &= ~((apart < width / 9) & (fractal(rng, shape, 2.5, longest=60, shortest=8) > 1.1))  # islands and bars
    else:
        trunk = trunk_line
    brook = _brooks(rng, height, sea | trunk, setting)
    river = trunk & ~sea
    height = height.astype(np.float32)

    courses = sea | river | brook
    if not courses.any():
        courses = height <= quantile(height, 0.02)
    nearest = ndimage.distance_transform_edt(~courses, return_distances=False, return_indices=True)
    height = np.maximum(height, 0) if sea_share else height
    above = ndimage.gaussian_filter(np.maximum(height - height[nearest[0], nearest[1]], 0), 2.0)
    open_water = sea | river
    shore = distance(open_water, 2)
    depth = distance(~open_water, 4) * np.float32(PIXEL)
    southwards, eastwards = (np.asarray(g, np.float32) for g in np.gradient(height, np.float32(PIXEL)))
    return Terrain(
        height=height,
        slope_y=southwards,
        slope_x=eastwards,
        above_water=above.astype(np.float32),
        shore_distance=shore * np.float32(PIXEL),
        sea=sea,
        river=river,
        stream=brook,
        depth=depth,
    )


def _barrier(inland: Field, setting: Setting) -> Field:
    """A spit along the coast with a lagoon behind it, across the tilt."""
    dune = np.exp(-np.square((inland + np.float32(0.25)) / np.float32(0.08))) * np.float32(3.0)
    trough = np.exp(-np.square((inland - np.float32(0.20)) / np.float32(0.25))) * np.float32(2.2)
    rise: Field = (dune - trough) * np.float32(setting.relief)
    return rise


def _meanders(rng: np.random.Generator, shape: Shape, bearing: float, width: float) -> NDArray[np.bool_]:
    """Centre line of a river through the block: a sine-generated curve (Langbein & Leopold 1966), across the tilt.

    Meander wavelength is about eleven channel widths (Leopold & Wolman 1960), at least 600 m here.
    """
    wavelength = max(11.0 * width, 600.0) / PIXEL
    step = 0.5
    count = int(6 * max(shape) / step)
    s = np.arange(count) * step
    wander = np.interp(s, np.arange(0, s[-1] + wavelength, wavelength), rng.normal(0, 2.4, int(s[-1] / wavelength) + 2))
    swing = np.interp(s, np.linspace(0, s[-1], 24), rng.uniform(0.5, 1.5, 24))
    angle = bearing + np.pi / 2 + swing * np.sin(2 * np.pi * s / wavelength + np.cumsum(wander) * step / wavelength)
    x, y = np.cumsum(np.cos(angle)) * step, np.cumsum(np.sin(angle)) * step
    middle = count // 2
    row = (y - y[middle] + shape[0] * rng.uniform(0.35, 0.65)).round().astype(int)
    column = (x - x[middle] + shape[1] * rng.uniform(0.35, 0.65)).round().astype(int)
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    line = np.zeros(shape, bool)
    line[row[inside], column[inside]] = True
    return line


def _brooks(rng: np.random.Generator, height: Field, outlet: NDArray[np.bool_], setting: Setting) -> NDArray[np.bool_]:
    """Water courses of the block's own catchments: such of a few km2 are too small for a river that fills pixels."""
    shape = (height.shape[0], height.shape[1])
    coarse = shrink(height + fractal(rng, shape, 2.0, 60, 12) * np.float32(0.06 * setting.relief), _COARSE)
    mouths = shrink(outlet.astype(np.float32), _COARSE) > 0.5
    parent, area = drain(coarse, mouths)
    area_km2 = area * (_COARSE * PIXEL / 1000.0) ** 2
    wet = (area_km2 > _BROOK).ravel() & ~mouths.ravel()
    rows, columns = coarse.shape
    position = np.stack(np.divmod(np.arange(rows * columns), columns)).astype(np.float64)
    heaviest = _main_child(parent, area.ravel(), wet)
    for _ in range(4):  # rounds the eight directions of the grid off
        upstream = np.where(heaviest >= 0, heaviest, np.arange(len(heaviest)))
        position = 0.5 * position + 0.25 * position[:, parent] + 0.25 * position[:, upstream]
    start = np.flatnonzero(wet)
    t = np.linspace(0, 1, 3 * _COARSE, endpoint=False)
    row = (position[0, start, None] * (1 - t) + position[0, parent[start], None] * t + 0.5) * _COARSE
    column = (position[1, start, None] * (1 - t) + position[1, parent[start], None] * t + 0.5) * _COARSE
    bend_y = fractal(rng, shape, 2.5, longest=50, shortest=10) * 2
    bend_x = fractal(rng, shape, 2.5, longest=50, shortest=10) * 2
    r0 = np.clip(row.astype(int), 0, shape[0] - 1)
    c0 = np.clip(column.astype(int), 0, shape[1] - 1)
    r = np.clip((row + bend_y[r0, c0]).astype(int), 0, shape[0] - 1)
    c = np.clip((column + bend_x[r0, c0]).astype(int), 0, shape[1] - 1)
    brook = np.zeros(shape, bool)
    brook[r, c] = True
    wide: NDArray[np.bool_] = ndimage.binary_dilation(brook)
    return wide


def _main_child(parent: NDArray[np.intp], area: NDArray[np.float64], wet: NDArray[np.bool_]) -> NDArray[np.intp]:
    """For every cell its upstream neighbour with the largest catchment, -1 where none is wet."""
    cells = np.flatnonzero(wet)
    cells = cells[np.argsort(area[cells], kind="stable")]
    child = np.full(len(parent), -1, np.intp)
    child[parent[cells]] = cells
    return child


def drain(height: Field, outlets: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Flow directions by priority flood (Barnes, Lehman & Mulla 2014): (cell that each cell drains to, cells upstream).

    Water leaves through ``outlets`` and through the border; an outlet drains to itself. Depressions overflow at
    their lowest saddle. The first result is flat, (h * w,), the second (h, w) and counts the cell itself.
    """
    rows, columns = height.shape
    border = outlets.copy()
    border[[0, -1], :] = True
    border[:, [0, -1]] = True
    closed = border.ravel().tolist()
    level = height.ravel().tolist()
    parent = list(range(rows * columns))
    heap = [(level[i], i) for i in np.flatnonzero(border.ravel()).tolist()]
    heapq.heapify(heap)
    order: list[int] = []
    push, pop = heapq.heappush, heapq.heappop
    around = (-columns - 1, -columns, -columns + 1, -1, 1, columns - 1, columns, columns + 1)
    last = rows * columns
    while heap:
        water, cell = pop(heap)
        order.append(cell)
        for offset in around:
            other = cell + offset
            if 0 <= other < last and not closed[other]:
                closed[other] = True
                parent[other] = cell
                push(heap, (level[other] if level[other] > water else water, other))
    count = [1.0] * last
    for cell in reversed(order):
        target = parent[cell]
        if target != cell:
            count[target] += count[cell]
    return np.array(parent, np.intp), np.array(count, np.float64).reshape(rows, columns)
