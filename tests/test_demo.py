"""The demo contest on disk: layout, types, determinism, overlaps, interruption, and who may write where."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfcbench import demo, rasters
from dfcbench.demo.plan import HOLD_OUT, blocks
from dfcbench.errors import UsageError
from dfcbench.scheme import SCORED_CODES
from tests.conftest import Shell

CONTEST = re.compile(
    r"DFC2020/ROIs0000_(?P<split>validation|test)/(?P<mod>s1|s2|lc|dfc)_(?P<folder>validation|0)/"
    r"ROIs0000_(?P=split)_(?P=mod)_0_p(?P<n>\d+)\.tif"
)
SEN12MS = re.compile(
    r"SEN12MS/(?P<season>ROIs1158_spring|ROIs1868_summer|ROIs1970_fall|ROIs2017_winter)/(?P<mod>s1|s2|lc)_(?P<scene>\d+)/"
    r"(?P=season)_(?P=mod)_(?P=scene)_p(?P<n>\d+)\.tif"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.generate(tmp_path_factory.mktemp("demo") / "tiny", "tiny", 0)


def tifs(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*.tif"))


def digest(root: Path) -> dict[str, str]:
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in tifs(root)}


def test_every_file_has_a_name_of_the_real_layout(tiny: Path) -> None:
    found: dict[str, set[str]] = {}
    for name in tifs(tiny):
        match = CONTEST.fullmatch(name) or SEN12MS.fullmatch(name)
        assert match, name
        part = match.groupdict()
        if "split" in part:
            assert part["folder"] == ("validation" if part["split"] == "validation" else "0")
        found.setdefault(part.get("split") or "training", set()).add(part["mod"])
    modalities = {"s1", "s2", "lc", "dfc"}
    assert found == {"training": modalities - {"dfc"}, "validation": modalities, "test": modalities}


def test_patches_are_numbered_without_gaps(tiny: Path) -> None:
    for split, count in (("validation", 4), ("test", 5)):
        names = [m for m in map(CONTEST.fullmatch, tifs(tiny)) if m and m["split"] == split]
        for modality in ("s1", "s2", "lc", "dfc"):
            assert sorted(int(m["n"]) for m in names if m["mod"] == modality) == list(range(count))


@pytest.mark.parametrize(
    ("modality", "bands", "contest", "sen12ms"),
    [("s1", 2, "float64", "float32"), ("s2", 13, "uint16", "uint16"), ("lc", 4, "uint16", "uint16"),
     ("dfc", 1, "uint8", None)],
)  # fmt: skip
def test_shape_type_and_georeference(tiny: Path, modality: str, bands: int, contest: str, sen12ms: str | None) -> None:
    for name in tifs(tiny):
        match = CONTEST.fullmatch(name) or SEN12MS.fullmatch(name)
        assert match
        if match["mod"] != modality:
            continue
        info = rasters.info(tiny / name)
        assert (info.bands, info.height, info.width) == (bands, 256, 256)
        official = name.startswith("DFC2020")
        assert info.dtype == (contest if official else sen12ms)
        assert info.georeference.located is not official
        assert info.georeference.crs is not None and ("UTM" in info.georeference.crs) is not official


def test_reference_holds_scored_classes_only_and_labels_known_codes(tiny: Path) -> None:
    for path in tiny.rglob("*_dfc_*.tif"):
        assert set(np.unique(rasters.read(path))) <= set(SCORED_CODES)
    for path in tiny.rglob("*_lc_*.tif"):
        assert set(np.unique(rasters.read(path, [0]))) <= {*range(1, 18), 255}


def test_radar_and_light_lie_in_the_range_of_real_patches(tiny: Path) -> None:
    for path in tiny.rglob("*_s1_*.tif"):
        decibels = rasters.read(path)
        assert np.isfinite(decibels).all() and decibels.min() >= -49 and decibels.max() <= 26
    for path in tiny.rglob("*_s2_*.tif"):
        reflectance = rasters.read(path)
        assert reflectance.min() >= 1 and reflectance.max() <= 28000


def test_neighbours_of_a_scene_share_half_a_patch(tiny: Path) -> None:
    checked = 0
    for modality in ("s1", "s2", "lc"):
        for folder in tiny.glob(f"SEN12MS/*/{modality}_*"):
            left, right = sorted(folder.iterdir())
            np.testing.assert_array_equal(rasters.read(left)[:, :, 128:], rasters.read(right)[:, :, :128])
            west, east = rasters.info(left).georeference.transform, rasters.info(right).georeference.transform
            assert east[2] - west[2] == pytest.approx(1280.0) and east[5] == west[5]
            checked += 1
    assert checked == 6


def test_low_resolution_cells_are_500_m_wide_and_skewed(tiny: Path) -> None:
    """Along a row of pixels the class changes only where a cell ends: at one residue modulo 50 pixels, which drifts."""
    residues = set()
    for path in tiny.rglob("*_lc_*.tif"):
        igbp = rasters.read(path, [0])[0]
        for row in igbp:
            found = set((np.flatnonzero(np.diff(row.astype(int))) % 50).tolist())
            assert len(found) <= 1
        down = set(np.flatnonzero((igbp[1:] != igbp[:-1]).mean(axis=1) > 0.25) % 50)
        assert len(down) <= 1
        first = [np.flatnonzero(np.diff(row.astype(int)))[:1] % 50 for row in igbp[::16]]
        residues.add(len({int(f[0]) for f in first if f.size}))
    assert max(residues) > 1


def test_lccs_layers_follow_the_igbp_class(tiny: Path) -> None:
    for path in tiny.rglob("*_lc_*.tif"):
        igbp, *lccs = rasters.read(path)
        for code in np.unique(igbp):
            assert all(len(np.unique(layer[igbp == code])) == 1 for layer in lccs)
        assert (lccs[0][igbp == 17] == 3).all() and (lccs[1][igbp == 13] == 9).all()


def test_same_seed_same_bytes_whatever_the_workers(tiny: Path, tmp_path: Path) -> None:
    assert digest(demo.generate(tmp_path / "one", "tiny", 0, workers=1)) == digest(tiny)
    other = digest(demo.generate(tmp_path / "other", "tiny", 1, workers=3))
    assert not set(other.values()) & set(digest(tiny).values())


def test_manifest_says_what_it_is(tiny: Path) -> None:
    manifest = json.loads((tiny / demo.MANIFEST).read_text())
    expected = {"dataset": "demo", "version": demo.VERSION, "seed": 0, "size": "tiny"}
    assert {key: manifest[key] for key in expected} == expected
    assert {split: entry["patches"] for split, entry in manifest["splits"].items()} == {
        "validation": 4, "test": 5, "training": 4,
    }  # fmt: skip


class Stopped(Exception):
    pass


def test_interrupted_generation_has_no_manifest_and_is_repeated(tiny: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 2:
            raise Stopped

    with pytest.raises(Stopped):
        demo.ensure("tiny", 0, tmp_path, progress=stop)
    broken = tmp_path / demo.name("tiny", 0)
    assert tifs(broken) and not (broken / demo.MANIFEST).exists()
    (broken / "DFC2020/ROIs0000_test/s1_0/ROIs0000_test_s1_0_p99.tif").write_bytes(b"left over")
    assert demo.ensure("tiny", 0, tmp_path) == broken
    assert digest(broken) == digest(tiny)


def test_complete_contest_is_not_generated_again(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    root = demo.ensure("tiny", 5, tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls[0] == (0, 13) and calls[-1] == (13, 13)
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*.tif")}
    assert demo.ensure("tiny", 5, tmp_path, progress=lambda *_: pytest.fail("generated again")) == root
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*.tif")} == before


def test_two_processes_at_once_generate_once(tiny: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dfcbench import demo\n"
        "calls = []\n"
        "demo.ensure('tiny', 0, Path(sys.argv[1]), progress=lambda *a: calls.append(a))\n"
        "print(bool(calls))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(2)]
    said = sorted(run.communicate(timeout=120)[0].strip() for run in runs)
    assert said == [b"False", b"True"]
    assert digest(tmp_path / demo.name("tiny", 0)) == digest(tiny)


def test_cache_directory_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DFCBENCH_CACHE", str(tmp_path))
    assert demo.cache_directory() == tmp_path


def test_foreign_files_are_never_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "SEN12MS" / "precious.tif"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(UsageError, match="no demo contest"):
        demo.generate(tmp_path, "tiny")
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize(("size", "seed"), [("tiny", 4), ("demo", 0)])
def test_another_demo_contest_is_not_replaced_unasked(dfcbench: Shell, tiny: Path, size: str, seed: int) -> None:
    there = dfcbench.folder / "demo"
    shutil.copytree(tiny, there)
    before = digest(there)
    told = dfcbench("data", "demo", "--out", "demo", "--size", size, "--seed", seed, expect=2).stderr
    for words in ("demo: holds another contest", "size tiny, seed 0", f"size {size}, seed {seed}", "--replace"):
        assert words in told
    assert digest(there) == before and (there / demo.MANIFEST).read_bytes() == (tiny / demo.MANIFEST).read_bytes()


def test_another_demo_contest_is_replaced_where_asked(dfcbench: Shell, tiny: Path) -> None:
    there = dfcbench.folder / "demo"
    shutil.copytree(tiny, there)
    (there / "DFC2020/ROIs0000_test/s1_0/ROIs0000_test_s1_0_p99.tif").write_bytes(b"of the one that was there")
    dfcbench("data", "demo", "--out", "demo", "--size", "tiny", "--seed", 4, "--replace")
    assert json.loads((there / demo.MANIFEST).read_text())["seed"] == 4
    assert len(tifs(there)) == len(tifs(tiny))
    assert not set(digest(there).values()) & set(digest(tiny).values())


def test_the_same_contest_and_an_unfinished_one_are_written_without_asking(tiny: Path, tmp_path: Path) -> None:
    there = tmp_path / "demo"
    shutil.copytree(tiny, there)
    broken = next(there.rglob("*_s2_*.tif"))
    broken.write_bytes(b"broken")
    demo.generate(there, "tiny", 0)
    assert digest(there) == digest(tiny)

    def stop(done: int, total: int) -> None:
        if done > 2:
            raise Stopped

    with pytest.raises(Stopped):
        demo.generate(there, "tiny", 4, replace=True, progress=stop)
    assert tifs(there)
    demo.generate(there, "tiny", 0)
    assert digest(there) == digest(tiny)


def test_unknown_size_names_the_sizes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tiny, demo, full"):
        demo.generate(tmp_path / "x", "huge")


@pytest.mark.parametrize("size", list(demo.SIZES))
def test_plan_has_the_promised_patches_and_a_hold_out(size: str) -> None:
    plan = list(blocks(size))
    wanted = demo.SIZES[size]
    for split, count in (("validation", wanted.validation), ("test", wanted.test)):
        parts = [b for b in plan if b.split == split]
        assert [b.first for b in parts] == np.cumsum([0, *(b.patches for b in parts[:-1])]).tolist()
        assert sum(b.patches for b in parts) == count
    scenes = [(b.season, b.scene) for b in plan if b.split == "training"]
    assert len(set(scenes)) == wanted.scenes
    held = [scene in HOLD_OUT[season] for season, scene in scenes]
    assert not all(held) and (any(held) or size == "tiny")
