"""Covers: the kinds of ground that the demo landscape is made of, as mixtures of materials and radar scatterers.

Abundances are drawn by hand; several covers of different classes look alike on purpose (reed and grass, fallow and
bare soil, parks and woods), as they do from space. Backscatter levels follow C-band means as published for such
covers (Ulaby & Dobson 1989, Handbook of Radar Scattering Statistics for Terrain).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LATENTS = ("vigour", "moisture", "texture", "grain")
"""Fields that move abundances and backscatter: km to field scale; relief; 30 to 100 m; 10 to 20 m. They are standardised,
but for the last two, which each cover's roughness scales."""


@dataclass(frozen=True)
class Cover:
    """One kind of ground: its class of the scheme, and how it looks.

    ``mixture``: material -> (log weight, then its change per unit of each latent); abundances are the softmax.
    ``vv``, ``vh``: mean backscatter in dB; ``radar``: its change in dB per unit of each latent; ``bright``: share of
    pixels with a double-bounce echo; ``rough``: how much it varies within 100 m, relative to other covers: less where
    plants are sown or water is level, more where crowns, shrubs or roofs stand.
    """

    name: str
    code: int
    mixture: dict[str, tuple[float, ...]]
    vv: float
    vh: float
    radar: tuple[float, float, float, float] = (0.0, 0.0, 0.3, 0.2)
    bright: float = 0.0
    rough: float = 1.0


def _w(
    weight: float, vigour: float = 0, moisture: float = 0, texture: float = 0, grain: float = 0
) -> tuple[float, ...]:
    return (float(np.log(weight)), vigour, moisture, texture, grain)


FOREST, SHRUB, GRASS, WET, CROP, URBAN, BARREN, WATER = 1, 2, 4, 5, 6, 7, 9, 10

