"""Patch and PatchSet: lazy pixels of the contest's patches, with the high-resolution labels only where they are shown.

A Patch reads when asked and keeps nothing, so a set of any length costs the memory of its paths. A set without the
reference holds no path to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast, overload

import numpy as np
from numpy.typing import NDArray

from dfcbench import packed, records
from dfcbench.errors import DataError, HiddenError, UsageError
from dfcbench.rasters import Georeference, RasterInfo
from dfcbench.records import HEADER_ORDER, MODALITIES, PatchRecord
from dfcbench.sampling import PixelSample, distinct, equal_shares, spread
from dfcbench.scheme import CODES, NO_LABEL
from dfcbench.threads import Door

__all__ = ["HOLDOUT_SCENES", "LabelledPatch", "LabelledPatchSet", "Patch", "PatchRecord", "PatchSet", "PixelSample"]

log = logging.getLogger("dfcbench")

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

HOLDOUT_SCENES: frozenset[str] = frozenset(
    f"{season}_{scene}"
    for season, scenes in {
        "ROIs1158_spring": (63, 146, 97, 124, 15, 17),
        "ROIs1868_summer": (43, 131, 19, 104, 72, 15, 79),
        "ROIs1970_fall": (120, 39, 144, 35, 61, 47, 30, 141),
        "ROIs2017_winter": (64, 146, 32, 107, 135),
    }.items()
    for scene in scenes
)
"""The 26 scenes of SEN12MS's official hold-out (Schmitt & Wu, 2021): 18,106 of 180,662 patches.

As ``Patch.scene`` names them. Nothing is trained on them, so that a score there means something."""


class Patch:
    """One patch: images and low-resolution labels, read at every access. It has no attribute for the reference."""

    __slots__ = ("_packed", "_record", "_shape", "_withheld")

    def __init__(
        self,
        record: PatchRecord,
        packed: Mapping[str, packed.Slot] | None = None,
        withheld: frozenset[str] = frozenset(),
        shape: tuple[int, int] | None = None,
    ) -> None:
        self._record = record
        self._shape = shape
        self._packed = dict(packed or {})
        self._withheld = withheld

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id})"

    @property
    def id(self) -> str:
        """File stem without its modality, such as ``ROIs0000_test_0_p17``."""
        return self._record.id

    @property
    def scene(self) -> str:
        """The id without the patch's number; SEN12MS patches of one scene overlap."""
        return self._record.scene

    @property
    def region(self) -> str | None:
        """Name of the region, in the release by region; else None."""
        return self._record.region

    @property
    def modalities(self) -> frozenset[str]:
        """Which of ``s1``, ``s2``, ``low`` (and ``high``, where it is shown) can be read."""
        return frozenset(name for name in MODALITIES if MODALITIES[name].token in self._record.files)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels; from the header of the Sentinel-2 file if there is one."""
        if self._shape is not None:
            return self._shape
        for name in HEADER_ORDER:
            if name in self._packed:
                return self._packed[name].shape
        found = self._record.header()
        return found.height, found.width

    @property
    def georeference(self) -> Georeference:
        """Where the patch lies; the contest's own patches lie nowhere (``located`` is False)."""
        return self._record.header().georeference

    @property
    def s1(self) -> NDArray[np.float32]:
        """Sentinel-1 backscatter, float32 (2, H, W): VV and VH in dB. NaN where the file has NaN."""
        return self._read("s1")

    @property
    def s2(self) -> NDArray[np.uint16]:
        """Sentinel-2 top-of-atmosphere reflectance x 10000, uint16 (13, H, W)."""
        return self._read("s2")

    @property
    def low(self) -> NDArray[np.uint8]:
        """Low-resolution labels, uint8 (H, W): simplified codes 1..10, 0 for no label."""
        return self._read("low")

    def _read(self, modality: str) -> NDArray[Any]:
        if modality in self._withheld:
            raise HiddenError(
                f"patch.{modality}: the method's needs do not ask for it. Declare it, as in "
                "Needs(inputs={'s1', 's2'}, labels='low')."
            )
        slot = self._packed.get(modality)
        if slot is None:
            return records.read(self._record, modality)
        try:
            return slot.read()
        except packed.StalePackError as error:  # a convenience, of which the tif is the source
            log.warning("%s Reading the tif of %s instead.", error, self.id)
            return records.read(self._record, modality)


