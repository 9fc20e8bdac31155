"""Bytes, names and numbers that nobody meant: every command ends, with an error of its own kind or none, and no traceback.

``DFCBENCH_FUZZ=N pytest tests/test_fuzz.py`` tries N times as many, drawn anew each time.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests import datamaker
from tests.in_process import Outcome, call
from tests.plugins import MAJORITY

MORE = int(os.environ.get("DFCBENCH_FUZZ", "1"))
PATIENCE = 120
"""Seconds after which a command is taken to hang: a hundred times what the slowest of them takes."""
DATA_CODES = {0, 3}
ANY_KNOWN = {0, 2, 3, 7}


def examples(n: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=n * MORE,
        deadline=None,
        derandomize=MORE == 1,
        database=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.large_base_example,
        ],
    )


def ends(codes: set[int], *arguments: object) -> Outcome:
    """The command, which must end in time, with one of these codes, and with one line where it failed."""
    done: list[Outcome | BaseException] = []

    def work() -> None:
        try:
            done.append(call(*arguments))
        except BaseException as error:
            done.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert done, f"{arguments} hangs"
    outcome = done[0]
    if isinstance(outcome, BaseException):
        raise outcome
    assert outcome.code in codes, f"exit code {outcome.code}\n{outcome.out}\n{outcome.err}"
    assert "Traceback" not in outcome.out + outcome.err
    if outcome.code:
        assert len([line for line in outcome.err.splitlines() if line.startswith("error: ")]) == 1
    return outcome


# Where and what: a place as a share of the whole, and the bytes that stand there afterwards.
edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4
)
cuts = st.one_of(st.none(), st.floats(0, 1))


def mutated(content: bytes, changes: list[tuple[float, bytes]], cut: float | None, within: int | None = None) -> bytes:
    """``content`` with bytes replaced among its first ``within``, and cut short."""
    changed = bytearray(content)
    for share, new in changes:
        at = int(share * min(within or len(changed), len(changed)))
        changed[at : at + len(new)] = new
    return bytes(changed if cut is None else changed[: int(cut * len(changed))])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of its own as the current one, with a tiny contest, and a run and a zip of maps of it."""
    folder = tmp_path_factory.mktemp("fuzz")
    former = Path.cwd()
    os.chdir(folder)
    datamaker.write_contest(folder / "data", validation=1, test=2)
    (folder / "majority.py").write_text(MAJORITY)
    assert call("run", "--track", 1, "--method", "majority.py", "--data", "data").code == 0
    assert call("run", "--track", 1, "--method", "low-resolution-labels", "--data", "data").code == 0
    assert call("submission", "pack", "majority", "-o", "maps.zip").code == 0
    yield folder
    os.chdir(former)


def header_bytes(path: Path) -> int:
    """How far a tif's list of tags reaches: where a changed byte changes what the file claims."""
    content = path.read_bytes()
    (start,) = struct.unpack("<I", content[4:8])
    (entries,) = struct.unpack("<H", content[start : start + 2])
    return int(start + 2 + 12 * entries + 4)


@examples(40)
@given(token=st.sampled_from(datamaker.TOKENS), changes=edits, cut=cuts, in_header=st.booleans())
def test_a_tif_of_changed_bytes_is_verified_to_the_end(place, token, changes, cut, in_header):
    path = datamaker.file(place / "data", "DFC2020/ROIs0000_test", "0", token, "0_p1")
    former = path.read_bytes()
    try:
        path.write_bytes(mutated(former, changes, cut, header_bytes(path) if in_header else None))
        ends(DATA_CODES, "data", "verify", "--data", "data")
    finally:
        path.write_bytes(former)


@examples(12)
@given(token=st.sampled_from(datamaker.TOKENS), changes=edits, cut=cuts)
def test_a_tif_of_changed_bytes_is_run_to_the_end_or_named(place, token, changes, cut):
    path = datamaker.file(place / "data", "DFC2020/ROIs0000_test", "0", token, "0_p1")
    former = path.read_bytes()
    try:
        path.write_bytes(mutated(former, changes, cut, header_bytes(path)))
        command = ("run", "--track", 1, "--method", "majority.py", "--data", "data", "--submissions", "fuzzed")
        outcome = ends(DATA_CODES, *command)
        assert outcome.code == 0 or "0_p1" in outcome.err
    finally:
        path.write_bytes(former)
        shutil.rmtree(place / "fuzzed", ignore_errors=True)


@examples(40)
@given(changes=edits, cut=cuts)
def test_a_map_of_changed_bytes_is_checked_to_the_end(place, changes, cut):
    maps = place / "maps"
    shutil.rmtree(maps, ignore_errors=True)
    with zipfile.ZipFile(place / "maps.zip") as packed:
        packed.extractall(maps)
    path = sorted(maps.iterdir())[0]
    path.write_bytes(mutated(path.read_bytes(), changes, cut))
    ends({0, 7}, "submission", "check", "maps", "--track", 1, "--data", "data")


