"""Methods are found through entry points, folders and files; a broken one is told with its reason, hiding none."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dfcbench.errors import PluginError, UsageError
from dfcbench.method import Needs
from dfcbench.plugin_source import sketch_methods
from dfcbench.registry import Registry
from tests.plugins import BROKEN, MAJORITY


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def entry(registry: Registry, name: str):
    (found,) = [e for e in registry.entries if e.name == name]
    return found


def test_needs_that_a_base_class_may_state_are_not_guessed(tmp_path):
    file = (
        write(tmp_path, plain="class A(Method):\n    name = 'a'\n\n\nclass B(TorchMethod):\n    name = 'b'\n")
        / "plain.py"
    )
    sketches = sketch_methods(file)
    assert sketches["A"].needs == Needs()
    assert sketches["B"].needs is None


def test_the_built_in_methods_come_through_entry_points():
    names = {e.name: e for e in Registry().entries}
    assert {"bag", "low-resolution-labels"} <= names.keys()
    assert names["bag"].module == "dfcbench_methods.bag"
    assert names["bag"].problem is None


def test_a_folder_offers_its_methods_and_tells_of_the_broken_one(tmp_path):
    registry = Registry((write(tmp_path, good=MAJORITY, bad=BROKEN, worse="def f(:\n"),))
    assert entry(registry, "majority").problem is None
    assert (
        entry(registry, "majority").sketch.summary == "Every pixel gets the patch's most frequent low-resolution label."
    )
    assert "worse.py, line 1" in entry(registry, "worse").problem
    assert registry.load("majority").method.name == "majority"
    assert "bag" in {e.name for e in registry.entries}


def test_listing_imports_no_plug_in(tmp_path):
    trace = tmp_path / "imported"
    write(tmp_path / "methods", noisy=f"open({str(trace)!r}, 'w')\n" + MAJORITY)
    registry = Registry((tmp_path / "methods",))
    assert entry(registry, "majority").sketch.needs is not None
    assert not trace.exists()
    registry.load("majority")
    assert trace.exists()


def test_loading_a_broken_plug_in_tells_the_true_error_and_its_line(tmp_path):
    registry = Registry((write(tmp_path, late=MAJORITY + "\n\nundefined_name\n"),))
    with pytest.raises(
        PluginError, match=r"NameError: name 'undefined_name' is not defined .*late\.py, line \d+"
    ) as caught:
        registry.load("majority")
    assert isinstance(caught.value.__cause__, NameError)


def test_a_plug_in_that_exits_on_import_does_not_end_the_program(tmp_path):
    registry = Registry((write(tmp_path, quits=MAJORITY + "\nraise SystemExit(0)\n"),))
    assert "raises an exception" in entry(registry, "majority").problem
    with pytest.raises(PluginError, match="SystemExit"):
        registry.load("majority")


def test_a_name_offered_twice_names_both_origins(tmp_path):
    first, second = write(tmp_path / "a", m=MAJORITY), write(tmp_path / "b", m=MAJORITY)
    with pytest.raises(PluginError) as caught:
        Registry((first, second)).load("majority")
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)


def test_a_typo_gets_suggestions():
    with pytest.raises(PluginError, match="low-resolution-labels"):
        Registry().load("low-resolution-label")


def test_a_file_is_loaded_by_class_or_alone(tmp_path):
    file = write(tmp_path, mine=MAJORITY) / "mine.py"
    assert Registry().load(f"{file}:Majority").method.name == "majority"
    loaded = Registry().load(str(file))
    assert loaded.digest is not None
    file.write_text(MAJORITY + "\n# changed\n")
    assert Registry().load(str(file)).digest != loaded.digest


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("nowhere.py:Majority", "no such file"),
        ("{file}:Minority", "has no class Minority"),
        ("{file}:np", "not a subclass"),
        ("{empty}", "holds 0 methods"),
    ],
)
def test_a_wrong_file_reference_says_what_is_wrong(tmp_path, reference, reason):
    write(tmp_path, mine=MAJORITY, empty="x = 1\n")
    reference = reference.format(file=tmp_path / "mine.py", empty=tmp_path / "empty.py")
    with pytest.raises(PluginError, match=reason):
        Registry().load(reference)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("(Method)", "(object)"), "not a subclass"),
        (("    def predict", "    def foretell"), "does not define predict"),
        (('name = "majority"', 'name = "two words"'), "letters, digits and hyphens"),
        (('needs = Needs(inputs=frozenset(), labels="low")', "needs = 'all'"), r"must be Needs"),
        (("    Params = MajorityParams\n", "    Params = dict\n"), "Params must be a subclass"),
        (("    Params = MajorityParams\n", "    reconstruction = 'yes'\n"), "reconstruction must be True or False"),
    ],
)
def test_a_class_that_is_no_method_is_refused_with_its_fault(tmp_path, change, reason):
    assert change[0] in MAJORITY
    file = write(tmp_path, mine=MAJORITY.replace(*change)) / "mine.py"
    with pytest.raises(PluginError, match=reason):
        Registry().load(f"{file}:Majority")


def test_a_missing_folder_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        Registry((tmp_path / "nowhere",))


def test_a_separate_distribution_with_a_good_and_a_broken_entry_point(tmp_path):
    source = tmp_path / "source"
    write(source / "dfc_extras", __init__="", good=MAJORITY, bad=BROKEN.replace("Broken:", "Broken(object):"))
    (source / "pyproject.toml").write_text(
        textwrap.dedent(
            """
            [build-system]
            requires = ["setuptools"]
            build-backend = "setuptools.build_meta"
            [project]
            name = "dfc-extras"
            version = "2.5"
            [project.entry-points."dfcbench.methods"]
            majority = "dfc_extras.good:Majority"
            broken = "dfc_extras.bad:Broken"
            gone = "dfc_extras.gone:Gone"
            [tool.setuptools]
            packages = ["dfc_extras"]
            """
        )
    )
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def dfcbench(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dfcbench", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    listed = dfcbench("methods")
    assert listed.returncode == 0, listed.stderr
    offered, unusable = listed.stdout.split("Cannot be used:")
    assert "majority" in offered
    assert "dfc-extras 2.5" in offered
    assert "bag" in offered
    assert "imports a_package_that_is_nowhere, which is not installed" in unusable
    assert "there is no module dfc_extras.gone" in unusable
    assert dfcbench("methods", "show", "majority").returncode == 0
    shown = dfcbench("methods", "show", "broken")
    assert shown.returncode == 4
    assert "No module named 'a_package_that_is_nowhere'" in shown.stderr
    assert "Traceback" not in shown.stderr
