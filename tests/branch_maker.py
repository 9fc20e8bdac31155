"""Contests for methods of several branches: labelled and scored patches that look alike, and a run broken off at a stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from dfcbench.method import RunContext
from dfcbench.scheme import SCORED_CODES
from dfcbench_methods.kmeans import KMeansMapping, KMeansParams
from tests.bag_maker import make_contest


class Patches(list):
    """What of a patch set such methods use."""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(patch.id for patch in self)

    @property
    def shapes(self) -> np.ndarray:
        return np.array([patch.shape for patch in self], np.int64).reshape(-1, 2)

    def select(self, ids: Iterable[str]) -> Patches:
        known = {patch.id: patch for patch in self}
        return Patches(known[i] for i in ids)

    def subset(self, n: int, generator: np.random.Generator) -> Patches:
        return Patches(self[i] for i in sorted(generator.permutation(len(self))[:n]))


def contest_of(
    sizes: list[tuple[int, int]], labelled: int = 3, *, seed: int = 0, lacking: tuple[int, ...] = ()
) -> SimpleNamespace:
    """The first so many patches are labelled, the others scored. Classes ``lacking`` (codes) never occur: Forest does
    in their place."""
    made = make_contest(sizes, seed=seed)
    for patch in made.target:
        for code in lacking:
            patch.low[patch.low == code] = 1
            patch.high[patch.high == code] = 1
    for number, patch in enumerate(made.target):
        patch.id = f"ROIs0000_{'validation' if number < labelled else 'test'}_0_p{number}"
    return SimpleNamespace(
        split="test",
        labelled=Patches(made.target[:labelled]),
        target=Patches(made.target[labelled:]),
        label_prior=made.label_prior,
    )


class KMeansPart:
    """A finished run of ``kmeans`` on the scored images."""

    def __init__(self, contest: Any, parameters: Mapping[str, Any], folder: Path) -> None:
        self.method = KMeansMapping(KMeansParams(pixels=2000, **parameters))
        self.method.fit(contest, RunContext())
        folder.mkdir(parents=True, exist_ok=True)
        self.method.save(folder)
        self.learned = folder
        self.patches = {patch.id: patch for patch in contest.target}
        self.ids = tuple(self.patches)

    def labels(self, patch_id: str) -> np.ndarray:
        return np.asarray(self.method.mapped(self.patches[patch_id]))

    def probabilities(self, patch_id: str) -> np.ndarray:
        codes = np.array(SCORED_CODES, np.uint8)[:, None, None]
        return (self.labels(patch_id) == codes).astype(np.float32)


class Killed(Exception):
    pass


class Stopper:
    """Keeps metrics; breaks the run off when work of this label begins."""

    def __init__(self, label: str = "") -> None:
        self.label = label
        self.values: dict[str, list[float]] = {}
        self.seen: list[str] = []

    def advance(self, label: str, done: int, total: int | None) -> None:
        self.seen.append(label)
        if self.label and label == self.label:
            raise Killed

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)


def maps(method: Any, patches: Any, run: RunContext) -> dict[str, np.ndarray]:
    return {p.patch_id: p.values for p in method.predict(patches, run)}


def labels(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.take(SCORED_CODES, p.argmax(axis=0)) for name, p in found.items()}
