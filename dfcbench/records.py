"""One patch on disk: which files it has, and their pixels in one form, whatever dtype the files chose.

Modalities go by two names: on disk ``s1 s2 lc dfc`` (file names), in memory ``s1 s2 low high`` (what the pixels mean).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dfcbench import rasters
from dfcbench.errors import DataError
from dfcbench.scheme import CODES, NO_LABEL, simplify_igbp
from dfcbench.sensors import S1_BANDS, S2_BANDS


class Modality(NamedTuple):
    """One modality: the token in file names, its name in memory, and its canonical bands and dtype."""

    token: str
    name: str
    bands: int
    dtype: np.dtype[Any]


MODALITIES: dict[str, Modality] = {
    "s1": Modality("s1", "s1", len(S1_BANDS), np.dtype(np.float32)),
    "s2": Modality("s2", "s2", len(S2_BANDS), np.dtype(np.uint16)),
    "low": Modality("lc", "low", 1, np.dtype(np.uint8)),
    "high": Modality("dfc", "high", 1, np.dtype(np.uint8)),
}
"""By name in memory. Bands and dtype are those of the arrays handed out, not of the files."""

LABEL_TOKEN = MODALITIES["high"].token

HEADER_ORDER = ("s2", "s1", "low", "high")
"""Whose file speaks for a patch's shape and georeference: the first of these that the patch has."""

_HIGH_TABLE = np.full(256, NO_LABEL, np.uint8)
_HIGH_TABLE[list(CODES)] = CODES


class PatchFiles(Mapping[str, Path]):
    """Paths of one patch's files by token, put together when asked for: SEN12MS has half a million of them.

    ``head`` and ``tail`` are what stands before and after the token in the file names; ``places`` holds
    (token, folder, suffix), one tuple shared by all patches of a folder.
    """

    __slots__ = ("head", "places", "tail")

    def __init__(self, head: str, tail: str, places: tuple[tuple[str, str, str], ...]) -> None:
        self.head = head
        self.tail = tail
        self.places = places

    def __getitem__(self, token: str) -> Path:
        for known, folder, suffix in self.places:
            if known == token:
                return Path(folder, f"{self.head}_{token}_{self.tail}{suffix}")
        raise KeyError(token)

    def __contains__(self, token: object) -> bool:
        return any(known == token for known, _, _ in self.places)

    def __iter__(self) -> Iterator[str]:
        return (token for token, _, _ in self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        return repr(dict(self))


@dataclass(frozen=True, slots=True)
class PatchRecord:
    """One patch on disk.

    id: file stem without its token, as in ``ROIs0000_test_0_p17``. scene: the id without ``_p17``. region: name of the
    region in the release by region, else None. files: paths by token, any of ``s1``, ``s2``, ``lc``, ``dfc``.
    """

    id: str
    scene: str
    region: str | None
    files: Mapping[str, Path] = field(hash=False)

    @property
    def label_name(self) -> str:
        """File name of the patch's high-resolution labels, which is also the official name of a prediction."""
        return label_name(self.id)

    def without_labels(self) -> PatchRecord:
        """The same record without the path of the high-resolution labels."""
        return self if LABEL_TOKEN not in self.files else self.restricted(set(self.files) - {LABEL_TOKEN})

    def restricted(self, tokens: Collection[str]) -> PatchRecord:
        """The same record with the paths of these tokens only."""
        files = self.files
        kept: Mapping[str, Path]
        if isinstance(files, PatchFiles):
            kept = PatchFiles(files.head, files.tail, tuple(p for p in files.places if p[0] in tokens))
        else:
            kept = {token: path for token, path in files.items() if token in tokens}
        return dataclasses.replace(self, files=kept)

    def header(self) -> rasters.RasterInfo:
        """Header of the file that speaks for the patch (``HEADER_ORDER``). Raises DataError if there is none."""
        for name in HEADER_ORDER:
            if MODALITIES[name].token in self.files:
                return rasters.info(self.path(name))
        raise DataError(f"patch {self.id}: has no files. Run `dfcbench data verify` for the whole list.")

    def path(self, modality: str) -> Path:
        """File of a modality (``s1``, ``s2``, ``low``, ``high``). Raises DataError if the patch has none."""
        token = MODALITIES[modality].token
        try:
            return self.files[token]
        except KeyError:
            there = ", ".join(str(path) for path in self.files.values()) or "nothing"
            raise DataError(
                f"patch {self.id}: has no {token} file; found {there}. Run `dfcbench data verify` for the whole list."
            ) from None


def label_name(patch_id: str) -> str:
    """``ROIs0000_test_0_p17`` -> ``ROIs0000_test_dfc_0_p17.tif``: the name of a patch's label file and of its map."""
    number, season, rest = patch_id.split("_", 2)
    return f"{number}_{season}_{LABEL_TOKEN}_{rest}.tif"


def read(record: PatchRecord, modality: str) -> NDArray[Any]:
    """Pixels of one modality, read from its tif.

    s1: float32 (2, H, W), dB, NaN kept. s2: uint16 (13, H, W), reflectance x 10000, negative values 0.
    low, high: uint8 (H, W), simplified codes; 0 where there is no label or the code is outside the scheme.
    Raises DataError, naming the file, if it is missing, unreadable or has the wrong number of bands.
    """
    path = record.path(modality)
    match modality:
        case "s1":
            return np.asarray(_bands(path, "s1"), np.float32)
        case "s2":
            return _reflectance(path, _bands(path, "s2"))
        case "low":
            igbp: NDArray[np.number] = rasters.read(path, bands=[0])[0]
            return simplify_igbp(igbp)
        case _:
            return simplified(_bands(path, "high")[0])


def simplified(codes: NDArray[np.number]) -> NDArray[np.uint8]:
    """Codes of a reference file, any dtype -> uint8 of the same shape; what the scheme does not know becomes 0."""
    known = (codes >= min(CODES)) & (codes <= max(CODES))
    return _HIGH_TABLE[np.where(known, codes, NO_LABEL).astype(np.uint8)]


def _bands(path: Path, modality: str) -> NDArray[Any]:
    pixels = rasters.read(path)
    expected = MODALITIES[modality].bands
    if pixels.shape[0] != expected:
        raise DataError(
            f"{path}: has {pixels.shape[0]} band(s), {expected} expected of {MODALITIES[modality].token}. "
            "Replace it by the contest's own file."
        )
    return pixels


def _reflectance(path: Path, pixels: NDArray[Any]) -> NDArray[np.uint16]:
    if pixels.dtype == np.uint16:
        return pixels
    if np.issubdtype(pixels.dtype, np.floating):
        pixels = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0)
        if not np.array_equal(pixels, np.rint(pixels)):
            raise DataError(
                f"{path}: holds fractions ({pixels.dtype}), where Sentinel-2 reflectance x 10000 in whole numbers is "
                "expected. Multiply by 10000 and store it as uint16."
            )
    most = np.iinfo(np.uint16).max
    if np.issubdtype(pixels.dtype, np.integer):
        most = min(most, np.iinfo(pixels.dtype).max)
    return np.asarray(np.clip(pixels, 0, most), np.uint16)
