"""The Track 1 winner's ensemble: bag clustering and epitome, combined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import Contest, Field, Method, Needs, Params, Part, Patch, PatchSet, Prediction, RunContext

_SMALLEST = 1e-6
"""Probability that stands for 0 in the product, lest one part forbid what the other is sure of."""


class EnsembleParams(Params):
    """The paper does not tell the rule; the average is the plainest."""

    bag: str = Field("bag", description="the first part: a method, or the folder of a finished submission")
    epitome: str = Field("epitome", description="the second part, likewise")
    bag_weight: float = Field(0.5, ge=0, le=1, description="of the first part; the second has the rest")
    rule: Literal["mean", "product"] = Field("mean", description="of probabilities, or of their logarithms")


class Track1Ensemble(Method):
    """Bag clustering and epitome combined: the weighted mean of their probabilities."""

    name = "track1-ensemble"
    needs: ClassVar[Needs] = Needs(inputs=frozenset(), labels="none")
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Sec. IV; team calebrob6"
    Params = EnsembleParams
    presets: ClassVar[dict[str, dict[str, Any]]] = {"published": {}, "quick": {}}
    params: EnsembleParams

    def parts(self) -> Mapping[str, Part]:
        """The two methods."""
        return {"bag": Part(self.params.bag), "epitome": Part(self.params.epitome)}

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Nothing is learned."""

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Combined probabilities of each patch."""

        def one(patch: Patch) -> Prediction:
            return Prediction(patch.id, self.combine(*(part.probabilities(patch.id) for part in run.parts.values())))

        yield from run.map(one, patches)

    def combine(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
        """Two sets of probabilities (8, H, W) -> one, which sums to 1."""
        weight = np.float32(self.params.bag_weight)
        if self.params.rule == "mean":
            mixed: NDArray[np.float32] = weight * first + (1 - weight) * second
        else:
            logs = weight * np.log(np.maximum(first, _SMALLEST)) + (1 - weight) * np.log(np.maximum(second, _SMALLEST))
            mixed = np.exp(logs - logs.max(axis=0, keepdims=True))
        combined: NDArray[np.float32] = mixed / mixed.sum(axis=0, keepdims=True)
        return combined
