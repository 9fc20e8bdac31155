"""Confusion matrices and all that follows from them: accuracies, kappa, IoU, F1, bootstrap intervals.

The contest's rule: the average accuracy is the mean producer's accuracy over the scored classes that occur in the
reference, with the pixels of a whole split pooled. A prediction of 0, 3 or 8 is an error of the true class. Reference
pixels without a scored class are ignored; they are counted, and a prediction made there neither helps nor harms, so
user's accuracy, IoU, F1 and kappa look at predictions over scored reference pixels only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import DataError, SubmissionError
from dfcbench.files import replacing
from dfcbench.scheme import CODES, SCORED_CODES, SCORED_NAMES

FORMAT = 1
"""Version of scores.json."""

SIZE = max(CODES) + 1
"""Rows and columns of a confusion matrix: codes 0 (no label) to 10."""

CHUNK = 1 << 16
"""Pixels counted at a time, one contest patch: bincount widens its input to 8 bytes, and 512 kB stay in the cache."""

LEVEL = 0.95
RESAMPLES = 1000
BOOTSTRAP_SEED = 20200313
"""Of the bootstrap over patches: fixed, so that one set of matrices has one interval. The value has no meaning."""

MEASURES = ("average_accuracy", "overall_accuracy", "kappa", *SCORED_NAMES)
"""What has an interval: AA, OA, kappa, and the producer's accuracy of each scored class."""

_SCORED = np.array(SCORED_CODES)
_INTERVAL_DECIMALS = 9
"""Intervals are rounded here, far below their own noise, so that processors with other rounding write equal files."""
_WEIGHTS_AT_A_TIME = 1 << 20
"""Bootstrap weights held in memory at a time: 8 MB."""

Interval = tuple[float, float]


