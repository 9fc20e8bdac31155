"""What the satellites measure over a landscape: thirteen Sentinel-2 bands and two Sentinel-1 channels.

Light: abundances of materials -> surface reflectance -> slope and sun -> point spread, native grids of 10, 20 and 60 m
-> air (path radiance, adjacency, absorption) -> noise -> bilinear back to 10 m. Radar: backscatter of covers, slopes,
double-bounce points, wind, thermal noise, multi-look speckle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dfcbench.demo.covers import COVER_CODES, COVER_INDEX, COVERS, WATER
from dfcbench.demo.landscape import Landscape
from dfcbench.demo.noise import Field, Shape, enlarge, fractal, shrink
from dfcbench.demo.regions import Date, Region
from dfcbench.demo.spectra import MATERIALS, REFLECTANCE
from dfcbench.sensors import S2_BANDS, S2_INDEX

_WAVELENGTH = np.array([band.wavelength for band in S2_BANDS]) / 1000.0  # micrometres
_TILLAGE_TONE = np.float32(0.25)
"""Standard deviation between fields of crops under the same cover, in log reflectance: soils, dates of sowing, varieties
and directions of rows differ from one farmer's field to the next. Set by hand."""
_TILLAGE_ECHO = np.float32(2.0)
"""The same of backscatter, in dB."""


@dataclass(frozen=True)
class Look:
    """How one region differs from the textbook: its materials, its backscatter, its air. Fixed for all its blocks."""

    materials: NDArray[np.float32]
    """Surface reflectance x 10000, (material, 13)."""
    vv: NDArray[np.float32]
    vh: NDArray[np.float32]
    """Mean backscatter of each cover in dB."""
    path: NDArray[np.float32]
    """Path reflectance x 10000 of clear air, (13,)."""
    transmission: NDArray[np.float32]
    adjacency: NDArray[np.float32]
    """Share of the light that comes from the surroundings, (13,)."""


def look(rng: np.random.Generator, region: Region) -> Look:
    """Draw a region's materials around the textbook ones, and work out its air.

    Rayleigh optical thickness 0.00864 / wavelength ** 4 (Hansen & Travis 1974, leading term); aerosol by Angstrom's law
    with exponent 1.3; single scattering with typical phase values for a nadir view. Constants in ``path`` are set so
    that clear water comes out as in the real patches of the contest.
    """
    gain = np.exp(rng.normal(0, 0.05, (len(MATERIALS), 1)))
    tilt = np.exp(rng.normal(0, 0.045, (len(MATERIALS), 1)) * (np.log(_WAVELENGTH) - np.log(0.9))[None])
    bands = np.exp(rng.normal(0, 0.015, (1, 13)))
    materials = (REFLECTANCE * gain * tilt * bands).astype(np.float32)
    shift = rng.normal(0, 0.4, (2, len(COVERS)))
    rayleigh = 0.00864 * _WAVELENGTH**-4.0
    aerosol = region.haze * (_WAVELENGTH / 0.55) ** -1.3
    path = 10000.0 * (0.415 * rayleigh + 0.075 * aerosol) * np.exp(-0.6 * rayleigh)
    transmission = np.exp(-(1.05 * rayleigh + 0.38 * aerosol)) * 0.98
    adjacency = 0.05 + 0.45 * (1 - np.exp(-(rayleigh + aerosol)))
    transmission[S2_INDEX["B9"]] *= region.vapour
    path[S2_INDEX["B9"]] *= region.vapour
    path[S2_INDEX["B10"]], transmission[S2_INDEX["B10"]] = 0.0, 0.0
    return Look(
        materials,
        np.array([c.vv for c in COVERS], np.float32) + shift[0].astype(np.float32),
        np.array([c.vh for c in COVERS], np.float32) + (0.7 * shift[0] + 0.5 * shift[1]).astype(np.float32),
        path.astype(np.float32),
        transmission.astype(np.float32),
        adjacency.astype(np.float32),
    )


