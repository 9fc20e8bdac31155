"""What the pages in docs/ say is so: their commands run, their keys are those that runs write, their tests exist."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfcbench import errors
from tests import datamaker, full_size
from tests.in_process import call
from tests.plugins import LEARNING, with_predict

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
TESTS = Path(__file__).parent

ASKING = (
    with_predict(
        "        for patch in patches:\n            yield Prediction(patch.id, patch.low)",
        name="asking",
        needs="Needs(labels='low', transductive=True, feedback=True)",
    )
    .replace("    needs =", "    reconstruction = True\n    needs =")
    .replace("self.contest_ = None", "contest.feedback(Prediction(patch.id, patch.low) for patch in contest.target)")
)


def section(page: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGES[page], re.DOTALL | re.MULTILINE)
    assert found, f"{page} has no section {title}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Cells of the body rows of all tables in a text."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = {i for i, row in enumerate(cells) if i + 1 < len(cells) and set("".join(cells[i + 1])) <= set("-: ")}
    return [row for i, row in enumerate(cells) if i not in heads and set("".join(row)) - set("-: ")]


def named(page: str, title: str) -> set[str]:
    """What stands in backquotes in the first column of a section's table."""
    return {name for row in rows(section(page, title)) for name in re.findall(r"`([^`]+)`", row[0])}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[dict[str, Path]]:
    """Folders of a whole run, one that asked the contest's server, one that broke off, maps from elsewhere, a sealed run."""
    place = tmp_path_factory.mktemp("docs")
    datamaker.write_contest(place / "data", validation=2, test=5)
    former = Path.cwd()
    os.chdir(place)
    shutil.copy(empty_store, place / "mlflow.db")
    try:
        (place / "learning.py").write_text(
            LEARNING.replace("self.bias_ =", 'run.artifact("own.txt").touch(); self.bias_ =')
        )
        (place / "asking.py").write_text(ASKING)
        common = ("run", "--track", 1, "--data", "data", "--workers", 1)
        store = f"sqlite:///{place / 'mlflow.db'}"
        assert call(*common, "--method", "learning.py", "--keep-probabilities", store=store).code == 0
        asked = call(*common, "--method", "asking.py")
        assert asked.code == 0, asked.err
        assert call(*common, "--method", "low-resolution-labels", "--sealed").code == 0
        (place / "stop in predict").touch()
        assert call(*common, "--method", "learning.py", "--seed", 1).code == 6
        assert call("submission", "pack", "learning", "-o", "maps.zip").code == 0
        scored = call("submission", "score", "maps.zip", "--team", "T", "--method", "m", "--track", 1, "--data", "data")
        assert scored.code == 0, scored.err
        (whole,) = place.glob("submissions/track1/learning/*-seed0-*")
        (broken,) = place.glob("submissions/track1/learning/*-seed1-*")
        (asking,) = place.glob("submissions/track1/asking/*")
        (maps,) = place.glob("submissions/track1/m/*")
        (sealed,) = place.glob("submissions/track1/low-resolution-labels/*")
        yield {"whole": whole, "broken": broken, "asking": asking, "maps": maps, "sealed": sealed}
    finally:
        os.chdir(former)


OPEN = {
    "parameters",
    "overrides",
    "parts",
    "software",
    "data.depends_on",
    "classes",
    "seconds",
    "patches[].images",
    "patches[].shares",
    "patches[].labels",
    "answers",
    "answers.*.producers_accuracy",
    "crc32",
}
"""Mappings whose names depend on the run; feedback.json's answers, and submission.json's, which is a number."""


def keys(value: Any, place: str = "") -> set[str]:
    """Paths of all values: an open mapping's names are ``*``, entries of a list of mappings ``[]``."""
    if isinstance(value, dict) and (value or place in OPEN):
        prefix = f"{place}." if place else ""
        if place in OPEN:
            return set().union({f"{prefix}*"} if not value else set(), *(keys(v, f"{prefix}*") for v in value.values()))
        return set().union(*(keys(v, f"{prefix}{name}") for name, v in value.items()))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(keys(entry, f"{place}[]") for entry in value))
    return {place}


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("title", "holders"),
    [
        ("submission.json", ("whole", "asking", "maps", "sealed")),
        ("scores.json", ("whole", "maps")),
        ("timing.json", ("whole", "asking")),
        ("pictures.json", ("whole", "maps")),
        ("feedback.json", ("asking",)),
        ("failure.json", ("broken",)),
        ("tracking.json", ("whole",)),
        ("fitted/complete.json", ("whole", "asking")),
    ],
)
def test_the_keys_of_a_json_file_are_those_that_the_page_names(runs, title, holders):
    written = set().union(*(keys(read(runs[holder] / title)) for holder in holders))
    assert written == named("results-format.md", title)


def test_the_keys_of_metrics_and_matrices_are_those_that_the_page_names(runs):
    entries = [json.loads(line) for line in (runs["whole"] / "metrics.jsonl").read_text().splitlines()]
    assert set().union(*entries) == named("results-format.md", "metrics.jsonl")
    with np.load(runs["whole"] / "confusion.npz") as content:
        assert set(content.files) == named("results-format.md", "confusion.npz")


