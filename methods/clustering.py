"""k-means in standardised features, and which of its centres is nearest to a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scale:
    """Mean and deviation (F,) of features; their type is the precision in which features are standardised."""

    mean: NDArray[np.floating[Any]]
    deviation: NDArray[np.floating[Any]]

    @classmethod
    def of(cls, x: NDArray[np.float32], precision: type[np.floating[Any]]) -> Scale:
        """Of the pixels x (n, F), so that the features' units do not matter; a constant feature is only shifted."""
        mean, deviation = (f(axis=0, dtype=np.float64).astype(precision) for f in (x.mean, x.std))
        return cls(mean, np.where(deviation > 0, deviation, precision(1)))

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """x (n, F) with mean 0 and deviation 1, float32."""
        scaled: NDArray[np.float32] = ((x - self.mean) / self.deviation).astype(np.float32, copy=False)
        return scaled


@dataclass(frozen=True)
class Clustering:
    """Centres (k, F) of clusters in features of this scale."""

    scale: Scale
    centres: NDArray[np.float32]

    def nearest(self, x: NDArray[np.float32]) -> NDArray[np.intp]:
        """The number of the nearest centre to each of the pixels x (n, F), (n,)."""
        # |x - c|^2 without |x|^2, which is the same for all centres
        distances = (self.centres**2).sum(axis=1) - 2 * (self.scale(x) @ self.centres.T)
        numbers: NDArray[np.intp] = distances.argmin(axis=1)
        return numbers


def cluster(
    x: NDArray[np.float32], scale: Scale, clusters: int, restarts: int, seed: int
) -> tuple[Clustering, NDArray[np.int32]]:
    """k-means of the pixels x (n, F), the best of so many starts: the clustering, and the cluster of each pixel (n,).

    One thread, so that the same pixels end in the same clusters anywhere.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        found = KMeans(clusters, n_init=restarts, random_state=seed).fit(scale(x))
    return Clustering(scale, found.cluster_centers_.astype(np.float32)), found.labels_
