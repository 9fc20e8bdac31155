"""A judge made of the reference and dice, to try the estimator: what it says is known to be wrong at a known rate."""

from __future__ import annotations

import numpy as np

from dfcbench.check_points import Drawing, codes_at
from dfcbench.errors import UsageError
from dfcbench.patches import LabelledPatchSet
from dfcbench.scheme import NAMES, SCORED_CODES
from dfcbench.sheets import UNSURE, Judgements

MARK = "simulated judge"
"""How its remarks begin; a report on a sheet that holds one says so."""


def simulate(drawing: Drawing, patches: LabelledPatchSet, error: float, seed: int) -> dict[str, tuple[str, str]]:
    """Class and remark by point: the reference's class, or with probability ``error`` any other scored one, all alike.

    A point without a scored reference is "unsure". Raises UsageError unless 0 <= error < 1, or if a patch is not here.
    """
    if not 0 <= error < 1:
        raise UsageError(f"--error {error}: give a rate from 0 to below 1.")
    generator = np.random.default_rng(seed)
    answers = {}
    for point, truth in zip(drawing.points, codes_at(drawing, patches.ids, lambda row: patches[row].high), strict=True):
        others = [code for code in SCORED_CODES if code != truth]
        said = int(generator.choice(others)) if generator.random() < error else truth
        answers[point.id] = (NAMES[said] if truth in SCORED_CODES else UNSURE, f"{MARK}, error rate {error:g}")
    return answers


def simulation(judgements: Judgements) -> str | None:
    """How the simulated judge described itself in the remarks; None if a person judged."""
    found = {remark for remark in judgements.remarks.values() if remark.startswith(MARK)}
    return "; ".join(sorted(found)) or None
