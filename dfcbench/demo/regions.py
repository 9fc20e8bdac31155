"""The seven places of the contest as the demo imagines them: landscapes, season, air, and which split shows which.

Everything here is drawn by hand from general knowledge of the places; nothing is measured. Class shares of the
validation settings add up to about those of the contest's validation split, mostly water and wetlands; the test
settings have much less of both, as the contest's test split is said to differ above all there. The two splits also
show other kinds of wetlands, grassland and bare ground, at another time of the year (``SEASONS_APART``).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Setting:
    """One kind of landscape within a region, a few km across."""

    name: str
    shares: tuple[float, float, float, float, float, float, float, float]
    """Forest, Shrubland, Grassland, Wetlands, Croplands, Urban, Barren, Water; normalised when used."""
    sea: float = 0.0
    """Share of the block under the sea."""
    lagoon: bool = False
    relief: float = 15.0
    """Standard deviation of height in m."""
    rugged: float = 0.0
    """Weight of ridges in the relief."""
    tilt: float = 0.4
    """Rise across half the block, in units of ``relief``."""
    river: float = 0.0
    """Width of a through-flowing river in m; 0 for none."""
    floodplain: float = 900.0
    """Half width of its valley floor in m."""
    towns: int = 2
    lots: tuple[float, float] = (9.0, 30.0)
    """Width and length of fields in pixels."""


@dataclass(frozen=True)
class Region:
    """One place: what grows there, in which season it was seen, and through which air."""

    name: str
    covers: dict[int, dict[str, float]]
    """Class code -> cover -> weight, in the order in which they follow one another along the class's gradient."""
    forest_igbp: int
    """IGBP class of closed forest here."""
    vigour: float = 0.0
    moisture: float = 0.0
    """Season: shifts of the latent fields, in their standard deviations."""
    haze: float = 0.15
    """Aerosol optical thickness at 550 nm."""
    vapour: float = 0.27
    """Transmission of B9."""
    cirrus: float = 11.0
    """Mean of B10, in reflectance x 10000."""
    sun: tuple[float, float] = (45.0, 150.0)
    """Elevation and azimuth in degrees."""
    wind: float = 0.0
    """Shift of open water's VV in dB."""
    settings: dict[str, tuple[Setting, ...]] = field(default_factory=dict)
    """Split -> settings, repeated in turn when a split needs more blocks."""
    validation_covers: dict[int, dict[str, float]] = field(default_factory=dict)
    """Covers of the classes that look different in the validation split's part of the region."""

    def covers_in(self, split: str) -> dict[int, dict[str, float]]:
        """Covers by class code in a split's part of the region."""
        return self.covers | (self.validation_covers if split == "validation" else {})


_WATERS_SEA = {"shallow water": 0.1, "silty water": 0.3, "deep water": 0.6}
_WATERS_RIVER = {"shallow water": 0.15, "silty water": 0.75, "algal water": 0.1}

KHABAROVSK = Region(
    "Khabarovsk",
    {
        1: {"open woodland": 0.2, "broadleaf forest": 0.6, "needleleaf forest": 0.2},
        2: {"green scrub": 0.8, "dry scrub": 0.2},
        4: {"meadow": 0.65, "dry grassland": 0.35},
        5: {"floating plants": 0.05, "mudflat": 0.06, "reed": 0.3, "wet meadow": 0.54, "swamp forest": 0.05},
        6: {"green crop": 0.6, "ripe crop": 0.15, "fallow": 0.25},
        7: {"town centre": 0.25, "housing": 0.45, "industry": 0.2, "park": 0.1},
        9: {"beach": 0.5, "bare soil": 0.4, "rock": 0.1},
        10: _WATERS_RIVER,
    },
    validation_covers={
        4: {"meadow": 0.85, "dry grassland": 0.15},
        5: {"floating plants": 0.05, "mudflat": 0.06, "reed": 0.3, "wet meadow": 0.59},
        9: {"beach": 0.85, "bare soil": 0.15},
    },
    forest_igbp=4, vigour=0.35, moisture=0.3, haze=0.24, vapour=0.26, cirrus=11, sun=(55, 155), wind=-0.8,
    settings={
        "validation": (
            Setting("floodplain", (8, 4, 17, 34, 4, 1, 4, 28), relief=7, tilt=0.2, river=420, floodplain=2600, towns=1),
            Setting("city on the river", (15, 6, 17, 12, 13, 12, 4, 21), relief=18, river=650, floodplain=1300,
                    towns=1),
            Setting("wet plain", (9, 5, 25, 31, 16, 2, 2, 10), relief=6, river=90, floodplain=2000, towns=1,
                    lots=(16, 45)),
        ),
        "test": (
            Setting("hills", (48, 7, 16, 9, 12, 4, 2, 2), relief=50, rugged=0.5, river=60, floodplain=400),
        ),
    },
)  # fmt: skip

