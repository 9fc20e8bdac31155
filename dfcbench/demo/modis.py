"""Low-resolution labels in the manner of MODIS MCD12Q1: one IGBP class per 500 m cell, often wrong, wrong in patches.

A cell's class wins by affinity: what its covers resemble in a year of 500 m observations, blurred with its neighbours,
plus a region's habits and errors that extend over several cells. Wetlands, shrubs, bare ground and small towns are
mostly missed, mixed cells become savannas or mosaics, bare ground passes for open shrubland and dry scrub for barren:
the confusions that Robinson et al. (2021) report of the contest's labels. Affinities are set by hand to that end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dfcbench.demo.covers import COVER_INDEX, COVERS
from dfcbench.demo.landscape import Landscape
from dfcbench.demo.noise import Field
from dfcbench.demo.regions import Region
from dfcbench.demo.terrain import PIXEL

CELL = 500.0
"""Side of a cell in m."""

_FOREST = 0  # stands for the region's own closed forest class

_AFFINITY: dict[str, dict[int, float]] = {
    "broadleaf forest": {_FOREST: 0.92, 8: 0.45, 9: 0.38, 14: 0.38},
    "needleleaf forest": {_FOREST: 0.92, 8: 0.45, 9: 0.38, 14: 0.38},
    "open woodland": {8: 0.8, 9: 0.6, _FOREST: 0.72, 10: 0.4},
    "green scrub": {8: 0.64, 9: 0.62, 10: 0.58, 16: 0.58, 7: 0.4, 6: 0.3, 12: 0.38},
    "dry scrub": {16: 1.05, 10: 0.62, 7: 0.48, 9: 0.45, 12: 0.42},
    "meadow": {10: 0.88, 12: 0.66, 14: 0.5, 9: 0.5},
    "dry grassland": {10: 0.86, 12: 0.6, 7: 0.3, 9: 0.5},
    "floating plants": {17: 0.75, 11: 0.7, 9: 0.3},
    "mudflat": {17: 0.72, 11: 0.4, 9: 0.45, 10: 0.35},
    "reed": {9: 0.8, 11: 0.72, 10: 0.62, 12: 0.42, 17: 0.2},
    "wet meadow": {9: 0.76, 10: 0.72, 11: 0.6, 12: 0.48},
    "swamp forest": {8: 0.85, 11: 0.5, 9: 0.55, _FOREST: 0.45},
    "green crop": {12: 0.96, 14: 0.6, 10: 0.42},
    "ripe crop": {12: 0.95, 10: 0.55, 14: 0.4},
    "fallow": {12: 0.92, 10: 0.46, 14: 0.4, 16: 0.1},
    "paddy": {12: 1.0, 14: 0.6, 10: 0.3, 9: 0.25},
    "orchard": {14: 0.8, 12: 0.7, 9: 0.5, 8: 0.4},
    "town centre": {13: 1.0, 16: 0.1, 12: 0.2},
    "housing": {13: 0.7, 14: 0.45, 9: 0.3, 12: 0.4},
    "industry": {13: 0.98, 16: 0.15, 12: 0.2},
    "park": {13: 0.4, 9: 0.45, 14: 0.4},
    "street": {13: 0.7, 12: 0.3},
    "beach": {7: 1.3, 17: 0.5, 10: 0.3, 16: 0.5},
    "rock": {7: 1.4, 10: 0.5, 16: 0.5},
    "bare soil": {7: 1.5, 10: 0.4, 12: 0.3, 16: 0.5},
    "salt pan": {7: 1.3, 17: 0.5, 16: 0.6},
    "deep water": {17: 1.0},
    "silty water": {17: 1.0},
    "shallow water": {17: 1.0},
    "algal water": {17: 0.95, 11: 0.2},
}

_WANDER = 0.14
"""Standard deviation of the errors that extend over neighbouring cells."""
_HABIT = 0.06
"""Standard deviation of a region's own bias towards a class, and of single cells' errors."""

LCCS: NDArray[np.uint16] = np.array(
    # LCCS1 land cover, LCCS2 land use, LCCS3 surface hydrology of IGBP 0..17
    [
        (255, 255, 255), (11, 10, 10), (12, 10, 10), (13, 10, 10), (14, 10, 10), (15, 10, 10),
        (41, 40, 40), (43, 40, 40), (21, 20, 20), (22, 20, 20), (31, 30, 30), (31, 30, 50),
        (31, 36, 30), (1, 9, 1), (31, 35, 30), (2, 2, 2), (1, 1, 1), (3, 3, 3),
    ],
    np.uint16,
)  # fmt: skip
"""Codes of the three LCCS layers that usually go with each IGBP class (legends: MCD12Q1 user guide)."""


def habits(rng: np.random.Generator) -> Field:
    """A region's own leaning towards each IGBP class, (18,)."""
    return (_HABIT * rng.standard_normal(18)).astype(np.float32)


def cells(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[NDArray[np.int32], tuple[int, int]]:
    """Cell that holds each pixel, numbered row by row, (H, W), and the size of the shifted, slightly skewed grid."""
    per_cell = CELL / PIXEL
    skew = rng.uniform(-0.2, 0.2)
    shift = rng.uniform(0, per_cell, 2)
    y, x = np.ogrid[: shape[0], : shape[1]]
    row = np.floor((y + shift[0]) / per_cell).astype(np.int32)
    column = np.floor((x + shift[1] + skew * y) / per_cell).astype(np.int32)
    column = column - column.min()
    grid = (int(row.max()) + 1, int(column.max()) + 1)
    return (row * grid[1] + column).astype(np.int32), grid


def labels(
    rng: np.random.Generator, land: Landscape, region: Region, habit: Field, unknown: float = 0.0
) -> NDArray[np.uint16]:
    """The four lc bands, (4, H, W): IGBP and the three LCCS layers; a share ``unknown`` of the cells is 255."""
    cell, grid = cells(rng, (land.cover.shape[0], land.cover.shape[1]))
    kinds = len(COVERS)
    tally = np.bincount((cell * kinds + land.cover).ravel(), minlength=grid[0] * grid[1] * kinds).astype(np.float32)
    share = tally.reshape(*grid, kinds)
    smooth = ndimage.gaussian_filter(share, (0.55, 0.55, 0), mode="nearest")
    share = smooth / np.maximum(smooth.sum(axis=2, keepdims=True), 1e-6)
    score = np.einsum("ijk,kc->ijc", share, _affinity(region))
    errors = ndimage.gaussian_filter(rng.standard_normal((*grid, 18)), (1.3, 1.3, 0), mode="nearest")
    score += _WANDER * errors / errors.std() + habit
    score += 0.5 * _HABIT * rng.standard_normal(score.shape)
    score[..., [0, 3, 15]] = -np.inf
    igbp = score.argmax(axis=2).astype(np.uint16)
    lost = rng.random(grid) < unknown
    stack = np.concatenate([igbp[..., None], LCCS[igbp]], axis=2)
    stack[lost] = 255
    return np.ascontiguousarray(np.moveaxis(stack.reshape(-1, 4)[cell], 2, 0))


def _affinity(region: Region) -> Field:
    table = np.zeros((len(COVERS), 18), np.float32)
    for name, row in _AFFINITY.items():
        for igbp, value in row.items():
            table[COVER_INDEX[name], region.forest_igbp if igbp == _FOREST else igbp] = value
    return table
