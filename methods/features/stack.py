"""The features of a patch by name: bands, radar, spectral indices, texture; 24 without texture, 36 with it.

Source: Robinson et al., IEEE JSTARS 14 (2021), Sec. V: S1 clipped to [-25, 0] dB, S2 truncated to [0, 10000] / 10000;
ten surface bands, two radar bands, twelve indices, and six texture features each of the grey image of RGB and of VH.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import Patch
from dfcbench.sensors import RGB_BANDS, SURFACE_BANDS, scale_s1, scale_s2

from ..channels import S1_NAMES, SURFACE_NAMES
from .indices import INDEX_NAMES, spectral_indices
from .texture import LEVELS, OFFSETS, PROPERTIES, WINDOW, texture

PLAIN = (*SURFACE_NAMES, *S1_NAMES, *INDEX_NAMES)
"""The 24 features without texture, in order."""
TEXTURE = tuple(f"{plane} {name}" for plane in ("grey", "VH") for name in PROPERTIES)
"""The 12 texture features, which follow them."""

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue: luma of ITU-R BT.601, the usual grey image of RGB."""
GREY_MAXIMUM = 0.3
"""Reflectance of the brightest grey level. The visible bands of DFC2020 have means up to 0.11 and deviations up to
0.048 (validation split), so it lies 4 deviations above; the full range up to 1 would leave most land on a few levels."""


@dataclass(frozen=True)
class Texture:
    """Settings of the texture features; grey levels span 0 to ``grey_maximum`` of reflectance, and VH's -25 to 0 dB."""

    window: int = WINDOW
    levels: int = LEVELS
    offsets: tuple[tuple[int, int], ...] = OFFSETS
    grey_maximum: float = GREY_MAXIMUM


class Stack:
    """Computes the features of a patch, float32 (F, H, W), always finite; safe in threads."""

    def __init__(self, texture: Texture | None = None) -> None:
        self.texture = texture
        self.names = PLAIN if texture is None else PLAIN + TEXTURE

    def __call__(self, patch: Patch) -> NDArray[np.float32]:
        """The features of one patch."""
        s2 = scale_s2(patch.s2)
        radar = scale_s1(patch.s1)
        out = np.empty((len(self.names), *s2.shape[1:]), np.float32)
        bands, optical_and_radar = len(SURFACE_NAMES), len(SURFACE_NAMES) + len(S1_NAMES)
        out[:bands] = s2[list(SURFACE_BANDS)]
        out[bands:optical_and_radar] = radar
        out[optical_and_radar : len(PLAIN)] = spectral_indices(out[:bands])
        if self.texture is not None:
            red, green, blue = (np.float32(weight) for weight in GREY_WEIGHTS)
            visible = s2[list(RGB_BANDS)]
            grey = red * visible[0] + green * visible[1] + blue * visible[2]
            middle = len(PLAIN) + len(PROPERTIES)
            out[len(PLAIN) : middle] = self._planes(grey, self.texture.grey_maximum)
            out[middle:] = self._planes(radar[1], 1.0)
        return out

    def _planes(self, plane: NDArray[np.float32], high: float) -> NDArray[np.float32]:
        assert self.texture is not None
        t = self.texture
        return texture(plane, low=0.0, high=high, levels=t.levels, window=t.window, offsets=t.offsets)


def by_pixel(features: NDArray[np.float32], count: int | None = None) -> NDArray[np.float32]:
    """(F, H, W) -> (H * W, F), contiguous; only the first ``count`` features if given."""
    return np.ascontiguousarray(features[:count].reshape(len(features[:count]), -1).T)
