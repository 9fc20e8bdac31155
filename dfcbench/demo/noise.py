"""Random fields and hashes: the grain from which the demo landscape is built. All arrays are float32, sizes in pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Field = NDArray[np.float32]
Shape = tuple[int, int]


def fractal(rng: np.random.Generator, shape: Shape, slope: float, longest: float, shortest: float = 2.0) -> Field:
    """Gaussian random field with power ~ frequency ** -slope between two wavelengths; zero mean, unit variance.

    Synthesised in the Fourier domain (Voss 1988), on a torus larger than ``shape`` by up to half, so that opposite
    borders do not match. Only the frequencies in the band are drawn.
    """
    padding = [int(min(longest, n / 2)) for n in shape]
    rows, columns = (fft.next_fast_len(n + p, real=True) for n, p in zip(shape, padding, strict=True))
    highest = min(0.5, 1.0 / shortest)
    ky = min(rows // 2, int(np.ceil(highest * rows)))
    kx = min(columns // 2, int(np.ceil(highest * columns)))
    fy = np.arange(-ky, ky + 1, dtype=np.float32)[:, None] / np.float32(rows)
    fx = np.arange(kx + 1, dtype=np.float32)[None, :] / np.float32(columns)
    frequency = np.hypot(fy, fx)
    amplitude = np.maximum(frequency, np.float32(1.0 / longest)) ** np.float32(-slope / 2)
    amplitude[(frequency > highest) | (frequency == 0)] = 0
    draw = rng.standard_normal((2, *amplitude.shape), dtype=np.float32)
    draw *= amplitude
    spectrum = np.zeros((rows, columns // 2 + 1), np.complex64)
    band = draw[0] + np.complex64(1j) * draw[1]
    spectrum[: ky + 1, : kx + 1] = band[ky:]
    if ky:
        spectrum[-ky:, : kx + 1] = band[:ky]
    field = fft.irfft2(spectrum, s=(rows, columns), workers=1)[: shape[0], : shape[1]]
    field = np.ascontiguousarray(field, dtype=np.float32)
    field -= field.mean(dtype=np.float64).astype(np.float32)
    field /= np.float32(max(float(field.std(dtype=np.float64)), 1e-12))
    return field


def white(rng: np.random.Generator, shape: Shape, sigma: float = 0.0) -> Field:
    """White noise, blurred by a Gaussian of ``sigma`` pixels and rescaled to unit variance."""
    field = rng.standard_normal(shape, dtype=np.float32)
    if sigma:
        field = ndimage.gaussian_filter(field, sigma, mode="wrap", truncate=3.0)
        field /= np.float32(field.std(dtype=np.float64))
    return field


def uniform_hash(seed: int, *keys: NDArray[np.integer]) -> Field:
    """Integers of equal shape -> numbers in [0, 1) that depend on all of them and on the seed, and look independent.

    Mixing steps and constants: the 32-bit finaliser of MurmurHash3 (Appleby, public domain).
    """
    state = np.full(np.broadcast_shapes(*(k.shape for k in keys)), seed & 0xFFFFFFFF, np.uint32)
    for key in keys:
        state ^= key.astype(np.uint32)
        state ^= state >> np.uint32(16)
        state *= np.uint32(0x85EBCA6B)
        state ^= state >> np.uint32(13)
        state *= np.uint32(0xC2B2AE35)
        state ^= state >> np.uint32(16)
    return (state >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def normal_hash(seed: int, *keys: NDArray[np.integer]) -> Field:
    """As ``uniform_hash``, with a bell-shaped distribution of zero mean and unit variance (sum of three uniforms)."""
    total = uniform_hash(seed, *keys) + uniform_hash(seed + 1, *keys) + uniform_hash(seed + 2, *keys)
    return (total - np.float32(1.5)) * np.float32(2.0)


def shrink(field: Field, factor: int) -> Field:
    """Mean over squares of ``factor`` pixels; the last two axes must be multiples of it."""
    *lead, h, w = field.shape
    return field.reshape(*lead, h // factor, factor, w // factor, factor).mean(axis=(-3, -1), dtype=np.float32)


def enlarge(field: Field, factor: int) -> Field:
    """Bilinear interpolation of the last two axes to ``factor`` times their size; pixel centres are kept in place."""
    for axis in (-2, -1):
        n = field.shape[axis]
        position = (np.arange(n * factor, dtype=np.float32) + np.float32(0.5)) / np.float32(factor) - np.float32(0.5)
        low = np.floor(position).astype(np.intp)
        weight = position - low.astype(np.float32)
        if axis == -2:
            weight = weight[:, None]
        first = np.take(field, np.clip(low, 0, n - 1), axis=axis)
        second = np.take(field, np.clip(low + 1, 0, n - 1), axis=axis)
        second -= first
        second *= weight
        first += second
        field = first
    return field


def quantile(field: Field, share: float) -> float:
    """The value below which about ``share`` of the field lies (from every fourth pixel)."""
    return float(np.quantile(field.ravel()[::4], min(max(share, 0.0), 1.0)))
