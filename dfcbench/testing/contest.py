"""The easy contest of the checks: a handful of patches in the contest's own layout, each class of one colour.

It has nothing of a landscape: squares of the eight scored classes, low-resolution labels of which most are right. Any
method that learns at all from images or labels does better here than chance. Variants differ in what a check is about.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench import rasters
from dfcbench.scheme import CLASSES, SCORED_CODES, scored_index

SIDE = 64
"""Side of a patch in pixels: the side of the crops that the adapters' quick preset trains on."""
CELL = 16
"""Side of a square of one class, and of a cell of the low-resolution labels; a patch of 64 shows every class twice."""

TEST, VALIDATION = 6, 4
SCENES: dict[str, tuple[str, ...]] = {
    "ROIs1158_spring": ("1", "63"),
    "ROIs1868_summer": ("2",),
    "ROIs2017_winter": ("3",),
}
"""SEN12MS scenes by season, of two patches each; spring 63 is of the official hold-out."""

WRONG = 0.2
"""Share of low-resolution cells with another class: fewer than the real ones have, so that the contest is easy."""
UNKNOWN = 0.02
"""Share of cells without a label."""
NOISE_S2, NOISE_S1 = 150.0, 1.0
"""Deviation of a pixel from its class's colour, in reflectance x 10000 and dB; colours lie several times further apart."""

_PLACE = rasters.Georeference("EPSG:32632", (10.0, 0.0, 500000.0, 0.0, -10.0, 5300000.0))
"""Of every patch. The contest's own lie nowhere, of which readers warn; no check is about where a patch lies."""

# Reflectance x 10000 at four wavelengths (nm) between which the bands are interpolated, and backscatter (VV, VH) in dB.
# Made up, in the order that land has them: vegetation bright in the near infrared, water dark there, soil in the SWIR.
_WAVELENGTHS = (440.0, 665.0, 840.0, 2200.0)
_COLOURS: dict[str, tuple[float, float, float, float, float, float]] = {
    "Forest": (300, 300, 2600, 700, -9, -14),
    "Shrubland": (900, 1400, 2300, 2600, -14, -20),
    "Grassland": (600, 900, 3900, 1700, -13, -18),
    "Wetlands": (700, 700, 1500, 400, -8, -19),
    "Croplands": (500, 500, 4800, 900, -11, -16),
    "Urban/Built-up": (2000, 2300, 2500, 2300, -4, -10),
    "Barren": (1600, 3000, 3600, 4600, -16, -23),
    "Water": (900, 300, 150, 60, -21, -28),
}


@dataclass(frozen=True)
class Variant:
    """What is different from the easy contest.

    odd: scored patches are neither square nor a multiple of 32. blank: in two scored patches pixels are missing: NaN in
    Sentinel-1, 0 in Sentinel-2, no low-resolution label. relabelled: splits whose high-resolution labels are others.
    """

    name: str
    odd: bool = False
    blank: bool = False
    relabelled: tuple[str, ...] = ()


EASY = Variant("easy")
ODD = Variant("odd-size", odd=True)
BLANK = Variant("no-data", blank=True)


def write(root: Path, variant: Variant = EASY, side: int = SIDE) -> Path:
    """Write a variant of the contest under ``root``, which is returned; equal variants and sides give equal bytes."""
    square = (side, side)
    for split, count in (("test", TEST), ("validation", VALIDATION)):
        head, folder = f"ROIs0000_{split}", "0" if split == "test" else "validation"
        for number in range(count):
            odd = variant.odd and split == "test"
            patch = _patch((side + 3, max(side - 11, 17)) if odd else square, f"{head}_0_p{number}")
            if variant.blank and split == "test" and number < 2:
                _take_out(patch, everywhere=number == 1)
            if split in variant.relabelled:
                others = (scored_index(patch["dfc"]) + 3) % len(SCORED_CODES)
                patch["dfc"] = np.array(SCORED_CODES, np.uint8)[others]
            for token, pixels in patch.items():
                path = root / "DFC2020" / head / f"{token}_{folder}" / f"{head}_{token}_0_p{number}.tif"
                rasters.write(path, pixels, _PLACE, durable=False)
    for season, scenes in SCENES.items():
        for scene in scenes:
            for number in (30, 31):
                patch = _patch(square, f"{season}_{scene}_p{number}")
                del patch["dfc"]
                for token, pixels in patch.items():
                    path = root / "SEN12MS" / season / f"{token}_{scene}" / f"{season}_{token}_{scene}_p{number}.tif"
                    rasters.write(path, pixels, _PLACE, durable=False)
    return root


def _patch(shape: tuple[int, int], name: str) -> dict[str, NDArray[Any]]:
    """Pixels by token, as written: s1 float32 (2, H, W), s2 uint16 (13, H, W), lc and dfc uint8 (H, W)."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    cells = tuple(-(-length // CELL) for length in shape)
    turns = -(-cells[0] * cells[1] // len(SCORED_CODES))
    classes = np.concatenate([rng.permutation(len(SCORED_CODES)) for _ in range(turns)])[: cells[0] * cells[1]]
    truth = _enlarged(classes.reshape(cells), shape)
    igbp = np.array([c.igbp[0] for c in CLASSES if c.scored], np.uint8)[classes]
    wrong = rng.random(classes.size) < WRONG
    igbp[wrong] = rng.choice([c.igbp[-1] for c in CLASSES], int(wrong.sum()))
    igbp[rng.random(classes.size) < UNKNOWN] = 0
    colours, echoes = _spectra()
    s2 = np.moveaxis(colours[truth], 2, 0) + NOISE_S2 * rng.standard_normal((13, *shape))
    s1 = np.moveaxis(echoes[truth], 2, 0) + NOISE_S1 * rng.standard_normal((2, *shape))
    return {
        "s1": s1.astype(np.float32),
        "s2": s2.clip(1, 10000).astype(np.uint16),
        "lc": _enlarged(igbp.reshape(cells), shape),
        "dfc": np.array(SCORED_CODES, np.uint8)[truth],
    }


def _enlarged(cells: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    return np.kron(cells, np.ones((CELL, CELL), cells.dtype))[: shape[0], : shape[1]]


def _spectra() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours (8, 13) and backscatter (8, 2), in the order of ``SCORED_CODES``."""
    from dfcbench.sensors import S2_BANDS

    rows = np.array([_COLOURS[c.name] for c in CLASSES if c.scored], np.float64)
    bands = [band.wavelength for band in S2_BANDS]
    return np.array([np.interp(bands, _WAVELENGTHS, row[:4]) for row in rows]), rows[:, 4:]


def _take_out(patch: dict[str, NDArray[Any]], *, everywhere: bool) -> None:
    """A corner of a cell's side without data; with ``everywhere``, all of Sentinel-1 as well."""
    corner = (..., slice(CELL), slice(CELL))
    patch["s1"][... if everywhere else corner] = np.nan
    patch["s2"][corner] = 0
    patch["lc"][corner] = 0
