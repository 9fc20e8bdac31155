"""The demo's land itself: relief, what is grown where, how large the units of land cover are, what fields look like."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from dfcbench.demo import landscape
from dfcbench.demo.covers import COVER_CODES, COVER_INDEX, CROP, FOREST, GRASS, WATER
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


def test_a_third_of_the_windows_of_texture_on_farmland_sees_no_border(lands: dict[str, Landscape]) -> None:
    """Otherwise texture would measure borders above all, and could not help to tell croplands, as it did on DFC2020."""
    for code in (CROP, GRASS):
        here = [land.label == code for land in lands.values()]
        alike = sum(int(ndimage.minimum_filter(each, WINDOW).sum()) for each in here)
        assert alike > 0.35 * sum(int(each.sum()) for each in here)


def test_lakes_are_of_a_hectare_at_least(lands: dict[str, Landscape]) -> None:
    """Water that touches neither sea, river nor the border; a pixel or two may go where borders are smoothed."""
    seen = 0
    for name, land in lands.items():
        number, count = ndimage.label(land.label == WATER)
        courses = ndimage.binary_dilation(land.terrain.sea | land.terrain.river, iterations=3)
        courses[[0, -1], :] = courses[:, [0, -1]] = True
        lakes = np.setdiff1d(np.arange(1, count + 1), number[courses])
        sizes = np.bincount(number.ravel())[lakes]
        seen += len(lakes)
        assert not len(lakes) or sizes.min() >= 90, name
    assert seen >= 10


def test_fields_of_crops_differ_from_each_other(lands: dict[str, Landscape]) -> None:
    for land in lands.values():
        tilled = COVER_CODES[land.cover] == CROP
        assert not land.tillage[:, ~tilled].any(), "roads and ponds are not tilled"
        for values in land.tillage[:, tilled]:
            assert len(np.unique(values)) > 50
            assert 0.6 < values.std() < 1.4


def test_sown_plants_are_more_even_than_scrub_and_crowns(lands: dict[str, Landscape]) -> None:
    def unevenness(*names: str) -> float:
        index = [COVER_INDEX[name] for name in names]
        return rms(np.concatenate([land.latents[2, np.isin(land.cover, index)] for land in lands.values()]))

    assert unevenness("green crop", "ripe crop") < 0.5 * unevenness("meadow", "dry grassland")
    assert unevenness("meadow") < unevenness("broadleaf forest") < unevenness("dry scrub")


def test_the_same_draws_give_the_same_land() -> None:
    region = REGIONS[0]
    one, two = (
        landscape.build(np.random.default_rng(3), (SIDE // 2, SIDE // 2), region, region.settings["test"][0])
        for _ in range(2)
    )
    assert np.array_equal(one.cover, two.cover) and np.array_equal(one.tillage, two.tillage)
