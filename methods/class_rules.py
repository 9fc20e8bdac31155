"""Class-specific refinement: what a class can never be, by spectral index, as long as the data at hand bear it out.

Thresholds are those of the literature, for reflectance. A contest may have other radiometry, so no rule is believed
unseen: one counts only where nearly all training pixels of its class obey it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfcbench.scheme import SCORED_NAMES

TRUST = 0.95
"""Share of a class's training pixels that must obey a rule: the usual level of a test, and some labels are wrong."""


@dataclass(frozen=True)
class Rule:
    """Pixels of the class ``name`` have an ``index`` from ``least`` to ``most``."""

    name: str
    index: str
    least: float
    most: float
    reference: str

    def obeyed(self, x: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which values of the index are possible for the class."""
        possible: NDArray[np.bool_] = (x >= self.least) & (x <= self.most)
        return possible


_XU = "Xu, International Journal of Remote Sensing 27 (2006): open water is above 0, all else below"
_SOBRINO = (
    "Sobrino, Jiménez-Muñoz and Paolini, Remote Sensing of Environment 90 (2004): bare below 0.2, all green above 0.5"
)

RULES: tuple[Rule, ...] = (
    Rule("Water", "MNDWI", 0.0, 1.0, _XU),
    Rule("Forest", "MNDWI", -1.0, 0.0, _XU),
    Rule("Forest", "NDVI", 0.2, 1.0, _SOBRINO),
    Rule("Urban/Built-up", "NDVI", -1.0, 0.5, _SOBRINO),
    Rule("Barren", "NDVI", -1.0, 0.5, _SOBRINO),
    Rule("Barren", "MNDWI", -1.0, 0.0, _XU),
)


def trusted(
    x: NDArray[np.float32], y: NDArray[np.uint8], names: Sequence[str], rules: Sequence[Rule] = RULES
) -> tuple[Rule, ...]:
    """The rules that training pixels bear out: features x (n, F) called ``names``, class indices y (n,)."""

    def holds(rule: Rule) -> bool:
        own = x[y == SCORED_NAMES.index(rule.name), names.index(rule.index)]
        return bool(len(own)) and float(rule.obeyed(own).mean()) >= TRUST

    return tuple(rule for rule in rules if holds(rule))


def ruled(
    p: NDArray[np.float32], x: NDArray[np.float32], names: Sequence[str], rules: Sequence[Rule]
) -> NDArray[np.float32]:
    """Probabilities p (8, H, W) without what the rules exclude, from features x (F, H, W).

    What a class loses goes to the others in proportion. Where nothing would be left, ``p`` stands.
    """
    allowed = np.ones(p.shape, np.bool_)
    for rule in rules:
        allowed[SCORED_NAMES.index(rule.name)] &= rule.obeyed(x[names.index(rule.index)])
    left = np.where(allowed, p, np.float32(0))
    total = left.sum(axis=0)
    found: NDArray[np.float32] = np.where(total > 0, left / np.where(total > 0, total, 1), p)
    return found