def at_date(rng: np.random.Generator, seen: Look, date: Date) -> Look:
    """The same place at another time of the year."""
    each = (len(MATERIALS), 1)
    gain = np.exp(date.brightness + rng.normal(0, date.scatter, each))
    tilt = np.exp((date.tilt + rng.normal(0, date.scatter, each)) * (np.log(_WAVELENGTH) - np.log(0.9))[None])
    shift = rng.normal(0, date.echo_scatter, (2, len(COVERS)))
    common = np.where([cover.code == WATER for cover in COVERS], 0.0, date.backscatter)
    return replace(
        seen,
        materials=(seen.materials * gain * tilt).astype(np.float32),
        vv=(seen.vv + common + shift[0]).astype(np.float32),
        vh=(seen.vh + common + 0.7 * shift[0] + 0.5 * shift[1]).astype(np.float32),
    )


def optical(rng: np.random.Generator, land: Landscape, region: Region, seen: Look) -> NDArray[np.uint16]:
    """Sentinel-2: (13, H, W) top-of-atmosphere reflectance x 10000. H and W must be multiples of 12."""
    surface = _reflectance(land, seen)
    shape = land.cover.shape
    surface *= _illumination(land, region)
    surface *= np.exp(_TILLAGE_TONE * land.tillage[0])
    haze = 1 + np.float32(0.05) * fractal(rng, shape, 3.0, longest=300, shortest=80)
    cirrus = np.maximum(region.cirrus + 2.5 * fractal(rng, shape, 3.0, longest=200, shortest=30), 2).astype(np.float32)
    result = np.empty((13, *shape), np.uint16)
    for i, band in enumerate(S2_BANDS):
        factor = band.resolution // 10
        field = ndimage.gaussian_filter(surface[i], 0.55 * factor**0.5, truncate=3.0)
        if factor > 1:
            field = shrink(field, factor)
        thick = shrink(haze, factor) if factor > 1 else haze
        around = _surroundings(surface[i], factor)
        field += seen.adjacency[i] * (around - field)
        field *= seen.transmission[i]
        field += seen.path[i] * thick
        if band.name == "B10":
            field = shrink(cirrus, factor)
        sigma = np.sqrt(_NOISE[i] ** 2 + np.maximum(field, 0) * np.float32(0.25))
        field += sigma * rng.standard_normal(field.shape, dtype=np.float32)
        if factor > 1:
            field = enlarge(field, factor)
        np.clip(field, 1, 28000, out=field)
        result[i] = np.rint(field)
    return result


_NOISE = np.array([8, 9, 9, 9, 9, 10, 10, 12, 10, 5, 2.5, 10, 10], np.float32)
"""Noise floor x 10000: L1C signal-to-noise of 90 to 230 at reference radiance (Sentinel-2 MSI user guide)."""


def _reflectance(land: Landscape, seen: Look) -> Field:
    """Surface reflectance x 10000, (13, H, W): softmax mixtures of materials, moved by the latent fields."""
    flat_cover = land.cover.ravel()
    order = np.argsort(flat_cover, kind="stable")
    bounds = np.searchsorted(flat_cover[order], np.arange(len(COVERS) + 1))
    latents = land.latents.reshape(len(land.latents), -1)
    result = np.empty((13, flat_cover.size), np.float32)
    for k, cover in enumerate(COVERS):
        where = order[bounds[k] : bounds[k + 1]]
        if not where.size:
            continue
        state = latents[:, where]
        mixed = np.zeros((13, where.size), np.float32)
        total = np.zeros(where.size, np.float32)
        for material, (weight, *loads) in cover.mixture.items():
            share = np.full(where.size, weight, np.float32)
            for load, latent in zip(loads, state, strict=False):
                if load:
                    share += np.float32(load) * latent
            np.exp(share, out=share)
            total += share
            mixed += share * seen.materials[MATERIALS.index(material)][:, None]
        mixed /= total
        if cover.code != WATER:
            mixed *= 1 + np.float32(0.025) * state[3] + np.float32(0.05) * state[2]
        result[:, where] = mixed
    cube = result.reshape(13, *land.cover.shape)
    _stir(cube, land)
    return cube


def _stir(surface: Field, land: Landscape) -> None:
    """Water has no inner borders: smooth its reflectance over some 200 m, within the water only. Works in place."""
    water = COVER_CODES[land.cover] == WATER
    if not water.any():
        return
    weight = water.astype(np.float32)
    coarse = ndimage.gaussian_filter(shrink(weight, 4), 4.5, truncate=2.0) + np.float32(1e-6)
    for band in surface:
        smooth = ndimage.gaussian_filter(shrink(band * weight, 4), 4.5, truncate=2.0) / coarse
        np.copyto(band, enlarge(smooth, 4), where=water)


