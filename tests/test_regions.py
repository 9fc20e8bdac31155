"""Table II: regions, their sizes and classes, counted from the data and proved without them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dfcbench import demo, rasters
from dfcbench.archive import Archive, season_of
from dfcbench.demo.plan import blocks
from dfcbench.errors import DataError
from dfcbench.regions import Region, Regions, survey
from dfcbench.report.regions_table import regions_table, render_regions
from dfcbench.scheme import SCORED_CODES, SCORED_NAMES
from tests import datamaker
from tests.in_process import call, told

SEASONS = {"CapeTown": "autumn", "Mumbai": "autumn", "BlackForest": "spring", "KippaRing": "winter"}


@pytest.fixture(scope="module")
def regional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release by region; one of Mumbai's labels has pixels that are not scored."""
    root = datamaker.write_regional(tmp_path_factory.mktemp("regional") / "data")
    path = datamaker.file(root, "DFC_Public_Dataset/ROIs0000_autumn", "Mumbai", "dfc", "Mumbai_p1")
    pixels = rasters.read(path)
    pixels[0, :3, :4] = [0, 3, 8, 0]
    path.unlink()
    rasters.write(path, pixels, datamaker.NOWHERE)
    return root


def counted(root: Path, pattern: str) -> np.ndarray:
    """Pixels by code in all files of that name, straight from the tifs."""
    files = sorted(root.rglob(pattern))
    assert files
    return sum(np.bincount(rasters.read(file)[0].ravel().astype(int), minlength=11) for file in files)


def made(*classes: tuple[int, ...], pixels: int = 10_000) -> Regions:
    regions = tuple(Region(f"r{n}", None, 1, pixels, counts) for n, counts in enumerate(classes))
    return Regions("data", "Some data", False, {"test": "0" * 16}, regions)


def test_regions_of_the_release_by_region_are_what_its_files_say(regional):
    seen = []
    found = survey(Archive.open(regional), lambda done, total: seen.append((done, total)), workers=2)
    assert {region.name: region.season for region in found.regions} == SEASONS
    for region in found.regions:
        counts = counted(regional, f"*_dfc_{region.name}_p*.tif")
        assert (region.patches, region.pixels) == (2, counts.sum())
        assert region.classes == tuple(counts[list(SCORED_CODES)])
    mumbai = next(region for region in found.regions if region.name == "Mumbai")
    assert sum(mumbai.classes) == mumbai.pixels - 12
    assert sum(share for share in mumbai.shares) == pytest.approx(1)
    assert mumbai.area == pytest.approx(2 * 160 * 160 / 1e6), "16 pixels of 10 m on each side"
    assert seen[-1] == (8, 8)


def test_the_correlation_is_pearsons_over_the_classes_with_the_shares_of_all_regions(regional):
    found = survey(Archive.open(regional))
    every = counted(regional, "*_dfc_*.tif")[list(SCORED_CODES)]
    assert found.whole.classes == tuple(every)
    for region in found.regions:
        own = np.array(region.classes)
        expected = np.corrcoef(own / own.sum(), every / every.sum())[0, 1]
        assert found.correlation(region) == pytest.approx(expected, abs=1e-12)


def test_regions_of_a_demo_contest_are_those_of_its_plan(tiny_root):
    archive = Archive.open(tiny_root)
    found = survey(archive)
    expected: dict[str, np.ndarray] = {}
    patches: dict[str, int] = {}
    for block in blocks("tiny"):
        if block.region is None:
            continue
        for number in range(block.first, block.first + block.patches):
            counts = counted(tiny_root, f"ROIs0000_{block.split}_dfc_0_p{number}.tif")[list(SCORED_CODES)]
            expected[block.region.name] = expected.get(block.region.name, 0) + counts
            patches[block.region.name] = patches.get(block.region.name, 0) + 1
    assert {region.name: region.patches for region in found.regions} == patches
    assert {region.name: region.classes for region in found.regions} == {n: tuple(c) for n, c in expected.items()}
    assert found.fingerprints == {split: archive.fingerprint(split) for split in ("validation", "test")}
    assert "do not tell seasons" in " ".join(regions_table(found).notes)


