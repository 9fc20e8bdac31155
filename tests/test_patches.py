"""Patch and PatchSet: what is read, what stays hidden, and how pixels are drawn."""

from __future__ import annotations

import os
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfcbench import rasters, records
from dfcbench.archive import Archive
from dfcbench.errors import DataError, HiddenError, UsageError
from dfcbench.patches import LabelledPatchSet, Patch, PatchRecord, PatchSet
from dfcbench.sampling import distinct, equal_shares
from dfcbench.scheme import simplify_igbp
from tests import datamaker


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive.open(datamaker.write_everything(tmp_path_factory.mktemp("data")))


def one(tmp_path: Path, **pixels: np.ndarray) -> Any:
    """A set of one patch with these files."""
    files = {token: tmp_path / f"ROIs0000_test_{token}_0_p1.tif" for token in pixels}
    for token, values in pixels.items():
        rasters.write(files[token], values)
    record = PatchRecord("ROIs0000_test_0_p1", "ROIs0000_test_0", None, files)
    return (LabelledPatchSet if "dfc" in pixels else PatchSet)([record])


@pytest.mark.parametrize("name", sorted(datamaker.VARIANTS))
def test_every_dtype_variant_reads_as_what_was_written(tmp_path: Path, name: str) -> None:
    variant = datamaker.VARIANTS[name]
    data = Archive.open(datamaker.write_contest(tmp_path, variant))
    written = {t: rasters.read(data.splits["test"][1].files[t]) for t in datamaker.TOKENS}
    patch = data.labelled("test")[1]
    assert (patch.s1.dtype, patch.s2.dtype, patch.low.dtype, patch.high.dtype) == (
        np.float32, np.uint16, np.uint8, np.uint8
    )  # fmt: skip
    assert written["s1"].dtype == variant.dtypes["s1"]
    np.testing.assert_array_equal(patch.s1, written["s1"].astype(np.float32))
    np.testing.assert_array_equal(patch.s2, written["s2"])
    np.testing.assert_array_equal(patch.low, simplify_igbp(written["lc"][0]))
    np.testing.assert_array_equal(patch.high, written["dfc"][0])
    assert patch.shape == patch.low.shape == patch.s2.shape[1:]


def test_odd_values_are_read_as_documented(tmp_path: Path) -> None:
    s1 = np.full((2, 4, 4), -12.0)
    s1[0, 0, 0] = np.nan
    s2 = np.full((13, 4, 4), 700, np.int16)
    s2[3, 1, 1] = -5
    lc = np.array([[0, 1, 18, 254], [255, 17, 9, 14], [300, -1, 10, 5], [6, 7, 8, 11]], np.int16)
    dfc = np.array([[0, 1, 11, 200], [10, -3, 3, 8], [2, 4, 5, 6], [7, 9, 1, 300]], np.int32)
    patch = one(tmp_path, s1=s1, s2=s2, lc=lc, dfc=dfc)[0]
    assert np.isnan(patch.s1[0, 0, 0]) and np.isfinite(patch.s1).sum() == 31
    assert patch.s2[3, 1, 1] == 0 and patch.s2[3, 1, 2] == 700
    np.testing.assert_array_equal(patch.low, [[0, 1, 0, 0], [0, 10, 3, 6], [0, 0, 4, 1], [2, 2, 3, 5]])
    np.testing.assert_array_equal(patch.high, [[0, 1, 0, 0], [10, 0, 3, 8], [2, 4, 5, 6], [7, 9, 1, 0]])


@pytest.mark.parametrize(("token", "bands", "expected"), [("s1", 1, 2), ("s2", 12, 13), ("dfc", 2, 1)])
def test_wrong_number_of_bands_names_file_and_both_numbers(
    tmp_path: Path, token: str, bands: int, expected: int
) -> None:
    patch = one(tmp_path, **{token: np.ones((bands, 4, 4), np.uint16)})[0]
    with pytest.raises(
        DataError, match=rf"ROIs0000_test_{token}_0_p1\.tif: has {bands} band\(s\), {expected} expected"
    ):
        getattr(patch, "high" if token == "dfc" else token)


def test_reflectance_in_fractions_is_refused_with_the_remedy(tmp_path: Path) -> None:
    patch = one(tmp_path, s2=np.full((13, 4, 4), 0.12, np.float32))[0]
    with pytest.raises(DataError, match="Multiply by 10000"):
        _ = patch.s2


def test_missing_modality_names_patch_and_token(tmp_path: Path) -> None:
    patches = one(tmp_path, s1=np.ones((2, 4, 4)))
    assert patches.modalities == {"s1"}
    with pytest.raises(DataError, match="patch ROIs0000_test_0_p1: has no lc file"):
        _ = patches[0].low


