"""What a method logged while it ran, as line charts in SVG. The same values give the same drawing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

MOST_CHARTS = 24
"""Charts on a page, in the order in which their metrics were first logged."""
MOST_POINTS = 300
"""Points of a line: as many as a chart is pixels wide."""

_WIDTH, _HEIGHT = 330, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 12, 14, 10, 24
"""Margins, in the drawing's units; the numbers of the vertical axis come on top of the left one."""
_DIGIT = 7
"""Width of a digit, in the drawing's units."""
_TICKS = 4
"""Intervals between lines of the grid, about."""
_FEWEST = 3
"""Lines of a grid, if there can be so many."""
_FLAT = 1e-9
"""Share of its largest value below which a range has no ticks: text that told them apart would not fit."""
_TINY = 1e-300
"""A range that no power of ten divides: the smallest floats."""


@dataclass(frozen=True)
class Curve:
    """A metric's values: steps ascend, and each is there once."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


def curves(history: Iterable[Mapping[str, Any]]) -> list[Curve]:
    """The metrics in ``Submission.metric_history``, in order of first appearance.

    A run that was broken off logs some steps twice: the later value counts. Values without a step are counted through.
    Values that are not finite are left out.
    """
    points: dict[str, dict[float, float]] = {}
    for entry in history:
        value = _finite(entry["value"])
        if value is not None:
            of_metric = points.setdefault(entry["name"], {})
            step = _finite(entry.get("step"))
            of_metric[float(len(of_metric)) if step is None else step] = value
    return [
        Curve(name, tuple(sorted(values)), tuple(values[step] for step in sorted(values)))
        for name, values in points.items()
    ]


def chart(curve: Curve) -> Markup:
    """A line chart of a curve of two values or more."""
    whole = all(step.is_integer() for step in curve.steps)
    ticks_x = _ticks(curve.steps[0], curve.steps[-1], least=1.0 if whole else 0.0)
    ticks_y = _ticks(min(curve.values), max(curve.values))
    left = _LEFT + _DIGIT * max(len(words) for _, words in ticks_y)
    x_range = (curve.steps[0], curve.steps[-1])
    y_range = (min(curve.values), max(curve.values))

    def place_x(step: float) -> float:
        return round(left + _share(step, *x_range) * (_WIDTH - left - _RIGHT), 1)

    def place_y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - _share(value, *y_range) * (_HEIGHT - _TOP - _BOTTOM), 1)

    pieces = []
    for tick, words in ticks_y:
        y = place_y(tick)
        pieces.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(left, y, _WIDTH - _RIGHT))
        pieces.append(Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(left - 6, y + 4, words))
    for tick, words in ticks_x:
        place = Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>')
        pieces.append(place.format(place_x(tick), _HEIGHT - 7, words))
    kept = _thinned(len(curve.steps))
    line = " ".join(f"{place_x(curve.steps[i])},{place_y(curve.values[i])}" for i in kept)
    pieces.append(Markup('<polyline class="curve" points="{}"/>').format(line))
    end = Markup('<circle class="dot" cx="{}" cy="{}" r="3"/>')
    pieces.append(end.format(place_x(curve.steps[-1]), place_y(curve.values[-1])))
    words = f"{curve.name}: {len(curve.values)} values, from {short(curve.values[0])} to {short(curve.values[-1])}"
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        _WIDTH, _HEIGHT, words, Markup("").join(pieces)
    )


def short(value: float, digits: int = 4) -> str:
    """A number in so many digits."""
    return f"{value:.{digits}g}"


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond all floats
        return None


def _share(value: float, low: float, high: float) -> float:
    """Where value lies between low and high; halved, so that no difference of floats overflows."""
    return (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5


def _thinned(count: int) -> Sequence[int]:
    """Indices at even distances, the last one among them."""
    step = -(-count // MOST_POINTS)
    return sorted({*range(0, count, step), count - 1})


def _ticks(low: float, high: float, least: float = 0.0) -> list[tuple[float, str]]:
    """Round numbers (1, 2 or 5 times a power of ten apart, at least ``least``) from low to high, as numbers and as text
    that tells them apart; both ends if fewer than two are between.
    """
    rough = high / _TICKS - low / _TICKS
    largest = max(abs(low), abs(high))
    if not rough > max(_TINY, _FLAT * largest):
        return [(low, short(low))]
    power = 10.0 ** math.floor(math.log10(rough))
    found = [low, high]
    for factor in (5, 2, 1, 0.5):  # some 2 to 8 ticks
        step = max(factor * power, least)
        between = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
        if len(between) >= _FEWEST:
            found = between
            break
    digits = math.ceil(math.log10(largest / rough)) + 1
    return [(tick, short(tick, max(4, digits))) for tick in found]
