"""Automated cleaning of low-resolution labels: k-means, classes of its clusters, and naive Bayes on its centres.

Two classifiers that need no label to be right: ``clusters`` gives each cluster the classes that explain its
low-resolution labels, and minds the pixel's own label; ``bayes`` sees the centres alone, and so the colour alone. A pixel's
label is kept where both say the same and the second is sure of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import Patch, PatchSet, RunContext
from dfcbench.scheme import CODES, NO_LABEL, SCORED_CODES

from .cluster_classes import ClusterClasses
from .clustering import Clustering, Scale, cluster
from .features.stack import by_pixel
from .naive_bayes import CentroidBayes
from .pixel_draw import PixelFeatures, draw_pixels, low
from .refinement import CONFIDENCE, confident

_CODES = np.array(SCORED_CODES, np.uint8)


@dataclass(frozen=True)
class ClusterSettings:
    """How clusters are found: how many, on how many pixels, the best of how many starts."""

    clusters: int
    pixels: int
    restarts: int


@dataclass(frozen=True)
class Cleaner:
    """What clusters of the scored images tell about classes, and which labels that leaves. Safe in threads."""

    clustering: Clustering
    classes: ClusterClasses
    bayes: CentroidBayes
    confidence: float = CONFIDENCE

    def probabilities(self, patch: Patch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of the clusters with the pixel's own label, and of naive Bayes, (8, H, W) each."""
        x = bands(patch)
        shape = x.shape[1:]
        pixels = by_pixel(x)
        of_clusters = self.classes.probabilities(self.clustering.nearest(pixels).reshape(shape), patch.low)
        of_bayes = self.bayes.probabilities(self.clustering.scale(pixels))
        return of_clusters, np.ascontiguousarray(of_bayes.T).reshape(len(SCORED_CODES), *shape)

    def labels(self, patch: Patch) -> NDArray[np.uint8]:
        """Cleaned labels (H, W): simplified codes, 0 where the two do not agree or are not sure."""
        of_clusters, of_bayes = self.probabilities(patch)
        best = of_clusters.argmax(axis=0).astype(np.uint8)
        flat = of_bayes.reshape(len(SCORED_CODES), -1).T
        kept = confident(best.ravel(), flat, self.confidence).reshape(best.shape)
        return np.where(kept, _CODES[best], NO_LABEL).astype(np.uint8)


def bands(patch: Patch) -> NDArray[np.float32]:
    """Ten bands, VV and VH, (12, H, W). No indices: naive Bayes would count the bands that they are made of twice."""
    return PixelFeatures("s1+s2")(patch)


def at_most(clusters: int, x: NDArray[np.float32]) -> int:
    """So many clusters, or as many as the pixels x (n, F) have colours."""
    return min(clusters, len(np.unique(x, axis=0)))


def learn(
    patches: PatchSet, label_prior: NDArray[Any], settings: ClusterSettings, confidence: float, run: RunContext
) -> Cleaner:
    """Find clusters on pixels drawn from the patches, count labels of all their pixels, and learn from both."""
    draw = draw_pixels(patches, low, settings.pixels, "all", bands, run)
    seed = int(run.generator("clusters").integers(2**31))
    scale = Scale.of(draw.x, np.float32)
    clustering, found = cluster(draw.x, scale, at_most(settings.clusters, draw.x), settings.restarts, seed)
    counts = count_labels(patches, clustering, run)
    classes = ClusterClasses.of(counts, label_prior)
    weights = classes.shares * counts.sum(axis=1, keepdims=True)
    bayes = CentroidBayes.of(clustering.centres, _scatter(scale(draw.x), found, len(counts)), weights)
    return Cleaner(clustering, classes, bayes, confidence)


def count_labels(patches: PatchSet, clustering: Clustering, run: RunContext) -> NDArray[np.int64]:
    """Pixels by cluster and simplified code, (k, 11), of all patches; column 0 without a label."""
    shape = (len(clustering.centres), max(CODES) + 1)

    def count(patch: Patch) -> NDArray[np.int64]:
        nearest = clustering.nearest(by_pixel(bands(patch)))
        pairs = nearest * shape[1] + patch.low.ravel()
        return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)

    total = np.zeros(shape, np.int64)
    for counts in run.map(count, patches, label="counting labels of clusters"):
        total += counts
    return total


def _scatter(x: NDArray[np.float32], found: NDArray[np.int32], clusters: int) -> NDArray[np.float64]:
    """Variances (k, F) of the pixels x (n, F) of each cluster; 0 of a single one."""
    out = np.zeros((clusters, x.shape[1]))
    for k in np.unique(found):
        out[k] = x[found == k].var(axis=0, dtype=np.float64)
    return out
