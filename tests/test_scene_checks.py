"""Files of a scene are held against each other and against the contest's images; suggested commands mend what is wrong."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from dfcbench import rasters
from dfcbench.blending import Tiling
from dfcbench.errors import DataError
from dfcbench.mapping import map_scene, workplace
from dfcbench.method import RunContext
from dfcbench.rasters import Georeference, Window
from dfcbench.scene import Scene
from tests.test_mapping import UTM, Curious, Pixelwise, fitted, mapped, silent, write_scene


def rewritten(files: dict[str, Path], role: str, change, georeference: Georeference = UTM) -> dict[str, Path]:
    rasters.write(files[role], change(rasters.read(files[role])), georeference)
    return files


def same(pixels: np.ndarray) -> np.ndarray:
    return pixels


def mend(error: object, folder: Path) -> None:
    """Give the commands of rio that a message suggests, as they stand there."""
    tool = str(Path(sys.executable).with_name("rio"))
    for command in re.findall(r"rio ((?:warp|edit-info|calc|convert|stack) .*?)(?=; then|\. Else|\n|$)", str(error)):
        subprocess.run([tool, *shlex.split(command)], check=True, capture_output=True, cwd=folder)


@pytest.mark.parametrize(
    ("place", "change", "told"),
    [
        (Georeference("EPSG:32633", UTM.transform), same, "differ in coordinate system"),
        (Georeference("EPSG:32632", (10, 0, 500010, 0, -10, 5300000)), same, "differ in position or pixel size"),
        (Georeference("EPSG:32632", (20, 0, 500000, 0, -20, 5300000)), same, "differ in position or pixel size"),
        (UTM, lambda x: x[:, :60], "differ in size"),
    ],
)
def test_files_on_other_grids_are_told_apart_with_the_command_that_mends_them(tmp_path, place, change, told):
    files = rewritten(write_scene(tmp_path, 70, 50), "s1", change, place)
    with pytest.raises(DataError, match=told) as error:
        Scene.open(files)
    assert f"rio warp {files['s1']} {tmp_path / 's1-aligned.tif'} --like {files['s2']}" in str(error.value)
    mend(error.value, tmp_path)
    found = rasters.info(tmp_path / "s1-aligned.tif")
    assert found.shape == (70, 50)
    assert found.georeference.transform == UTM.transform and found.georeference.crs_name == "EPSG:32632"


def test_what_a_warped_file_does_not_cover_is_no_data(tmp_path):
    files = rewritten(write_scene(tmp_path, 70, 50), "s1", lambda x: x[:, :60])
    with pytest.raises(DataError) as error:
        Scene.open(files)
    mend(error.value, tmp_path)
    block = Scene.open({**files, "s1": tmp_path / "s1-aligned.tif"}).read(Window(0, 0, 70, 50))
    assert block.valid[:59].all() and not block.valid[61:].any()


def low_file(folder: Path, height: int, width: int, value: float = 17, place: Georeference = UTM) -> Path:
    rasters.write(folder / "low.tif", np.full((1, height, width), value, np.float32), place)
    return folder / "low.tif"


NOWHERE = Georeference(None, (1, 0, 0, 0, 1, 0))
COARSE = Georeference("EPSG:32632", (20, 0, 500000, 0, -20, 5300000))
NEXT = Georeference("EPSG:32633", UTM.transform)


@pytest.mark.parametrize(
    ("role", "place"), [(role, place) for role in ("s1", "s2", "low") for place in (NOWHERE, COARSE, NEXT)]
)
def test_the_odd_one_out_is_the_one_to_mend(tmp_path, role, place):
    files = {**write_scene(tmp_path, 70, 50), "low": low_file(tmp_path, 70, 50)}
    rewritten(files, role, same, place)
    with pytest.raises(DataError) as error:
        Scene.open(files)
    told = str(error.value)
    assert len(told.splitlines()) == 1
    assert re.search(rf"rio (warp|edit-info) {files[role]} ", told)
    mend(told, tmp_path)
    mended = files[role] if place is NOWHERE else files[role].with_name(f"{files[role].stem}-aligned.tif")
    assert Scene.open({**files, role: mended}).georeference.transform == UTM.transform


def test_ten_metres_win_over_two_files_of_twenty_and_both_are_told(tmp_path):
    files = {**write_scene(tmp_path, 70, 50), "low": low_file(tmp_path, 70, 50, place=COARSE)}
    rewritten(files, "s2", same, COARSE)
    with pytest.raises(DataError) as error:
        Scene.open(files)
    assert re.findall(r"rio warp (\S+) ", str(error.value)) == [str(files["s2"]), str(files["low"])]


def test_a_file_without_a_place_and_of_another_size_gets_no_guess(tmp_path):
    files = rewritten(write_scene(tmp_path, 70, 50), "s2", lambda x: x[:, :60], NOWHERE)
    with pytest.raises(DataError, match=r"EPSG:NUMBER --transform .*; then: rio warp .*s2\.tif"):
        Scene.open(files)


@pytest.mark.parametrize(
    ("place", "sides"),
    [
        (COARSE, "20 x 20 m"),
        (Georeference("EPSG:2263", (60, 0, 980000, 0, -60, 200000)), "18.3 x 18.3 m"),  # US survey feet
        (Georeference("EPSG:4326", (0.0002, 0, 9, 0, -0.0002, 48)), "22.3 x 14.9 m"),
        (Georeference("EPSG:4326", (0.0002, 0, -60, 0, -0.0002, -30)), "22.3 x 19.3 m"),
    ],
)
def test_a_scene_of_other_pixels_than_the_contests_is_refused_and_the_commands_mend_it(tmp_path, place, sides):
    files = write_scene(tmp_path, 70, 50)
    for role in files:
        rewritten(files, role, same, place)
    with pytest.raises(DataError, match=f"pixels of about {sides}") as error:
        Scene.open(files)
    mend(error.value, tmp_path)
    Scene.open({"s1": tmp_path / "s1-aligned.tif", "s2": tmp_path / "s2-10m.tif"})


@pytest.mark.parametrize(
    "place",
    [
        NOWHERE,
        Georeference("EPSG:32632", (11.9, 0, 500000, 0, -8.1, 5300000)),
        Georeference("EPSG:4326", (0.00013, 0, 9, 0, -0.00009, 48)),
    ],
)
def test_pixels_of_about_ten_metres_or_of_unknown_size_are_taken(tmp_path, place):
    files = write_scene(tmp_path, 70, 50)
    for role in files:
        rewritten(files, role, same, place)
    assert Scene.open(files).height == 70


def test_a_grid_that_no_short_name_tells_is_taken_from_the_file(tmp_path):
    odd = Georeference("+proj=tmerc +lat_0=0 +lon_0=9.5 +k=1 +x_0=500000 +y_0=0 +ellps=bessel +units=m", UTM.transform)
    files = write_scene(tmp_path, 70, 50)
    rewritten(files, "s2", same, odd)
    with pytest.raises(DataError, match="rio warp") as error:
        Scene.open(files)
    mend(error.value, tmp_path)
    assert Scene.open({**files, "s1": tmp_path / "s1-aligned.tif"}).width == 50


def test_the_same_grid_in_other_words_is_the_same(tmp_path):
    moved = Georeference(rasterio.crs.CRS.from_epsg(32632).to_wkt(), (10.0, 0, 500000.0000001, 0, -10.0, 5300000))
    assert Scene.open(rewritten(write_scene(tmp_path, 40, 40), "s1", same, moved)).height == 40


@pytest.mark.parametrize(
    ("role", "change", "told"),
    [
        ("s1", lambda x: (10 ** (x / 10)).astype(np.float32), r"none below 0.*rio calc"),
        ("s1", lambda x: (x * 100).astype(np.int16), "no backscatter in dB"),
        ("s1", lambda x: x[:1], r"1 band\(s\); Sentinel-1 needs 2"),
        ("s2", lambda x: (x / 10000).astype(np.float32), r"shares of 1.*rio convert"),
        ("s2", lambda x: (x / 40).astype(np.uint8), "8 bits"),
        ("s2", lambda x: x[:12], r"12 band\(s\); Sentinel-2 needs 13 .*Level-2A products have no B10"),
    ],
)
def test_other_bands_and_units_are_refused_with_what_to_do(tmp_path, role, change, told):
    files = rewritten(write_scene(tmp_path, 70, 50), role, change)
    with pytest.raises(DataError, match=told) as error:
        Scene.open(files)
    assert str(files[role]) in str(error.value)


def test_bands_that_are_named_in_another_order_are_refused(tmp_path):
    files = write_scene(tmp_path, 40, 40)
    with rasterio.open(files["s1"], "r+") as file:
        file.descriptions = ("VH", "VV")
    with pytest.raises(DataError, match=r"rio stack .* --bidx 2,1") as error:
        Scene.open(files)
    mend(error.value, tmp_path)
    ordered = {**files, "s1": tmp_path / "s1-ordered.tif"}
    np.testing.assert_array_equal(rasters.read(ordered["s1"]), rasters.read(files["s1"])[::-1])
    assert Scene.open(ordered).remarks == ()
    with rasterio.open(files["s1"], "r+") as file:
        file.descriptions = ("VV", "VH")
    assert Scene.open(files).remarks == ()


@pytest.mark.parametrize("nodata", [None, 0.0])
def test_the_command_for_linear_power_gives_decibels(tmp_path, nodata):
    files = write_scene(tmp_path, 40, 40)
    decibels = rasters.read(files["s1"])
    rewritten(files, "s1", lambda x: (10 ** (x / 10)).astype(np.float32))
    if nodata is not None:
        with rasterio.open(files["s1"], "r+") as file:
            file.nodata = nodata
    with pytest.raises(DataError) as error:
        Scene.open(files)
    mend(error.value, tmp_path)
    np.testing.assert_allclose(rasters.read(tmp_path / "s1-dB.tif"), decibels, atol=1e-4)


def test_the_command_for_shares_of_one_gives_reflectance(tmp_path):
    files = write_scene(tmp_path, 40, 40)
    whole = rasters.read(files["s2"])
    rewritten(files, "s2", lambda x: (x / 10000).astype(np.float32))
    with pytest.raises(DataError) as error:
        Scene.open(files)
    mend(error.value, tmp_path)
    np.testing.assert_allclose(rasters.read(tmp_path / "s2-x10000.tif"), whole, atol=1)


def test_an_offset_of_newer_products_is_remarked_upon(tmp_path):
    files = rewritten(write_scene(tmp_path, 40, 40), "s2", lambda x: x + 1000)
    assert ["1000 added" in remark for remark in Scene.open(files).remarks] == [True]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (99, r"holds 99, first at row 0, column 0 .*rio edit-info \S+ --nodata 99\. Else"),
        (10.5, r"holds 10\.5, .*--resampling nearest"),
        (-3, "holds -3, "),
    ],
)
def test_labels_of_no_known_class_are_refused(tmp_path, value, told):
    with pytest.raises(DataError, match=told):
        Scene.open({**write_scene(tmp_path, 40, 40), "low": low_file(tmp_path, 40, 40, value)})


def with_block(low: np.ndarray) -> np.ndarray:
    """A mark between the windows that are looked at when a scene is opened."""
    low[0, 100:103, 110:115] = 99
    return low


def test_a_few_strange_labels_are_found_wherever_they_are_and_can_be_marked_as_no_data(tmp_path):
    files = {**write_scene(tmp_path, 300, 300), "low": low_file(tmp_path, 300, 300)}
    rewritten(files, "low", with_block)
    with pytest.raises(DataError, match=r"holds 99, first at row 100, column 110") as error:
        mapped(tmp_path, files, Curious("low"))
    assert not (tmp_path / "map.tif").exists()
    mend(error.value, tmp_path)
    low = Scene.open(files).read(Window(90, 100, 20, 20)).pixels["low"][0]
    assert (low[10:13, 10:15] == 0).all() and (low == 17).sum() == 400 - 15


def test_of_four_bands_of_labels_the_first_is_read_and_other_numbers_are_refused(tmp_path):
    files = {**write_scene(tmp_path, 40, 40), "low": low_file(tmp_path, 40, 40)}
    rewritten(files, "low", lambda x: np.concatenate([x, x + 20, x + 30, x + 40]).astype(np.uint16))
    assert (Scene.open(files).read(Window(0, 0, 40, 40)).pixels["low"] == 17).all()
    rewritten(files, "low", lambda x: x[:3])
    with pytest.raises(DataError, match=r"has 3 bands.*rio stack") as error:
        Scene.open(files)
    mend(error.value, tmp_path)
    assert Scene.open({**files, "low": tmp_path / "low-igbp.tif"}).width == 40


@pytest.mark.parametrize("empty", ["s1", "s2", "low"])
def test_a_file_without_any_data_is_named(tmp_path, empty):
    files = {**write_scene(tmp_path, 70, 70), "low": low_file(tmp_path, 70, 70)}
    rewritten(files, empty, lambda x: np.full_like(x, np.nan if empty == "s1" else 0))
    path = tmp_path / "map.tif"
    with workplace(path) as scratch:
        run, tiling = RunContext(scratch=scratch / "run"), Tiling(64, 16)
        result = map_scene(
            fitted(tmp_path, Pixelwise()), Scene.open(files), path, tiling, run, scratch, silent, strip=64
        )
    assert result.empty == (files[empty],)
    assert (rasters.read(path) == 0).all() == (empty != "low")