def test_reference_has_no_attribute_and_no_path_where_it_is_hidden(archive: Archive, tmp_path: Path) -> None:
    hidden = archive.patches("test")
    for patches in (
        hidden,
        hidden[1:],
        hidden.select(hidden.ids[:2]),
        hidden.packed(tmp_path / "pack"),
        archive.labelled("test").packed(tmp_path / "labelled").unlabelled(),
    ):
        assert not hasattr(patches[0], "high")
        assert type(patches[0]) is Patch
        assert patches.modalities == {"s1", "s2", "low"}
        for item in (patches, patches[0]):
            content = pickle.dumps(item)
            assert b"s1_0" in content
            assert b"dfc_" not in content and b"_dfc" not in content and b"high" not in content
    assert not list((tmp_path / "pack").glob("high*"))
    with pytest.raises(HiddenError, match="high"):
        hidden.sample_pixels(3, np.random.default_rng(0), balance="high")
    assert hidden.sample_pixels(3, np.random.default_rng(0)).high is None


def test_set_is_a_sequence(archive: Archive) -> None:
    patches = archive.patches("test")
    assert len(patches) == 4 and [p.id for p in patches] == [p.id for p in patches] == list(patches.ids)
    assert patches[1:].ids == patches.ids[1:] and patches[::-1].ids == patches.ids[::-1]
    assert patches[-1].id == patches.ids[-1] and patches[np.int64(2)].id == patches.ids[2]  # type: ignore[call-overload]
    with pytest.raises(IndexError):
        patches[4]
    assert [batch.ids for batch in patches.batches(3)] == [patches.ids[:3], patches.ids[3:]]
    assert patches.select(reversed(patches.ids)).ids == patches.ids[::-1]
    with pytest.raises(UsageError, match="nowhere"):
        patches.select(["nowhere"])
    assert len(patches[4:]) == 0 and patches[4:].modalities == frozenset()


def test_labelled_set_stays_labelled_through_slicing_and_pickling(archive: Archive) -> None:
    patches = archive.labelled("validation")
    again = pickle.loads(pickle.dumps(patches[1:]))
    assert isinstance(again, LabelledPatchSet)
    np.testing.assert_array_equal(again[0].high, patches[1].high)
    assert patches.modalities == {"s1", "s2", "low", "high"}


def test_restricted_set_keeps_no_path_to_the_rest(archive: Archive) -> None:
    patches = archive.patches("test").restricted({"s2"})
    for item in (patches, patches[1:3], pickle.loads(pickle.dumps(patches))):
        assert item.modalities == {"s2"}
        assert item[0].s2.shape == (13, 16, 16)
        with pytest.raises(HiddenError, match="s1"):
            _ = item[0].s1
    assert b"s1_0" not in pickle.dumps(patches)


def test_patch_of_which_nothing_is_shown_still_has_its_shape(archive: Archive) -> None:
    bare = pickle.loads(pickle.dumps(archive.patches("test").restricted(())))[1:]
    assert bare.modalities == frozenset() and bare[0].shape == (16, 16)
    assert b".tif" not in pickle.dumps(bare) and b"s2_0" not in pickle.dumps(bare)


def test_subset_is_seeded_and_keeps_the_order(archive: Archive) -> None:
    patches = archive.patches("training")
    drawn = patches.subset(5, np.random.default_rng(1))
    assert drawn.ids == patches.subset(5, np.random.default_rng(1)).ids
    assert len(drawn) == 5 and [i for i in patches.ids if i in drawn.ids] == list(drawn.ids)
    assert len({patches.subset(5, np.random.default_rng(s)).ids for s in range(20)}) > 5
    assert patches.subset(99, np.random.default_rng(1)).ids == patches.ids


def test_georeference_is_kept_where_the_file_has_one(archive: Archive) -> None:
    located = archive.patches("training")[0].georeference
    assert located.located and located.transform == datamaker.UTM.transform
    assert "32632" in (located.crs or "")
    assert not archive.patches("test")[0].georeference.located


def test_sampled_values_are_those_of_the_patches(archive: Archive) -> None:
    patches = archive.labelled("test")
    sample = patches.sample_pixels(300, np.random.default_rng(3))
    assert sample.x.dtype == np.float32 and sample.x.shape == (300, 15) and len(sample) == 300
    assert len(set(zip(sample.patch, sample.row, sample.column, strict=True))) == 300
    for i in range(0, 300, 7):
        patch = patches[int(sample.patch[i])]
        at = (sample.row[i], sample.column[i])
        np.testing.assert_array_equal(sample.x[i], [*patch.s1[:, *at], *patch.s2[:, *at]])
        assert sample.low[i] == patch.low[at]
        assert sample.high is not None and sample.high[i] == patch.high[at]


