"""Reading and writing tifs: the only room where rasterio is imported."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import rasterio.shutil
import rasterio.warp
import rasterio.windows
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from dfcbench.errors import DataError
from dfcbench.files import replacing

# DFC2020's own tifs lie nowhere, and rasterio says so of each. Once and for all: catch_warnings is not safe in threads.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

# GDAL lists a whole folder for each file that it opens, and the contest's folders hold thousands: half the time of a
# read. TRUE makes it look for a file's companions by their names instead.
os.environ.setdefault("GDAL_DISABLE_READDIR_ON_OPEN", "TRUE")

_MAP_TILE = 512
"""Side of a map's internal tiles in pixels: the usual one of cloud-optimised GeoTIFFs, and GDAL's default for them."""
_MAP_CACHE = 16 * 2**20
"""Bytes of blocks that GDAL keeps while a map is written; its own default is a twentieth of the machine's memory."""
_METRES_PER_DEGREE = 111_320.0
"""Of latitude, and of longitude at the equator: the equator of WGS 84 divided by 360."""


class Window(NamedTuple):
    """A rectangle of pixels within a raster."""

    row: int
    column: int
    height: int
    width: int


@dataclass(frozen=True)
class Georeference:
    """Where a raster lies: a coordinate system as WKT (None if it has none) and the six numbers of its transform."""

    crs: str | None
    transform: tuple[float, float, float, float, float, float]

    @property
    def located(self) -> bool:
        """False for the identity transform that the contest's own tifs carry: they lie nowhere."""
        return self.transform != tuple(Affine.identity())[:6]

    @property
    def crs_name(self) -> str | None:
        """The coordinate system's short name, such as ``EPSG:32632``; None if it has none."""
        authority = CRS.from_user_input(self.crs).to_authority() if self.crs else None
        return ":".join(authority) if authority else None

    @property
    def geographic(self) -> bool:
        """Whether the transform is in degrees of longitude and latitude."""
        return self.crs is not None and bool(CRS.from_user_input(self.crs).is_geographic)

    @property
    def metres_per_unit(self) -> float | None:
        """Length of the transform's unit, such as 0.3048 of a foot; None in degrees, and where nothing tells."""
        crs = CRS.from_user_input(self.crs) if self.crs else None
        return float(crs.linear_units_factor[1]) if crs is not None and crs.is_projected else None

    def longitude_latitude(self, x: float, y: float) -> tuple[float, float]:
        """A place in the transform's units in degrees on WGS 84. Raises ValueError without a coordinate system."""
        if self.crs is None:
            raise ValueError("Without a coordinate system nothing has a longitude.")
        longitudes, latitudes = rasterio.warp.transform(CRS.from_user_input(self.crs), CRS.from_epsg(4326), [x], [y])
        return float(longitudes[0]), float(latitudes[0])

    def same_crs(self, other: Georeference) -> bool:
        """Whether both mean one coordinate system, however it is written; two without any do."""
        if self.crs is None or other.crs is None:
            return self.crs is other.crs
        return bool(CRS.from_user_input(self.crs) == CRS.from_user_input(other.crs))

    def moved(self, row: int, column: int) -> Georeference:
        """That of a window whose first pixel is this one."""
        a, b, _, d, e, _ = self.transform
        x, y = self.corner(row, column)
        return Georeference(self.crs, (a, b, x, d, e, y))

    def corner(self, row: float, column: float) -> tuple[float, float]:
        """Where the upper left corner of a pixel lies, in the transform's units: east and north; half a pixel on, its
        middle."""
        a, b, x, d, e, y = self.transform
        return x + column * a + row * b, y + column * d + row * e