def confusion_matrix(reference: NDArray[np.integer], prediction: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Counts (11, 11), uint32: reference code down, predicted code across.

    Both maps hold codes 0..10 in any integer type and have one shape. Raises DataError for a reference and
    SubmissionError for a prediction that is not so.
    """
    truth, guess = np.asarray(reference), np.asarray(prediction)
    if truth.shape != guess.shape:
        raise SubmissionError(f"A map of shape {guess.shape} cannot be scored against a reference of {truth.shape}.")
    _require_codes(truth, "the reference", DataError)
    _require_codes(guess, "the prediction", SubmissionError)
    truth, guess = truth.reshape(-1), guess.reshape(-1)
    counts = np.zeros(SIZE * SIZE, np.int64)
    for start in range(0, truth.size, CHUNK):
        pairs = truth[start : start + CHUNK].astype(np.uint8)  # 10 * 11 + 10 fits into a byte
        pairs *= SIZE
        pairs += guess[start : start + CHUNK].astype(np.uint8, copy=False)
        counts += np.bincount(pairs, minlength=SIZE * SIZE)
    return counts.reshape(SIZE, SIZE).astype(np.uint32)


def _require_codes(codes: NDArray[Any], what: str, error: type[DataError] | type[SubmissionError]) -> None:
    if not np.issubdtype(codes.dtype, np.integer):
        raise error(f"{what.capitalize()} holds {codes.dtype}, not integer class codes.")
    if codes.size and (codes.max() >= SIZE or codes.min() < 0):
        raise error(f"{what.capitalize()} holds codes {codes.min()} to {codes.max()}; the scheme knows 0..{SIZE - 1}.")


@dataclass(frozen=True, eq=False)
class Confusion:
    """One confusion matrix per patch: ids (N,), matrices (N, 11, 11) uint32, [reference code, predicted code]."""

    ids: tuple[str, ...]
    matrices: NDArray[np.uint32]

    def __post_init__(self) -> None:
        if self.matrices.shape != (len(self.ids), SIZE, SIZE):
            wanted = (len(self.ids), SIZE, SIZE)
            raise SubmissionError(f"{len(self.ids)} patches need matrices {wanted}, not {self.matrices.shape}.")
        if len(set(self.ids)) != len(self.ids):
            raise SubmissionError("A patch occurs twice among the confusion matrices.")

    @classmethod
    def collect(cls, patches: Iterable[tuple[str, NDArray[np.uint32]]]) -> Confusion:
        """From (patch id, matrix) pairs, in their order."""
        pairs = list(patches)
        stack = np.array([matrix for _, matrix in pairs], np.uint32).reshape(len(pairs), SIZE, SIZE)
        return cls(tuple(patch_id for patch_id, _ in pairs), stack)

    @property
    def total(self) -> NDArray[np.int64]:
        """The matrix of all patches together, (11, 11)."""
        total: NDArray[np.int64] = self.matrices.sum(axis=0, dtype=np.int64)
        return total

    def select(self, ids: Sequence[str]) -> Confusion:
        """The matrices of these patches, in this order. Raises SubmissionError if one is not here."""
        place = {patch_id: row for row, patch_id in enumerate(self.ids)}
        unknown = [patch_id for patch_id in ids if patch_id not in place]
        if unknown:
            raise SubmissionError(f"no confusion matrix of patch {unknown[0]!r} ({len(unknown)} unknown ids in all).")
        return Confusion(tuple(ids), self.matrices[[place[patch_id] for patch_id in ids]])

    def save(self, path: Path) -> None:
        """Write a compressed npz atomically; equal matrices give equal bytes."""
        with replacing(path) as temporary:
            np.savez_compressed(temporary, ids=np.array(self.ids, dtype=np.str_), matrices=self.matrices)

    @classmethod
    def load(cls, path: Path) -> Confusion:
        """Read what ``save`` wrote. Raises SubmissionError, naming the file, if it is missing, damaged or malformed."""
        if not Path(path).is_file():
            raise SubmissionError(f"{path}: no such file. Run the method again to make it.")
        try:
            with np.load(path, allow_pickle=False) as content:
                ids, matrices = content["ids"], content["matrices"]
            if ids.ndim != 1 or ids.dtype.kind != "U" or matrices.dtype.kind not in "ui":
                raise SubmissionError("ids are no list of names, or matrices no counts")
            if matrices.size and (matrices.min() < 0 or matrices.max() > np.iinfo(np.uint32).max):
                raise SubmissionError("counts outside the range of uint32")
            return cls(tuple(map(str, ids)), matrices.astype(np.uint32))
        except Exception as error:  # it may come from strangers: whatever zipfile and numpy make of it
            raise SubmissionError(
                f"{path}: not a readable set of confusion matrices ({error}). Run the method again to make it."
            ) from error


@dataclass(frozen=True)
class ClassScore:
    """What one class scored, as fractions; None where a share of nothing would be asked for."""

    producers_accuracy: float | None
    users_accuracy: float | None
    iou: float | None
    f1: float | None
    pixels: int
    producers_accuracy_interval: Interval | None


@dataclass(frozen=True)
class Scores:
    """What a set of maps scored, as fractions; None where undefined (no reference pixels, no two patches).

    ``pixels`` counts the scored reference pixels, ``ignored`` the others. Means are taken over the classes present in
    the reference: mean IoU too, where public loaders count absent classes as 0. ``classes`` has the 8 scored classes
    by name. ``resamples`` is what the intervals rest on.
    """

    patches: int
    pixels: int
    ignored: int
    average_accuracy: float | None
    overall_accuracy: float | None
    kappa: float | None
    mean_iou: float | None
    macro_f1: float | None
    average_accuracy_interval: Interval | None
    overall_accuracy_interval: Interval | None
    kappa_interval: Interval | None
    classes: Mapping[str, ClassScore]
    level: float = LEVEL
    resamples: int = RESAMPLES

    @classmethod
    def of(cls, confusion: Confusion) -> Scores:
        """Score all patches of a confusion container together."""
        total = confusion.total
        rows = total[_SCORED]
        hits, present, predicted = _marginals(total)
        measured = measures(total)
        ious = _shares(hits, present + predicted - hits)
        f1s = _shares(2 * hits, present + predicted)
        intervals = _bootstrap(confusion)
        names = SCORED_NAMES
        here = [k for k in range(len(names)) if present[k]]
        users = _shares(hits, predicted)
        return cls(
            patches=len(confusion.ids),
            pixels=int(rows.sum()),
            ignored=int(total.sum() - rows.sum()),
            average_accuracy=measured["average_accuracy"],
            overall_accuracy=measured["overall_accuracy"],
            kappa=measured["kappa"],
            mean_iou=_mean([ious[k] for k in here]),
            macro_f1=_mean([f1s[k] for k in here]),
            average_accuracy_interval=intervals["average_accuracy"],
            overall_accuracy_interval=intervals["overall_accuracy"],
            kappa_interval=intervals["kappa"],
            classes={
                name: ClassScore(measured[name], users[k], ious[k], f1s[k], int(present[k]), intervals[name])
                for k, name in enumerate(names)
            },
        )

    def to_json(self) -> dict[str, Any]:
        """The content of scores.json."""
        value = asdict(self)
        interval = {"level": value.pop("level"), "resamples": value.pop("resamples")}
        for name in ("average_accuracy", "overall_accuracy", "kappa"):
            interval[name] = value.pop(f"{name}_interval")
        return {"format": FORMAT, **value, "interval": interval}

    @classmethod
    def from_json(cls, value: Any, where: str = "scores.json") -> Scores:
        """Read back what ``to_json`` gave. Raises SubmissionError, naming ``where``, if something is missing or odd."""
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, Mapping) else type(value).__name__
            raise SubmissionError(f"{where}: format {found!r}; this dfcbench reads format {FORMAT}.")
        try:
            interval = value["interval"]
            return cls(
                patches=_count(value["patches"]),
                pixels=_count(value["pixels"]),
                ignored=_count(value["ignored"]),
                average_accuracy=_fraction(value["average_accuracy"]),
                overall_accuracy=_fraction(value["overall_accuracy"]),
                kappa=_fraction(value["kappa"]),
                mean_iou=_fraction(value["mean_iou"]),
                macro_f1=_fraction(value["macro_f1"]),
                average_accuracy_interval=_interval(interval["average_accuracy"]),
                overall_accuracy_interval=_interval(interval["overall_accuracy"]),
                kappa_interval=_interval(interval.get("kappa")),
                classes={
                    name: ClassScore(
                        producers_accuracy=_fraction(value["classes"][name]["producers_accuracy"]),
                        users_accuracy=_fraction(value["classes"][name]["users_accuracy"]),
                        iou=_fraction(value["classes"][name]["iou"]),
                        f1=_fraction(value["classes"][name]["f1"]),
                        pixels=_count(value["classes"][name]["pixels"]),
                        producers_accuracy_interval=_interval(value["classes"][name]["producers_accuracy_interval"]),
                    )
                    for name in SCORED_NAMES
                },
                level=float(interval["level"]),
                resamples=_count(interval["resamples"]),
            )
        except KeyError as error:
            raise SubmissionError(f"{where}: the entry {error} is missing.") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise SubmissionError(f"{where}: {error}.") from error


def resamples(patches: int, *, count: int = RESAMPLES, seed: int = BOOTSTRAP_SEED) -> Iterator[NDArray[np.int64]]:
    """Bootstrap over patches: how often each patch is drawn, in blocks (b, patches) that add up to ``count`` rows.

    Every row sums to ``patches``. The draws do not depend on the size of the blocks, which bounds the memory.
    """
    generator = np.random.default_rng(seed)
    block = max(1, _WEIGHTS_AT_A_TIME // max(1, patches))
    for start in range(0, count, block):
        rows = min(block, count - start)
        drawn = generator.integers(0, patches, (rows, patches))
        drawn += np.arange(rows)[:, np.newaxis] * patches
        yield np.bincount(drawn.reshape(-1), minlength=rows * patches).reshape(rows, patches)


def _marginals(matrix: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Hits, reference pixels and predicted pixels per scored class, each (..., 8), over scored reference pixels."""
    rows = matrix[..., _SCORED, :]
    square = rows[..., _SCORED]
    return np.diagonal(square, axis1=-2, axis2=-1), rows.sum(axis=-1), square.sum(axis=-2)


def measures(matrix: NDArray[np.int64]) -> dict[str, float | None]:
    """MEASURES of one matrix (11, 11), as fractions; None where undefined."""
    hits, present, predicted = _marginals(matrix)
    producers = _shares(hits, present)
    average = _mean([producer for producer, pixels in zip(producers, present, strict=True) if pixels])
    overall = _share(int(hits.sum()), int(present.sum()))
    kappa = _kappa(hits, present, predicted)
    return dict(zip(MEASURES, (average, overall, kappa, *producers), strict=True))


def resampled(confusions: Sequence[Confusion]) -> list[dict[str, NDArray[np.float64]]]:
    """MEASURES of each in RESAMPLES bootstrap resamples of the patches, (RESAMPLES,) each: paired, as resample ``i`` of
    every one holds the same patches. NaN where undefined.

    They must be about the same patches, in one order, and at least one. A class absent from a resample is left out of
    that resample's mean.
    """
    count = len(confusions[0].ids)
    # Counts are whole numbers below 2**53, so that the products are exact and alike on every machine.
    parts = [part for confusion in confusions for part in _marginals(confusion.matrices.astype(np.float64))]
    columns = np.concatenate(parts, axis=1)
    drawn = np.concatenate([weights.astype(np.float64) @ columns for weights in resamples(count)])
    return [_resampled(*np.split(part, 3, axis=1)) for part in np.split(drawn, len(confusions), axis=1)]


def _resampled(
    hits: NDArray[np.float64], present: NDArray[np.float64], predicted: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    pixels = present.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        producers = hits / present
        average = np.where(present > 0, producers, 0).sum(axis=1) / (present > 0).sum(axis=1)
        overall = hits.sum(axis=1) / pixels
        chance = (present * predicted).sum(axis=1) / pixels**2
        kappa = (overall - chance) / (1 - chance)
    return dict(zip(MEASURES, (average, overall, kappa, *producers.T), strict=True))


def percentile_interval(values: NDArray[np.float64]) -> Interval | None:
    """Where the middle share LEVEL of resampled values lies, undefined ones left out; None if all are."""
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return round(float(low), _INTERVAL_DECIMALS), round(float(high), _INTERVAL_DECIMALS)


def _bootstrap(confusion: Confusion) -> dict[str, Interval | None]:
    """Percentile intervals of MEASURES; None below two patches, of which every resample is the same."""
    if len(confusion.ids) < 2:
        return dict.fromkeys(MEASURES)
    return {name: percentile_interval(values) for name, values in resampled([confusion])[0].items()}


def _kappa(hits: NDArray[np.int64], present: NDArray[np.int64], predicted: NDArray[np.int64]) -> float | None:
    """Cohen's kappa in whole numbers: (n * hits - sum of products of marginals) / (n**2 - the same sum)."""
    n = int(present.sum())
    by_chance = sum(int(p) * int(q) for p, q in zip(present, predicted, strict=True))
    return _share(n * int(hits.sum()) - by_chance, n * n - by_chance)


def _shares(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> list[float | None]:
    return [_share(int(part), int(whole)) for part, whole in zip(parts, wholes, strict=True)]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _fraction(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1 <= value <= 1:
        raise ValueError(f"{value!r} is no fraction")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _interval(value: Any) -> Interval | None:
    if value is None:
        return None
    low, high = (_fraction(v) for v in value)
    if low is None or high is None:
        raise ValueError(f"{value!r} is no interval")
    return low, high
