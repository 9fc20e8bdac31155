"""The contest's tracks and splits, and the views that decide what a method sees.

Rules: Robinson et al., IEEE JSTARS 14 (2021), Sec. II. Track 1 never shows high-resolution labels; Track 2 shows
those of the validation split. The images of both splits, their low-resolution labels, and the confusion matrix between
low- and high-resolution labels were known to every contestant.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfcbench.archive import Archive
from dfcbench.errors import DataError, HiddenError, UsageError
from dfcbench.files import cache_directory, write_json
from dfcbench.method import Needs, Server
from dfcbench.patches import LabelledPatchSet, PatchSet
from dfcbench.scheme import CODES, SCORED_CODES

TRACKS = (1, 2)
SPLITS = ("test", "validation", "regional")

Prepare = Callable[[PatchSet, str], PatchSet]
"""Turns a patch set, named by its split, into a faster one with the same content."""


def require_place(track: int | None, split: str | None) -> None:
    """Raise UsageError for a track, split or combination that the contest does not have; None is any."""
    if track is not None and track not in TRACKS:
        raise UsageError(f"Track {track}: the contest has tracks 1 and 2.")
    if split is not None and split not in SPLITS:
        raise UsageError(f"Split {split!r}: choose one of {', '.join(SPLITS)}.")
    if track == 2 and split not in (None, "test"):
        raise UsageError(
            f"Track 2 on the {split} split: its high-resolution labels are that track's training data, so a score "
            "there would mean nothing. Use --split test."
        )


class FusionContest:
    """One track and split of a data set on disk: the harness's own side, from which views are cut.

    ``limit`` keeps that many patches of the scored split, evenly spaced, for a quick try.
    Raises UsageError for a track, split or combination that the contest does not have, DataError if the data lack it.
    """

    def __init__(self, archive: Archive, track: int, split: str, limit: int | None = None) -> None:
        require_place(track, split)
        if split not in archive.splits:
            found = ", ".join(archive.splits) or "none"
            raise DataError(
                f"{archive.root}: no {split} split here (found: {found}). Choose another --split or --data."
            )
        if limit is not None and limit < 1:
            raise UsageError(f"--limit {limit}: give at least 1 patch.")
        self.archive = archive
        self.track = track
        self.split = split
        self.limit = limit if limit is not None and limit < len(archive.splits[split]) else None

    @cached_property
    def has_reference(self) -> bool:
        """Whether the scored patches have high-resolution labels on this disk.

        Raises DataError if some have and some have not: neither scores nor their want would be the whole truth.
        """
        chosen = set(self.scored.ids)
        lacking = [
            record for record in self.archive.splits[self.split] if record.id in chosen and "dfc" not in record.files
        ]
        if lacking and len(lacking) < len(chosen):
            raise DataError(
                f"{self.archive.root}: {len(lacking)} of {len(chosen)} patches of the {self.split} split have no "
                f"high-resolution labels, such as {lacking[0].label_name}. Add them, or take all of them away to make maps "
                "without scores."
            )
        return not lacking

    @cached_property
    def scored(self) -> PatchSet:
        """The images that are scored, without high-resolution labels."""
        return self._limited(self.archive.patches(self.split))

    @cached_property
    def reference(self) -> LabelledPatchSet:
        """The scored patches with their high-resolution labels; for the scorer alone."""
        chosen = set(self.scored.ids)
        return LabelledPatchSet(r for r in self.archive.splits[self.split] if r.id in chosen)

    def fingerprints(self, needs: Needs) -> dict[str, str]:
        """Fingerprint by split of all data that a run with these needs may depend on."""
        splits = {self.split}
        if "validation" in self.archive.splits:
            splits.add("validation")
        if needs.training:
            splits.add("training")
        return {split: self.archive.fingerprint(split) for split in sorted(splits) if split in self.archive.splits}

    def check(self, needs: Needs) -> None:
        """Raise UsageError if the track cannot give what the needs ask for, DataError if the data lack it."""
        if needs.labels == "high" and self.track == 1:
            raise UsageError(
                "This method learns from high-resolution labels, which Track 1 never shows. Run it with --track 2."
            )
        if needs.labels == "high" and not self.archive.has_labels("validation"):
            raise DataError(
                f"{self.archive.root}: this method learns from the validation split's high-resolution labels, which "
                "are not here. Add dfc_validation.zip (`dfcbench data import`)."
            )
        if needs.training and "training" not in self.archive.splits:
            raise DataError(
                f"{self.archive.root}: this method trains on SEN12MS, which is not here. "
                "Put SEN12MS/ROIs1158_spring etc. beside DFC2020, or choose another method."
            )
        if needs.feedback and not self.has_reference:
            raise DataError(
                f"{self.archive.root}: this method asks the contest's server for scores, and the {self.split} split "
                "has no high-resolution labels here to score with."
            )
        if needs.prior:
            require_prior(self.archive)
        missing = _shown(needs) - self.scored.modalities
        if missing:
            lacking = next(patch.id for patch in self.scored if not missing <= patch.modalities)
            raise DataError(
                f"{self.archive.root}: not every patch of the {self.split} split has {', '.join(sorted(missing))}, "
                f"which this method needs; {lacking} has not. `dfcbench data verify` lists them."
            )

    def view(
        self,
        needs: Needs,
        prepare: Prepare | None = None,
        feedback: Server | None = None,
        *,
        scored: PatchSet | None = None,
    ) -> ContestView:
        """What a method with these needs is shown; checked first, see ``check``.

        ``scored`` takes the place of the images that are scored: a scene of one's own to be mapped.
        """
        self.check(needs)
        wanted = _shown(needs)
        archive, splits = self.archive, self.archive.splits
        mapped = (self.scored if scored is None else scored).restricted(wanted)
        sets: dict[str, tuple[str, PatchSet]] = {"scored": (self.split, mapped)}
        if needs.training:
            sets["training"] = ("training", archive.patches("training").restricted(wanted))
        if "validation" in splits and self.split != "validation":
            sets["validation"] = ("validation", archive.patches("validation").restricted(wanted))
        elif self.split == "validation" and needs.transductive:
            sets["validation"] = sets["scored"]
        if self.track == 2 and needs.labels == "high":
            sets["labelled"] = ("validation", archive.labelled("validation").restricted(wanted | {"high"}))
        prior = label_prior(archive) if needs.prior else None
        return ContestView(self.track, self.split, needs, sets, prior, prepare or _as_it_is, feedback)

    def _limited(self, patches: PatchSet) -> PatchSet:
        if self.limit is None:
            return patches
        chosen = np.linspace(0, len(patches) - 1, self.limit).round().astype(int)
        return patches.select([patches.ids[i] for i in chosen])


def _shown(needs: Needs) -> frozenset[str]:
    return needs.inputs | ({"low"} if needs.labels != "none" else set())


def _as_it_is(patches: PatchSet, split: str) -> PatchSet:
    return patches


class ContestView:
    """What a method sees. It holds patch sets already stripped of all that the track and the needs do not show."""

    def __init__(
        self,
        track: int,
        split: str,
        needs: Needs,
        sets: dict[str, tuple[str, PatchSet]],
        prior: NDArray[np.float64] | None,
        prepare: Prepare,
        feedback: Server | None,
    ) -> None:
        self.track = track
        self.split = split
        self.needs = needs
        self._sets = sets
        self._prior = prior
        self._prepare = prepare
        self._feedback = feedback
        self._ready: dict[str, PatchSet] = {}

    def __reduce__(self) -> str:
        raise TypeError("the contest stays where it is; take out of it what the function needs")

    @property
    def names(self) -> frozenset[str]:
        """What it can show: any of ``scored``, ``training``, ``validation`` and ``labelled``."""
        return frozenset(self._sets)

    def named(self, name: str) -> PatchSet:
        """The patch set of one of its ``names``. Raises HiddenError for any other."""
        return self._patches(name, f"contest: shows no {name!r}.")

    def _patches(self, name: str, refusal: str) -> PatchSet:
        if name not in self._sets:
            raise HiddenError(refusal)
        if name not in self._ready:
            split, patches = self._sets[name]
            self._ready[name] = self._prepare(patches, split)
        return self._ready[name]

    @property
    def training(self) -> PatchSet:
        """SEN12MS patches with low-resolution labels."""
        return self._patches("training", "contest.training: declare it first, Needs(training=True).")

    @property
    def validation(self) -> PatchSet:
        """Validation images with low-resolution labels."""
        return self._patches(
            "validation",
            "contest.validation: the data have no validation split, or it is the one that is scored and this method "
            "does not declare itself transductive.",
        )

    @property
    def labelled(self) -> LabelledPatchSet:
        """Validation patches with high-resolution labels, on Track 2."""
        refusal = (
            "contest.labelled: Track 1 never shows high-resolution labels; they are known on Track 2 only."
            if self.track == 1
            else "contest.labelled: a method that learns from high-resolution labels must say so, Needs(labels='high')."
        )
        patches = self._patches("labelled", refusal)
        assert isinstance(patches, LabelledPatchSet)
        return patches

    @property
    def target(self) -> PatchSet:
        """The images that are scored, with low-resolution labels; for transductive methods."""
        if not self.needs.transductive:
            raise HiddenError(
                "contest.target: a method that is fitted on the scored images must say so, Needs(transductive=True); "
                "boards show that badge."
            )
        return self._patches("scored", "")

    @property
    def label_prior(self) -> NDArray[np.float64]:
        """p(high-resolution class | low-resolution class), shape (10, 8): rows CODES, columns SCORED_CODES."""
        if self._prior is None:
            raise HiddenError("contest.label_prior: declare it first, Needs(prior=True).")
        return self._prior.copy()

    @property
    def feedback(self) -> Server:
        """The contest's server, for methods that are tuned on its answers."""
        if self._feedback is None or not self.needs.feedback:
            raise HiddenError(
                "contest.feedback: a method that asks the contest's server must say so, Needs(feedback=True); boards "
                "rank it apart, as leaderboard-tuned."
            )
        return self._feedback

    def to_predict(self) -> PatchSet:
        """The patches that ``predict`` is asked for."""
        return self._patches("scored", "")


