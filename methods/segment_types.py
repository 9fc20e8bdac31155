"""Segments named without any reference: types of segments by k-means, and what p(HR | LR) says of types and places.

Segments of all scored images fall into types by their mean features, at each scale for itself. Where LR classes fall
among types tells the types' classes, by the Track 1 winner's label embedding (``epitome_labels``, Robinson et al., IEEE
JSTARS 14 (2021), Sec. IV), of which nothing depends on what is embedded. A segment's class then follows from its type and
from the LR labels within it, taken as independent given the class; scales are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import Patch, PatchSet, RunContext
from dfcbench.scheme import CODES

from .clustering import Clustering, Scale, cluster
from .epitome_labels import class_positions, label_em
from .label_prior import LocalPrior, under_prior
from .segmentation import Segmentation

SAMPLED_PATCHES = 512
"""Patches whose segments the types are found on: some hundred thousand segments, of which a k-means needs no more."""
_STARTS = 4
"""Starts of k-means, of which the best is kept."""

View = Callable[[Patch], tuple[Segmentation, NDArray[np.float32]]]
"""Segments of a patch and its features (F, H, W)."""


@dataclass(frozen=True)
class SegmentTypes:
    """Types of one scale: how segments fall into them, p(l | type) (types, 8), and the share of each class (8,)."""

    clustering: Clustering
    labels: NDArray[np.float64]
    share: NDArray[np.float64]


def probabilities(
    types: Sequence[SegmentTypes], segments: Segmentation, features: NDArray[np.float32], prior: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Class probabilities (8, H, W) of a patch, the mean over its scales. prior (8, H, W) is that of its pixels."""
    total = np.zeros(prior.shape, np.float32)
    for scale, known in enumerate(types):
        kind = known.clustering.nearest(segments.means(scale, features).astype(np.float32))
        local = segments.means(scale, prior)
        p = under_prior(known.labels[kind].T, known.share, local.T)
        total += p[:, segments.labels(scale)]
    return total / np.float32(len(types))


def segment_types(
    patches: PatchSet, view: View, scales: int, types: int, iterations: int, local: LocalPrior, run: RunContext
) -> list[SegmentTypes]:
    """Types of the segments of these patches for each of so many scales, and their classes."""
    sample = patches.subset(SAMPLED_PATCHES, run.generator("segments", "sample"))

    def means(patch: Patch) -> list[NDArray[np.float32]]:
        segments, features = view(patch)
        return [segments.means(scale, features).astype(np.float32) for scale in range(scales)]

    found: list[list[NDArray[np.float32]]] = [[] for _ in range(scales)]
    for of_patch in run.map(means, sample, label="segmenting"):
        for rows, more in zip(found, of_patch, strict=True):
            rows.append(more)
    clusterings = []
    for scale, rows in enumerate(found):
        x = np.concatenate(rows)
        seed = int(run.generator("segments", "types", scale).integers(2**31))
        count = min(types, len(np.unique(x, axis=0)))
        clusterings.append(cluster(x, Scale.of(x, np.float32), count, _STARTS, seed)[0])

    def mass(patch: Patch) -> list[NDArray[np.int64]]:
        segments, features = view(patch)
        low, counts = patch.low, []
        for scale, clustering in enumerate(clusterings):
            kind = clustering.nearest(segments.means(scale, features).astype(np.float32))[segments.labels(scale)]
            pairs = low.astype(np.intp) * len(clustering.centres) + kind
            size = (max(CODES) + 1) * len(clustering.centres)
            counts.append(np.bincount(pairs.ravel(), minlength=size)[:size].reshape(-1, len(clustering.centres)))
        return counts

    total = [np.zeros((max(CODES) + 1, len(clustering.centres)), np.int64) for clustering in clusterings]
    for of_patch_counts in run.map(mass, patches, label="naming segments"):
        for so_far, counts in zip(total, of_patch_counts, strict=True):
            so_far += counts
    named = []
    for clustering, counts in zip(clusterings, total, strict=True):
        positions = class_positions(counts[list(CODES)])
        labels, _ = label_em(local.prior, positions, iterations)
        share = counts.sum(axis=0) @ labels / counts.sum()
        named.append(SegmentTypes(clustering, labels, share))
    return named
