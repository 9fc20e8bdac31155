"""Figures of a run as PNG files: the confusion matrix, and a panel of patches. The same input gives the same bytes.

matplotlib is imported where a figure is drawn, and used through its objects, so that no global state is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.files import replacing
from dfcbench.scheme import CLASSES, SCORED_CODES, SCORED_NAMES, palette
from dfcbench.scoring import Confusion
from dfcbench.sensors import RGB_BANDS, scale_s1

_DPI = 120
_STRETCH = (2.0, 98.0)
"""Percentiles of each band that become black and white: the usual cut of 2 % for display."""
_SMALLEST_RANGE = 400.0
"""Reflectance x 10000: a narrower band is not stretched further, so that open water does not turn into noise."""
_SMALLEST_RANGE_DB = 10.0
"""dB: the middle 96 % of the speckle of Sentinel-1's some 4 looks, 4.1 standard deviations 10 / ln 10 * sqrt(trigamma(4)) =
2.3 dB of a gamma-distributed intensity's logarithm; so speckle alone does not fill the range."""
_DARK_CELL = 0.55
"""Share from which the text in a cell of the confusion matrix is white."""


@dataclass(frozen=True)
class PatchView:
    """What the panel shows of one patch; arrays as patches deliver them, None where there is nothing.

    s2 (13, H, W) reflectance x 10000; s1 (2, H, W) dB, shown where there is no s2; low, prediction and reference
    (H, W) codes 0..10.
    """

    name: str
    prediction: NDArray[np.integer]
    s2: NDArray[np.number] | None = None
    s1: NDArray[np.floating] | None = None
    low: NDArray[np.integer] | None = None
    reference: NDArray[np.integer] | None = None


def rgb(s2: NDArray[np.number]) -> NDArray[np.float32]:
    """Natural colours (H, W, 3) in [0, 1] of reflectances (13, H, W), each band stretched over its middle 96 %."""
    return _stretched(np.asarray(s2)[list(RGB_BANDS)].astype(np.float32), _SMALLEST_RANGE)


def radar(s1: NDArray[np.floating]) -> NDArray[np.float32]:
    """False colours (H, W, 3) in [0, 1] of backscatter (2, H, W) in dB: VV, VH and VV - VH, stretched as in ``rgb``.

    NaN is shown as the darkest value.
    """
    vv, vh = np.asarray(s1, np.float32)
    with np.errstate(invalid="ignore"):
        bands = np.stack([vv, vh, vv - vh])
    finite = np.isfinite(bands)
    darkest = np.min(np.where(finite, bands, np.inf), axis=(1, 2))
    darkest[~np.isfinite(darkest)] = 0.0
    return _stretched(np.where(finite, bands, darkest[:, None, None]), _SMALLEST_RANGE_DB)


def _stretched(bands: NDArray[np.float32], smallest: float) -> NDArray[np.float32]:
    """Bands (3, H, W) -> (H, W, 3) in [0, 1]: the middle 96 % of each, or a range of ``smallest`` about their middle."""
    low, high = np.percentile(bands, _STRETCH, axis=(1, 2))
    span = np.maximum(high - low, smallest)
    middle = (low + high) / 2
    stretched = (bands - (middle - span / 2)[:, None, None]) / span[:, None, None]
    result: NDArray[np.float32] = np.moveaxis(np.clip(stretched, 0, 1), 0, -1).astype(np.float32)
    return result


