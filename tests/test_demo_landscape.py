"""The demo's land itself: relief, what is grown where, how large the units of land cover are, what fields look like."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dfcbench.demo import landscape
from dfcbench.demo.covers import CROP, FOREST, GRASS
from dfcbench.demo.landscape import Landscape
from dfcbench.demo.regions import REGIONS
from dfcbench.demo.terrain import PIXEL

SIDE = 576
"""Pixels of a block of four patches with its margin."""
WINDOW = 13
"""Pixels of the Track 2 winner's texture window (Robinson et al. 2021, Sec. V-B)."""


@pytest.fixture(scope="module")
def lands() -> dict[str, Landscape]:
    """One block of every setting of the test split."""
    return {
        f"{region.name}, {setting.name}": landscape.build(np.random.default_rng(i), (SIDE, SIDE), region, setting)
        for i, region in enumerate(REGIONS)
        for setting in region.settings["test"]
    }


def rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def slope(height: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.hypot(*np.gradient(height, PIXEL))


def test_hills_are_round_at_the_scale_of_a_field(lands: dict[str, Landscape]) -> None:
    """A blur of 30 m takes little of the slopes; of those of a fractal it takes half."""
    for name, land in lands.items():
        inside = ~(land.terrain.sea | land.terrain.river)
        height = land.terrain.height
        kept = rms(slope(ndimage.gaussian_filter(height, 3.0))[inside]) / rms(slope(height)[inside])
        assert kept > 0.75, name


def test_fields_lie_on_gentler_ground_than_forests(lands: dict[str, Landscape]) -> None:
    """Nowhere is the usual slope under the plough beyond some 30 %, where tractors give up."""
    for name, land in lands.items():
        steepness = land.terrain.steepness
        tilled, wooded = rms(steepness[land.label == CROP]), rms(steepness[land.label == FOREST])
        assert tilled < 0.3, name
        if wooded > 0.1:
            assert tilled < wooded, name


def test_farmland_lies_in_units_larger_than_a_window_of_texture(lands: dict[str, Landscape]) -> None:
    """Otherwise texture would measure borders, and could not tell croplands better, as it did on DFC2020."""
    for code in (CROP, GRASS):
        here = [land.label == code for land in lands.values()]
        alike = sum(int(ndimage.minimum_filter(each, WINDOW).sum()) for each in here)
        assert alike > 0.35 * sum(int(each.sum()) for each in here)


def test_lakes_are_of_a_hectare_at_least(lands: dict[str, Landscape]) -> None:
    for name, land in lands.items():
        still = (land.label == 10) & ~land.terrain.sea & ~land.terrain.river
        still = ndimage.binary_opening(still, iterations=3)  # the rims of rivers are not lakes
        number, count = ndimage.label(still)
        sizes = np.bincount(number.ravel())[1:]
        assert count == 0 or sizes.min() >= 25, name


def test_fields_of_crops_differ_from_each_other(lands: dict[str, Landscape]) -> None:
    for land in lands.values():
        tilled = land.label == CROP
        assert (land.tillage[:, ~tilled] != 0).mean() < 0.01, "but for what the map leaves out"
        for k in range(2):
            values = land.tillage[k][tilled]
            assert len(np.unique(values)) > 50
            assert 0.6 < values.std() < 1.4


def test_the_same_draws_give_the_same_land() -> None:
    region = REGIONS[0]
    one, two = (
        landscape.build(np.random.default_rng(3), (SIDE // 2, SIDE // 2), region, region.settings["test"][0])
        for _ in range(2)
    )
    assert np.array_equal(one.cover, two.cover) and np.array_equal(one.tillage, two.tillage)