class LabelledPatch(Patch):
    """A patch together with its reference."""

    __slots__ = ()

    @property
    def high(self) -> NDArray[np.uint8]:
        """High-resolution labels, uint8 (H, W): simplified codes 1..10, 0 for no label."""
        return self._read("high")


class PatchSet(Sequence[Patch]):
    """Patches in order: a sequence that can be iterated again, sliced, batched, sampled, pickled and packed."""

    _patch_type: ClassVar[type[Patch]] = Patch
    _names: ClassVar[tuple[str, ...]] = ("s1", "s2", "low")

    def __init__(self, records: Iterable[PatchRecord]) -> None:
        self._records: tuple[PatchRecord, ...] = tuple(self._shown(record) for record in records)
        self._packs: dict[str, packed.Pack] = {}
        self._withheld: frozenset[str] = frozenset()

    @staticmethod
    def _shown(record: PatchRecord) -> PatchRecord:
        return record.without_labels()

    def _take(self, rows: NDArray[np.intp]) -> Self:
        taken = type(self).__new__(type(self))
        taken._records = tuple(self._records[i] for i in rows)
        taken._packs = {name: pack.take(rows) for name, pack in self._packs.items()}
        taken._withheld = self._withheld
        if "shapes" in vars(self):
            taken.shapes = self.shapes[rows]
        return taken

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} patches: {', '.join(sorted(self.modalities)) or 'nothing'}>"

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Patch: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Patch | Self:
        if isinstance(index, slice):
            return self._take(np.arange(len(self))[index])
        slots = {name: pack.slot(index) for name, pack in self._packs.items()}
        known = vars(self).get("shapes")
        shape = None if known is None else (int(known[index, 0]), int(known[index, 1]))
        return self._patch_type(self._records[index], slots, self._withheld, shape)

    def __iter__(self) -> Iterator[Patch]:
        return (self[i] for i in range(len(self)))

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the patches, in order."""
        return tuple(record.id for record in self._records)

    @property
    def modalities(self) -> frozenset[str]:
        """Modalities that every patch has; empty for an empty set."""
        kinds = {frozenset(record.files) for record in self._records}
        common = frozenset.intersection(*kinds) if kinds else frozenset()
        return frozenset(name for name in self._names if MODALITIES[name].token in common)

    @cached_property
    def shapes(self) -> NDArray[np.int64]:
        """Height and width of every patch, (n, 2). Reads the headers once, unless the set is packed."""
        for name in HEADER_ORDER:
            if name in self._packs:
                return self._packs[name].shapes
        return np.array([patch.shape for patch in self], np.int64).reshape(-1, 2)

    def header(self, index: int) -> RasterInfo:
        """Header of the file that speaks for the patch at this position. Raises DataError if it cannot be read."""
        return self._records[index].header()

    @property
    def scenes(self) -> tuple[str, ...]:
        """Scenes of the patches, in order."""
        return tuple(record.scene for record in self._records)

    @property
    def regions(self) -> tuple[str | None, ...]:
        """Regions of the patches, in order; None where the data tell none."""
        return tuple(record.region for record in self._records)

    @property
    def tokens(self) -> tuple[tuple[str, ...], ...]:
        """Tokens of the files that each patch has (``s1``, ``s2``, ``lc``, ``dfc``), in order of the patches."""
        return tuple(tuple(record.files) for record in self._records)

    @property
    def packs(self) -> Mapping[str, packed.Pack]:
        """The packed copies that these patches are read from, by modality."""
        return dict(self._packs)

    @property
    def withheld(self) -> frozenset[str]:
        """Modalities that are refused."""
        return self._withheld

    def backed_by(self, packs: Mapping[str, packed.Pack], withheld: frozenset[str], shapes: NDArray[np.int64]) -> Self:
        """The same patches read from these copies; ``shapes`` are heights and widths (n, 2)."""
        result = self._take(np.arange(len(self)))
        result._packs = dict(packs)
        result._withheld = withheld
        result.shapes = shapes
        return result

    def select(self, ids: Iterable[str]) -> Self:
        """The patches of these ids, in the order given. Raises UsageError if one is not here."""
        position = {record.id: i for i, record in enumerate(self._records)}
        wanted = list(ids)
        unknown = [i for i in wanted if i not in position]
        if unknown:
            raise UsageError(f"no patch {unknown[0]!r} among these {len(self)} ({len(unknown)} unknown ids in all).")
        return self._take(np.array([position[i] for i in wanted], np.intp))

    def restricted(self, modalities: Collection[str]) -> Self:
        """The same patches with these modalities only: no path to others is left, and reading them is a HiddenError."""
        result = self._take(np.arange(len(self)))
        result._withheld = self._withheld | (frozenset(MODALITIES) - frozenset(modalities))
        kept = {MODALITIES[name].token for name in modalities}
        result._records = tuple(record.restricted(kept) for record in self._records)
        result._packs = {name: pack for name, pack in self._packs.items() if name in modalities}
        if not all(record.files for record in result._records):  # no file is left to tell a patch's shape
            result.shapes = self.shapes
        return result

    def subset(self, n: int, generator: np.random.Generator) -> Self:
        """``n`` patches drawn at random without replacement, in their old order; all if there are no more."""
        return self._take(distinct(len(self), n, generator))

    def batches(self, n: int) -> Iterator[Self]:
        """The set in runs of ``n`` patches; the last one may be shorter."""
        if n < 1:
            raise UsageError(f"batches({n}): a batch holds at least one patch.")
        return (self[start : start + n] for start in range(0, len(self), n))

    def packed(
        self,
        folder: Path,
        modalities: Collection[str] | None = None,
        progress: Progress | None = None,
        door: Door | None = None,
    ) -> Self:
        """The same patches read from a copy in ``folder``, several times faster than from tifs.

        The copy is built where it is missing, incomplete or older than its sources; a fresh one is used as it is, also
        if it holds more patches than these. ``modalities`` (default: all that every patch has) are packed, the others
        are read from their tifs as before. ``progress`` counts arrays while building, which is done
        behind the ``door`` if there is one.
        Raises DataError if the disk has too little room or a source cannot be read.
        """
        wanted = self.modalities if modalities is None else frozenset(modalities)
        unknown = wanted - self.modalities
        if unknown:
            raise DataError(
                f"packed({sorted(wanted)}): not every patch has {', '.join(sorted(unknown))}; "
                f"all of them have {', '.join(sorted(self.modalities)) or 'nothing in common'}."
            )
        names = [name for name in self._names if name in wanted]
        result = self._take(np.arange(len(self)))
        result._packs |= packed.pack(Path(folder), self._records, names, lambda: self.shapes, progress, door)
        return result

    def sample_pixels(
        self,
        n: int,
        generator: np.random.Generator,
        inputs: Collection[str] = ("s1", "s2"),
        balance: Literal["low", "high"] | None = None,
        progress: Progress | None = None,
    ) -> PixelSample:
        """Draw ``n`` pixels without replacement, every pixel of the set being equally likely; all if there are fewer.

        With ``balance``, the same number of every class that these labels show, as far as the class has pixels (what a
        rare class lacks goes to the others); pixels without a label are never drawn. Labels are read first then, and
        images only of patches that were drawn from. The draw depends on the generator and the patches alone.
        Raises HiddenError for ``balance="high"`` where the reference is hidden.
        """
        images = [name for name in ("s1", "s2") if name in inputs]
        if n < 0 or len(images) != len(set(inputs)) or balance not in (None, "low", "high"):
            raise UsageError(
                f"sample_pixels({n}, inputs={tuple(inputs)}, balance={balance!r}): n is at least 0, inputs are any of "
                "'s1' and 's2', balance is None, 'low' or 'high'."
            )
        if balance is not None and balance not in self._names:
            raise HiddenError("sample_pixels(balance='high'): these patches do not show their high-resolution labels.")
        if balance is None:
            return self._gather(*self._draw(n, generator), images, self.shapes, progress)
        return self._gather(*self._draw_balanced(n, generator, balance), images, None, progress)

    def _draw(self, n: int, generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        sizes = self.shapes.prod(axis=1)
        return spread(distinct(int(sizes.sum()), n, generator), sizes)

    def _draw_balanced(
        self, n: int, generator: np.random.Generator, labels: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        counts = np.zeros((len(self), max(CODES) + 1), np.int64)
        for i, patch in enumerate(self):
            counts[i] = np.bincount(patch._read(labels).ravel(), minlength=counts.shape[1])
        counts[:, NO_LABEL] = 0
        drawn = []
        for code, share in enumerate(equal_shares(n, counts.sum(axis=0))):
            of_class = counts[:, code]
            patch_index, rank = spread(distinct(int(of_class.sum()), int(share), generator), of_class)
            drawn.append(np.stack([patch_index, np.full_like(rank, code), rank], axis=1))
        rows = np.concatenate(drawn)
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        pixel = np.empty(len(rows), np.int64)
        for i, part in _groups(rows[:, 0]):
            codes = self[i]._read(labels).ravel()
            for code in np.unique(rows[part, 1]):
                of_code = part.start + np.flatnonzero(rows[part, 1] == code)
                pixel[of_code] = np.flatnonzero(codes == code)[rows[of_code, 2]]
            pixel[part].sort()
        return rows[:, 0], pixel

    def _gather(
        self,
        patch_index: NDArray[np.int64],
        pixel: NDArray[np.int64],
        images: Sequence[str],
        shapes: NDArray[np.int64] | None,
        progress: Progress | None,
    ) -> PixelSample:
        """Read what was drawn: ``pixel`` counts along the rows of a patch of ``shapes``, or of what its labels have."""
        n = len(pixel)
        labels = {name: np.zeros(n, np.uint8) for name in self._names if name in ("low", "high")}
        x = np.empty((n, sum(MODALITIES[name].bands for name in images)), np.float32)
        row, column = np.empty((2, n), np.int32)
        drawn_from = len(np.unique(patch_index))
        for done, (i, part) in enumerate(_groups(patch_index), start=1):
            patch = self[i]
            chosen = pixel[part]
            shape = None if shapes is None else tuple(shapes[i])
            start = 0
            for name in (*images, *(name for name in labels if name in patch.modalities)):
                pixels = patch._read(name)
                shape = shape or pixels.shape[-2:]
                if pixels.shape[-2:] != shape:
                    height, width = pixels.shape[-2:]
                    raise DataError(
                        f"{self._records[i].path(name)}: is {height}x{width} pixels, other files of the patch are "
                        f"{shape[0]}x{shape[1]}. Run `dfcbench data verify` for the whole list."
                    )
                if name in labels:
                    labels[name][part] = pixels.ravel()[chosen]
                else:
                    bands = len(pixels)
                    x[part, start : start + bands] = pixels.reshape(bands, -1)[:, chosen].T
                    start += bands
            width = (shape or patch.shape)[1]
            row[part], column[part] = np.divmod(chosen, width)
            if progress is not None:
                progress(done, drawn_from)
        return PixelSample(x, labels["low"], labels.get("high"), patch_index.astype(np.int32), row, column)


class LabelledPatchSet(PatchSet):
    """Patches together with their reference."""

    _patch_type = LabelledPatch
    _names = ("s1", "s2", "low", "high")

    @staticmethod
    def _shown(record: PatchRecord) -> PatchRecord:
        record.path("high")
        return record

    @overload
    def __getitem__(self, index: int) -> LabelledPatch: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> LabelledPatch | Self:
        return cast("LabelledPatch | Self", super().__getitem__(index))

    def __iter__(self) -> Iterator[LabelledPatch]:
        return (self[i] for i in range(len(self)))

    def unlabelled(self) -> PatchSet:
        """The same patches without the reference."""
        hidden = PatchSet(self._records)
        hidden._packs = {name: pack for name, pack in self._packs.items() if name in hidden._names}
        hidden._withheld = self._withheld
        return hidden


def _groups(sorted_values: NDArray[np.int64]) -> Iterator[tuple[int, slice]]:
    """Runs of equal values: (value, where it stands)."""
    values, starts = np.unique(sorted_values, return_index=True)
    ends = [*starts[1:], len(sorted_values)]
    for value, start, end in zip(values, starts, ends, strict=True):
        yield int(value), slice(int(start), int(end))
