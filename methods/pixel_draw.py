"""Training pixels for methods that learn pixel by pixel: features by name, and a draw of labelled pixels in a stream.

Labels are read first, images only of patches that are drawn from, one after the other: memory holds the draw, and as
many patches as there are threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import DataError
from dfcbench.method import Patch, RunContext
from dfcbench.patches import LabelledPatch
from dfcbench.scheme import scored_index

from .channels import S1_NAMES, SURFACE_NAMES, Channels
from .forest_sampling import CLASSES, Draw, shares

Kind = TypeVar("Kind", bound=Patch)
KindOut = TypeVar("KindOut", bound=Patch, covariant=True)

Inputs = Literal["s2", "s1+s2"]
Balance = Literal["equal", "natural", "all"]
"""equal: as many pixels of each class; natural: as they occur; all: those without a scored class as well."""


class PatchesOf(Protocol[KindOut]):
    """A set of patches of one kind, as a ``PatchSet`` is of ``Patch``, and a ``LabelledPatchSet`` of ``LabelledPatch``."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> KindOut: ...
    def __iter__(self) -> Iterator[KindOut]: ...


class PixelFeatures:
    """Features of a patch, float32 (F, H, W) in [0, 1]; indices in [-1, 1]. Ten bands, then VV and VH, then indices.

    inputs: ``s2`` or ``s1+s2``, the bands of Table IV of Robinson et al. 2021. indices: with the twelve of
    ``features.indices``. With all of it, the 24 features of the Track 2 winner (Sec. V) in that order. Safe in threads.
    """

    def __init__(self, inputs: Inputs = "s2", indices: bool = False) -> None:
        bands = SURFACE_NAMES if inputs == "s2" else (*SURFACE_NAMES, *S1_NAMES)
        self._read = Channels(bands)
        self._indices = indices
        self.names: tuple[str, ...] = bands
        if indices:
            from .features.indices import INDEX_NAMES

            self.names = (*bands, *INDEX_NAMES)

    def __call__(self, patch: Patch) -> NDArray[np.float32]:
        """The features of one patch."""
        x = self._read(patch)
        if not self._indices:
            return x
        from .features.indices import spectral_indices

        return np.concatenate([x, spectral_indices(x[: len(SURFACE_NAMES)])])


def low(patch: Patch) -> NDArray[np.uint8]:
    """The low-resolution labels of a patch."""
    return patch.low


def high(patch: LabelledPatch) -> NDArray[np.uint8]:
    """The high-resolution labels of a patch that shows them."""
    return patch.high


def level_shares(n: int, available: NDArray[np.int64]) -> NDArray[np.int64]:
    """``n`` in equal parts, none above what is ``available``: what a rare class lacks goes to the others."""
    taken = np.zeros_like(available)
    while (left := n - int(taken.sum())) > 0 and (taken < available).any():
        room = np.flatnonzero(taken < available)
        part = max(1, left // len(room))
        for c in room[: left // part]:
            taken[c] += min(part, available[c] - taken[c])
    return taken


def draw_pixels(
    patches: PatchesOf[Kind],
    labels: Callable[[Kind], NDArray[np.uint8]],
    n: int,
    balance: Balance,
    features: Callable[[Patch], NDArray[np.float32]],
    run: RunContext,
) -> Draw:
    """``n`` pixels without replacement, or all there are: x (n, F), y (n,) indices into ``SCORED_CODES``.

    ``balance`` "all" also draws pixels of Savanna, Snow/Ice or no label, whose y is 255. The draw depends on the run's
    seed and the patches alone. Raises DataError if there is no such pixel, or labels and images differ in size.
    """
    kinds = CLASSES + 1 if balance == "all" else CLASSES

    def count(patch: Kind) -> NDArray[np.int64]:
        kind = np.minimum(scored_index(labels(patch)).ravel(), CLASSES)
        counts: NDArray[np.int64] = np.bincount(kind, minlength=CLASSES + 1)[:kinds]
        return counts

    counts = np.array(list(run.map(count, patches, label="counting labels")), np.int64).reshape(-1, kinds)
    if not counts.any():
        raise DataError(
            f"none of {len(patches)} patches has a label of a scored class; there is nothing to learn from."
        )
    generator = run.generator("pixels", "draw")
    by_class = level_shares(n, counts.sum(axis=0)) if balance == "equal" else shares(n, counts.sum(axis=0), generator)
    wanted = np.stack([shares(int(by_class[c]), counts[:, c], generator) for c in range(kinds)], axis=1)

    def take(number: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        patch = patches[number]
        x, y = features(patch), scored_index(labels(patch))
        if x.shape[1:] != y.shape:
            raise DataError(
                f"{patch.id}: its labels are {y.shape} pixels, its images {x.shape[1:]}. `dfcbench data verify` lists "
                "such files."
            )
        own = run.generator("pixels", patch.id)
        kind = np.minimum(y.ravel(), CLASSES)
        parts = [
            own.choice(np.flatnonzero(kind == c), size=int(k), replace=False, shuffle=False)
            for c, k in enumerate(wanted[number])
            if k
        ]
        chosen = np.sort(np.concatenate(parts))
        return x.reshape(len(x), -1)[:, chosen].T, y.ravel()[chosen]

    visited = np.flatnonzero(wanted.any(axis=1)).tolist()
    rows = int(wanted.sum())
    draw, filled = None, 0
    for x, y in run.map(take, visited, label="drawing pixels"):
        if draw is None:
            draw = Draw(np.empty((rows, x.shape[1]), np.float32), np.empty(rows, np.uint8))
        draw.x[filled : filled + len(y)], draw.y[filled : filled + len(y)] = x, y
        filled += len(y)
    assert draw is not None
    return draw