@dataclass(frozen=True)
class RasterInfo:
    """The header of a tif."""

    bands: int
    height: int
    width: int
    dtype: str
    nodata: float | None
    georeference: Georeference
    descriptions: tuple[str | None, ...] = ()
    """What the file calls its bands."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width

    @property
    def middle(self) -> tuple[float, float]:
        """Where the raster's middle lies, in its transform's units: east and north."""
        return self.georeference.corner(self.height // 2, self.width // 2)

    @property
    def sides(self) -> tuple[float, float] | None:
        """Height and width of the pixel in the middle, in metres; None where nothing tells."""
        place = self.georeference
        if not place.located:
            return None
        a, b, _, d, e, _ = place.transform
        if place.geographic:
            east, north = _METRES_PER_DEGREE * math.cos(math.radians(self.middle[1])), _METRES_PER_DEGREE
        elif (unit := place.metres_per_unit) is not None:
            east = north = unit
        else:
            return None
        return math.hypot(b * east, e * north), math.hypot(a * east, d * north)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with rasterio.open(path) as source:
            yield source
    except (RasterioError, OSError, ValueError) as error:
        if not Path(path).exists():
            raise DataError(f"{path}: no such file.") from error
        raise DataError(
            f"{path}: cannot be read as a tif ({_reason(error)}). Replace the file by a fresh copy."
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split())


def read(path: Path, bands: Sequence[int] | None = None) -> NDArray[Any]:
    """Pixels of a tif, shape (bands, height, width), in the file's own dtype.

    ``bands`` are 0-based and kept in the order given; None reads all. Raises DataError, naming the file, if it is
    missing, no tif, truncated, or has too few bands.
    """
    with _opened(path) as source:
        if bands is not None and max(bands) >= source.count:
            raise DataError(f"{path}: has {source.count} band(s), band {max(bands) + 1} was asked for.")
        result: NDArray[Any] = source.read(None if bands is None else [b + 1 for b in bands])
        return result


def info(path: Path) -> RasterInfo:
    """Header of a tif, without reading pixels. Raises DataError, naming the file, if it cannot be opened."""
    with _opened(path) as source:
        return _header(source)


def _header(source: Any) -> RasterInfo:
    return RasterInfo(
        bands=source.count,
        height=source.height,
        width=source.width,
        dtype=source.dtypes[0],
        nodata=source.nodata,
        georeference=Georeference(source.crs.to_wkt() if source.crs else None, tuple(source.transform)[:6]),
        descriptions=tuple(source.descriptions),
    )


def read_window(path: Path, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pixels within a window, (bands, H, W) in the file's own dtype, and where each band has data, likewise.

    A band has none where the file's nodata value, its mask or a value that is not finite says so. Raises DataError,
    naming the file, if it is missing, no tif, or truncated.
    """
    with _opened(path) as source:
        area = rasterio.windows.Window(window.column, window.row, window.width, window.height)
        pixels: NDArray[Any] = source.read(window=area)
        data = np.ones(pixels.shape, np.bool_)
        for band, kinds in enumerate(source.mask_flag_enums):
            if MaskFlags.nodata in kinds:  # told from the pixels at hand: GDAL would decode them again for each band
                data[band] = pixels[band] != source.nodatavals[band]
            elif MaskFlags.per_dataset in kinds and band:
                data[band] = data[0]
            elif MaskFlags.all_valid not in kinds:
                data[band] = source.read_masks(band + 1, window=area) > 0
    if np.issubdtype(pixels.dtype, np.floating):
        data &= np.isfinite(pixels)
    return pixels, data


_IN_MEMORY = "content.tif"
"""What GDAL calls content without a file, in a folder of its own each time."""
_NAMED_IN_MEMORY = re.compile(rf"'?(?:/vsimem/[^/\s]+/)?{re.escape(_IN_MEMORY)}'?[,:]? ?")
"""That name in a message: nothing that the content's owner knows."""


@contextmanager
def decoding(content: bytes, where: str) -> Iterator[tuple[RasterInfo, Callable[[], NDArray[Any]]]]:
    """Header of a tif that is held in memory, and a function that reads its pixels, (bands, height, width).

    For files of strangers: look at the header before asking for pixels, as a small file can claim a huge raster. Only
    the GeoTIFF driver sees the content; others, such as VRT, would open whatever files the content names.
    Raises DataError, naming ``where``, if the content is no tif or is damaged.
    """
    if not content:  # GDAL would take it for a file to be written
        raise DataError(f"{where}: is empty.")
    try:
        with MemoryFile(content, filename=_IN_MEMORY) as memory, memory.open(driver="GTiff") as source:
            yield _header(source), source.read
    except (RasterioError, OSError, ValueError) as error:
        reason = _NAMED_IN_MEMORY.sub("", _reason(error))
        raise DataError(f"{where}: cannot be read as a tif ({reason}).") from error


def encode(pixels: NDArray[Any], compress: str | None = None) -> bytes:
    """The file that ``write`` would write, without georeference and colours, as bytes."""
    stack = pixels[np.newaxis] if pixels.ndim == 2 else pixels
    with MemoryFile() as memory:
        with memory.open(**_profile(stack, compress)) as sink:
            sink.write(stack)
        content: bytes = memory.read()
        return content


