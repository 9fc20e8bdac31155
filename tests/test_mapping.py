"""A method maps a whole scene: the same map whatever the windows, nothing where there are no data, in constant memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from dfcbench import rasters
from dfcbench.blending import Tiling
from dfcbench.errors import ContractError, HiddenError, MethodCrash, UsageError
from dfcbench.fitted import Fitted
from dfcbench.mapping import map_scene, workplace
from dfcbench.method import Method, Needs, Prediction, RunContext
from dfcbench.rasters import Georeference, Window
from dfcbench.scene import Scene
from dfcbench.scheme import CLASSES, SCORED_CODES, palette
from tests.made_submissions import made_submission

UTM = Georeference("EPSG:32632", (10.0, 0.0, 500000.0, 0.0, -10.0, 5300000.0))
CODES = np.array(SCORED_CODES, np.uint8)


def pixelwise(s1: np.ndarray, s2: np.ndarray) -> np.ndarray:
    """Probabilities (8, H, W) that follow from each pixel's own values, with many near ties."""
    x = np.concatenate([s1 / 30 + 1, s2[:6] / 10000]).astype(np.float32)
    return np.nan_to_num(np.clip(np.round(x, 2), 0.001, None))


class Pixelwise(Method):
    name = "pixelwise"
    needs = Needs(inputs=frozenset({"s1", "s2"}), labels="low")
    hard = False

    def fit(self, contest, run):
        pass

    def predict(self, patches, run):
        self.seen = [*getattr(self, "seen", []), *patches.ids]

        def one(patch):
            assert patch.s1.dtype == np.float32 and patch.s2.dtype == np.uint16
            p = pixelwise(patch.s1, patch.s2)
            return Prediction(patch.id, CODES[p.argmax(axis=0)] if self.hard else p)

        yield from run.map(one, patches)


class ByWindow(Pixelwise):
    """What it says of a pixel depends on the whole window."""

    def predict(self, patches, run):
        for patch in patches:
            p = np.abs(pixelwise(patch.s1, patch.s2) - patch.s2.mean() / 20000)
            yield Prediction(patch.id, p)


def write_scene(folder: Path, height: int, width: int, seed: int = 0) -> dict[str, Path]:
    generator = np.random.default_rng(seed)
    s1 = generator.normal(-15, 4, (2, height, width)).astype(np.float32)
    s2 = generator.integers(1, 6000, (13, height, width)).astype(np.uint16)
    files = {"s1": folder / "s1.tif", "s2": folder / "s2.tif"}
    rasters.write(files["s1"], s1, UTM)
    rasters.write(files["s2"], s2, UTM)
    return files


def fitted(tmp_path: Path, method: Method) -> Fitted:
    return Fitted(made_submission(tmp_path / "subs", method.name), method, method.needs)


def silent(label, done, total):
    pass


def mapped(tmp_path, files, method=None, window=64, overlap=16, workers=2, progress=silent, out="map.tif", **options):
    method = method or Pixelwise()
    path = tmp_path / out
    with workplace(path) as scratch:
        map_scene(
            fitted(tmp_path, method),
            Scene.open(files),
            path,
            Tiling(window, overlap),
            RunContext(workers=workers, scratch=scratch / "run"),
            scratch,
            progress,
            **options,
        )
    return rasters.read(path)[0]


def leftovers(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob(".tmp-*"))


SHAPES = [(96, 96), (101, 57), (30, 140), (16, 9)]


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_pixelwise_method_gives_one_map_whatever_windows_and_overlaps(tmp_path, shape, hard):
    files = write_scene(tmp_path, *shape)
    expected = CODES[pixelwise(rasters.read(files["s1"]), rasters.read(files["s2"])).argmax(axis=0)]
    for window, overlap, strip in ((64, 16, 4096), (48, 0, 48), (48, 24, 50), (256, 64, 4096)):
        method = Pixelwise()
        method.hard = hard
        found = mapped(tmp_path, files, method, window, overlap, strip=strip)
        np.testing.assert_array_equal(found, expected, err_msg=f"{window} {overlap} {strip}")


def test_a_scene_of_odd_size_is_mapped_whole(tmp_path):
    files = write_scene(tmp_path, 517, 301)
    expected = CODES[pixelwise(rasters.read(files["s1"]), rasters.read(files["s2"])).argmax(axis=0)]
    np.testing.assert_array_equal(mapped(tmp_path, files, window=256, overlap=64), expected)