KIPPA_RING = Region(
    "Kippa-Ring",
    {
        1: {"open woodland": 0.45, "broadleaf forest": 0.55},
        2: {"green scrub": 0.7, "dry scrub": 0.3},
        4: {"meadow": 0.45, "dry grassland": 0.55},
        5: {"mudflat": 0.22, "swamp forest": 0.48, "wet meadow": 0.2, "reed": 0.1},
        6: {"green crop": 0.55, "fallow": 0.32, "orchard": 0.12},
        7: {"town centre": 0.12, "housing": 0.6, "industry": 0.14, "park": 0.14},
        9: {"beach": 0.6, "bare soil": 0.4},
        10: {"shallow water": 0.25, "silty water": 0.35, "deep water": 0.4},
    },
    validation_covers={
        4: {"meadow": 0.85, "dry grassland": 0.15},
        5: {"mudflat": 0.4, "wet meadow": 0.4, "reed": 0.2},
        9: {"beach": 0.85, "bare soil": 0.15},
    },
    forest_igbp=2, vigour=-0.1, haze=0.10, vapour=0.28, cirrus=10, sun=(38, 35), wind=0.5,
    settings={
        "validation": (
            Setting("bay", (8, 3, 4, 10, 2, 6, 2, 65), sea=0.64, relief=8, tilt=2.2, towns=1),
            Setting("hinterland", (27, 11, 22, 8, 10, 7, 3, 12), relief=24, tilt=0.6, river=80, floodplain=700,
                    towns=2),
        ),
        "test": (
            Setting("suburbs", (25, 8, 21, 7, 6, 22, 3, 8), relief=20, tilt=0.5, river=70, floodplain=500,
                    towns=7),
            Setting("passage", (15, 7, 13, 14, 8, 7, 4, 32), sea=0.29, relief=12, tilt=1.4, towns=4),
        ),
    },
)  # fmt: skip

BANDAR_ANZALI = Region(
    "Bandar Anzali",
    {
        1: {"open woodland": 0.25, "broadleaf forest": 0.75},
        2: {"green scrub": 0.6, "dry scrub": 0.4},
        4: {"meadow": 0.7, "dry grassland": 0.3},
        5: {"floating plants": 0.24, "mudflat": 0.06, "reed": 0.56, "wet meadow": 0.14},
        6: {"paddy": 0.6, "green crop": 0.1, "fallow": 0.18, "orchard": 0.1},
        7: {"town centre": 0.15, "housing": 0.6, "industry": 0.12, "park": 0.13},
        9: {"beach": 0.75, "bare soil": 0.25},
        10: {"shallow water": 0.15, "algal water": 0.25, "silty water": 0.25, "deep water": 0.35},
    },
    validation_covers={
        4: {"meadow": 0.85, "dry grassland": 0.15},
        5: {"floating plants": 0.24, "mudflat": 0.06, "reed": 0.56, "wet meadow": 0.14},
        9: {"beach": 0.85, "bare soil": 0.15},
    },
    forest_igbp=4, vigour=0.1, moisture=0.3, haze=0.36, vapour=0.24, cirrus=12, sun=(42, 160), wind=-0.3,
    settings={
        "validation": (
            Setting("lagoon", (1, 1, 3, 27, 11, 4, 2, 51), sea=0.44, lagoon=True, relief=5, tilt=1.6, towns=1,
                    lots=(6, 14)),
            Setting("paddy plain", (8, 2, 9, 10, 45, 6, 2, 18), relief=8, tilt=1.2, river=60, floodplain=900,
                    sea=0.1, towns=2, lots=(6, 14)),
        ),
        "test": (
            Setting("foot of the mountains", (50, 6, 12, 4, 19, 5, 1, 3), relief=60, rugged=0.5, tilt=1.5, river=50,
                    floodplain=500, towns=5, lots=(6, 14)),
        ),
    },
)  # fmt: skip

