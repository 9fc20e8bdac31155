"""Made-up submissions for tests: random maps of a chosen quality, written through the harness's own functions."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from dfcbench import demo
from dfcbench.scheme import SCORED_CODES
from dfcbench.scoring import Confusion, confusion_matrix
from dfcbench.submission import Submission, write_scores, write_submission

DATA = demo.name()
"""What the data of made submissions are called: the demo contest."""


def made_confusion(quality: float, seed: int = 0, patches: int = 6, side: int = 16) -> Confusion:
    """Matrices of random maps in which about ``quality`` of the pixels are right."""
    generator = np.random.default_rng(seed)
    pairs = []
    for index in range(patches):
        reference = generator.choice(np.array(SCORED_CODES, np.uint8), (side, side))
        right = generator.random(reference.shape) < quality
        guess = np.where(right, reference, generator.integers(0, 11, reference.shape)).astype(np.uint8)
        pairs.append((f"ROIs0000_test_0_p{index}", confusion_matrix(reference, guess)))
    return Confusion.collect(pairs)


def made_meta(name: str = "bag", **changes: Any) -> dict[str, Any]:
    """A complete submission.json; ``changes`` replace entries, dictionaries entry by entry."""
    meta: dict[str, Any] = {
        "format": 1,
        "key": hashlib.sha256(repr((name, sorted(changes.items()))).encode()).hexdigest()[:16],
        "status": "finished",
        "track": 1,
        "split": "test",
        "method": {"name": name, "version": "1", "summary": "A method.", "citation": "", "origin": "test"},
        "preset": "quick",
        "parameters": {"clusters": 32, "channels": {"s2": [1, 2, 3]}},
        "seed": 0,
        "needs": {"inputs": ["s1", "s2"], "labels": "low", "transductive": False, "training": False},
        "badges": [],
        "data": {
            "name": DATA,
            "title": f"Demo contest (version {demo.VERSION}, size demo, seed 0)",
            "official": False,
            "fingerprint": "f" * 16,
            "patches": 6,
            "limit": None,
        },
        "software": {"dfcbench": "0.1.0", "python": "3.11.7", "numpy": "2.4.6"},
        "commit": "0123456789abcdef",
        "device": "cpu",
    }
    for key, value in changes.items():
        meta[key] = {**meta[key], **value} if isinstance(value, dict) and isinstance(meta.get(key), dict) else value
    return meta


def made_submission(
    root: Path, name: str = "bag", run: str = "a", quality: float | None = 0.6, seed: int = 0, **changes: Any
) -> Submission:
    """A finished run under ``root``; ``quality`` None leaves it without scores."""
    folder = root / "track1" / name / run
    if quality is not None:
        write_scores(folder, made_confusion(quality, seed))
    return write_submission(folder, made_meta(name, **{"seed": seed, **changes}))
