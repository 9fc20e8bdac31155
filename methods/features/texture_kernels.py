"""Compiled loops of the sliding GLCM: box sums of pair products, and sums of squared counts.

The first run compiles for some 3 s.

A pair is two pixels one offset apart. All kernels speak of the box of pairs of a window: its upper left corners lie in
a rectangle of ``box`` = (window - |rows of offset|, window - |columns of offset|) positions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiled import exact_kernel

CLOSENESS_ONE = 2**32
"""Unit of 1 / (1 + d^2) as an integer: rounding is below 2e-10, and 2^31 pairs can be summed."""


@exact_kernel
def pair_keys(first: NDArray[np.uint8], second: NDArray[np.uint8], levels: int, keys: NDArray[np.uint16]) -> None:
    """Numbers the unordered pairs of levels: equal ones 0 .. levels - 1, then (0, 1), (0, 2), (1, 2), (0, 3) ...

    first, second, keys: the same shape. There are levels (levels + 1) / 2 numbers, 32896 at 256 levels.
    """
    for y in range(keys.shape[0]):
        for x in range(keys.shape[1]):
            a, b = np.int32(first[y, x]), np.int32(second[y, x])
            high, low = max(a, b), min(a, b)
            keys[y, x] = a if a == b else np.int32(levels) + ((high * (high - np.int32(1))) >> np.int32(1)) + low


@exact_kernel
def angular_second_moments(
    keys: NDArray[np.uint16], levels: int, box: tuple[int, int], bits: int, out: NDArray[np.float32]
) -> None:
    """Sum of squares of the normalised symmetric matrix of every window. keys as ``pair_keys`` numbers them; out (H, W).

    A histogram of the pairs slides down the columns: a step takes one row of pairs out and puts one in. Where a count c
    becomes c' (both c_ij and c_ji = c_ij by one; c_ii by two), half the sum of squares grows by c + c'.

    Neighbouring columns slide together: one 64-bit word holds the counts of one pair in 64 / bits windows, another
    word their half sums, and a pair is counted in all the windows that have it by a single addition. No field
    overflows into the next as long as 2 n^2 < 2^bits for n pairs in a window.
    """
    height, width = out.shape
    rows, columns = box
    lanes = 64 // bits
    one, all_ones = np.uint64(1), np.uint64(0xFFFFFFFFFFFFFFFF)
    field = all_ones >> np.uint64(64 - bits)
    scale = 1 / (2.0 * (rows * columns) ** 2)
    counts = np.empty(levels * (levels + 1) // 2, np.uint64)
    # of the windows that begin at columns x, x + 1, ..., those with column x + j: a one, and a mask, in their fields
    ones = np.zeros(columns + lanes - 1, np.uint64)
    masks = np.zeros_like(ones)
    for j in range(ones.size):
        for lane in range(lanes):
            if lane <= j < lane + columns:
                ones[j] |= one << np.uint64(lane * bits)
                masks[j] |= field << np.uint64(lane * bits)
    diagonal = np.uint16(levels - 1)
    for x in range(0, width, lanes):
        counts[:] = 0
        halves = np.uint64(0)
        span = min(ones.size, keys.shape[1] - x)
        for y in range(height + rows - 1):
            if y >= rows:
                for j in range(span):
                    key = keys[y - rows, x + j]
                    before = counts[key]
                    after = before - (ones[j] << np.uint64(key <= diagonal))
                    counts[key] = after
                    halves -= (before + after) & masks[j]
            for j in range(span):
                key = keys[y, x + j]
                before = counts[key]
                after = before + (ones[j] << np.uint64(key <= diagonal))
                counts[key] = after
                halves += (before + after) & masks[j]
            if y >= rows - 1:
                for lane in range(min(lanes, width - x)):
                    half = (halves >> np.uint64(lane * bits)) & field
                    out[y - rows + 1, x + lane] = half * scale


@exact_kernel
def _add_row(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    sign: int,
    closeness: NDArray[np.int64],
    absolute: NDArray[np.int64],
    squared: NDArray[np.int64],
    levels: NDArray[np.int64],
    products: NDArray[np.int64],
    close: NDArray[np.int64],
) -> None:
    """Adds sign times |a - b|, (a - b)^2, a + b, a b, closeness[|a - b|] of a row of pairs, all of one length."""
    for x in range(first.size):
        a, b = np.int64(first[x]), np.int64(second[x])
        absolute[x] += sign * abs(a - b)
        squared[x] += sign * (a - b) * (a - b)
        levels[x] += sign * (a + b)
        products[x] += sign * a * b
    for x in range(first.size):  # a look-up, kept apart from what vectorises
        close[x] += sign * closeness[abs(np.int64(first[x]) - np.int64(second[x]))]


@exact_kernel
def _slide(columns: int, sums: NDArray[np.int64], totals: NDArray[np.int64]) -> None:
    """Sums over as many neighbours: totals[x] = sums[x] + ... + sums[x + columns - 1]."""
    total = np.int64(0)
    for x in range(columns - 1):
        total += sums[x]
    for x in range(totals.size):
        total += sums[x + columns - 1]
        totals[x] = total
        total -= sums[x]


@exact_kernel
def _add_scaled(source: NDArray[Any], scale: float, out: NDArray[np.float32]) -> None:
    for x in range(out.size):
        out[x] += scale * source[x]


@exact_kernel
def _add_correlation(
    pairs: int,
    squared: NDArray[np.int64],
    levels: NDArray[np.int64],
    products: NDArray[np.int64],
    weight: float,
    out: NDArray[np.float32],
) -> None:
    """From sums over the n pairs of each window, of (a - b)^2, a + b and a b; 1 where the variance vanishes.

    Both variance and covariance are in units of 1 / (2 n)^2, so that they are integers.
    """
    for x in range(out.size):
        mean = levels[x] * levels[x]
        variance = 2 * pairs * (squared[x] + 2 * products[x]) - mean
        covariance = 4 * pairs * products[x] - mean
        out[x] += weight * (covariance / variance if variance > 0 else 1.0)


@exact_kernel
def _add_root(source: NDArray[np.float32], weight: float, out: NDArray[np.float32]) -> None:
    for x in range(out.size):
        out[x] += weight * math.sqrt(source[x])


@exact_kernel
def add_properties(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    box: tuple[int, int],
    closeness: NDArray[np.int64],
    moments: NDArray[np.float32],
    weight: float,
    out: NDArray[np.float32],
) -> None:
    """Adds the six properties, times weight, to out (6, H, W).

    first, second (H + rows - 1, W + columns - 1): the levels of the pairs, for box = (rows, columns); closeness[d] =
    ``CLOSENESS_ONE`` / (1 + d^2), rounded; moments (H, W) from ``angular_second_moments``. All sums are integers and so
    do not drift.
    """
    height, width = moments.shape
    rows, columns = box
    length = first.shape[1]
    pairs = rows * columns
    share = weight / pairs
    absolute, squared, close = np.zeros(length, np.int64), np.zeros(length, np.int64), np.zeros(length, np.int64)
    levels, products = np.zeros(length, np.int64), np.zeros(length, np.int64)
    absolutes, squares, closes = np.empty(width, np.int64), np.empty(width, np.int64), np.empty(width, np.int64)
    level_sums, product_sums = np.empty(width, np.int64), np.empty(width, np.int64)
    for y in range(height + rows - 1):
        if y >= rows:
            _add_row(first[y - rows], second[y - rows], -1, closeness, absolute, squared, levels, products, close)
        _add_row(first[y], second[y], 1, closeness, absolute, squared, levels, products, close)
        if y < rows - 1:
            continue
        _slide(columns, absolute, absolutes)
        _slide(columns, squared, squares)
        _slide(columns, levels, level_sums)
        _slide(columns, products, product_sums)
        _slide(columns, close, closes)
        target = y - rows + 1
        _add_scaled(squares, share, out[0, target])
        _add_scaled(absolutes, share, out[1, target])
        _add_scaled(closes, share / CLOSENESS_ONE, out[2, target])
        _add_root(moments[target], weight, out[3, target])
        _add_correlation(pairs, squares, level_sums, product_sums, weight, out[4, target])
        _add_scaled(moments[target], weight, out[5, target])