# fmt: off
COVERS: tuple[Cover, ...] = (
    Cover("broadleaf forest", FOREST, {
        "broadleaf": _w(0.66, 0.3, 0.1, 0.25, 0.15), "shade": _w(0.24, 0, 0, -0.35, -0.3),
        "litter": _w(0.08, -0.5), "grass leaf": _w(0.04, 0.1, 0, 0, 0.3)},
        -9.8, -15.2, (0.3, 0.1, 0.4, 0.2), rough=1.5),
    Cover("needleleaf forest", FOREST, {
        "needle": _w(0.66, 0.25, 0, 0.2, 0.1), "shade": _w(0.22, 0, 0, -0.35, -0.3),
        "broadleaf": _w(0.1, 0.4, 0.2, 0.3), "litter": _w(0.05, -0.4, 0, 0, 0.2)},
        -10.6, -16.2, (0.3, 0.1, 0.4, 0.2), rough=1.5),
    Cover("open woodland", FOREST, {
        "broadleaf": _w(0.34, 0.4, 0.1, 0.7, 0.5), "needle": _w(0.14, 0.1, 0, 0.5, 0.4),
        "grass leaf": _w(0.24, 0.3, 0.2, -0.5), "litter": _w(0.14, -0.4, -0.2, -0.3), "shade": _w(0.08, 0, 0, 0.3),
        "straw": _w(0.06, -0.6, -0.4, -0.5)},
        -10.9, -16.9, (0.3, 0.2, 0.8, 0.5), rough=1.6),
    Cover("green scrub", SHRUB, {
        "hard leaf": _w(0.58, 0.3, 0.1, 0.35, 0.2), "shade": _w(0.1, 0, 0, 0.2), "litter": _w(0.14, -0.3, 0, -0.2),
        "grass leaf": _w(0.14, 0.4, 0.2, -0.2), "pale soil": _w(0.08, -0.3, -0.2, -0.6)},
        -11.4, -17.2, (0.3, 0.2, 0.5, 0.3), rough=1.8),
    Cover("dry scrub", SHRUB, {
        "hard leaf": _w(0.5, 0.3, 0.1, 0.4, 0.3), "shade": _w(0.07, 0, 0, 0.2),
        "straw": _w(0.08, -0.2, -0.1, -0.2), "litter": _w(0.19, -0.1), "pale soil": _w(0.07, -0.3, -0.2, -0.5),
        "red soil": _w(0.06, -0.3, -0.2, -0.5), "rock": _w(0.03, -0.2, -0.4)},
        -11.9, -18, (0.3, 0.3, 0.5, 0.3), rough=1.8),
    Cover("meadow", GRASS, {
        "grass leaf": _w(0.74, 0.45, 0.2, 0.1, 0.1), "straw": _w(0.13, -0.5, -0.3),
        "dark soil": _w(0.05, -0.3, 0.1, -0.2), "litter": _w(0.08, -0.2, 0, 0, 0.2)},
        -12.8, -19.8, (0.4, 0.5, 0.3, 0.2), rough=0.9),
    Cover("dry grassland", GRASS, {
        "straw": _w(0.4, -0.3, -0.2, 0.1), "grass leaf": _w(0.38, 0.45, 0.25, 0.1),
        "pale soil": _w(0.06, -0.3, -0.1, -0.3), "litter": _w(0.12, -0.1, 0, 0.2, 0.2)},
        -13.6, -20.8, (0.4, 0.5, 0.3, 0.2), rough=1.1),
    Cover("floating plants", WET, {
        "water plant": _w(0.58, 0.5, 0, 0.6, 0.2), "algal water": _w(0.3, -0.3, 0.4, -0.5),
        "silty water": _w(0.12, 0, 0.4, -0.3)},
        -13.8, -21.5, (0.9, -0.6, 0.9, 0.4)),
    Cover("mudflat", WET, {
        "mud": _w(0.7, 0, 0.1, 0.1), "silty water": _w(0.13, 0, 0.7, -0.3), "water plant": _w(0.1, 0.6, 0, 0.5),
        "dark soil": _w(0.06, 0, -0.5, 0.2)},
        -14.4, -23, (0.4, -0.8, 0.5, 0.3), rough=0.7),
    Cover("reed", WET, {
        "reed": _w(0.62, 0.4, 0.1, 0.3, 0.1), "litter": _w(0.15, -0.3, -0.2),
        "silty water": _w(0.11, -0.2, 0.6, -0.5), "mud": _w(0.06, 0, 0.4, -0.4), "shade": _w(0.06, 0, 0.1, 0, -0.2)},
        -11, -18, (0.6, 0.5, 0.6, 0.3)),
    Cover("wet meadow", WET, {
        "grass leaf": _w(0.38, 0.45, 0, 0.2, 0.1), "reed": _w(0.3, 0.2, 0.2, 0.3), "straw": _w(0.1, -0.4, -0.3),
        "mud": _w(0.16, -0.2, 0.5, -0.4), "silty water": _w(0.11, -0.2, 0.7, -0.5)},
        -11.3, -18.7, (0.5, 0.6, 0.5, 0.3)),
    Cover("swamp forest", WET, {
        "swamp leaf": _w(0.72, 0.3, 0.1, 0.25, 0.1), "shade": _w(0.13, 0, 0.1, -0.4, -0.2),
        "mud": _w(0.07, -0.2, 0.4, -0.5), "reed": _w(0.08, 0.1, 0, -0.3)},
        -9.4, -15.6, (0.3, 0.4, 0.5, 0.2), rough=1.5),
    Cover("green crop", CROP, {
        "crop leaf": _w(0.5, 0.5, 0.1, 0.1), "dark soil": _w(0.14, -0.5, 0.1, -0.1, -0.2),
        "grass leaf": _w(0.34, 0.2), "pale soil": _w(0.06, -0.5, -0.3)},
        -11.3, -17.6, (0.7, 0.4, 0.2, 0.2), rough=0.35),
    Cover("ripe crop", CROP, {
        "straw": _w(0.46, -0.2, -0.1, 0.1), "crop leaf": _w(0.06, 0.6, 0.2), "grass leaf": _w(0.16, 0.5, 0.2),
        "pale soil": _w(0.19, -0.3, -0.2, -0.2, -0.2), "dark soil": _w(0.13, -0.3, 0.2, -0.2)},
        -12.2, -19.2, (0.6, 0.4, 0.2, 0.2), rough=0.35),
    Cover("fallow", CROP, {
        "dark soil": _w(0.4, -0.1, 0.4, 0, 0.1), "pale soil": _w(0.2, 0, -0.4), "red soil": _w(0.14, 0, -0.2),
        "litter": _w(0.12, 0.2), "grass leaf": _w(0.14, 0.6, 0.1, 0.2)},
        -12.4, -20.4, (0.3, 0.9, 0.2, 0.3), rough=0.35),
    Cover("paddy", CROP, {
        "crop leaf": _w(0.5, 0.7, 0, 0.1), "silty water": _w(0.2, -0.6, 0.3), "mud": _w(0.18, -0.6, 0.2),
        "straw": _w(0.12, -0.6, -0.4)},
        -11.8, -18.6, (1.1, -0.4, 0.2, 0.2), rough=0.35),
    Cover("orchard", CROP, {
        "broadleaf": _w(0.42, 0.4, 0.1, 0.3, 0.5), "dark soil": _w(0.14, -0.3, 0, -0.2, -0.4),
        "grass leaf": _w(0.22, 0.2, 0.1), "pale soil": _w(0.12, -0.3, -0.2), "shade": _w(0.1, 0, 0, 0, -0.3)},
        -10.6, -16.4, (0.4, 0.2, 0.3, 0.5), rough=1.5),
    Cover("town centre", URBAN, {
        "concrete": _w(0.3, 0, -0.1, 0.3, 0.7), "dark roof": _w(0.2, 0, 0, -0.2, -0.3),
        "tile roof": _w(0.16, 0, 0, 0.1, 0.5), "asphalt": _w(0.2, 0, 0, -0.3, -0.5),
        "shade": _w(0.08, 0, 0, 0, -0.6), "broadleaf": _w(0.06, 0.4, 0.2, -0.5)},
        -5.4, -13.2, (0, 0, 1, 1.2), 0.06, rough=1.3),
    Cover("housing", URBAN, {
        "tile roof": _w(0.2, 0, -0.1, 0.2, 0.8), "dark roof": _w(0.13, 0, 0, 0, 0.2),
        "asphalt": _w(0.17, -0.1, 0, 0, -0.4), "concrete": _w(0.13, -0.1, -0.2, 0.2, 0.5),
        "grass leaf": _w(0.16, 0.5, 0.2, -0.2, -0.3), "broadleaf": _w(0.16, 0.5, 0.2, -0.4, -0.4),
        "shade": _w(0.05)},
        -7.6, -14.8, (0, 0, 0.8, 1), 0.03, rough=1.3),
    Cover("industry", URBAN, {
        "metal roof": _w(0.34, 0, 0, 0.6, 0.6), "concrete": _w(0.28, 0, 0, -0.1),
        "asphalt": _w(0.2, 0, 0, -0.5, -0.4), "dark roof": _w(0.14, 0, 0, -0.3, -0.5), "grass leaf": _w(0.04, 0.4)},
        -5.2, -13.8, (0, 0, 1.4, 1.2), 0.06, rough=1.3),
    Cover("park", URBAN, {
        "broadleaf": _w(0.38, 0.3, 0.1, 0.8, 0.4), "grass leaf": _w(0.4, 0.4, 0.1, -0.6),
        "shade": _w(0.06, 0, 0, 0.4), "concrete": _w(0.06, 0, 0, -0.2, 0.3), "pale soil": _w(0.1, -0.5, -0.3)},
        -10.4, -16.6, (0, 0.1, 0.8, 0.6), 0.004, rough=1.3),
    Cover("street", URBAN, {
        "asphalt": _w(0.62, 0, 0, 0, 0.1), "concrete": _w(0.16, 0, 0, 0, 0.3), "dark roof": _w(0.07),
        "broadleaf": _w(0.1, 0.3, 0.1), "shade": _w(0.05, 0, 0, 0, -0.4)},
        -9.5, -17, (0, 0, 0.8, 0.8), 0.02),
    Cover("beach", BARREN, {
        "sand": _w(0.7, 0, -0.3, 0.1, 0.1), "mud": _w(0.1, 0, 0.8), "pale soil": _w(0.12),
        "straw": _w(0.08, 0, -0.2, -0.4)},
        -16, -25, (0, -0.3, 0.5, 0.3), rough=0.7),
    Cover("rock", BARREN, {
        "rock": _w(0.62, 0, 0, 0.3, 0.2), "shade": _w(0.1, 0, 0, -0.2, -0.4), "hard leaf": _w(0.1, 0.5, 0.1, -0.4),
        "pale soil": _w(0.12, 0, -0.2), "straw": _w(0.06)},
        -12.4, -20.6, (0, 0.1, 0.9, 0.5)),
    Cover("bare soil", BARREN, {
        "pale soil": _w(0.46, 0, -0.4, 0.1, 0.1), "red soil": _w(0.18, 0, -0.1, -0.2), "rock": _w(0.14, 0, 0, 0.3),
        "concrete": _w(0.08, 0, 0, 0.2, 0.3), "straw": _w(0.08, 0.3, 0, -0.3), "dark soil": _w(0.06, 0, 0.5)},
        -13.2, -21.8, (0.1, 0.6, 0.6, 0.3)),
    Cover("salt pan", BARREN, {
        "salt": _w(0.4, 0, -0.5, 0.4), "mud": _w(0.28, 0, 0.6, -0.2), "pale soil": _w(0.24, 0, -0.2),
        "silty water": _w(0.08, 0, 0.8, -0.5)},
        -15, -24, (0, -0.5, 0.6, 0.3)),
    Cover("deep water", WATER, {
        "clear water": _w(0.72, 0, 0.1), "silty water": _w(0.2, 0, -0.1, 0.1), "algal water": _w(0.08, 0.3)},
        -19.4, -29.5, (0, 0, 0.3, 0.1), rough=0.5),
    Cover("silty water", WATER, {
        "silty water": _w(0.7, 0, 0, 0.15), "clear water": _w(0.2, 0, 0.2, -0.1), "algal water": _w(0.1, 0.4)},
        -19.8, -29.8, (0, 0, 0.3, 0.1), rough=0.5),
    Cover("shallow water", WATER, {
        "silty water": _w(0.36, 0, -0.1, 0.2), "clear water": _w(0.34, 0, 0.3, -0.2),
        "mud": _w(0.12, 0, -0.5, 0.3), "algal water": _w(0.12, 0.4), "water plant": _w(0.06, 0.8, 0, 0.6)},
        -19.6, -28.6, (0.2, -0.3, 0.5, 0.2), rough=0.7),
    Cover("algal water", WATER, {
        "algal water": _w(0.64, 0.3, 0, 0.2), "silty water": _w(0.16), "clear water": _w(0.14),
        "water plant": _w(0.06, 0.9, 0, 0.7)},
        -19.4, -29, (0.2, 0, 0.4, 0.1), rough=0.7),
)
# fmt: on

COVER_CODES = np.array([cover.code for cover in COVERS], np.uint8)
"""The class of each cover, by its index."""
COVER_INDEX: dict[str, int] = {cover.name: i for i, cover in enumerate(COVERS)}
