"""Checks of the maps themselves: one for every patch, of its size, of values that mean something, and of some use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import DfcbenchError
from dfcbench.method import Prediction
from dfcbench.scheme import CODES, NO_LABEL, SCORED_CODES
from dfcbench.scoring import confusion_matrix
from dfcbench.testing.check import Fault, Skip, Unknown, blame
from dfcbench.testing.subject import Maps, Subject, refusal

CLASSES = len(SCORED_CODES)

SUM_TOLERANCE = 1e-3
"""Of the sum of a pixel's probabilities: eight of half precision, each rounded by 2^-11 of itself, stay below half of it."""

ABOVE_CHANCE = 2 / CLASSES
"""Average accuracy that a map must exceed. Whoever guesses, or says the same everywhere, gets 1/8 of eight classes right
whatever their shares; twice that is far beyond the luck of 24,576 pixels, and far below what one colour per class allows."""


def runs(subject: Subject) -> str | None:
    """fit, save and predict end without an exception."""
    try:
        subject.params  # noqa: B018  whether there are any
    except DfcbenchError as error:
        raise Unknown(f"it has no valid parameters: {error}") from None
    try:
        watch = subject.first.watch
    except Skip:
        raise
    except Exception as error:
        raise Fault(blame(error)) from error
    return f"it warns: {watch.warned[0]}" if watch.warned else None


def unfitted(subject: Subject) -> None:
    """predict before fit says what is wrong, or works."""
    run = subject.run(subject.place("unfitted"))
    try:
        answer = next(iter(subject.new().predict(subject.shown(), run)))
    except Exception as error:
        if refusal(error):
            return
        what = "it yields nothing" if isinstance(error, StopIteration) else blame(error)
        raise Fault(what) from error
    if not isinstance(answer, Prediction):
        raise Fault(f"it yields {type(answer).__name__}, not a Prediction")


def every_patch_once(subject: Subject) -> None:
    """One Prediction for every patch, and no other."""
    answers, wanted = subject.first.answers, subject.shown().ids
    strange = [type(answer).__name__ for answer in answers if not isinstance(answer, Prediction)]
    if strange:
        raise Fault(f"predict yields {strange[0]}, not Predictions")
    counts = Counter(answer.patch_id for answer in answers)
    faults = [f"{patch_id} is answered {n} times" for patch_id, n in counts.items() if n > 1]
    faults += [f"{patch_id} is no patch that was asked for" for patch_id in counts if patch_id not in wanted]
    faults += [f"{patch_id} has no map" for patch_id in wanted if patch_id not in counts]
    if faults:
        raise Fault(_some(faults))


def size(subject: Subject) -> None:
    """Every map has its patch's height and width; probabilities have eight classes before them."""
    require_size(subject, subject.first.maps)


def require_size(subject: Subject, maps: Maps, shapes: dict[str, tuple[int, int]] | None = None) -> None:
    """Raise Fault if a map has not its patch's size. shapes: of the patches, by default those of the easy contest."""
    shapes = shapes or {patch.id: patch.shape for patch in subject.shown()}
    faults = [
        f"{patch_id}: the map is {values.shape}, the patch {shapes[patch_id]}"
        for patch_id, values in maps.items()
        if values.shape not in (shapes[patch_id], (CLASSES, *shapes[patch_id]))
    ]
    if faults:
        raise Fault(_some(faults))


def value_type(subject: Subject) -> None:
    """Codes are integers, probabilities floating-point numbers."""
    require_type(subject.first.maps)


def require_type(maps: Maps) -> None:
    """Raise Fault for values of another type than their shape promises."""
    for patch_id, values in maps.items():
        wanted = np.floating if values.ndim == 3 else np.integer
        if not np.issubdtype(values.dtype, wanted):
            what = "probabilities (8, H, W)" if values.ndim == 3 else "codes (H, W)"
            raise Fault(f"{patch_id}: {what} of type {values.dtype}")


def codes(subject: Subject) -> None:
    """Codes are of the scheme."""
    require_codes(_of(subject.first.maps, 2, "it gives probabilities, no codes"))


def require_codes(maps: Maps) -> None:
    """Raise Fault for codes that the scheme does not have."""
    for patch_id, values in maps.items():
        if values.ndim == 2 and (values.min() < NO_LABEL or values.max() > max(CODES)):
            raise Fault(f"{patch_id}: codes {values.min()} to {values.max()}; there are 1 to 10, and 0 for no label")


def probabilities(subject: Subject) -> None:
    """Probabilities are finite, none is below 0, and those of a pixel sum to 1."""
    require_probabilities(_of(subject.first.maps, 3, "it gives codes, no probabilities"))


def require_probabilities(maps: Maps) -> None:
    """Raise Fault for probabilities that are none."""
    for patch_id, values in maps.items():
        if values.ndim != 3:
            continue
        if not np.isfinite(values).all():
            raise Fault(f"{patch_id}: {int((~np.isfinite(values)).sum())} values are not finite")
        if values.min() < 0:
            raise Fault(f"{patch_id}: the least probability is {values.min():.3g}")
        total = values.sum(axis=0, dtype=np.float64)
        furthest = float(total.ravel()[np.abs(total - 1).argmax()])
        if abs(furthest - 1) > SUM_TOLERANCE:
            raise Fault(f"{patch_id}: the probabilities of a pixel sum to {furthest:.4g}")


def above_chance(subject: Subject) -> str:
    """On a contest that is easy, the maps are better than guessing."""
    total = np.zeros((max(CODES) + 1,) * 2, np.int64)
    maps = labels(subject.first.maps)
    for patch in subject.contest().reference:
        total += confusion_matrix(patch.high, maps[patch.id])
    found = total[list(SCORED_CODES)]
    accuracy = float(np.mean(found[range(CLASSES), list(SCORED_CODES)] / found.sum(axis=1)))
    told = f"average accuracy {100 * accuracy:.1f} %"
    if accuracy <= ABOVE_CHANCE:
        raise Fault(f"{told}, where guessing gets {100 / CLASSES:.1f} % and {100 * ABOVE_CHANCE:.1f} % are asked for")
    return told


def labels(maps: Maps) -> dict[str, NDArray[np.uint8]]:
    """Codes (H, W) of each map."""
    return {patch_id: Prediction(patch_id, values).labels() for patch_id, values in maps.items()}


def require_maps(subject: Subject, maps: Maps, shapes: dict[str, tuple[int, int]]) -> None:
    """Raise Fault unless these are maps of all these patches, of their sizes, and of values that mean something."""
    lacking = [patch_id for patch_id in shapes if patch_id not in maps]
    if lacking:
        raise Fault(f"{lacking[0]} gets no map, and no error says why")
    require_size(subject, maps, shapes)
    require_type(maps)
    require_codes(maps)
    require_probabilities(maps)


def _of(maps: Maps, dimensions: int, reason: str) -> Maps:
    chosen = {patch_id: values for patch_id, values in maps.items() if values.ndim == dimensions}
    if not chosen:
        raise Skip(reason)
    return chosen


def _some(faults: Iterable[Any]) -> str:
    told = list(map(str, faults))
    return "; ".join(told[:2]) + (f"; and {len(told) - 2} more" if len(told) > 2 else "")
