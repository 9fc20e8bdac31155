"""Choosing bands by name and reading them scaled to [0, 1]: what every method on pixels begins with."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator

from dfcbench.method import Patch
from dfcbench.sensors import S1_BANDS, S2_BANDS, SURFACE_BANDS, scale_s1, scale_s2

S1_NAMES = tuple(band.name for band in S1_BANDS)
S2_NAMES = tuple(band.name for band in S2_BANDS)

WHOLE = (slice(None), slice(None))
"""The window of all rows and columns."""

SURFACE_NAMES = tuple(S2_NAMES[i] for i in SURFACE_BANDS)
"""The ten bands of 10 and 20 m, which see the surface."""

CHANNELS = (*S1_NAMES, *SURFACE_NAMES)
"""Both radar bands and the ten bands that see the surface."""


def split_names(value: Any) -> Any:
    """Names joined by commas -> a list of them; anything else as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _pairs(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return dict(part.split("=", 1) for part in value.replace(" ", "").split(",") if "=" in part)


def _require_known(names: set[str]) -> None:
    if unknown := sorted(names - {*S1_NAMES, *S2_NAMES}):
        raise ValueError(f"unknown bands {', '.join(unknown)}; there are {', '.join((*S1_NAMES, *S2_NAMES))}")


def _check_names(value: tuple[str, ...]) -> tuple[str, ...]:
    _require_known(set(value))
    if not value:
        raise ValueError("name at least one band")
    if len(set(value)) < len(value):
        raise ValueError("a band is named twice")
    return value


def _check_weights(value: dict[str, float]) -> dict[str, float]:
    _require_known(set(value))
    if any(not weight > 0 for weight in value.values()):
        raise ValueError("weights are above 0; leave a band out of channels instead")
    return value


ChannelNames = Annotated[tuple[str, ...], BeforeValidator(split_names), AfterValidator(_check_names)]
"""Type of a parameter: bands by name (VV, VH, B1 ... B12), as a list or joined by commas."""

ChannelWeights = Annotated[dict[str, float], BeforeValidator(_pairs), AfterValidator(_check_weights)]
"""Type of a parameter: weights by band, as a mapping or as VV=0.5,VH=0.5."""


def inputs_of(names: tuple[str, ...]) -> frozenset[str]:
    """Which of the modalities ``s1`` and ``s2`` these bands come from."""
    chosen = set(names)
    return frozenset({"s1"} if chosen & set(S1_NAMES) else ()) | ({"s2"} if chosen & set(S2_NAMES) else frozenset())


class Channels:
    """Reads the chosen bands of a patch: float32 (C, H, W), scaled to [0, 1] as in ``sensors``, in the order named."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._s1 = [S1_NAMES.index(name) for name in names if name in S1_NAMES]
        self._s2 = [S2_NAMES.index(name) for name in names if name in S2_NAMES]
        read = [name for name in names if name in S1_NAMES] + [name for name in names if name in S2_NAMES]
        self._order = [read.index(name) for name in names]

    def __call__(self, patch: Patch, window: tuple[slice, slice] = WHOLE) -> NDArray[np.float32]:
        """The bands within rows and columns of a patch."""
        s1 = patch.s1[:, *window][self._s1] if self._s1 else None
        return self.scaled(s1, patch.s2[:, *window][self._s2] if self._s2 else None)

    def scaled(self, s1: NDArray[Any] | None, s2: NDArray[Any] | None) -> NDArray[np.float32]:
        """Raw values of the chosen S1 bands (n1, ...) and S2 bands (n2, ...) -> (C, ...) in [0, 1]."""
        parts = ([] if s1 is None else [scale_s1(s1)]) + ([] if s2 is None else [scale_s2(s2)])
        x = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.ascontiguousarray(x if self._order == list(range(len(x))) else x[self._order])