def write(
    path: Path,
    pixels: NDArray[Any],
    georeference: Georeference | None = None,
    *,
    colours: NDArray[np.uint8] | None = None,
    compress: str | None = None,
    durable: bool = True,
) -> None:
    """Write pixels, shape (height, width) or (bands, height, width), as a tif.

    ``colours`` (n, 3) uint8 becomes the colour table of a single-band uint8 tif. ``durable`` writes atomically with
    fsync; False writes in place, for bulk output that is built again from scratch when it breaks.
    Raises DataError, naming the file, if the disk refuses.
    """
    stack = pixels[np.newaxis] if pixels.ndim == 2 else pixels
    profile = _profile(stack, compress)
    if georeference is not None:
        profile["crs"] = georeference.crs
        profile["transform"] = Affine(*georeference.transform)

    def fill(target: Path) -> None:
        with rasterio.open(target, "w", **profile) as sink:
            sink.write(stack)
            if colours is not None:
                sink.write_colormap(1, _colormap(colours))

    try:
        if durable:
            with replacing(path) as temporary:
                temporary.unlink()  # GDAL lists the whole folder to replace a file that is there: 3 ms among 6,000 maps
                fill(temporary)
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            fill(path)
    except (RasterioError, OSError) as error:
        raise DataError(f"{path}: cannot be written ({error}). Check space and permissions there.") from error


def _profile(stack: NDArray[Any], compress: str | None) -> dict[str, Any]:
    count, height, width = stack.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": stack.dtype.name}
    return {**profile, "compress": compress} if compress else profile


Rows = Callable[[int, int, NDArray[np.uint8]], None]
"""Writes codes (H, W) from this row and column on."""


@contextmanager
def class_map(
    path: Path,
    shape: tuple[int, int],
    georeference: Georeference,
    colours: NDArray[np.uint8],
    tags: Mapping[str, str],
    class_tags: Mapping[str, str],
    scratch: Path,
) -> Iterator[Rows]:
    """Write a map of classes piece by piece as a cloud-optimised GeoTIFF: one uint8 band in which 0 is nodata.

    It has tiles of 512 x 512, overviews by the most frequent class, deflate compression, the colour table ``colours``
    (n, 3), ``tags`` of the file and ``class_tags`` of its band. Pieces go to a plain tif in ``scratch`` first, as large
    as the map; ``path`` appears, complete, when the block ends well. Memory does not depend on the size.
    Raises DataError, naming the file, if the disk refuses.
    """
    height, width = shape
    draft = scratch / "draft.tif"
    profile = {
        "driver": "GTiff",
        "count": 1,
        "height": height,
        "width": width,
        "dtype": "uint8",
        "nodata": 0,
        "tiled": True,
        "blockxsize": _MAP_TILE,
        "blockysize": _MAP_TILE,
        "bigtiff": "if_safer",
        "crs": georeference.crs,
        "transform": Affine(*georeference.transform),
    }
    try:
        with rasterio.Env(GDAL_CACHEMAX=_MAP_CACHE):
            with rasterio.open(draft, "w", **profile) as sink:
                sink.write_colormap(1, _colormap(colours))
                sink.set_band_description(1, "land cover")
                sink.update_tags(**tags)
                sink.update_tags(1, **class_tags)

                def write_piece(row: int, column: int, codes: NDArray[np.uint8]) -> None:
                    area = rasterio.windows.Window(column, row, codes.shape[1], codes.shape[0])
                    sink.write(codes, 1, window=area)

                yield write_piece
            with replacing(path) as temporary:
                rasterio.shutil.copy(
                    draft,
                    temporary,
                    driver="COG",
                    blocksize=str(_MAP_TILE),
                    compress="deflate",
                    overviews="ignore_existing",
                    overview_resampling="mode",
                    bigtiff="if_safer",
                )
    except (RasterioError, CPLE_BaseError, OSError) as error:
        raise DataError(f"{path}: cannot be written ({error}). Check space and permissions there.") from error


def _colormap(colours: NDArray[np.uint8]) -> dict[int, tuple[int, ...]]:
    return {i: (*map(int, rgb), 255) for i, rgb in enumerate(colours)}
