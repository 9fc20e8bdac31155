"""SEN12MS in memory for tests: patches of several scenes whose low-resolution labels are coarse and partly wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.bag_maker import FakePatch, make_contest


@dataclass
class ScenePatch(FakePatch):
    scene: str = ""


class Patches(list):
    """What of a patch set the methods on pixels use."""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(patch.id for patch in self)

    def select(self, ids: Iterable[str]) -> Patches:
        position = {patch.id: patch for patch in self}
        return Patches(position[i] for i in ids)

    def subset(self, n: int, generator: np.random.Generator) -> Patches:
        return Patches(self[i] for i in sorted(generator.permutation(len(self))[:n]))


def scene_patch(scene: str, number: int, patch: Any) -> ScenePatch:
    return ScenePatch(f"{scene}_p{number}", patch.s1, patch.s2, patch.low, patch.high, scene)


def make_training(
    scenes: Iterable[str] = ("ROIs1158_spring_1", "ROIs1868_summer_2", "ROIs2017_winter_146"),
    each: int = 3,
    size: tuple[int, int] = (40, 40),
    seed: int = 0,
) -> SimpleNamespace:
    """A contest whose training, labelled and target patches look alike; winter 146 is of the official hold-out."""
    names = list(scenes)
    made = make_contest([size] * (each * len(names) + 4), seed=seed).target
    training = [scene_patch(name, k, made.pop()) for name in names for k in range(each)]
    other = [scene_patch("ROIs0000_validation_0", k, patch) for k, patch in enumerate(made)]
    return SimpleNamespace(
        split="test", training=Patches(training), labelled=Patches(other[:2]), target=Patches(other[2:])
    )
