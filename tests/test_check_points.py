"""Drawing check points: every pixel of a stratum is equally likely, strata are counted exactly, and judging is blind."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chisquare

from dfcbench.archive import Archive
from dfcbench.check_points import DRAWING, NOWHERE, Drawing, Subject, draw, read_drawing, write_drawing
from dfcbench.errors import DataError, UsageError
from dfcbench.report.chips import SIDE, SURROUNDINGS, chip, write_chips
from dfcbench.scheme import CODES, NAMES
from dfcbench.sheets import COLUMNS, CSV_SHEET, GUIDE, claim, write_sheets
from tests import datamaker

DATA = {"name": "made", "title": "Made up", "official": False, "fingerprint": "f" * 16}


def drawing_of(root: Path, split: str = "validation", **how) -> Drawing:
    patches = Archive.open(root).labelled(split)
    options = {"points": 20, "by_class": False, "seed": 0, **how}
    return draw(patches, lambda row: patches[row].high, Subject(DATA, split), **options)


@pytest.fixture(scope="module")
def regional(tmp_path_factory) -> Path:
    return datamaker.write_regional(tmp_path_factory.mktemp("regional"))


@pytest.mark.parametrize("by_class", [False, True])
def test_strata_are_regions_and_on_request_their_classes_and_points_lie_in_them(regional, by_class):
    drawing = drawing_of(regional, "regional", by_class=by_class)
    patches = {patch.id: patch for patch in Archive.open(regional).labelled("regional")}
    regions = {patch.region for patch in patches.values()}
    assert {stratum.region for stratum in drawing.strata} == regions and len(regions) == 4
    for number, stratum in enumerate(drawing.strata):
        inside = [np.isin(p.high, stratum.codes).sum() for p in patches.values() if p.region == stratum.region]
        assert stratum.pixels == sum(inside)
        assert stratum.points == min(20, stratum.pixels) == sum(point.stratum == number for point in drawing.points)
        assert len(stratum.codes) == 1 or not by_class
    for point in drawing.points:
        assert patches[point.patch].high[point.row, point.column] == point.code
        assert point.code in drawing.strata[point.stratum].codes
        assert patches[point.patch].region == drawing.strata[point.stratum].region
    assert len({(point.patch, point.row, point.column) for point in drawing.points}) == len(drawing.points)
    assert sum(stratum.pixels for stratum in drawing.strata) == sum(patch.high.size for patch in patches.values())


def test_regions_that_file_names_do_not_tell_can_be_told(small_root):
    told = ["north", "south", "north", "north", "south"]
    drawing = drawing_of(small_root, regions=told)
    ids = Archive.open(small_root).labelled("validation").ids
    assert [(s.region, s.pixels, s.points) for s in drawing.strata] == [("north", 768, 20), ("south", 512, 20)]
    assert all(drawing.strata[point.stratum].region == told[ids.index(point.patch)] for point in drawing.points)
    assert [stratum.region for stratum in drawing_of(small_root).strata] == [None]


def test_the_same_seed_draws_the_same_points_and_another_one_others(small_root):
    first, again, other = (drawing_of(small_root, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert {(p.patch, p.row, p.column) for p in first.points} != {(p.patch, p.row, p.column) for p in other.points}
    assert not {p.id for p in first.points} & {p.id for p in other.points}
    assert drawing_of(small_root, seed=3, workers=3) == first


def test_every_pixel_of_a_stratum_is_drawn_equally_often(tmp_path):
    datamaker.write_contest(tmp_path, replace(datamaker.DFC2020, size=4), validation=2, test=1)
    patches = Archive.open(tmp_path).labelled("validation")
    maps = [patch.high for patch in patches]
    drawn = np.zeros((2, 4, 4))
    for seed in range(200):
        found = draw(patches, maps.__getitem__, Subject(DATA, "validation"), points=8, by_class=False, seed=seed)
        for point in found.points:
            drawn[int(point.patch[-1]), point.row, point.column] += 1
    assert drawn.sum() == 1600
    assert chisquare(drawn.ravel()).pvalue > 1e-4


def test_the_order_of_points_tells_nothing_of_their_strata(small_root):
    drawing = drawing_of(small_root, by_class=True, points=15)
    strata = [point.stratum for point in drawing.points]
    assert strata != sorted(strata)
    half = len(strata) // 2
    assert set(strata[:half]) == set(strata[half:]) == set(range(len(drawing.strata)))
    assert [point.id for point in drawing.points] == sorted(point.id for point in drawing.points)


def test_a_pixel_without_a_label_is_drawn_from_maps_alone(tmp_path, small_root):
    patches = Archive.open(small_root).labelled("validation")

    def codes(row):
        labels = patches[row].high.copy()
        labels[:, :8] = 0
        return labels

    how = {"points": 10**6, "by_class": True, "seed": 0}
    labels = draw(patches, codes, Subject(DATA, "validation"), **how)
    maps = draw(patches, codes, Subject(DATA, "validation", "bag", "run", "key"), **how)
    assert {point.code for point in maps.points} - {point.code for point in labels.points} == {0}
    assert len(maps.points) == 5 * 256 and len(labels.points) == 5 * 128


def test_nothing_to_draw_from_and_wrong_shapes_are_told(small_root):
    patches = Archive.open(small_root).labelled("validation")
    for codes, kind, words in (
        (lambda row: np.zeros((16, 16), np.uint8), DataError, "nothing to draw from"),
        (lambda row: np.ones((16, 12), np.uint8), DataError, "shape"),
    ):
        with pytest.raises(kind, match=words):
            draw(patches, codes, Subject(DATA, "validation"), points=5, by_class=False, seed=0)
    with pytest.raises(UsageError, match="at least 1"):
        drawing_of(small_root, points=0)


def test_what_is_written_is_read_back_and_any_change_is_noticed(tmp_path, small_root):
    drawing = drawing_of(small_root, by_class=True)
    write_drawing(tmp_path, drawing)
    assert read_drawing(tmp_path) == drawing
    text = (tmp_path / DRAWING).read_text()
    value = json.loads(text)
    first = value["points"][0]
    stratum = value["strata"][first["stratum"]]
    assert first["inclusion_probability"] == stratum["points"] / stratum["pixels"]
    value["points"][0]["code"] = 1 + first["code"] % max(CODES)
    for changed in (json.dumps(value), text.replace(drawing.points[0].id, "p0-abc"), text[:-40], "[]", '{"format": 1}'):
        (tmp_path / DRAWING).write_text(changed)
        with pytest.raises(DataError, match=r"drawing\.json"):
            read_drawing(tmp_path)


def test_a_judge_is_not_told_what_the_map_says(tmp_path, small_root):
    drawing = drawing_of(small_root, by_class=True)
    drawing = replace(
        drawing, subject=replace(drawing.subject, method="secret-method", run="secret-run", key="secret-key")
    )
    write_sheets(tmp_path, drawing)
    with (tmp_path / CSV_SHEET).open() as file:
        rows = list(csv.DictReader(file))
    told = {"point", "patch", "row", "column", "x", "y", "crs", "chip"}
    for row, point in zip(rows, drawing.points, strict=True):
        assert row.keys() == COLUMNS.keys()
        assert row["class"] == row["remark"] == ""
        assert {name: row[name] for name in told} == {name: str(getattr(point, name, point.id)) for name in told}
    assert not told & {"code", "stratum"}
    for path in tmp_path.iterdir():
        assert b"secret" not in path.read_bytes(), path.name
    guide = (tmp_path / GUIDE).read_text()
    assert "unsure" in guide and all(f"| {code} | {name} | " in guide for code, name in NAMES.items())


def test_a_place_is_the_middle_of_the_pixel_in_metres_degrees_or_pixels(tmp_path, small_root):
    root = datamaker.write_contest(tmp_path, datamaker.VARIANTS["float"], validation=1, test=1)
    for point in drawing_of(root).points:
        assert (point.x, point.y) == (500005 + 10 * point.column, 5299995 - 10 * point.row)
        assert point.crs == "EPSG:32632"
        # UTM zone 32 has its central meridian at 9 degrees east, where x is 500000
        assert point.longitude == pytest.approx(
            9 + (point.x - 500000) / (111_320 * np.cos(np.radians(47.85))), abs=1e-5
        )
        assert 47.8 < point.latitude < 47.9
    for point in drawing_of(small_root).points:
        assert (point.x, point.y, point.crs, point.longitude) == (point.column + 0.5, point.row + 0.5, NOWHERE, None)


def test_a_folder_is_claimed_once_and_by_one_drawing(tmp_path, small_root):
    drawing, other = (drawing_of(small_root, seed=seed) for seed in (0, 1))
    folder = tmp_path / "check"
    claim(folder, drawing)
    write_sheets(folder, drawing)
    claim(folder, drawing)
    with pytest.raises(UsageError, match="another drawing"):
        claim(folder, other)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("kept")
    with pytest.raises(UsageError, match="not empty"):
        claim(tmp_path / "full", drawing)
    (folder / CSV_SHEET).write_text((folder / CSV_SHEET).read_text().replace(",\n", ",look again\n", 2))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match="filled in"):
        claim(folder, drawing)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (folder / CSV_SHEET).write_text("half a sh")
    with pytest.raises(UsageError, match="filled in"):
        claim(folder, drawing)


@pytest.mark.parametrize(("row", "column"), [(100, 40), (0, 0), (255, 199), (3, 198)])
def test_a_chip_shows_the_point_in_the_middle_and_where_that_is_in_the_patch(row, column):
    import io

    pixels = np.zeros((256, 200, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(256)[:, None], np.arange(200)
    shown = np.asarray(Image.open(io.BytesIO(chip(Image.fromarray(pixels), row, column))))
    assert shown.shape[0] == SIDE
    scale, half = SIDE // SURROUNDINGS, SURROUNDINGS // 2
    middle = shown[half * scale : (half + 1) * scale, half * scale : (half + 1) * scale]
    assert (middle == pixels[row, column]).all(), "the pixel itself is not drawn over"
    for down, right in ((-5, 4), (6, -7), (-half, half)):
        r, c = row + down, column + right
        expected = pixels[r, c] if 0 <= r < 256 and 0 <= c < 200 else (128, 128, 128)
        assert (shown[(half + down) * scale + 6, (half + right) * scale + 6] == expected).all()
    right_half = shown[:, SIDE + 8 :]
    framed = np.argwhere((right_half == 255).all(axis=2) & (np.arange(right_half.shape[1]) < 200 * SIDE // 256))
    centre = framed.mean(axis=0) / (SIDE / 256)
    inside = np.clip([row, column], half, [255 - half, 199 - half])
    assert np.abs(centre - inside).max() < half


def test_every_point_has_its_chip_and_data_without_images_are_told(tmp_path, small_root):
    drawing = drawing_of(small_root)
    patches = Archive.open(small_root).labelled("validation")
    write_chips(tmp_path, drawing, patches, workers=2)
    assert {path.name for path in (tmp_path / "chips").iterdir()} == {Path(point.chip).name for point in drawing.points}
    with pytest.raises(DataError, match="no s2 file"):
        write_chips(tmp_path, drawing, patches.restricted({"s1", "high"}))