CAPE_TOWN = Region(
    "Cape Town",
    {
        1: {"open woodland": 0.5, "needleleaf forest": 0.5},
        2: {"green scrub": 0.5, "dry scrub": 0.5},
        4: {"meadow": 0.25, "dry grassland": 0.75},
        5: {"reed": 0.5, "wet meadow": 0.35, "mudflat": 0.15},
        6: {"ripe crop": 0.4, "fallow": 0.25, "green crop": 0.22, "orchard": 0.12},
        7: {"town centre": 0.14, "housing": 0.58, "industry": 0.16, "park": 0.12},
        9: {"beach": 0.35, "bare soil": 0.25, "rock": 0.4},
        10: _WATERS_SEA,
    },
    validation_covers={
        4: {"meadow": 0.85, "dry grassland": 0.15},
        5: {"reed": 0.5, "wet meadow": 0.35, "mudflat": 0.15},
        9: {"beach": 0.85, "bare soil": 0.15},
    },
    forest_igbp=2, vigour=-0.35, moisture=-0.4, haze=0.09, vapour=0.30, cirrus=9, sun=(50, 40), wind=1.6,
    settings={
        "validation": (
            Setting("peninsula", (3, 14, 5, 1, 2, 5, 6, 64), sea=0.63, relief=45, rugged=0.5, tilt=1.8, towns=1),
        ),
        "test": (
            Setting("wheat and scrub", (3, 27, 17, 2, 34, 6, 8, 3), relief=35, rugged=0.3, river=40, floodplain=500,
                    lots=(22, 45), towns=4),
            Setting("city and mountain", (6, 20, 10, 3, 8, 26, 9, 18), sea=0.15, relief=70, rugged=0.6, tilt=1.0,
                    towns=6),
        ),
    },
)  # fmt: skip

MEXICO_CITY = Region(
    "Mexico City",
    {
        1: {"open woodland": 0.3, "needleleaf forest": 0.7},
        2: {"green scrub": 0.35, "dry scrub": 0.65},
        4: {"meadow": 0.2, "dry grassland": 0.8},
        5: {"floating plants": 0.2, "reed": 0.45, "wet meadow": 0.35},
        6: {"green crop": 0.25, "ripe crop": 0.4, "fallow": 0.35},
        7: {"town centre": 0.42, "housing": 0.36, "industry": 0.16, "park": 0.06},
        9: {"rock": 0.2, "bare soil": 0.6, "salt pan": 0.2},
        10: {"shallow water": 0.3, "algal water": 0.4, "silty water": 0.3},
    },
    forest_igbp=5, vigour=-0.3, moisture=-0.3, haze=0.20, vapour=0.36, cirrus=12, sun=(48, 150), wind=-0.2,
    settings={
        "test": (
            Setting("basin", (6, 9, 14, 3, 14, 42, 7, 5), relief=14, towns=6, lots=(7, 22)),
            Setting("slopes", (33, 13, 18, 1, 19, 10, 4, 2), relief=70, rugged=0.6, towns=6, lots=(7, 22)),
        ),
    },
)  # fmt: skip

BLACK_FOREST = Region(
    "Black Forest",
    {
        1: {"open woodland": 0.1, "broadleaf forest": 0.35, "needleleaf forest": 0.55},
        2: {"green scrub": 0.9, "dry scrub": 0.1},
        4: {"meadow": 0.9, "dry grassland": 0.1},
        5: {"reed": 0.4, "wet meadow": 0.6},
        6: {"green crop": 0.5, "ripe crop": 0.14, "fallow": 0.26, "orchard": 0.06},
        7: {"town centre": 0.15, "housing": 0.57, "industry": 0.18, "park": 0.1},
        9: {"rock": 0.3, "bare soil": 0.7},
        10: {"shallow water": 0.2, "silty water": 0.4, "deep water": 0.4},
    },
    forest_igbp=5, vigour=0.25, moisture=0.15, haze=0.12, vapour=0.30, cirrus=11, sun=(50, 160), wind=-0.8,
    settings={
        "test": (
            Setting("mountains", (58, 4, 22, 1, 10, 3, 1, 1), relief=80, rugged=0.4, river=30, floodplain=350,
                    towns=5),
            Setting("Rhine plain", (22, 3, 17, 3, 36, 12, 3, 4), relief=9, river=200, floodplain=1600,
                    towns=6),
        ),
    },
)  # fmt: skip

MUMBAI = Region(
    "Mumbai",
    {
        1: {"open woodland": 0.4, "broadleaf forest": 0.6},
        2: {"green scrub": 0.5, "dry scrub": 0.5},
        4: {"meadow": 0.35, "dry grassland": 0.65},
        5: {"mudflat": 0.15, "swamp forest": 0.65, "reed": 0.2},
        6: {"paddy": 0.4, "green crop": 0.2, "fallow": 0.3, "orchard": 0.1},
        7: {"town centre": 0.4, "housing": 0.36, "industry": 0.18, "park": 0.06},
        9: {"beach": 0.15, "salt pan": 0.4, "bare soil": 0.3, "rock": 0.15},
        10: {"shallow water": 0.2, "silty water": 0.7, "deep water": 0.1},
    },
    forest_igbp=4, vigour=0.0, moisture=0.1, haze=0.32, vapour=0.22, cirrus=14, sun=(50, 145), wind=0.0,
    settings={
        "test": (
            Setting("creek", (5, 5, 5, 23, 3, 22, 5, 32), sea=0.28, relief=10, tilt=1.3, river=350, floodplain=900,
                    towns=4, lots=(6, 15)),
            Setting("hinterland", (27, 12, 19, 4, 22, 8, 4, 4), relief=50, rugged=0.4, river=60, floodplain=500,
                    towns=6, lots=(6, 15)),
        ),
    },
)  # fmt: skip

