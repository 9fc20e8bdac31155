"""The contest as a sealed method sees it: patches, labels and maps that come over the channel, and no path to any file.

Packed copies come as open files, read-only, and are mapped into memory; what is not packed is asked for patch by patch.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.contest import ContestView
from dfcbench.errors import ContractError, HiddenError, SubmissionError
from dfcbench.method import Answer, Needs, PartMaps, Prediction
from dfcbench.packed import Pack, PackFile
from dfcbench.patches import LabelledPatchSet, PatchSet
from dfcbench.rasters import Georeference, RasterInfo
from dfcbench.records import PatchFiles, PatchRecord
from dfcbench.sealing import failures
from dfcbench.sealing.wire import Channel, Message

Ask = Callable[..., Message]


def asking(channel: Channel) -> Ask:
    """Ask the harness; its refusal is raised here as what it raised there."""

    def ask(kind: str, *arrays: NDArray[Any], **entries: Any) -> Message:
        answer = channel.ask(kind, *arrays, **entries)
        if answer.kind == "refused":
            raise failures.rebuilt(answer.text("error"), answer.text("message"))
        return answer

    return ask


class ShownContest(ContestView):
    """A view whose patch sets are fetched when they are first asked for; refusals are those of any view."""

    def __init__(self, ask: Ask, about: Mapping[str, Any], prior: NDArray[np.float64] | None) -> None:
        needs = Needs(**{**about["needs"], "inputs": frozenset(about["needs"]["inputs"])})
        server = ShownServer(ask) if needs.feedback else None
        super().__init__(about["track"], about["split"], needs, {}, prior, lambda patches, split: patches, server)
        self._names = frozenset(about["sets"])
        self._ask = ask

    def _patches(self, name: str, refusal: str) -> PatchSet:
        if name not in self._names:
            raise HiddenError(refusal)
        if name not in self._ready:
            self._ready[name] = _fetched(self._ask, name)
        return self._ready[name]


class ShownServer:
    """The contest's server, asked through the harness, which counts the answers."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    @property
    def remaining(self) -> int:
        """How many answers are left."""
        return self._ask("feedback remaining").whole("remaining")

    def __call__(self, predictions: Iterable[Prediction]) -> Answer:
        """Send map after map, as they are made, and return the answer."""
        self._ask("feedback begin")
        try:
            for prediction in predictions:
                self._ask("feedback map", sendable(prediction), id=str(prediction.patch_id))
        except BaseException:
            self._ask("feedback abort")
            raise
        answer = self._ask("feedback end").header
        return Answer(answer["average_accuracy"], tuple(answer["producers_accuracy"]))


class ShownMaps(PartMaps):
    """A part's maps, asked for one by one; what it learned may be read where it lies."""

    def __init__(self, ask: Ask, name: str, ids: Iterable[str], learned: str | None) -> None:
        self._ask = ask
        self._name = name
        self._ids = tuple(ids)
        self._learned = learned

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the patches that are mapped."""
        return self._ids

    def labels(self, patch_id: str) -> NDArray[np.uint8]:
        """Codes (H, W)."""
        return self._ask("part", part=self._name, id=patch_id, what="labels").array()

    def probabilities(self, patch_id: str) -> NDArray[np.float32]:
        """Probabilities (8, H, W) over ``SCORED_CODES``."""
        return self._ask("part", part=self._name, id=patch_id, what="probabilities").array()

    @property
    def learned(self) -> Path:
        """Folder of what the part's method learned. Raises SubmissionError if it is not there."""
        if self._learned is None:
            raise SubmissionError(
                f"{self._name}: what that part learned is not here. Run it again with --if-exists rerun."
            )
        return Path(self._learned)


@dataclass(frozen=True, slots=True)
class ShownRecord(PatchRecord):
    """A patch without a place: its files have names, and the harness knows where they lie."""

    row: int = -1
    ask: Callable[[int], RasterInfo] | None = field(default=None, hash=False, compare=False, repr=False)

    def header(self) -> RasterInfo:
        """Header of the file that speaks for the patch, as the harness reads it."""
        assert self.ask is not None
        return self.ask(self.row)


class _Mapped(PackFile):
    """A packed copy that came as an open file."""

    def __init__(self, name: str, descriptor: int, size: int) -> None:
        super().__init__(Path(name), size)
        try:
            self._map = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) if size else None
        finally:
            os.close(descriptor)

    def __reduce__(self) -> Any:
        raise HiddenError("patches of a sealed run cannot be sent to other processes; use run.map, which has threads.")


class _Asked(PackFile):
    """Pixels that are read from the contest's files by the harness; an offset is the patch's row there."""

    def __init__(self, ask: Ask, name: str, modality: str) -> None:
        super().__init__(Path(name), 0)
        self._ask = ask
        self._set = name
        self._modality = modality

    def read(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The pixels of the patch in this row, whatever shape they have."""
        return self._ask("read", set=self._set, row=offset, modality=self._modality).array()

    __reduce__ = _Mapped.__reduce__


def sendable(prediction: Prediction) -> NDArray[Any]:
    """The values of a prediction as an array that the channel takes. Raises ContractError for any that no map has."""
    values = np.asarray(prediction.values)
    if values.dtype.kind not in "biufc":
        prediction.labels()
        raise ContractError(f"prediction for {prediction.patch_id}: values are {values.dtype}, no numbers.")
    return values


def _fetched(ask: Ask, name: str) -> PatchSet:
    """The patch set of that name as the harness describes it."""
    answer = ask("open", set=name)
    about, arrays = answer.header, iter(answer.arrays)
    kind = LabelledPatchSet if about["labelled"] else PatchSet
    header = _headers(ask, name)
    kinds: list[list[str]] = about["kinds"]
    which = next(arrays)
    records = [
        ShownRecord(patch_id, scene, region, _files(patch_id, kinds[int(k)]), row, header)
        for row, (patch_id, scene, region, k) in enumerate(
            zip(about["ids"], about["scenes"], about["regions"], which, strict=True)
        )
    ]
    patches = kind(records)
    packs = {}
    for modality, descriptor in zip(about["packed"], answer.files, strict=True):
        offsets, shapes = next(arrays), next(arrays)
        packs[modality] = Pack(_Mapped(name, descriptor, about["sizes"][modality]), modality, offsets, shapes)
    shapes = next(arrays)
    for modality in about["asked"]:
        packs[modality] = Pack(_Asked(ask, name, modality), modality, np.arange(len(records)), shapes)
    return patches.backed_by(packs, frozenset(about["withheld"]), shapes)


def _headers(ask: Ask, name: str) -> Callable[[int], RasterInfo]:
    def header(row: int) -> RasterInfo:
        found = dict(ask("header", set=name, row=row).header)
        place = Georeference(found["crs"], tuple(found["transform"]))
        return RasterInfo(
            found["bands"],
            found["height"],
            found["width"],
            found["dtype"],
            found["nodata"],
            place,
            tuple(found["descriptions"]),
        )

    return header


def _files(patch_id: str, tokens: list[str]) -> PatchFiles:
    number, season, tail = patch_id.split("_", 2)
    return PatchFiles(f"{number}_{season}", tail, tuple((token, "", ".tif") for token in tokens))
