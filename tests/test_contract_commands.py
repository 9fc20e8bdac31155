"""``dfcbench methods check`` and the pytest plug-in: what they print, and how they end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dfcbench.testing import surroundings
from dfcbench.testing.catalogue import CHECKS
from tests.contract_plugins import GOOD, broken

TOP = Path(__file__).parent.parent


@pytest.fixture
def methods(dfcbench):
    """The shell's folder with a method that keeps the contract and one of which maps are too small."""
    (dfcbench.folder / "good.py").write_text(GOOD)
    (dfcbench.folder / "small.py").write_text(broken("size"))
    return dfcbench


def test_each_check_has_a_line_and_the_last_one_is_the_verdict(methods):
    out = methods("methods", "check", "good.py:Means", "--only", "order", "--only", "codes").stdout.splitlines()
    assert [line.split()[:2] for line in out[:2]] == [["codes", "skipped"], ["order", "passed"]]
    assert out[-1] == "means keeps the contract: 1 passed, 0 failed, 1 skipped."


def test_a_failed_check_tells_what_was_seen_and_the_remedy_and_ends_with_5(methods):
    done = methods("methods", "check", "small.py:Means", "--only", "size", "--only", "order", expect=5)
    assert "(8, 63, 64), the patch (64, 64)" in done.stdout
    assert "remedy: Shape values (H, W)" in done.stdout
    assert "means breaks the contract: 1 passed, 1 failed, 0 skipped" in done.stderr


def test_a_method_of_which_every_check_was_skipped_fails(methods):
    done = methods("methods", "check", "good.py:Means", "--only", "codes", expect=5)
    assert "nothing was checked" in done.stderr


def test_results_as_json(methods):
    done = methods("methods", "check", "small.py:Means", "--json", "--only", "size", "--only", "identity", expect=5)
    found = json.loads(done.stdout)
    assert found["method"] == "means" and found["keeps_contract"] is False
    assert [(check["name"], check["outcome"]) for check in found["checks"]] == [
        ("identity", "passed"),
        ("size", "failed"),
    ]
    assert found["checks"][0]["remedy"] is None and "patch.shape" in found["checks"][1]["remedy"]


def test_all_checks_are_listed(dfcbench):
    lines = dfcbench("methods", "check", "--list").stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [check.name for check in CHECKS]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["good.py:Means", "--only", "ordre"], 2, "Did you mean order"),
        (["good.py:Means", "-p", "sharpnes=1"], 2, "sharpnes"),
        (["good.py:Means", "--preset", "slow"], 2, "no preset 'slow'"),
        ([], 2, "Name a method"),
        (["nowhere.py:Means"], 4, "no such file"),
    ],
)
def test_what_cannot_be_checked_is_refused(methods, words, code, told):
    assert told in methods("methods", "check", *words, expect=code).stderr


def test_parameters_reach_the_method(methods):
    source = GOOD.replace("        sums, counts =", "        assert self.params.sharpness == 7\n        sums, counts =")
    (methods.folder / "seven.py").write_text(source)
    methods("methods", "check", "seven.py:Means", "--only", "runs", "-p", "sharpness=7")
    methods("methods", "check", "seven.py:Means", "--only", "runs", "-p", "sharpness=8", expect=5)


def test_a_method_for_one_size_of_patches_is_checked_on_that(methods):
    source = GOOD.replace(
        "        return np.concatenate", "        patch.s2.reshape(13, 96, 96)\n        return np.concatenate"
    )
    (methods.folder / "large.py").write_text(source)
    words = ("methods", "check", "large.py:Means", "--only", "runs", "--only", "size")
    methods(*words, "--side", 96)
    methods(*words, expect=5)


def test_checking_leaves_nothing_behind(methods, tmp_path):
    temporary, cache = tmp_path / "temporary", tmp_path / "cache"
    temporary.mkdir()
    methods.environment = {"TMPDIR": str(temporary), "DFCBENCH_CACHE": str(cache)}
    before = sorted(methods.folder.iterdir())
    methods("methods", "check", "good.py:Means", "--only", "new-process")
    assert list(temporary.iterdir()) == []
    assert [path.name for path in cache.iterdir()] == ["dfcbench.log"]
    assert sorted(set(methods.folder.iterdir()) - set(before) - {cache}) in ([], [methods.folder / "__pycache__"])


