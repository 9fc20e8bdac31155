"""What an expert knows of spectral indices, as rules that speak against classes where an index rules them out.

Thresholds are those of the indices' authors, none is fitted. ``cover`` is the vegetated share of a pixel, by the NDVI of
bare soil (0.2) and of full vegetation (0.5) of Sobrino, Jiménez-Muñoz and Paolini, Remote Sensing of Environment 90
(2004). What share a class can have is said by the legend of the IGBP classes of which the contest's are made (MCD12Q1;
Sulla-Menashe and Friedl, User Guide to Collection 6 MODIS Land Cover, 2018): 30 % at least of Urban is built up, 10 % at
most of Barren is vegetated. Reflectance is top-of-atmosphere, which lowers NDVI: "vegetated" says so later than at the
surface, "bare" sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfcbench.scheme import SCORED_NAMES

from .channels import SURFACE_NAMES
from .features.indices import INDEX_NAMES, spectral_indices

BARE_NDVI, FULL_NDVI = 0.2, 0.5
"""Sobrino et al. (2004)."""
URBAN_COVER = 0.7
"""IGBP: at least 30 % of Urban is built up."""
BARREN_COVER = 0.1
"""IGBP: at most 10 % of Barren is vegetated."""

Indices = Mapping[str, NDArray[np.float32]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class IndexRule:
    """Where ``speaks`` is true, a pixel is hardly of one of the classes ``against``."""

    name: str
    against: tuple[str, ...]
    reference: str
    speaks: Callable[[Indices], Mask]

    @property
    def classes(self) -> NDArray[np.intp]:
        """Indices of ``against`` into ``SCORED_CODES``."""
        return np.array([SCORED_NAMES.index(name) for name in self.against], np.intp)


def indices_of(reflectance: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The indices that the rules read, by name, from the ten surface bands in [0, 1]: (10, H, W) -> (H, W) each.

    NaN, about which no rule speaks, where a band is dark to zero: there is nothing to see.
    """
    x = np.asarray(reflectance, np.float32)
    unseen = ~(x > 0).all(axis=0)
    found = dict(zip(INDEX_NAMES, spectral_indices(x), strict=True))
    swir, nir = x[SURFACE_NAMES.index("B11")], x[SURFACE_NAMES.index("B8")]
    found = {name: np.where(unseen, np.float32(np.nan), values) for name, values in found.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        found["NDBI"] = np.where(unseen, np.float32(np.nan), (swir - nir) / (swir + nir))
    found["cover"] = cover(found["NDVI"])
    return found


def cover(ndvi: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vegetated share of a pixel by its NDVI, Sobrino et al. (2004): 0 up to 0.2, 1 from 0.5 on, a square between."""
    share: NDArray[np.float32] = np.square(np.clip((ndvi - BARE_NDVI) / (FULL_NDVI - BARE_NDVI), 0, 1))
    return share


def _all_but(*names: str) -> tuple[str, ...]:
    return tuple(name for name in SCORED_NAMES if name not in names)


RULES: tuple[IndexRule, ...] = (
    IndexRule(
        "water",
        _all_but("Water", "Wetlands"),
        "NDWI > 0: McFeeters, International Journal of Remote Sensing 17 (1996); "
        "MNDWI > 0: Xu, International Journal of Remote Sensing 27 (2006)",
        lambda i: (i["NDWI"] > 0) & (i["MNDWI"] > 0),
    ),
    IndexRule(
        "dry",
        ("Water",),
        "NDWI < 0: McFeeters (1996); MNDWI < 0: Xu (2006)",
        lambda i: (i["NDWI"] < 0) & (i["MNDWI"] < 0),
    ),
    IndexRule(
        "urban",
        ("Urban/Built-up",),
        "NDBI < 0, and green: Zha, Gao and Ni, International Journal of Remote Sensing 24 (2003); cover above 0.7: IGBP",
        lambda i: (i["NDBI"] < 0) & (i["cover"] > URBAN_COVER),
    ),
    IndexRule(
        "barren",
        ("Barren",),
        "BSI < 0: Rikimaru, Roy and Miyatake, Tropical Ecology 43 (2002); cover above 0.1: IGBP",
        lambda i: (i["BSI"] < 0) & (i["cover"] > BARREN_COVER),
    ),
    IndexRule(
        "vegetated",
        ("Water", "Barren", "Urban/Built-up"),
        "NDVI > 0.5, full vegetation: Sobrino et al. (2004)",
        lambda i: i["NDVI"] > FULL_NDVI,
    ),
    IndexRule(
        "bare",
        ("Forest",),
        "NDVI < 0.2, no vegetation: Sobrino et al. (2004)",
        lambda i: i["NDVI"] < BARE_NDVI,
    ),
)
RULE_NAMES = tuple(rule.name for rule in RULES)

Kept = Mapping[str, NDArray[np.bool_]]
"""Against which classes (8,) a rule stands, by its name."""


def spoken(rules: Sequence[IndexRule]) -> dict[str, NDArray[np.bool_]]:
    """All that these rules say."""
    return {rule.name: np.isin(np.arange(len(SCORED_NAMES)), rule.classes) for rule in rules}


def fitting(inside: NDArray[np.float64], outside: NDArray[np.float64], rule: IndexRule) -> NDArray[np.bool_]:
    """Against which classes (8,) a rule stands on the data at hand.

    inside, outside: pixels expected of each class, (8,), where the rule speaks and where it does not, by p(HR | LR) of
    their LR labels. A class that is expected more often where the rule speaks against it than elsewhere is left alone: the
    thresholds are for reflectance of Sentinel-2's kind, and data that contradict them are of another.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        rarer = inside / inside.sum() < outside / outside.sum()
    return spoken([rule])[rule.name] & (rarer if inside.sum() and outside.sum() else True)


def ruled(
    p: NDArray[np.float32], indices: Indices, rules: Sequence[IndexRule], kept: Kept, doubt: float
) -> NDArray[np.float32]:
    """Probabilities (8, H, W) after the rules: where one speaks against a class, its probability is multiplied by
    ``doubt``; each class once, however many speak. Sums stay 1."""
    doubted = np.zeros(p.shape, np.bool_)
    for rule in rules:
        doubted |= rule.speaks(indices) & kept[rule.name][:, np.newaxis, np.newaxis]
    left = np.where(doubted, p * np.float32(doubt), p)
    total = left.sum(axis=0, keepdims=True)
    result: NDArray[np.float32] = np.where(total > 0, left / np.where(total > 0, total, 1), p)
    return result
