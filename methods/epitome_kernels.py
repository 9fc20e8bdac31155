"""Compiled loops of the epitome: costs of all windows at all positions, row by row, and softmaxes over them.

An image's features are (H + 2 r, W + 2 r, K), mirrored around the border; an epitome's features are (E, K, n), one
matrix per row, columns running circularly from -r on. For one vertical displacement, an image row and an epitome row
give pixel costs by a matrix product; sums along its diagonals go into a ring of the last w rows; sums over the ring,
plus an offset by position, are the costs of the windows, (columns, P). P is E padded, with huge offsets.

Costs are never below 0 but by rounding. Kernels serve float32 and float64 and run without the interpreter lock. Loops
are written for the vectoriser: one array written, at most eight read.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compiled import exp, inlined, kernel

Array = NDArray[Any]


@inlined
def _diagonals(source: Array, window: int, out: Array) -> None:
    """out[i, v] = sum_k source[i + k, v + k] for k = 0..window-1; out (n, P)."""
    n, size = out.shape
    for i in range(n):
        line = out[i]
        if window == 1:
            line[:] = source[i, :size]
            continue
        a, b, c = source[i], source[i + 1, 1:], source[i + 2, 2:]
        if window == 7:  # the published size, in one pass
            d, e, f, g = source[i + 3, 3:], source[i + 4, 4:], source[i + 5, 5:], source[i + 6, 6:]
            for v in range(size):
                line[v] = (a[v] + b[v]) + (c[v] + d[v]) + (e[v] + f[v]) + g[v]
            continue
        for v in range(size):
            line[v] = a[v] + b[v] + c[v]
        for k in range(3, window, 2):
            a, b = source[i + k, k:], source[i + k + 1, k + 1 :]
            for v in range(size):
                line[v] += a[v] + b[v]


@inlined
def _stack(ring: Array, i: int, offset: Array, out: Array) -> None:
    """out[v] = offset[v] + sum_k ring[k, i, v]; ring (window, n, P)."""
    window = ring.shape[0]
    size = offset.size
    a = ring[0, i]
    if window == 1:
        for v in range(size):
            out[v] = offset[v] + a[v]
        return
    b, c = ring[1, i], ring[2, i]
    if window == 7:
        d, e, f, g = ring[3, i], ring[4, i], ring[5, i], ring[6, i]
        for v in range(size):
            out[v] = offset[v] + ((a[v] + b[v]) + (c[v] + d[v]) + (e[v] + f[v]) + g[v])
        return
    for v in range(size):
        out[v] = offset[v] + (a[v] + b[v] + c[v])
    for k in range(3, window, 2):
        a, b = ring[k, i], ring[k + 1, i]
        for v in range(size):
            out[v] += a[v] + b[v]


@inlined
def _lowest(costs: Array, bits: Array) -> Any:
    """The smallest of the costs but the last, which is overwritten.

    Compared as integers in the same memory, which vectorises: positive floats are ordered as their bits are, and a
    cost that rounding pushed below 0 comes out smallest all the same.
    """
    last = bits.size - 1
    best = bits[0]
    for u in range(last):
        best = min(best, bits[u])
    bits[last] = best
    return costs[last]


@inlined
def _exponentials(costs: Array, low: float) -> Any:
    """costs <- exp(low - costs), in place; returns their sum."""
    total = costs[0] - costs[0]
    for u in range(costs.size):
        value = exp(low - costs[u])
        costs[u] = value
        total += value
    return total


@inlined
def _add_mixture(share: Array, rows: Array, out: Array) -> None:
    """out[l] += sum_u share[u] rows[l, u]."""
    labels, size = rows.shape
    for k in range(0, labels - 3, 4):
        a, b, c, d = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        p = q = r = s = share[0] - share[0]
        for u in range(size):
            p += share[u] * a[u]
            q += share[u] * b[u]
            r += share[u] * c[u]
            s += share[u] * d[u]
        out[k] += p
        out[k + 1] += q
        out[k + 2] += r
        out[k + 3] += s
    for k in range(labels - labels % 4, labels):
        a = rows[k]
        p = share[0] - share[0]
        for u in range(size):
            p += share[u] * a[u]
        out[k] += p


@inlined
def _buffers(image: Array, features: Array, window: int, padded: int) -> tuple[Array, Array]:
    """For ``_advance``: pixel costs of one row, and the ring of their diagonal sums, (window, W, P)."""
    columns = image.shape[1]
    pixels = np.empty((columns, features.shape[2]), image.dtype)
    return pixels, np.empty((window, columns - 2 * (window // 2), padded), image.dtype)


@inlined
def _advance(image: Array, y: int, features: Array, shift: int, window: int, pixels: Array, ring: Array) -> None:
    """Row y of the image takes its place in the ring, at this vertical displacement."""
    np.dot(image[y], features[(y - window // 2 + shift) % features.shape[0]], pixels)
    _diagonals(pixels, window, ring[y % window])


@kernel
def joint(image: Array, features: Array, offset: Array, window: int, out: Array) -> None:
    """out (H, W, E, P): the costs of all windows at all positions."""
    radius = window // 2
    height, width, size, padded = out.shape
    pixels, ring = _buffers(image, features, window, padded)
    for shift in range(size):
        for y in range(height + 2 * radius):
            _advance(image, y, features, shift, window, pixels, ring)
            row = y - 2 * radius
            if row >= 0:
                v = (row + shift) % size
                for i in range(width):
                    _stack(ring, i, offset[v], out[row, i, v])


@kernel
def mix_centres(
    image: Array,
    features: Array,
    offset: Array,
    rows: Array,
    scratch: Array,
    bits: Array,
    cut: float,
    window: int,
    left: int,
    right: int,
    low: Array,
    mixture: Array,
) -> None:
    """A running softmax over positions fills columns left..right-1 of low (H, W) = -log sum_u exp(-cost) and of
    mixture (H, W, L) = sum_u p(u | window) rows[:, u]; rows (E, L, P), L may be 0. scratch and bits (P + 1,) share
    their memory. An epitome row that lies ``cut`` above the lowest cost so far is left out.
    """
    radius = window // 2
    height = low.shape[0]
    n = right - left
    size, padded = offset.shape
    labels = rows.shape[1]
    part = np.ascontiguousarray(image[:, left : right + 2 * radius])
    pixels, ring = _buffers(part, features, window, padded)
    costs = scratch[:padded]
    floor = np.full((height, n), np.inf, image.dtype)
    total = np.zeros((height, n), image.dtype)
    for shift in range(size):
        for y in range(height + 2 * radius):
            _advance(part, y, features, shift, window, pixels, ring)
            row = y - 2 * radius
            if row < 0:
                continue
            v = (row + shift) % size
            for i in range(n):
                _stack(ring, i, offset[v], costs)
                best = _lowest(scratch, bits)
                if best > floor[row, i] + cut:
                    continue
                target = mixture[row, left + i]
                if best < floor[row, i]:
                    shrink = math.exp(best - floor[row, i])
                    total[row, i] *= shrink
                    for k in range(labels):
                        target[k] *= shrink
                    floor[row, i] = best
                total[row, i] += _exponentials(costs, floor[row, i])
                if labels:
                    _add_mixture(costs, rows[v], target)
    for row in range(height):
        for i in range(n):
            low[row, left + i] = floor[row, i] - math.log(total[row, i])
            for k in range(labels):
                mixture[row, left + i, k] /= total[row, i]


@kernel
def mix_windows(
    image: Array,
    features: Array,
    offset: Array,
    rows: Array,
    scratch: Array,
    bits: Array,
    low: Array,
    cut: float,
    window: int,
    left: int,
    right: int,
    out: Array,
) -> None:
    """Adds to columns left..right-1 of out (H, W, L) the mixtures of rows (E, L, P) under all windows over a pixel.

    The weight of a pair (pixel i, position v) is the sum of p(u | window j) over the windows j around i at the same
    displacement: the box sum of posteriors, by the same two steps as that of pixel costs. low (H, W) as from
    ``mix_centres``; epitome rows whose posteriors all lie below exp(-cut) are left out.
    """
    radius = window // 2
    height, width = low.shape
    size, padded = offset.shape
    n = right - left
    first = max(0, left - radius)
    last = min(width, right + radius)
    pad = first - (left - radius)
    part = np.ascontiguousarray(image[:, first : last + 2 * radius])
    pixels, ring = _buffers(part, features, window, padded)
    costs = scratch[:padded]
    posterior = np.zeros((window, n + 2 * radius, padded), image.dtype)
    filled = np.zeros((window, n + 2 * radius), np.bool_)
    stacked = np.zeros((n + 2 * radius, padded + 2 * radius), image.dtype)
    present = np.zeros(n + 2 * radius, np.bool_)
    nothing = np.zeros(padded, image.dtype)
    share = np.empty((1, padded), image.dtype)
    for shift in range(size):
        for y in range(height + 3 * radius + 1):
            row = y - 2 * radius
            slot = y % window
            if row < height:
                _advance(part, y, features, shift, window, pixels, ring)
            v = (row + shift) % size
            for i in range(n + 2 * radius):
                column = i - pad
                if 0 <= row < height and 0 <= column < last - first:
                    _stack(ring, column, offset[v], costs)
                    if _lowest(scratch, bits) < low[row, first + column] + cut:
                        _exponentials(costs, low[row, first + column])
                        posterior[slot, i] = costs
                        filled[slot, i] = True
                        continue
                if filled[slot, i]:
                    posterior[slot, i] = 0
                    filled[slot, i] = False
            target = row - radius
            if target < 0 or target >= height:
                continue
            for i in range(n + 2 * radius):
                before = present[i]
                present[i] = False
                for k in range(window):
                    present[i] = present[i] or filled[k, i]
                line = stacked[i]
                if present[i]:
                    _stack(posterior, i, nothing, line[radius : radius + padded])
                    for k in range(radius):
                        line[k] = line[radius + (k - radius) % size]
                        line[radius + size + k] = line[radius + k % size]
                elif before:
                    line[:] = 0
            v = (target + shift) % size
            run = 0
            for i in range(n + 2 * radius):
                run = window if present[i] else run - 1
                if run > 0 and i >= 2 * radius:
                    _diagonals(stacked[i - 2 * radius : i + 1], window, share)
                    _add_mixture(share[0], rows[v], out[target, left + i - 2 * radius])


@kernel
def scatter(
    image: Array,
    features: Array,
    offset: Array,
    scratch: Array,
    bits: Array,
    low: Array,
    cut: float,
    group: NDArray[np.uint8],
    window: int,
    sums: NDArray[np.float64],
) -> None:
    """Adds p(u | window around a pixel) to sums[group of the pixel]; group (H, W), sums (G, E, E)."""
    radius = window // 2
    height, width = low.shape
    size, padded = offset.shape
    pixels, ring = _buffers(image, features, window, padded)
    costs = scratch[:padded]
    for shift in range(size):
        for y in range(height + 2 * radius):
            _advance(image, y, features, shift, window, pixels, ring)
            row = y - 2 * radius
            if row < 0:
                continue
            v = (row + shift) % size
            for i in range(width):
                _stack(ring, i, offset[v], costs)
                if _lowest(scratch, bits) < low[row, i] + cut:
                    _exponentials(costs, low[row, i])
                    target = sums[group[row, i], v]
                    for u in range(size):
                        target[u] += costs[u]
