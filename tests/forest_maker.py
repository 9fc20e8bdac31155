"""Small contests for tests of the forests: patch sets in memory, and a run that can be killed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from dfcbench.method import RunContext
from dfcbench.scheme import SCORED_CODES
from tests.bag_maker import FakePatch, make_contest


class Patches(list):
    """What of a patch set the forests use."""

    @property
    def shapes(self) -> np.ndarray:
        return np.array([patch.shape for patch in self], np.int64).reshape(-1, 2)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Patches(found) if isinstance(index, slice) else found

    def subset(self, n: int, generator: np.random.Generator) -> Patches:
        return Patches(self[int(i)] for i in sorted(generator.permutation(len(self))[:n]))


def track2(labelled: int = 4, scored: int = 4, size: tuple[int, int] = (40, 40), seed: int = 0) -> SimpleNamespace:
    """A contest of Track 2; its patches look alike in both splits."""
    patches = make_contest([size] * (labelled + scored), seed=seed).target
    for number, patch in enumerate(patches):
        patch.id = f"ROIs0000_{'validation' if number < labelled else 'test'}_0_p{number}"
    return SimpleNamespace(labelled=Patches(patches[:labelled]), target=Patches(patches[labelled:]))


def track1(scored: int = 5, size: tuple[int, int] = (40, 40), seed: int = 0) -> SimpleNamespace:
    """A contest of Track 1, which knows of no labelled patch."""
    made = make_contest([size] * scored, seed=seed)
    return SimpleNamespace(split="test", target=Patches(made.target), label_prior=made.label_prior)


def plain_patch(name: str, low: np.ndarray, s2: Any = 1000, s1: Any = -12.0) -> FakePatch:
    """A patch of one colour with these low-resolution labels."""
    shape = low.shape
    return FakePatch(
        name,
        np.full((2, *shape), s1, np.float32),
        np.full((13, *shape), s2, np.uint16),
        low.astype(np.uint8),
        np.zeros(shape, np.uint8),
    )


class Killed(Exception):
    pass


class Reporter:
    """Keeps metrics; interrupts the run when that many forests were finished."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at
        self.grown = 0

    def advance(self, label: str, done: int, total: int | None) -> None:
        pass

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        self.grown += sum(name.endswith("_forest_nodes") for name in values)
        if self.stop_at is not None and self.grown >= self.stop_at:
            raise Killed


def context(folder: Path, **options: Any) -> RunContext:
    return RunContext(scratch=folder / "scratch", artifacts=folder / "artifacts", **options)


def maps(method: Any, patches: Any, run: Any) -> dict[str, np.ndarray]:
    """What a method predicts, by patch."""
    return {p.patch_id: p.values for p in method.predict(patches, run)}


def labels(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The most probable codes of maps of probabilities."""
    return {name: np.take(SCORED_CODES, p.argmax(axis=0)) for name, p in found.items()}
