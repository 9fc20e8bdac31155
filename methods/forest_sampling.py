"""Training pixels of the forests: which there are, and draws of them for one forest after the other.

Labels of all training pixels lie in one file of a byte per pixel, read patch by patch: pages of a mapped file would count as
the process's memory, 400 MB of them for the contest. Of the images nothing is kept. A draw is assembled by going over the
patches once: features of a patch are computed, the drawn pixels are taken, the rest is forgotten. Several draws share one
pass as far as memory allows.

No features are kept between passes. A store of them for the full contest would take 29 GB as float16, to be read again
for each of 60 draws. Computing them anew takes half a core-hour in all, where growing the forests takes some 16 core-hours
with scikit-learn-intelex and 90 with scikit-learn (tests/benchmarks/test_forest_speed.py). Where draws are so small that
a store would pay, they share one pass.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import DataError
from dfcbench.method import Patch, PatchSet, RunContext
from dfcbench.scheme import SCORED_CODES

CLASSES = len(SCORED_CODES)
NONE = 255
"""Of a pixel that is not a training pixel, beside the indices 0..7 into ``SCORED_CODES``."""

MEMORY = 2e9
"""Bytes of draws assembled in one pass over the patches; one draw is assembled whatever it takes."""

_WRITTEN_AT_A_TIME = 2**24
"""Bytes."""

Features = Callable[[Patch], NDArray[np.float32]]
"""Features of a patch, (F, H, W)."""


@dataclass(frozen=True)
class Draw:
    """A forest's own training set: x (n, F) float32, y (n,) uint8 indices into ``SCORED_CODES``."""

    x: NDArray[np.float32]
    y: NDArray[np.uint8]


def shares(n: int, available: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """How many of ``n`` pixels to draw from each patch of so many ``available``: in proportion, and n in all.

    Systematic sampling: fractions are rounded by one random number, so every pixel has the same chance n / sum. All
    pixels if there are no more than ``n``.
    """
    total = int(available.sum())
    if n >= total:
        return available.astype(np.int64)
    marks = np.cumsum(available, dtype=np.float64) / total * n + generator.random()
    marks[-1] = n
    drawn = np.diff(np.floor(marks), prepend=0.0).astype(np.int64)
    return np.minimum(drawn, available)


def _fill(path: Path, size: int) -> None:
    """A file of so many pixels without a label. It is written, not stretched: a disk that is too full for it says so now,
    with an OSError, before any work."""
    part = bytes([NONE]) * min(size, _WRITTEN_AT_A_TIME)
    with path.open("wb") as file:
        for start in range(0, size, _WRITTEN_AT_A_TIME):
            file.write(part[: size - start])


class Population:
    """All training pixels: patch sets in a row, and a class index or ``NONE`` for each of their pixels."""

    def __init__(self, path: Path, sets: Sequence[PatchSet]) -> None:
        """``path`` is the file of labels; where it is not there or of another size, it begins without any."""
        self._sets = tuple(sets)
        self._firsts = np.cumsum([0, *(len(patches) for patches in sets)])
        shapes = [patches.shapes for patches in sets if len(patches)]
        self._shapes = np.concatenate(shapes) if shapes else np.zeros((0, 2), np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self._shapes.prod(axis=1))])
        self.counts = np.zeros((len(self), CLASSES), np.int64)
        size = int(self._starts[-1])
        if not path.exists() or path.stat().st_size != size:
            _fill(path, size)
        self._path = path

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def set_of(self, index: int) -> int:
        """Which of the sets a patch is of, by its number in the row."""
        return int(np.searchsorted(self._firsts, index, side="right")) - 1

    def patch(self, index: int) -> Patch:
        """A patch by its number in the row."""
        number = self.set_of(index)
        return self._sets[number][index - int(self._firsts[number])]

    def labels(self, index: int) -> NDArray[np.uint8]:
        """Class indices (H, W) of a patch, as they are now."""
        start, end = map(int, self._starts[index : index + 2])
        return np.fromfile(self._path, np.uint8, end - start, offset=start).reshape(self._shapes[index])

    def put(self, index: int, labels: NDArray[np.uint8]) -> None:
        """Give a patch's pixels their class indices. Raises DataError if they are not as many as its images have."""
        if labels.shape != tuple(self._shapes[index]):
            raise DataError(
                f"{self.patch(index).id}: its labels are {labels.shape} pixels, its images {tuple(self._shapes[index])}. "
                "`dfcbench data verify` lists such files."
            )
        with self._path.open("r+b") as file:
            file.seek(int(self._starts[index]))
            file.write(labels.astype(np.uint8, copy=False).tobytes())
        self.counts[index] = np.bincount(labels.ravel(), minlength=256)[:CLASSES]

    def recount(self) -> None:
        """Take the numbers of pixels from the labels as they stand."""
        for index in range(len(self)):
            self.counts[index] = np.bincount(self.labels(index).ravel(), minlength=256)[:CLASSES]

    def flush(self) -> None:
        """Make sure that the labels are on disk."""
        with self._path.open("r+b") as file:
            os.fsync(file.fileno())

    @property
    def pixels(self) -> int:
        """How many training pixels there are."""
        return int(self.counts.sum())

    def draw(
        self,
        names: Sequence[str],
        n: int,
        features: Features,
        run: RunContext,
        *,
        only: slice = slice(None),
        label: str = "drawing pixels",
    ) -> dict[str, Draw]:
        """One draw of ``n`` pixels without replacement for each name, in one pass; it depends on seed and name alone.

        ``only`` restricts it to some of the patches.
        """
        available = self.counts[only].sum(axis=1)
        numbers = np.arange(len(self))[only]
        wanted = np.stack([shares(n, available, run.generator("antonia", "draw", name)) for name in names])
        visited = np.flatnonzero(wanted.any(axis=0))
        sizes = wanted.sum(axis=1)
        filled = np.zeros(len(names), np.int64)
        draws: list[Draw] = []

        def take(place: int) -> list[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
            number = int(numbers[place])
            labels = self.labels(number).ravel()
            eligible = np.flatnonzero(labels != NONE)
            x = features(self.patch(number))
            x = x.reshape(len(x), -1)
            taken = []
            for name, k in zip(names, wanted[:, place], strict=True):
                own = run.generator("antonia", "draw", name, self.set_of(number), self.patch(number).id)
                chosen = eligible[np.sort(own.choice(len(eligible), size=int(k), replace=False, shuffle=False))]
                taken.append((x[:, chosen].T, labels[chosen]))
            return taken

        for taken in run.map(take, visited.tolist(), label=label):
            if not draws:
                width = taken[0][0].shape[1]
                draws = [Draw(np.empty((size, width), np.float32), np.empty(size, np.uint8)) for size in sizes]
            for i, (x, y) in enumerate(taken):
                part = slice(filled[i], filled[i] + len(y))
                draws[i].x[part], draws[i].y[part] = x, y
                filled[i] += len(y)
        return dict(zip(names, draws, strict=True))


def groups(names: Sequence[str], n: int, features: int) -> list[list[str]]:
    """The names in runs whose draws of ``n`` pixels fit in ``MEMORY`` together."""
    at_a_time = max(1, int(MEMORY // max(1, n * (4 * features + 1))))
    return [list(names[start : start + at_a_time]) for start in range(0, len(names), at_a_time)]
