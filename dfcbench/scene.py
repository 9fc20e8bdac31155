"""A georeferenced scene of any size as methods see it: cut, a stretch at a time, into patches like those of the contest.

The patches are tifs in a folder of the caller's, which removes it when they have been used; so whatever a method may do
with a PatchSet works here too, and neither memory nor disk grow with the scene.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench import rasters
from dfcbench.errors import UsageError
from dfcbench.patches import PatchRecord
from dfcbench.rasters import Georeference, Window
from dfcbench.records import MODALITIES
from dfcbench.scene_checks import NAMES, SceneFile, check_bands, check_classes, check_grids, check_units
from dfcbench.scheme import NO_LABEL, simplify_igbp

OPTIONS = {"s1": "--s1", "s2": "--s2", "low": "--lr"}

_BYTES_PER_PIXEL = sum(modality.bands * modality.dtype.itemsize for modality in MODALITIES.values())
"""Of all that a patch may have; what is cut takes no more."""


@dataclass(frozen=True, slots=True)
class WindowRecord(PatchRecord):
    """The record of a window of a scene."""

    def path(self, modality: str) -> Path:
        """File of a modality. Raises UsageError, naming the option that is missing, if there is none."""
        token = MODALITIES[modality].token
        if token not in self.files:
            raise UsageError(
                f"The method reads {NAMES[modality]} of the scene when it maps it. Add {OPTIONS[modality]} FILE.tif, on the "
                "same grid."
            )
        return self.files[token]


@dataclass(frozen=True)
class Block:
    """A stretch of a scene in memory: pixels by modality in the form of ``Patch``, and where all images have data.

    ``found``: which files have data here at all, or labels.
    """

    window: Window
    pixels: Mapping[str, NDArray[Any]]
    valid: NDArray[np.bool_]
    found: frozenset[str]

    def within(self, window: Window) -> tuple[slice, slice]:
        """Rows and columns of this block that a window of the scene covers."""
        row, column = window.row - self.window.row, window.column - self.window.column
        return slice(row, row + window.height), slice(column, column + window.width)


@dataclass(frozen=True)
class Scene:
    """Files of one place on one grid, by ``s1``, ``s2`` and ``low``; ``remarks`` tell what looks odd about them."""

    files: Mapping[str, Path]
    height: int
    width: int
    georeference: Georeference
    remarks: tuple[str, ...] = ()

    @classmethod
    def open(cls, files: Mapping[str, Path]) -> Scene:
        """Check the files against each other and against what the contest's images are.

        Raises DataError if one cannot be read, has other bands or units, or lies elsewhere than the others.
        """
        opened = {role: SceneFile(role, path, rasters.info(path)) for role, path in files.items()}
        for file in opened.values():
            check_bands(file)
        grid = check_grids(opened)
        remarks = check_units(opened)
        return cls(dict(files), grid.info.height, grid.info.width, grid.info.georeference, tuple(remarks))

    def read(self, window: Window) -> Block:
        """A stretch of the scene.

        A pixel of Sentinel-1 has data if both bands have, one of Sentinel-2 if any band has (0 is a dark value of some
        bands, and of B10 a common one) and it is not 0 in all 13, ESA's mark of no data in Level-1C products. Where one
        image has none, the block is not valid. Low-resolution labels without data are no label, and hide nothing.
        Raises DataError if a file cannot be read, or labels are no IGBP classes.
        """
        valid = np.ones((window.height, window.width), np.bool_)
        pixels: dict[str, NDArray[Any]] = {}
        found: set[str] = set()
        for role, path in self.files.items():
            raw, data = rasters.read_window(path, window)
            if role == "s1":
                here = data.all(axis=0)
                valid &= here
                pixels[role] = np.where(data, raw, np.nan).astype(np.float32)
            elif role == "s2":
                here = data.any(axis=0) & raw.any(axis=0)
                if np.issubdtype(raw.dtype, np.floating):
                    here &= np.isfinite(raw).all(axis=0)
                valid &= here
                pixels[role] = _whole(raw, data)
            else:
                check_classes(path, raw[0], data[0], window)
                pixels[role] = np.where(data[:1], raw[:1], 0).astype(np.uint8)
                here = simplify_igbp(pixels[role]) != NO_LABEL
            if here.any():
                found.add(role)
        return Block(window, pixels, valid, frozenset(found))

    def cut(self, block: Block, windows: Iterable[Window], folder: Path) -> list[WindowRecord]:
        """Windows within a block as records of patches, whose files are written to ``folder``."""
        records = []
        for window in windows:
            name = f"scene_r{window.row}_c{window.column}"
            place = self.georeference.moved(window.row, window.column)
            files = {MODALITIES[role].token: folder / f"{name}_{role}.tif" for role in self.files}
            for role, pixels in block.pixels.items():
                part = np.ascontiguousarray(pixels[:, *block.within(window)])
                rasters.write(files[MODALITIES[role].token], part, place, durable=False)
            records.append(WindowRecord(name, "scene", None, files))
        return records

    def bytes_cut(self, windows: Iterable[Window]) -> int:
        """The most that these windows take on the disk when they are cut."""
        return sum(window.height * window.width for window in windows) * _BYTES_PER_PIXEL


def _whole(raw: NDArray[Any], data: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Reflectance x 10000 of any type in whole numbers; 0 where there are no data."""
    if not data.all():
        raw = np.where(data, raw, raw.dtype.type(0))
    if raw.dtype == np.uint16:
        return raw
    floating = np.issubdtype(raw.dtype, np.floating)
    most = np.iinfo(np.uint16).max if floating else min(np.iinfo(np.uint16).max, np.iinfo(raw.dtype).max)
    clipped = np.clip(raw, 0, most)
    return np.asarray(np.rint(clipped) if floating else clipped, np.uint16)
