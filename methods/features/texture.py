"""Texture: properties of the grey-level co-occurrence matrix (GLCM) in a window that slides over one image plane.

Source: Haralick, Shanmugam and Dinstein, IEEE Trans. Systems, Man, and Cybernetics 3 (1973), in the form that
scikit-image gives them (``graycomatrix(..., symmetric=True, normed=True)`` and ``graycoprops``); the Track 2 winner's
six properties and 13 x 13 window (Robinson et al., IEEE JSTARS 14, 2021, Sec. V). Levels, offsets, border and grey range
are not published.

With p_ij the share of pairs of pixels of levels i and j among all pairs of the window, either pixel taken as the first:

    contrast        sum p_ij (i - j)^2                                  0 .. (levels - 1)^2
    dissimilarity   sum p_ij |i - j|                                    0 .. levels - 1
    homogeneity     sum p_ij / (1 + (i - j)^2)                          0 .. 1
    energy          square root of the angular second moment            0 .. 1
    correlation     sum p_ij (i - m)(j - m) / variance                  -1 .. 1, and 1 where the window is constant
    asm             sum p_ij^2, the angular second moment               0 .. 1

No matrix is ever built: five of them follow from box sums of products of pairs, and the sum of squares from a histogram
of pairs that slides along, so the cost depends neither on the number of levels nor on the number of windows a pair is in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "asm")
"""The planes of ``texture``, in order."""

LEVELS = 64
"""Not published; ours. Finer levels see finer variation within a window, but 13 x 13 pixels have only 156 pairs to fill the
matrix with. On three demo contests 64 did better than 32, and 32 better than 8: average accuracy of ``dfcbench run
--track 2 --method antonia -p experiment=3 -p texture_levels=N``."""
WINDOW = 13
"""Robinson et al. (2021), Sec. V."""
OFFSETS = ((0, 1),)
"""One step to the right: scikit-image's distance 1 and angle 0."""
MAX_LEVELS = 256
"""What a byte holds."""
MAX_WINDOW = 2047
"""Up to here the integers of ``add_properties`` stay below 2^63 at 256 levels: 4 * 255^2 * 2047^4 < 2^63."""

Border = Literal["reflect", "symmetric", "edge"]
"""How the plane goes on beyond its border, as ``numpy.pad`` names it."""


def quantise(
    plane: NDArray[np.floating] | NDArray[np.integer], *, low: float = 0.0, high: float = 1.0, levels: int = LEVELS
) -> NDArray[np.uint8]:
    """Grey values of any shape -> levels 0 .. levels - 1 of equal width between low and high.

    Values outside are clipped; NaN counts as low. Raises ValueError for an empty range, or levels outside 2 .. 256.
    """
    if not 2 <= levels <= MAX_LEVELS:
        raise ValueError(f"levels is {levels}; it must be from 2 to {MAX_LEVELS}")
    if not 0 < high - low < np.inf:
        raise ValueError(f"the grey range from {low} to {high} is empty or endless")
    x = np.array(plane, dtype=np.float64)
    np.fmax(x, low, out=x)
    np.minimum(x, high, out=x)
    x -= low
    x *= levels
    x /= high - low
    np.minimum(x, levels - 1, out=x)
    return x.astype(np.uint8)


def texture(
    plane: NDArray[np.floating] | NDArray[np.integer],
    *,
    low: float = 0.0,
    high: float = 1.0,
    levels: int = LEVELS,
    window: int = WINDOW,
    offsets: Iterable[tuple[int, int]] = OFFSETS,
    border: Border = "reflect",
) -> NDArray[np.float32]:
    """The six ``PROPERTIES`` around every pixel: (H, W) -> float32 (6, H, W), always finite.

    low, high, levels: how grey values become levels, see ``quantise``; the defaults fit planes scaled to [0, 1].
    window: side of the window in pixels, odd, at least 3; the pixel lies in its middle.
    offsets: (rows, columns) from a pixel to its partner; both must be in the window, and each is counted as the first
        once, so that (0, 1) and (0, -1) are the same. Each property is the mean of its values for the offsets, as is
        usual, so energy is a mean of square roots. scikit-image's angles 0, 45, 90 and 135 degrees at distance 1 are
        (0, 1), (1, 1), (1, 0) and (1, -1).
    border: every window is full; beyond the border the plane goes on as ``numpy.pad`` does it. By default it is
        mirrored at its outermost pixels, which keeps its texture, where "edge" would smear them. Windows cut at the
        border are not offered: they have fewer pairs, and energy depends on the number of pairs.

    Safe in threads; holds no lock while it computes. Raises ValueError for arguments outside these ranges.
    """
    from .texture_kernels import CLOSENESS_ONE, add_properties, angular_second_moments, pair_keys

    plane = np.asarray(plane)
    steps = [(int(rows), int(columns)) for rows, columns in offsets]
    _check(plane, window, steps, border)
    padded = np.pad(quantise(plane, low=low, high=high, levels=levels), window // 2, mode=border)
    closeness = np.rint(CLOSENESS_ONE / (1 + np.arange(levels) ** 2)).astype(np.int64)
    out = np.zeros((len(PROPERTIES), *plane.shape), np.float32)
    moments = np.empty(plane.shape, np.float32)
    for rows, columns in steps:
        box = (window - abs(rows), window - abs(columns))
        first, second = _pairs(padded, rows, columns)
        keys = np.empty(first.shape, np.uint16)
        pair_keys(first, second, levels, keys)
        angular_second_moments(keys, levels, box, _bits(box), moments)
        add_properties(first, second, box, closeness, moments, 1 / len(steps), out)
    return out


def _check(plane: NDArray, window: int, steps: list[tuple[int, int]], border: str) -> None:
    if plane.ndim != 2 or plane.size == 0:
        raise ValueError(f"a plane has rows and columns; this one has shape {plane.shape}")
    if not 3 <= window <= MAX_WINDOW or window % 2 == 0:
        raise ValueError(f"window is {window}; it must be odd and from 3 to {MAX_WINDOW}")
    if border not in get_args(Border):
        raise ValueError(f"border is {border!r}; choose from {', '.join(get_args(Border))}")
    if not steps:
        raise ValueError("name at least one offset")
    for rows, columns in steps:
        if (rows, columns) == (0, 0) or max(abs(rows), abs(columns)) >= window:
            raise ValueError(f"offset {(rows, columns)} leads to no other pixel of a window of {window} x {window}")


def _pairs(padded: NDArray[np.uint8], rows: int, columns: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both pixels of every pair, as two parts of the padded plane; the order within pairs does not matter."""
    if rows < 0:
        rows, columns = -rows, -columns
    height, width = padded.shape[0] - rows, padded.shape[1] - abs(columns)
    left, right = max(0, -columns), max(0, columns)
    first, second = padded[:height, left : left + width], padded[rows:, right : right + width]
    return np.ascontiguousarray(first), np.ascontiguousarray(second)


def _bits(box: tuple[int, int]) -> int:
    """Width of a field in which half the sum of squares fits for the pairs of a box."""
    largest = 2 * (box[0] * box[1]) ** 2
    return 16 if largest < 2**16 else 32 if largest < 2**32 else 64
