"""Which blocks of land the demo contest consists of, for each size: the same plan everywhere, drawn from no dice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, filterfalse

from dfcbench.demo.regions import REGIONS, Region, Setting
from dfcbench.errors import UsageError

PATCH = 256
OVERLAP = 128
"""Side of a patch, and what neighbours within a SEN12MS scene share, in pixels."""

HOLD_OUT: dict[str, tuple[int, ...]] = {
    "spring": (63, 146, 97, 124, 15, 17),
    "summer": (43, 131, 19, 104, 72, 15, 79),
    "fall": (120, 39, 144, 35, 61, 47, 30, 141),
    "winter": (64, 146, 32, 107, 135),
}
"""Scenes of the official SEN12MS hold-out (Schmitt & Wu 2021), so that the demo can be split likewise."""

SEASONS: dict[str, str] = {
    "spring": "ROIs1158_spring",
    "summer": "ROIs1868_summer",
    "fall": "ROIs1970_fall",
    "winter": "ROIs2017_winter",
}


@dataclass(frozen=True)
class Extent:
    """How much there is of everything in one size."""

    side: int
    """Patches along each side of a validation or test block."""
    validation: int
    test: int
    scenes: int
    scene_rows: int
    scene_columns: int
    """SEN12MS scenes, and the patches in each."""
    gigabytes: float
    """What it takes on disk, rounded up; that much must be free."""


SIZES: dict[str, Extent] = {
    "tiny": Extent(side=1, validation=4, test=5, scenes=2, scene_rows=1, scene_columns=2, gigabytes=0.05),
    "demo": Extent(side=2, validation=32, test=48, scenes=18, scene_rows=1, scene_columns=3, gigabytes=0.5),
    "full": Extent(side=4, validation=986, test=5128, scenes=70, scene_rows=7, scene_columns=7, gigabytes=33.0),
}


@dataclass(frozen=True)
class Block:
    """A piece of land generated as one; its patches are cut out row by row."""

    split: str
    """training (a SEN12MS scene), validation or test."""
    index: int
    """Number within the split."""
    rows: int
    columns: int
    stride: int
    """Patches along each side, and the distance between their corners in pixels."""
    first: int
    patches: int
    """Number of the first patch, and how many are kept."""
    region: Region | None = None
    setting: Setting | None = None
    season: str = ""
    scene: int = 0

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of the area that the patches cover."""
        return (self.rows - 1) * self.stride + PATCH, (self.columns - 1) * self.stride + PATCH


def extent(size: str) -> Extent:
    """The extent of a size; UsageError, with the valid names, for any other."""
    if size not in SIZES:
        raise UsageError(f"demo contest: there is no size {size!r}. Choose one of {', '.join(SIZES)}.")
    return SIZES[size]


def blocks(size: str) -> Iterator[Block]:
    """All blocks of a size: validation, test, then the SEN12MS scenes."""
    wanted = extent(size)
    for split, patches in (("validation", wanted.validation), ("test", wanted.test)):
        yield from _contest(split, patches, wanted.side)
    yield from _scenes(wanted)


def _contest(split: str, patches: int, side: int) -> Iterator[Block]:
    """A split's settings in turn until there are enough patches, then sorted so that a region's blocks are together."""
    places = [(region, setting) for region in REGIONS for setting in region.settings.get(split, ())]
    needed = -(-patches // side**2)
    if needed < len(places):  # spread over the list, so that few blocks still show different places
        order = [round(i * len(places) / needed) for i in range(needed)]
    else:
        order = sorted(i % len(places) for i in range(needed))
    first = 0
    for index, place in enumerate(order):
        region, setting = places[place]
        kept = min(side**2, patches - first)
        yield Block(split, index, side, side, PATCH, first, kept, region, setting)
        first += kept


def _scenes(wanted: Extent) -> Iterator[Block]:
    """SEN12MS scenes, season by season; every third is one of the official hold-out."""
    seasons = list(SEASONS)
    held = {season: iter(HOLD_OUT[season]) for season in seasons}
    others = {season: filterfalse(HOLD_OUT[season].__contains__, count(1, 2)) for season in seasons}
    for index in range(wanted.scenes):
        season = seasons[index % len(seasons)]
        scene = next(held[season], None) if index % 3 == 2 else None
        if scene is None:
            scene = next(others[season])
        yield Block(
            "training",
            index,
            wanted.scene_rows,
            wanted.scene_columns,
            OVERLAP,
            30,  # SEN12MS scenes seldom start at patch 0
            wanted.scene_rows * wanted.scene_columns,
            season=season,
            scene=scene,
        )
