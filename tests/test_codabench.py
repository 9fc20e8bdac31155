"""The Codabench bundle: its scoring program, run as the server runs it, gives dfcbench's own scores; its form is the
server's."""

from __future__ import annotations

import ast
import datetime
import io
import json
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import yaml

from dfcbench import codabench, codabench_scoring, rasters
from dfcbench.archive import Archive
from dfcbench.codabench import Schedule, export
from dfcbench.codabench_pages import title
from dfcbench.contest import FusionContest
from dfcbench.entering import enter
from dfcbench.errors import DataError, UsageError
from dfcbench.identity import DFC2020
from dfcbench.records import label_name
from dfcbench.scheme import CODES, SCORED, palette
from tests import datamaker
from tests.conftest import Shell
from tests.hand_in_maker import Members, codes_of, good_maps, make_folder, make_zip

START = datetime.date(2026, 3, 1)
IDS = tuple(f"ROIs0000_test_0_p{number}" for number in range(7))
FIRST = label_name(IDS[0])
READERS = ("rasterio", "tifffile", "PIL")


@pytest.fixture(scope="module")
def bundle(small_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("codabench") / "bundle"
    export(Archive.open(small_root), out, Schedule.starting(START))
    return out


@pytest.fixture(scope="module")
def competition(bundle: Path) -> dict[str, Any]:
    return yaml.safe_load((bundle / "competition.yaml").read_text())


class Server:
    """Lays a submission out as Codabench's worker does, and runs the command of the program's metadata."""

    def __init__(self, root: Path, bundle: Path, split: str = "test") -> None:
        self.app = root / "app"
        for folder in ("input/res", "output", "program"):
            (self.app / folder).mkdir(parents=True)
        for name, folder in ((f"reference_{split}.zip", "input/ref"), ("scoring_program.zip", "program")):
            with zipfile.ZipFile(bundle / name) as archive:
                archive.extractall(self.app / folder)
        self.hidden: tuple[str, ...] = ()

    def score(self, maps: Members) -> subprocess.CompletedProcess[str]:
        make_folder(self.app / "input" / "res", maps)
        (self.app / "input" / "res" / "metadata").write_text("exitCode: 0\n")  # the server leaves one there
        command = yaml.safe_load((self.app / "program" / "metadata.yaml").read_text())["command"]
        python, *arguments = shlex.split(command.replace("/app/", f"{self.app}/"))
        assert python == "python3"
        blocks = self.app / "blocks"
        blocks.mkdir(exist_ok=True)
        for name in self.hidden:
            (blocks / f"{name}.py").write_text("raise ImportError('hidden')\n")
        environment = {**os.environ, "PYTHONPATH": str(blocks)}
        return subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    @property
    def scores(self) -> dict[str, float]:
        return json.loads((self.app / "output" / "scores.json").read_text())


@pytest.fixture
def server(bundle: Path, tmp_path: Path) -> Server:
    return Server(tmp_path, bundle)


@pytest.mark.parametrize("reader", READERS)
def test_the_servers_scores_are_dfcbenchs_own(reader: str, server: Server, small: Archive, tmp_path: Path) -> None:
    pytest.importorskip(reader)
    server.hidden = READERS[: READERS.index(reader)]
    maps = good_maps(IDS)
    ran = server.score(maps)
    assert ran.returncode == 0, ran.stderr
    path = make_zip(tmp_path / "m.zip", maps)
    contest = FusionContest(small, 1, "test")
    ours = enter(path, contest, team="t", method="m", submissions=tmp_path / "subs").submission.scores
    expected = {
        "average_accuracy": ours.average_accuracy,
        "overall_accuracy": ours.overall_accuracy,
        "kappa": ours.kappa,
    }
    keys = {cover.name: codabench_scoring.SCORED[cover.code] for cover in SCORED}
    expected |= {keys[name]: entry.producers_accuracy for name, entry in ours.classes.items()}
    assert server.scores == pytest.approx({k: v for k, v in expected.items() if v is not None}, abs=1e-9, rel=0)
    assert len(server.scores) > 5


def test_the_servers_columns_are_the_scores_keys(server: Server, competition: dict[str, Any]) -> None:
    server.score(good_maps(IDS))
    (board,) = competition["leaderboards"]
    columns = {column["key"] for column in board["columns"]}
    assert set(server.scores) <= columns
    assert len(columns) == len(board["columns"]) == 3 + len(SCORED)
    assert board["columns"][0]["key"] == "average_accuracy"
    assert [column["index"] for column in board["columns"]] == list(range(len(columns)))


def test_maps_in_a_folder_with_junk_are_scored_alike(server: Server, bundle: Path, tmp_path: Path) -> None:
    server.score(good_maps(IDS))
    other = Server(tmp_path / "other", bundle)
    nested = {f"my maps/{name}": content for name, content in good_maps(IDS).items()}
    ran = other.score({**nested, f"__MACOSX/my maps/._{FIRST}": b"junk", ".DS_Store": b"", "readme.txt": b""})
    assert ran.returncode == 0, ran.stderr
    assert other.scores == server.scores


BROKEN = {
    "missing": ({FIRST: None}, "missing"),
    "surplus": ({"ROIs0000_test_dfc_0_p99.tif": rasters.encode(codes_of("x"))}, "is no map of this split"),
    "twice": ({f"more/{FIRST}": rasters.encode(codes_of(IDS[0]))}, "a second time"),
    "size": ({FIRST: rasters.encode(codes_of(IDS[0], (8, 16)))}, "8 x 16 pixels"),
    "dtype": ({FIRST: rasters.encode(codes_of(IDS[0]).astype(np.uint16))}, "uint16"),
    "codes": ({FIRST: rasters.encode(np.full((16, 16), 11, np.uint8))}, "outside 1..10"),
    "text": ({FIRST: b"Forest"}, "is no tif"),
    "empty": ({FIRST: b""}, "is no tif"),
    "cut": ({FIRST: rasters.encode(codes_of(IDS[0]))[:-100]}, FIRST),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", BROKEN)
def test_broken_maps_fail_with_a_reason_and_without_scores(name: str, reader: str, server: Server) -> None:
    pytest.importorskip(reader)
    server.hidden = READERS[: READERS.index(reader)]
    change, words = BROKEN[name]
    maps = {file: content for file, content in {**good_maps(IDS), **change}.items() if content is not None}
    ran = server.score(maps)
    assert ran.returncode == 1
    assert words in ran.stderr
    assert "1 fault(s); not scored." in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list((server.app / "output").iterdir())


@pytest.mark.parametrize("reader", READERS)
def test_bands_beyond_one_fail(reader: str, server: Server) -> None:
    server.hidden = READERS[: READERS.index(reader)]
    two = rasters.encode(np.stack([codes_of(IDS[0])] * 3))
    ran = server.score({**good_maps(IDS), FIRST: two})
    assert ran.returncode == 1
    assert FIRST in ran.stderr


@pytest.mark.parametrize("trick", ["link", "vrt"])
def test_nobody_scores_by_pointing_at_the_reference(trick: str, server: Server) -> None:
    reference, given = server.app / "input" / "ref" / FIRST, server.app / "input" / "res" / FIRST
    if trick == "link":
        given.symlink_to(reference)
    else:
        given.write_text(
            '<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            f"<SourceFilename>{reference}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(server.app)
            assert rasters.read(given).shape == (1, 16, 16), "the trick works on whoever opens it carelessly"
    ran = server.score(good_maps(IDS[1:]))
    assert ran.returncode == 1
    assert FIRST in ran.stderr


def test_a_class_that_the_reference_lacks_has_no_score() -> None:
    confusion = np.zeros((11, 11), np.int64)
    confusion[1, 1], confusion[1, 3], confusion[10, 10], confusion[0, 5] = 3, 1, 6, 99
    scores = codabench_scoring.scores_of(confusion)
    assert scores["average_accuracy"] == pytest.approx((0.75 + 1) / 2)
    assert set(scores) == {"average_accuracy", "overall_accuracy", "kappa", "forest", "water"}


def test_reference_files_of_any_type_are_read_by_the_harness_rule() -> None:
    wild = np.array([[-1, 0, 1, 3], [8, 10, 11, 300]], np.int32)
    assert codabench_scoring._scored_only(wild).tolist() == [[0, 0, 1, 0], [0, 10, 0, 0]]


def test_the_programs_constants_are_the_schemes() -> None:
    assert codabench_scoring.CODES == CODES
    words = {cover.code: cover.name.lower().replace("/", "_").replace("-", "_") for cover in SCORED}
    assert words == codabench_scoring.SCORED


def test_the_program_is_one_file_for_python_3_7_and_numpy(bundle: Path) -> None:
    with zipfile.ZipFile(bundle / "scoring_program.zip") as archive:
        assert archive.namelist() == ["metadata.yaml", "score.py"]
        source = archive.read("score.py").decode()
    tree = ast.parse(source, feature_version=(3, 7))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {
        node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) if node.module
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy"}
    assert "from __future__ import annotations" in source, "its annotations are newer than 3.7"


def test_phases_and_tasks_are_as_the_format_demands(bundle: Path, competition: dict[str, Any]) -> None:
    assert competition["version"] == 2
    tasks = {task["index"]: task for task in competition["tasks"]}
    assert [task["name"] for task in tasks.values()] == [
        f"Track {t}, {s}" for s in ("validation", "test") for t in (1, 2)
    ]
    for task in tasks.values():
        assert (bundle / task["reference_data"]).is_file()
        assert (bundle / task["scoring_program"]).is_file()
    validation, test = competition["phases"]
    for phase in (validation, test):
        assert phase["max_submissions"] == phase["max_submissions_per_day"] == 10
        assert all(phase["name"].lower() in tasks[number]["reference_data"] for number in phase["tasks"])
    assert {number for phase in (validation, test) for number in phase["tasks"]} == set(tasks)
    # The server drops the hour of a date, and refuses phases that overlap or touch.
    dates = [moment.date() for moment in (validation["start"], validation["end"], test["start"])]
    assert dates == sorted(set(dates))
    assert "end" not in test
    for page in [*competition["pages"], {"file": competition["terms"]}, {"file": competition["image"]}]:
        assert (bundle / page["file"]).stat().st_size > 100


def test_two_tracks_never_push_each_other_off_the_board(
    small: Archive, competition: dict[str, Any], tmp_path: Path
) -> None:
    assert competition["leaderboards"][0]["submission_rule"] == "Force_Latest_Multiple"
    export(small, tmp_path / "one", Schedule.starting(START), [2])
    single = yaml.safe_load((tmp_path / "one" / "competition.yaml").read_text())
    assert [task["name"] for task in single["tasks"]] == ["Track 2, validation", "Track 2, test"]
    assert single["leaderboards"][0]["submission_rule"] == "Force_Best"


@pytest.mark.parametrize("variant", ["wide", "narrow"])
def test_reference_maps_are_uint8_under_official_names_whatever_the_disk_has(variant: str, tmp_path: Path) -> None:
    archive = Archive.open(datamaker.write_contest(tmp_path / "data", datamaker.VARIANTS[variant]))
    export(archive, tmp_path / "bundle", Schedule.starting(START))
    for split in ("validation", "test"):
        with zipfile.ZipFile(tmp_path / "bundle" / f"reference_{split}.zip") as packed:
            assert packed.namelist() == sorted(label_name(i) for i in archive.patches(split).ids)
            for patch in archive.labelled(split):
                with rasters.decoding(packed.read(label_name(patch.id)), patch.id) as (header, pixels):
                    assert header.dtype == "uint8"
                    assert np.array_equal(pixels()[0], patch.high)


def test_the_zip_holds_the_folder_and_is_the_same_each_time(small: Archive, bundle: Path, tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        export(small, tmp_path / name, Schedule.starting(START), workers=2)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert held == {p.relative_to(bundle).as_posix(): p.read_bytes() for p in bundle.rglob("*") if p.is_file()}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "b.zip"], "nothing else is left behind"


def test_the_logo_shows_the_scored_classes_colours() -> None:
    image = np.rint(255 * matplotlib.image.imread(io.BytesIO(codabench.logo()), format="png")).astype(int)
    assert image.shape[:2] == (128, 256)
    centres = [tuple(image[row, column, :3]) for row in (32, 96) for column in (32, 96, 160, 224)]
    assert centres == [tuple(map(int, palette()[cover.code])) for cover in SCORED]


def test_without_reference_there_is_no_bundle(tmp_path: Path) -> None:
    archive = Archive.open(datamaker.write_contest(tmp_path / "data", test_labels=False))
    with pytest.raises(DataError, match=r"dfc_0\.zip"):
        export(archive, tmp_path / "bundle", Schedule.starting(START))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]


def test_a_folder_with_something_in_it_is_left_alone(small: Archive, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        export(small, tmp_path, Schedule.starting(START))


def test_a_file_that_is_no_zip_is_left_alone(small: Archive, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("precious")
    with pytest.raises(UsageError, match="is a file"):
        export(small, tmp_path / "precious.txt", Schedule.starting(START))
    assert (tmp_path / "precious.txt").read_text() == "precious"


def test_only_the_contests_own_data_go_by_the_contests_name(bundle: Path, competition: dict, small: Archive) -> None:
    name = "the 2020 IEEE GRSS Data Fusion Contest"
    assert title(DFC2020) == f"Land cover with noisy labels: {name}"
    expected = f"{small.identity.title}, in the manner of {name}"
    assert competition["title"] == expected
    assert (bundle / "pages" / "overview.md").read_text().startswith(f"# {expected}\n")


def test_phases_that_would_touch_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 days"):
        Schedule.starting(START, START + datetime.timedelta(days=1))


def test_the_bundle_is_made_by_a_command(dfcbench: Shell, small_root: Path, bundle: Path) -> None:
    export_it = ("submission", "export-codabench", "--data", small_root, "--start", START)
    assert "test from 2026-03-29" in dfcbench(*export_it, "-o", "made").stdout
    made = dfcbench.folder / "made"
    assert {p.name: p.read_bytes() for p in made.glob("*.*")} == {p.name: p.read_bytes() for p in bundle.glob("*.*")}
    assert "tracks 1 and 2" in dfcbench(*export_it, "--track", 3, "-o", "other", expect=2).stderr
