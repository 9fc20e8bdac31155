"""What networks are fed: scaled bands of patches, random crops with their labels, and scores on whole patches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import DataError
from dfcbench.method import Patch, PatchSet, RunContext
from dfcbench.scheme import SCORED_CODES, scored_index
from dfcbench.sensors import S1_BANDS, S1_RANGE_DB, SURFACE_BANDS, scale_s1, scale_s2
from dfcbench.threads import in_order

from ..pixel_draw import low
from ..sen12ms import label_counts
from .losses import IGNORED
from .training import Batch, Score

if TYPE_CHECKING:
    from torch import nn

Inputs = Literal["s2", "s1+s2"]
Labels = Callable[[Any], NDArray[np.uint8]]
"""Simplified codes (H, W) of a patch, 0 where it has none."""
CLASSES = len(SCORED_CODES)
_SAMPLE_PATCHES = 64
"""Patches whose pixels set the mean and deviation of the inputs."""
_EVERY = 16
"""Of their pixels, one in so many: neighbours say the same."""
_DEVIATION = 1e-4
"""The least deviation that inputs are divided by: one unit of reflectance x 10000; only constants fall below it."""


class Reader:
    """Reads bands of a patch in [0, 1], float32 (C, H, W): the ten surface bands of S2, with ``s1+s2`` VV and VH first.

    That is the order of ``channels.CHANNELS``. With ``moments`` (mean and deviation, (C,) each), standardised.
    """

    def __init__(self, inputs: Inputs, moments: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None) -> None:
        self.radar = inputs == "s1+s2"
        self.channels = len(SURFACE_BANDS) + (len(S1_BANDS) if self.radar else 0)
        self.moments = moments

    def __call__(
        self,
        patch: Patch,
        window: tuple[slice, slice] = (slice(None), slice(None)),
        gains: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """The bands within rows and columns of the patch; with ``gains`` (C,), as if each sensor were so sensitive."""
        x = scale_s2(patch.s2[:, *window][list(SURFACE_BANDS)])
        if gains is not None:
            x *= gains[-len(x) :, None, None]
        if self.radar:
            radar = scale_s1(patch.s1[:, *window])
            if gains is not None:
                radar += (10 * np.log10(gains[: len(radar)]) / (S1_RANGE_DB[1] - S1_RANGE_DB[0]))[:, None, None]
            x = np.concatenate([radar, x])
        if self.moments is not None:
            mean, deviation = self.moments
            x = (x - mean[:, None, None]) / deviation[:, None, None]
        return x


def moments(
    patches: PatchSet, read: Callable[[Patch], NDArray[np.float32]], run: RunContext, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation of each band, over pixels of some patches."""
    chosen = patches.subset(_SAMPLE_PATCHES, generator)
    pixels = np.concatenate([x.reshape(len(x), -1)[:, ::_EVERY] for x in run.map(read, chosen)], axis=1)
    mean = pixels.mean(axis=1, dtype=np.float64)
    deviation = np.maximum(pixels.std(axis=1, dtype=np.float64), _DEVIATION)
    return mean.astype(np.float32), deviation.astype(np.float32)


class Crops:
    """Batches of random square crops, each mirrored or not in either direction, with the patches' labels as targets.

    Patches are drawn with replacement. A patch smaller than the crop is continued by its mirror image, without labels.
    With ``jitter``, every band of a crop gets a gain of its own, log-normal with this deviation.
    """

    def __init__(
        self,
        patches: Sequence[Patch],
        read: Reader,
        size: int,
        batch: int,
        jitter: float = 0.0,
        labels: Labels = low,
    ) -> None:
        self.patches, self.read, self.size, self.batch, self.jitter = patches, read, size, batch, jitter
        self.labels = labels

    def __call__(self, step: int, generator: np.random.Generator) -> Batch:
        """A batch of the step, drawn by ``generator``: inputs (N, C, S, S), indices (N, S, S) with 255 for no label."""
        inputs = np.empty((self.batch, self.read.channels, self.size, self.size), np.float32)
        targets = np.full((self.batch, self.size, self.size), IGNORED, np.uint8)
        for n, index in enumerate(generator.integers(len(self.patches), size=self.batch)):
            patch = self.patches[int(index)]
            codes = self.labels(patch)
            down, right, vertical, horizontal = generator.random(4)
            window = (self._span(codes.shape[0], down), self._span(codes.shape[1], right))
            flip = (slice(None, None, -1 if vertical < 0.5 else 1), slice(None, None, -1 if horizontal < 0.5 else 1))
            gains = None
            if self.jitter:
                gains = np.exp(self.jitter * generator.standard_normal(self.read.channels, np.float32))
            x, y = self.read(patch, window, gains), scored_index(codes[window])
            height, width = y.shape
            missing = ((0, self.size - height), (0, self.size - width))
            inputs[n] = np.pad(x, ((0, 0), *missing), mode="symmetric")[:, *flip]
            targets[n] = np.pad(y, missing, constant_values=IGNORED)[flip]
        return inputs, targets

    def _span(self, length: int, share: float) -> slice:
        start = int(share * (max(0, length - self.size) + 1))
        return slice(start, start + self.size)


def label_shares(patches: PatchSet, run: RunContext, labels: Labels = low) -> NDArray[np.float64]:
    """Share of each scored class among the labelled pixels of these patches, (8,).

    Raises DataError if no pixel has a label of a scored class.
    """
    total = label_counts(patches, run, labels).sum(axis=0)
    if not total.any():
        raise DataError(
            f"none of {len(patches)} training patches has a label of a scored class; there is nothing to learn. "
            "`dfcbench data verify` tells what is wrong with their label files."
        )
    shares: NDArray[np.float64] = total / total.sum()
    return shares


class LabelScore:
    """Scores a network against the low-resolution labels of patches; pixels without a scored label are left out."""

    def __init__(self, patches: Sequence[Patch], read: Reader, run: RunContext, batch: int) -> None:
        self.patches, self.read, self.run, self.batch = patches, read, run, batch

    def __call__(self, network: nn.Module) -> Score:
        """Accuracy and average accuracy over all labelled pixels; both 0 where there are none."""
        import torch

        def example(patch: Patch) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
            return self.read(patch), scored_index(patch.low)

        confusion = np.zeros((CLASSES, CLASSES), np.int64)
        with torch.inference_mode():
            for x, y in stacked(in_order(example, self.patches, max(2, self.run.workers)), self.batch):
                inputs = torch.from_numpy(x).to(self.run.device, memory_format=torch.channels_last)
                found = network(inputs).argmax(dim=1).cpu().numpy()
                known = y != IGNORED
                pairs = y[known].astype(np.int64) * CLASSES + found[known]
                confusion += np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
        total = confusion.sum(axis=1)
        occurs = total > 0
        if not occurs.any():
            return Score(0.0, 0.0)
        recalls = confusion.diagonal()[occurs] / total[occurs]
        return Score(float(confusion.trace() / total.sum()), float(recalls.mean()))


def stacked(
    examples: Iterable[tuple[NDArray[np.float32], NDArray[np.uint8]]], batch: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Inputs and targets in runs of equal shape, ``batch`` at most, each stacked."""
    held: list[tuple[NDArray[np.float32], NDArray[np.uint8]]] = []
    for example in examples:
        if held and (len(held) == batch or example[0].shape != held[0][0].shape):
            yield np.stack([x for x, _ in held]), np.stack([y for _, y in held])
            held = []
        held.append(example)
    if held:
        yield np.stack([x for x, _ in held]), np.stack([y for _, y in held])
