"""Team Antonia's entry to Track 1 (fourth): cleaned labels, random forests, and what is known of how classes are confused.

A reconstruction. Known (Robinson et al., IEEE JSTARS 14 (2021), one paragraph): automated pre-processing of
labels, random forests, and a refinement by prior knowledge on class confusion. All the rest is chosen:

- Pre-processing: the first steps of the same team's entry to Track 2 (Sec. V; ``refinement``), without the reference that
  Track 1 does not show. Step 1 looks for Barren within Shrubland because p(HR | LR) of DFC2020 says that it is there; it
  is taken where the matrix of the data at hand says so too.
- Forests: those of Track 2, 20 with classes weighted and 20 without, on the same 36 features; a team keeps its tools.
- Refinement: the knowledge on class confusion that every contestant had is p(HR | LR). It says what the forests, which
  learned LR labels, are worth: how often they say which class where the truth is another is estimated under it, by the
  observer model of Dawid and Skene (1979) (``branch_fusion``). What a pixel looks like to the forests and the LR label
  around it then meet by Bayes' rule. The prior of a pixel is softened as the Track 1 winner's (Sec. IV): 0.05 added to
  every cell, and 1 part of the image's mean to 10 of the pixel's; it is taken relative to its mean over all images, since
  the score is the mean over classes.
- That rule counts an LR label twice if the forest learned from it. So each forest learns from every other patch, and votes
  on the patches that it has not seen (cross-fitting).

No water mask: it belongs to Track 2's paragraph alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from dfcbench.errors import DataError
from dfcbench.method import Contest, Field, Needs, Patch, PatchSet, Prediction, RunContext
from dfcbench.scheme import scored_index

from .branch_fusion import CLASSES, ROWS, combinations, likelihood, observed
from .committee import CleaningParams, ForestCommittee, ForestParams, TextureParams
from .forests import Member, grow_all, votes
from .label_prior import PIXEL_WEIGHT, SMOOTHING, LocalPrior, smoothed_prior

if TYPE_CHECKING:
    from .features.stack import Stack

STEPS = 4
"""Steps of certainty that are told apart in what forests say: quarters of the most probable class's probability."""


class AntoniaTrack1Params(ForestParams, CleaningParams, TextureParams):
    """Forests and cleaning as published for Track 2; nothing is published for Track 1."""

    forests_weighted: int = Field(20, ge=0, description="forests with classes weighted by the inverse of their counts")
    forests_unweighted: int = Field(20, ge=0, description="forests with classes weighted alike")
    texture: bool = Field(True, description="twelve texture features beside bands and indices")
    refine: bool = Field(
        True, description="probabilities under p(HR | LR) of the pixel's LR label; else the plain vote"
    )
    balanced: bool = Field(True, description="classes count alike, as in the score; else as often as they are expected")
    prior_smoothing: float = Field(SMOOTHING, gt=0, description="added to every cell of p(HR | LR)")
    pixel_weight: float = Field(PIXEL_WEIGHT, gt=0, description="of the pixel's own LR label against its image's mean")
    iterations: int = Field(10, ge=0, description="of expectation maximisation for what the forests confuse")
    observed_on: int = Field(512, ge=1, description="patches on which that is estimated")

    @model_validator(mode="after")
    def _someone_votes(self) -> Self:
        if not self.forests_weighted + self.forests_unweighted:
            raise ValueError("no forest has a vote; give forests_weighted or forests_unweighted")
        return self


