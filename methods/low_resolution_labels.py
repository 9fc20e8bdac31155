"""The low-resolution labels themselves as a map: the line that every method has to beat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from dfcbench.method import Contest, Method, Needs, Patch, PatchSet, Prediction, RunContext


class LowResolutionLabels(Method):
    """The MODIS labels in the simplified scheme, as they are ("LR-HR" of Table IV).

    Pixels labelled Savanna or Snow/Ice, or not labelled at all, stay so, and count as errors of their true class.
    """

    name = "low-resolution-labels"
    needs: ClassVar[Needs] = Needs(inputs=frozenset(), labels="low")
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Table IV"

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Nothing is learned."""

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """The labels of each patch."""
        yield from run.map(_labels, patches)


def _labels(patch: Patch) -> Prediction:
    return Prediction(patch.id, patch.low)
