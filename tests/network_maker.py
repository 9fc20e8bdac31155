"""Patches whose colour tells the class, for tests of networks, and a context that breaks a run off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from dfcbench.scheme import SCORED_CODES


@dataclass
class FakePatch:
    id: str
    scene: str
    s1: np.ndarray
    s2: np.ndarray
    low: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return (self.low.shape[0], self.low.shape[1])


class FakePatches(list):
    """As much of a PatchSet as training asks for."""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(patch.id for patch in self)

    def subset(self, n: int, generator: np.random.Generator) -> FakePatches:
        return FakePatches(self[int(i)] for i in sorted(generator.permutation(len(self))[:n]))

    def select(self, ids: Any) -> FakePatches:
        known = {patch.id: patch for patch in self}
        return FakePatches(known[i] for i in ids)


def make_patch(scene: str, number: int, shape: tuple[int, int], classes: tuple[int, ...], seed: int) -> FakePatch:
    """Stripes of the classes (indices into ``SCORED_CODES``), each with a colour of its own, and a little noise."""
    rng = np.random.default_rng([seed, number])
    colours = np.random.default_rng(0).uniform(300, 4000, (8, 13))
    echoes = np.random.default_rng(1).uniform(-22, -4, (8, 2))
    truth = np.asarray(classes)[(np.arange(shape[1]) // 8 + number) % len(classes)][None, :].repeat(shape[0], axis=0)
    s2 = colours[truth].transpose(2, 0, 1) + rng.normal(0, 60, (13, *shape))
    s1 = echoes[truth].transpose(2, 0, 1) + rng.normal(0, 1, (2, *shape))
    low = np.asarray(SCORED_CODES, np.uint8)[truth]
    return FakePatch(f"{scene}_p{number}", scene, s1.astype(np.float32), s2.clip(0).astype(np.uint16), low)


def make_training(
    scenes: int = 3, shape: tuple[int, int] = (32, 32), classes: tuple[int, ...] = (0, 3, 7), patches: int = 2
) -> SimpleNamespace:
    """A contest whose training patches lie in so many scenes, none of them of the official hold-out."""
    made = [
        make_patch(f"ROIs1158_spring_{s + 1}", n, shape, classes, seed=s) for s in range(scenes) for n in range(patches)
    ]
    return SimpleNamespace(training=FakePatches(made))


class Killed(Exception):
    pass


class Recorder:
    """Keeps metrics; interrupts the run when that many steps of training were reported."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.values: dict[str, list[float]] = {}

    def advance(self, label: str, done: int, total: int | None) -> None:
        if label.startswith("training") and self.stop_at is not None and done >= self.stop_at:
            raise Killed

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)
