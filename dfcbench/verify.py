"""Checks every file of an archive and reports all faults at once.

An error makes a patch unusable or a score wrong. A warning is odd, but every method can go on with it: NaN and values
out of range are clipped by the usual input scaling, unknown land-cover codes are read as "no label".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dfcbench import rasters
from dfcbench.archive import Archive, place_of
from dfcbench.errors import DataError
from dfcbench.records import LABEL_TOKEN, PatchRecord
from dfcbench.scheme import CODES, NO_LABEL
from dfcbench.threads import in_order

PATCH_SHAPE = (256, 256)
"""Height and width of every patch of SEN12MS and DFC2020."""

S1_LIMITS_DB = (-60.0, 40.0)
"""Real patches lie between -49 and +26 dB; some 10 dB more on either side still are a radar's values."""

S2_LIMITS = (0, 32767)
"""Reflectance x 10000. Maxima up to 21393 occur; what int16, one of the known dtypes, cannot hold is no reflectance."""

IGBP_CODES = (*range(18), 18, 254, 255)
"""IGBP classes 1..17, and what MODIS products write for unclassified and fill."""

DTYPES: dict[str, tuple[str, ...]] = {
    "s1": ("float32", "float64"),
    "s2": ("uint16", "int16"),
    "lc": ("uint16", "int16", "uint8"),
    "dfc": ("uint8", "uint16", "int16", "int32"),
}
"""By token: the dtypes in which the data sets were seen, or may have been written by their known tools."""

BANDS: dict[str, tuple[int, ...]] = {"s1": (2,), "s2": (13,), "lc": (1, 2, 3, 4), "dfc": (1,)}
"""By token: numbers of bands. Only the first band of ``lc`` is used, and some copies keep no other."""

DAMAGED_COPY = 0.05
"""A reference whose class counts miss the published ones by less than this share of pixels is a damaged DFC2020."""

REQUIRED = ("s1", "s2", "lc")

Kind = Literal["missing", "unreadable", "shape", "bands", "dtype", "nan", "range", "codes", "duplicate", "self-check"]


@dataclass(frozen=True)
class Fault:
    """One finding. ``patch_id`` and ``path`` are None where it concerns a whole split."""

    kind: Kind
    severity: Literal["error", "warning"]
    split: str
    patch_id: str | None
    path: Path | None
    message: str

    def __str__(self) -> str:
        where = self.path or self.patch_id or f"split {self.split}"
        return f"{self.severity}: {self.kind}: {where}: {self.message}"


