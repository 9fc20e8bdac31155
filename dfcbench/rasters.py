"""Reading and writing tifs: the only room where rasterio is imported."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.transform import Affine

from dfcbench.errors import DataError
from dfcbench.files import replacing

# DFC2020's own tifs lie nowhere, and rasterio says so of each. Once and for all: catch_warnings is not safe in threads.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


@dataclass(frozen=True)
class Georeference:
    """Where a raster lies: a coordinate system as WKT (None if it has none) and the six numbers of its transform."""

    crs: str | None
    transform: tuple[float, float, float, float, float, float]

    @property
    def located(self) -> bool:
        """False for the identity transform that the contest's own tifs carry: they lie nowhere."""
        return self.transform != tuple(Affine.identity())[:6]


@dataclass(frozen=True)
class RasterInfo:
    """The header of a tif."""

    bands: int
    height: int
    width: int
    dtype: str
    nodata: float | None
    georeference: Georeference


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with rasterio.open(path) as source:
            yield source
    except (RasterioError, OSError, ValueError) as error:
        if not Path(path).exists():
            raise DataError(f"{path}: no such file.") from error
        reason = " ".join(str(error.__cause__ or error).split())
        raise DataError(f"{path}: cannot be read as a tif ({reason}). Replace the file by a fresh copy.") from error


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
        crs = source.crs.to_wkt() if source.crs else None
        return RasterInfo(
            bands=source.count,
            height=source.height,
            width=source.width,
            dtype=source.dtypes[0],
            nodata=source.nodata,
            georeference=Georeference(crs, tuple(source.transform)[:6]),
        )


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
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": stack.shape[0],
        "height": stack.shape[1],
        "width": stack.shape[2],
        "dtype": stack.dtype.name,
    }
    if compress:
        profile["compress"] = compress
    if georeference is not None:
        profile["crs"] = georeference.crs
        profile["transform"] = Affine(*georeference.transform)

    def fill(target: Path) -> None:
        with rasterio.open(target, "w", **profile) as sink:
            sink.write(stack)
            if colours is not None:
                sink.write_colormap(1, {i: (*map(int, rgb), 255) for i, rgb in enumerate(colours)})

    try:
        if durable:
            with replacing(path) as temporary:
                fill(temporary)
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            fill(path)
    except (RasterioError, OSError) as error:
        raise DataError(f"{path}: cannot be written ({error}). Check space and permissions there.") from error
