"""Compiled loops give the same bytes in the process that compiles them and in those that find them in the cache."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BAG = """
from dfcbench.method import RunContext
from dfcbench_methods.bag import Bag, BagParams
from tests.bag_maker import make_contest

class Reporter:
    def advance(self, *_): pass
    def metrics(self, values, step): show(*values.values())

contest = make_contest([(24, 40), (21, 33)])
for radius in (2, 3):
    run = RunContext(scratch=scratch / str(radius), reporter=Reporter())
    method = Bag(BagParams(clusters=12, bags=6, sweeps=5, label_rounds=2, radius=radius))
    method.fit(contest, run)
    for prediction in method.predict(contest.target, run):
        show(prediction.values)
"""

EPITOME = """
from dfcbench_methods.epitome_likelihood import Dense, Tables
from dfcbench_methods.epitome_model import EpitomeModel

draw = np.random.default_rng(0)
for window in (7, 5, 1):
    mean, precision = draw.random((3, 19, 19), np.float32), 1 + draw.random((3, 19, 19), np.float32)
    model = EpitomeModel(mean, precision, draw.random((19, 19), np.float32), window)
    dense = Dense(Tables.of(model, np.ones(3), 0.5))
    x, table = draw.random((3, 14, 17), np.float32), draw.random((8, 19, 19), np.float32)
    sums = np.zeros((2, 19, 19))
    dense.add_posteriors(x, draw.integers(0, 2, (14, 17), np.uint8), sums, (slice(14), slice(17)))
    show(sums, dense.centre_labels(x, table), dense.window_labels(x, table), dense.log_joint(x))
"""

PROGRAM = """
import hashlib, sys
from pathlib import Path
import numpy as np

scratch = Path(sys.argv[1])

def show(*values):
    for value in values:
        print(hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16])
"""


def printed(program: str, cache: Path, scratch: Path) -> str:
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, str(scratch)],
        cwd=ROOT,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return done.stdout


@pytest.mark.parametrize("program", [BAG, EPITOME], ids=["bag", "epitome"])
def test_fresh_kernels_and_those_of_the_cache_give_the_same_bytes(tmp_path: Path, program: str) -> None:
    cache = tmp_path / "cache"
    fresh = printed(program, cache, tmp_path / "first")
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")}
    assert any(path.suffix == ".nbc" for path in kept)
    assert printed(program, cache, tmp_path / "second") == fresh
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")} == kept, (
        "the second process compiled nothing"
    )


def decorated(tree: ast.Module, names: set[str]) -> list[ast.FunctionDef]:
    """Functions with one of these decorators, called or plain."""
    return [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(mark, ast.Name) and mark.id in names for mark in node.decorator_list)
    ]


def test_kernels_that_may_reorder_sums_call_none_that_is_not_inlined() -> None:
    """Whichever process compiled them, and in whatever order: there is one machine code of each loop for each caller."""
    kernels, found = 0, []
    for path in sorted((ROOT / "methods").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        apart = {function.name for function in decorated(tree, {"kernel"})}
        kernels += len(apart)
        for function in decorated(tree, {"kernel", "inlined"}):
            called = {
                node.func.id
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            found += [f"{path.name}: {function.name} calls {name}" for name in sorted(called & apart)]
    assert kernels > 10
    assert found == []
