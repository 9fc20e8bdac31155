"""The packed copy: equal to its sources, refused when stale, and never half built."""

from __future__ import annotations

import json
import os
import pickle
import resource
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from dfcbench import packed, rasters, records
from dfcbench.archive import Archive
from dfcbench.errors import DataError
from dfcbench.packed import StalePackError, open_pack, verify_pack
from dfcbench.patches import LabelledPatchSet, Patch, PatchSet
from tests import datamaker


@pytest.fixture
def patches(tmp_path: Path) -> LabelledPatchSet:
    return Archive.open(datamaker.write_contest(tmp_path / "data")).labelled("test")


def assert_same(first: PatchSet, second: PatchSet) -> None:
    assert first.ids == second.ids and first.modalities == second.modalities
    for a, b in zip(first, second, strict=True):
        for name in sorted(first.modalities):
            x, y = getattr(a, name), getattr(b, name)
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        assert (a.shape, a.georeference, a.scene, a.region) == (b.shape, b.georeference, b.scene, b.region)


def binary(folder: Path, modality: str) -> Path:
    (found,) = folder.glob(f"{modality}-*.bin")
    return found


@pytest.fixture
def building(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Modalities of the arrays that are read from tifs."""
    read: list[str] = []
    original = records.read

    def recording(record: records.PatchRecord, modality: str) -> np.ndarray:
        read.append(modality)
        return original(record, modality)

    monkeypatch.setattr(records, "read", recording)
    return read


@pytest.mark.parametrize("name", sorted(datamaker.VARIANTS))
def test_copy_equals_its_sources_for_every_dtype(tmp_path: Path, name: str) -> None:
    archive = Archive.open(datamaker.write_contest(tmp_path / "data", datamaker.VARIANTS[name]))
    for split in archive.splits:
        plain = archive.labelled(split)
        copy = plain.packed(tmp_path / split)
        assert_same(plain, copy)
        assert isinstance(copy, LabelledPatchSet)
        assert_same(plain[::-2], copy[::-2])
        np.testing.assert_array_equal(plain.shapes, copy.shapes)


def test_copy_holds_patches_of_mixed_size_and_nan(tmp_path: Path) -> None:
    for n, size in enumerate([(3, 5), (8, 2), (1, 1)]):
        s1 = np.random.default_rng(n).normal(size=(2, *size))
        s1[0, 0, 0] = np.nan
        for token, values in (("s1", s1), ("lc", np.full(size, 9, np.uint8))):
            rasters.write(tmp_path / f"ROIs0000_test_{token}_0_p{n}.tif", values)
    plain = Archive.open(tmp_path).patches("test")
    copy = plain.packed(tmp_path / "pack")
    assert_same(plain, copy)
    assert [p.shape for p in copy] == [(3, 5), (8, 2), (1, 1)]


def test_copy_is_read_without_its_tifs_being_opened(
    patches: LabelledPatchSet, tmp_path: Path, building: list[str]
) -> None:
    copy = patches.packed(tmp_path / "pack")
    building.clear()
    for patch in copy:
        _ = patch.s1, patch.s2, patch.low, patch.high, patch.shape
    assert building == []


def test_fresh_copy_is_used_as_it_is(patches: LabelledPatchSet, tmp_path: Path, building: list[str]) -> None:
    folder = tmp_path / "pack"
    patches.packed(folder, {"s1"})
    assert building == ["s1"] * 4
    building.clear()
    patches.packed(folder, {"s1", "low"})
    assert building == ["low"] * 4
    building.clear()
    patches[1:3].packed(folder, {"s1", "low"})
    patches.unlabelled().packed(folder, {"s1"})
    assert building == []


def test_modalities_that_are_not_packed_are_read_from_tifs(
    patches: LabelledPatchSet, tmp_path: Path, building: list[str]
) -> None:
    copy = patches.packed(tmp_path / "pack", {"s2"})
    building.clear()
    np.testing.assert_array_equal(copy[2].s1, patches[2].s1)
    assert building == ["s1", "s1"]
    with pytest.raises(DataError, match="not every patch has high"):
        patches.unlabelled().packed(tmp_path / "pack", {"high"})


def test_progress_counts_arrays_up_to_the_total(patches: LabelledPatchSet, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    patches.packed(tmp_path / "pack", {"s1", "high"}, progress=lambda *c: calls.append(c))
    assert calls == [(n, 8) for n in range(1, 9)]


def test_changed_source_makes_the_copy_stale_and_it_is_built_again(patches: LabelledPatchSet, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    patches.packed(folder)
    source = patches._records[2].path("s2")
    pixels = rasters.read(source)
    rasters.write(source, pixels + 1, datamaker.NOWHERE)
    with pytest.raises(StalePackError, match=r"s2.json.*ROIs0000_test_s2_0_p2\.tif has changed"):
        open_pack(folder, "s2", patches._records)
    open_pack(folder, "s1", patches._records)
    assert_same(patches, patches.packed(folder))
    np.testing.assert_array_equal(patches.packed(folder)[2].s2, pixels + 1)


def test_touched_source_is_enough_to_be_stale(patches: LabelledPatchSet, tmp_path: Path) -> None:
    patches.packed(tmp_path / "pack", {"low"})
    os.utime(patches._records[0].path("low"), ns=(1, 1))
    with pytest.raises(StalePackError, match="has changed"):
        open_pack(tmp_path / "pack", "low", patches._records)


def test_copy_of_other_patches_is_refused_and_replaced(patches: LabelledPatchSet, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    patches[:2].packed(folder, {"low"})
    with pytest.raises(StalePackError, match="holds no patch ROIs0000_test_0_p2"):
        open_pack(folder, "low", patches._records)
    assert_same(patches, patches.packed(folder))
    assert len(list(folder.glob("low-*.bin"))) == 1


def test_moved_data_stay_fresh(patches: LabelledPatchSet, tmp_path: Path, building: list[str]) -> None:
    patches.packed(tmp_path / "pack")
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    moved = Archive.open(tmp_path / "elsewhere").labelled("test")
    building.clear()
    moved.packed(tmp_path / "pack")
    assert building == []


def test_truncated_copy_is_refused_and_built_again(patches: LabelledPatchSet, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    old = patches.packed(folder)
    with binary(folder, "s1").open("r+b") as handle:
        handle.truncate(100)
    with pytest.raises(StalePackError, match="has 100 bytes"):
        open_pack(folder, "s1", patches._records)
    with pytest.raises(StalePackError, match="has 100 bytes"):
        old._packs["s1"].slot(0).read()
    assert_same(patches, old)
    assert_same(patches, patches.packed(folder))


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as handle:
        handle.seek(at)
        byte = handle.read(1)
        handle.seek(-1, os.SEEK_CUR)
        handle.write(bytes([byte[0] ^ 1]))


def test_a_flipped_bit_is_never_handed_out_and_the_copy_is_built_again(
    patches: LabelledPatchSet, tmp_path: Path, building: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "pack"
    patches.packed(folder)
    flip(binary(folder, "low"), 2 * 16 * 16 + 7)
    building.clear()
    copy = patches.packed(folder)
    assert_same(patches.unlabelled(), copy.unlabelled())
    assert len([r for r in caplog.records if "Reading the tif of ROIs0000_test_0_p2 instead" in r.getMessage()]) == 1
    building.clear()
    again = patches.packed(folder)
    assert building == ["low"] * 4, "the damaged modality is built again, and no other"
    building.clear()
    _ = [patch.low for patch in again]
    assert building == []


def test_an_index_that_points_elsewhere_is_noticed(patches: LabelledPatchSet, tmp_path: Path) -> None:
    for column, value in (("offset", 10**9), ("offset", "x"), ("height", -1), ("height", 10**6), ("crc32", None)):
        folder = tmp_path / f"{column}{value}"
        patches.packed(folder, {"s1"})
        index = json.loads((folder / "s1.json").read_text())
        index["patches"][column][0] = value
        (folder / "s1.json").write_text(json.dumps(index))
        copy = patches.packed(folder, {"s1"})
        np.testing.assert_array_equal(copy[0].s1, patches[0].s1)


def test_flipped_bit_is_found_by_the_checksums(patches: LabelledPatchSet, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    patches.packed(folder)
    verify_pack(folder)
    flip(binary(folder, "low"), 2 * 16 * 16 + 7)
    with pytest.raises(StalePackError, match=r"1 of 16 packed records are damaged: low of ROIs0000_test_0_p2\."):
        verify_pack(folder)
    with pytest.raises(DataError, match="no packed copy"):
        verify_pack(tmp_path / "nothing")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": 1}', '{"format": 99, "modality": "s1"}'])
def test_damaged_index_is_refused_and_built_again(patches: LabelledPatchSet, tmp_path: Path, content: str) -> None:
    folder = tmp_path / "pack"
    patches.packed(folder, {"s1"})
    (folder / "s1.json").write_text(content)
    with pytest.raises(StalePackError, match=r"s1\.json"):
        open_pack(folder, "s1", patches._records)
    assert_same(patches, patches.packed(folder, {"s1"}))


def test_index_without_its_columns_is_refused(patches: LabelledPatchSet, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    patches.packed(folder, {"s1"})
    index = json.loads((folder / "s1.json").read_text())
    index["patches"]["offset"].pop()
    (folder / "s1.json").write_text(json.dumps(index))
    with pytest.raises(StalePackError, match=r"s1\.json"):
        open_pack(folder, "s1", patches._records)


@pytest.mark.parametrize("after", [0, 1, 3, 4, 6])
def test_interrupted_build_is_never_taken_for_a_complete_one(
    patches: LabelledPatchSet, tmp_path: Path, after: int
) -> None:
    folder = tmp_path / "pack"

    def interrupt(done: int, total: int) -> None:
        if done > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        patches.packed(folder, {"s1", "s2"}, progress=interrupt)
    if after < 4:
        with pytest.raises(StalePackError):
            open_pack(folder, "s1", patches._records)
    with pytest.raises(StalePackError):
        open_pack(folder, "s2", patches._records)
    assert_same(patches, patches.packed(folder, {"s1", "s2"}))


def test_what_a_kill_leaves_behind_is_removed(patches: LabelledPatchSet, tmp_path: Path) -> None:
    folder = tmp_path / "pack"
    folder.mkdir()
    for leftover in (".tmp-s1-0123-abc.bin", "s1-0123456789ab.bin", ".tmp-s1-x.json"):
        (folder / leftover).write_bytes(b"half")
    patches.packed(folder, {"s1"})
    assert sorted(p.name for p in folder.iterdir() if p.name != ".lock") == [binary(folder, "s1").name, "s1.json"]


def test_full_disk_is_noticed_before_anything_is_written(
    patches: LabelledPatchSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    needed = 4 * 16 * 16 * (2 * 4 + 13 * 2 + 1 + 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(needed - 1))
    with pytest.raises(DataError, match=r"pack: packing s1, s2, low, high of 4 patches needs 0\.00 GB") as caught:
        patches.packed(tmp_path / "pack")
    assert "another disk" in str(caught.value)
    assert not list((tmp_path / "pack").glob("*.bin"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(needed))
    patches.packed(tmp_path / "pack")


def test_place_that_cannot_be_written_is_named(patches: LabelledPatchSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/pack: the packed copy cannot be written"):
        patches.packed(tmp_path / "file/pack")


def test_broken_source_is_named_and_leaves_no_copy(patches: LabelledPatchSet, tmp_path: Path) -> None:
    source = patches._records[3].path("s2")
    source.write_bytes(source.read_bytes()[:2000])
    with pytest.raises(DataError, match=source.name):
        patches.packed(tmp_path / "pack", {"s2"})
    with pytest.raises(StalePackError):
        open_pack(tmp_path / "pack", "s2", patches._records)


def test_arrays_belong_to_the_caller(patches: LabelledPatchSet, tmp_path: Path) -> None:
    copy = patches.packed(tmp_path / "pack")
    array = copy[0].s2
    array[...] = 0
    np.testing.assert_array_equal(copy[0].s2, patches[0].s2)
    verify_pack(tmp_path / "pack")


def checksum(patch: Patch) -> float:
    return float(patch.s2.sum() + np.abs(patch.s1).sum())


def test_copy_is_read_from_other_processes_and_threads(patches: LabelledPatchSet, tmp_path: Path) -> None:
    copy = patches.packed(tmp_path / "pack")
    expected = [checksum(p) for p in patches]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(checksum, list(copy))) == expected
    fresh = pickle.loads(pickle.dumps(copy))
    results: dict[int, list[float]] = {}

    def work(name: int) -> None:
        results[name] = [checksum(p) for _ in range(20) for p in fresh]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result == expected * 20 for result in results.values()) and len(results) == 4


def test_pickled_patch_of_a_large_copy_is_small(patches: LabelledPatchSet, tmp_path: Path) -> None:
    assert len(pickle.dumps(patches.packed(tmp_path / "pack")[0])) < 3000


def resident() -> float:
    """Resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
def test_reading_leaves_no_pages_resident(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    record = 4 * 2**20
    with path.open("wb") as sink:
        for n in range(64):
            sink.write(bytes([n]) * record)
    file = packed.PackFile(path, 64 * record)
    before = resident()
    for n in range(64):
        assert file.read(n * record, (record,), np.dtype(np.uint8))[-1] == n
    grown = resident() - before
    assert grown < 32, f"{grown:.0f} MiB stay resident of 256 MiB read"
