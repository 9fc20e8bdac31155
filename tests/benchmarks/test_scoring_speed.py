"""Counting and scoring the test split's 336 million pixels, against scikit-learn in the same run.

Run with ``pytest tests/benchmarks/test_scoring_speed.py -s``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import confusion_matrix as usual

from dfcbench.scoring import confusion_matrix

PATCHES = 5128

FULL_SIZE = """
import json, time
from pathlib import Path
import numpy as np
from dfcbench.scoring import Confusion, Scores, confusion_matrix

generator = np.random.default_rng(0)
pool = [generator.integers(1, 11, (2, 256, 256), dtype=np.uint8) for _ in range(64)]
before = time.perf_counter()
confusion = Confusion.collect((str(i), confusion_matrix(*pool[i % 64])) for i in range({patches}))
counted = time.perf_counter()
Scores.of(confusion)
scored = time.perf_counter()
status = Path("/proc/self/status").read_text()
megabytes = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps(dict(count=counted - before, score=scored - counted, megabytes=megabytes)))
"""


def test_full_size_in_five_seconds_and_200_megabytes() -> None:
    command = [sys.executable, "-c", FULL_SIZE.format(patches=PATCHES)]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"\nfull size: {result}")
    assert result["count"] + result["score"] < 5
    assert result["megabytes"] < 200


def test_counting_beats_scikit_learn_by_five_times() -> None:
    reference, prediction = np.random.default_rng(0).integers(1, 11, (2, 32, 256, 256), dtype=np.uint8)

    def ours() -> None:
        for truth, guess in zip(reference, prediction, strict=True):
            confusion_matrix(truth, guess)

    def theirs() -> None:
        for truth, guess in zip(reference, prediction, strict=True):
            usual(truth.ravel(), guess.ravel(), labels=range(11))

    seconds = {f.__name__: min(_timed(f) for _ in range(3)) for f in (ours, theirs)}
    ratio = seconds["theirs"] / seconds["ours"]
    print(f"\n32 patches: {seconds}, ratio {ratio:.1f}")
    assert ratio > 5


def _timed(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