REGIONS: tuple[Region, ...] = (
    MEXICO_CITY, KIPPA_RING, KHABAROVSK, BLACK_FOREST, MUMBAI, CAPE_TOWN, BANDAR_ANZALI,
)  # fmt: skip


@dataclass(frozen=True)
class Date:
    """How the scenes of a split differ from their region's usual look, because they were taken at another time."""

    brightness: float
    """Change of the materials' log reflectance."""
    tilt: float
    """Change of log reflectance per unit of log wavelength, from 0.9 micrometres."""
    backscatter: float
    """Change on land in dB."""
    vigour: float
    """Shift of that latent field, in its standard deviations."""
    scatter: float = 0.0
    """Standard deviation of what each material changes by on its own, in log reflectance and in log per log wavelength."""
    echo_scatter: float = 0.0
    """The same of the covers' backscatter in dB."""


SEASONS_APART: dict[str, Date] = {
    "validation": Date(brightness=0.15, tilt=0.08, backscatter=-0.5, vigour=0.3, scatter=0.08, echo_scatter=0.4),
    "test": Date(brightness=-0.08, tilt=-0.06, backscatter=0.8, vigour=-0.3),
}
"""Set so that two published facts hold: the band means of the validation split (within 30 %, as
tests/test_demo_faithfulness.py checks), and that classifiers fitted to its reference find the test split strange (a
forest's average accuracy on test is 51.65 %, Robinson et al. 2021, Sec. V-E; networks of several groups reach 46 to 57 %,
see published.csv) though forests that know the split itself do well."""


def some_date(rng: np.random.Generator) -> Date:
    """When a SEN12MS scene was taken: in any season, so that scenes lie as far apart as the contest's two splits do.

    Deviations are half the distance between the two in ``SEASONS_APART``; what materials and covers do on their own is
    that of the split which has it.
    """
    first, second = SEASONS_APART["validation"], SEASONS_APART["test"]

    def drawn(name: str) -> float:
        return float(rng.normal(0, abs(getattr(first, name) - getattr(second, name)) / 2))

    return Date(
        brightness=drawn("brightness"),
        tilt=drawn("tilt"),
        backscatter=drawn("backscatter"),
        vigour=drawn("vigour"),
        scatter=first.scatter,
        echo_scatter=first.echo_scatter,
    )


def elsewhere(rng: np.random.Generator, season: str) -> tuple[Region, Setting]:
    """A place of the SEN12MS kind: not one of the seven, but somewhere between two of them, in other air and season."""
    first, second = (REGIONS[i] for i in rng.choice(len(REGIONS), 2, replace=False))
    covers: dict[int, dict[str, float]] = {}
    for code, weights in first.covers.items():
        mixed = dict(weights)
        for name, weight in second.covers[code].items():
            mixed[name] = mixed.get(name, 0.0) + weight
        covers[code] = {name: w * float(np.exp(rng.normal(0, 0.4))) for name, w in mixed.items()}
    greener = {"spring": 0.1, "summer": 0.25, "fall": -0.1, "winter": -0.3}[season]
    place = replace(
        first,
        name=f"between {first.name} and {second.name}",
        covers=covers,
        vigour=0.5 * (first.vigour + second.vigour) + greener,
        moisture=0.5 * (first.moisture + second.moisture) + float(rng.normal(0, 0.15)),
        haze=float(rng.uniform(0.08, 0.3)),
        vapour=float(rng.uniform(0.22, 0.36)),
        cirrus=float(rng.uniform(8, 14)),
        sun=(float(rng.uniform(35, 60)), float(rng.uniform(120, 170))),
        wind=float(rng.normal(0, 0.9)),
        settings={},
    )
    choices = [s for settings in first.settings.values() for s in settings]
    setting = choices[int(rng.integers(len(choices)))]
    blend = [s for settings in second.settings.values() for s in settings]
    other = blend[int(rng.integers(len(blend)))]
    shares = tuple(0.65 * a + 0.25 * b + 1.0 for a, b in zip(setting.shares, other.shares, strict=True))
    return place, replace(setting, shares=shares)
