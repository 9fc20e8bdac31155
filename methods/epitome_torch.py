"""The dense form of ``epitome_likelihood`` in torch, for accelerators: the same functions, tables and results.

At one vertical displacement, all image rows meet their epitome rows in one batched matrix product; sums along rows and
diagonals are sums of shifted slices. What is alive at a time is a few arrays of (strip of image rows, W, E).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .epitome_likelihood import Tables, windows_over

Array = NDArray[Any]

STRIP_BYTES = 256 << 20
"""Of one array of costs: an image is worked on in strips of rows that keep to it."""


class TorchDense:
    """As ``epitome_likelihood.Dense``, on a device of torch."""

    def __init__(self, tables: Tables, device: str) -> None:
        self.tables = tables
        self.device = torch.device(device)
        self.size = len(tables.offset)
        self.window = tables.window
        self.radius = tables.window // 2
        self.features = self._put(tables.features[:, :, : self.size + 2 * self.radius])
        self.offset = self._put(tables.offset[:, : self.size])

    def _put(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, self.tables.features.dtype)).to(self.device)

    def log_evidence(self, x: Array) -> Array:
        """log sum_u exp(log p(x, u) / T) for the window around each pixel of x (C, H, W): (H, W)."""
        image = self._put(self.tables.image(x))
        parts = [self._centres(self._windows(image, top, bottom), None)[0] for top, bottom in self._strips(image)]
        return np.asarray(self.tables.best - torch.cat(parts).cpu().numpy())

    def centre_labels(self, x: Array, table: Array) -> Array:
        """As ``Dense.centre_labels``: (L, H, W)."""
        image, rows = self._put(self.tables.image(x)), self._put(table.transpose(1, 2, 0))
        parts = [self._centres(self._windows(image, top, bottom), rows)[1] for top, bottom in self._strips(image)]
        return np.ascontiguousarray(torch.cat(parts).permute(2, 0, 1).cpu().numpy())

    def window_labels(self, x: Array, table: Array) -> Array:
        """As ``Dense.window_labels``: (L, H, W)."""
        image, rows = self._put(self.tables.image(x)), self._put(table.transpose(1, 2, 0))
        height, width = x.shape[1:]
        parts = []
        for top, bottom in self._strips(image):
            first, last = max(0, top - self.radius), min(height, bottom + self.radius)
            missing = (first - (top - self.radius), bottom + self.radius - last)
            parts.append(self._mix_windows(self._windows(image, first, last), rows, missing))
        over = np.multiply.outer(*(windows_over(n, self.radius) for n in (height, width)))
        mixed = torch.cat(parts) / self._put(over)[:, :, None]
        return np.ascontiguousarray(mixed.permute(2, 0, 1).cpu().numpy())

    def add_posteriors(self, x: Array, group: Array, sums: Array, part: tuple[slice, slice]) -> None:
        """As ``Dense.add_posteriors``; sums (G, E, E) float64 stays where it is."""
        image = self._put(self.tables.image(x))
        (top, bottom, _), (left, right, _) = (s.indices(n) for s, n in zip(part, x.shape[1:], strict=True))
        strip = image[top : bottom + 2 * self.radius, left : right + 2 * self.radius]
        low, _ = self._centres(strip, None)
        groups = torch.from_numpy(np.asarray(group[part], np.int64)).to(self.device)
        mine = torch.zeros((sums.shape[0] * self.size, self.size), dtype=strip.dtype, device=self.device)
        for shift in range(self.size):
            posterior = torch.exp(low[:, :, None] - self._costs(strip, shift))
            index = groups * self.size + self._rows(len(groups), shift)[:, None]
            mine.index_add_(0, index.flatten(), posterior.flatten(0, 1))
        sums += mine.double().cpu().numpy().reshape(sums.shape)

    def _strips(self, image: torch.Tensor) -> list[tuple[int, int]]:
        height = image.shape[0] - 2 * self.radius
        rows = max(1, STRIP_BYTES // (image.shape[1] * self.features.shape[2] * image.element_size()))
        return [(top, min(height, top + rows)) for top in range(0, height, rows)]

    def _windows(self, image: torch.Tensor, top: int, bottom: int) -> torch.Tensor:
        """The features that windows centred in rows top..bottom-1 of the image cover."""
        return image[top : bottom + 2 * self.radius]

    def _rows(self, n: int, shift: int) -> torch.Tensor:
        return (torch.arange(n, device=self.device) + shift) % self.size

    def _diagonals(self, values: torch.Tensor) -> torch.Tensor:
        """Box sums (h, n, E) of values (h + 2 r, n + 2 r, E + 2 r): along rows, and along diagonals of the rest."""
        _, n, size = values.shape
        n, size = n - 2 * self.radius, size - 2 * self.radius
        along = sum(values[:, k : k + n, k : k + size] for k in range(self.window))
        assert isinstance(along, torch.Tensor)
        height = len(along) - 2 * self.radius
        total = sum(along[k : k + height] for k in range(self.window))
        assert isinstance(total, torch.Tensor)
        return total

    def _costs(self, strip: torch.Tensor, shift: int) -> torch.Tensor:
        """Costs (h, W, E) of the windows over a strip at the epitome row ``shift`` below their own."""
        rows = self._rows(len(strip), shift - self.radius)
        pixels = torch.bmm(strip, self.features[rows])
        return self._diagonals(pixels) + self.offset[self._rows(len(strip) - 2 * self.radius, shift), None]

    def _centres(self, strip: torch.Tensor, rows: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """-log sum_u exp(-cost) (h, W) and the mixture (h, W, L) of rows (E, E, L), by a running softmax."""
        height, width = (n - 2 * self.radius for n in strip.shape[:2])
        floor = torch.full((height, width), torch.inf, dtype=strip.dtype, device=self.device)
        total = torch.zeros_like(floor)
        mixture = strip.new_zeros((height, width, 0 if rows is None else rows.shape[2]))
        for shift in range(self.size):
            costs = self._costs(strip, shift)
            best = torch.minimum(floor, costs.amin(dim=2))
            shrink = torch.exp(best - floor)
            share = torch.exp(best[:, :, None] - costs)
            total = total * shrink + share.sum(dim=2)
            if rows is not None:
                mixture = mixture * shrink[:, :, None] + torch.bmm(share, rows[self._rows(height, shift)])
            floor = best
        return floor - torch.log(total), mixture / total[:, :, None]

    def _mix_windows(self, strip: torch.Tensor, rows: torch.Tensor, missing: tuple[int, int]) -> torch.Tensor:
        """Summed mixtures (h, W, L) of the pixels that the strip's windows surround; ``missing`` rows of windows above
        and below them would lie outside the image.
        """
        from torch.nn.functional import pad

        low, _ = self._centres(strip, None)
        height = len(low) + sum(missing) - 2 * self.radius
        out = strip.new_zeros((height, low.shape[1], rows.shape[2]))
        for shift in range(self.size):
            posterior = torch.exp(low[:, :, None] - self._costs(strip, shift))
            around = pad(posterior, (self.radius, self.radius), mode="circular") if self.radius else posterior
            around = pad(around, (0, 0, self.radius, self.radius, *missing))
            out += torch.bmm(self._diagonals(around), rows[self._rows(height, shift + self.radius - missing[0])])
        return out
