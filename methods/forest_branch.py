"""A random forest as one branch of several: its parameters, its growing, its probabilities; and pieces made only once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from dfcbench.method import Field, RunContext
from dfcbench.scheme import SCORED_CODES, SCORED_NAMES

from .forests import GrowingParams

if TYPE_CHECKING:
    from .forest_sampling import Draw
    from .random_forest import GrownForest

Piece = TypeVar("Piece")


class ForestBranchParams(GrowingParams):
    """Nothing of this is published; defaults are those of ``random-forest``, for its reasons."""

    patches: int = Field(2000, ge=1, description="patches that the forest's training pixels are drawn from")
    pixels: int = Field(1_000_000, ge=1, description="of the forest, as many of each class as far as it has them")


def kept(run: RunContext, name: str, make: Callable[[], Piece]) -> Piece:
    """A fitted piece: made, and kept under ``name``, so that a killed run goes on behind it."""
    found: Piece | None = run.load_checkpoint(name)
    if found is None:
        found = make()
        run.save_checkpoint(name, found)
    return found


def grown(params: ForestBranchParams, draw: Draw, run: RunContext, name: str) -> GrownForest:
    """A forest on this draw; ``name`` is the method's, for its seed and its message."""
    from .random_forest import GrownForest

    counts = np.bincount(draw.y, minlength=len(SCORED_CODES))
    told = ", ".join(f"{name} {count}" for name, count in zip(SCORED_NAMES, counts, strict=True))
    run.message(f"{name}: {len(draw.y)} training pixels, of which {told}.")
    return GrownForest(params.growing(run.workers), int(run.generator(name, "forest").integers(2**31))).fit(
        draw.x, draw.y
    )


def forest_maps(forest: GrownForest, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (8, H, W) from features (F, H, W)."""
    from .features.stack import by_pixel

    p = forest.predict_proba(by_pixel(x))
    return np.ascontiguousarray(p.T).reshape(len(SCORED_CODES), *x.shape[1:])
