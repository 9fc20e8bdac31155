"""Visual words: every pixel is one of a few colours, and a window is described by how often it shows each.

Source of the idea: Sivic and Zisserman, ICCV 2003; for land cover on words of single pixels: Lienou, Maître and Datcu, IEEE
Geoscience and Remote Sensing Letters 7 (2010).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiled import exact_kernel

LARGEST_WINDOW = 255
"""Side of a window whose pixels uint16 can count."""


@exact_kernel
def _add_row(words: NDArray[Any], sign: int, columns: NDArray[np.int32]) -> None:
    for x in range(words.size):
        columns[x, words[x]] += sign


@exact_kernel
def _slide(words: NDArray[Any], radius: int, counts: NDArray[np.uint16]) -> None:
    """counts (H, W, K): words within ``radius`` rows and columns, those inside the image alone."""
    height, width, kinds = counts.shape
    columns = np.zeros((width, kinds), np.int32)  # of every column, the rows of the window
    window = np.zeros(kinds, np.int32)
    for y in range(min(radius, height)):
        _add_row(words[y], 1, columns)
    for y in range(height):
        if y + radius < height:
            _add_row(words[y + radius], 1, columns)
        if y > radius:
            _add_row(words[y - radius - 1], -1, columns)
        window[:] = 0
        for x in range(min(radius, width)):
            for k in range(kinds):
                window[k] += columns[x, k]
        for x in range(width):
            if x + radius < width:
                for k in range(kinds):
                    window[k] += columns[x + radius, k]
            if x > radius:
                for k in range(kinds):
                    window[k] -= columns[x - radius - 1, k]
            for k in range(kinds):
                counts[y, x, k] = window[k]


def word_counts(words: NDArray[np.integer], kinds: int, window: int) -> NDArray[np.uint16]:
    """How often each word occurs in the window about each pixel, (H, W, kinds); windows are clipped at the border.

    words (H, W) in 0 .. kinds - 1; ``window`` is odd. The cost does not depend on the window's size.
    Raises ValueError for a window above ``LARGEST_WINDOW``, or for words beyond ``kinds``.
    """
    if window % 2 == 0 or not 1 <= window <= LARGEST_WINDOW:
        raise ValueError(f"windows of {window} pixels; their side is odd and at most {LARGEST_WINDOW}")
    if words.size and not 0 <= words.min() <= words.max() < kinds:
        raise ValueError(f"words run from {words.min()} to {words.max()}, of {kinds} kinds")
    counts = np.empty((*words.shape, kinds), np.uint16)
    _slide(np.ascontiguousarray(words), window // 2, counts)
    return counts


def word_shares(counts: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Counts (H, W, K) -> shares of the words of each window, (K, H, W), which sum to 1."""
    pixels = counts.sum(axis=2, dtype=np.float32)
    return np.ascontiguousarray(np.moveaxis(counts / pixels[..., None], 2, 0), np.float32)
