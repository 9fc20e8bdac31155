"""Drawing pixels: exact uniform draws without replacement, and equal shares of classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PixelSample:
    """Pixels drawn from a set of patches, in the order of patches and, within one, of rows and columns.

    x: float32 (n, C), raw values: VV and VH in dB (NaN kept), then the 13 bands of Sentinel-2 as reflectance x 10000;
    only those asked for. low: uint8 (n,), simplified codes, 0 where the patches carry no low-resolution labels.
    high: uint8 (n,), or None from a set without the reference. patch: int32 (n,), position of the patch in its set;
    row, column: int32 (n,).
    """

    x: NDArray[np.float32]
    low: NDArray[np.uint8]
    high: NDArray[np.uint8] | None
    patch: NDArray[np.int32]
    row: NDArray[np.int32]
    column: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.x)


def distinct(total: int, n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """``n`` different numbers of 0..total-1, ascending; every subset of that size is equally likely.

    All of them if ``n`` >= ``total``. Memory is of the order of ``n``, however large ``total`` (numpy's own choice
    would hold a permutation of the whole range, and its hypergeometric draws end at 1e9).
    """
    if n >= total:
        return np.arange(total, dtype=np.int64)
    if 2 * n > total:
        kept = np.ones(total, bool)
        kept[distinct(total, total - n, generator)] = False
        return np.flatnonzero(kept)
    drawn = np.unique(generator.integers(total, size=n))
    while drawn.size < n:  # drawing on until n are distinct is the same as never putting one back
        drawn = np.union1d(drawn, generator.integers(total, size=n - drawn.size))
    return drawn


def equal_shares(n: int, available: NDArray[np.int64]) -> NDArray[np.int64]:
    """Split ``n`` over classes as equally as what is ``available`` (k,) allows; what a rare class lacks goes to others.

    A remainder that cannot be shared equally goes to the most frequent classes.
    """
    shares = np.zeros_like(available)
    left = n
    rising = np.argsort(available, kind="stable")
    for position, k in enumerate(rising):
        shares[k] = min(available[k], left // (len(rising) - position))
        left -= int(shares[k])
    return shares


def spread(drawn: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers into a row of boxes of these ``sizes`` -> (box, number within that box)."""
    ends = np.cumsum(sizes)
    box = np.searchsorted(ends, drawn, side="right")
    return box, drawn - (ends - sizes)[box]