def test_no_method_sees_the_region_of_a_demo_patch(tiny_root):
    archive = Archive.open(tiny_root)
    assert archive.regions("test").keys() > set()
    assert set(archive.patches("test").regions) == {None}


def test_other_layouts_tell_no_regions(small, regional):
    assert small.regions("test") == {}
    assert small.regions("training") == {}
    assert season_of("ROIs0000_test_0_p1") is None
    assert season_of("ROIs0000_winter_KippaRing_p1") == "winter"
    with pytest.raises(DataError, match=r"tell no regions: training, validation, test .*release by region"):
        survey(small)
    with pytest.raises(DataError, match="no split 'test'"):
        Archive.open(regional).regions("test")


@pytest.mark.parametrize("manifest", ["{", "[]", '{"splits": 3}', '{"splits": {"test": {"regions": [{"first": 1}]}}}'])
def test_a_manifest_that_makes_no_sense_tells_no_regions(tmp_path, manifest):
    datamaker.write_contest(tmp_path)
    (tmp_path / demo.MANIFEST).write_text(manifest)
    assert Archive.open(tmp_path).regions("test") == {}


def test_without_high_resolution_labels_there_is_no_table(tmp_path):
    datamaker.write_regional(tmp_path / "data")
    for file in (tmp_path / "data").rglob("*_dfc_KippaRing_*.tif"):
        file.unlink()
    done = call("table", "II", "--data", tmp_path / "data", "--out", tmp_path / "out")
    told(done, 3, "2 of 8 patches of split 'regional' have no high-resolution labels")
    assert not list((tmp_path / "out").rglob("*"))


def test_data_without_regions_have_no_table_ii_and_all_tables_go_without_it(small_root, tmp_path):
    place = ("--data", small_root, "--out", tmp_path / "out", "--submissions", tmp_path / "s")
    told(call("table", "II", *place), 3, "tell no regions")
    done = call("table", "all", *place)
    assert done.code == 0, done.err
    assert "Left out: Table II: " in done.err
    assert {path.stem for path in (tmp_path / "out").rglob("*.md")} >= {"table-IV", "table-V"}
    assert not list((tmp_path / "out").rglob("table-II.*"))


def test_correlations_that_are_undefined_and_those_that_are_known():
    found = made((10, 20, 30, 0, 0, 0, 0, 0), (20, 40, 60, 0, 0, 0, 0, 0), (0,) * 8, (5,) * 8)
    first, second, empty, even = (found.correlation(region) for region in found.regions)
    assert first == pytest.approx(second, abs=1e-12) and first > 0.99
    assert empty is None and even is None
    assert found.regions[2].shares == (None,) * 8
    one = made((10, 20, 30, 0, 0, 0, 0, 0))
    assert one.correlation(one.regions[0]) == pytest.approx(1, abs=1e-12)
    against = made((90, 10, 0, 0, 0, 0, 0, 0), (0, 1, 1, 1, 1, 1, 1, 1))
    assert against.correlation(against.regions[1]) < -0.9
    (*_, last) = regions_table(against).rows
    assert last[0] == "all regions" and last[4] is None


def test_a_record_makes_the_same_regions_and_files(regional):
    found = survey(Archive.open(regional))
    again = Regions.from_json(json.loads(json.dumps(found.to_json())), "record")
    assert again == found
    assert render_regions(again) == render_regions(found)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"regions": []},
        {"regions": [{"name": "a"}]},
        {"regions": 3},
        {"data": {"name": "data"}},
        {"fingerprints": []},
        {"fingerprints": {}},
        {"fingerprints": {"test": 1}},
    ],
)
def test_what_is_no_record_is_refused(change):
    with pytest.raises(DataError, match=r"here: is no record of regions .*`dfcbench table II`"):
        Regions.from_json(made((1,) * 8).to_json() | change, "here")


@pytest.mark.parametrize("value", [-1, 1.5, True, "9", 10**9])
def test_a_record_of_impossible_counts_is_refused(value):
    record = made((1,) * 8).to_json()
    record["regions"][0]["classes"]["Water"] = value
    with pytest.raises(DataError, match="no record of regions"):
        Regions.from_json(record, "here")