def test_a_heavy_import_is_a_fault_of_a_method_that_is_listed_and_none_of_a_file(methods):
    site = methods.folder / "site"
    (site / "extra-1.0.dist-info").mkdir(parents=True)
    (site / "extra-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (site / "extra-1.0.dist-info" / "entry_points.txt").write_text("[dfcbench.methods]\nmeans = extra_means:Means\n")
    (site / "extra_means.py").write_text("import matplotlib\n" + GOOD)
    methods.environment = {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    done = methods("methods", "check", "means", "--only", "light-import", "--only", "runs", expect=5)
    failed = [line.split()[0] for line in done.stdout.splitlines() if line.split()[1:2] == ["failed"]]
    assert failed == ["light-import"]
    assert "imports matplotlib" in done.stdout
    done = methods("methods", "check", "site/extra_means.py:Means", "--only", "light-import", "--only", "runs")
    assert "skipped  importing the module imports matplotlib; it is a file of yours" in done.stdout


def run_pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """pytest in ``folder`` with no plug-in but ours, installed or not."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "dfcbench.testing.plugin", *words],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_pytest_runs_each_check_as_a_test_of_its_own(tmp_path):
    (tmp_path / "small.py").write_text(broken("size"))
    done = run_pytest(tmp_path, "--dfcbench-method", "small.py:Means", "-k", "order or size or codes")
    assert done.returncode == 1, done.stdout
    assert "small.py:Means::order PASSED" in done.stdout
    assert "small.py:Means::codes SKIPPED" in done.stdout
    assert "small.py:Means::size FAILED" in done.stdout
    assert "remedy: Shape values (H, W)" in done.stdout
    assert "Traceback" not in done.stdout


def test_pytest_fails_where_every_check_was_skipped_or_there_is_no_method(tmp_path):
    (tmp_path / "good.py").write_text(GOOD)
    done = run_pytest(tmp_path, "--dfcbench-method", "good.py:Means", "-k", "codes")
    assert done.returncode == 1 and "nothing is known of it" in done.stdout
    done = run_pytest(tmp_path, "--dfcbench-method", "nowhere.py:Means")
    assert done.returncode == 4 and "no such file" in done.stderr
    done = run_pytest(tmp_path, "--dfcbench-method", "good.py:Means", "--dfcbench-param", "sharpnes=1")
    assert done.returncode == 4 and "sharpnes" in done.stderr


def test_a_test_file_takes_the_checks_by_an_import(tmp_path):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "test_good.py").write_text(
        "from dfcbench.testing import contract_tests\n\ntest_contract = contract_tests('good.py:Means', sharpness=30)\n"
    )
    done = run_pytest(tmp_path, "-k", "order or codes")
    assert done.returncode == 0, done.stdout
    assert "test_good.py::test_contract[order] PASSED" in done.stdout
    assert "test_good.py::test_contract[codes] SKIPPED" in done.stdout


def test_the_plug_in_is_registered_and_costs_other_people_s_tests_nothing():
    points = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert points == {"dfcbench": "dfcbench.testing.plugin"}
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport dfcbench.testing.plugin\n"
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('dfcbench')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(eval(done.stdout)) <= {"json", "json.decoder", "json.encoder", "json.scanner", "_json"}


def test_what_is_removed_with_its_folder_is_heard_where_it_lay(tmp_path):
    (tmp_path / "scratch" / "deep").mkdir(parents=True)
    (tmp_path / "scratch" / "deep" / "file").touch()
    watch = surroundings.Heard()
    with surroundings.writes(watch):
        shutil.rmtree(tmp_path / "scratch")
    assert str(tmp_path / "scratch" / "deep" / "file") in watch.written
    assert not surroundings.strangers(watch.written, [tmp_path / "scratch"])
    assert surroundings.strangers(watch.written, [tmp_path / "elsewhere"])
