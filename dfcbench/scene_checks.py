"""Is this what the methods know? Scene files must lie on one grid, and hold the contest's bands in the contest's units."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench import rasters
from dfcbench.errors import DataError
from dfcbench.rasters import RasterInfo, Window
from dfcbench.sensors import S1_BANDS, S2_BANDS

NAMES = {"s1": "Sentinel-1", "s2": "Sentinel-2", "low": "low-resolution labels in IGBP classes"}

_PROBES = 5
"""Windows along either side that are looked at for the units, 25 in all, and"""
_PROBE = 32
"""their side in pixels."""
_DB_RANGE = (-60.0, 30.0)
"""dB between which the median of any scene lies: land and water in C band are between -30 and 0, corner reflectors and
the noise floor of the sensor stay within."""
_BRIGHTEST_SHARE = 2.0
"""Reflectance as a share of 1 exceeds 1 over clouds and snow, and never 2."""
_OFFSET = 1000
"""Added to every band by ESA's processing baseline 04.00 (January 2022) and later, to be subtracted before use."""
_SHIFT = 0.01
"""Pixels by which two grids may differ at a corner and still be one."""
_PIXEL = 10.0
"""Metres of a pixel's side in the contest's images, which is what all methods know, and"""
_PIXEL_TOLERANCE = 0.2
"""the share by which a scene's may differ: more changes what textures and windows show."""
_IGBP = (*range(18), 18, 254, 255)
"""Classes 1 to 17, and what means no label: 0, and the values above 17 that MODIS products have (see dfcbench.scheme)."""
_LOW_BANDS = (1, 4)
"""Bands of a file of labels: IGBP classes alone, or those of SEN12MS's ``lc`` files, of which they are the first."""
_MOST_VALUES = 8
"""Values that one message names."""


@dataclass(frozen=True)
class SceneFile:
    """One file of a scene; ``role`` is ``s1``, ``s2`` or ``low``."""

    role: str
    path: Path
    info: RasterInfo

    @property
    def grid(self) -> str:
        """Size and place in words."""
        place = self.info.georeference
        a, b, x, d, e, y = place.transform
        turned = f", turned ({b:g}, {d:g})" if b or d else ""
        crs = place.crs_name or ("its own coordinate system" if place.crs else "no coordinate system")
        size = f"{self.info.height} x {self.info.width} pixels (height x width) of {abs(e):g} x {a:g}"
        return f"{size} from ({x:.10g}, {y:.10g}){turned}, {crs}"


def check_bands(file: SceneFile) -> None:
    """Raise DataError unless the file has the contest's bands, in its order as far as their names tell."""
    source = shlex.quote(str(file.path))
    if file.role == "low":
        if file.info.bands not in _LOW_BANDS:
            raise DataError(
                f"{file.path}: has {file.info.bands} bands; {NAMES['low']} are 1 band, or the first of 4 as in SEN12MS. "
                f"Take the band that holds them (here the first): rio stack {source} --bidx 1 "
                f"{shlex.quote(_beside(file.path, 'igbp'))}"
            )
        return
    bands = S1_BANDS if file.role == "s1" else S2_BANDS
    expected = [band.name for band in bands]
    if file.info.bands != len(bands):
        more = (
            " Level-2A products have no B10, and those of 10 m only four bands: take Level-1C, top-of-atmosphere "
            "reflectance, which is what the contest's images are."
            if file.role == "s2"
            else ""
        )
        raise DataError(
            f"{file.path}: has {file.info.bands} band(s); {NAMES[file.role]} needs {len(bands)} and no other number: "
            f"{', '.join(expected)}, in this order, all resampled to one grid.{more}"
        )
    found = [_band_name(text) for text in file.info.descriptions]
    if set(found) == set(expected) and found != expected:
        raise DataError(
            f"{file.path}: its bands are {', '.join(map(str, found))}; they are read as {', '.join(expected)}. Bring them "
            f"into this order: rio stack {source} --bidx {','.join(str(found.index(name) + 1) for name in expected)} "
            f"{shlex.quote(_beside(file.path, 'ordered'))}"
        )


def check_grids(files: Mapping[str, SceneFile]) -> SceneFile:
    """The file whose grid is the scene's.

    That is one with a coordinate system and pixels of about 10 m, if any has; of several grids the one that most files
    have, Sentinel-2's if they are even. Raises DataError, telling of every file what to do with it, if another file has
    another grid, or no pixels of about 10 m. A scene without a coordinate system may have any.
    """
    grid = _grid(files)
    template = grid.path
    told = []
    if not _contest_like(grid):
        template = Path(_beside(grid.path, "10m"))
        told.append(f"{grid.path}: {_sides(grid)}. Resample it: {_resample(grid, template)}")
    for file in files.values():
        if differences := _differences(grid.info, file.info):
            told.append(
                f"{file.path} and {grid.path} differ in {' and '.join(differences)}. {grid.path}: {grid.grid}. {file.path}: "
                f"{file.grid}. {_align(file, grid, template)}"
            )
        elif template != grid.path and file is not grid:
            told.append(f"{file.path}: is on the same grid. {_align(file, grid, template)}")
    if told:
        raise DataError("\n  ".join(told))
    return grid


