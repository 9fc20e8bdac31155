"""Maps that were handed in, as a zip or a folder: read without trust, and all their faults found at once.

The contest's format: one single-band uint8 tif per patch of the split, of the patch's size, codes 1..10, named as the
patch's label file, in a flat zip. Folders inside, and files that are no tifs, do no harm: they are remarked upon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from dfcbench import rasters, zips
from dfcbench.archive import place_of
from dfcbench.errors import DataError
from dfcbench.records import LABEL_TOKEN, label_name
from dfcbench.scheme import CODES
from dfcbench.submission import META, PREDICTIONS
from dfcbench.threads import in_order
from dfcbench.zips import Entry, Source

KINDS = (
    "missing",
    "surplus",
    "duplicate",
    "path",
    "link",
    "encrypted",
    "compression",
    "too large",
    "unreadable",
    "bands",
    "size",
    "dtype",
    "codes",
)
"""Kinds of faults, in the order of a report."""

REMARKS = ("folder", "junk", "hidden", "ignored")
"""Kinds of remarks: folders inside, what operating systems leave behind, other hidden files, and others that are no tifs.
"""

MAP_DTYPE = "uint8"

_JUNK_FOLDERS = frozenset({"__MACOSX"})
_JUNK_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})
_JUNK_PREFIX = "._"
"""macOS's companion of a file, on disks of others."""
_TIF = (".tif", ".tiff")
_TIF_BEGINS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a tif and of a BigTIFF, in either order of bytes (TIFF 6.0, section 2)."""
_MOST_CODES = 8
"""Codes that one fault names."""


class Shaped(Protocol):
    """What a map is held against: it has the size that the map must have."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""
        ...


Expected = TypeVar("Expected", bound=Shaped)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Finding:
    """A fault or a remark. kind: one of KINDS or REMARKS. where: file name or patch, fit for a terminal."""

    kind: str
    where: str
    message: str


@dataclass
class Inspection(Generic[Result]):
    """What was found: ``faults`` forbid scoring, ``remarks`` do not; ``results`` by patch where a use was made."""

    path: Path
    maps: int = 0
    faults: list[Finding] = field(default_factory=list)
    remarks: list[Finding] = field(default_factory=list)
    results: list[tuple[str, Result]] = field(default_factory=list)


