"""Writes tiny contests in each of the three layouts, with every dtype variant, for tests.

    python tests/datamaker.py DIR        a contest with all splits, to look at

Pixels are noise with the ranges of real ones; labels come in blocks, the low-resolution ones coarser.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench import rasters
from dfcbench.rasters import Georeference
from dfcbench.scheme import SCORED_CODES

TOKENS = ("s1", "s2", "lc", "dfc")
UTM = Georeference("EPSG:32632", (10.0, 0.0, 500000.0, 0.0, -10.0, 5300000.0))
NOWHERE = Georeference("EPSG:4326", (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Variant:
    """How the files of a split are written: dtypes by token, bands of ``lc``, patch size, georeference."""

    dtypes: Mapping[str, str]
    lc_bands: int = 4
    size: int | tuple[int, int] = 16
    georeference: Georeference | None = NOWHERE


SEN12MS = Variant({"s1": "float32", "s2": "uint16", "lc": "uint16"}, georeference=UTM)
DFC2020 = Variant({"s1": "float64", "s2": "uint16", "lc": "int16", "dfc": "uint8"})
VARIANTS: dict[str, Variant] = {
    "contest": DFC2020,
    "wide": Variant({"s1": "float32", "s2": "int16", "lc": "uint16", "dfc": "int32"}, lc_bands=1),
    "narrow": Variant({"s1": "float64", "s2": "int32", "lc": "uint8", "dfc": "uint16"}, lc_bands=2, georeference=None),
    "float": Variant({"s1": "float32", "s2": "float32", "lc": "int16", "dfc": "int16"}, lc_bands=3, georeference=UTM),
    "oblong": replace(DFC2020, size=(12, 20)),
}


def pixels(token: str, seed: int, variant: Variant = DFC2020) -> NDArray[Any]:
    """Pixels of one file as written, (bands, H, W)."""
    height, width = variant.size if isinstance(variant.size, tuple) else (variant.size, variant.size)
    rng = np.random.default_rng([seed, TOKENS.index(token)])
    values: NDArray[Any]
    if token == "s1":
        values = rng.normal([[[-14.0]], [[-21.5]]], [[[4.0]], [[6.0]]], (2, height, width))
    elif token == "s2":
        values = rng.integers(0, 10000, (13, height, width))
    elif token == "lc":
        igbp = np.kron(rng.integers(1, 18, (-(-height // 8), -(-width // 8))), np.ones((8, 8), int))[:height, :width]
        others = [np.full((height, width), 10 * band) for band in range(1, variant.lc_bands)]
        values = np.stack([igbp, *others])
    else:
        codes = rng.choice(SCORED_CODES, (-(-height // 4), -(-width // 4)))
        values = np.kron(codes, np.ones((4, 4), int))[None, :height, :width]
    return values.astype(variant.dtypes.get(token, "uint8"))


def file(root: Path, head: str, folder: str, token: str, tail: str) -> Path:
    """Path of one file: ``file(root, "DFC2020/ROIs0000_test", "0", "s1", "0_p3")``."""
    return root / head / f"{token}_{folder}" / f"{Path(head).name}_{token}_{tail}.tif"


def write_split(
    root: Path,
    head: str,
    folder: str,
    scene: str,
    numbers: Iterable[int],
    variant: Variant,
    tokens: Iterable[str] = TOKENS,
) -> None:
    """Write the patches of one scene. Their pixels depend on the names alone, so copies elsewhere are equal."""
    for number in numbers:
        for token in tokens:
            tail = f"{scene}_p{number}"
            seed = zlib.crc32(f"{Path(head).name}_{tail}".encode())
            path = file(root, head, folder, token, tail)
            rasters.write(path, pixels(token, seed, variant), variant.georeference, durable=False)


def write_contest(
    root: Path, variant: Variant = DFC2020, validation: int = 3, test: int = 4, test_labels: bool = True
) -> Path:
    """DFC2020 as the contest delivered it, under ``root/DFC2020``."""
    write_split(root, "DFC2020/ROIs0000_validation", "validation", "0", range(validation), variant)
    write_split(root, "DFC2020/ROIs0000_test", "0", "0", range(test), variant, TOKENS if test_labels else TOKENS[:3])
    return root


def write_sen12ms(root: Path, variant: Variant = SEN12MS) -> Path:
    """Four scenes of SEN12MS under ``root/SEN12MS``, two patches each; spring 63 and winter 146 are of the hold-out."""
    for head, scene in (
        ("ROIs1158_spring", "63"),
        ("ROIs1158_spring", "101"),
        ("ROIs1868_summer", "2"),
        ("ROIs2017_winter", "146"),
    ):
        write_split(root, f"SEN12MS/{head}", scene, scene, (30, 131), variant, TOKENS[:3])
    return root


def write_regional(root: Path, variant: Variant = DFC2020) -> Path:
    """The release by region under ``root/DFC_Public_Dataset``, two patches per region."""
    for season, region in (
        ("autumn", "Mumbai"),
        ("autumn", "CapeTown"),
        ("spring", "BlackForest"),
        ("winter", "KippaRing"),
    ):
        write_split(root, f"DFC_Public_Dataset/ROIs0000_{season}", region, region, (1, 12), variant)
    return root


def write_everything(root: Path) -> Path:
    """All three layouts under one root."""
    return write_regional(write_sen12ms(write_contest(root)))


if __name__ == "__main__":
    write_everything(Path(sys.argv[1]))