def check_units(files: Mapping[str, SceneFile]) -> list[str]:
    """Raise DataError where values cannot be dB, reflectance x 10000, or IGBP classes; return what looks odd.

    A few windows spread over the scene are looked at; where they hold no data, nothing is said. Labels are looked at
    again, all of them, when they are read.
    """
    remarks = []
    for file in files.values():
        values = _probe(file)
        if values.size == 0:
            continue
        if file.role == "s1":
            _check_decibels(file, values)
        elif file.role == "s2":
            remarks += _check_reflectance(file.path, values, file.info.dtype)
    return remarks


def check_classes(path: Path, values: NDArray[Any], data: NDArray[np.bool_], window: Window) -> None:
    """Raise DataError unless all values (H, W) of this window that are data are IGBP classes, or one that means none."""
    strange = data & ~np.isin(values, _IGBP)
    if not strange.any():
        return
    found = np.unique(values[strange])
    shown = ", ".join(f"{value:g}" for value in found[:_MOST_VALUES]) + (", …" if len(found) > _MOST_VALUES else "")
    row, column = (int(place[0]) for place in np.nonzero(strange))
    raise DataError(
        f"{path}: holds {shown}, first at row {window.row + row}, column {window.column + column} (from 0): no IGBP "
        f"{'class' if len(found) == 1 else 'classes'}, which are whole numbers from 1 to 17 as in MODIS MCD12Q1, LC_Type1, "
        f"with 0, 18, 254 and 255 for no label. {_advice(path, found)}"
    )


def _advice(path: Path, found: NDArray[Any]) -> str:
    if (found != np.round(found)).any():
        return "Fractions are left by interpolation: warp the original again with --resampling nearest."
    if len(found) == 1:
        command = f"rio edit-info {shlex.quote(str(path))} --nodata {found[0]:g}"
        return f"If it marks no data, say so in the file: {command}. Else give labels of that scheme."
    return "Give labels of that scheme."


def _check_decibels(file: SceneFile, values: NDArray[Any]) -> None:
    path = file.path
    lowest, middle, highest = np.percentile(values, [0, 50, 100])
    told = f"{path}: values from {lowest:.4g} to {highest:.4g}"
    if lowest >= 0:
        target = shlex.quote(_beside(path, "dB"))
        # Of a file without a nodata value, rio calc cannot fill the mask that it makes by default.
        masked = "" if file.info.nodata is not None else " --not-masked"
        raise DataError(
            f"{told}, none below 0, so they are no backscatter in dB. If they are linear power: rio calc "
            f"'(* 10 (log10 (read 1)))' {shlex.quote(str(path))} {target} --dtype float32{masked}"
        )
    if not _DB_RANGE[0] <= middle <= _DB_RANGE[1]:
        raise DataError(
            f"{told}, half of them below {middle:.4g}: no backscatter in dB, which is about -30 to 0. Undo their scaling."
        )


def _check_reflectance(path: Path, values: NDArray[Any], dtype: str) -> list[str]:
    lowest, highest = values.min(), values.max()
    told = f"{path}: values from {lowest:.4g} to {highest:.4g}"
    if dtype in ("uint8", "int8"):
        raise DataError(f"{told} in 8 bits: a picture, not reflectance x 10000. Take the product's own bands.")
    if highest <= _BRIGHTEST_SHARE:
        raise DataError(
            f"{told} are shares of 1, where reflectance x 10000 is expected: rio convert {shlex.quote(str(path))} "
            f"{shlex.quote(_beside(path, 'x10000'))} --dtype uint16 --scale-ratio 10000"
        )
    if lowest >= _OFFSET:
        return [
            f"{told}, none below {_OFFSET}: products of ESA's baseline 04.00 (2022) and later have {_OFFSET} added to every "
            "band, which the contest's images have not. Subtract it if so, or the map will be wrong."
        ]
    return []


