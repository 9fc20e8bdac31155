"""``dfcbench methods new``: files that run as they are written, and refusals that say what to do."""

from __future__ import annotations

import importlib.util
import os
import shlex
from pathlib import Path

import pytest

from dfcbench.cli.new_method import Kind, class_name, write_method
from dfcbench.errors import DataError, UsageError
from dfcbench.registry import Registry
from dfcbench.submission import Submission
from tests.conftest import Shell

QUICK = {"plain": [], "sklearn": ["-p", "pixels=2000"], "torch": ["-p", "steps=2", "-p", "batch=2", "-p", "crop=32"]}


@pytest.mark.parametrize("kind", list(Kind))
def test_a_new_method_runs_on_the_demo_contest_as_it_is_written(dfcbench: Shell, tiny_root: Path, kind: Kind) -> None:
    told = dfcbench("methods", "new", "my-own", "--kind", kind).stdout.splitlines()
    words = shlex.split(told[-1].partition("Run it: ")[2])
    assert words == ["dfcbench", "run", "--track", "1", "--method", "my_own.py:MyOwn"]
    dfcbench(*words[1:], "--data", tiny_root, *QUICK[kind])
    (folder,) = (dfcbench.folder / "submissions" / "track1" / "my-own").iterdir()
    run = Submission(folder)
    assert run.finished
    assert run.scores is not None and run.scores.average_accuracy is not None
    assert ("my_own.py:MyOwn" in run.meta["method"]["origin"]) and run.meta["method"]["name"] == "my-own"


@pytest.mark.parametrize("kind", list(Kind))
def test_a_new_method_is_short_and_shown_with_parameters(tmp_path: Path, kind: Kind) -> None:
    path, name = write_method("some-name", kind, tmp_path / "file.py", ())
    assert len(path.read_text().splitlines()) < 40
    assert "@" not in path.read_text()
    method = Registry().load(f"{path}:{name}").method
    assert method.name == "some-name"
    assert method.Params.model_fields
    assert method.__doc__


@pytest.mark.parametrize("name", ["Bag", "my_method", "-x", "a--b", "9lives", "x y", "a-", "", "ö", "../x"])
def test_names_that_are_none_are_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="lower case"):
        write_method(name, Kind.plain, None, ())
    assert not list(tmp_path.iterdir())


def test_a_built_in_methods_name_is_refused(dfcbench: Shell) -> None:
    told = dfcbench("methods", "new", "random-forest", expect=2).stderr
    assert "random-forest already" in told
    assert not (dfcbench.folder / "random_forest.py").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("precious")
    link = tmp_path / "link.py"
    link.symlink_to(tmp_path / "nowhere.py")
    for path in (file, link):
        with pytest.raises(UsageError, match="is there already"):
            write_method("new", Kind.plain, path, ())
    assert file.read_text() == "precious"
    assert not (tmp_path / "nowhere.py").exists()


@pytest.mark.parametrize(
    ("out", "reason"), [("x.txt", "ends in .py"), ("numpy.py", "would hide"), ("__main__.py", "would hide")]
)
def test_files_that_would_not_do_are_refused(tmp_path: Path, out: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        write_method("new", Kind.plain, tmp_path / out, ())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("nowhere/x.py", "nowhere/x.py: there is no folder nowhere. Make it first"),
        ("a-file/x.py", "a-file/x.py: cannot be written (a-file is a file, and a folder is needed there)"),
        ("locked/x.py", "locked/x.py: cannot be written (Permission denied)"),
        (f"{'x' * 300}.py", "cannot be written (File name too long)"),
    ],
)
def test_a_place_that_cannot_be_written_ends_with_its_own_exit_code(dfcbench: Shell, out: str, reason: str) -> None:
    (dfcbench.folder / "a-file").touch()
    locked = dfcbench.folder / "locked"
    locked.mkdir(mode=0o500)
    if out.startswith("locked") and os.access(locked, os.W_OK):
        pytest.skip("this user may write everywhere")
    told = dfcbench("methods", "new", "new", "--out", out, expect=DataError.exit_code).stderr
    assert told.startswith("error: ") and reason in told
    assert not list(dfcbench.folder.rglob("*.py"))


@pytest.mark.parametrize("name", ["method", "sklearn-method", "prediction", "none", "true", "params", "field"])
@pytest.mark.parametrize("kind", list(Kind))
def test_a_class_hides_nothing_that_its_file_needs(tmp_path: Path, name: str, kind: Kind) -> None:
    path, found = write_method(name, kind, tmp_path / "file.py", ())
    assert found == class_name(name)
    spec = importlib.util.spec_from_file_location("written", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert getattr(module, found).name == name


def test_a_path_with_spaces_can_be_pasted(dfcbench: Shell) -> None:
    (dfcbench.folder / "my files").mkdir()
    told = dfcbench("methods", "new", "spaced", "--out", "my files/it.py").stdout
    assert "--method 'my files/it.py:Spaced'" in told
    assert shlex.split(told.splitlines()[-1])[-1] == "my files/it.py:Spaced"
