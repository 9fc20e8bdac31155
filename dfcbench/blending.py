"""Windows over a scene, and how what a method says of overlapping windows becomes one map without seams.

Probabilities are averaged with weights that fall along half a cosine (Hann) towards a window's edges, over the width of
the overlap: where a window ends, it has no say. Of labels alone, each pixel takes the one of the window that it lies
deepest in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import UsageError
from dfcbench.scheme import SCORED_CODES, scored_index

SMALLEST_WINDOW = 16
"""Side in pixels below which methods that look around a pixel (texture sees 13 x 13) have nothing to see."""

_CODES = np.array(SCORED_CODES, np.uint8)


@dataclass(frozen=True)
class Tiling:
    """Square windows of ``window`` pixels a side, of which neighbours share ``overlap`` pixels or more.

    Raises UsageError for windows too small, or an overlap beyond half a window.
    """

    window: int = 256
    overlap: int = 64

    def __post_init__(self) -> None:
        if self.window < SMALLEST_WINDOW:
            raise UsageError(f"--window {self.window}: give at least {SMALLEST_WINDOW} pixels; the contest's have 256.")
        if not 0 <= self.overlap <= self.window // 2:
            raise UsageError(f"--overlap {self.overlap}: give 0 to {self.window // 2} pixels, half a window.")

    def starts(self, length: int) -> list[int]:
        """Where windows begin along a side of ``length`` pixels: at equal steps, and the last one at the far edge.

        A scene smaller than a window has one, as large as the scene.
        """
        last = max(0, length - self.window)
        return [*range(0, last, self.window - self.overlap), last]

    def weights(self, height: int, width: int) -> NDArray[np.float64]:
        """Weights (H, W) of a window's pixels, in (0, 1]."""
        return np.outer(self._fall(height), self._fall(width))

    def _fall(self, length: int) -> NDArray[np.float64]:
        weights = np.ones(length)
        n = min(self.overlap, length)
        if n:
            rise = np.sin(np.pi / 2 * (np.arange(n) + 0.5) / n) ** 2
            weights[:n] *= rise
            weights[length - n :] *= rise[::-1]
        return weights


class Blend:
    """The map of a stretch of a scene, (H, W) pixels, put together from windows that may come in any order.

    Sums are float64, so that a pixel on which all windows agree gets exactly the class that each of them would give it.
    """

    def __init__(self, height: int, width: int) -> None:
        self._sums = np.zeros((len(SCORED_CODES), height, width))
        self._codes = np.zeros((height, width), np.uint8)
        self._depth = np.zeros((height, width))
        self._soft: bool | None = None

    def add(
        self, row: int, column: int, values: NDArray[Any], labels: NDArray[np.uint8], weights: NDArray[np.float64]
    ) -> None:
        """Add a window whose first pixel is at this row and column.

        ``values`` are probabilities (8, h, w) or codes (h, w), ``labels`` the codes that follow from them. The first
        window tells whether probabilities or labels are put together; what else comes is brought into that form.
        """
        height, width = labels.shape
        place = (slice(row, row + height), slice(column, column + width))
        soft = values.ndim == 3
        if self._soft is None:
            self._soft = soft
        if not self._soft:
            deeper = weights > self._depth[place]
            self._codes[place][deeper] = labels[deeper]
            self._depth[place][deeper] = weights[deeper]
            return
        shares = values.astype(np.float64) if soft else _shares(labels)
        total = shares.sum(axis=0)
        shares *= np.divide(weights, total, out=np.zeros_like(total), where=total > 0)
        self._sums[:, *place] += shares

    def pop(self, rows: int) -> NDArray[np.uint8]:
        """Codes (rows, W) of the first rows, to which no window is added any more; the next row becomes the first."""
        codes = self._codes[:rows].copy() if self._soft is False else _CODES[self._sums[:, :rows].argmax(axis=0)]
        for held in (self._sums, self._codes[np.newaxis], self._depth[np.newaxis]):
            held[:, :-rows] = held[:, rows:]
            held[:, -rows:] = 0
        return codes


def _shares(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Codes (H, W) -> (8, H, W): 1 for the label, nothing where its class is not scored."""
    classes = np.arange(len(SCORED_CODES))[:, np.newaxis, np.newaxis]
    shares: NDArray[np.float64] = (scored_index(labels) == classes).astype(np.float64)
    return shares