class AntoniaTrack1(ForestCommittee):
    """Track 1, fourth: forests on cleaned LR labels, refined by p(HR | LR) of each pixel's LR label; a reconstruction."""

    name = "antonia-track1"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s1", "s2"}), labels="low", transductive=True, prior=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Table V; team Antonia"
    reconstruction: ClassVar[bool] = True
    Params = AntoniaTrack1Params
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {},
        # As many nodes for each patch learned from as published, some 16 (40e6 / 1000 for half of 5128 patches).
        "quick": {"forests_weighted": 8, "forests_unweighted": 8, "draw": 100_000, "min_samples": 250},
    }
    params: AntoniaTrack1Params

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Leaves ``members_``, ``fold_`` by patch, ``local_``, the prior of pixels, and ``likelihood_`` (8, 8 * STEPS)."""
        from .features.stack import Stack
        from .forest_labels import Refining, training_labels
        from .refinement import barren_within_shrubland

        params = self.params
        growing = params.growing(run)
        refining = Refining(
            params.clusters,
            params.water_pixels,
            params.confidence,
            params.draw,
            (),
            growing,
            barren_within_shrubland(contest.label_prior),
        )
        population = training_labels(None, contest.target, refining, Stack(), run)
        if not population.pixels:
            raise DataError(
                f"{self.name}: no pixel of the scored images has a low-resolution label to learn from. "
                "`dfcbench data info` counts them."
            )
        self.members_ = [Member(f"weighted-{i}", "main", True) for i in range(params.forests_weighted)]
        self.members_ += [Member(f"unweighted-{i}", "main", False) for i in range(params.forests_unweighted)]
        folds = 2 if all(population.counts[fold::2].any() for fold in (0, 1)) else 1
        self.fold_ = {patch.id: number % folds for number, patch in enumerate(contest.target)}
        self.learned_ = {member.name: number % folds for number, member in enumerate(self.members_)}
        for fold in range(folds):
            members = [member for member in self.members_ if self.learned_[member.name] == fold]
            grow_all(members, population, params.draw, self._stack(), growing, run, only=slice(fold, None, folds))
        self.keep_forests_of(run)
        self.record_forests(population, params, run)
        prior = smoothed_prior(contest.label_prior, params.prior_smoothing)
        self.local_ = LocalPrior.of(contest.target, prior, params.pixel_weight, params.balanced, run)
        self._observe(contest.target.subset(params.observed_on, run.generator(self.name, "observed")), run)

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """The vote of each patch, (8, H, W), refined."""
        for patch, vote in self._votes(patches, run):
            yield Prediction(patch.id, self._refined(patch, vote) if self.params.refine else vote)

    def _votes(self, patches: Sequence[Patch], run: RunContext) -> Iterator[tuple[Patch, NDArray[np.float32]]]:
        """The vote on each patch of the forests that have not learned from it; of all, if there are none."""
        by_fold: dict[int | None, list[Patch]] = {}
        for patch in patches:
            by_fold.setdefault(self.fold_.get(patch.id), []).append(patch)
        for fold, some in by_fold.items():
            others = [member for member in self.members_ if self.learned_[member.name] != fold]
            for patch, voted in votes(others or self.members_, self._read, some, self._stack(), run):
                yield patch, voted["main"]

    def _refined(self, patch: Patch, vote: NDArray[np.float32]) -> NDArray[np.float32]:
        """p(l | what the forests say, LR label), (8, H, W)."""
        p = self.local_(patch.low) * self.likelihood_[:, said(vote)]
        refined: NDArray[np.float32] = (p / p.sum(axis=0, keepdims=True)).astype(np.float32)
        return refined

    def _stack(self) -> Stack:
        from .features.stack import Stack

        return self.params.textured() if self.params.texture else Stack()

    def _observe(self, patches: PatchSet, run: RunContext) -> None:
        """Leaves ``likelihood_``; logs how good the forests are thought to be, and what the refinement changes."""
        counts = np.zeros((ROWS, CLASSES * STEPS), np.int64)
        for patch, vote in self._votes(patches, run):
            counts += combinations(patch.low, [said(vote)], CLASSES * STEPS)
        (joint,), _ = observed(counts, self.local_.by_label, self.params.iterations)
        self.likelihood_ = likelihood(joint).astype(np.float32)
        right = np.diagonal(joint.reshape(CLASSES, CLASSES, STEPS).sum(axis=2))
        # What becomes of a pixel depends on its LR label and on what the forests say, but for its image's mean.
        table = self.local_.by_label / (self.local_.mean if self.params.balanced else 1)
        after = (table[:, :, np.newaxis] * self.likelihood_).argmax(axis=1)
        before = np.arange(CLASSES * STEPS) // STEPS
        low = scored_index(np.arange(ROWS, dtype=np.uint8))[:, np.newaxis]
        shares = counts / counts.sum()
        run.log(
            {
                "forests_estimated_accuracy": (right / np.maximum(joint.sum(axis=1), 1)).mean(),
                "forests_agree_with_low": shares[low == before].sum(),
                "refinement_changed": shares[after != before].sum(),
                "refined_agrees_with_low": shares[low == after].sum(),
            }
        )


def said(vote: NDArray[np.float32]) -> NDArray[np.intp]:
    """What forests say of each pixel, from their vote (8, H, W): the class they think most probable, and how sure they
    are, in ``STEPS``; class index times STEPS plus step, (H, W)."""
    certainty = np.minimum((vote.max(axis=0) * STEPS).astype(np.intp), STEPS - 1)
    symbols: NDArray[np.intp] = vote.argmax(axis=0) * STEPS + certainty
    return symbols