@examples(60)
@given(changes=edits, cut=cuts)
def test_a_zip_of_changed_bytes_is_checked_to_the_end(place, changes, cut):
    (place / "odd.zip").write_bytes(mutated((place / "maps.zip").read_bytes(), changes, cut))
    ends({0, 7}, "submission", "check", "odd.zip", "--track", 1, "--data", "data")


@examples(40)
@given(changes=edits, cut=cuts, compressed=st.booleans())
@example(changes=[(0.9840075601496839, b"@")], cut=None, compressed=False)  # a zip of a version to come
def test_an_archive_of_changed_bytes_is_imported_or_named(place, changes, cut, compressed):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for path in sorted((place / "data").rglob("*_validation_*.tif")):
            archive.write(path, path.name)
    (place / "odd.zip").write_bytes(mutated(buffer.getvalue(), changes, cut))
    shutil.rmtree(place / "imported", ignore_errors=True)
    outcome = ends(DATA_CODES, "data", "import", "odd.zip", "--out", "imported")
    assert outcome.code == 0 or "odd.zip" in outcome.err or "imported" in outcome.err
    assert not list(place.rglob("*.part"))


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@examples(60)
@given(method=st.sampled_from(["bag", "kmeans", "majority.py", "antonia"]), key=names, value=names, known=st.booleans())
def test_whatever_p_is_given_is_taken_or_refused_before_anything_is_run(place, method, key, value, known):
    given_key = {"bag": "clusters", "kmeans": "clusters", "majority.py": "offset", "antonia": "trees"}[method]
    pair = f"{given_key if known else key}={value}"
    outcome = ends({0, 2}, "run", "--track", 2, "--method", method, "--data", "data", "--dry-run", "-p", pair)
    assert outcome.code == 0 or method.removesuffix(".py") in outcome.err or "-p" in outcome.err


numbers = st.one_of(
    st.integers(-(10**30), 10**30), st.floats(allow_nan=True), st.booleans(), st.none(), st.text(max_size=9)
)


@examples(60)
@given(key=st.sampled_from(["clusters", "bags", "tolerance", "sweeps", "radius"]), value=numbers)
def test_numbers_out_of_all_bounds_are_refused(place, key, value):
    pair = f"{key}={json.dumps(value)}"
    ends({0, 2}, "run", "--track", 1, "--method", "bag", "--data", "data", "--dry-run", "-p", pair)


def within(value: Any, path: tuple[int, ...]) -> tuple[Any, Any]:
    """A container somewhere inside a JSON value, and a key of it; ``path`` chooses."""
    here, step = value, 0
    while True:
        keys = sorted(here) if isinstance(here, dict) else range(len(here))
        key = list(keys)[path[step % len(path)] % len(keys)]
        step += 1
        if step >= len(path) or not isinstance(here[key], dict | list) or not here[key]:
            return here, key
        here = here[key]


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from([{}, [], [None], {"a": {}}, "../../x", "\x1b[2J", "x" * 300, 10**400, -1]),
)


def submission(place: Path) -> Path:
    (folder,) = (place / "submissions/track1/majority").iterdir()
    return folder


@pytest.fixture
def kept(place: Path) -> Iterator[Path]:
    """The folder of a run, which is put back afterwards."""
    folder = submission(place)
    yield folder
    for name, text in FORMER.items():
        (folder / name).write_bytes(text)


FORMER: dict[str, bytes] = {}


def damage(place: Path, name: str, new: bytes) -> None:
    for file in ("submission.json", "scores.json", "confusion.npz", "pictures.json", "metrics.jsonl", "timing.json"):
        path = submission(place) / file
        if path.exists():
            FORMER.setdefault(file, path.read_bytes())
            path.write_bytes(new if file == name else FORMER[file])


def looked_at() -> None:
    """All that reads a submission which somebody else may have written."""
    ends({0, 7}, "leaderboard")
    ends(ANY_KNOWN, "compare", "majority", "low-resolution-labels", "--patches", 0)


@examples(40)
@given(name=st.sampled_from(["submission.json", "scores.json"]), path=st.tuples(*[st.integers(0, 50)] * 3), new=junk)
@example(name="submission.json", path=(8, 0, 0), new=None)  # "overrides": null
def test_a_submission_with_another_value_somewhere_is_shown_or_left_out(place, kept, name, path, new):
    value = json.loads(FORMER.get(name) or (kept / name).read_bytes())
    holder, key = within(value, path)
    holder[key] = new
    damage(place, name, json.dumps(value).encode())
    looked_at()


@examples(20)
@given(
    name=st.sampled_from(["submission.json", "scores.json", "confusion.npz", "pictures.json"]), changes=edits, cut=cuts
)
def test_a_submission_of_changed_bytes_is_shown_or_left_out(place, kept, name, changes, cut):
    damage(place, name, mutated(FORMER.get(name) or (kept / name).read_bytes(), changes, cut))
    looked_at()