def _probe(file: SceneFile) -> NDArray[Any]:
    """Values with data in all bands of some windows, (bands, n); a pixel that is 0 in all bands has none."""
    height, width = (min(_PROBE, n) for n in file.info.shape)
    rows, columns = (
        np.unique(np.linspace(0, n - m, _PROBES).astype(int))
        for n, m in zip(file.info.shape, (height, width), strict=True)
    )
    parts = []
    for row in rows.tolist():
        for column in columns.tolist():
            window = Window(row, column, height, width)
            pixels, data = rasters.read_window(file.path, window)
            if file.role == "low":
                check_classes(file.path, pixels[0], data[0], window)
            parts.append(pixels[:, data.all(axis=0) & pixels.any(axis=0)])
    return np.concatenate(parts, axis=1)


def _grid(files: Mapping[str, SceneFile]) -> SceneFile:
    """The file whose grid the others must have."""

    def rank(file: SceneFile) -> tuple[bool, bool, int]:
        alike = sum(not _differences(file.info, other.info) for other in files.values())
        return file.info.georeference.crs is not None, _contest_like(file), alike

    return max((files[role] for role in ("s2", "s1", "low") if role in files), key=rank)


def _contest_like(file: SceneFile) -> bool:
    """Whether the file's pixels are of about 10 m, as far as can be told."""
    return all(abs(side / _PIXEL - 1) <= _PIXEL_TOLERANCE for side in file.info.sides or ())


def _sides(file: SceneFile) -> str:
    height, width = file.info.sides or (math.nan, math.nan)
    return (
        f"has pixels of about {height:.3g} x {width:.3g} m (height x width); methods know the contest's images, of "
        f"{_PIXEL:g} m, and would take a scene of other pixels for something else"
    )


def _resample(file: SceneFile, target: Path) -> str:
    """The command that gives a file pixels of 10 m: in its own coordinate system, or UTM where that is in degrees."""
    unit = file.info.georeference.metres_per_unit
    if unit is None:
        longitude, latitude = file.info.middle
        zone = int((longitude + 180) // 6) % 60 + 1
        words = f"--dst-crs EPSG:{326 if latitude >= 0 else 327}{zone:02d} --res {_PIXEL:g}"
    else:
        words = f"--res {_PIXEL / unit:.10g}"
    return f"rio warp {shlex.quote(str(file.path))} {shlex.quote(str(target))} {words} {_resampling(file)}"


def _differences(one: RasterInfo, other: RasterInfo) -> list[str]:
    found = []
    if not one.georeference.same_crs(other.georeference):
        found.append("coordinate system")
    if one.shape != other.shape:
        found.append("size")
    corners = [
        np.array([info.georeference.corner(row, column) for row in (0, one.height) for column in (0, one.width)])
        for info in (one, other)
    ]
    a, b, _, d, e, _ = one.georeference.transform
    if np.abs(corners[0] - corners[1]).max() > _SHIFT * max(abs(a), abs(b), abs(d), abs(e)):
        found.append("position or pixel size")
    return found


def _align(file: SceneFile, grid: SceneFile, template: Path) -> str:
    """What brings a file onto the grid of another, which lies, or will lie, in ``template``."""
    source, place = shlex.quote(str(file.path)), file.info.georeference
    name = file.path.name
    warp = f"rio warp {source} {shlex.quote(_beside(file.path, 'aligned'))} --like {shlex.quote(str(template))} "
    warp += _resampling(file)
    if place.crs is None and grid.info.georeference.crs is not None:
        differences = _differences(grid.info, file.info)
        if "size" not in differences and not (place.located and "position or pixel size" in differences):
            like = f"--like {shlex.quote(str(grid.path))} --crs like --transform like"
            then = f"; then: {warp}" if template != grid.path else ""
            return f"Nothing tells where {name} lies. If it shows the same place: rio edit-info {source} {like}{then}"
        known = "" if place.located else " --transform '[WIDTH, 0, WEST, 0, -HEIGHT, NORTH]'"
        return f"Write its coordinate system into {name}: rio edit-info {source} --crs EPSG:NUMBER{known}; then: {warp}"
    return f"Bring {name} onto the grid: {warp}"


def _resampling(file: SceneFile) -> str:
    if file.role == "low":
        return "--resampling nearest"
    unmarked = file.role == "s1" and file.info.nodata is None and file.info.dtype.startswith("float")
    outside = " --src-nodata nan --dst-nodata nan" if unmarked else ""  # else what the file lacks would be 0 dB
    return f"--resampling bilinear{outside}"


def _beside(path: Path, word: str) -> str:
    return str(path.with_name(f"{path.stem}-{word}.tif"))


def _band_name(description: str | None) -> str | None:
    """``B02`` -> ``B2``; other names as they are, in capitals."""
    if description is None:
        return None
    name = description.strip().upper()
    return f"B{name[2:]}" if name.startswith("B0") else name