def label_prior(archive: Archive) -> NDArray[np.float64]:
    """p(high-resolution class | low-resolution class) of the validation split, shape (10, 8), rows sum to 1.

    The stand-in for the confusion matrix that the organisers published to every contestant. Rows are CODES, columns
    SCORED_CODES. The row of a low-resolution class that the split does not have is the split's class distribution.
    Raises DataError without high-resolution labels of a validation split.
    """
    require_prior(archive)
    path = cache_directory() / "label_prior" / f"{archive.fingerprint('validation')}.json"
    counts = _read_counts(path)
    if counts is None:
        counts = np.zeros((256, 256), np.int64)
        for patch in archive.labelled("validation"):
            low, high = patch.low, patch.high
            if low.shape != high.shape:
                raise DataError(
                    f"{archive.root}: low- and high-resolution labels of {patch.id} are {low.shape} and {high.shape} "
                    "pixels. `dfcbench data verify` lists such files."
                )
            pairs = low.astype(np.uint16) * 256 + high
            counts += np.bincount(pairs.ravel(), minlength=65536).reshape(256, 256)
        counts = counts[np.ix_(CODES, SCORED_CODES)]
        with contextlib.suppress(DataError):  # a cache that cannot be written costs time only
            write_json(path, counts.tolist())
    total = counts.sum(axis=0)
    if not total.any():
        raise DataError(
            f"{archive.root}: no pixel of the validation split has both a low- and a high-resolution label."
        )
    filled = np.where(counts.sum(axis=1, keepdims=True) > 0, counts, total).astype(np.float64)
    shares: NDArray[np.float64] = filled / filled.sum(axis=1, keepdims=True)
    return shares


def require_prior(archive: Archive) -> None:
    """Raise DataError unless every patch of the validation split has low- and high-resolution labels."""
    complete = archive.has_labels("validation") and "low" in archive.patches("validation").modalities
    if not complete:
        raise DataError(
            f"{archive.root}: p(HR | LR) comes from the validation split's lc and dfc files, which are not all here. Add "
            "them (lc_validation.zip, dfc_validation.zip), or choose a method that does without label_prior."
        )


def _read_counts(path: Path) -> NDArray[np.int64] | None:
    try:
        counts = np.array(json.loads(path.read_text(encoding="utf-8")), np.int64)
    except (OSError, ValueError):
        return None
    return counts if counts.shape == (len(CODES), len(SCORED_CODES)) and (counts >= 0).all() else None