@pytest.fixture
def shown(regional, tmp_path, monkeypatch) -> Path:
    """A run on the release by region, its board, and Table II beside it; the data are gone. The folder of the table."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(regional, "data")
    run = call("run", "--track", 1, "--method", "low-resolution-labels", "--data", "data", "--split", "regional")
    assert run.code == 0, run.err
    table = call("table", "II", "--data", "data")
    assert table.code == 0, table.err
    for name in ("region", *SEASONS, "all regions"):
        assert name in " ".join(table.out.split())
    shutil.rmtree("data")
    assert call("leaderboard").code == 0
    (path,) = tmp_path.glob("leaderboards/*/table-II.md")
    return path.parent


def test_the_table_is_proved_and_written_anew_without_the_data(shown):
    files = {path.suffix: path.read_bytes() for path in shown.glob("table-II.*")}
    assert files.keys() == {".md", ".csv", ".tex", ".json"}
    assert call("leaderboard", "--check").code == 0
    (shown / "table-II.md").write_text("else")
    (shown / "table-II.csv").unlink()
    checked = call("leaderboard", "--check")
    assert checked.code == 1
    lines = [line.partition(": ")[0] for line in checked.out.splitlines()]
    assert lines == ["missing", "differs"]
    assert call("leaderboard").code == 0
    assert {path.suffix: path.read_bytes() for path in shown.glob("table-II.*")} == files


def test_a_record_that_is_not_of_the_submissions_reference_is_found(shown):
    record = json.loads((shown / "table-II.json").read_text())
    classes = record["regions"][1]["classes"]
    classes["Forest"], classes["Water"] = classes["Forest"] + 1, classes["Water"] - 1
    (shown / "table-II.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    assert "warning: " in call("leaderboard").err, "it is told, and the table is what the record says"
    checked = call("leaderboard", "--check")
    assert checked.code == 1
    (line,) = checked.out.splitlines()
    assert line.startswith("unsound: ") and "table-II.json: tells pixels of Forest" in line and "Water" in line


@pytest.mark.parametrize("text", ["{", "{}", '{"data": {"name": "else"}}'])
def test_a_damaged_record_is_told_by_file(shown, text):
    (shown / "table-II.json").write_text(text)
    checked = call("leaderboard", "--check")
    assert checked.code == 1
    assert any(line.startswith("unsound: ") and "table-II.json" in line for line in checked.out.splitlines())
    assert call("leaderboard").code == 0


def test_a_record_in_another_data_set_s_folder_is_refused(shown):
    other = shown.with_name("other")
    other.mkdir()
    shutil.copy(shown / "table-II.json", other)
    checked = call("leaderboard", "--check")
    assert checked.code == 1
    assert f"is about {shown.name}, and lies in the folder of other" in checked.out


def test_without_data_all_tables_show_the_record_that_lies_there_and_generate_nothing(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("generated")

    monkeypatch.setattr(demo, "ensure", refuse)
    place = ("--out", tmp_path / "out", "--submissions", tmp_path / "s")
    none = call("table", "all", *place)
    assert none.code == 0, none.err
    assert "Left out: Table II, which is made of the data. Make it: dfcbench table II" in none.err
    counts = made((1, 2, 3, 4, 5, 6, 7, 8)).to_json() | {
        "data": {"name": demo.name(), "title": "Demo", "official": False}
    }
    (tmp_path / "out" / demo.name() / "table-II.json").write_text(json.dumps(counts))
    some = call("table", "all", *place)
    assert some.code == 0, some.err
    assert "Table II. Regions" in some.out
    assert (tmp_path / "out" / demo.name() / "table-II.md").exists()


def test_an_unknown_table_names_table_ii_too(tmp_path):
    told(call("table", "XII", "--out", tmp_path), 2, "II, IV, V, VI")


def test_every_class_has_its_column(regional):
    table = regions_table(survey(Archive.open(regional)))
    assert [column.key for column in table.columns][-8:] == list(SCORED_NAMES)
    assert {row[0]: row[3] for row in table.rows} == SEASONS | {"all regions": None}
