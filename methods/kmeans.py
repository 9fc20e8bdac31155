"""The k-means of Table IV: clusters of pixels, mapped one to one to classes against low-resolution labels of SEN12MS.

Source: Robinson et al., IEEE JSTARS 14 (2021), Table IV: k = 8, fully unsupervised, Kuhn-Munkres against the LR labels of
a subsampled SEN12MS training split. Not told, and therefore parameters or choices: clusters are found among the pixels
that are drawn from the subsample (so the scored images are not learned from), whatever their label; features are
standardised, since the range of radar would outweigh that of reflectance by far; the matching makes most pixels agree.
Savanna and Snow/Ice are never right, and have no say in the matching. One to one also means that a class of which the
subsample has no label takes a cluster, whichever is left, and what that costs is lost to other classes.
"""

from __future__ import annotations

from typing import ClassVar

from dfcbench.method import Field, Needs, RunContext

from .clusters import MatchedClusters
from .pixel_draw import Balance
from .pixels import PixelParams, SklearnMethod


class KMeansParams(PixelParams):
    """k as published."""

    clusters: int = Field(
        8,
        ge=1,
        description="k; of more than 8, those that the one-to-one matching leaves take their most frequent class",
    )
    restarts: int = Field(10, ge=1, description="starts, of which the one with least distances is kept")
    standardise: bool = Field(True, description="features to mean 0 and deviation 1 of the drawn pixels")


class KMeansMapping(SklearnMethod):
    """k-means on SEN12MS pixels; clusters take classes one to one by Kuhn-Munkres against LR labels (Table IV)."""

    name = "kmeans"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s2"}), labels="low", training=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Table IV"
    Params = KMeansParams

    def balance(self) -> Balance:
        """Every pixel counts alike, labelled or not: labels are for the matching alone."""
        return "all"

    def classifier(self, run: RunContext) -> MatchedClusters:
        """k-means and its matching."""
        params = self.params
        seed = int(run.generator(self.name).integers(2**31))
        return MatchedClusters(params.clusters, params.restarts, params.standardise, seed)
