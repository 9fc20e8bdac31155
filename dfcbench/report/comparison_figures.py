"""Figures of a comparison: differences with their intervals, and the patches in which two runs differ most.

Colours are from the set of Okabe and Ito ("Color Universal Design", 2008), which people with any kind of colour
blindness tell apart; shapes, fillings and words say the same once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfcbench.comparison import Comparison, PatchDifference
from dfcbench.maps import SubmissionMaps
from dfcbench.patches import LabelledPatchSet
from dfcbench.report.comparison import ROWS
from dfcbench.report.figures import PatchView, blank_figure, class_swatches, save_figure, view_image
from dfcbench.scheme import SCORED_CODES, SCORED_NAMES, palette
from dfcbench.scoring import LEVEL
from dfcbench.submission import Submission

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "osD^vP*"

FIRST, SECOND, BOTH, NEITHER, UNKNOWN = range(5)
"""Who is right at a pixel: the first run alone, the second alone, both, none; or there is no scored reference."""
_WHO = np.array(
    [(0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0xFF, 0xFF, 0xFF), (0x40, 0x40, 0x40), (0xB4, 0xB4, 0xB4)], np.uint8
)
"""Blue, orange, white, dark grey, light grey."""


@dataclass(frozen=True)
class PairView:
    """One patch of two runs: ``view`` with the first run's map as its prediction, and the second run's map (H, W)."""

    view: PatchView
    second: NDArray[np.integer]
    difference: PatchDifference


def who_is_right(
    reference: NDArray[np.integer], first: NDArray[np.integer], second: NDArray[np.integer]
) -> NDArray[np.uint8]:
    """FIRST, SECOND, BOTH, NEITHER or UNKNOWN for every pixel, (H, W)."""
    a, b = first == reference, second == reference
    who = np.select([a & b, a, b], [BOTH, FIRST, SECOND], NEITHER)
    return np.where(np.isin(reference, SCORED_CODES), who, UNKNOWN).astype(np.uint8)


def pair_views(
    runs: tuple[Submission, Submission], differences: Sequence[PatchDifference], reference: LabelledPatchSet
) -> list[PairView]:
    """What ``patches_figure`` shows of these patches, read from disk."""
    patches = reference.select([difference.patch_id for difference in differences])
    first, second = (SubmissionMaps(run.folder, patches.ids) for run in runs)
    views = []
    for patch, difference in zip(iter(patches), differences, strict=True):
        view = PatchView(
            name=patch.id,
            prediction=first.labels(patch.id),
            s2=patch.s2 if "s2" in patch.modalities else None,
            s1=patch.s1 if "s1" in patch.modalities and "s2" not in patch.modalities else None,
            reference=patch.high,
        )
        views.append(PairView(view, second.labels(patch.id), difference))
    return views


def differences_figure(comparison: Comparison, path: Path) -> Path:
    """Differences of all measures in percentage points with their intervals; filled where an interval excludes 0."""
    pairs = comparison.pairs
    figure = blank_figure(width=7.5, height=1.8 + 0.24 * len(ROWS) * max(1.4, 0.6 * len(pairs)))
    axes = figure.add_subplot()
    axes.axvline(0, color="black", linewidth=1)
    for number, pair in enumerate(pairs):
        values = comparison.whole.differences[pair]
        shift = 0.0 if len(pairs) == 1 else 0.7 * (number / (len(pairs) - 1) - 0.5)
        colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number // len(_COLOURS) % len(_MARKERS)]
        if len(pairs) <= len(_MARKERS):
            marker = _MARKERS[number]
        for row, (measure, _) in enumerate(ROWS):
            estimate = values[measure]
            if estimate.value is None:
                continue
            if estimate.interval is not None:
                low, high = (100 * bound for bound in estimate.interval)
                axes.plot([low, high], [row + shift] * 2, color=colour, linewidth=1.5)
            filling = colour if estimate.sign else "white"
            axes.plot(
                [100 * estimate.value], [row + shift], marker, color=colour, markerfacecolor=filling, markersize=6
            )
        first, second = (comparison.sides[i] for i in pair)
        label = f"{second.letter} - {first.letter}: {second.label} minus {first.label}"
        axes.plot([], [], marker + "-", color=colour, label=label)
    axes.axhline(len(SCORED_NAMES) - 0.5, color="0.8", linewidth=1)
    axes.set_yticks(range(len(ROWS)), [title for _, title in ROWS])
    axes.set_ylim(len(ROWS) - 0.4, -0.6)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    level = f"{100 * LEVEL:g} %"
    axes.set_xlabel(f"difference in percentage points, with {level} interval; filled: the interval excludes 0")
    figure.legend(loc="outside upper left", fontsize=8, frameon=False)
    return save_figure(figure, path)


def patches_figure(patches: Sequence[PairView], letters: tuple[str, str], path: Path, title: str = "") -> Path:
    """Patches, one row each: image, reference, both runs' maps, and who is right; legends below.

    Raises ValueError without a patch, or without a reference.
    """
    if not patches or any(each.view.reference is None for each in patches):
        raise ValueError("Patches with a reference are needed.")
    from matplotlib.patches import Patch as Swatch

    first, second = letters
    titles = ("image", "reference", f"{first}", f"{second}", "who is right")
    figure = blank_figure(width=2.4 * len(titles) + 0.6, height=2.5 * len(patches) + 1.5)
    grid = figure.subplots(len(patches), len(titles), squeeze=False)
    shown: set[int] = set()
    for row, each in zip(grid, patches, strict=True):
        reference = np.asarray(each.view.reference)
        maps = (reference, each.view.prediction, each.second)
        shown |= {int(code) for codes in maps for code in np.unique(codes)}
        who = _WHO[who_is_right(reference, each.view.prediction, each.second)]
        images = (view_image(each.view), *(palette()[codes] for codes in maps), who)
        for axes, image in zip(row, images, strict=True):
            axes.set_xticks([])
            axes.set_yticks([])
            if image is None:
                axes.set_axis_off()
            else:
                axes.imshow(image, interpolation="nearest")
        row[0].set_ylabel(each.view.name, fontsize=7)
        only = each.difference.only or (0, 0)
        row[-1].set_xlabel(f"only {first} right: {only[0]:,} px\nonly {second} right: {only[1]:,} px", fontsize=8)
    for axes, text in zip(grid[0], titles, strict=True):
        axes.set_title(text, fontsize=9)
    names: Mapping[int, str] = {
        FIRST: f"only {first} right",
        SECOND: f"only {second} right",
        BOTH: "both right",
        NEITHER: "both wrong",
        UNKNOWN: "reference not scored",
    }
    who_legend = [Swatch(facecolor=_WHO[code] / 255, edgecolor="black", label=name) for code, name in names.items()]
    figure.legend(handles=class_swatches(shown), loc="outside lower left", ncols=5, fontsize=8, frameon=False)
    figure.legend(handles=who_legend, loc="outside lower right", ncols=2, fontsize=8, frameon=False)
    if title:
        figure.suptitle(title, fontsize=11)
    return save_figure(figure, path)
