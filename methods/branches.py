"""What each branch of a combined method brings, as metrics: how far it agrees with the final map, and what it scores on
labelled patches that nothing was trained on.

No hidden label is needed. Names are ``<branch>_agreement``, ``<step>_changed``, ``<branch>_held_out_accuracy`` and
``<branch>_held_out_average_accuracy``; values are fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import PatchSet, RunContext
from dfcbench.patches import LabelledPatch, LabelledPatchSet, Patch
from dfcbench.scheme import SCORED_CODES, scored_index

from .pixel_draw import PatchesOf

CLASSES = len(SCORED_CODES)
FINAL = "final"
"""Name of the branch that is the map itself."""
MEASURED_PATCHES = 64
"""Of the scored split, whose branches are compared: on four million pixels a share is known to a tenth of a per cent."""
_HELD_OUT_SHARE = 0.1
"""Of the labelled patches."""

Maps = Mapping[str, NDArray[np.floating[Any]]]
"""Probabilities (8, H, W) of a patch, by branch."""
Steps = Mapping[str, tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]]
"""Probabilities before and after, by step of refinement."""


def hold_out(
    patches: LabelledPatchSet, generator: np.random.Generator
) -> tuple[LabelledPatchSet, LabelledPatchSet | None]:
    """Labelled patches in two, at random: what is trained on, and a tenth of them that is not; of one patch nothing is."""
    if len(patches) < 2:
        return patches, None
    held = set(patches.subset(max(1, round(_HELD_OUT_SHARE * len(patches))), generator).ids)
    return patches.select(i for i in patches.ids if i not in held), patches.select(i for i in patches.ids if i in held)


def log_agreement(patches: PatchSet, look: Callable[[Patch], tuple[Maps, Steps]], run: RunContext) -> None:
    """Log the share of pixels where each branch's most probable class is that of the map, and those that steps change.

    ``look`` gives the branches of a patch, the map among them as ``FINAL``, and the steps, logged as
    ``<step>_changed``.
    """
    some = patches.subset(MEASURED_PATCHES, run.generator("branches"))

    def compare(patch: Patch) -> tuple[int, dict[str, int]]:
        branches, steps = look(patch)
        labels = {name: p.argmax(axis=0) for name, p in branches.items()}
        final = labels.pop(FINAL)
        found = {f"{name}_agreement": int((own == final).sum()) for name, own in labels.items()}
        for name, (before, after) in steps.items():
            found[f"{name}_changed"] = int((before.argmax(axis=0) != after.argmax(axis=0)).sum())
        return final.size, found

    pixels, sums = 0, dict[str, int]()
    for size, found in run.map(compare, some, label="comparing branches"):
        pixels += size
        for name, count in found.items():
            sums[name] = sums.get(name, 0) + count
    run.log({name: count / pixels for name, count in sums.items() if pixels})


def log_held_out(patches: PatchesOf[LabelledPatch] | None, branches: Callable[[Patch], Maps], run: RunContext) -> None:
    """Log accuracy and average accuracy of each branch on labelled patches that were held out, if there are any."""
    if patches is None:
        return

    def count(patch: LabelledPatch) -> dict[str, NDArray[np.int64]]:
        truth = scored_index(patch.high)
        known = truth < CLASSES
        return {
            name: np.bincount(
                truth[known].astype(np.int64) * CLASSES + p.argmax(axis=0)[known], minlength=CLASSES**2
            ).reshape(CLASSES, CLASSES)
            for name, p in branches(patch).items()
        }

    sums: dict[str, NDArray[np.int64]] = {}
    for found in run.map(count, patches, label="scoring branches"):
        for name, counts in found.items():
            sums[name] = sums.get(name, np.zeros((CLASSES, CLASSES), np.int64)) + counts
    for name, confusion in sums.items():
        total = confusion.sum(axis=1)
        occurs = total > 0
        if occurs.any():
            recalls = confusion.diagonal()[occurs] / total[occurs]
            run.log(
                {
                    f"{name}_held_out_accuracy": confusion.trace() / total.sum(),
                    f"{name}_held_out_average_accuracy": recalls.mean(),
                }
            )
