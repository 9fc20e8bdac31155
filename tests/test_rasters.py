"""The room of rasters: what it tells of a raster's place and pixels, and that what GDAL knows stays in it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from dfcbench import rasters
from dfcbench.errors import DataError
from dfcbench.rasters import Georeference, RasterInfo

PACKAGE = Path(rasters.__file__).parent
AZIMUTHAL = "+proj=aeqd +lat_0=0 +lon_0=0 +to_meter=1000"


def header(crs: str | None, *transform: float) -> RasterInfo:
    return RasterInfo(1, 40, 20, "uint8", None, Georeference(crs, transform))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("crs", "transform", "sides"),
    [
        ("EPSG:32632", (10, 0, 5e5, 0, -20, 5e6), (20, 10)),
        ("EPSG:32632", (0, 10, 5e5, -20, 0, 5e6), (10, 20)),
        ("EPSG:2263", (60, 0, 98e4, 0, -30, 2e5), (30 * 1200 / 3937, 60 * 1200 / 3937)),
        (AZIMUTHAL, (0.01, 0, 0, 0, -0.02, 0), (20, 10)),
        ("EPSG:4326", (0.001, 0, 9, 0, -0.001, 60.02), (111.32, 55.66)),
        ("EPSG:4326", (1, 0, 0, 0, 1, 0), None),
        (None, (10, 0, 5e5, 0, -20, 5e6), None),
    ],
    ids=["metres", "turned", "US survey feet", "kilometres", "degrees", "nowhere", "no coordinate system"],
)
def test_sides_of_a_pixel_are_metres_whatever_the_unit(
    crs: str | None, transform: tuple[float, ...], sides: tuple[float, float] | None
) -> None:
    assert header(crs, *transform).sides == (None if sides is None else pytest.approx(sides, rel=1e-6))


def test_a_raster_s_middle_lies_where_a_window_from_there_would(tmp_path: Path) -> None:
    info = header("EPSG:32632", 10, 1, 5e5, 2, -20, 5e6)
    moved = info.georeference.moved(20, 10).transform
    assert info.middle == (moved[2], moved[5]) == (5e5 + 120, 5e6 - 380)


@pytest.mark.parametrize("end", [6, 60, -40])
def test_content_in_memory_has_no_name_but_its_owner_s(end: int) -> None:
    content = rasters.encode(np.ones((64, 64), np.uint8), compress="deflate")[:end]
    with pytest.raises(DataError) as error, rasters.decoding(content, "mine.tif") as (_, pixels):
        pixels()
    assert str(error.value).startswith("mine.tif: cannot be read as a tif (")
    assert "vsimem" not in str(error.value) and rasters._IN_MEMORY not in str(error.value)


def test_nobody_borrows_rasterio_from_the_room_of_rasters() -> None:
    borrowed = {
        name for name, value in vars(rasters).items() if (getattr(value, "__module__", "") or "").startswith("rasterio")
    } | {"rasterio"}
    assert "CRS" in borrowed
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree) if path.name != "rasters.py" else ():
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rasters":
                names = {node.attr}
            elif isinstance(node, ast.ImportFrom) and node.module == "dfcbench.rasters":
                names = {alias.name for alias in node.names}
            else:
                continue
            found += [f"{path.name}:{node.lineno}: {name}" for name in names & borrowed]
    assert found == []


def test_a_map_is_not_written_over_a_file_for_which_gdal_would_list_the_folder(tmp_path, monkeypatch):
    opened, there = rasters.rasterio.open, []

    def watched(target, *arguments, **options):
        there.append(Path(target).exists())
        return opened(target, *arguments, **options)

    monkeypatch.setattr(rasters.rasterio, "open", watched)
    for value in (1, 2):
        rasters.write(tmp_path / "map.tif", np.full((4, 4), value, np.uint8))
    assert there == [False, False]
    monkeypatch.undo()
    assert rasters.read(tmp_path / "map.tif").max() == 2
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]
