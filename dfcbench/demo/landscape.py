"""One block of land: what grows and stands where (covers), what a mapper would call it (labels), and in which state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dfcbench.demo import parcels, terrain
from dfcbench.demo.covers import COVER_CODES, COVER_INDEX, COVERS, CROP, GRASS, URBAN, WATER, WET
from dfcbench.demo.noise import Field, Shape, fractal, normal_hash, strongest, uniform_hash, white
from dfcbench.demo.regions import Region, Setting
from dfcbench.demo.terrain import Terrain

LAND: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9)
"""Class codes that compete for dry land; their order is that of ``Setting.shares``."""
_UNIT = 32
"""Shortest wavelength in pixels of what decides about the use of land. Half of it is 160 m: wider than the windows in which
texture helped to tell croplands and towns (130 m; Robinson et al. 2021, Sec. V-E)."""
_LAKE = 100
"""Pixels of the smallest lake: a hectare."""


@dataclass(frozen=True)
class Landscape:
    """Ground truth of one block; every array has the block's shape."""

    terrain: Terrain
    cover: NDArray[np.uint8]
    """Index into ``COVERS``, down to single trees and roads."""
    label: NDArray[np.uint8]
    """Class code as a mapper draws it: small features are left out, edges are smooth."""
    latents: Field
    """(4, H, W): vigour, moisture, texture, grain; the last two as rough as the cover is."""
    tillage: Field
    """(2, H, W): how each field of crops differs in brightness and in backscatter, standardised; 0 elsewhere."""