def inspect(
    path: Path,
    ids: Sequence[str],
    expect: Callable[[str], Expected],
    use: Callable[[str, NDArray[np.uint8], Expected], Result] | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection[Result]:
    """Read the maps of these patches and report everything that is wrong, in the order of KINDS and patches.

    ``expect`` tells, by patch id, what a map is held against; its ``shape`` is the map's. ``use`` is given each sound map,
    codes (H, W), as long as nothing is wrong; what it returns is collected in the order of ``ids``. Both are called in
    ``workers`` threads. Maps are not kept, so memory does not grow with their number. The folder of a run stands for its
    maps. Raises SubmissionError if the zip or folder cannot be read at all, or is beyond all bounds.
    """
    path = Path(path)
    if (path / META).is_file():
        path = path / PREDICTIONS
    report: Inspection[Result] = Inspection(path)
    with zips.opened(path) as source:
        chosen = _assign(source, ids, report)
        report.maps = len(chosen)
        sound = not report.faults

        def check(patch_id: str) -> tuple[list[Finding], tuple[str, Result] | None]:
            expected = expect(patch_id)
            labels, faults = _read_map(source, chosen[patch_id], expected.shape)
            if labels is None or use is None or not sound or report.faults:
                return faults, None
            return faults, (patch_id, use(patch_id, labels, expected))

        present = [i for i in ids if i in chosen]
        for done, (faults, result) in enumerate(in_order(check, present, workers), start=1):
            report.faults += faults
            if result is not None:
                report.results.append(result)
            if progress is not None:
                progress(done, len(present))
    report.faults.sort(key=lambda fault: KINDS.index(fault.kind))  # stable: the order of patches stays
    if report.faults:
        report.results.clear()
    return report


def _assign(source: Source, ids: Sequence[str], report: Inspection[Any]) -> dict[str, Entry]:
    """Which entry is which patch's map; everything about names goes into the report."""
    wanted = {label_name(patch_id): patch_id for patch_id in ids}
    chosen: dict[str, Entry] = {}
    folders: Counter[str] = Counter()
    junk: list[str] = []
    hidden: list[str] = []
    official = {name.lower(): name for name in wanted}
    refused = {refusal.name for refusal in source.refusals}
    for refusal in source.refusals:
        report.faults.append(Finding(refusal.kind, refusal.shown, refusal.reason))
    for entry in source.entries:
        if _is_junk(entry):
            junk.append(entry.shown)
        elif entry.name.startswith("."):
            hidden.append(entry.shown)
        elif entry.name in wanted:
            patch_id = wanted[entry.name]
            if patch_id in chosen:
                same = chosen[patch_id].path == entry.path
                first = ", under the very same path" if same else f"; the first one is {chosen[patch_id].shown}"
                message = f"is there a second time{first}."
                report.faults.append(Finding("duplicate", entry.shown, message))
                continue
            chosen[patch_id] = entry
            folders[entry.path.rpartition("/")[0]] += 1
        elif entry.name.lower().endswith(_TIF):
            report.faults.append(Finding("surplus", entry.shown, _why_surplus(entry.name, official)))
        else:
            report.remarks.append(Finding("ignored", entry.shown, "is no tif; it is passed over."))
    missing = (i for i in ids if i not in chosen and label_name(i) not in refused)
    report.faults += (Finding("missing", label_name(i), "no file of that name.") for i in missing)
    for folder, count in folders.items():
        if folder:
            message = f"{count} map(s) lie in this folder; accepted, though the contest's zip is flat."
            report.remarks.append(Finding("folder", zips.printable(f"{folder}/"), message))
    if junk:
        message = f"{len(junk)} file(s) that an operating system left behind; passed over."
        report.remarks.append(Finding("junk", junk[0], message))
    if hidden:
        report.remarks.append(Finding("hidden", hidden[0], f"{len(hidden)} hidden file(s); passed over."))
    return chosen


def _is_junk(entry: Entry) -> bool:
    *folders, name = entry.path.split("/")
    return not _JUNK_FOLDERS.isdisjoint(folders) or name.startswith(_JUNK_PREFIX) or name.lower() in _JUNK_FILES


def _why_surplus(name: str, official: dict[str, str]) -> str:
    """``official`` has the names of this split's maps by what they are in lower case."""
    stem = name.lower().rpartition(".")[0]
    if near := official.get(f"{stem}.tif"):
        return f"is not the official name; call it {near}."
    place = place_of(name)
    if place is None:
        return f"is not the name of a map, such as {next(iter(official.values()))}."
    if place.token != LABEL_TOKEN:
        return f"is the name of a patch's {place.token} file; a map is called {LABEL_TOKEN} there."
    return f"is no patch of this split; the name is one of the {place.split} split."


def _read_map(source: Source, entry: Entry, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8] | None, list[Finding]]:
    """Codes (H, W) if nothing is wrong with the file, and else all that is."""
    fault = partial(Finding, where=entry.shown)
    try:
        content = source.read(entry)
    except (OSError, ValueError) as error:
        return None, [fault(kind="unreadable", message=str(error))]
    try:
        with rasters.decoding(content, entry.shown) as (header, pixels):
            faults = list(_header_faults(header, shape, fault))
            if header.bands != 1 or header.shape != shape:  # such a raster may be of any size: leave it alone
                return None, faults
            labels = pixels()[0]
    except (DataError, OSError, ValueError) as error:
        message = str(error).removeprefix(f"{entry.shown}: ")
        if content and not content.startswith(_TIF_BEGINS):
            message = "is no tif, whatever its name; its first bytes are those of something else."
        elif content:
            message = f"is damaged or cut short: {message}"
        return None, [fault(kind="unreadable", message=message)]
    faults += _code_faults(labels, fault)
    return (None if faults else labels), faults


def _header_faults(
    header: rasters.RasterInfo, shape: tuple[int, ...], fault: Callable[..., Finding]
) -> Iterator[Finding]:
    if header.bands != 1:
        yield fault(kind="bands", message=f"has {header.bands} bands; a map has one.")
    if header.shape != shape:
        found = f"is {header.height} x {header.width} pixels"
        yield fault(kind="size", message=f"{found}; the patch is {shape[0]} x {shape[1]} (height x width).")
    if header.dtype != MAP_DTYPE:
        yield fault(kind="dtype", message=f"is {header.dtype}; a map is {MAP_DTYPE}.")


def _code_faults(labels: NDArray[Any], fault: Callable[..., Finding]) -> Iterator[Finding]:
    if labels.dtype == np.uint8 and min(CODES) <= labels.min() and labels.max() <= max(CODES):  # as a rule, and quick
        return
    strange = ~np.isin(labels, CODES)
    if strange.any():
        found, counts = np.unique(labels[strange], return_counts=True)
        pairs = list(zip(found, counts, strict=True))
        shown = ", ".join(f"{code:g} ({count:,} x)" for code, count in pairs[:_MOST_CODES])
        shown += ", …" if len(pairs) > _MOST_CODES else ""
        row, column = (int(place[0]) for place in np.nonzero(strange))
        message = (
            f"{int(strange.sum()):,} pixel(s) hold codes outside {min(CODES)}..{max(CODES)}: {shown}; the first is at row "
            f"{row}, column {column} (from 0)."
        )
        yield fault(kind="codes", message=message)
