"""Archive: every layout is found by file names, and errors say where one looked."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from dfcbench import identity, rasters
from dfcbench.archive import HOLDOUT_SCENES, Archive, place_of
from dfcbench.errors import DataError, UsageError
from dfcbench.patches import LabelledPatch
from dfcbench.scheme import SCORED
from tests import datamaker


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return datamaker.write_everything(tmp_path_factory.mktemp("everything") / "root")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_all_layouts_below_one_root(root: Path) -> None:
    archive = Archive.open(root)
    assert {s: len(r) for s, r in archive.splits.items()} == {"training": 8, "validation": 3, "test": 4, "regional": 8}
    assert {r.region for r in archive.splits["regional"]} == {"Mumbai", "CapeTown", "BlackForest", "KippaRing"}
    assert all(r.region is None for r in archive.splits["test"])


@pytest.mark.parametrize(
    ("part", "splits"),
    [
        ("DFC2020", {"validation": 3, "test": 4}),
        ("DFC2020/ROIs0000_validation", {"validation": 3}),
        ("SEN12MS/ROIs1158_spring", {"training": 4}),
        ("DFC_Public_Dataset", {"regional": 8}),
        ("DFC2020/ROIs0000_test/lc_0", {"test": 4}),
    ],
)
def test_root_may_be_any_part_of_a_layout(root: Path, part: str, splits: dict[str, int]) -> None:
    assert {s: len(r) for s, r in Archive.open(root / part).splits.items()} == splits


def test_root_may_lie_above_the_layout(root: Path) -> None:
    assert len(Archive.open(root.parent).splits["validation"]) == 3


def test_folder_names_never_decide(tmp_path: Path) -> None:
    touch(
        tmp_path, "ROIs0000_test/s2_7/ROIs0000_validation_s2_0_p3.tif", "whatever/s1/ROIs0000_autumn_s1_CapeTown_p2.tif"
    )
    archive = Archive.open(tmp_path)
    assert [r.id for r in archive.splits["validation"]] == ["ROIs0000_validation_0_p3"]
    assert archive.splits["regional"][0].region == "CapeTown"
    assert archive.splits["regional"][0].scene == "ROIs0000_autumn_CapeTown"


def test_ids_are_in_natural_order_and_name_the_prediction(tmp_path: Path) -> None:
    touch(tmp_path, *(f"d/ROIs0000_test_lc_0_p{n}.tif" for n in (10, 9, 100, 2)))
    records = Archive.open(tmp_path).splits["test"]
    assert [r.id.rpartition("_p")[2] for r in records] == ["2", "9", "10", "100"]
    assert records[0].scene == "ROIs0000_test_0"
    assert records[0].label_name == "ROIs0000_test_dfc_0_p2.tif"


@pytest.mark.parametrize(
    "junk",
    [
        "__MACOSX/ROIs0000_test_s1_0_p1.tif",
        "a/._ROIs0000_test_s1_0_p1.tif",
        ".cache/ROIs0000_test_s1_0_p1.tif",
        "a/ROIs0000_test_s1_0_p1.tif.aux.xml",
        "a/ROIs0000_test_s1_0_p.tif",
        "a/ROIs0000_test_s3_0_p1.tif",
        "a/ROIs1158_spring_s2_cloudy_19_p30.tif",
        "a/ROIs1158_summer_s2_19_p30.tif",
        "a/copy of ROIs0000_test_s1_0_p1.tif",
    ],
)
def test_other_files_are_ignored(tmp_path: Path, junk: str) -> None:
    touch(tmp_path, junk, "a/ROIs0000_test_s2_0_p5.tif")
    archive = Archive.open(tmp_path)
    assert [r.id for r in archive.splits["test"]] == ["ROIs0000_test_0_p5"]
    assert set(archive.splits) == {"test"}


def test_a_second_copy_of_a_patch_is_kept_as_duplicate(tmp_path: Path) -> None:
    touch(tmp_path, "b/ROIs0000_test_s1_0_p1.tif", "a/x/ROIs0000_test_s1_0_p1.tif", "b/ROIs0000_test_s2_0_p1.tif")
    archive = Archive.open(tmp_path)
    assert archive.splits["test"][0].files["s1"] == tmp_path / "a/x/ROIs0000_test_s1_0_p1.tif"
    assert [(d.patch_id, d.ignored.parent.name) for d in archive.duplicates] == [("ROIs0000_test_0_p1", "b")]


def test_links_to_a_folder_seen_already_are_no_duplicates(tmp_path: Path) -> None:
    touch(tmp_path, "a/ROIs0000_test_s1_0_p1.tif")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    assert Archive.open(tmp_path).duplicates == ()


def test_wrong_root_says_where_it_looked_what_it_expected_and_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path, "holiday/beach.jpg")
    for place, seen in ((tmp_path, "holiday/"), (tmp_path / "absent", "does not exist")):
        with pytest.raises(DataError) as caught:
            Archive.open(place)
        text = str(caught.value)
        assert str(place) in text and seen in text
        for hint in ("ROIs0000_validation_s2_0_p17.tif", "data import", "data demo --out", "--data"):
            assert hint in text


def test_missing_split_names_those_found(root: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'test'; found validation \(3 patches\)"):
        Archive.open(root / "DFC2020/ROIs0000_validation").patches("test")


def test_training_is_divided_by_scene_into_the_official_holdout(root: Path) -> None:
    archive = Archive.open(root)
    assert len(HOLDOUT_SCENES) == 26
    holdout = archive.patches("training", part="holdout")
    train = archive.patches("training", part="train")
    assert {p.scene for p in holdout} == {"ROIs1158_spring_63", "ROIs2017_winter_146"}
    assert not {p.scene for p in train} & {p.scene for p in holdout}
    assert sorted((*train.ids, *holdout.ids)) == sorted(archive.patches("training").ids)
    with pytest.raises(UsageError, match="training"):
        archive.patches("test", part="holdout")


def test_labels_are_only_given_where_all_patches_have_them(tmp_path: Path) -> None:
    archive = Archive.open(datamaker.write_contest(tmp_path, test_labels=False))
    assert archive.has_labels("validation") and not archive.has_labels("test") and not archive.has_labels("regional")
    assert isinstance(archive.labelled("validation")[0], LabelledPatch)
    with pytest.raises(DataError, match=r"4 of 4 patches.*ROIs0000_test_dfc_0_p0\.tif"):
        archive.labelled("test")


def test_fingerprint_follows_content_not_place_or_time(tmp_path: Path) -> None:
    first = datamaker.write_contest(tmp_path / "a")
    shutil.copytree(first, tmp_path / "b/deeper", copy_function=shutil.copyfile)
    before = Archive.open(first).fingerprint("test")
    assert Archive.open(tmp_path / "b").fingerprint("test") == before
    label = datamaker.file(tmp_path / "b/deeper", "DFC2020/ROIs0000_test", "0", "dfc", "0_p3")
    codes = rasters.read(label)
    codes[0, 3, 5] = codes[0, 3, 5] % 10 + 1
    rasters.write(label, codes, datamaker.NOWHERE)
    changed = Archive.open(tmp_path / "b").fingerprint("test")
    assert changed != before
    label.unlink()
    assert Archive.open(tmp_path / "b").fingerprint("test") not in (before, changed)


def test_fingerprint_sees_another_image_of_the_same_size(tmp_path: Path) -> None:
    datamaker.write_contest(tmp_path)
    before = Archive.open(tmp_path).fingerprint("validation")
    path = datamaker.file(tmp_path, "DFC2020/ROIs0000_validation", "validation", "s2", "0_p0")
    rasters.write(path, datamaker.pixels("s2", 999), datamaker.NOWHERE)
    assert Archive.open(tmp_path).fingerprint("validation") != before


def test_identity_of_demo_comes_from_its_manifest(tmp_path: Path) -> None:
    datamaker.write_contest(tmp_path)
    manifest = {"dataset": "demo", "version": 1, "seed": 7, "size": "tiny"}
    (tmp_path / "contest.json").write_text(json.dumps(manifest))
    found = Archive.open(tmp_path).identity
    assert found.name == "demo-v1-tiny-s7"
    assert found.title == "Demo contest (version 1, size tiny, seed 7)"
    assert found.demo and not found.official


@pytest.mark.parametrize("manifest", ["not json", "[]", '{"dataset": "other"}', '{"dataset": "demo"}'])
def test_identity_of_unknown_data_never_claims_to_be_another(tmp_path: Path, manifest: str) -> None:
    data = datamaker.write_contest(tmp_path / "My Data")
    (data / "contest.json").write_text(manifest)
    archive = Archive.open(data)
    assert archive.identity.name.startswith("my-data-") and len(archive.identity.name) == len("my-data-") + 8
    assert "My Data" in archive.identity.title and not archive.identity.official and not archive.identity.demo


def test_identity_ignores_whether_training_data_are_there(tmp_path: Path) -> None:
    before = Archive.open(datamaker.write_contest(tmp_path)).identity
    assert Archive.open(datamaker.write_sen12ms(tmp_path)).identity == before


def write_official_labels(root: Path, counts: dict[int, int]) -> Path:
    """986 reference patches of 256 x 256 pixels with these numbers of pixels per code; equal ones are one file."""
    codes = np.repeat(np.array(list(counts), np.uint8), list(counts.values())).reshape(-1, 256, 256)
    assert len(codes) == 986
    written: dict[bytes, Path] = {}
    for number, patch in enumerate(codes):
        path = datamaker.file(root, "DFC2020/ROIs0000_validation", "validation", "dfc", f"0_p{number}")
        if patch.tobytes() in written:
            path.hardlink_to(written[patch.tobytes()])
        else:
            rasters.write(path, patch, durable=False)
            written[patch.tobytes()] = path
    return root


def test_official_only_if_the_reference_has_the_published_counts(tmp_path: Path) -> None:
    counts = {c.code: identity.PUBLISHED_PIXELS[c.name] for c in SCORED}
    assert sum(counts.values()) == 64_618_496
    write_official_labels(tmp_path, counts)
    assert Archive.open(tmp_path).identity == identity.DFC2020
    path = datamaker.file(tmp_path, "DFC2020/ROIs0000_validation", "validation", "dfc", "0_p0")
    patch = rasters.read(path)
    patch[0, 0, 0] = 10
    path.unlink()
    rasters.write(path, patch)
    archive = Archive.open(tmp_path)
    assert not archive.identity.official
    assert archive.self_check is not None and archive.self_check["Water"] == (22_621_892, 22_621_891)


def test_scan_is_quick_and_opens_no_file(tmp_path: Path) -> None:
    for token in ("s1", "s2", "lc"):
        folder = tmp_path / f"{token}_1"
        folder.mkdir()
        for n in range(800):
            (folder / f"ROIs1158_spring_{token}_1_p{n}.tif").touch(mode=0)
    start = time.process_time()
    archive = Archive.open(tmp_path)
    elapsed = time.process_time() - start
    assert len(archive.splits["training"]) == 800
    assert elapsed < 0.25, f"{elapsed:.2f} s; SEN12MS has 225 times as many files"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("ROIs0000_validation_dfc_0_p985.tif", "DFC2020/ROIs0000_validation/dfc_validation"),
        ("ROIs0000_test_s1_0_p1.tif", "DFC2020/ROIs0000_test/s1_0"),
        ("ROIs1970_fall_lc_120_p4.tif", "SEN12MS/ROIs1970_fall/lc_120"),
        ("ROIs0000_winter_s2_KippaRing_p4.tif", "DFC_Public_Dataset/ROIs0000_winter/s2_KippaRing"),
    ],
)
def test_place_of_a_file_name_is_the_contests_folder(name: str, folder: str) -> None:
    place = place_of(name)
    assert place is not None and place.folder == folder
