"""Sentinel-1 and Sentinel-2 as the contest delivers them: band order, units, clip ranges, scaling.

S1: VV and VH backscatter in dB. S2: top-of-atmosphere reflectance times 10000, all bands resampled to 10 m.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Band(NamedTuple):
    """One band: its name, central wavelength in nm (Sentinel-2A; 0 for radar) and native ground sampling in m.

    Wavelengths and resolutions: ESA, Sentinel-2 MSI user guide (Sentinel-2A).
    """

    name: str
    wavelength: float
    resolution: int


S1_BANDS: tuple[Band, ...] = (Band("VV", 0.0, 10), Band("VH", 0.0, 10))
S2_BANDS: tuple[Band, ...] = (
    Band("B1", 442.7, 60),
    Band("B2", 492.4, 10),
    Band("B3", 559.8, 10),
    Band("B4", 664.6, 10),
    Band("B5", 704.1, 20),
    Band("B6", 740.5, 20),
    Band("B7", 782.8, 20),
    Band("B8", 832.8, 10),
    Band("B8A", 864.7, 20),
    Band("B9", 945.1, 60),
    Band("B10", 1373.5, 60),
    Band("B11", 1613.7, 20),
    Band("B12", 2202.4, 20),
)
S2_INDEX: dict[str, int] = {band.name: i for i, band in enumerate(S2_BANDS)}

SURFACE_BANDS: tuple[int, ...] = tuple(i for i, band in enumerate(S2_BANDS) if band.resolution < 60)
"""Indices of the ten bands that see the surface; B1, B9 and B10 are atmospheric."""
RGB_BANDS: tuple[int, int, int] = (S2_INDEX["B4"], S2_INDEX["B3"], S2_INDEX["B2"])

S1_RANGE_DB = (-25.0, 0.0)
S2_MAXIMUM = 10000.0
"""Clip ranges of the usual input scaling (Robinson et al. 2021, Sec. V; organisers' baseline loader)."""


def scale_s1(decibels: NDArray[np.floating]) -> NDArray[np.float32]:
    """Backscatter in dB, any shape -> float32 in [0, 1]: clipped to [-25, 0] dB, then (x + 25) / 25; NaN becomes 1.

    NaN takes the value of 0 dB, as in the usual loaders, which clip first and set NaN to 0 dB afterwards.
    """
    low, high = S1_RANGE_DB
    x = np.asarray(decibels, dtype=np.float32)
    x = np.clip(x, low, high)
    np.nan_to_num(x, copy=False, nan=0.0)
    x -= np.float32(low)
    x /= np.float32(high - low)
    return x


def scale_s2(reflectance: NDArray[np.number]) -> NDArray[np.float32]:
    """Reflectance x 10000, any shape -> float32 in [0, 1], clipped to [0, 10000]."""
    x = np.asarray(reflectance, dtype=np.float32)
    x = np.clip(x, 0.0, S2_MAXIMUM)
    np.nan_to_num(x, copy=False, nan=0.0)
    x /= np.float32(S2_MAXIMUM)
    return x
