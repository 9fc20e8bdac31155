"""Whole runs through the command line, as a person gives them: real files, real MLflow, real exit codes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dfcbench.submission import find_submissions
from dfcbench_methods.bag import Bag
from tests import datamaker
from tests.conftest import Shell
from tests.plugins import MAJORITY, with_predict

HEAVY = ("torch", "sklearn", "mlflow", "matplotlib", "joblib", "distributed", "dask", "cloudpickle")


def test_a_newcomer_gets_a_table_an_mlflow_run_and_a_board(dfcbench: Shell, tiny_root: Path):
    common = ("run", "--track", 1, "--data", tiny_root)
    dfcbench(*common, "--method", "low-resolution-labels")
    ran = dfcbench(*common, "--method", "bag", "-p", "sweeps=4", "--workers", 2)
    assert "Demo contest (version" in ran.stdout
    assert "do not compare with published" in ran.stdout
    for words in ("Forest", "producer's", "average accuracy", "kappa x 100", "dfcbench leaderboard"):
        assert words in ran.stdout
    assert "[transductive]" in ran.stderr
    board = dfcbench("leaderboard", "--track", 1)
    assert "not the official data of DFC2020" in board.stdout
    (page,) = (dfcbench.folder / "leaderboards").glob("*/track1-test.md")
    (values,) = (dfcbench.folder / "leaderboards").glob("*/track1-test.csv")
    assert "57.49" not in page.read_text(), "published results stand beside DFC2020 only"
    assert len(values.read_text().splitlines()) == 3

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{dfcbench.folder / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    runs = {run.data.tags["dfcbench.method"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"bag", "low-resolution-labels"}
    (submission,) = [
        s for s in find_submissions(dfcbench.folder / "submissions")[0] if s.meta["method"]["name"] == "bag"
    ]
    assert runs["bag"].data.metrics["average_accuracy"] == pytest.approx(submission.scores.average_accuracy)
    assert runs["bag"].data.params["sweeps"] == "4"
    assert len(client.get_metric_history(runs["bag"].info.run_id, "clusters_used")) == 4
    kept = {artifact.path for artifact in client.list_artifacts(runs["bag"].info.run_id, "artifacts")}
    assert kept >= {"artifacts/confusion.png", "artifacts/patches.png", "artifacts/page.html"}
    assert "0 run(s) recorded, 2 there already" in dfcbench("track", "sync").stdout


def test_a_dry_run_shows_the_plan_and_writes_nothing(dfcbench: Shell, small_root: Path):
    shown = dfcbench("run", "--track", 1, "--method", "bag", "--data", small_root, "--dry-run")
    assert "clusters=32" in shown.stderr
    assert "published" in shown.stderr
    assert not (dfcbench.folder / "submissions").exists()


def test_if_exists_skips_shows_or_runs_again(dfcbench: Shell, small_root: Path):
    command = ("run", "--track", 1, "--method", "low-resolution-labels", "--data", small_root)
    dfcbench(*command)
    (scores,) = dfcbench.folder.glob("submissions/track1/*/*/scores.json")
    first, content = scores.stat().st_mtime_ns, scores.read_bytes()
    assert "Skipped: a finished run is there" in dfcbench(*command, "--if-exists", "skip").stderr
    assert "average accuracy" in dfcbench(*command).stdout
    assert scores.stat().st_mtime_ns == first
    again = dfcbench(*command, "--if-exists", "rerun")
    assert scores.stat().st_mtime_ns > first
    (told,) = [line for line in again.stderr.splitlines() if line.startswith("The former run is kept in ")]
    aside = dfcbench.folder / told.removeprefix("The former run is kept in ")
    assert (aside / scores.name).read_bytes() == content


def test_maps_that_are_missing_are_counted(dfcbench: Shell, small_root: Path):
    command = ("run", "--track", 1, "--method", "low-resolution-labels", "--data", small_root)
    dfcbench(*command)
    first, *others = sorted(dfcbench.folder.glob("submissions/track1/*/*/predictions/*.tif"))
    first.unlink()
    assert "its scores are here, 1 of its 7 maps are not" in dfcbench(*command).stderr
    for path in (first, *others):
        path.unlink()
    assert "its scores are here, its maps are not" in dfcbench(*command).stderr


def test_what_cannot_be_written_is_told_before_the_work_and_the_file_in_the_way_stays(dfcbench, small_root: Path):
    run = ("run", "--track", 1, "--method", "low-resolution-labels", "--data", small_root)
    dfcbench(*run)
    dfcbench(*run, "--seed", 1)
    precious = dfcbench.folder / "precious.txt"
    precious.write_text("kept")
    (folder,) = dfcbench.folder.glob("submissions/track1/*/*seed0*")
    for command in (
        ("leaderboard", "--out", precious),
        ("compare", "low-resolution-labels", "--out", precious),
        ("submission", "pack", folder, "-o", precious / "x.zip"),
    ):
        failed = dfcbench(*command, expect=3)
        assert failed.stdout == ""
        assert "precious.txt is a file, and a folder is needed there" in failed.stderr
        assert ".tmp-" not in failed.stderr
    assert precious.read_text() == "kept"


def test_all_bad_parameters_are_told_at_once_with_the_values_of_the_preset_that_would_run(dfcbench, tiny_root: Path):
    bad = ("-p", "clusters=lots", "-p", "nonsense=1", "-p", "radius", "-p", "bags=3", "-p", "bags=4")
    run = ("run", "--track", 1, "--method", "bag", *bad)
    told = dfcbench(*run, expect=2).stderr
    for words in ("clusters: Input", "nonsense: Extra", "-p radius: write", "-p bags is given twice"):
        assert words in told
    quick, published = Bag.presets["quick"]["sweeps"], Bag.Params().sweeps
    assert quick != published
    assert f"sweeps={quick}," in told, "the demo contest, which no --data means, runs quick"
    assert f"sweeps={quick}," in dfcbench(*run, "--data", tiny_root, expect=2).stderr
    assert f"sweeps={published}," in dfcbench(*run, "--data", dfcbench.folder, expect=2).stderr
    assert f"sweeps={published}," in dfcbench(*run, "--preset", "published", expect=2).stderr
    assert not list(Path(os.environ["DFCBENCH_CACHE"]).glob("demo-*-demo-*")), "no data were made for that"


def test_a_broken_mlflow_costs_one_warning_and_sync_makes_up_for_it(dfcbench: Shell, small_root: Path):
    good = dfcbench.folder / "mlflow.db"
    bad = dfcbench.folder / "bad.db"
    bad.write_text("no database at all")
    dfcbench.environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{bad}"
    ran = dfcbench("run", "--track", 1, "--method", "low-resolution-labels", "--data", small_root)
    assert "average accuracy" in ran.stdout
    assert ran.stderr.count("warning:") == 1
    assert "track sync" in ran.stderr
    dfcbench.environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{good}"
    assert "1 run(s) recorded" in dfcbench("track", "sync").stdout
    assert "0 run(s) recorded, 1 there already" in dfcbench("track", "sync").stdout


CRASHES = with_predict("        raise RuntimeError('no luck')")
BREAKS = with_predict("        return iter(())")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "--track", "1"), 2, "--method"),
        (("run", "--track", "3", "--method", "bag", "--data", "{data}"), 2, "tracks 1 and 2"),
        (("run", "--track", "2", "--split", "validation", "--method", "bag", "--data", "{data}"), 2, "training data"),
        (("run", "--track", "1", "--method", "bag", "-p", "clusterz=3", "--data", "{data}"), 2, "clusters=32"),
        (("run", "--track", "1", "--method", "bag", "-p", "clusters=many", "--data", "{data}"), 2, "valid integer"),
        (("run", "--track", "1", "--method", "bag", "-p", "clusters", "--data", "{data}"), 2, "key=value"),
        (("run", "--track", "1", "--method", "bag", "-p", "bags=3", "-p", "bags=4", "--data", "{data}"), 2, "twice"),
        (("run", "--track", "1", "--method", "bag", "--preset", "fast", "--data", "{data}"), 2, "no preset 'fast'"),
        (("run", "--track", "1", "--method", "bag", "--data", "nowhere"), 3, "does not exist"),
        (("run", "--track", "1", "--method", "bag", "--data", "."), 3, "expected file names such as"),
        (("data", "info", "--data", "nowhere"), 3, "data demo"),
        (("run", "--track", "1", "--method", "bagg", "--data", "{data}"), 4, "Did you mean bag"),
        (("run", "--track", "1", "--method", "none.py:M", "--data", "{data}"), 4, "no such file"),
        (("methods", "show", "bagg"), 4, "Did you mean bag"),
        (("run", "--track", "1", "--method", "breaks.py", "--data", "{data}"), 5, "no prediction for 7"),
        (("run", "--track", "1", "--method", "crashes.py", "--data", "{data}"), 6, "RuntimeError: no luck"),
        (("leaderboard", "--track", "1"), 7, "no finished submission"),
        (("leaderboard", "--track", "7"), 2, "tracks 1 and 2"),
        (("leaderboard", "--split", "foo"), 2, "choose one of test, validation, regional"),
        (("leaderboard", "--track", "2", "--split", "validation"), 2, "Use --split test"),
        (("compare", "bag", "epitome", "--track", "7"), 2, "tracks 1 and 2"),
        (("data", "demo", "--size", "tiny", "--out", "crashes.py/demo"), 3, "crashes.py is a file"),
        (("table", "VI", "--data", "{data}", "--out", "crashes.py"), 3, "crashes.py is a file"),
        (
            ("run", "--track", "1", "--method", "bag", "--data", "{data}", "--submissions", "crashes.py"),
            3,
            "crashes.py is a file",
        ),
    ],
)
def test_every_kind_of_error_has_its_exit_code_and_says_what_to_do(dfcbench, small_root, arguments, code, words):
    (dfcbench.folder / "crashes.py").write_text(CRASHES)
    (dfcbench.folder / "breaks.py").write_text(BREAKS)
    failed = dfcbench(*(argument.format(data=small_root) for argument in arguments), expect=code)
    assert words in failed.stderr


def test_debug_shows_the_traceback(dfcbench: Shell, small_root: Path):
    (dfcbench.folder / "crashes.py").write_text(CRASHES)
    command = ("run", "--track", 1, "--method", "crashes.py", "--data", small_root)
    assert "Traceback" in dfcbench("--debug", *command, expect=6).stderr


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(dfcbench: Shell, small_root: Path):
    body = """
        for patch in patches:
            if not os.path.exists("go"):
                open("waiting", "w").close()
                time.sleep(60)
            yield Prediction(patch.id, np.ones(patch.shape, np.uint8))
    """
    (dfcbench.folder / "slow.py").write_text(with_predict(body))
    command = ("run", "--track", 1, "--method", "slow.py", "--data", small_root)
    process = dfcbench.start(*command)
    until = time.monotonic() + 60
    while not (dfcbench.folder / "waiting").exists() and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "same command again" in err
    assert "Traceback" not in err
    (dfcbench.folder / "go").touch()
    assert "average accuracy" in dfcbench(*command).stdout


def test_methods_of_ones_own_are_found_in_a_folder(dfcbench: Shell, small_root: Path):
    folder = dfcbench.folder / "mine"
    folder.mkdir()
    (folder / "majority.py").write_text(MAJORITY)
    (folder / "broken.py").write_text("import nowhere_to_be_found\n")
    dfcbench.environment["DFCBENCH_METHODS"] = str(folder)
    assert "majority" in dfcbench("methods").stdout
    shown = dfcbench("methods", "show", "majority").stdout
    assert "added to nothing" in shown
    dfcbench("run", "--track", 1, "--method", "majority", "--data", small_root)


def test_help_and_listing_import_nothing_heavy(dfcbench: Shell):
    for arguments in (["--help"], ["methods"], ["run", "--help"]):
        command = [sys.executable, "-X", "importtime", "-m", "dfcbench", *arguments]
        done = subprocess.run(command, cwd=dfcbench.folder, capture_output=True, text=True, check=True)
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
        assert "typer" in imported
        assert not imported & set(HEAVY), arguments


def test_data_commands_write_tell_and_check_a_contest(dfcbench: Shell, tmp_path: Path):
    dfcbench("data", "demo", "--size", "tiny", "--seed", 3, "--out", "contest")
    told = dfcbench("data", "info", "--data", "contest").stdout
    for words in ("seed 3", "validation:", "test:", "training:", "Wetlands", "B8A", "VH"):
        assert words in told
    assert "0 error(s)" in dfcbench("data", "verify", "--data", "contest").stdout
    dfcbench.environment["DFCBENCH_DATA"] = str(tmp_path / "contest")
    tif = next((tmp_path / "contest").rglob("*_s2_*.tif"))
    tif.write_bytes(tif.read_bytes()[:5000])
    next((tmp_path / "contest").rglob("*test_lc_0*.tif")).unlink()
    failed = dfcbench("data", "verify", expect=3)
    assert tif.name in failed.stdout
    assert "lc" in failed.stdout
    assert "DFCBENCH_DATA" in failed.stderr


def test_archives_as_downloaded_become_a_contest(dfcbench: Shell, tmp_path: Path):
    import zipfile

    source = datamaker.write_contest(tmp_path / "source")
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as flat:
        for path in sorted(source.rglob("*ROIs0000_test_*.tif")):
            flat.write(path, path.name)
        flat.writestr("__MACOSX/._junk.tif", b"junk")
    with zipfile.ZipFile(tmp_path / "validation.zip", "w") as wrapped:
        for path in sorted(source.rglob("*ROIs0000_validation_*.tif")):
            wrapped.write(path, f"some/wrapper/{path.parent.name}/{path.name}")
    command = ("data", "import", "test.zip", "validation.zip", "--out", "unpacked")
    told = dfcbench(*command).stdout
    assert "28 file(s) written" in told
    assert "warning: shape" in told, "patches of 16 pixels are not the contest's"
    assert "28 there already" in dfcbench(*command).stdout
    dfcbench("run", "--track", 1, "--method", "low-resolution-labels", "--data", "unpacked")
    with zipfile.ZipFile(tmp_path / "s2.zip", "w") as single:
        for path in sorted(source.rglob("*ROIs0000_test_s2_*.tif")):
            single.write(path, path.name)
    told = dfcbench("data", "import", "s2.zip", "--out", "bit by bit").stdout
    assert "Not imported yet: test: none of 4 patches has a s1 file" in told
    assert "0 error(s)" in told
    assert "Replace" in dfcbench("data", "verify", "--data", "bit by bit", expect=3).stderr, "verify asks for all"
    with zipfile.ZipFile(tmp_path / "s1.zip", "w") as single:
        for path in sorted(source.rglob("*ROIs0000_test_s1_*.tif"))[1:]:
            single.write(path, path.name)
    failed = dfcbench("data", "import", "s1.zip", "--out", "bit by bit", expect=3)
    assert "has no s1 file" in failed.stdout, "one file that lacks is no archive to follow"
    with zipfile.ZipFile(tmp_path / "linked.zip", "w") as linked:
        link = zipfile.ZipInfo("ROIs0000_test_lc_0_p0.tif")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        linked.writestr(link, "elsewhere.tif")
    for archives in (["linked.zip"], ["test.zip", "validation.zip", "linked.zip"]):
        failed = dfcbench("data", "import", *archives, "--out", "sound", expect=3)
        assert "1 file(s) refused" in failed.stderr
        assert "is a link" in failed.stdout
    assert "0 error(s)" in failed.stdout, "the others were imported and verified all the same"


def test_json_files_of_a_run_are_plain_json(dfcbench: Shell, small_root: Path):
    dfcbench("run", "--track", 1, "--method", "low-resolution-labels", "--data", small_root)
    for path in dfcbench.folder.glob("submissions/**/*.json"):
        text = path.read_text()
        assert "NaN" not in text
        json.loads(text)
        assert str(dfcbench.folder) not in text or path.name == "tracking.json", "no paths of this machine"
    assert [path.name for path in (dfcbench.folder / "submissions").iterdir()] == ["track1"]
