"""Curves of what a method logged: which values count, and where the drawing puts them."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dfcbench.report.curves import MOST_POINTS, Curve, _ticks, chart, curves

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def entry(name: str, value: object, step: object = None) -> dict[str, object]:
    return {"name": name, "value": value, "step": step, "time": 0.0}


def points(drawing: str) -> list[tuple[float, float]]:
    (found,) = re.findall(r'points="([^"]*)"', drawing)
    return [tuple(map(float, pair.split(","))) for pair in found.split()]  # type: ignore[misc]


def test_later_value_of_a_step_counts_and_steps_ascend() -> None:
    history = [entry("loss", 3.0, 0), entry("loss", 9.0, 2), entry("loss", 2.0, 1), entry("loss", 1.0, 2)]
    assert curves(history) == [Curve("loss", (0.0, 1.0, 2.0), (3.0, 2.0, 1.0))]


def test_metrics_come_in_order_of_first_appearance_and_missing_steps_are_counted() -> None:
    history = [entry("b", 1.0), entry("a", 5.0, 10), entry("b", 2.0), entry("b", 3.0)]
    assert curves(history) == [Curve("b", (0.0, 1.0, 2.0), (1.0, 2.0, 3.0)), Curve("a", (10.0,), (5.0,))]


def test_values_that_no_chart_can_hold_are_left_out() -> None:
    history = [entry("x", value, step) for step, value in enumerate((math.nan, math.inf, 10**400, True, 1.0))]
    history += [entry("x", 2.0, math.nan), entry("x", 3.0, 10**400)]
    (curve,) = curves(history)
    assert curve.values == (2.0, 3.0, 1.0)
    assert curve.steps == (1.0, 2.0, 4.0)


def test_line_goes_where_the_values_are() -> None:
    drawn = points(chart(Curve("loss", (0.0, 1.0, 4.0), (8.0, 4.0, 0.0))))
    (x0, y0), (x1, y1), (x2, y2) = drawn
    assert x0 < x1 < x2
    assert y0 < y1 < y2  # SVG counts downwards
    assert math.isclose((x1 - x0) / (x2 - x0), 0.25, abs_tol=0.01)
    assert math.isclose((y1 - y0) / (y2 - y0), 0.5, abs_tol=0.01)


def test_long_lines_are_thinned_and_keep_their_ends() -> None:
    steps = tuple(map(float, range(10_001)))
    whole, short = points(chart(Curve("a", steps, steps))), points(chart(Curve("a", steps[:2], steps[:2])))
    assert len(whole) <= MOST_POINTS + 1
    assert whole[-1][1] == short[-1][1]
    assert whole[0][1] == short[0][1]


def test_whole_steps_have_whole_ticks() -> None:
    drawing = chart(Curve("a", (0.0, 1.0, 2.0), (0.0, 0.1, 0.2)))
    below = re.findall(r'text-anchor="middle">([^<]*)<', drawing)
    assert below == ["0", "1", "2"]


@given(FLOATS, FLOATS)
def test_ticks_lie_within_the_range_and_can_be_told_apart(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    ticks = _ticks(low, high)
    numbers = [number for number, _ in ticks]
    slack = 1e-9 * max(abs(low), abs(high))
    assert 1 <= len(ticks) <= 10
    assert all(low - slack <= number <= high + slack for number in numbers)
    assert all(one < two for one, two in pairwise(numbers))
    if high / 4 - low / 4 > max(1e-8 * max(abs(low), abs(high)), 1e-300):
        assert len(ticks) > 1
        assert len({text for _, text in ticks}) == len(ticks)


@given(st.lists(FLOATS, min_size=2, max_size=20))
def test_any_values_stay_inside_the_drawing(values: list[float]) -> None:
    curve = Curve("a", tuple(map(float, range(len(values)))), tuple(values))
    for x, y in points(chart(curve)):
        assert 0 <= x <= 330
        assert 0 <= y <= 170
