"""The random forest of Table IV, on low-resolution labels of SEN12MS.

Source: Robinson et al., IEEE JSTARS 14 (2021), Table IV: learned from the LR labels of a subsampled SEN12MS training
split; hyper-parameters are not told. Ours: 100 trees and the square root of features at a split, scikit-learn's defaults;
nodes of fewer than 100 samples stay whole, as labels of 500 m pixels are too noisy for finer leaves and a forest of a
million pixels stays some hundred megabytes; as many pixels of each class, since the score counts classes alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import Needs, RunContext

from .forest_sampling import CLASSES, Draw
from .forests import Growing, GrowingParams, grow
from .pixels import SklearnMethod, SklearnParams

if TYPE_CHECKING:
    from .forest_trees import Trees


class RandomForestParams(GrowingParams, SklearnParams):
    """Nothing of this is published."""


class GrownForest:
    """A forest of either engine with the face of a scikit-learn classifier; it votes through ``forest_trees``."""

    classes_ = np.arange(CLASSES)

    def __init__(self, growing: Growing, seed: int) -> None:
        self.growing = growing
        self.seed = seed

    def fit(self, x: NDArray[np.float32], y: NDArray[np.uint8]) -> Self:
        """Grow it on x (n, F) and classes y (n,); leaves ``trees_``."""
        self.trees_: Trees = grow(Draw(x, y), self.growing, weighted=False, seed=self.seed)
        return self

    def predict_proba(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, 8); 0 of a class that it has not seen."""
        return self.trees_.probabilities(x)


class RandomForestMapping(SklearnMethod):
    """Random forest on the pixels' bands, learned from LR labels of SEN12MS (Table IV)."""

    name = "random-forest"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s2"}), labels="low", training=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Table IV"
    Params = RandomForestParams

    def classifier(self, run: RunContext) -> Any:
        """The forest of the chosen engine."""
        return GrownForest(self.params.growing(run.workers), int(run.generator(self.name).integers(2**31)))
