"""k-means whose clusters take on classes: a clusterer with the face of a scikit-learn classifier.

Clusters and classes are matched one to one by the Kuhn-Munkres algorithm (scipy's ``linear_sum_assignment``).
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from .forest_sampling import CLASSES, NONE

Agreement = Literal["pixels", "classes"]


def match(counts: NDArray[np.int64], agreement: Agreement = "pixels") -> NDArray[np.int64]:
    """Classes (k,) of k clusters from pixels by cluster and class, (k, C).

    One to one, so that most pixels agree; with "classes", so that the mean over classes of the agreeing share is largest.
    With fewer clusters than classes some classes go without. With more, the clusters left over take the class that they
    hold most of, in pixels or, likewise, in shares of the class; one without any labelled pixel takes the class that has
    most in all.
    """
    from scipy.optimize import linear_sum_assignment

    totals = counts.sum(axis=0)
    gain = counts / np.maximum(totals, 1) if agreement == "classes" else counts
    classes: NDArray[np.int64] = np.where(counts.any(axis=1), gain.argmax(axis=1), totals.argmax())
    clusters, matched = linear_sum_assignment(gain, maximize=True)
    classes[clusters] = matched
    return classes


class MatchedClusters:
    """``fit(x, y)`` finds clusters in x alone, then gives them classes by y; ``predict(x)`` tells classes.

    y is 255 where a pixel has no class: it is clustered, and has no say in the matching. Learned: ``mean_`` and
    ``deviation_`` (F,) of the features, ``centres_`` (k, F) in units of these, ``classes_of_clusters_`` (k,).
    """

    def __init__(self, clusters: int, restarts: int, standardise: bool, agreement: Agreement, seed: int) -> None:
        self.clusters = clusters
        self.restarts = restarts
        self.standardise = standardise
        self.agreement = agreement
        self.seed = seed

    def fit(self, x: NDArray[np.float32], y: NDArray[np.uint8]) -> Self:
        """Cluster x (n, F) and match by y (n,). One thread, so that the same x ends in the same clusters anywhere."""
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        width = x.shape[1]
        self.mean_, self.deviation_ = np.zeros(width, np.float32), np.ones(width, np.float32)
        if self.standardise:
            self.mean_ = x.mean(axis=0, dtype=np.float64).astype(np.float32)
            deviation = x.std(axis=0, dtype=np.float64).astype(np.float32)
            self.deviation_ = np.where(deviation > 0, deviation, np.float32(1))
        scaled = self._scaled(x)
        with threadpool_limits(limits=1):
            found = KMeans(min(self.clusters, len(x)), n_init=self.restarts, random_state=self.seed).fit(scaled)
        self.centres_: NDArray[np.float32] = found.cluster_centers_.astype(np.float32)
        labelled = y != NONE
        counts = np.zeros((len(self.centres_), CLASSES), np.int64)
        np.add.at(counts, (found.labels_[labelled], y[labelled]), 1)
        self.counts_ = counts
        self.classes_of_clusters_ = match(counts, self.agreement)
        return self

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Classes (n,) of the nearest centres."""
        # |x - c|^2 without |x|^2, which is the same for all centres
        distances = (self.centres_**2).sum(axis=1) - 2 * (self._scaled(x) @ self.centres_.T)
        classes: NDArray[np.int64] = self.classes_of_clusters_[distances.argmin(axis=1)]
        return classes

    def _scaled(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = (x - self.mean_) / self.deviation_
        return scaled
