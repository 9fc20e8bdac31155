"""Parameters that windows around a pixel share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _check_odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("the window has a centre only if its side is odd")
    return value


Side = Annotated[int, AfterValidator(_check_odd)]
"""Side of a window in pixels, odd."""
