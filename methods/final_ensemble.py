"""The Track 1 winner's final ensemble: class by class, whichever approach the contest's server thought best of.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. IV-D: the team combined its approaches by the per-class answers that
the server had given for each. How exactly is not told. Here the server is asked for each approach; each class then takes
its probability from the approach with the highest accuracy of that class, mixed with the mean of all approaches; and
the server chooses the share of either. Eight answers of ten are used with the four approaches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, model_validator

from dfcbench.method import (
    FEEDBACK_LIMIT,
    Contest,
    Field,
    Method,
    Needs,
    Params,
    Part,
    Patch,
    PatchSet,
    Prediction,
    RunContext,
)
from dfcbench.scheme import SCORED_CODES, SCORED_NAMES

from .channels import split_names


class FinalEnsembleParams(Params):
    """The paper tells what was combined, not by which formula."""

    approaches: Annotated[tuple[str, ...], BeforeValidator(split_names)] = Field(
        ("bag", "epitome", "track1-ensemble", "neural-smoothing"),
        min_length=2,
        description="what is combined: methods, or folders of finished submissions",
    )
    shares: tuple[float, ...] = Field(
        (0.25, 0.5, 0.75, 1.0), min_length=1, description="of the picked probabilities against the mean of all, to try"
    )

    @model_validator(mode="after")
    def _within_the_answers(self) -> FinalEnsembleParams:
        if len(self.approaches) + len(self.shares) > FEEDBACK_LIMIT:
            raise ValueError(f"approaches and shares together need more than the server's {FEEDBACK_LIMIT} answers")
        return self


class FinalEnsemble(Method):
    """Final ensemble: per class the approach that the contest's server scored highest; tuned on the leaderboard."""

    name = "final-ensemble"
    needs: ClassVar[Needs] = Needs(inputs=frozenset(), labels="none", transductive=True, feedback=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Sec. IV-D; team calebrob6"
    Params = FinalEnsembleParams
    presets: ClassVar[dict[str, dict[str, Any]]] = {"published": {}, "quick": {}}
    params: FinalEnsembleParams

    def parts(self) -> Mapping[str, Part]:
        """The approaches, by number and name."""
        return {f"{number}": Part(name) for number, name in enumerate(self.params.approaches)}

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Leaves ``weights_`` (approaches, 8): how much of each class's probability comes from each approach."""
        count = len(self.params.approaches)
        single = np.repeat(np.eye(count)[:, :, np.newaxis], len(SCORED_CODES), axis=2)
        candidates: list[tuple[float, NDArray[np.float64]]] = []
        accuracies = np.full((count, len(SCORED_CODES)), -1.0)
        for number, weights in enumerate(single):
            score, accuracies[number] = self._ask(contest, run, weights, f"approach_{number}")
            candidates.append((score, weights))
        best = accuracies.argmax(axis=0)
        picked = (best[np.newaxis] == np.arange(count)[:, np.newaxis]).astype(np.float64)
        for share in self.params.shares:
            weights = share * picked + (1 - share) / count
            candidates.append((self._ask(contest, run, weights, f"share_{share:g}")[0], weights))
        self.weights_ = max(candidates, key=lambda candidate: candidate[0])[1]
        picks = {name: self.params.approaches[k] for name, k in zip(SCORED_NAMES, best, strict=True)}
        run.message(f"final-ensemble: picks {picks}")

    def _ask(
        self, contest: Contest, run: RunContext, weights: NDArray[np.float64], name: str
    ) -> tuple[float, NDArray[np.float64]]:
        answer = contest.feedback(self._combined(contest.target, run, weights))
        score = -1.0 if answer.average_accuracy is None else answer.average_accuracy
        run.log({f"answer_{name}": score})
        return score, np.array([-1.0 if value is None else value for value in answer.producers_accuracy])

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Combined probabilities of each patch."""
        yield from self._combined(patches, run, self.weights_)

    def _combined(
        self, patches: Sequence[Patch], run: RunContext, weights: NDArray[np.float64]
    ) -> Iterator[Prediction]:
        used = [(part, w) for part, w in zip(run.parts.values(), weights.astype(np.float32), strict=True) if w.any()]

        def one(patch: Patch) -> Prediction:
            mixed = sum(w[:, None, None] * part.probabilities(patch.id) for part, w in used)
            assert isinstance(mixed, np.ndarray)
            return Prediction(patch.id, mixed / np.maximum(mixed.sum(axis=0, keepdims=True), 1e-12))

        yield from run.map(one, patches)
