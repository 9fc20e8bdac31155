"""How right a map is, from judged check points: as a whole, by region and by class, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfcbench.check_points import Drawing, Stratum
from dfcbench.errors import UsageError
from dfcbench.estimators import Estimates, Sample, areas, overall_accuracy, producers_accuracy, users_accuracy
from dfcbench.scheme import NO_LABEL, SCORED_CODES
from dfcbench.scoring import SIZE, Interval
from dfcbench.sheets import Judgements


@dataclass(frozen=True)
class Estimate:
    """A share, its standard error and its interval; None where undefined."""

    value: float | None
    standard_error: float | None
    interval: Interval | None

    @classmethod
    def of(cls, found: Estimates) -> Estimate:
        """Of one sample's estimates."""
        value, error, low, high = (float(number) if np.isfinite(number) else None for number in found)
        return cls(value, error, None if low is None or high is None else (low, high))


@dataclass(frozen=True)
class ClassAccuracy:
    """One class: precision is the user's accuracy, recall the producer's.

    mapped, judged: points that the map, and the judge, gave the class. share: estimated share of the pixels that truly
    have it; mapped_share: of those that the map gives it.
    """

    code: int
    mapped: int
    judged: int
    mapped_share: float
    share: float
    precision: Estimate
    recall: Estimate


@dataclass(frozen=True)
class Accuracy:
    """All points, or those of one region.

    region: its name, None of all together. pixels: of the strata with judged points. points, judged, unsure, blank: how
    many were drawn, have a class, could not be told, were not looked at. precision and recall: means over the scored classes
    that occur; recall is the contest's average accuracy. classes: those that occur. counts, areas: points, and estimated
    pixels, (11, 11), code of the map down, the judge's across.
    """

    region: str | None
    pixels: int
    points: int
    judged: int
    unsure: int
    blank: int
    overall: Estimate
    precision: Estimate
    recall: Estimate
    classes: tuple[ClassAccuracy, ...]
    counts: NDArray[np.int64]
    areas: NDArray[np.float64]


@dataclass(frozen=True)
class Validation:
    """The whole, the regions if there are several, and strata of which no point was judged, for which nothing is known."""

    whole: Accuracy
    regions: tuple[Accuracy, ...]
    silent: tuple[Stratum, ...]


def validate(drawing: Drawing, judgements: Judgements, mapped: Mapping[str, int] | None = None) -> Validation:
    """Estimate the accuracy of what was drawn from, or of another map that is ``mapped`` at the points.

    Points without a class are left out, as if they were like the others of their stratum. Raises UsageError if no
    point has a class.
    """
    if not judgements.classes:
        raise UsageError("No point has a class, so nothing can be estimated.")
    sample = drawing.sample(judgements.classes, mapped)
    of = np.array([stratum.region or "" for stratum in drawing.strata])
    regions = sorted(set(of.tolist()))
    judged = sample.counts.sum(axis=(1, 2))
    return Validation(
        _accuracy(None, np.ones(len(of), np.bool_), drawing, judgements, sample),
        tuple(_accuracy(region, of == region, drawing, judgements, sample) for region in regions if len(regions) > 1),
        tuple(stratum for stratum, points in zip(drawing.strata, judged, strict=True) if not points),
    )


def _accuracy(
    region: str | None, strata: NDArray[np.bool_], drawing: Drawing, judgements: Judgements, sample: Sample
) -> Accuracy:
    part = sample.of(strata)
    ids = {point.id for point in drawing.points if strata[point.stratum]}
    counts = part.counts.sum(axis=0)
    estimated = areas(part)
    present = [code for code in range(NO_LABEL + 1, SIZE) if counts[code].any() or counts[:, code].any()]
    total = float(estimated.sum()) or 1.0
    return Accuracy(
        region=region,
        pixels=int(part.sizes[part.counts.any(axis=(1, 2))].sum()),
        points=len(ids),
        judged=int(counts.sum()),
        unsure=len(ids & judgements.unsure),
        blank=len(ids & judgements.blank),
        overall=Estimate.of(overall_accuracy(part)),
        precision=Estimate.of(users_accuracy(part, *SCORED_CODES)),
        recall=Estimate.of(producers_accuracy(part, *SCORED_CODES)),
        classes=tuple(
            ClassAccuracy(
                code,
                int(counts[code].sum()),
                int(counts[:, code].sum()),
                float(estimated[code].sum()) / total,
                float(estimated[:, code].sum()) / total,
                Estimate.of(users_accuracy(part, code)),
                Estimate.of(producers_accuracy(part, code)),
            )
            for code in present
        ),
        counts=counts,
        areas=estimated,
    )
