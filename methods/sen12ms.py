"""SEN12MS as training data: by scene, without the official hold-out, and so few of its patches that they can be read.

Patches of a scene overlap by half, so scenes are what is divided and spread over, never patches. The organisers trained
their baselines on a "subsampled" split (Robinson et al., IEEE JSTARS 14 (2021), Table IV); how it was drawn is not told.

Nothing here reads all 180,662 label maps, which would keep a core busy for long before any learning. Names alone decide
which patches are looked at; labels are read of ``CANDIDATES`` times as many as are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import DataError
from dfcbench.method import Patch, PatchSet, RunContext
from dfcbench.patches import HOLDOUT_SCENES
from dfcbench.scheme import SCORED_CODES, scored_index

from .pixel_draw import low

CLASSES = len(SCORED_CODES)
CANDIDATES = 4
"""Patches whose labels are read for each one that is wanted: the more, the likelier a rare class is met. The lc files of
four have about as many bands as the images of the one, 16 and 15."""

_HELD_OUT_SHARE = 26 / 252
"""Of the scenes, where none is of the official hold-out: as many as the official one takes of SEN12MS's 252 scenes."""


def training_scenes(patches: PatchSet) -> PatchSet:
    """The patches of SEN12MS that may be trained on: those outside the official hold-out scenes.

    Raises DataError if none is left.
    """
    kept = [patch.id for patch in patches if patch.scene not in HOLDOUT_SCENES]
    if not kept:
        raise DataError(
            f"SEN12MS: all {len(patches)} patches here are of the official hold-out scenes, which are not trained on. "
            "Add other scenes."
        )
    return patches if len(kept) == len(patches) else patches.select(kept)


def training_and_holdout(patches: PatchSet, generator: np.random.Generator) -> tuple[PatchSet, PatchSet]:
    """SEN12MS in two by scene: what is trained on, and the official hold-out scenes, to watch the training with.

    Where none of these scenes is here (a part of SEN12MS, a tiny demo contest), a tenth of the scenes, and at least one,
    is drawn by ``generator`` and held out instead; of a single scene nothing is. No file is read.
    Raises DataError if nothing is left to train on.
    """
    training = training_scenes(patches)
    held = set(patches.ids) - set(training.ids)
    if not held:
        scenes = _by_scene(training)
        names = sorted(scenes)
        count = max(1, round(_HELD_OUT_SHARE * len(names))) if len(names) > 1 else 0
        held = {i for k in generator.permutation(len(names))[:count] for i in scenes[names[k]]}
        training = patches.select(i for i in patches.ids if i not in held)
    return training, patches.select(i for i in patches.ids if i in held)


def spread_over_scenes(patches: PatchSet, n: int, generator: np.random.Generator) -> PatchSet:
    """``n`` patches, as evenly over the scenes as these have patches, in their old order; all if there are no more.

    Within a scene, and among scenes for what does not divide evenly, chance decides. No file is read.
    """
    if n >= len(patches):
        return patches
    scenes = _by_scene(patches)
    turns = []
    for name in sorted(scenes):
        order = generator.permutation(len(scenes[name]))
        turns += [(turn, scenes[name][k]) for turn, k in enumerate(order)]
    ties = generator.random(len(turns))
    first = sorted(range(len(turns)), key=lambda i: (turns[i][0], ties[i]))[:n]
    return _in_order(patches, (turns[i][1] for i in first))


def label_counts(
    patches: PatchSet, run: RunContext, labels: Callable[[Any], NDArray[np.uint8]] = low
) -> NDArray[np.int64]:
    """Pixels by patch and class of the labels, (n, 8), columns ``SCORED_CODES``; others do not count."""

    def count(patch: Patch) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = np.bincount(scored_index(labels(patch)).ravel(), minlength=256)[:CLASSES]
        return counts

    return np.array(list(run.map(count, patches, label="counting labels")), np.int64).reshape(-1, CLASSES)


def class_aware(counts: NDArray[np.int64], n: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """``n`` of the patches with these pixels by class, (patches, C), ascending: classes choose in turn, rarest first.

    Each class takes one of the patches left that have it, with a chance in proportion to its pixels there, so that
    every class is there as soon as ``n`` is C. Patches without any of the classes are never chosen.
    """
    with np.errstate(divide="ignore"):
        # The smallest of exponential variates with these rates: a draw in proportion to them, without replacement.
        waits = generator.exponential(size=counts.shape) / counts
    orders = [
        iter([int(i) for i in np.argsort(waits[:, c], kind="stable") if counts[i, c] > 0])
        for c in np.argsort(counts.sum(axis=0), kind="stable")
    ]
    chosen: set[int] = set()
    while orders and len(chosen) < n:
        for order in list(orders):
            if len(chosen) == n:
                break
            taken = next((i for i in order if i not in chosen), None)
            if taken is None:
                orders.remove(order)
            else:
                chosen.add(taken)
    return np.array(sorted(chosen), np.intp)


def subsample(patches: PatchSet, n: int, run: RunContext) -> PatchSet:
    """``n`` training patches of SEN12MS: over all scenes outside the hold-out, with every class of the labels looked at.

    It depends on the run's seed and the patches alone. Labels are read of ``CANDIDATES * n`` patches at most, in the
    run's threads; images of none. Raises DataError if no label of a scored class is found.
    """
    candidates = spread_over_scenes(training_scenes(patches), CANDIDATES * n, run.generator("sen12ms", "scenes"))
    chosen = class_aware(label_counts(candidates, run), n, run.generator("sen12ms", "classes"))
    if not len(chosen):
        raise DataError(f"SEN12MS: none of {len(candidates)} patches has a low-resolution label of a scored class.")
    ids = candidates.ids
    return candidates.select(ids[i] for i in chosen)


def _by_scene(patches: PatchSet) -> dict[str, list[str]]:
    """Ids by scene."""
    scenes: dict[str, list[str]] = {}
    for patch in patches:
        scenes.setdefault(patch.scene, []).append(patch.id)
    return scenes


def _in_order(patches: PatchSet, ids: Iterable[str]) -> PatchSet:
    chosen = set(ids)
    return patches.select(i for i in patches.ids if i in chosen)
