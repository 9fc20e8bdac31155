"""Spectral indices: values by hand, the formula that each states, and what happens where a ratio is undefined."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from dfcbench.sensors import S2_INDEX, SURFACE_BANDS
from dfcbench_methods.channels import SURFACE_NAMES
from dfcbench_methods.features.indices import INDEX_NAMES, INDICES, SpectralIndex, spectral_indices

GRASS = {
    "B2": 0.04, "B3": 0.08, "B4": 0.05, "B5": 0.1, "B6": 0.3, "B7": 0.35, "B8": 0.4, "B8A": 0.42, "B11": 0.2, "B12": 0.1,
}  # fmt: skip
BY_HAND = {
    "NDVI": 0.35 / 0.45,
    "SAVI": 1.5 * 0.35 / 0.95,
    "EVI": 2.5 * 0.35 / 1.4,  # 0.4 + 0.3 - 0.3 + 1
    "RENDVI": 0.2 / 0.4,
    "NDCI": 0.05 / 0.15,
    "NDWI": -0.32 / 0.48,
    "MNDWI": -0.12 / 0.28,
    "NDMI": 0.2 / 0.6,
    "NBR": 0.3 / 0.5,
    "NDTI": 0.1 / 0.3,
    "BSI": -0.19 / 0.69,
    "PSRI": 0.01 / 0.3,
}

REFLECTANCE = st.one_of(
    st.sampled_from([0.0, 1.0, 1e-4, 1e-30]),
    st.floats(0, 1, width=32),
    st.integers(0, 10_000).map(lambda digits: digits / 10_000),
)
IMAGES = array_shapes(max_dims=2, max_side=4).flatmap(
    lambda shape: arrays(np.float32, (len(SURFACE_NAMES), *shape), elements=REFLECTANCE.map(np.float32))
)


def image(values: dict[str, float]) -> NDArray[np.float32]:
    return np.array([values[band] for band in SURFACE_NAMES], np.float32)


def named(values: NDArray[np.float32]) -> dict[str, float]:
    return dict(zip(INDEX_NAMES, values.tolist(), strict=True))


def evaluated(formula: str, x: NDArray[np.float32]) -> NDArray[np.float64]:
    planes = dict(zip(SURFACE_NAMES, x.astype(np.float64), strict=True))
    result: NDArray[np.float64] = np.asarray(eval(formula, {"__builtins__": {}}, planes))
    return result


def test_there_are_twelve_and_the_three_that_the_contest_needs() -> None:
    assert len(INDICES) == len(set(INDEX_NAMES)) == 12
    assert {"NDVI", "MNDWI", "BSI"} <= set(INDEX_NAMES)


def test_bands_are_the_ten_of_the_surface_in_order() -> None:
    assert SURFACE_NAMES == ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
    assert tuple(S2_INDEX[band] for band in SURFACE_NAMES) == SURFACE_BANDS


def test_values_by_hand() -> None:
    assert named(spectral_indices(image(GRASS))) == pytest.approx(BY_HAND, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "bands"),
    [
        ("NDVI", {"B8": 0.5}),
        ("NDWI", {"B3": 0.1}),
        ("MNDWI", {"B3": 0.1}),
        ("NDMI", {"B8": 0.5}),
        ("NBR", {"B8": 0.5}),
        ("BSI", {"B11": 0.3, "B4": 0.2}),
    ],
)
def test_what_an_index_looks_for_alone_gives_its_largest_value(name: str, bands: dict[str, float]) -> None:
    values = named(spectral_indices(image(dict.fromkeys(SURFACE_NAMES, 0.0) | bands)))
    assert values[name] == 1


@pytest.mark.parametrize("index", INDICES, ids=INDEX_NAMES)
def test_every_index_says_where_it_is_from(index: SpectralIndex) -> None:
    assert index.title and re.search(r"[A-Z].+ \((19|20)\d\d\)$", index.reference)
    assert set(re.findall(r"B\d+A?", index.formula)) == set(index.bands) <= set(SURFACE_NAMES)


@pytest.mark.parametrize("index", INDICES, ids=INDEX_NAMES)
@given(x=IMAGES)
def test_the_code_computes_the_formula(index: SpectralIndex, x: NDArray[np.float32]) -> None:
    _, bottom = index.formula.split(" / ")
    denominator = evaluated(bottom, x)
    safe = denominator > 1e-3
    with np.errstate(all="ignore"):
        expected = np.clip(evaluated(index.formula, x), *index.range)
    found = spectral_indices(x)[INDICES.index(index)]
    rounding = 3e-6 / denominator[safe]  # some ten float32 roundings of terms up to 10
    assert np.all(np.abs(found[safe] - expected[safe]) <= rounding)


@given(x=IMAGES)
def test_finite_in_range_and_silent_for_any_reflectance(x: NDArray[np.float32]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = spectral_indices(x)
    assert found.dtype == np.float32 and found.shape == (12, *x.shape[1:])
    for index, plane in zip(INDICES, found, strict=True):
        low, high = index.range
        assert np.all((plane >= low) & (plane <= high))


@given(x=IMAGES, data=st.data())
def test_nan_is_neutral_where_its_band_counts_and_harmless_elsewhere(
    x: NDArray[np.float32], data: st.DataObject
) -> None:
    holes = data.draw(arrays(np.bool_, x.shape))
    broken = np.where(holes, np.float32(np.nan), x)
    whole, found = spectral_indices(x), spectral_indices(broken)
    for i, index in enumerate(INDICES):
        touched = np.any([holes[SURFACE_NAMES.index(band)] for band in index.bands], axis=0)
        assert np.array_equal(found[i], np.where(touched, 0, whole[i]))


def test_a_black_pixel_is_neutral_in_all_indices() -> None:
    assert not spectral_indices(np.zeros((10, 3), np.float32)).any()


@pytest.mark.parametrize("value", [1e-4, 0.3, 1.0])
def test_a_grey_pixel_is_neutral_in_all_indices(value: float) -> None:
    assert spectral_indices(np.full((10, 2, 2), value, np.float32)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("blue", "expected"), [(0.56, 1.0), (0.6, 0.0), (1.0, 0.0)])
def test_evi_under_clouds_is_clipped_and_then_neutral(blue: float, expected: float) -> None:
    """Its denominator, 0.9 + 6 * 0.4333.. - 7.5 blue + 1, vanishes at blue = 0.6 and is negative beyond."""
    x = image(dict.fromkeys(SURFACE_NAMES, 0.0) | {"B2": blue, "B4": 2.6 / 6, "B8": 0.9})
    assert named(spectral_indices(x))["EVI"] == expected


def test_infinite_reflectance_gives_finite_values() -> None:
    x = np.full((10, 10), 0.2, np.float32)
    np.fill_diagonal(x, np.inf)
    assert np.isfinite(spectral_indices(x)).all()


def test_other_float_types_and_layouts_give_the_same() -> None:
    x = np.random.default_rng(0).random((10, 7, 5))
    expected = spectral_indices(x.astype(np.float32))
    assert np.array_equal(spectral_indices(x), expected)
    assert np.array_equal(spectral_indices(np.asfortranarray(x)), expected)
    pixels = spectral_indices(x.reshape(10, -1))
    assert np.array_equal(pixels.reshape(expected.shape), expected)


def test_reflectance_is_left_as_it_was() -> None:
    x = np.random.default_rng(0).random((10, 4, 4), dtype=np.float32)
    kept = x.copy()
    spectral_indices(x)
    assert np.array_equal(x, kept)


@pytest.mark.parametrize("shape", [(), (9, 4, 4), (13, 4, 4), (4, 4, 10)])
def test_other_bands_are_refused_by_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape("10 bands B2, B3")):
        spectral_indices(np.zeros(shape, np.float32))
