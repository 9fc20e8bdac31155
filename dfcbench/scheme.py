"""The contest's land-cover scheme: codes, names, colours, the way from IGBP, and which classes are scored.

Source: Robinson et al., IEEE JSTARS 14 (2021), Table I.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class LandCover(NamedTuple):
    """One class of the simplified scheme."""

    code: int
    name: str
    igbp: tuple[int, ...]
    colour: str
    scored: bool


CLASSES: tuple[LandCover, ...] = (
    LandCover(1, "Forest", (1, 2, 3, 4, 5), "#009900", True),
    LandCover(2, "Shrubland", (6, 7), "#c6b044", True),
    LandCover(3, "Savanna", (8, 9), "#fbff13", False),
    LandCover(4, "Grassland", (10,), "#b6ff05", True),
    LandCover(5, "Wetlands", (11,), "#27ff87", True),
    LandCover(6, "Croplands", (12, 14), "#c24f44", True),
    LandCover(7, "Urban/Built-up", (13,), "#a5a5a5", True),
    LandCover(8, "Snow/Ice", (15,), "#69fff8", False),
    LandCover(9, "Barren", (16,), "#f9ffa4", True),
    LandCover(10, "Water", (17,), "#1c0dff", True),
)

NO_LABEL = 0
"""Code of a pixel without a label, in low- and high-resolution labels alike."""

CODES: tuple[int, ...] = tuple(c.code for c in CLASSES)
NAMES: dict[int, str] = {c.code: c.name for c in CLASSES}
SCORED: tuple[LandCover, ...] = tuple(c for c in CLASSES if c.scored)
SCORED_CODES: tuple[int, ...] = tuple(c.code for c in SCORED)
"""The 8 classes that occur in the reference; the order of every (8, ...) array in the project."""
SCORED_NAMES: tuple[str, ...] = tuple(c.name for c in SCORED)

_NOT_SCORED = 255

_IGBP_TABLE = np.zeros(256, np.uint8)
for _c in CLASSES:
    _IGBP_TABLE[list(_c.igbp)] = _c.code

_SCORED_TABLE = np.full(256, _NOT_SCORED, np.uint8)
_SCORED_TABLE[list(SCORED_CODES)] = np.arange(len(SCORED_CODES))


def simplify_igbp(igbp: NDArray[np.number]) -> NDArray[np.uint8]:
    """IGBP codes of any dtype -> simplified codes, uint8 of the same shape.

    0, values above 17 (18, 254 and 255 are seen in MODIS products), negative and non-finite values become ``NO_LABEL``.
    """
    values = np.asarray(igbp)
    known = (values >= 1) & (values <= 17)
    return _IGBP_TABLE[np.where(known, values, 0).astype(np.uint8)]


def scored_index(codes: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Simplified codes (uint8) -> index 0..7 into ``SCORED_CODES``; 255 where the class is not scored."""
    return _SCORED_TABLE[np.asarray(codes, dtype=np.uint8)]


def palette() -> NDArray[np.uint8]:
    """RGB colours by code, shape (11, 3), uint8; row 0 (no label) is black."""
    rows: list[tuple[int, ...]] = [(0, 0, 0)]
    rows += [tuple(bytes.fromhex(c.colour[1:])) for c in CLASSES]
    return np.array(rows, np.uint8)
