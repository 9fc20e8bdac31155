"""Watching a method at work in this process: what it reads and asks for, prints, writes, and leaves behind.

Watched sets and views are the contest's own with an eye on them: they show and hide the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.contest import ContestView
from dfcbench.errors import HiddenError
from dfcbench.method import Needs, Server
from dfcbench.patches import LabelledPatch, LabelledPatchSet, Patch, PatchSet
from dfcbench.testing.surroundings import Heard, output, writes


@dataclass
class Watch(Heard):
    """What was seen of a method at work."""

    read: set[str] = field(default_factory=set)
    """Modalities and parts of the contest that it got."""
    refused: list[str] = field(default_factory=list)
    """What it asked for and was not shown, with the refusal."""
    changed: set[str] = field(default_factory=set)
    """Arrays handed over that it wrote into, by patch and modality."""
    _arrays: dict[tuple[str, str], tuple[NDArray[Any], int]] = field(default_factory=dict)

    def refuse(self, what: str) -> None:
        """Note that ``what`` was asked for in vain."""
        if what not in self.refused:
            self.refused.append(what)

    def hand_over(self, patch_id: str, modality: str, pixels: NDArray[Any]) -> None:
        """Keep an eye on the first array of each kind."""
        self.read.add(modality)
        if (patch_id, modality) not in self._arrays:
            self._arrays[patch_id, modality] = (pixels, _checksum(pixels))

    def compare_arrays(self) -> None:
        """Find out which arrays were written into."""
        for (patch_id, modality), (pixels, before) in self._arrays.items():
            if _checksum(pixels) != before:
                self.changed.add(f"{modality} of {patch_id}")
        self._arrays.clear()


_watch: Watch | None = None
"""Who watches at the moment. Of the module, and not of the sets, so that these can be pickled as any others."""


@contextmanager
def watching() -> Iterator[Watch]:
    """Watch whatever happens inside."""
    global _watch
    watch = Watch()
    _watch, former = watch, _watch
    try:
        with output(watch), writes(watch):
            yield watch
    finally:
        _watch = former
        watch.compare_arrays()


class _Watched:
    """What watched patches have in common."""

    __slots__ = ()

    def _read(self, modality: str) -> NDArray[Any]:
        try:
            pixels: NDArray[Any] = super()._read(modality)  # type: ignore[misc]
        except HiddenError:
            if _watch is not None:
                _watch.refuse(f"patch.{modality}")
            raise
        if _watch is not None:
            _watch.hand_over(self.id, modality, pixels)  # type: ignore[attr-defined]
        return pixels


class WatchedPatch(_Watched, Patch):
    """A patch that tells what was read of it."""

    __slots__ = ()

    @property
    def high(self) -> NDArray[np.uint8]:
        """Not there, as in any patch of an unlabelled set; but being asked for it is noted."""
        if _watch is not None:
            _watch.refuse("patch.high")
        raise AttributeError("'Patch' object has no attribute 'high'")


class WatchedLabelledPatch(_Watched, LabelledPatch):
    """The same of a labelled one."""

    __slots__ = ()


class WatchedSet(PatchSet):
    """A set of watched patches."""

    _patch_type = WatchedPatch


class WatchedLabelledSet(LabelledPatchSet):
    """The same of labelled ones."""

    _patch_type = WatchedLabelledPatch


def watched(patches: PatchSet, split: str = "") -> PatchSet:
    """The same patches, watched; fit for ``FusionContest.view`` as its ``prepare``."""
    kind = WatchedLabelledSet if isinstance(patches, LabelledPatchSet) else WatchedSet
    same = kind.__new__(kind)
    vars(same).update(vars(patches))
    return same


class WatchedView:
    """A contest's view that tells what it was asked for."""

    def __init__(self, view: ContestView) -> None:
        self._view = view
        self.track, self.split = view.track, view.split

    def _asked(self, name: str) -> Any:
        try:
            answer = getattr(self._view, name)
        except HiddenError:
            if _watch is not None:
                _watch.refuse(f"contest.{name}")
            raise
        if _watch is not None:
            _watch.read.add(name)
        return answer

    @property
    def training(self) -> PatchSet:
        """As the view says."""
        patches: PatchSet = self._asked("training")
        return patches

    @property
    def validation(self) -> PatchSet:
        """As the view says."""
        patches: PatchSet = self._asked("validation")
        return patches

    @property
    def labelled(self) -> LabelledPatchSet:
        """As the view says."""
        patches: LabelledPatchSet = self._asked("labelled")
        return patches

    @property
    def target(self) -> PatchSet:
        """As the view says."""
        patches: PatchSet = self._asked("target")
        return patches

    @property
    def label_prior(self) -> NDArray[np.float64]:
        """As the view says."""
        prior: NDArray[np.float64] = self._asked("label_prior")
        return prior

    @property
    def feedback(self) -> Server:
        """As the view says."""
        server: Server = self._asked("feedback")
        return server


def unused(watch: Watch, needs: Needs) -> list[str]:
    """Needs that were declared and not made use of, as the arguments of ``Needs``."""
    labels = {"low": ("low",), "high": ("labelled",)}.get(needs.labels, ())
    wanted = {name: (name,) for name in needs.inputs}
    wanted |= {f"labels={needs.labels!r}": labels} if labels else {}
    flags = {"transductive": "target", "training": "training", "prior": "label_prior", "feedback": "feedback"}
    wanted |= {f"{flag}=True": (name,) for flag, name in flags.items() if getattr(needs, flag)}
    return sorted(need for need, names in wanted.items() if not watch.read & set(names))


def _checksum(pixels: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)