def build(rng: np.random.Generator, shape: Shape, region: Region, setting: Setting) -> Landscape:
    """Terrain first; then the classes compete for the land by suitability; then covers, details and state."""
    ground = terrain.build(rng, shape, setting)
    shares = np.array(setting.shares) * np.exp(rng.normal(0, 0.12, 8))
    shares /= shares.sum()
    fields = parcels.divide(rng, shape, 120, *setting.lots, turn=0.35, warp=4.0)
    streets = parcels.divide(rng, shape, 55, 8.0, 15.0, turn=0.5, warp=1.5)
    towns, town_fall = _towns(rng, shape, ground, setting)
    suitability = _suitability(rng, shape, ground, town_fall, fields)
    water = _open_water(rng, shape, ground, float(shares[7]))
    code = _compete(suitability, shares[:7], water)
    label = _generalise(code)
    label[water] = WATER

    cover = _covers(rng, shape, region, ground, code, fields, streets, town_fall)
    minor, major = parcels.roads(rng, shape, towns, exits=2 + setting.towns // 2)
    _details(rng, shape, ground, cover, code, fields, streets, minor, major)
    latents = _latents(rng, shape, region, ground, code, cover, fields)
    seed = int(rng.integers(2**31))
    tilled = COVER_CODES[cover] == CROP  # no roads, hedges and ponds within fields
    tillage = [np.where(tilled, normal_hash(seed + 5 * k, fields.key), np.float32(0)) for k in range(2)]
    return Landscape(ground, cover, label, latents, np.stack(tillage))


def _towns(
    rng: np.random.Generator, shape: Shape, ground: Terrain, setting: Setting
) -> tuple[NDArray[np.floating], Field]:
    """Town centres on flat dry land, and how far a place is from being town (0 at a centre, in town radii)."""
    rows, columns = shape
    count = max(1, round(setting.towns * rows * columns / 576**2))
    candidates = np.column_stack([rng.uniform(0.05, 0.95, 60 * count) * n for n in shape])
    r, c = candidates.astype(int).T
    worth = rng.uniform(0, 1, len(candidates)) - 6 * ground.slope_of_place[r, c]
    worth -= 3.0 * (ground.sea | ground.river)[r, c]
    worth += 0.4 * np.exp(-ground.shore_distance[r, c] / 600)
    chosen: list[int] = []
    for i in np.argsort(-worth, kind="stable").tolist():
        if all(np.hypot(*(candidates[i] - candidates[j])) > 90 for j in chosen):
            chosen.append(i)
        if len(chosen) == count:
            break
    towns = candidates[chosen]
    y, x = np.ogrid[:rows, :columns]
    fall = np.full(shape, np.inf, np.float32)
    for k, (row, column) in enumerate(towns):
        radius = rng.uniform(25, 45) * (1.8 if k == 0 else 1.0)
        away = np.hypot(y - np.float32(row), x - np.float32(column)).astype(np.float32) / np.float32(radius)
        np.minimum(fall, away, out=fall)
    return towns, fall


def _suitability(
    rng: np.random.Generator,
    shape: Shape,
    ground: Terrain,
    town_fall: Field,
    fields: parcels.Parcels,
) -> Field:
    """(7, H, W): how well each land class fits each place, standardised terrain and noise."""
    steep = np.minimum(ground.slope_of_place / np.float32(0.12), 3)
    low = np.exp(-ground.above_water / np.float32(2.5))
    near = np.exp(-ground.shore_distance / np.float32(350))
    high = ground.height / np.float32(max(float(ground.height.std()), 1.0))

    def patchy(longest: float, slope: float = 3.1) -> Field:
        return fractal(rng, shape, slope, longest=longest, shortest=_UNIT)

    result = np.empty((7, *shape), np.float32)
    result[0] = 0.5 * steep + 0.25 * high + 0.95 * patchy(240) + 0.05 * white(rng, shape, 1.6)
    result[1] = 0.4 * steep + 0.2 * high - 0.6 * low + 0.95 * patchy(240) + 0.05 * white(rng, shape, 1.6)
    result[2] = -0.2 * steep + 0.3 * low + 0.95 * patchy(180)
    result[3] = 2.3 * low + 1.1 * near - 0.9 * steep + 0.75 * patchy(220, 3.0)
    result[4] = -2.0 * steep - 0.25 * low + 0.9 * patchy(300, 3.2)
    result[5] = -1.3 * np.minimum(town_fall, 6) - 0.8 * steep - 0.5 * low + 0.45 * patchy(140, 2.6)
    beach = np.exp(-ground.shore_distance / np.float32(60)) * (fractal(rng, shape, 2.5, 150, 24) + 0.6)
    pits = np.maximum(patchy(330, 3.2) - 0.9, 0)
    sites = uniform_hash(int(rng.integers(2**31)), fields.key) > np.float32(0.975)
    result[6] = 0.5 * np.maximum(steep - 0.8, 0) + 1.7 * pits + 1.4 * beach + 0.1 * patchy(90)
    result[6] += np.where(sites, np.exp(-np.abs(town_fall - 1)), np.float32(0))  # building land and tips around towns
    r, c = fields.centre_row, fields.centre_column
    result[4] = 0.9 * result[4][r, c] + 0.1 * result[4]  # fields change hands as a whole
    result[2] = 0.7 * result[2][r, c] + 0.3 * result[2]
    return result


def _open_water(rng: np.random.Generator, shape: Shape, ground: Terrain, share: float) -> NDArray[np.bool_]:
    """Sea, rivers, and lakes in the lowest flat ground until ``share`` of the block is water."""
    water = ground.sea | ground.river
    missing = share - float(water.mean())
    if missing > 0.002:
        basin = fractal(rng, shape, 4.0, longest=240, shortest=40)
        basin -= ndimage.gaussian_filter(ground.above_water, 12.0, truncate=2.0) / np.float32(4)
        basin -= 6 * np.maximum(ground.slope_of_place - np.float32(0.03), 0) / np.float32(0.03)
        basin[water] = -np.inf
        rank = int((1 - min(1.15 * missing, 0.9)) * basin.size)  # the opening takes some away
        lakes = basin > np.partition(basin.ravel(), rank)[rank]
        lakes = ndimage.binary_opening(lakes, iterations=3)
        number, _ = ndimage.label(lakes)
        water = water | (lakes & (np.bincount(number.ravel())[number] >= _LAKE))
    return water


def _compete(suitability: Field, shares: NDArray[np.floating], water: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Class code of each pixel: the land class with the best suitability, after offsets that make the shares come out.

    Adds the offsets to ``suitability`` in place."""
    thin = np.ascontiguousarray(suitability[:, ::6, ::6]).reshape(7, -1)[:, ~water[::6, ::6].ravel()]
    target = shares / shares.sum()
    offset = np.log(target + 1e-4).astype(np.float32) * np.float32(0.4)
    if thin.shape[1]:
        for step in np.geomspace(0.5, 0.04, 40):
            found = np.bincount((thin + offset[:, None]).argmax(axis=0), minlength=7) / thin.shape[1]
            offset += np.float32(step) * np.log((target + 2e-3) / (found + 2e-3)).astype(np.float32)
    suitability += offset[:, None, None]
    code = np.array(LAND, np.uint8)[strongest(suitability)]
    code[water] = WATER
    return code


def _generalise(code: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The commonest class in each 5 x 5 window: a minimum mapping unit of a quarter hectare."""
    votes = np.stack([ndimage.uniform_filter((code == c).astype(np.float32), 5) for c in (*LAND, WATER)])
    return np.array((*LAND, WATER), np.uint8)[strongest(votes)]


def _covers(
    rng: np.random.Generator,
    shape: Shape,
    region: Region,
    ground: Terrain,
    kind: NDArray[np.uint8],
    fields: parcels.Parcels,
    streets: parcels.Parcels,
    town_fall: Field,
) -> NDArray[np.uint8]:
    """Covers of each class in the region's proportions, ordered along a gradient that suits the class."""
    wander = fractal(rng, shape, 2.8, longest=120, shortest=4)
    local = fractal(rng, shape, 2.4, longest=40, shortest=3)
    seed = int(rng.integers(2**31))
    wet = np.log1p(ground.above_water) + np.minimum(ground.shore_distance / np.float32(500), 3)
    gradient: dict[int, Field] = {
        1: 0.6 * ground.height / np.float32(max(float(ground.height.std()), 1.0)) + wander + 0.3 * local,
        2: wander + 0.4 * local - np.float32(3) * (ground.slope_y - ground.slope_x),
        4: wander + 0.6 * normal_hash(seed, fields.key) + np.float32(0.3) * np.log1p(ground.above_water),
        5: 1.2 * wet + 0.7 * wander + 0.3 * local,
        6: normal_hash(seed + 5, fields.key) + 0.3 * wander,
        7: np.minimum(town_fall, 3) + 0.6 * normal_hash(seed + 9, streets.key) + 0.2 * wander,
        9: 0.6 * np.log1p(ground.shore_distance / 50) + 8 * ground.steepness + 0.5 * wander + 0.3 * local,
        10: np.log1p(ground.depth / np.float32(60)) + 0.4 * fractal(rng, shape, 3.2, longest=350, shortest=12),
    }
    cover = np.zeros(shape, np.uint8)
    for code, weights in region.covers.items():
        inside = kind == code
        if not inside.any():
            continue
        names = list(weights)
        share = np.array([weights[n] for n in names]) * np.exp(rng.normal(0, 0.25, len(names)))
        values = gradient[code][inside]
        cuts = np.quantile(values[:: max(1, len(values) // 20000)], np.cumsum(share / share.sum())[:-1])
        table = np.array([COVER_INDEX[n] for n in names], np.uint8)
        cover[inside] = table[np.searchsorted(cuts.astype(np.float32), values)]
    return cover


def _details(
    rng: np.random.Generator,
    shape: Shape,
    ground: Terrain,
    cover: NDArray[np.uint8],
    kind: NDArray[np.uint8],
    fields: parcels.Parcels,
    streets: parcels.Parcels,
    minor: NDArray[np.bool_],
    major: NDArray[np.bool_],
) -> None:
    """What no map of this grain shows: streets, hedges, trees, farms, ponds, clearings. Changes ``cover``."""
    index = COVER_INDEX
    seed = int(rng.integers(2**31))
    fine = fractal(rng, shape, 2.0, longest=24, shortest=2.5)
    coarse = fractal(rng, shape, 2.6, longest=80, shortest=8)
    farmed = (kind == CROP) | (kind == GRASS)
    town = kind == URBAN
    wooded = kind == 1

    tilled = kind == CROP  # the plough wants room: fewer hedges and trees than on pastures
    hedge = uniform_hash(seed, fields.key) < np.where(tilled, np.float32(0.08), np.float32(0.25))
    cover[farmed & (fields.edge < 0.6) & hedge] = index["open woodland"]
    trees = fine + 0.5 * coarse > np.where(tilled, np.float32(3.0), np.float32(2.2))
    cover[farmed & trees] = index["broadleaf forest"]
    cover[(kind == 2) & (fine + 0.4 * coarse > 2.1)] = index["open woodland"]
    cover[(kind == 2) & (fine + 0.4 * coarse < -2.1)] = index["dry grassland"]
    cover[(kind == GRASS) & (fine < -2.1)] = index["green scrub"]
    cover[(kind == WET) & (fine - 0.6 * coarse > 2.1)] = index["shallow water"]
    cover[(kind == WET) & (fine + 0.6 * coarse < -2.3)] = index["open woodland"]
    cover[farmed & (fine - 0.7 * coarse > 3.2)] = index["housing"]
    cover[farmed & (coarse - 0.8 * fine > 3.4)] = index["shallow water"]
    cleared = wooded & (uniform_hash(seed + 3, fields.key) < 0.03)
    cover[cleared] = index["open woodland"]
    brook = ground.stream & ~(kind == WATER) & ~town & (fine > -1.0)
    cover[brook & farmed] = index["open woodland"]
    cover[brook & (kind == WET)] = index["shallow water"]
    cover[town & (streets.edge < 0.55)] = index["street"]
    cover[minor & (kind != WATER)] = index["street"]
    cover[major & ((kind != WATER) | ground.river)] = index["street"]  # bridges


def _latents(
    rng: np.random.Generator,
    shape: Shape,
    region: Region,
    ground: Terrain,
    kind: NDArray[np.uint8],
    cover: NDArray[np.uint8],
    fields: parcels.Parcels,
) -> Field:
    seed = int(rng.integers(2**31))
    latents = np.empty((4, *shape), np.float32)
    farmed = kind == CROP
    pasture = kind == GRASS
    vigour = fractal(rng, shape, 2.6, longest=200, shortest=6)
    own = normal_hash(seed, fields.key)
    vigour = np.where(farmed, 0.4 * vigour + own, np.where(pasture, 0.85 * vigour + 0.45 * own, vigour))
    latents[0] = vigour + np.float32(region.vigour)
    moist = 0.7 * fractal(rng, shape, 2.6, longest=120, shortest=4)
    moist += 1.1 * np.exp(-ground.above_water / np.float32(3)) - np.float32(0.4)
    latents[1] = moist + np.float32(region.moisture)
    latents[2] = fractal(rng, shape, 2.0, longest=14, shortest=2.5)
    grain = white(rng, shape)
    grain = np.where(farmed, 0.7 * grain + 0.7 * normal_hash(seed + 5, fields.furrow, fields.key), grain)
    latents[3] = grain
    latents[2:] *= np.array([each.rough for each in COVERS], np.float32)[cover]
    return latents
