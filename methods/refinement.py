"""Refinement of low-resolution labels: three steps, each a function of arrays, each with its reason.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. V. What the paper leaves open is a parameter here: which cluster of
Shrubland is Barren, how much water makes a patch a wet one, which confidence is high.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfcbench.scheme import CODES, NO_LABEL, SCORED_CODES

from .clustering import Clustering, Scale, cluster

SHRUBLAND, SAVANNA, GRASSLAND, WETLANDS, SNOW, BARREN, WATER = 2, 3, 4, 5, 8, 9, 10

CLUSTERS = 5
"""Robinson et al. (2021), Sec. V."""
CONFIDENCE = 0.5
"""Above one half a class outweighs all others together, so at most one class can be that sure."""
_LOOKED_AT = 10_000
"""Samples among which different ones are counted: there must be as many as clusters."""
_STARTS = 4
"""Starts of k-means, of which the best is kept."""


@dataclass(frozen=True)
class ShrublandClusters:
    """Clusters of Shrubland in standardised features; ``barest`` is one of them."""

    clustering: Clustering
    barest: int

    def barren(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which pixels are nearest to the barest cluster; features (n, F) -> (n,)."""
        nearest: NDArray[np.bool_] = self.clustering.nearest(features) == self.barest
        return nearest


def barren_within_shrubland(label_prior: NDArray[np.floating]) -> bool:
    """Whether Barren is likelier found within Shrubland than within low-resolution Barren: the reason of step 1.

    label_prior (10, 8) is p(HR | LR); that of DFC2020 says .399 against .088. On data of which it says otherwise, step 1
    would throw good labels away.
    """
    barren = label_prior[:, SCORED_CODES.index(BARREN)]
    return bool(barren[CODES.index(SHRUBLAND)] > barren[CODES.index(BARREN)])


def shrubland_clusters(
    features: NDArray[np.float32], bareness: NDArray[np.floating], clusters: int = CLUSTERS, seed: int = 0
) -> ShrublandClusters | None:
    """Step 1: Shrubland samples fall into clusters, and the spectrally barest of them is the new Barren.

    Reason: p(HR | LR) says that 8.8 % of what is called Barren at low resolution is Barren, but 39.9 % of what is called
    Shrubland: Barren is to be found within Shrubland. Which cluster it is, is not published; here it is the one whose
    mean ``bareness`` (the bare-soil index) is the highest.

    features (n, F) and bareness (n,) of pixels with that label. Features are standardised, as their units differ. None
    where no two clusters can be told apart: then all of Shrubland stays what it is.
    """
    features = np.asarray(features, np.float32)
    some = features[:: max(1, len(features) // _LOOKED_AT)]
    clusters = min(clusters, len(np.unique(some, axis=0)))
    if clusters < 2:
        return None
    clustering, found = cluster(features, Scale.of(features, np.float64), clusters, _STARTS, seed)
    sizes = np.bincount(found, minlength=clusters)
    sums = np.bincount(found, weights=bareness, minlength=clusters)
    means = np.where(sizes > 0, sums / np.maximum(sizes, 1), -np.inf)
    return ShrublandClusters(clustering, int(means.argmax()))


def without_barren(low: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Step 1, its other half: low-resolution Barren is dropped, as 8.8 % of it are right; and Snow/Ice, never scored."""
    return np.where(np.isin(low, (BARREN, SNOW)), NO_LABEL, low).astype(np.uint8)


def contains_water(low: NDArray[np.uint8], water_pixels: int = 1) -> bool:
    """Whether at least so many pixels of a patch are Water at low resolution.

    One is enough by default: low-resolution labels come in blocks of some 50 x 50 pixels, so that one tells of a whole
    block, of which the patch may show no more than a corner.
    """
    return int((low == WATER).sum()) >= water_pixels


def without_savanna(low: NDArray[np.uint8], water_pixels: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Step 2: Savanna becomes Wetlands where the patch contains water, and Grassland elsewhere.

    Reason: Savanna is not a class of the reference; 40.2 % of it are Wetlands there, and wetlands lie by the water. low
    (H, W) codes of one patch -> codes, and which samples were added to Wetlands and Grassland.
    """
    added = low == SAVANNA
    code = WETLANDS if contains_water(low, water_pixels) else GRASSLAND
    return np.where(added, code, low).astype(np.uint8), added


def confident(
    labels: NDArray[np.uint8], probabilities: NDArray[np.floating], threshold: float = CONFIDENCE
) -> NDArray[np.bool_]:
    """Step 3: which added samples to keep: those whose own label a forest trained on these labels is sure of.

    Reason: Savanna is a mixture, of which step 2 names all after the class that is most of it; what the forest finds
    more like another class, or like nothing in particular, would blur the class it was added to. labels (n,) class
    indices, probabilities (n, K) -> (n,): the label is the most probable class, at ``threshold`` or above.
    """
    if not len(labels):
        return np.zeros(0, np.bool_)
    best = probabilities.argmax(axis=1)
    sure: NDArray[np.bool_] = (best == labels) & (probabilities.max(axis=1) >= threshold)
    return sure