def _illumination(land: Landscape, region: Region) -> Field:
    """Sunlight on slopes relative to flat ground: direct light by the cosine of incidence, a fifth diffuse."""
    elevation, azimuth = np.deg2rad(region.sun)
    ground = land.terrain
    toward_y, toward_x = -np.cos(azimuth), np.sin(azimuth)  # rows run south
    rise = ground.slope_y * np.float32(toward_y) + ground.slope_x * np.float32(toward_x)
    steep = np.square(ground.slope_y) + np.square(ground.slope_x)
    direct = (1 - rise / np.float32(np.tan(elevation))) / np.sqrt(1 + steep)
    light: Field = (np.float32(0.2) + np.float32(0.8) * np.clip(direct, 0, 2)).astype(np.float32)
    light[COVER_CODES[land.cover] == WATER] = 1
    return light


def _surroundings(surface: Field, factor: int) -> Field:
    """Mean reflectance within some 500 m, on the grid of ``factor`` pixels (factor 1, 2 or 6)."""
    coarse = ndimage.gaussian_filter(shrink(surface, 12), 4.0, truncate=2.5)
    return enlarge(coarse, 12 // factor)


def radar(rng: np.random.Generator, land: Landscape, region: Region, seen: Look) -> Field:
    """Sentinel-1: VV and VH in dB, (2, H, W), unfiltered ground-range product resampled to 10 m."""
    shape: Shape = (land.cover.shape[0], land.cover.shape[1])
    water = COVER_CODES[land.cover] == WATER
    loads = np.array([c.radar for c in COVERS], np.float32)
    change = np.zeros(shape, np.float32)
    for k in range(loads.shape[1]):
        change += loads[:, k][land.cover] * land.latents[k]
    change += _TILLAGE_ECHO * land.tillage[1]
    facing = ndimage.gaussian_filter(land.terrain.slope_x, 2.0, truncate=2.5) * np.float32(rng.choice([-1.0, 1.0]))
    np.clip(facing, -0.4, 0.4, out=facing)
    facing[water] = 0
    change += np.float32(7) * facing  # slopes that face the sensor are brighter
    wind = region.wind + float(rng.normal(0, 0.5)) + 0.9 * fractal(rng, shape, 3.2, longest=300, shortest=20)
    echo = _double_bounce(rng, land)
    result = np.empty((2, *shape), np.float32)
    for p, level in enumerate((seen.vv, seen.vh)):
        decibels = level[land.cover] + change
        decibels[water] += (wind * np.float32((1.0, 0.35)[p]))[water]
        power = np.power(np.float32(10), decibels / 10)
        power += echo * np.float32((1.0, 0.12)[p])
        power = ndimage.gaussian_filter(power, 0.7, truncate=3.0)
        power *= _speckle(rng, shape)
        power += np.float32((4e-4, 2e-4)[p]) * rng.standard_normal(shape, dtype=np.float32)  # noise left after its mean
        np.maximum(power, np.float32(2e-5), out=power)
        result[p] = 10 * np.log10(power)
    return result


def _speckle(rng: np.random.Generator, shape: Shape) -> Field:
    """Multi-look speckle of unit mean: squared Gaussians smoothed by the impulse response.

    Blurring by one pixel gives about six looks and correlations of 0.77 and 0.38 at one and two pixels, as measured
    on homogeneous real patches of SEN12MS.
    """
    single: Field = np.square(rng.standard_normal(shape, dtype=np.float32))
    looks: Field = ndimage.gaussian_filter(single, 1.0, truncate=3.0)
    return looks


def _double_bounce(rng: np.random.Generator, land: Landscape) -> Field:
    """Walls that face the sensor: rare, strong point echoes in power units."""
    odds = np.array([c.bright for c in COVERS], np.float32)[land.cover]
    ships = land.cover == COVER_INDEX["deep water"]
    odds[ships] = 2e-6
    hit = rng.random(odds.shape, dtype=np.float32) < odds
    echo = np.zeros(odds.shape, np.float32)
    echo[hit] = np.exp(rng.normal(1.1, 0.9, int(hit.sum())))
    return echo
