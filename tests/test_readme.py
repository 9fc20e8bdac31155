"""What the README and the pages in docs/ say works as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_process import call

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
PAGES = [README, *sorted(README.parent.glob("docs/*.md"))]


def block(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert found, f"README.md has no block marked {marker}"
    return found[1]


def commands() -> list[str]:
    blocks = [part for page in PAGES for part in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL)]
    lines = [line.partition("  #")[0].strip() for part in blocks for line in part.splitlines()]
    return [line[line.index("dfcbench ") :] for line in lines if re.search(r"(^|&& )dfcbench ", line)]


def test_the_plug_in_of_the_readme_runs_and_is_short(dfcbench, small_root):
    source = block("plug-in")
    (dfcbench.folder / "threshold.py").write_text(source)
    dfcbench("run", "--track", 1, "--method", "threshold.py:Threshold", "-p", "ndwi=0.2", "--data", small_root)
    body = [line for line in source.splitlines() if line.strip()]
    assert len(body) < 20


@pytest.mark.parametrize(
    ("kind", "method", "options"),
    [
        ("sklearn", "bayes.py:Bayes", ["-p", "inputs=s1+s2", "-p", "indices=true"]),
        ("torch", "small.py:Small", ["-p", "steps=2", "-p", "batch=2", "-p", "crop=16"]),
    ],
)
def test_the_adapters_of_the_readme_run_and_are_short(dfcbench, small_root, kind, method, options):
    source = block(f"plug-in {kind}")
    (dfcbench.folder / method.partition(":")[0]).write_text(source)
    dfcbench("run", "--track", 1, "--method", method, *options, "--data", small_root)
    assert f"--method {method} -p" in TEXT
    assert len([line for line in source.splitlines() if line.strip()]) < 20


def test_the_plug_in_of_the_readme_keeps_the_contract_as_the_readme_s_test_file_finds(tmp_path):
    (tmp_path / "threshold.py").write_text(block("plug-in"))
    (tmp_path / "test_threshold.py").write_text(block("contract"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_threshold.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"3\d passed, 1 skipped", done.stdout), done.stdout


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_of_readme_and_docs_is_one_that_exists(command):
    words = shlex.split(command)[1:]
    verbs = [word for word in words[:2] if re.fullmatch(r"[a-z][a-z-]*", word)]
    names = verbs if verbs[0] in ("data", "methods", "submission", "track", "validate-labels") else verbs[:1]
    shown = call(*names, "--help")
    assert shown.code == 0, shown.err
    known = shown.out
    for option in (word for word in words if re.fullmatch(r"--?[a-z-]+", word)):
        assert option in known, f"{option} is no option of dfcbench {' '.join(names)}"


def test_the_first_line_is_the_run_that_the_tests_make(dfcbench):
    line = block("run").strip()
    assert "\n" not in line
    assert line.endswith("dfcbench run --track 1 --method bag")
    assert "\n" not in block("tests").strip()


def test_rules_for_scenes_are_the_ones_that_are_checked():
    from dfcbench import scene_checks
    from dfcbench.cli.predict import EXAMPLES

    readme, told = (" ".join(text.split()) for text in (TEXT, EXAMPLES))
    unlabelled = [str(code) for code in scene_checks._IGBP if not 1 <= code <= 17]
    words = f"{', '.join(unlabelled[:-1])} and {unlabelled[-1]}"
    assert f"IGBP classes 1 to 17, with {words} for no label" in readme
    assert f"IGBP classes 1 to 17 ({words}: no label)" in told
    assert (
        f"pixels of {scene_checks._PIXEL:g} m give or take a fifth" in readme and scene_checks._PIXEL_TOLERANCE == 1 / 5
    )
    assert f"pixels of about {scene_checks._PIXEL:g} m" in told
