"""What an archive holds: counts of everything, shares of classes, statistics of bands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dfcbench import records
from dfcbench.archive import Archive
from dfcbench.errors import DataError
from dfcbench.records import MODALITIES, PatchRecord
from dfcbench.sampling import distinct
from dfcbench.scheme import CLASSES, CODES
from dfcbench.sensors import S1_BANDS, S2_BANDS
from dfcbench.threads import in_order

DEFAULT_SAMPLE = 200
"""Patches per split whose pixels are read: some 13 million pixels, a few seconds."""


class BandStatistics(NamedTuple):
    """Mean and standard deviation over all finite pixels read; dB or reflectance x 10000."""

    mean: float
    sd: float


@dataclass(frozen=True)
class SplitSummary:
    """One split.

    patches, modalities (patches that have each of ``s1 s2 low high``), scenes (patches by scene), regions (patches by
    region) count files and are exact. The rest comes from ``sampled`` patches drawn at random: low and high map class
    names to shares of the labelled pixels, in scheme order and without absent classes, empty where there are no such
    labels; unlabelled is the share of pixels without a low-resolution label; bands by name (VV, VH, B1 .. B12);
    nan is the share of Sentinel-1 values that are not finite; unreadable counts files that could not be read.
    """

    split: str
    patches: int
    modalities: dict[str, int]
    scenes: dict[str, int]
    regions: dict[str, int]
    sampled: int
    low: dict[str, float]
    high: dict[str, float]
    unlabelled: float
    bands: dict[str, BandStatistics]
    nan: float
    unreadable: int


def summarise(
    archive: Archive,
    progress: Callable[[int, int], None] | None = None,
    sample: int | None = DEFAULT_SAMPLE,
    seed: int = 0,
    workers: int = 1,
) -> list[SplitSummary]:
    """Summaries of all splits. Pixels of ``sample`` patches per split are read, or of all where it is None.

    ``progress`` counts patches read. A file that cannot be read is counted and left out.
    """
    chosen = {}
    for split, patches in archive.splits.items():
        rows = distinct(len(patches), len(patches) if sample is None else sample, np.random.default_rng(seed))
        chosen[split] = [patches[i] for i in rows]
    total = sum(map(len, chosen.values()))
    summaries: list[SplitSummary] = []
    done = 0
    for split, patches in archive.splits.items():
        tally = _Tally()
        for pixels in in_order(_read, chosen[split], workers):
            tally.add(pixels)
            done += 1
            if progress is not None:
                progress(done, total)
        summaries.append(_summary(split, patches, len(chosen[split]), tally))
    return summaries


def _read(record: PatchRecord) -> dict[str, NDArray[Any] | None]:
    result: dict[str, NDArray[Any] | None] = {}
    for name, modality in MODALITIES.items():
        if modality.token in record.files:
            try:
                result[name] = records.read(record, name)
            except DataError:
                result[name] = None
    return result


class _Tally:
    """Sums over patches, in float64."""

    def __init__(self) -> None:
        self.codes = {name: np.zeros(max(CODES) + 1, np.int64) for name in ("low", "high")}
        self.sums = {name: np.zeros((3, MODALITIES[name].bands)) for name in ("s1", "s2")}
        self.not_finite = 0
        self.unreadable = 0

    def add(self, patch: dict[str, NDArray[Any] | None]) -> None:
        for name, pixels in patch.items():
            if pixels is None:
                self.unreadable += 1
            elif name in self.codes:
                self.codes[name] += np.bincount(pixels.ravel(), minlength=max(CODES) + 1)
            else:
                values = pixels.reshape(len(pixels), -1).astype(np.float64)
                finite = np.isfinite(values)
                self.not_finite += int((~finite).sum())
                values[~finite] = 0.0
                self.sums[name] += (finite.sum(axis=1), values.sum(axis=1), np.square(values).sum(axis=1))


def _summary(split: str, patches: Sequence[PatchRecord], sampled: int, tally: _Tally) -> SplitSummary:
    labelled = int(tally.codes["low"].sum())
    s1_values = tally.sums["s1"][0].sum() + tally.not_finite
    bands: dict[str, BandStatistics] = {}
    for name, known in (("s1", S1_BANDS), ("s2", S2_BANDS)):
        for band, (n, total, squares) in zip(known, tally.sums[name].T, strict=True):
            if n:
                mean = total / n
                bands[band.name] = BandStatistics(float(mean), float(np.sqrt(max(squares / n - mean**2, 0.0))))
    return SplitSummary(
        split=split,
        patches=len(patches),
        modalities={
            name: count
            for name, modality in MODALITIES.items()
            if (count := sum(modality.token in record.files for record in patches))
        },
        scenes=dict(Counter(record.scene for record in patches)),
        regions=dict(Counter(record.region for record in patches if record.region is not None)),
        sampled=sampled,
        low=_shares(tally.codes["low"]),
        high=_shares(tally.codes["high"]),
        unlabelled=float(tally.codes["low"][0] / labelled) if labelled else 0.0,
        bands=bands,
        nan=float(tally.not_finite / s1_values) if s1_values else 0.0,
        unreadable=tally.unreadable,
    )


def _shares(counts: NDArray[np.int64]) -> dict[str, float]:
    total = int(counts[1:].sum())
    return {c.name: float(counts[c.code] / total) for c in CLASSES if counts[c.code]}