def test_without_overlap_each_window_is_mapped_as_a_patch_of_its_own(tmp_path):
    files = write_scene(tmp_path, 128, 192)
    found = mapped(tmp_path, files, ByWindow(), overlap=0)
    s1, s2 = rasters.read(files["s1"]), rasters.read(files["s2"])
    for row in range(0, 128, 64):
        for column in range(0, 192, 64):
            area = (slice(row, row + 64), slice(column, column + 64))
            p = np.abs(pixelwise(s1[:, *area], s2[:, *area]) - s2[:, *area].mean() / 20000)
            np.testing.assert_array_equal(found[area], CODES[p.argmax(axis=0)])


def test_strips_do_not_show(tmp_path):
    files = write_scene(tmp_path, 100, 300)
    whole = mapped(tmp_path, files, ByWindow(), strip=4096)
    np.testing.assert_array_equal(mapped(tmp_path, files, ByWindow(), strip=70), whole)


def test_pixels_without_data_come_out_as_none_and_empty_windows_are_never_seen(tmp_path):
    files = write_scene(tmp_path, 192, 192)
    s1, s2 = rasters.read(files["s1"]), rasters.read(files["s2"])
    s1[0, 70:80, 100] = np.nan  # VV alone
    s1[1, 5, 150] = np.inf
    s2[:, :70, :70] = 0  # a corner, as in ESA's products
    s2[9, 100, 100] = 0  # a dark pixel of one band is no gap
    rasters.write(files["s1"], s1, UTM)
    rasters.write(files["s2"], s2, UTM)
    with rasterio.open(files["s1"], "r+") as file:
        file.nodata = -99.0
    with rasterio.open(files["s2"], "r+") as file:
        file.nodata = 0
    s1[:, 20, 120] = -99
    with rasterio.open(files["s1"], "r+") as file:
        file.write(s1)
    gaps = np.zeros((192, 192), bool)
    gaps[70:80, 100] = gaps[5, 150] = gaps[20, 120] = True
    gaps[:70, :70] = True
    method = Pixelwise()
    found = mapped(tmp_path, files, method, overlap=0)
    np.testing.assert_array_equal(found == 0, gaps)
    assert len(method.seen) == 8
    assert "scene_r0_c0" not in method.seen


def test_a_mask_band_counts_as_nodata(tmp_path):
    files = write_scene(tmp_path, 64, 64)
    with rasterio.open(files["s2"], "r+") as file:
        mask = np.full((64, 64), 255, np.uint8)
        mask[:10] = 0
        file.write_mask(mask)
    found = mapped(tmp_path, files)
    assert (found[:10] == 0).all()
    assert (found[10:] > 0).all()


def test_the_map_is_a_cloud_optimised_tif_in_the_schemes_colours(tmp_path):
    mapped(tmp_path, write_scene(tmp_path, 1100, 700), window=256, overlap=32)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)]
        assert file.compression.name == "deflate"
        assert file.overviews(1) == [2, 4]
        assert file.nodata == 0
        assert file.crs.to_epsg() == 32632
        assert tuple(file.transform)[:6] == UTM.transform
        colours = file.colormap(1)
        assert [colours[code][:3] for code in range(11)] == [tuple(rgb) for rgb in palette().tolist()]
        assert {file.tags(1)[f"CLASS_{c.code}"] for c in CLASSES} == {c.name for c in CLASSES}
        assert file.tags()["METHOD"] == "pixelwise 1"
        full, half = file.read(1), file.read(1, out_shape=(550, 350))
    with rasterio.open(tmp_path / "map.tif", overview_level=0) as overview:
        half = overview.read(1)
    quarters = np.stack([full[a::2, b::2] for a in (0, 1) for b in (0, 1)])
    agreeing = (quarters[0] == quarters).all(axis=0)
    np.testing.assert_array_equal(half[agreeing], quarters[0][agreeing])
    assert (half == quarters).any(axis=0).all(), "an overview shows classes that are there, and no means of codes"


def test_the_same_scene_gives_the_same_bytes(tmp_path):
    files = write_scene(tmp_path, 150, 90)
    mapped(tmp_path, files, out="one.tif")
    mapped(tmp_path, files, out="two.tif", workers=1)
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "two.tif").read_bytes()


class Breaking(Pixelwise):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def predict(self, patches, run):
        if "scene_r0_c0" not in patches.ids:
            raise self.error
        yield from super().predict(patches, run)


@pytest.mark.parametrize(("error", "told"), [(KeyboardInterrupt(), KeyboardInterrupt), (ValueError("?"), MethodCrash)])
def test_a_broken_off_map_leaves_the_former_one_and_nothing_else(tmp_path, error, told):
    files = write_scene(tmp_path, 400, 400)
    (tmp_path / "map.tif").write_bytes(b"former")
    with pytest.raises(told):
        mapped(tmp_path, files, Breaking(error))
    assert (tmp_path / "map.tif").read_bytes() == b"former"
    assert leftovers(tmp_path) == []


