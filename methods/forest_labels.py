"""Training labels of the forests, patch by patch: the reference of validation, where there is one, and refined
low-resolution labels.

``refinement`` says what is done and why; here it is done in streams over the patches. What a killed run has done of it
is done again, to the same end, unless all of it was done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import PatchSet, RunContext
from dfcbench.patches import LabelledPatchSet
from dfcbench.scheme import NAMES, SCORED_CODES, scored_index

from . import refinement
from .forest_sampling import NONE, Features, Population, shares
from .forests import Growing, Member, checkpoint, grow_all

if TYPE_CHECKING:
    from .forest_trees import Trees

_KEPT = "labels"
_SHRUBLAND_SAMPLES = 100_000
"""Pixels on which the clusters of Shrubland are found; 24 means of five clusters need no more."""


@dataclass(frozen=True)
class Refining:
    """How low-resolution labels are refined; ``rows`` is the draw of the forest of step 3.

    barren_within_shrubland: whether p(HR | LR) says what step 1 is built on, see ``refinement.barren_within_shrubland``.
    """

    clusters: int
    water_pixels: int
    confidence: float
    rows: int
    excluded: tuple[int, ...]
    growing: Growing
    barren_within_shrubland: bool = True


def training_labels(
    labelled: LabelledPatchSet | None,
    target: PatchSet | None,
    refining: Refining | None,
    plain: Features,
    run: RunContext,
) -> Population:
    """All training pixels: the reference, and with ``refining`` the refined low-resolution labels of ``target``.

    ``labelled`` is None on Track 1, which shows no reference.

    ``plain`` computes the features without texture, the same for every experiment, so that their labels are the same.
    """
    sets: Sequence[PatchSet] = [patches for patches in (labelled, target) if patches is not None]
    population = Population(run.scratch / "labels.bin", sets)
    if run.load_checkpoint(_KEPT) is not None:
        population.recount()
        return population
    first = 0 if labelled is None else len(labelled)
    if refining is not None and target is not None:
        _refine(population, slice(first, len(population)), target, refining, plain, run)
    lacking = population.counts.sum(axis=0) == 0
    excluded = () if refining is None else refining.excluded
    for index in range(first):
        assert labelled is not None
        labels = scored_index(labelled[index].high)
        for code in excluded:
            if not lacking[SCORED_CODES.index(code)]:
                labels[labels == SCORED_CODES.index(code)] = NONE
        population.put(index, labels)
    for code in excluded:
        if lacking[SCORED_CODES.index(code)]:
            run.message(
                f"labels: refined low-resolution labels hold no {NAMES[code]}, so the reference's {NAMES[code]} of "
                "validation are used after all."
            )
    population.flush()
    run.save_checkpoint(_KEPT, True)
    return population


def _refine(
    population: Population, part: slice, target: PatchSet, refining: Refining, plain: Features, run: RunContext
) -> None:
    """Refined labels into the population's patches of ``part``, which are those of ``target``.

    The forest of step 3 weights its classes: it is to tell what a sample looks like, not how frequent its class is, and
    Savanna by the water can be a thousandth of all samples.
    """
    clusters = _shrubland(target, refining, plain, run) if refining.barren_within_shrubland else None
    without_barren = refinement.without_barren
    if clusters is None and (not part.start or not refining.barren_within_shrubland):
        # Nothing takes the place of low-resolution Barren, neither out of Shrubland nor out of a reference.
        without_barren = _as_it_is
    barren = SCORED_CODES.index(refinement.BARREN)

    def refined(i: int) -> tuple[NDArray[np.uint8], int]:
        patch = target[i]
        low = patch.low
        codes, added = refinement.without_savanna(without_barren(low), refining.water_pixels)
        labels = scored_index(codes)
        shrubs = low == refinement.SHRUBLAND
        if clusters is not None and shrubs.any():
            x = plain(patch)[:, shrubs].T
            labels[shrubs] = np.where(clusters.barren(x), barren, labels[shrubs])
        return labels, int(added.sum())

    added = np.zeros(len(target), np.int64)
    numbers = range(len(target))
    for i, (labels, count) in zip(numbers, run.map(refined, numbers, label="refining labels"), strict=True):
        population.put(part.start + i, labels)
        added[i] = count
    if not added.any() or not population.pixels:
        return
    member = Member("refinement-0", "refinement", weighted=True)
    grow_all([member], population, refining.rows, plain, refining.growing, run, only=part)
    trees: Trees | None = run.load_checkpoint(checkpoint(member.name))
    assert trees is not None

    def filtered(i: int) -> NDArray[np.uint8]:
        patch = target[i]
        labels = population.labels(part.start + i)
        of_savanna = patch.low == refinement.SAVANNA
        probabilities = trees.probabilities(plain(patch)[:, of_savanna].T)
        keep = refinement.confident(labels[of_savanna], probabilities, refining.confidence)
        labels[of_savanna] = np.where(keep, labels[of_savanna], NONE)
        return labels

    before, after = np.zeros((2, len(SCORED_CODES)), np.int64)
    affected = np.flatnonzero(added).tolist()
    for i, labels in zip(affected, run.map(filtered, affected, label="filtering labels"), strict=True):
        before += population.counts[part.start + i]
        population.put(part.start + i, labels)
        after += population.counts[part.start + i]
    for code in (refinement.WETLANDS, refinement.GRASSLAND):
        k = SCORED_CODES.index(code)
        run.message(
            f"labels: of the {NAMES[code]} of patches with Savanna, {after[k]} of {before[k]} samples are kept."
        )


def _as_it_is(low: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return low


def _shrubland(
    target: PatchSet, refining: Refining, plain: Features, run: RunContext
) -> refinement.ShrublandClusters | None:
    """Clusters of Shrubland from a sample that is spread over the patches."""
    from .features.stack import PLAIN

    def count(i: int) -> int:
        return int((target[i].low == refinement.SHRUBLAND).sum())

    counts = np.array(list(run.map(count, range(len(target)))), np.int64)
    generator = run.generator("antonia", "shrubland")
    wanted = shares(_SHRUBLAND_SAMPLES, counts, generator)

    def sample(i: int) -> NDArray[np.float32]:
        patch = target[i]
        shrubs = np.flatnonzero(patch.low == refinement.SHRUBLAND)
        own = run.generator("antonia", "shrubland", patch.id)
        chosen = np.sort(own.choice(shrubs, size=int(wanted[i]), replace=False))
        x = plain(patch)
        return np.ascontiguousarray(x.reshape(len(x), -1)[:, chosen].T)

    samples = list(run.map(sample, np.flatnonzero(wanted).tolist()))
    if not samples:
        return None
    x = np.concatenate(samples)
    seed = int(generator.integers(2**31))
    return refinement.shrubland_clusters(x, x[:, PLAIN.index("BSI")], refining.clusters, seed)
