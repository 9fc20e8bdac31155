"""What things look like to Sentinel-2 and Sentinel-1: materials, and the covers that are mixtures of them.

Surface reflectances (x 10000) are drawn by hand after the usual shapes in spectral libraries (USGS splib07, ECOSTRESS):
chlorophyll and water absorption, red edge, iron slope of soils, cellulose in dry matter. Backscatter levels follow
C-band means as published for such covers (Ulaby & Dobson 1989, Handbook of Radar Scattering Statistics for Terrain).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# fmt: off
_MATERIALS: dict[str, tuple[int, ...]] = {
    #               B1    B2    B3    B4    B5    B6    B7    B8    B8A   B9    B11   B12
    "crop leaf":   (180,  230,  520,  270,  950, 3850, 4900, 5100, 5250, 5200, 2250, 1000),
    "grass leaf":  (250,  320,  620,  430, 1100, 3100, 3850, 4000, 4250, 4200, 2550, 1280),
    "broadleaf":   (150,  190,  430,  240,  800, 2900, 3700, 3850, 4100, 4000, 1900,  800),
    "needle":      (120,  155,  290,  195,  510, 1750, 2250, 2350, 2550, 2500, 1080,  460),
    "swamp leaf":  (150,  185,  340,  225,  600, 2150, 2700, 2820, 2980, 2880, 1100,  420),
    "reed":        (240,  310,  570,  480,  960, 2350, 2950, 3100, 3350, 3250, 1950,  960),
    "water plant": (280,  360,  700,  470, 1030, 2700, 3150, 3250, 3250, 2900, 1000,  450),
    "hard leaf":   (220,  275,  450,  400,  790, 1850, 2300, 2400, 2650, 2600, 1850,  980),
    "straw":       (600,  760, 1150, 1480, 1830, 2200, 2450, 2600, 2800, 2800, 3500, 2450),
    "litter":      (340,  420,  600,  780, 1000, 1300, 1500, 1620, 1820, 1850, 2450, 1680),
    "pale soil":   (780,  960, 1380, 1820, 2080, 2260, 2410, 2510, 2660, 2660, 3500, 2950),
    "dark soil":   (450,  530,  730,  950, 1080, 1200, 1320, 1420, 1560, 1570, 2150, 1830),
    "red soil":    (400,  490,  850, 1650, 1930, 2150, 2300, 2360, 2500, 2500, 3100, 2450),
    "mud":         (500,  600,  850,  990, 1050, 1060, 1080, 1090, 1100, 1000,  760,  470),
    "sand":       (1250, 1600, 2150, 2650, 2900, 3050, 3200, 3300, 3400, 3400, 4100, 3700),
    "rock":        (860,  980, 1180, 1400, 1500, 1560, 1620, 1670, 1770, 1760, 2150, 1930),
    "salt":       (2500, 2800, 3200, 3500, 3600, 3620, 3640, 3700, 3750, 3500, 2700, 2000),
    "clear water": (350,  330,  230,  115,   85,   55,   45,   38,   30,   20,   15,   10),
    "silty water": (600,  760, 1060, 1000,  850,  420,  390,  310,  230,  180,   45,   28),
    "algal water": (300,  350,  620,  350,  490,  370,  350,  270,  215,  130,   32,   22),
    "metal roof": (1700, 2000, 2450, 2550, 2650, 2750, 2800, 2850, 2950, 2850, 2950, 2650),
    "tile roof":   (600,  710, 1000, 1850, 2100, 2220, 2330, 2420, 2520, 2450, 2950, 2450),
    "dark roof":   (600,  650,  720,  790,  820,  850,  880,  900,  930,  920, 1050, 1000),
    "asphalt":     (690,  770,  890,  980, 1030, 1080, 1130, 1170, 1230, 1220, 1400, 1300),
    "concrete":   (1250, 1450, 1700, 1900, 2000, 2060, 2120, 2170, 2270, 2200, 2380, 2180),
    "shade":       (110,  100,   90,   70,   90,  170,  200,  210,  215,  200,  115,   65),
}
# fmt: on

MATERIALS: tuple[str, ...] = tuple(_MATERIALS)
_ROWS = np.array([v for v in _MATERIALS.values()], np.float32)
REFLECTANCE: NDArray[np.float32] = np.insert(_ROWS, 10, 0.0, axis=1)
"""Surface reflectance x 10000, (material, 13); B10 sees no ground."""

LATENTS = ("vigour", "moisture", "texture", "grain")
"""Standardised fields that move abundances and backscatter: km to field scale; relief; 30 to 100 m; 10 to 20 m."""


@dataclass(frozen=True)
class Cover:
    """One kind of ground: its class of the scheme, and how it looks.

    ``mixture``: material -> (log weight, then its change per unit of each latent); abundances are the softmax.
    ``vv``, ``vh``: mean backscatter in dB; ``radar``: its change in dB per unit of each latent; ``bright``: share of
    pixels with a double-bounce echo.
    """

    name: str
    code: int
    mixture: dict[str, tuple[float, ...]]
    vv: float
    vh: float
    radar: tuple[float, float, float, float] = (0.0, 0.0, 0.3, 0.2)
    bright: float = 0.0


def _w(
    weight: float, vigour: float = 0, moisture: float = 0, texture: float = 0, grain: float = 0
) -> tuple[float, ...]:
    return (float(np.log(weight)), vigour, moisture, texture, grain)


FOREST, SHRUB, GRASS, WET, CROP, URBAN, BARREN, WATER = 1, 2, 4, 5, 6, 7, 9, 10

COVERS: tuple[Cover, ...] = (
    Cover("broadleaf forest", FOREST, {
        "broadleaf": _w(0.66, 0.3, 0.1, 0.25, 0.15), "shade": _w(0.24, 0, 0, -0.35, -0.3),
        "litter": _w(0.08, -0.5), "grass leaf": _w(0.04, 0.1, 0, 0, 0.3)}, -9.8, -15.2, (0.3, 0.1, 0.4, 0.2)),
    Cover("needleleaf forest", FOREST, {
        "needle": _w(0.66, 0.25, 0, 0.2, 0.1), "shade": _w(0.22, 0, 0, -0.35, -0.3), "broadleaf": _w(0.1, 0.4, 0.2, 0.3),
        "litter": _w(0.05, -0.4, 0, 0, 0.2)}, -10.6, -16.2, (0.3, 0.1, 0.4, 0.2)),
    Cover("open woodland", FOREST, {
        "broadleaf": _w(0.34, 0.4, 0.1, 0.7, 0.5), "needle": _w(0.14, 0.1, 0, 0.5, 0.4), "grass leaf": _w(0.24, 0.3, 0.2, -0.5),
        "litter": _w(0.14, -0.4, -0.2, -0.3), "shade": _w(0.08, 0, 0, 0.3), "straw": _w(0.06, -0.6, -0.4, -0.5)},
        -10.9, -16.9, (0.3, 0.2, 0.8, 0.5)),
    Cover("green scrub", SHRUB, {
        "hard leaf": _w(0.58, 0.3, 0.1, 0.35, 0.2), "shade": _w(0.1, 0, 0, 0.2), "litter": _w(0.14, -0.3, 0, -0.2),
        "grass leaf": _w(0.14, 0.4, 0.2, -0.2), "pale soil": _w(0.08, -0.3, -0.2, -0.6)}, -11.4, -17.2, (0.3, 0.2, 0.5, 0.3)),
    Cover("dry scrub", SHRUB, {
        "hard leaf": _w(0.4, 0.3, 0.1, 0.45, 0.3), "shade": _w(0.05, 0, 0, 0.2), "straw": _w(0.1, -0.2, -0.1, -0.2), "litter": _w(0.2, -0.1),
        "pale soil": _w(0.12, -0.3, -0.2, -0.5), "red soil": _w(0.1, -0.3, -0.2, -0.5), "rock": _w(0.06, -0.2, -0.4)},
        -11.9, -18.0, (0.3, 0.3, 0.5, 0.3)),
    Cover("meadow", GRASS, {
        "grass leaf": _w(0.74, 0.45, 0.2, 0.1, 0.1), "straw": _w(0.13, -0.5, -0.3), "dark soil": _w(0.05, -0.3, 0.1, -0.2),
        "litter": _w(0.08, -0.2, 0, 0, 0.2)}, -12.8, -19.8, (0.4, 0.5, 0.3, 0.2)),
    Cover("dry grassland", GRASS, {
        "straw": _w(0.4, -0.3, -0.2, 0.1), "grass leaf": _w(0.38, 0.45, 0.25, 0.1), "pale soil": _w(0.06, -0.3, -0.1, -0.3),
        "litter": _w(0.12, -0.1, 0, 0.2, 0.2)}, -13.6, -20.8, (0.4, 0.5, 0.3, 0.2)),
    Cover("floating plants", WET, {
        "water plant": _w(0.58, 0.5, 0, 0.6, 0.2), "algal water": _w(0.3, -0.3, 0.4, -0.5), "silty water": _w(0.12, 0, 0.4, -0.3)},
        -13.8, -21.5, (0.9, -0.6, 0.9, 0.4)),
    Cover("mudflat", WET, {
        "mud": _w(0.64, 0, 0.1, 0.1), "silty water": _w(0.2, 0, 0.7, -0.3), "water plant": _w(0.1, 0.6, 0, 0.5),
        "dark soil": _w(0.06, 0, -0.5, 0.2)}, -15.0, -24.0, (0.4, -1.0, 0.5, 0.3)),
    Cover("reed", WET, {
        "reed": _w(0.62, 0.4, 0.1, 0.3, 0.1), "litter": _w(0.15, -0.3, -0.2), "silty water": _w(0.11, -0.2, 0.6, -0.5),
        "mud": _w(0.06, 0, 0.4, -0.4), "shade": _w(0.06, 0, 0.1, 0, -0.2)}, -11.0, -18.0, (0.6, 0.5, 0.6, 0.3)),
    Cover("wet meadow", WET, {
        "grass leaf": _w(0.38, 0.45, 0, 0.2, 0.1), "reed": _w(0.3, 0.2, 0.2, 0.3), "straw": _w(0.1, -0.4, -0.3),
        "mud": _w(0.16, -0.2, 0.5, -0.4), "silty water": _w(0.11, -0.2, 0.7, -0.5)}, -11.3, -18.7, (0.5, 0.6, 0.5, 0.3)),
    Cover("swamp forest", WET, {
        "swamp leaf": _w(0.72, 0.3, 0.1, 0.25, 0.1), "shade": _w(0.13, 0, 0.1, -0.4, -0.2), "mud": _w(0.07, -0.2, 0.4, -0.5),
        "reed": _w(0.08, 0.1, 0, -0.3)}, -9.4, -15.6, (0.3, 0.4, 0.5, 0.2)),
    Cover("green crop", CROP, {
        "crop leaf": _w(0.7, 0.5, 0.1, 0.1), "dark soil": _w(0.14, -0.5, 0.1, -0.1, -0.2), "grass leaf": _w(0.14, 0.2),
        "pale soil": _w(0.06, -0.5, -0.3)}, -10.8, -16.8, (0.7, 0.4, 0.2, 0.2)),
    Cover("ripe crop", CROP, {
        "straw": _w(0.56, -0.2, -0.1, 0.1), "crop leaf": _w(0.08, 0.6, 0.2), "pale soil": _w(0.22, -0.3, -0.2, -0.2, -0.2),
        "dark soil": _w(0.14, -0.3, 0.2, -0.2)}, -11.8, -18.6, (0.6, 0.4, 0.2, 0.2)),
    Cover("fallow", CROP, {
        "dark soil": _w(0.44, -0.1, 0.4, 0, 0.1), "pale soil": _w(0.2, 0, -0.4), "red soil": _w(0.14, 0, -0.2),
        "litter": _w(0.1, 0.2), "grass leaf": _w(0.1, 0.6, 0.1, 0.2)}, -12.0, -20.4, (0.3, 0.9, 0.2, 0.3)),
    Cover("paddy", CROP, {
        "crop leaf": _w(0.5, 0.7, 0, 0.1), "silty water": _w(0.2, -0.6, 0.3), "mud": _w(0.18, -0.6, 0.2),
        "straw": _w(0.12, -0.6, -0.4)}, -11.8, -18.6, (1.1, -0.4, 0.2, 0.2)),
    Cover("orchard", CROP, {
        "broadleaf": _w(0.42, 0.4, 0.1, 0.3, 0.5), "dark soil": _w(0.14, -0.3, 0, -0.2, -0.4), "grass leaf": _w(0.22, 0.2, 0.1),
        "pale soil": _w(0.12, -0.3, -0.2), "shade": _w(0.1, 0, 0, 0, -0.3)}, -10.6, -16.4, (0.4, 0.2, 0.3, 0.5)),
    Cover("town centre", URBAN, {
        "concrete": _w(0.3, 0, -0.1, 0.3, 0.7), "dark roof": _w(0.2, 0, 0, -0.2, -0.3), "tile roof": _w(0.16, 0, 0, 0.1, 0.5),
        "asphalt": _w(0.2, 0, 0, -0.3, -0.5), "shade": _w(0.08, 0, 0, 0, -0.6), "broadleaf": _w(0.06, 0.4, 0.2, -0.5)},
        -5.4, -13.2, (0, 0, 1.0, 1.2), 0.06),
    Cover("housing", URBAN, {
        "tile roof": _w(0.2, 0, -0.1, 0.2, 0.8), "dark roof": _w(0.13, 0, 0, 0, 0.2), "asphalt": _w(0.17, -0.1, 0, 0, -0.4),
        "concrete": _w(0.13, -0.1, -0.2, 0.2, 0.5), "grass leaf": _w(0.16, 0.5, 0.2, -0.2, -0.3),
        "broadleaf": _w(0.16, 0.5, 0.2, -0.4, -0.4), "shade": _w(0.05)}, -7.6, -14.8, (0, 0, 0.8, 1.0), 0.03),
    Cover("industry", URBAN, {
        "metal roof": _w(0.34, 0, 0, 0.6, 0.6), "concrete": _w(0.28, 0, 0, -0.1), "asphalt": _w(0.2, 0, 0, -0.5, -0.4),
        "dark roof": _w(0.14, 0, 0, -0.3, -0.5), "grass leaf": _w(0.04, 0.4)}, -5.2, -13.8, (0, 0, 1.4, 1.2), 0.06),
    Cover("park", URBAN, {
        "broadleaf": _w(0.38, 0.3, 0.1, 0.8, 0.4), "grass leaf": _w(0.4, 0.4, 0.1, -0.6), "shade": _w(0.06, 0, 0, 0.4),
        "concrete": _w(0.06, 0, 0, -0.2, 0.3), "pale soil": _w(0.1, -0.5, -0.3)}, -10.4, -16.6, (0, 0.1, 0.8, 0.6), 0.004),
    Cover("street", URBAN, {
        "asphalt": _w(0.62, 0, 0, 0, 0.1), "concrete": _w(0.16, 0, 0, 0, 0.3), "dark roof": _w(0.07), "broadleaf": _w(0.1, 0.3, 0.1),
        "shade": _w(0.05, 0, 0, 0, -0.4)}, -9.5, -17.0, (0, 0, 0.8, 0.8), 0.02),
    Cover("beach", BARREN, {
        "sand": _w(0.7, 0, -0.3, 0.1, 0.1), "mud": _w(0.1, 0, 0.8), "pale soil": _w(0.12), "straw": _w(0.08, 0, -0.2, -0.4)},
        -16.0, -25.0, (0, -0.3, 0.5, 0.3)),
    Cover("rock", BARREN, {
        "rock": _w(0.62, 0, 0, 0.3, 0.2), "shade": _w(0.1, 0, 0, -0.2, -0.4), "hard leaf": _w(0.1, 0.5, 0.1, -0.4),
        "pale soil": _w(0.12, 0, -0.2), "straw": _w(0.06)}, -12.4, -20.6, (0, 0.1, 0.9, 0.5)),
    Cover("bare soil", BARREN, {
        "pale soil": _w(0.46, 0, -0.4, 0.1, 0.1), "red soil": _w(0.18, 0, -0.1, -0.2), "rock": _w(0.14, 0, 0, 0.3),
        "concrete": _w(0.08, 0, 0, 0.2, 0.3), "straw": _w(0.08, 0.3, 0, -0.3), "dark soil": _w(0.06, 0, 0.5)},
        -13.2, -21.8, (0.1, 0.6, 0.6, 0.3)),
    Cover("salt pan", BARREN, {
        "salt": _w(0.4, 0, -0.5, 0.4), "mud": _w(0.28, 0, 0.6, -0.2), "pale soil": _w(0.24, 0, -0.2), "silty water": _w(0.08, 0, 0.8, -0.5)},
        -15.0, -24.0, (0, -0.5, 0.6, 0.3)),
    Cover("deep water", WATER, {
        "clear water": _w(0.72, 0, 0.1, 0, 0), "silty water": _w(0.2, 0, -0.1, 0.1), "algal water": _w(0.08, 0.3)},
        -19.4, -29.5, (0, 0, 0.3, 0.1)),
    Cover("silty water", WATER, {
        "silty water": _w(0.7, 0, 0, 0.15), "clear water": _w(0.2, 0, 0.2, -0.1), "algal water": _w(0.1, 0.4)},
        -19.8, -29.8, (0, 0, 0.3, 0.1)),
    Cover("shallow water", WATER, {
        "silty water": _w(0.36, 0, -0.1, 0.2), "clear water": _w(0.34, 0, 0.3, -0.2), "mud": _w(0.12, 0, -0.5, 0.3),
        "algal water": _w(0.12, 0.4), "water plant": _w(0.06, 0.8, 0, 0.6)}, -19.6, -28.6, (0.2, -0.3, 0.5, 0.2)),
    Cover("algal water", WATER, {
        "algal water": _w(0.64, 0.3, 0, 0.2), "silty water": _w(0.16), "clear water": _w(0.14), "water plant": _w(0.06, 0.9, 0, 0.7)},
        -19.4, -29.0, (0.2, 0, 0.4, 0.1)),
)  # fmt: skip

COVER_INDEX: dict[str, int] = {cover.name: i for i, cover in enumerate(COVERS)}
COVER_CODES: NDArray[np.uint8] = np.array([cover.code for cover in COVERS], np.uint8)
