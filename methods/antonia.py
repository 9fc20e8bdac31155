"""The Track 2 winner: refined labels, 36 features, soft votes of random forests, and a water mask on top.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. V (team Antonia). Its four experiments: 1, high-resolution labels of
validation, bands and indices; 2, refined low-resolution labels of the scored images as well; 3, texture as well; 4, the
water mask as well. Not published, and therefore parameters: which confidence is high, how much water makes a patch wet,
levels, offsets and grey range of texture, and what the mask does where it sees no water.

``refinement`` refines labels, ``forest_labels`` does so patch by patch, ``forest_sampling`` draws, ``forests`` grows and
votes, ``features`` computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, model_validator

from dfcbench.errors import DataError
from dfcbench.method import Contest, Field, Method, Needs, Params, PatchSet, Prediction, RunContext
from dfcbench.scheme import SCORED, SCORED_NAMES

from .channels import split_names
from .forests import EngineName, Growing, Member, checkpoint, grow_all, votes
from .windows import Side

if TYPE_CHECKING:
    from .features.stack import Stack
    from .forest_sampling import Population
    from .forest_trees import Trees

_WATER = SCORED_NAMES.index("Water")


def _check_classes(names: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := sorted(set(names) - set(SCORED_NAMES)):
        raise ValueError(f"unknown classes {', '.join(unknown)}; there are {', '.join(SCORED_NAMES)}")
    return names


ClassNames = Annotated[tuple[str, ...], BeforeValidator(split_names), AfterValidator(_check_classes)]


class AntoniaParams(Params):
    """Defaults are the published constants where there are any."""

    experiment: Literal[1, 2, 3, 4] = Field(
        4, description="1: HR labels; 2: refined LR labels as well; 3: texture as well; 4: the water mask as well"
    )
    forests_weighted: int = Field(20, ge=0, description="forests with classes weighted by the inverse of their counts")
    forests_unweighted: int = Field(20, ge=0, description="forests with classes weighted alike")
    weighted_vote: float = Field(1.0, ge=0, description="weight of a class-weighted forest in the vote")
    unweighted_vote: float = Field(1.0, ge=0, description="weight of an unweighted forest in the vote")
    water_forests: int = Field(20, ge=1, description="forests of the water mask, every other one class-weighted")
    water_mask: Literal["overwrites", "decides"] = Field(
        "overwrites",
        description="Water where the mask says so; decides: and nowhere else, where the next probable class stands",
    )
    trees: int = Field(10, ge=1, description="trees of a forest")
    max_depth: int = Field(60, ge=1, description="of a tree")
    min_samples: int = Field(1000, ge=1, description="a node with fewer samples is not split")
    draw: int = Field(40_000_000, ge=1, description="pixels drawn for each forest; all there are, if fewer")
    engine: EngineName = Field(
        "auto",
        validate_default=True,
        description="what grows the forests; auto: sklearnex (scikit-learn-intelex) where it is installed",
    )
    excluded: ClassNames = Field(
        ("Wetlands", "Grassland"),
        description="classes whose HR labels are not used beside refined LR ones, joined by commas",
    )
    clusters: int = Field(5, ge=2, description="of Shrubland, the barest of which becomes Barren")
    water_pixels: int = Field(1, ge=1, description="LR Water pixels that make the Savanna of a patch Wetlands")
    confidence: float = Field(0.5, ge=0, le=1, description="least probability of samples added to Wetlands, Grassland")
    texture_window: Side = Field(13, ge=3, description="side of the texture window in pixels, odd")
    texture_levels: int = Field(32, ge=2, le=256, description="grey levels of texture")
    texture_offsets: tuple[tuple[int, int], ...] = Field(
        ((0, 1),), min_length=1, description="(rows, columns) between the pixels of a pair; several are averaged"
    )
    texture_grey_maximum: float = Field(0.3, gt=0, description="reflectance of the brightest grey level")

    @model_validator(mode="after")
    def _someone_votes(self) -> Self:
        if not self.forests_weighted * self.weighted_vote + self.forests_unweighted * self.unweighted_vote > 0:
            raise ValueError("no forest has a vote; give forests_weighted or forests_unweighted, and a weight above 0")
        return self


class Antonia(Method):
    """Track 2 winner: random forests on 24 or 36 features, from HR labels and refined LR labels, with a water mask."""

    name = "antonia"
    needs: ClassVar[Needs] = Needs(inputs=frozenset({"s1", "s2"}), labels="high", transductive=True)
    citation = "Robinson et al., IEEE JSTARS 14 (2021), Sec. V; team Antonia"
    Params = AntoniaParams
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "published": {},
        "quick": {
            "forests_weighted": 8,
            "forests_unweighted": 8,
            "water_forests": 8,
            "draw": 100_000,
            # Some 8 nodes a patch, as published (40e6 / 1000 for 5128 patches): with 60 they learn blocks by heart.
            "min_samples": 150,
        },
    }
    params: AntoniaParams
    _read: Callable[[str], Trees]

    def requires(self) -> Needs:
        """Experiment 1 never looks at the scored images."""
        return Needs(inputs=self.needs.inputs, labels="high", transductive=self.params.experiment > 1)

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Leaves ``members_``, the committee; the forests themselves are read by name, one file each."""
        from .features.stack import Stack
        from .forest_labels import Refining, training_labels

        params = self.params
        self._tell(run)
        growing = self._growing(run)
        refining, target = None, None
        if params.experiment > 1:
            codes = tuple(c.code for c in SCORED if c.name in params.excluded)
            target = contest.target
            refining = Refining(params.clusters, params.water_pixels, params.confidence, params.draw, codes, growing)
        population = training_labels(contest.labelled, target, refining, Stack(), run)
        if not population.pixels:
            raise DataError("antonia: no training pixel has a label of a scored class; there is nothing to learn from.")
        if population.pixels < params.draw:
            run.message(
                f"antonia: every forest is grown on all {population.pixels} training pixels; a draw asks for {params.draw}."
            )
        self.members_ = self._committee()
        for kind, features in (("main", self._stack()), ("water", Stack())):
            members = [member for member in self.members_ if member.kind == kind]
            grow_all(members, population, params.draw, features, growing, run)

        def read(name: str) -> Trees:
            return cast("Trees", run.load_checkpoint(checkpoint(name)))

        self._read = read
        self._record(population, run)

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """The vote of each patch, (8, H, W); under the mask the water forests' own vote stands."""
        for patch, voted in votes(self.members_, self._read, patches, self._stack(), run):
            p = voted["main"]
            if "water" in voted:
                p = with_water(p, voted["water"], decides=self.params.water_mask == "decides")
            yield Prediction(patch.id, p)

    def save(self, folder: Path) -> None:
        """One file per forest, ``<name>.npz``, beside what every method keeps."""
        for member in self.members_:
            self._read(member.name).save(folder / f"{member.name}.npz")
        super().save(folder)
        self._read = partial(_read_from, folder)

    def load(self, folder: Path) -> None:
        """Restore what ``save`` kept; forests are read when they vote."""
        super().load(folder)
        for member in self.members_:
            _read_from(folder, member.name)
        self._read = partial(_read_from, folder)

    def _committee(self) -> list[Member]:
        params = self.params
        members = [
            Member(f"main-{i}", "main", i < params.forests_weighted, weight)
            for i, weight in enumerate(
                [params.weighted_vote] * params.forests_weighted + [params.unweighted_vote] * params.forests_unweighted
            )
            if weight > 0
        ]
        if params.experiment == 4:
            members += [Member(f"water-{i}", "water", i % 2 == 0) for i in range(params.water_forests)]
        return members

    def _growing(self, run: RunContext) -> Growing:
        params = self.params
        return Growing(params.engine, params.trees, params.max_depth, params.min_samples, run.workers)

    def _stack(self) -> Stack:
        from .features.stack import Stack, Texture

        params = self.params
        if params.experiment < 3:
            return Stack()
        return Stack(
            Texture(params.texture_window, params.texture_levels, params.texture_offsets, params.texture_grey_maximum)
        )

    def _tell(self, run: RunContext) -> None:
        params = self.params
        run.message(f"antonia: experiment {params.experiment}, forests grown by {params.engine}.")
        changed = [
            f"{name} {value} instead of {field.default}"
            for name, field in type(params).model_fields.items()
            if (value := getattr(params, name)) != field.default and name not in ("engine", "experiment")
        ]
        if changed:
            run.message(f"antonia: other than published: {', '.join(changed)}.")

    def _record(self, population: Population, run: RunContext) -> None:
        """Leaves forests.json with the submission: engine, its version, training pixels by class, nodes by forest."""
        import json

        package = {"sklearn": "scikit-learn", "sklearnex": "scikit-learn-intelex"}[self.params.engine]
        record = {
            "engine": self.params.engine,
            "version": metadata.version(package),
            "rows": min(self.params.draw, population.pixels),
            "training_pixels": dict(zip(SCORED_NAMES, population.counts.sum(axis=0).tolist(), strict=True)),
            "nodes": {member.name: int(self._read(member.name).link.size) for member in self.members_},
        }
        run.artifact("forests.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def with_water(p: NDArray[np.float32], water: NDArray[np.float32], *, decides: bool = False) -> NDArray[np.float32]:
    """Probabilities (8, H, W) under the mask of water forests, whose own vote is ``water`` (8, H, W).

    Where their most probable class is Water, their vote replaces ``p``, so that probabilities and labels agree. A mask
    covers only where it is set: elsewhere ``p`` stands, Water or not. With ``decides`` there is no Water elsewhere; its
    probability is shared among the other classes in proportion, so that the next probable one is first, and the water
    forests' vote stands where ``p`` knows Water alone.
    """
    mask = water.argmax(axis=0) == _WATER
    out = np.where(mask, water, p)
    if decides:
        dry = ~mask & (p.argmax(axis=0) == _WATER)
        others = p.copy()
        others[_WATER] = 0
        nothing = dry & (others.max(axis=0) <= 0)
        others = np.where(nothing, water, others / np.maximum(others.sum(axis=0), np.finfo(np.float32).tiny))
        out = np.where(dry, others, out)
    return out


def _read_from(folder: Path, name: str) -> Trees:
    from .forest_trees import Trees

    return Trees.load(folder / f"{name}.npz")
