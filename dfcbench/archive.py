"""Finds SEN12MS and DFC2020 on disk, in each of their layouts.

File names decide; folder names never do (the contest keeps scene 0 in a folder called ``s2_validation``). Layouts::

    SEN12MS/ROIs1158_spring/s1_101/ROIs1158_spring_s1_101_p30.tif                     split "training"
    DFC2020/ROIs0000_validation/dfc_validation/ROIs0000_validation_dfc_0_p17.tif      split "validation"
    DFC2020/ROIs0000_test/lc_0/ROIs0000_test_lc_0_p17.tif                             split "test"
    DFC_Public_Dataset/ROIs0000_autumn/s2_Mumbai/ROIs0000_autumn_s2_Mumbai_p3.tif     split "regional"
"""

from __future__ import annotations

import os
import re
from bisect import bisect
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from dfcbench import identity
from dfcbench.errors import DataError, UsageError
from dfcbench.identity import DatasetIdentity
from dfcbench.patches import HOLDOUT_SCENES, LabelledPatchSet, PatchSet
from dfcbench.records import LABEL_TOKEN, PatchFiles, PatchRecord, label_name

__all__ = [
    "HOLDOUT_SCENES",
    "SPLITS",
    "Archive",
    "DatasetIdentity",
    "Duplicate",
    "PatchRecord",
    "place_of",
    "region_of",
    "season_of",
]

SPLITS = ("training", "validation", "test", "regional")

MAX_DEPTH = 5
"""Folders below the root that are searched: wrapper / DFC2020 / ROIs0000_test / s1_0 leaves one to spare."""

_FILE_NAME = re.compile(
    r"(?P<head>ROIs(?:1158_spring|1868_summer|1970_fall|2017_winter|0000_(?P<contest>validation|test)"
    r"|0000_(?P<season>autumn|spring|summer|winter)))"
    r"_(?P<token>s1|s2|lc|dfc)"
    r"_(?P<tail>(?P<scene>[A-Za-z0-9][A-Za-z0-9-]*)_p(?P<number>\d+))"
    r"(?P<suffix>\.(?i:tiff?))"
)

_OWN = frozenset({"submission.json", "run.log", "failure.json"})
"""Files that mark the folder of a run of dfcbench, from its first moment to its end."""

_EXPECTED = """expected file names such as
  DFC2020/ROIs0000_validation/s2_validation/ROIs0000_validation_s2_0_p17.tif
  SEN12MS/ROIs1158_spring/s1_101/ROIs1158_spring_s1_101_p30.tif
  DFC_Public_Dataset/ROIs0000_autumn/lc_Mumbai/ROIs0000_autumn_lc_Mumbai_p3.tif
Point --data (or DFCBENCH_DATA) at the folder that holds them, unpack the contest's archives with
`dfcbench data import ZIP... --out DIR`, or write a demo contest with `dfcbench data demo --out DIR`."""


class Place(NamedTuple):
    """What a file name says: its split, patch and modality token, and the folder that the layouts keep it in."""

    split: str
    token: str
    folder: str


class Duplicate(NamedTuple):
    """A file of which another folder holds one of the same name: ``kept`` is read, ``ignored`` is not."""

    patch_id: str
    kept: Path
    ignored: Path