def test_nothing_temporary_is_left_of_a_map_that_was_made(tmp_path):
    mapped(tmp_path, write_scene(tmp_path, 70, 70))
    assert {path.name for path in tmp_path.iterdir()} == {"subs", "s1.tif", "s2.tif", "map.tif"}


class Forgetful(Pixelwise):
    def predict(self, patches, run):
        yield from list(super().predict(patches, run))[1:]


class Curious(Pixelwise):
    needs = Needs(inputs=frozenset({"s2"}), labels="low")

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self.wanted = wanted

    def predict(self, patches, run):
        for patch in patches:
            getattr(patch, self.wanted)
            yield Prediction(patch.id, np.full(patch.shape, 1, np.uint8))


def test_a_method_is_held_to_its_contract_and_its_needs(tmp_path):
    files = write_scene(tmp_path, 70, 70)
    with pytest.raises(ContractError, match="no prediction for 1 of"):
        mapped(tmp_path, files, Forgetful())
    with pytest.raises(HiddenError, match=r"patch\.s1"):
        mapped(tmp_path, files, Curious("s1"))
    with pytest.raises(MethodCrash, match="no attribute 'high'"):
        mapped(tmp_path, files, Curious("high"))
    with pytest.raises(UsageError, match=r"--lr FILE\.tif"):
        mapped(tmp_path, files, Curious("low"))


def test_low_resolution_labels_are_shown_where_they_are_given(tmp_path):
    files = write_scene(tmp_path, 70, 70)
    low = np.full((1, 70, 70), 17, np.uint8)
    low[0, :5] = 254  # MODIS's mark of no class
    rasters.write(tmp_path / "low.tif", low, UTM)

    class Copying(Curious):
        def predict(self, patches, run):
            for patch in patches:
                yield Prediction(patch.id, patch.low)

    found = mapped(tmp_path, {**files, "low": tmp_path / "low.tif"}, Copying("low"))
    assert (found[:5] == 0).all() and (found[5:] == 10).all()


def test_windows_keep_their_place_on_the_ground(tmp_path):
    scene = Scene.open(write_scene(tmp_path, 70, 70))
    window = Window(20, 30, 16, 16)
    record = scene.cut(scene.read(window), [window], tmp_path / "cut")[0]
    with rasterio.open(record.path("s2")) as part, rasterio.open(tmp_path / "s2.tif") as whole:
        assert part.crs == whole.crs
        assert part.xy(0, 0) == whole.xy(20, 30)
        np.testing.assert_array_equal(part.read(), whole.read()[:, 20:36, 30:46])


def test_fractions_of_reflectance_are_rounded_and_negative_ones_are_dark(tmp_path):
    files = write_scene(tmp_path, 32, 32)
    s2 = np.full((13, 32, 32), 1234.6, np.float32)
    s2[0] = -3.2
    rasters.write(files["s2"], s2, UTM)
    block = Scene.open(files).read(Window(0, 0, 32, 32))
    assert block.pixels["s2"].dtype == np.uint16
    assert (block.pixels["s2"][0] == 0).all() and (block.pixels["s2"][1:] == 1235).all()
    assert block.valid.all()


def write_large_scene(folder: Path, side: int) -> None:
    """Pixels of a small scene, over and over."""
    for name, path in write_scene(folder / "tile", 256, 256).items():
        tile = rasters.read(path)
        rasters.write(folder / f"{name}.tif", np.tile(tile, (1, side // 256, side // 256)), UTM, durable=False)


PEAK = """
import json, re, sys
from pathlib import Path
from tests.test_mapping import Pixelwise, mapped
folder = Path(sys.argv[1])
files = {"s1": folder / "s1.tif", "s2": folder / "s2.tif"}
shape = mapped(folder, files, window=128, overlap=0, workers=1, strip=256).shape
print(json.dumps([shape, int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured as Linux counts it")
def test_memory_does_not_grow_with_the_scene(tmp_path):
    peaks = []
    for side in (1024, 2048):
        folder = tmp_path / str(side)
        write_large_scene(folder, side)
        done = subprocess.run([sys.executable, "-c", PEAK, str(folder)], capture_output=True, text=True, check=True)
        shape, peak = json.loads(done.stdout)
        assert shape == [side, side]
        peaks.append(peak)
    assert peaks[1] < 1.1 * peaks[0], f"{peaks} KiB"
