"""The epitome as a picture: Gaussian means in colour, label embedding in class colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.scheme import SCORED, SCORED_CODES, palette
from dfcbench.sensors import RGB_BANDS, S2_BANDS

from .epitome_model import EpitomeModel


def true_colour(model: EpitomeModel, channels: tuple[str, ...]) -> NDArray[np.float32]:
    """Means as RGB (E, E, 3) in [0, 1]: B4, B3, B2 if all are among the channels, else the first three (repeated)."""
    names = [S2_BANDS[i].name for i in RGB_BANDS]
    chosen = [channels.index(name) for name in names] if set(names) <= set(channels) else [0, 1, 2]
    rgb = np.stack([model.mean[i % len(channels)] for i in chosen], axis=-1).astype(np.float32)
    low, high = np.percentile(rgb, [1, 99], axis=(0, 1))
    scaled: NDArray[np.float32] = np.clip((rgb - low) / np.maximum(high - low, 1e-6), 0, 1)
    return scaled


def class_colours(labels: NDArray[Any]) -> NDArray[np.float64]:
    """p(l|u) (8, E, E) as the mean of the classes' colours, (E, E, 3) in [0, 1]."""
    colours = palette()[list(SCORED_CODES)] / 255.0
    mixed: NDArray[np.float64] = np.einsum("lyx,lc->yxc", labels, colours).clip(0, 1)
    return mixed


def draw(model: EpitomeModel, labels: NDArray[Any], channels: tuple[str, ...], path: Path) -> None:
    """Write the picture: means, label embedding, and the most probable class, side by side."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch as Swatch

    winners = palette()[np.asarray(SCORED_CODES)[labels.argmax(axis=0)]]
    panels = {
        "Means": true_colour(model, channels),
        "p(l | u) in class colours": class_colours(labels),
        "Most probable class": winners,
    }
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        axes.imshow(image, interpolation="nearest")
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    swatches = [Swatch(color=c.colour, label=c.name) for c in SCORED]
    figure.legend(handles=swatches, loc="outside lower center", ncols=len(swatches), fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)