def verify(
    archive: Archive,
    splits: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> list[Fault]:
    """Read every file of these splits (default: all) and return all faults, in the order of splits and patches.

    ``progress`` counts patches. Never raises for a broken file; raises DataError if a split is not there.
    """
    chosen = tuple(archive.splits) if splits is None else tuple(splits)
    total = sum(len(archive.patches(split)) for split in chosen)
    done = 0
    faults: list[Fault] = []
    for split in chosen:
        records = archive.splits[split]
        faults += _duplicates(archive, split)
        absent = _absent_everywhere(split, records)
        faults += absent.values()
        faults += _gaps(split, records)
        expected = [t for t in _expected(records) if t not in absent]
        shapes: list[tuple[int, int] | None] = []
        for found, shape in in_order(partial(_check_patch, split, expected), records, workers):
            faults += found
            shapes.append(shape)
            done += 1
            if progress is not None:
                progress(done, total)
        faults += _unusual_shapes(split, records, shapes)
        if split == "validation":
            faults += _self_check(archive)
    return faults


def _expected(records: Sequence[PatchRecord]) -> tuple[str, ...]:
    """Tokens that every patch must have: the reference only where at least one has it, as test labels may be kept."""
    return (*REQUIRED, LABEL_TOKEN) if any(LABEL_TOKEN in r.files for r in records) else REQUIRED


def _absent_everywhere(split: str, records: Sequence[PatchRecord]) -> dict[str, Fault]:
    faults = {}
    for token in REQUIRED:
        if not any(token in record.files for record in records):
            message = f"none of {len(records)} patches has a {token} file; import its archive."
            faults[token] = Fault("missing", "error", split, None, None, message)
    return faults


def _gaps(split: str, records: Sequence[PatchRecord]) -> Iterator[Fault]:
    """Numbers missing between a contest split's first patch, 0, and its last: whole patches that got lost."""
    if split not in ("validation", "test"):
        return
    numbers = {int(record.id.rpartition("_p")[2]) for record in records}
    lost = sorted(set(range(max(numbers))) - numbers)
    if lost:
        some = ", ".join(f"p{n}" for n in lost[:5]) + (", ..." if len(lost) > 5 else "")
        message = f"no file of {len(lost)} patch number(s) below the last, p{max(numbers)}: {some}; import them again."
        yield Fault("missing", "warning", split, None, None, message)


def _duplicates(archive: Archive, split: str) -> Iterator[Fault]:
    for duplicate in archive.duplicates:
        place = place_of(duplicate.ignored.name)
        if place is not None and place.split == split:
            message = f"the same patch is at {duplicate.kept}, which is the one that is read; remove one of them."
            yield Fault("duplicate", "error", split, duplicate.patch_id, duplicate.ignored, message)


def _check_patch(
    split: str, expected: Sequence[str], record: PatchRecord
) -> tuple[list[Fault], tuple[int, int] | None]:
    """Faults of one patch, and its height and width if its files agree on them."""
    faults = []
    shapes: dict[str, tuple[int, int]] = {}

    def fault(kind: Kind, token: str, message: str, severity: Literal["error", "warning"] = "error") -> None:
        faults.append(Fault(kind, severity, split, record.id, record.files.get(token), message))

    for token in expected:
        if token not in record.files:
            fault("missing", token, f"has no {token} file, other patches of the split have one.")
    for token, path in record.files.items():
        try:
            pixels = rasters.read(path)
        except DataError as error:
            fault("unreadable", token, str(error).removeprefix(f"{path}: "))
            continue
        shapes[token] = (pixels.shape[1], pixels.shape[2])
        if pixels.shape[0] not in BANDS[token]:
            fault("bands", token, f"has {pixels.shape[0]} band(s), expected {_one_of(BANDS[token])}.")
            continue
        for kind, severity, message in _check_pixels(token, pixels):
            fault(kind, token, message, severity)
    if len(set(shapes.values())) > 1:
        usual = Counter(shapes.values()).most_common(1)[0][0]
        for token, shape in shapes.items():
            if shape != usual:
                fault("shape", token, f"is {_size(shape)} pixels, other files of the patch are {_size(usual)}.")
        return faults, None
    return faults, next(iter(shapes.values()), None)


def _check_pixels(token: str, pixels: NDArray[Any]) -> Iterator[tuple[Kind, Literal["error", "warning"], str]]:
    if token not in ("s1", "s2"):
        pixels = pixels[0]
    dtype = pixels.dtype.name
    if dtype not in DTYPES[token]:
        readable = token != "s2" or not np.issubdtype(pixels.dtype, np.floating) or _whole(pixels)
        severity: Literal["error", "warning"] = "warning" if readable else "error"
        yield "dtype", severity, f"is {dtype}, expected {_one_of(DTYPES[token])}."
    if np.issubdtype(pixels.dtype, np.floating):
        lacking = 1.0 - np.isfinite(pixels).mean()
        if lacking > 0:
            yield "nan", "warning", f"{lacking:.3%} of its values are NaN or infinite."
            pixels = pixels[np.isfinite(pixels)]
    if token in ("s1", "s2"):
        low, high = S1_LIMITS_DB if token == "s1" else S2_LIMITS
        if pixels.size and (pixels.min() < low or pixels.max() > high):
            outside = (pixels < low) | (pixels > high)
            unit = " dB" if token == "s1" else ""
            yield (
                "range",
                "warning",
                f"{outside.mean():.3%} of its values lie outside {low:g}..{high:g}{unit} "
                f"(from {pixels.min():g} to {pixels.max():g}).",
            )
    else:
        known = (NO_LABEL, *CODES) if token == LABEL_TOKEN else IGBP_CODES
        found, counts = np.unique(pixels, return_counts=True)
        unknown = ~np.isin(found, known)
        if unknown.any():
            shown = ", ".join(f"{v:g}" for v in found[unknown][:8]) + (", ..." if unknown.sum() > 8 else "")
            scheme = "the scheme's 0..10" if token == LABEL_TOKEN else "IGBP's 0..18, 254, 255"
            message = f"codes {shown} are outside {scheme} ({counts[unknown].sum()} pixels); they are read as no label."
            yield "codes", "error" if token == LABEL_TOKEN else "warning", message


def _unusual_shapes(
    split: str, records: Sequence[PatchRecord], shapes: Sequence[tuple[int, int] | None]
) -> Iterator[Fault]:
    """A split of another size than the contest's is odd; a patch of another size than its split's is a fault."""
    counts = Counter(shape for shape in shapes if shape is not None)
    if not counts:
        return
    usual = PATCH_SHAPE if PATCH_SHAPE in counts else counts.most_common(1)[0][0]
    if usual != PATCH_SHAPE:
        message = f"its patches are {_size(usual)} pixels; those of the contest are {_size(PATCH_SHAPE)}."
        yield Fault("shape", "warning", split, None, None, message)
    for record, shape in zip(records, shapes, strict=True):
        if shape is not None and shape != usual:
            path = next(iter(record.files.values()))
            message = f"is {_size(shape)} pixels, like all files of the patch; expected {_size(usual)}."
            yield Fault("shape", "error", split, record.id, path, message)


def _self_check(archive: Archive) -> Iterator[Fault]:
    try:
        check = archive.self_check
    except DataError:  # a reference that cannot be read was reported with its file
        return
    if check is None or archive.identity.demo:
        return
    missed = sum(abs(found - published) for found, published in check.values())
    if not missed:
        return
    near = missed <= DAMAGED_COPY * sum(published for _, published in check.values())
    verdict = "a damaged copy of DFC2020" if near else "not DFC2020, although the number of patches is"
    wrong = "; ".join(f"{name} {f:,} ({p:,} published)" for name, (f, p) in check.items() if f != p)
    message = f"pixels per class of the reference show {verdict}: {wrong}."
    yield Fault("self-check", "error" if near else "warning", "validation", None, None, message)


def _whole(pixels: NDArray[Any]) -> bool:
    finite = pixels[np.isfinite(pixels)]
    return bool((finite == np.rint(finite)).all())


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"


def _one_of(values: Sequence[object]) -> str:
    *others, last = (str(value) for value in values)
    return f"{', '.join(others)} or {last}" if others else last
