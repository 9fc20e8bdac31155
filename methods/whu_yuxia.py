"""Team WHU_YuXia's entry to Track 1 (second): segments, a forest on indices and a network, fused class by class, and rules.

A reconstruction. Known (Robinson et al., IEEE JSTARS 14 (2021), one paragraph): a fusion of unsupervised
multi-resolution segmentation, a random forest on remote sensing indices, and CNN predictions; post-processing with expert
priors; SEN12MS was used. All the rest is chosen:

- Segmentation (``segmentation``, ``segment_types``): region merging at several scales as in Baatz and Schäpe (2000), which
  the field calls multi-resolution segmentation. Segments are named from LR labels through p(HR | LR).
- Forest: 100 trees on the twelve indices of ``features.indices`` and nothing else, with classes weighted, learned from
  LR labels that were cleaned as in the first steps of the Track 2 winner (``refinement``).
- Network: the organisers' best baseline, ``unet`` on SEN12MS, as a run of its own with scores of its own. It is where
  SEN12MS comes in.
- Fusion (``branch_fusion``): weights by branch and class, estimated from what the branches say together and p(HR | LR).
- Expert priors (``index_rules``): published thresholds of indices speak against classes that they rule out. Priors are
  not verdicts: such a class keeps a tenth of its probability, as rules of this kind are right in about nine of ten cases
  (Zha et al. (2003) report 92.6 % of built-up land). Rules that p(HR | LR) contradicts on the data at hand are left out.

Each branch, and each rule, can be switched off, to see what it brings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, model_validator

from dfcbench.errors import DataError
from dfcbench.method import Contest, Field, Method, Needs, Part, Patch, PatchSet, Prediction, RunContext
from dfcbench.scheme import SCORED_NAMES

from .channels import SURFACE_NAMES, split_names
from .committee import CleaningParams, ForestParams
from .label_prior import PIXEL_WEIGHT, SMOOTHING, LocalPrior, smoothed_prior

if TYPE_CHECKING:
    from .branch_fusion import Estimate
    from .forest_trees import Trees
    from .index_rules import IndexRule
    from .segment_types import SegmentTypes
    from .segmentation import Segmentation

NONE = "none"
Branches = dict[str, NDArray[np.float32]]
WATCHED = 64
"""Patches of which the metrics tell how branches agree and what rules change."""


def _rule_names(value: Any) -> Any:
    return () if value == NONE else split_names(value)


def _check_rules(names: tuple[str, ...]) -> tuple[str, ...]:
    from .index_rules import RULE_NAMES

    if unknown := sorted(set(names) - set(RULE_NAMES)):
        raise ValueError(f"unknown rules {', '.join(unknown)}; there are {', '.join(RULE_NAMES)}, or {NONE}")
    return names


RuleNames = Annotated[tuple[str, ...], BeforeValidator(_rule_names), AfterValidator(_check_rules)]


class WhuYuxiaParams(ForestParams, CleaningParams):
    """Nothing of this is published."""

    segmentation: bool = Field(True, description="the first branch: segments named from LR labels")
    forest: bool = Field(True, description="the second branch: a random forest on indices, from cleaned LR labels")
    cnn: str = Field("unet", description="the third branch: a method, a finished submission, or none")
    rules: RuleNames = Field(
        ("water", "dry", "urban", "barren", "vegetated", "bare"), description="expert priors, joined by commas, or none"
    )
    doubt: float = Field(0.1, ge=0, le=1, description="what a rule leaves of the probability of a class it is against")
    superpixel: float = Field(64, ge=1, description="pixels of a superpixel, on average")
    compactness: float = Field(0.1, gt=0, description="of superpixels, SLIC's")
    scales: tuple[float, ...] = Field(
        (2.0, 5.0, 12.0),
        min_length=1,
        description="of segments, rising; in deviations of a band, root of pixels: eCognition's 10, 25, 60 in grey levels",
    )
    types: int = Field(64, ge=2, description="spectral types of segments at each scale: eight for each class")
    label_iterations: int = Field(30, ge=1, description="of expectation maximisation for p(l | type)")
    prior_smoothing: float = Field(SMOOTHING, gt=0, description="added to every cell of p(HR | LR)")
    pixel_weight: float = Field(PIXEL_WEIGHT, gt=0, description="of the pixel's own LR label against its image's mean")
    fusion_iterations: int = Field(10, ge=0, description="of expectation maximisation for the branches' accuracies")
    weighed_on: int = Field(512, ge=1, description="patches on which branches are weighed and rules examined")
    trees: int = Field(100, ge=1, description="trees of the forest; scikit-learn's default")
    min_samples: int = Field(100, ge=1, description="a node with fewer samples is not split; as random-forest")
    draw: int = Field(
        4_000_000, ge=1, description="pixels that the forest learns from: some 8 nodes a patch, as the Track 2 winner's"
    )

    @model_validator(mode="after")
    def _some_branch(self) -> Self:
        if not (self.segmentation or self.forest or self.cnn != NONE):
            raise ValueError("no branch is left; switch on segmentation or forest, or name a cnn")
        if list(self.scales) != sorted(set(self.scales)) or self.scales[0] <= 0:
            raise ValueError("scales rise from above 0; segments of a scale are merged from those of the one before")
        return self


class WhuYuxia(Method):
    """Track 1, second: segments, a forest on indices and a CNN, fused by class, then index rules; a reconstruction."""

    name = "whu-yuxia"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s1", "s2"}), labels="low", transductive=True, prior=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Table V; team WHU_YuXia"
    reconstruction: ClassVar[bool] = True
    Params = WhuYuxiaParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {},
        # As many nodes for each patch as published: 4e6 / 100 for 5128 patches.
        "quick": {"draw": 100_000, "min_samples": 250},
    }
    params: WhuYuxiaParams

    def parts(self) -> Mapping[str, Part]:
        """The network."""
        return {} if self.params.cnn == NONE else {"cnn": Part(self.params.cnn)}

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Leaves ``local_``, ``types_``, ``trees_``, ``weights_`` (branches, 8) and ``kept_``, what rules stand against."""
        params, patches = self.params, contest.target
        if not len(patches):
            raise DataError(f"{self.name}: the {contest.split} split holds no patches; there is nothing to fit on.")
        prior = smoothed_prior(contest.label_prior, params.prior_smoothing)
        self.local_ = LocalPrior.of(patches, prior, params.pixel_weight, balanced=True, run=run)
        self.deviation_ = self._deviation(patches, run)
        self.trees_: Trees | None = self._grown(contest, run) if params.forest else None
        self.types_: list[SegmentTypes] = []
        if params.segmentation:
            self.types_ = self._types(patches, run)
        self._weigh(patches.subset(params.weighed_on, run.generator(self.name, "weighed")), run)

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Fused probabilities of each patch, after the rules."""

        def one(patch: Patch) -> Prediction:
            from .features.stack import Stack

            x = Stack()(patch)
            return Prediction(patch.id, self._ruled(self._fused(self._branches(patch, x, run)), x))

        yield from run.map(one, patches)

    def _branches(self, patch: Patch, x: NDArray[np.float32], run: RunContext) -> Branches:
        """What each branch says of a patch with the 24 features x, (8, H, W) by its name."""
        from .segment_types import probabilities

        found: Branches = {}
        if self.types_:
            found["segmentation"] = probabilities(self.types_, self._segments(x), x, self.local_(patch.low))
        if self.trees_ is not None:
            found["forest"] = np.ascontiguousarray(self.trees_.probabilities(_by_pixel(_indices(x))).T).reshape(
                -1, *x.shape[1:]
            )
        if "cnn" in run.parts:
            found["cnn"] = run.parts["cnn"].probabilities(patch.id)
        return found

    def _fused(self, branches: Branches) -> NDArray[np.float32]:
        from .branch_fusion import fused

        return fused(list(branches.values()), self.weights_)

    def _ruled(self, p: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
        from .index_rules import indices_of, ruled

        rules = self._rules()
        return ruled(p, indices_of(x[: len(SURFACE_NAMES)]), rules, self.kept_, self.params.doubt) if rules else p

    def _rules(self) -> list[IndexRule]:
        from .index_rules import RULES

        return [rule for rule in RULES if rule.name in self.params.rules]

    def _deviation(self, patches: PatchSet, run: RunContext) -> NDArray[np.float32]:
        """Deviations of the surface bands over the scored images, (10,), by which segmentation weighs bands alike."""
        from .channels import Channels
        from .networks.data import moments

        return moments(patches, Channels(SURFACE_NAMES), run, run.generator(self.name, "moments"))[1]

    def _segments(self, x: NDArray[np.float32]) -> Segmentation:
        from .segmentation import segmented

        params = self.params
        image = x[: len(SURFACE_NAMES)] / self.deviation_[:, np.newaxis, np.newaxis]
        return segmented(image, params.superpixel, params.compactness, params.scales)

    def _types(self, patches: PatchSet, run: RunContext) -> list[SegmentTypes]:
        from .features.stack import Stack
        from .segment_types import segment_types

        params = self.params
        kept = run.load_checkpoint("types")
        if kept is not None:
            return cast("list[SegmentTypes]", kept)

        def view(patch: Patch) -> tuple[Segmentation, NDArray[np.float32]]:
            x = Stack()(patch)
            return self._segments(x), x

        types = segment_types(
            patches, view, len(params.scales), params.types, params.label_iterations, self.local_, run
        )
        run.save_checkpoint("types", types)
        return types

    def _grown(self, contest: Contest, run: RunContext) -> Trees:
        from .features.stack import Stack
        from .forest_labels import Refining, training_labels
        from .forests import Member, checkpoint, grow_all
        from .refinement import barren_within_shrubland

        params = self.params
        growing = params.growing(run)
        within = barren_within_shrubland(contest.label_prior)
        refining = Refining(params.clusters, params.water_pixels, params.confidence, params.draw, (), growing, within)
        population = training_labels(None, contest.target, refining, Stack(), run)
        if not population.pixels:
            raise DataError(
                f"{self.name}: no pixel of the scored images has a low-resolution label to learn from. "
                "`dfcbench data info` counts them."
            )
        grow_all([Member("indices-0", "indices", True)], population, params.draw, _index_features, growing, run)
        return cast("Trees", run.load_checkpoint(checkpoint("indices-0")))

    def _weigh(self, patches: PatchSet, run: RunContext) -> None:
        """Weigh the branches, examine the rules, and log what each brings; leaves ``weights_`` and ``kept_``."""
        from .branch_fusion import CLASSES, combinations, estimate
        from .features.stack import Stack
        from .index_rules import fitting, indices_of

        rules = self._rules()

        def seen(patch: Patch) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            x, low = Stack()(patch), patch.low
            classes = [p.argmax(axis=0) for p in self._branches(patch, x, run).values()]
            indices = indices_of(x[: len(SURFACE_NAMES)])
            table = self.local_.by_label
            expected = np.zeros((len(rules), 2, CLASSES))
            for place, rule in zip(expected, rules, strict=True):
                speaks = rule.speaks(indices)
                for part, mask in zip((0, 1), (speaks, ~speaks), strict=True):
                    place[part] = np.bincount(low[mask], minlength=len(table)) @ table
            return combinations(low, classes), expected

        counts, expected = None, np.zeros((len(rules), 2, CLASSES))
        for of_patch, found in run.map(seen, patches, label="weighing branches"):
            counts = of_patch if counts is None else counts + of_patch
            expected += found
        assert counts is not None
        told = estimate(counts, self.local_.by_label, self.params.fusion_iterations)
        self.weights_ = told.weights
        self.kept_ = {rule.name: fitting(found[0], found[1], rule) for rule, found in zip(rules, expected, strict=True)}
        self._tell(told, patches.subset(WATCHED, run.generator(self.name, "watched")), run)

    def _tell(self, told: Estimate, patches: PatchSet, run: RunContext) -> None:
        """Metrics by branch and rule, messages, and fusion.json."""
        import json

        from .features.stack import Stack
        from .index_rules import indices_of, ruled

        rules, names = self._rules(), self._names()
        for rule in rules:
            dropped = [name for name in rule.against if not self.kept_[rule.name][SCORED_NAMES.index(name)]]
            if dropped:
                run.message(
                    f"{self.name}: rule {rule.name} is not used against {', '.join(dropped)}: p(HR | LR) expects them "
                    "where it speaks."
                )

        def changed(patch: Patch) -> NDArray[np.float64]:
            x = Stack()(patch)
            branches = self._branches(patch, x, run)
            p = self._fused(branches)
            label, indices = p.argmax(axis=0), indices_of(x[: len(SURFACE_NAMES)])
            after = [ruled(p, indices, [rule], self.kept_, self.params.doubt).argmax(axis=0) for rule in rules]
            after.append(self._ruled(p, x).argmax(axis=0))
            agree = [(found.argmax(axis=0) == label).sum() for found in branches.values()]
            return np.array([label.size, *agree, *((found != label).sum() for found in after)], np.float64)

        pixels, *shares = sum(
            run.map(changed, patches, label="weighing branches"), np.zeros(len(names) + len(rules) + 2)
        )
        shares = [share / pixels for share in shares]
        agreement, of_rules = shares[: len(names)], shares[len(names) :]
        run.log({f"{name}_agreement": share for name, share in zip(names, agreement, strict=True)})
        run.log({f"{name}_estimated_accuracy": value for name, value in zip(names, told.average_accuracy, strict=True)})
        run.log({f"rule_{rule.name}_changed": share for rule, share in zip(rules, of_rules, strict=False)})
        run.log({"rules_changed": of_rules[-1]})
        by_branch = {
            name: {
                "weights": dict(zip(SCORED_NAMES, weights, strict=True)),
                "estimated_producers_accuracy": dict(zip(SCORED_NAMES, producers, strict=True)),
                "estimated_users_accuracy": dict(zip(SCORED_NAMES, users, strict=True)),
            }
            for name, weights, producers, users in zip(
                names, self.weights_.tolist(), told.producers.tolist(), told.users.tolist(), strict=True
            )
        }
        against = {
            rule.name: [name for name, on in zip(SCORED_NAMES, self.kept_[rule.name], strict=True) if on]
            for rule in rules
        }
        record = {"branches": by_branch, "rules": against}
        run.artifact("fusion.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def _names(self) -> list[str]:
        """The branches, in order."""
        params = self.params
        on = {"segmentation": params.segmentation, "forest": params.forest, "cnn": params.cnn != NONE}
        return [name for name, used in on.items() if used]


def _indices(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The twelve indices among the 24 features."""
    from .features.indices import INDEX_NAMES

    return x[-len(INDEX_NAMES) :]


def _index_features(patch: Patch) -> NDArray[np.float32]:
    """The features of the forest, (12, H, W)."""
    from .features.stack import Stack

    return _indices(Stack()(patch))


def _by_pixel(x: NDArray[np.float32]) -> NDArray[np.float32]:
    from .features.stack import by_pixel

    return by_pixel(x)
