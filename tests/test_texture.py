"""Texture: parity with scikit-image window by window, borders and odd shapes, constant and missing values, threads."""

from __future__ import annotations

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops

from dfcbench_methods.features.texture import LEVELS, OFFSETS, PROPERTIES, WINDOW, quantise, texture

TOLERANCE = 1e-5
SKIMAGE = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "ASM")
FOUR_ANGLES = ((0, 1), (1, 1), (1, 0), (1, -1))
BORDERS = ("reflect", "symmetric", "edge")


def skimage_at(
    levels: NDArray[np.uint8], y: int, x: int, window: int, depth: int, distances: list[int], angles: list[float]
) -> NDArray[np.float64]:
    """Properties of the window around a pixel of a padded plane of levels, one column per distance and angle."""
    part = levels[y : y + window, x : x + window]
    matrix = graycomatrix(part, distances, angles, depth, symmetric=True, normed=True)
    return np.array([graycoprops(matrix, name).ravel() for name in SKIMAGE])


def brute_force(levels: NDArray[np.uint8], y: int, x: int, window: int, offset: tuple[int, int]) -> list[float]:
    """The definitions, pair by pair, for offsets that scikit-image's angles do not reach."""
    part = levels[y : y + window, x : x + window].astype(int)
    pairs = [
        (part[r, c], part[r + offset[0], c + offset[1]])
        for r in range(window)
        for c in range(window)
        if 0 <= r + offset[0] < window and 0 <= c + offset[1] < window
    ]
    pairs += [(b, a) for a, b in pairs]
    share: dict[tuple[int, int], float] = {}
    for pair in pairs:
        share[pair] = share.get(pair, 0) + 1 / len(pairs)
    mean = sum(p * a for (a, _), p in share.items())
    variance = sum(p * (a - mean) ** 2 for (a, _), p in share.items())
    covariance = sum(p * (a - mean) * (b - mean) for (a, b), p in share.items())
    moment = sum(p * p for p in share.values())
    return [
        sum(p * (a - b) ** 2 for (a, b), p in share.items()),
        sum(p * abs(a - b) for (a, b), p in share.items()),
        sum(p / (1 + (a - b) ** 2) for (a, b), p in share.items()),
        math.sqrt(moment),
        covariance / variance if variance > 1e-12 else 1.0,
        moment,
    ]