class Archive:
    """What was found under a root: records of patches by split. Use ``Archive.open``."""

    def __init__(
        self, root: Path, splits: dict[str, tuple[PatchRecord, ...]], duplicates: Sequence[Duplicate] = ()
    ) -> None:
        self.root = root
        self.splits = splits
        self.duplicates = tuple(duplicates)
        self._fingerprints: dict[str, str] = {}

    @classmethod
    def open(cls, root: Path) -> Archive:
        """Scan ``root``, which may hold any part of any layout, or be such a part; no file is opened.

        Raises DataError if there is no such folder or no patch in it.
        """
        root = Path(root)
        if not root.is_dir():
            found = "is a file" if root.exists() else "does not exist"
            raise DataError(f"{root.absolute()}: {found}; a folder is expected there.\n{_EXPECTED}")
        scan = _Scan()
        for folder in _folders(os.fspath(root.absolute()), scan):  # elsewhere another folder is the current one
            scan.add(folder)
        splits = scan.splits()
        if not splits:
            raise DataError(f"{root.absolute()}: {scan.seen(root)}; {_EXPECTED}")
        return cls(root, splits, scan.duplicates)

    def __repr__(self) -> str:
        counts = ", ".join(f"{split} {len(records)}" for split, records in self.splits.items())
        return f"<Archive {self.root}: {counts}>"

    def patches(self, split: str, part: Literal["all", "train", "holdout"] = "all") -> PatchSet:
        """Images and low-resolution labels of a split, without any way to the high-resolution labels.

        ``part`` divides ``training`` by scene into SEN12MS's official ``holdout`` and the rest.
        Raises DataError if the split is not there.
        """
        records = self._records(split)
        if part != "all":
            if split != "training" or part not in ("train", "holdout"):
                raise UsageError(
                    f"patches({split!r}, part={part!r}): 'training' has the parts 'train' and 'holdout', others none."
                )
            records = tuple(r for r in records if (r.scene in HOLDOUT_SCENES) == (part == "holdout"))
        return PatchSet(records)

    def labelled(self, split: str) -> LabelledPatchSet:
        """A split together with its high-resolution labels. Raises DataError if some patches have none."""
        records = self._records(split)
        lacking = [r for r in records if LABEL_TOKEN not in r.files]
        if lacking:
            raise DataError(
                f"{self.root}: {len(lacking)} of {len(records)} patches of split {split!r} have no high-resolution "
                f"labels; the first one lacks {lacking[0].label_name}. Import dfc_validation.zip (validation) or "
                "dfc_0.zip (test) with `dfcbench data import`."
            )
        return LabelledPatchSet(records)

    def has_labels(self, split: str) -> bool:
        """Whether the split is there and every patch of it has high-resolution labels."""
        return split in self.splits and all(LABEL_TOKEN in record.files for record in self.splits[split])

    def regions(self, split: str) -> dict[str, tuple[PatchRecord, ...]]:
        """Patches of a split by region, in the order of the regions' first ones; empty where the data tell no regions.

        File names tell them in the release by region, the manifest in a demo contest. This is for reports: a patch of a
        demo contest does not tell its region to a method, since the contest's own patches tell none.
        Raises DataError if the split is not there.
        """
        told = identity.demo_regions(self.root).get(split, [])
        firsts = [first for first, _ in told]
        found: dict[str, list[PatchRecord]] = {}
        for record in self._records(split):
            name = record.region
            if name is None and told:
                name = told[bisect(firsts, int(record.id.rpartition("_p")[2])) - 1][1]
            if name is not None:
                found.setdefault(name, []).append(record)
        return {name: tuple(records) for name, records in found.items()}

    def fingerprint(self, split: str) -> str:
        """16 hexadecimal digits that depend on the split's patches and their content, not on place or time."""
        if split not in self._fingerprints:
            self._fingerprints[split] = identity.fingerprint(self._records(split))
        return self._fingerprints[split]

    @cached_property
    def self_check(self) -> dict[str, tuple[int, int]] | None:
        """High-resolution pixels per scored class of the validation split: (found, published).

        None unless that split has the official number of patches, all with labels. Reads all of them, once.
        """
        if len(self.splits.get("validation", ())) != identity.OFFICIAL_PATCHES or not self.has_labels("validation"):
            return None
        return identity.compare_with_published(self.splits["validation"])

    @cached_property
    def identity(self) -> DatasetIdentity:
        """Which data set this is: DFC2020 only if its own reference says so, the demo by its manifest, or neither."""
        check = self.self_check
        if check is not None and all(found == published for found, published in check.values()):
            return identity.DFC2020
        parts = [s for s in self.splits if s != "training"] or list(self.splits)
        return identity.demo(self.root) or identity.unidentified(self.root, [self.fingerprint(s) for s in parts])

    def _records(self, split: str) -> tuple[PatchRecord, ...]:
        try:
            return self.splits[split]
        except KeyError:
            found = ", ".join(f"{name} ({len(records)} patches)" for name, records in self.splits.items())
            raise DataError(
                f"{self.root}: holds no split {split!r}; found {found}. Add its files, or choose another --split."
            ) from None


class _Patch:
    """One patch while the scan goes on: the places of its files by token."""

    __slots__ = ("head", "number", "places", "scene", "tail")

    def __init__(self, name: re.Match[str]) -> None:
        self.head, self.scene, self.tail = name["head"], name["scene"], name["tail"]
        self.number = int(name["number"])
        self.places: tuple[tuple[str, str, str], ...] = ()


