"""The regions of a data set (Table II of the paper): how large each is, when it was seen, and which classes it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench import records
from dfcbench.archive import Archive, season_of
from dfcbench.errors import DataError
from dfcbench.records import PatchRecord
from dfcbench.scheme import CODES, SCORED_CODES, SCORED_NAMES
from dfcbench.threads import in_order

FORMAT = 1
"""Version of the record."""

PIXELS_PER_KM2 = 10_000
"""Of 10 m, the contest's grid."""

_SPLITS = ("validation", "test")
"""Where a demo contest has regions."""


@dataclass(frozen=True)
class Region:
    """One region. season: None where the data do not tell it. pixels: all of its patches.

    classes: of these, the pixels by SCORED_CODES of the reference; the rest has no label that is scored.
    """

    name: str
    season: str | None
    patches: int
    pixels: int
    classes: tuple[int, ...]

    @property
    def area(self) -> float:
        """In km2."""
        return self.pixels / PIXELS_PER_KM2

    @property
    def shares(self) -> tuple[float | None, ...]:
        """Of each scored class in the pixels that have one; None where no pixel has."""
        total = sum(self.classes)
        return tuple(count / total if total else None for count in self.classes)


@dataclass(frozen=True)
class Regions:
    """All regions of a data set (``name`` and ``title`` as submissions tell them), in the order of their first patches.

    fingerprints: of the splits that were counted.
    """

    name: str
    title: str
    official: bool
    fingerprints: Mapping[str, str]
    regions: tuple[Region, ...]

    @property
    def whole(self) -> Region:
        """All regions together."""
        return Region(
            "all regions",
            None,
            sum(region.patches for region in self.regions),
            sum(region.pixels for region in self.regions),
            tuple(map(sum, zip(*(region.classes for region in self.regions), strict=True))),
        )

    def correlation(self, region: Region) -> float | None:
        """Pearson's correlation over the eight scored classes, absent ones included as 0, of the region's shares with those
        of the whole, of which the region is a part. None where either has no labels, or shares that are all alike.
        """
        return _pearson(region.shares, self.whole.shares)

    def contradicted(self, split_counts: Mapping[str, Sequence[int]]) -> str | None:
        """Why the reference of the splits (pixels by SCORED_CODES), as somebody else counted it, cannot be that of these
        regions; None if it can, or not all of the splits were counted.
        """
        if not self.fingerprints.keys() <= split_counts.keys():
            return None
        counts = [sum(split_counts[split][at] for split in self.fingerprints) for at in range(len(SCORED_CODES))]
        pairs = zip(SCORED_NAMES, self.whole.classes, counts, strict=True)
        wrong = [f"{name} {own:,}, which are {other:,}" for name, own, other in pairs if own != other]
        return f"tells pixels of {'; '.join(wrong)}" if wrong else None

    def to_json(self) -> dict[str, Any]:
        """A record from which ``from_json`` makes the same regions."""
        return {
            "format": FORMAT,
            "data": {"name": self.name, "title": self.title, "official": self.official},
            "fingerprints": dict(self.fingerprints),
            "regions": [
                {
                    "name": region.name,
                    "season": region.season,
                    "patches": region.patches,
                    "pixels": region.pixels,
                    "classes": dict(zip(SCORED_NAMES, region.classes, strict=True)),
                }
                for region in self.regions
            ],
        }

    @classmethod
    def from_json(cls, value: Any, where: str) -> Regions:
        """The regions of a record. Raises DataError, naming ``where``, for what is none."""
        try:
            data, fingerprints = value["data"], value["fingerprints"]
            found = cls(
                _of(str, data["name"]),
                _of(str, data["title"]),
                _of(bool, data["official"]),
                {_of(str, split): _of(str, digits) for split, digits in fingerprints.items()},
                tuple(_region(entry) for entry in value["regions"]),
            )
            if value["format"] != FORMAT or not found.regions or not found.fingerprints:
                raise ValueError(
                    f"format {value['format']!r}, {len(found.regions)} regions of {len(found.fingerprints)} splits"
                )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{where}: is no record of regions ({type(error).__name__}: {error}). Write it anew with "
                "`dfcbench table II`, or delete it."
            ) from error
        return found


def survey(archive: Archive, progress: Callable[[int, int], None] | None = None, workers: int = 1) -> Regions:
    """Count the reference of all regions: those of the release by region, else those of a demo contest.

    ``progress`` counts patches. Raises DataError if the data tell no regions, or have no high-resolution labels for them.
    """
    splits = ["regional"] if "regional" in archive.splits else [s for s in _SPLITS if s in archive.splits]
    patches: dict[str, list[PatchRecord]] = {}
    counted = []
    for split in splits:
        of_split = archive.regions(split)
        if of_split:
            archive.labelled(split)
            counted.append(split)
        for name, members in of_split.items():
            patches.setdefault(name, []).extend(members)
    if not patches:
        raise DataError(
            f"{archive.root}: these data tell no regions: {', '.join(archive.splits)} cannot be divided. Point --data at "
            "the release by region (DFC_Public_Dataset), or at a demo contest."
        )
    every = [record for found in patches.values() for record in found]
    counts = iter(_counts(every, progress, workers))
    regions = []
    for name, found in patches.items():
        own = np.sum([next(counts) for _ in found], axis=0)
        seasons = dict.fromkeys(season for record in found if (season := season_of(record.id)))
        scored = tuple(int(own[code]) for code in SCORED_CODES)
        regions.append(Region(name, ", ".join(seasons) or None, len(found), int(own.sum()), scored))
    identity = archive.identity
    fingerprints = {split: archive.fingerprint(split) for split in counted}
    return Regions(identity.name, identity.title, identity.official, fingerprints, tuple(regions))


def _counts(
    patches: Sequence[PatchRecord], progress: Callable[[int, int], None] | None, workers: int
) -> list[NDArray[np.int64]]:
    """Pixels of each patch's reference by code, 0 for no label."""

    def count(record: PatchRecord) -> NDArray[np.int64]:
        return np.bincount(records.read(record, "high").ravel(), minlength=max(CODES) + 1)

    found = []
    for counts in in_order(count, patches, workers):
        found.append(counts)
        if progress is not None:
            progress(len(found), len(patches))
    return found


def _pearson(first: Sequence[float | None], second: Sequence[float | None]) -> float | None:
    """In plain floating point, summed exactly: the same digits on every machine."""
    a, b = ([value for value in values if value is not None] for values in (first, second))
    if not a or len(a) != len(b):
        return None
    x, y = ([value - math.fsum(values) / len(values) for value in values] for values in (a, b))
    size = math.sqrt(math.fsum(v * v for v in x)) * math.sqrt(math.fsum(v * v for v in y))
    return math.fsum(p * q for p, q in zip(x, y, strict=True)) / size if size else None


def _region(entry: Mapping[str, Any]) -> Region:
    classes = tuple(_count(entry["classes"][name]) for name in SCORED_NAMES)
    season = entry["season"]
    region = Region(
        _of(str, entry["name"]),
        None if season is None else _of(str, season),
        _count(entry["patches"]),
        _count(entry["pixels"]),
        classes,
    )
    if sum(classes) > region.pixels:
        raise ValueError(f"{region.name} has more labels than pixels")
    return region


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no number of pixels or patches")
    return value


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    return value