def test_maps_from_elsewhere_lack_what_the_page_says_and_nothing_else(runs):
    lacking = keys(read(runs["whole"] / "submission.json")) - keys(read(runs["maps"] / "submission.json"))
    text = section("results-format.md", "submission.json").replace("\n", " ")
    (told,) = re.findall(r"Maps made elsewhere [^.]* have no (.*?);", text)
    assert {key.partition(".")[0] for key in lacking} == set(re.findall(r"`(\w+)`", told))
    assert read(runs["maps"] / "submission.json")["parameters"].keys() == {"team"}


def test_the_files_of_a_run_are_those_that_the_page_names(runs):
    written = {path.name + "/" * path.is_dir() for folder in runs.values() for path in folder.iterdir()}
    assert written == named("results-format.md", "Files")
    artifacts = {path.name for path in (runs["whole"] / "artifacts").iterdir()}
    assert artifacts - {"own.txt"} == named("results-format.md", "Maps and artifacts")


def test_what_is_said_to_be_in_version_control_is_not_ignored():
    ignored = (DOCS.parent / ".gitignore").read_text()
    for name, _, kept in rows(section("results-format.md", "Files")):
        listed = f"submissions/**/{name.strip('`')}" in ignored
        assert listed == (kept == "no") or name == "`failure.json`", name


def test_every_exit_code_and_every_kind_of_error_is_in_the_table():
    table = [(int(row[0]), row[1].strip("`")) for row in rows(section("troubleshooting.md", "Exit codes"))]
    kinds = {(kind.exit_code, name) for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert set(table) == kinds | {(0, ""), (130, ""), (143, "")}
    assert [code for code, _ in table] == sorted(code for code, _ in table)
    epilog = call("--help").out
    assert all(re.search(rf"\b{code}\b", epilog) for code, _ in table)


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


def test_every_row_of_the_fault_table_has_a_test_that_exists():
    found = rows(section("troubleshooting.md", "The fault table"))
    assert len(found) > 30
    for fault, happens, code, test in found:
        assert fault and happens and code
        file, _, name = test.strip("`").partition("::")
        assert name.startswith("test_") and name in functions(TESTS / file), test
    told = [test for *_, test in found]
    assert len(set(told)) == len(told), "each row has a test of its own"


def test_every_test_of_a_fault_is_in_the_table():
    told = section("troubleshooting.md", "The fault table")
    for file in ("test_faults.py", "test_full_disk.py", "test_kills.py", "test_faulty_servers.py"):
        for name in sorted(functions(TESTS / file)):
            assert not name.startswith("test_") or f"{file}::{name}`" in told, f"{file}::{name} is in no row"


def test_links_between_pages_lead_somewhere():
    for page in (*DOCS.glob("*.md"), DOCS.parent / "README.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
    linked = (DOCS.parent / "README.md").read_text("utf-8")
    assert all(f"(docs/{name})" in linked for name in PAGES)


def test_the_commands_of_the_pages_run_on_the_tiny_demo_contest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in sorted(PAGES.items()):  # data.md writes the contest
        for file, source in re.findall(r"<!-- plug-in (\S+) -->\n```python\n(.*?)```", text, re.DOTALL):
            (tmp_path / file).write_text(source)
        for block in re.findall(r"<!-- demo -->\n```sh\n(.*?)```", text, re.DOTALL):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                assert words[0] == "dfcbench"
                outcome = call(*words[1:])
                assert outcome.code == 0, f"{name}: {line}\n{outcome.err}"
    compared = (tmp_path / "submissions").glob("track1/low-resolution-labels/*/scores.json")
    first, second = (path.read_bytes() for path in compared)
    assert first == second, "as methodology.md says"


def test_the_commands_of_the_real_data_run_on_archives_of_these_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = datamaker.write_contest(tmp_path / "source", validation=2, test=3)
    for folder in {path.parent for path in source.rglob("*.tif")}:  # s1_validation ... dfc_0
        shutil.make_archive(folder.name, "zip", folder)
    shutil.rmtree(source)
    commands = re.sub(r"(?<= )/data/dfc\b", "dfc", section("data.md", "The contest's data"))
    (block,) = re.findall(r"```sh\n(.*?)```", commands, re.DOTALL)
    for line in block.splitlines():
        outcome = call(*shlex.split(line)[1:])
        assert outcome.code == 0, f"{line}\n{outcome.err}"
    assert "validation" in outcome.out + outcome.err
    assert len(list(Path("dfc").rglob("*.tif"))) == 4 * 5


def test_the_tables_of_scale_are_those_of_the_kept_measurements():
    measured = full_size.load(full_size.KEPT)
    assert {"bag", "unet", "antonia"} <= measured.keys()
    page = PAGES["scale.md"].splitlines()
    told = [line for line in page if re.match(r"\| `", line)]
    rows_of = [
        make(name, costs) for make in (full_size.time_row, full_size.memory_row) for name, costs in measured.items()
    ]
    assert told == rows_of
    for costs in measured.values():
        assert [cost.patches for cost in costs] == list(full_size.SIZES)