class _Scan:
    """Collects patches over folders."""

    def __init__(self) -> None:
        self.patches: dict[str, dict[tuple[str, str], _Patch]] = {}
        self.duplicates: list[Duplicate] = []
        self.folders = 0
        self.files = 0
        self.unreadable: list[str] = []
        self._shared: dict[tuple[tuple[str, str, str], ...], tuple[tuple[str, str, str], ...]] = {}

    def add(self, folder: tuple[str, list[str]]) -> None:
        """Take the files of one folder; folders come in ascending order of their paths."""
        path, names = folder
        for file_name in names:
            name = _FILE_NAME.fullmatch(file_name)
            if name is None:
                continue
            split = _split(name)
            patch = self.patches.setdefault(split, {}).setdefault((name["head"], name["tail"]), _Patch(name))
            place = (name["token"], path, name["suffix"])
            earlier = next((p for p in patch.places if p[0] == place[0]), None)
            if earlier is None:
                places = (*patch.places, place)
                patch.places = self._shared.setdefault(places, places)
            else:
                stem = f"{patch.head}_{name['token']}_{patch.tail}"
                kept = Path(earlier[1], stem + earlier[2])
                self.duplicates.append(Duplicate(f"{patch.head}_{patch.tail}", kept, Path(path, file_name)))

    def splits(self) -> dict[str, tuple[PatchRecord, ...]]:
        result = {}
        for split in SPLITS:
            patches = self.patches.get(split)
            if patches:
                found = sorted(patches.values(), key=lambda p: (p.head, _natural(p.scene), p.number, p.tail))
                result[split] = tuple(_records(found, regional=split == "regional"))
        return result

    def seen(self, root: Path) -> str:
        """What there was instead of patches."""
        entries = sorted(e.name + "/" * e.is_dir() for e in os.scandir(root))
        shown = ", ".join(entries[:5]) + (", ..." if len(entries) > 5 else "")
        text = f"no patch of the contest found ({self.files} files in {self.folders} folders, {MAX_DEPTH} levels deep"
        text += f"; there is {shown})" if entries else "; the folder is empty)"
        if self.unreadable:
            text += f"; {len(self.unreadable)} folders could not be read, such as {self.unreadable[0]}"
        return text


def _records(patches: Sequence[_Patch], regional: bool) -> Iterator[PatchRecord]:
    scenes: dict[str, str] = {}
    for patch in patches:
        scene = f"{patch.head}_{patch.scene}"
        yield PatchRecord(
            id=f"{patch.head}_{patch.tail}",
            scene=scenes.setdefault(scene, scene),
            region=patch.scene if regional else None,
            files=PatchFiles(patch.head, patch.tail, patch.places),
        )


def place_of(file_name: str) -> Place | None:
    """What a file name of the contest says, or None if it is not one."""
    name = _FILE_NAME.fullmatch(file_name)
    if name is None:
        return None
    split = _split(name)
    tree = {"training": "SEN12MS", "regional": "DFC_Public_Dataset"}.get(split, "DFC2020")
    last = "validation" if split == "validation" else name["scene"]
    return Place(split, name["token"], f"{tree}/{name['head']}/{name['token']}_{last}")


def region_of(patch_id: str) -> str | None:
    """The region of a patch of the release by region; None of any other, as no other layout tells regions."""
    name = _regional(patch_id)
    return name["scene"] if name is not None else None


def season_of(patch_id: str) -> str | None:
    """The season in which a patch of the release by region was seen, such as ``autumn``; None of any other."""
    name = _regional(patch_id)
    return name["season"] if name is not None else None


def _regional(patch_id: str) -> re.Match[str] | None:
    name = _FILE_NAME.fullmatch(label_name(patch_id)) if patch_id.count("_") >= 2 else None
    return name if name is not None and name["season"] else None


def _split(name: re.Match[str]) -> str:
    return name["contest"] or ("regional" if name["season"] else "training")


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts 2 before 10 and numbers before words."""
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", text))


def _folders(root: str, scan: _Scan) -> Iterator[tuple[str, list[str]]]:
    """Folders at and below ``root`` with the names of their files, in ascending order of paths; each folder once."""
    visited: set[tuple[int, int]] = set()

    def walk(folder: str, depth: int) -> Iterator[tuple[str, list[str]]]:
        try:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in visited:  # a link to a folder that was seen already
                return
            visited.add((status.st_dev, status.st_ino))
            files: list[str] = []
            folders: list[str] = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    (folders if entry.is_dir() else files).append(entry.name)
        except OSError:
            scan.unreadable.append(folder)
            return
        if _OWN & set(files):  # a run's maps bear the names of label files
            return
        scan.folders += 1
        scan.files += len(files)
        yield folder, sorted(files)
        if depth < MAX_DEPTH:
            for name in sorted(folders):
                yield from walk(os.path.join(folder, name), depth + 1)  # noqa: PTH118 (strings: half a million files)

    yield from walk(root, 0)
