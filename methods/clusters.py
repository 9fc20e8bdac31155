"""k-means whose clusters take on classes: a clusterer with the face of a scikit-learn classifier.

Clusters and classes are matched one to one by the Kuhn-Munkres algorithm (scipy's ``linear_sum_assignment``).
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from .clustering import Scale, cluster
from .forest_sampling import CLASSES, NONE


def match(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Classes (k,) of k clusters from pixels by cluster and class, (k, C).

    One to one, so that most pixels agree. With fewer clusters than classes some classes go without. With more, the
    clusters left over take the class that they hold most of; one without any labelled pixel takes the class that has most
    in all.
    """
    from scipy.optimize import linear_sum_assignment

    classes: NDArray[np.int64] = np.where(counts.any(axis=1), counts.argmax(axis=1), counts.sum(axis=0).argmax())
    clusters, matched = linear_sum_assignment(counts, maximize=True)
    classes[clusters] = matched
    return classes


class MatchedClusters:
    """``fit(x, y)`` finds clusters in x alone, then gives them classes by y; ``predict(x)`` tells classes.

    y is 255 where a pixel has no class: it is clustered, and has no say in the matching. Learned: ``clustering_`` of k
    clusters, and ``classes_of_clusters_`` (k,).
    """

    def __init__(self, clusters: int, restarts: int, standardise: bool, seed: int) -> None:
        self.clusters = clusters
        self.restarts = restarts
        self.standardise = standardise
        self.seed = seed

    def fit(self, x: NDArray[np.float32], y: NDArray[np.uint8]) -> Self:
        """Cluster x (n, F) and match by y (n,)."""
        width = x.shape[1]
        scale = Scale(np.zeros(width, np.float32), np.ones(width, np.float32))
        if self.standardise:
            scale = Scale.of(x, np.float32)
        self.clustering_, found = cluster(x, scale, min(self.clusters, len(x)), self.restarts, self.seed)
        labelled = y != NONE
        counts = np.zeros((len(self.clustering_.centres), CLASSES), np.int64)
        np.add.at(counts, (found[labelled], y[labelled]), 1)
        self.classes_of_clusters_ = match(counts)
        return self

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Classes (n,) of the nearest centres."""
        classes: NDArray[np.int64] = self.classes_of_clusters_[self.clustering_.nearest(x)]
        return classes
