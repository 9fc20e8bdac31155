"""Random fields and hashes: the grain from which the demo landscape is built. Fields are float32, sizes in pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Field = NDArray[np.float32]
Shape = tuple[int, int]


def fractal(rng: np.random.Generator, shape: Shape, slope: float, longest: float, shortest: float = 2.0) -> Field:
    """Gaussian random field with power ~ frequency ** -slope between two wavelengths; zero mean, unit variance.

    Synthesised in the Fourier domain (Voss 1988), on a torus larger than ``shape`` by up to a third, so that opposite
    borders do not match. Fields without fine detail are made on a coarser grid and interpolated. Both sides of
    ``shape`` must be multiples of 4.
    """
    coarse = 4 if shortest >= 20 else 2 if shortest >= 8 else 1
    small = (shape[0] // coarse, shape[1] // coarse)
    longest, shortest = longest / coarse, shortest / coarse
    padding = [int(min(longest, n / 3)) for n in small]
    rows, columns = (fft.next_fast_len(n + p, real=True) for n, p in zip(small, padding, strict=True))
    fy = fft.fftfreq(rows).astype(np.float32)[:, None]
    fx = fft.rfftfreq(columns).astype(np.float32)[None, :]
    square = np.square(fy) + np.square(fx)
    amplitude = np.maximum(square, np.float32(longest**-2)) ** np.float32(-slope / 4)
    amplitude[(square > np.float32(shortest**-2)) | (square == 0)] = 0
    spectrum = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    spectrum *= amplitude
    field = fft.irfft2(spectrum, s=(rows, columns), workers=1)[: small[0], : small[1]]
    sample = field[::3, ::3].astype(np.float64)
    field = (field - np.float32(sample.mean())) / np.float32(max(float(sample.std()), 1e-12))
    return enlarge(field, coarse) if coarse > 1 else field


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
    """Mean over squares of ``factor`` pixels; both sides must be multiples of it."""
    rows, columns = field.shape
    bands = field.reshape(rows // factor, factor, columns).sum(axis=1)
    total: Field = bands[:, ::factor].copy()
    for k in range(1, factor):
        total += bands[:, k::factor]
    total /= np.float32(factor * factor)
    return total


def distance(mask: NDArray[np.bool_], factor: int) -> Field:
    """Pixels to the nearest pixel of the mask (0 inside), on a grid of ``factor`` pixels, interpolated; 1e4 if none."""
    rows, columns = mask.shape
    coarse = mask.reshape(rows // factor, factor, columns // factor, factor).any(axis=(1, 3))
    if not coarse.any():
        return np.full(mask.shape, 1e4, np.float32)
    apart = ndimage.distance_transform_edt(~coarse).astype(np.float32) * np.float32(factor)
    return enlarge(apart, factor)


def strongest(scores: Field) -> NDArray[np.uint8]:
    """Index of the largest along the first axis; the first of equals."""
    best = scores[0].copy()
    index = np.zeros(best.shape, np.uint8)
    for k in range(1, len(scores)):
        better = scores[k] > best
        np.copyto(best, scores[k], where=better)
        index[better] = k
    return index


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
