"""Windows over a scene, and the map that they become together."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcbench.blending import SMALLEST_WINDOW, Blend, Tiling
from dfcbench.errors import UsageError
from dfcbench.scheme import SCORED_CODES

CODES = np.array(SCORED_CODES, np.uint8)


@st.composite
def tilings(draw):
    window = draw(st.integers(SMALLEST_WINDOW, 80))
    return Tiling(window, draw(st.integers(0, window // 2)))


@given(tilings(), st.integers(1, 500))
def test_windows_cover_a_side_stay_within_it_and_share_what_was_asked(tiling, length):
    starts = tiling.starts(length)
    ends = [min(start + tiling.window, length) for start in starts]
    assert starts[0] == 0 and ends[-1] == length
    assert all(end - start == min(tiling.window, length) for start, end in zip(starts, ends, strict=True))
    shared = [end - start for end, start in zip(ends, starts[1:], strict=False)]
    assert all(0 <= n < tiling.window and n >= tiling.overlap for n in shared)


def test_windows_without_overlap_stand_side_by_side():
    assert Tiling(256, 0).starts(1024) == [0, 256, 512, 768]


@pytest.mark.parametrize(("window", "overlap"), [(15, 0), (64, 33), (64, -1)])
def test_windows_that_make_no_sense_are_refused(window, overlap):
    with pytest.raises(UsageError, match="--window" if window < 16 else "--overlap"):
        Tiling(window, overlap)


def soft_field(shape: tuple[int, int], seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).random((8, *shape), np.float32)
    values[3] = np.where(values[3] > 0.7, values[5], values[3])  # ties, which the first class wins
    return values / values.sum(axis=0)


@settings(max_examples=30, deadline=None)
@given(tilings(), st.integers(1, 150), st.integers(1, 150), st.integers(0, 2**31), st.booleans())
def test_windows_that_agree_give_what_each_of_them_says(tiling, height, width, seed, soft):
    field = soft_field((height, width), seed)
    labels = CODES[field.argmax(axis=0)]
    places = [(r, c) for r in tiling.starts(height) for c in tiling.starts(width)]
    np.random.default_rng(seed).shuffle(places)
    h, w = min(tiling.window, height), min(tiling.window, width)
    blend = Blend(height, width)
    for r, c in places:
        area = (slice(r, r + h), slice(c, c + w))
        blend.add(r, c, field[:, *area] if soft else labels[area], labels[area], tiling.weights(h, w))
    cuts = sorted({0, height // 3, height // 2, height})
    parts = [blend.pop(b - a) for a, b in pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), labels)


def disagreeing(soft: bool) -> np.ndarray:
    """A row of two windows of 40 pixels that share 20, of which the first knows Forest alone, the second Water."""
    tiling = Tiling(40, 20)
    blend = Blend(40, 60)
    for column, index in ((0, 0), (20, 7)):
        labels = np.full((40, 40), CODES[index])
        values = np.zeros((8, 40, 40), np.float32)
        values[index] = 1
        blend.add(0, column, values if soft else labels, labels, tiling.weights(40, 40))
    return blend.pop(40)


@pytest.mark.parametrize("soft", [True, False])
def test_where_windows_disagree_the_one_that_a_pixel_lies_deeper_in_wins(soft):
    codes = disagreeing(soft)
    assert (codes[:, :30] == 1).all()
    assert (codes[:, 30:] == 10).all()


def test_a_window_fades_in_from_nothing_so_that_its_edge_makes_no_seam():
    weights = np.sqrt(np.diagonal(Tiling(64, 32).weights(64, 64)))  # along one side
    assert 0 < weights[0] < 0.01
    assert weights[31:33].min() > 0.99
    assert np.abs(np.diff(weights)).max() < 2 / 32, "no jump from one pixel to the next"
    np.testing.assert_allclose(weights[:32] + weights[32:], 1, err_msg="rise and fall add up to 1")


def test_probabilities_of_any_sum_count_alike():
    labels = np.full((16, 16), 1, np.uint8)
    sure, shouting = np.zeros((2, 8, 16, 16), np.float32)
    sure[0], sure[7] = 0.9, 0.1
    shouting[0], shouting[7] = 40.0, 60.0
    blend = Blend(16, 16)
    for values in (sure, shouting):
        blend.add(0, 0, values, labels, np.ones((16, 16)))
    assert (blend.pop(16) == 1).all(), "0.9 + 0.4 against 0.1 + 0.6"