def confusion_figure(confusion: Confusion, path: Path, title: str = "") -> Path:
    """Draw the confusion matrix of all patches: rows are reference classes and add up to 100 %.

    Colour and the large number are the share of the row; the diagonal is the producer's accuracy. The label of a row
    tells the class's share of the reference. Columns of classes that are not scored appear where they were predicted.
    """
    total = confusion.total
    rows = total[list(SCORED_CODES)]
    others = [code for code in range(len(total)) if code not in SCORED_CODES and rows[:, code].any()]
    counts = rows[:, [*SCORED_CODES, *others]]
    present = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, present, out=np.full(counts.shape, np.nan), where=present > 0)
    part = present[:, 0] / max(1, int(present.sum()))
    names = {c.code: c.name for c in CLASSES}
    columns = [*SCORED_NAMES, *(names.get(code, "no label") for code in others)]

    figure = blank_figure(width=2.6 + 0.68 * len(columns), height=6.6)
    axes = figure.add_subplot()
    axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        if not np.isnan(share) and counts[row, column]:
            colour = "white" if share > _DARK_CELL else "black"
            weight = "bold" if row == column else "normal"
            axes.text(column, row, _percent(share), ha="center", va="center", color=colour, weight=weight, fontsize=9)
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
    labels = [f"{n} ({_percent(p)} %)" if p else f"{n} (absent)" for n, p in zip(SCORED_NAMES, part, strict=True)]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(SCORED_NAMES) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("reference class (share of the reference)")
    axes.set_title(title or "Confusion matrix, % of the reference class", fontsize=11)
    return save_figure(figure, path)


def panel_figure(patches: Sequence[PatchView], path: Path, title: str = "") -> Path:
    """Draw patches, one row each: image, low-resolution labels, prediction, reference, with the classes' colours below.

    A column that no patch has is left out. Classes that occur in no map are left out of the legend.
    Raises ValueError without a patch.
    """
    if not patches:
        raise ValueError("There is no patch to draw.")
    colours = palette()
    titles = {"image": "image (B4, B3, B2)", "low": "low-resolution labels", "prediction": "prediction"}
    titles["reference"] = "reference"
    if all(view.s2 is None for view in patches):
        titles["image"] = "VV backscatter"
    columns = [c for c in titles if c in ("image", "prediction") or any(getattr(v, c) is not None for v in patches)]

    figure = blank_figure(width=2.4 * len(columns) + 0.4, height=2.4 * len(patches) + 1.2)
    grid = figure.subplots(len(patches), len(columns), squeeze=False)
    shown: set[int] = set()
    for row, view in zip(grid, patches, strict=True):
        for axes, column in zip(row, columns, strict=True):
            axes.set_xticks([])
            axes.set_yticks([])
            image = view_image(view) if column == "image" else None
            if column != "image" and getattr(view, column) is not None:
                codes = np.asarray(getattr(view, column))
                shown |= set(np.unique(codes).tolist())
                image = colours[codes]
            if image is None:
                axes.set_axis_off()
            else:
                axes.imshow(image, interpolation="nearest")
        row[0].set_ylabel(view.name, fontsize=7)
    for axes, column in zip(grid[0], columns, strict=True):
        axes.set_title(titles[column], fontsize=9)
    swatches = class_swatches(shown)
    if swatches:
        figure.legend(handles=swatches, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    if title:
        figure.suptitle(title, fontsize=11)
    return save_figure(figure, path)


def class_swatches(codes: Collection[int]) -> list[Any]:
    """Entries of a legend for these class codes, in the scheme's colours."""
    from matplotlib.patches import Patch as Swatch

    colours = palette() / 255
    names = {0: "no label", **{c.code: c.name for c in CLASSES}}
    return [Swatch(facecolor=colours[code], edgecolor="black", label=names[code]) for code in sorted(codes)]


def view_image(view: PatchView) -> NDArray[Any] | None:
    """The picture (H, W, 3) of what a patch shows: Sentinel-2, else the VV backscatter, else None."""
    if view.s2 is not None:
        return rgb(view.s2)
    if view.s1 is not None:
        return np.repeat(scale_s1(view.s1[0])[..., np.newaxis], 3, axis=2)
    return None


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.095 else f"{100 * share:.1f}"


def blank_figure(width: float, height: float) -> Any:
    """A figure of its own, in inches, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> Path:
    """Write a PNG atomically, without the date and versions that would change its bytes."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return path