def plane_of(kind: str, shape: tuple[int, int], seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    if kind == "noise":
        return generator.random(shape, dtype=np.float32)
    if kind == "fields":
        rows, columns = np.indices(shape) // 5
        return ((rows * 7 + columns * 3) % 11 / 11).astype(np.float32)
    rows, columns = np.indices(shape) / 16
    waves = 0.5 + 0.3 * np.sin(rows + 2 * columns) + 0.05 * generator.standard_normal(shape)
    return np.asarray(waves, np.float32)


def some_pixels(shape: tuple[int, int], count: int = 12) -> list[tuple[int, int]]:
    """The corners, and others at random."""
    generator = np.random.default_rng(1)
    inner = [(int(generator.integers(shape[0])), int(generator.integers(shape[1]))) for _ in range(count)]
    return [(y, x) for y in (0, shape[0] - 1) for x in (0, shape[1] - 1)] + inner


def assert_parity(
    plane: NDArray[Any], distance: int = 1, angle: float = 0.0, offset: tuple[int, int] = (0, 1), **options: Any
) -> None:
    depth, window = options.setdefault("levels", LEVELS), options.setdefault("window", WINDOW)
    border = options.setdefault("border", "reflect")
    found = texture(plane, offsets=[offset], **options)
    padded = np.pad(quantise(plane, levels=depth), window // 2, mode=border)
    for y, x in some_pixels(plane.shape):
        expected = skimage_at(padded, y, x, window, depth, [distance], [angle])[:, 0]
        np.testing.assert_allclose(found[:, y, x], expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=f"{(y, x)}")


@pytest.mark.parametrize("kind", ["noise", "fields", "waves"])
@pytest.mark.parametrize("border", BORDERS)
def test_equal_to_scikit_image_at_borders_too(kind: str, border: str) -> None:
    assert_parity(plane_of(kind, (40, 53)), border=border)


@pytest.mark.parametrize("levels", [2, 3, 8, 31, 32, 64, 256])
def test_equal_to_scikit_image_at_any_depth(levels: int) -> None:
    assert_parity(plane_of("noise", (30, 31)), levels=levels)
    assert_parity(plane_of("waves", (30, 31)), levels=levels)


@pytest.mark.parametrize(
    ("distance", "angle", "offset"),
    [
        (1, math.pi / 4, (1, 1)),
        (1, math.pi / 2, (1, 0)),
        (1, 3 * math.pi / 4, (1, -1)),
        (2, 0, (0, 2)),
        (2, math.pi / 2, (2, 0)),
        (3, math.pi / 4, (2, 2)),
        (3, 3 * math.pi / 4, (2, -2)),
        (12, 0, (0, 12)),
    ],
)
def test_equal_to_scikit_image_in_any_direction(distance: int, angle: float, offset: tuple[int, int]) -> None:
    assert_parity(plane_of("waves", (33, 30)), distance, angle, offset)


@pytest.mark.parametrize("window", [3, 5, 13, 15, 21, 31])
def test_equal_to_scikit_image_in_any_window(window: int) -> None:
    assert_parity(plane_of("noise", (40, 37)), window=window)
    assert_parity(plane_of("fields", (40, 37)), window=window, levels=2)


@pytest.mark.parametrize("window", [13, 15, 215, 217])
def test_counts_do_not_spill_over_where_all_pairs_are_alike(window: int) -> None:
    """Up to 13 x 13, half the sum of squares fits into 16 bits, up to 215 x 215 into 32."""
    plane = np.full((6, 5), 0.3, np.float32)
    assert np.all(texture(plane, window=window)[PROPERTIES.index("asm")] == 1)
    plane[2, 3] = 0.6
    assert_parity(plane, window=window)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_equal_to_the_definition_for_any_shape_window_and_offset(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    window = data.draw(st.sampled_from([3, 5, 7]))
    depth = data.draw(st.integers(2, 9))
    reach = st.integers(1 - window, window - 1)
    offset = data.draw(st.tuples(reach, reach).filter(any))
    border = data.draw(st.sampled_from(BORDERS))
    levels = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, depth, shape)
    found = texture(levels, low=0, high=depth, levels=depth, window=window, offsets=[offset], border=border)
    padded = np.pad(levels.astype(np.uint8), window // 2, mode=border)
    assert found.shape == (6, *shape) and found.dtype == np.float32
    for y, x in np.ndindex(*shape):
        expected = brute_force(padded, y, x, window, offset)
        np.testing.assert_allclose(found[:, y, x], expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_several_offsets_give_the_mean_of_their_properties() -> None:
    plane = plane_of("waves", (30, 40))
    found = texture(plane, offsets=FOUR_ANGLES)
    padded = np.pad(quantise(plane), WINDOW // 2, mode="reflect")
    for y, x in some_pixels(plane.shape):
        each = skimage_at(padded, y, x, WINDOW, LEVELS, [1], [0, math.pi / 4, math.pi / 2, 3 * math.pi / 4])
        np.testing.assert_allclose(found[:, y, x], each.mean(axis=1), rtol=TOLERANCE, atol=TOLERANCE)


def test_an_offset_and_its_opposite_are_the_same() -> None:
    plane = plane_of("noise", (20, 20))
    assert np.array_equal(texture(plane, offsets=[(2, -1)]), texture(plane, offsets=[(-2, 1)]))


def test_defaults_are_the_documented_ones() -> None:
    plane = plane_of("noise", (20, 20))
    assert (LEVELS, WINDOW, OFFSETS) == (64, 13, ((0, 1),))
    spelt_out = texture(plane, low=0, high=1, levels=64, window=13, offsets=[(0, 1)], border="reflect")
    assert np.array_equal(texture(plane), spelt_out)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 2), (12, 13)])
def test_planes_smaller_than_the_window(shape: tuple[int, int]) -> None:
    assert_parity(plane_of("noise", shape))


@pytest.mark.parametrize("value", [-3.0, 0.0, 0.4, 1.0, 7.0])
def test_a_constant_plane_has_no_contrast_and_full_energy(value: float) -> None:
    found = texture(np.full((20, 30), value, np.float32))
    expected = {
        "contrast": 0, "dissimilarity": 0, "homogeneity": 1, "energy": 1, "correlation": 1, "asm": 1,
    }  # fmt: skip
    for name, plane in zip(PROPERTIES, found, strict=True):
        assert np.all(plane == expected[name]), name


def test_a_chequerboard_by_hand() -> None:
    """Every step to the right goes from 0 to 1 or back: two cells of the matrix share all pairs."""
    board = np.indices((20, 20)).sum(axis=0) % 2
    found = texture(board, levels=2)
    for name, value in zip(PROPERTIES, (1, 1, 0.5, math.sqrt(0.5), -1, 0.5), strict=True):
        assert found[PROPERTIES.index(name)] == pytest.approx(value, abs=1e-6), name


def test_missing_values_count_as_the_lowest_grey() -> None:
    plane = plane_of("noise", (30, 30))
    plane[4:9, 7:20] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = texture(plane)
    assert np.isfinite(found).all()
    assert np.array_equal(found, texture(np.where(np.isnan(plane), np.float32(0), plane)))
    assert np.array_equal(texture(np.full((5, 5), np.nan)), texture(np.zeros((5, 5))))


def test_values_outside_the_range_are_clipped() -> None:
    plane = np.array([[-np.inf, -30.0, -25.0], [-12.5, -1e-9, 0.0], [3.0, 1e300, np.inf]])
    assert quantise(plane, low=-25, high=0, levels=4).tolist() == [[0, 0, 0], [2, 3, 3], [3, 3, 3]]


@given(levels=st.integers(2, 256), low=st.integers(-300, 300), step=st.integers(1, 50))
@example(levels=49, low=0, step=49)
def test_a_level_begins_at_its_own_multiple_of_the_step(levels: int, low: int, step: int) -> None:
    expected = np.arange(levels)
    first = low + step * expected
    limits = {"low": low, "high": low + step * levels, "levels": levels}
    assert np.array_equal(quantise(first, **limits), expected)
    assert np.array_equal(quantise(first + step * 0.999, **limits), expected)


@given(st.lists(st.floats(width=32), min_size=2), st.integers(2, 256))
def test_levels_rise_with_grey_and_stay_in_range(values: list[float], levels: int) -> None:
    found = quantise(np.array(values, np.float32), low=-1, high=2, levels=levels)
    order = np.argsort(np.nan_to_num(values, nan=-np.inf, posinf=np.inf, neginf=-np.inf))
    assert found.max() < levels
    assert np.all(np.diff(found[order].astype(int)) >= 0)


def test_layout_and_type_of_the_plane_do_not_matter() -> None:
    plane = plane_of("noise", (20, 34))
    expected = texture(plane)
    fixed = plane.copy()
    fixed.flags.writeable = False
    assert np.array_equal(texture(fixed), expected)
    assert np.array_equal(texture(np.asfortranarray(plane)), expected)
    assert np.array_equal(texture(plane.astype(np.float64)), expected)
    assert np.array_equal(texture(np.repeat(plane, 2, axis=1)[:, ::2]), expected)


def test_threads_do_not_disturb_each_other() -> None:
    planes = [plane_of("noise", (64, 50), seed) for seed in range(16)]
    alone = [texture(plane, offsets=FOUR_ANGLES) for plane in planes]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda plane: texture(plane, offsets=FOUR_ANGLES), planes))
    for a, b in zip(alone, together, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 12}, "window is 12; it must be odd"),
        ({"window": 1}, "window is 1; it must be odd and from 3"),
        ({"levels": 1}, "levels is 1; it must be from 2 to 256"),
        ({"levels": 257}, "levels is 257"),
        ({"low": 1.0, "high": 1.0}, "from 1.0 to 1.0 is empty"),
        ({"low": float("nan")}, "from nan to 1.0"),
        ({"high": float("inf")}, "to inf is empty or endless"),
        ({"offsets": []}, "at least one offset"),
        ({"offsets": [(0, 0)]}, r"offset \(0, 0\)"),
        ({"offsets": [(0, 1), (13, 0)]}, r"offset \(13, 0\) leads to no other pixel"),
        ({"border": "wrap"}, "choose from reflect, symmetric, edge"),
    ],
)
def test_impossible_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        texture(np.zeros((20, 20)), **options)


@pytest.mark.parametrize("shape", [(20,), (2, 20, 20), (0, 5)])
def test_only_a_plane_has_texture(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a plane has rows and columns"):
        texture(np.zeros(shape))