def test_sampling_reads_only_what_it_needs(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    patches = archive.patches("test")
    touched: list[tuple[str, str]] = []
    original = records.read

    def recording(record: PatchRecord, modality: str) -> np.ndarray:
        touched.append((record.id, modality))
        return original(record, modality)

    monkeypatch.setattr(records, "read", recording)
    sample = patches.sample_pixels(2, np.random.default_rng(0), inputs=("s1",))
    drawn_from = {patches.ids[i] for i in sample.patch}
    assert set(touched) == {(i, m) for i in drawn_from for m in ("s1", "low")}
    assert sample.x.shape == (2, 2)
    touched.clear()
    sample = patches.sample_pixels(2, np.random.default_rng(0), inputs=("s2",), balance="low")
    assert {i for i, m in touched if m == "s2"} == {patches.ids[i] for i in sample.patch}


def test_uniform_sample_hits_every_pixel_of_unequal_patches_equally_often(tmp_path: Path) -> None:
    sizes = [(2, 3), (5, 4), (1, 1), (3, 3)]
    tables = []
    for n, size in enumerate(sizes):
        path = tmp_path / f"ROIs0000_test_lc_0_p{n}.tif"
        rasters.write(path, np.ones(size, np.uint8))
        tables.append(PatchRecord(f"ROIs0000_test_0_p{n}", "ROIs0000_test_0", None, {"lc": path}))
    patches = PatchSet(tables).packed(tmp_path / "pack")
    total = sum(h * w for h, w in sizes)
    for n in (7, 30):  # drawn, and drawn as a complement
        generator = np.random.default_rng(n)
        hits = np.zeros((4, 5, 4))
        rounds = 500
        for _ in range(rounds):
            sample = patches.sample_pixels(n, generator, inputs=())
            np.add.at(hits, (sample.patch, sample.row, sample.column), 1)
        inside = np.concatenate([hits[i, :h, :w].ravel() for i, (h, w) in enumerate(sizes)])
        assert inside.sum() == rounds * n == hits.sum()
        p = n / total
        z = (inside - rounds * p) / np.sqrt(rounds * p * (1 - p))
        assert np.abs(z).max() < 4.5
        assert 0.4 < np.square(z).mean() < 1.8  # without replacement: exactly binomial per pixel


def test_sample_larger_than_the_set_is_the_set(archive: Archive) -> None:
    sample = archive.patches("validation").sample_pixels(10**6, np.random.default_rng(0), inputs=("s2",))
    assert len(sample) == 3 * 16 * 16
    np.testing.assert_array_equal(sample.row[:256], np.repeat(np.arange(16), 16))


@pytest.mark.parametrize("balance", ["low", "high"])
def test_balanced_sample_takes_classes_equally_and_never_unlabelled(tmp_path: Path, balance: str) -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[:, :10] = 10
    labels[0, 10:13] = 1
    labels[5:15, 10:] = 4
    raw = {0: 0, 10: 17, 1: 3, 4: 10}
    lc = np.vectorize(raw.get)(labels) if balance == "low" else np.full((20, 20), 17)
    dfc = labels if balance == "high" else np.full((20, 20), 10)
    s1 = np.stack([np.arange(400.0).reshape(20, 20), np.zeros((20, 20))])
    patches = one(tmp_path, s1=s1, lc=lc.astype(np.uint16), dfc=dfc.astype(np.uint8))
    sample = patches.sample_pixels(63, np.random.default_rng(0), inputs=("s1",), balance=balance)
    drawn = sample.low if balance == "low" else sample.high
    assert drawn is not None
    assert dict(zip(*np.unique(drawn, return_counts=True), strict=True)) == {1: 3, 4: 30, 10: 30}
    np.testing.assert_array_equal(labels[sample.row, sample.column], drawn)
    np.testing.assert_array_equal(s1[0, sample.row, sample.column], sample.x[:, 0])
    assert len(set(sample.x[:, 0])) == 63


def test_balanced_sample_is_uniform_within_a_class(tmp_path: Path) -> None:
    lc = np.full((4, 6), 17, np.uint8)
    lc[:, :2] = 3
    patches = one(tmp_path, lc=lc).packed(tmp_path / "pack")
    generator = np.random.default_rng(5)
    hits = np.zeros((4, 6))
    for _ in range(800):
        sample = patches.sample_pixels(8, generator, inputs=(), balance="low")
        hits[sample.row, sample.column] += 1
    for columns, size in ((slice(0, 2), 8), (slice(2, 6), 16)):
        p = 4 / size
        assert np.abs(hits[:, columns] - 800 * p).max() < 4.5 * np.sqrt(800 * p * (1 - p))


def test_sample_depends_on_the_generator_alone(archive: Archive, tmp_path: Path) -> None:
    patches = archive.labelled("test")
    packed = patches.packed(tmp_path / "pack")
    for balance in (None, "low", "high"):
        first, again, copy = (
            p.sample_pixels(200, np.random.default_rng(9), balance=balance) for p in (patches, patches, packed)
        )
        for other in (again, copy):
            for name in ("x", "low", "high", "patch", "row", "column"):
                np.testing.assert_array_equal(getattr(first, name), getattr(other, name))
    assert not np.array_equal(patches.sample_pixels(200, np.random.default_rng(8)).row, first.row)


@pytest.mark.parametrize("arguments", [{"n": -1}, {"inputs": ("s3",)}, {"balance": "lc"}])
def test_impossible_sample_is_refused_with_the_choices(archive: Archive, arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="balance is None, 'low' or 'high'"):
        archive.patches("test").sample_pixels(**{"n": 1, "generator": np.random.default_rng(0), **arguments})  # type: ignore[arg-type]


def test_files_of_different_size_are_reported_when_sampled(tmp_path: Path) -> None:
    patches = one(tmp_path, s2=np.ones((13, 6, 6), np.uint16), lc=np.ones((1, 5, 6), np.uint8))
    with pytest.raises(DataError, match=r"_lc_0_p1\.tif: is 5x6 pixels.*6x6"):
        patches.sample_pixels(36, np.random.default_rng(0), inputs=("s2",))


def test_distinct_needs_no_memory_for_the_whole_range() -> None:
    drawn = distinct(10**13, 1000, np.random.default_rng(0))
    assert len(np.unique(drawn)) == 1000 and drawn.max() > 10**12


def test_equal_shares_gives_to_others_what_a_class_lacks() -> None:
    assert equal_shares(100, np.array([0, 10, 1000, 30, 1000])).tolist() == [0, 10, 30, 30, 30]
    assert equal_shares(101, np.array([5, 500, 400])).tolist() == [5, 48, 48]
    assert equal_shares(50, np.array([3, 4])).tolist() == [3, 4]


def sample_folder() -> Path | None:
    if given := os.environ.get("DFCBENCH_SAMPLES"):
        return Path(given)
    places = (parent / "shared/data/sen12ms_samples" for parent in Path(__file__).resolve().parents)
    return next((place for place in places if place.is_dir()), None)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = sample_folder()
    if folder is None:
        pytest.skip("no real SEN12MS patches: set DFCBENCH_SAMPLES to a folder that holds them")
    root = tmp_path_factory.mktemp("real")
    for path in folder.rglob("*.tif"):
        season, scene, number = path.stem.split("_")[:2], path.stem.split("_")[-2], path.stem.split("_")[-1]
        token = "s1" if "_s1" in path.parent.name + path.stem else "s2"
        head = "_".join(season)
        link = datamaker.file(root, f"SEN12MS/{head}", scene, token, f"{scene}_p{number.lstrip('p')}")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    return Archive.open(root)


def test_real_patches_have_the_documented_shapes_and_ranges(real: Archive) -> None:
    patches = real.patches("training")
    assert len(patches) >= 5
    for patch in patches:
        assert patch.shape == (256, 256) and patch.georeference.located
        assert patch.s2.shape == (13, 256, 256) and patch.s2.dtype == np.uint16
        assert 0 < np.median(patch.s2) < 10000 and patch.s2.max() <= 21393
        if "s1" in patch.modalities:
            assert patch.s1.shape == (2, 256, 256) and patch.s1.dtype == np.float32
            assert patch.s1.min() > -49 and patch.s1.max() < 26
            assert patch.s1[0].mean() > patch.s1[1].mean()  # VV is stronger than VH


def test_real_neighbours_overlap_by_half_a_patch(real: Archive) -> None:
    sea = real.patches("training").select(f"ROIs1158_spring_101_p{n}" for n in (30, 31, 32))
    for left, right in pairwise(sea):
        assert right.georeference.transform[2] - left.georeference.transform[2] == 1280.0
        np.testing.assert_array_equal(left.s2[:, :, 128:], right.s2[:, :, :128])
        np.testing.assert_array_equal(left.s1[:, :, 128:], right.s1[:, :, :128])


def test_real_patches_survive_packing(real: Archive, tmp_path: Path) -> None:
    patches = real.patches("training").select(["ROIs1158_spring_101_p30", "ROIs1868_summer_19_p30"])
    for plain, copy in zip(patches, patches.packed(tmp_path), strict=True):
        np.testing.assert_array_equal(plain.s1, copy.s1)
        np.testing.assert_array_equal(plain.s2, copy.s2)
        assert plain.georeference == copy.georeference
