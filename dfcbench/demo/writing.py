"""Builds the demo contest block by block and writes it as tifs in the contest's own layout."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from dfcbench import files, identity, rasters
from dfcbench.demo import landscape, modis, radiometry
from dfcbench.demo.plan import PATCH, SEASONS, Block, blocks, extent
from dfcbench.demo.regions import REGIONS, SEASONS_APART, Region, Setting, elsewhere, some_date
from dfcbench.errors import DataError, UsageError

VERSION = 3
"""Of the generator; data of another version are another contest."""
_DRAWS = 1
"""Seeds the draws, of all versions so far."""
_SCENES = 2
"""Edition of the SEN12MS part, which may change without the contest's own splits: a folder of a former one is replaced."""

MANIFEST = "contest.json"
_LOCK = ".dfcbench-demo.lock"

Progress = Callable[[int, int], None]

_MARGIN = 32
"""Pixels generated around a block, so that filters and 500 m cells do not see its border."""
_NATIVE = 12
"""Blocks are multiples of this many pixels: the 60 m grid, twice."""
_UNKNOWN = 0.004
"""Share of SEN12MS cells without a label."""

_NOWHERE = rasters.Georeference("EPSG:4326", (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
"""The contest's own tifs: an identity transform under a WGS84 tag."""


def generate(
    out: Path,
    size: str = "demo",
    seed: int = 0,
    *,
    replace: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
) -> Path:
    """Write a demo contest into ``out`` and return it; the manifest comes last, so a folder with one is complete.

    The same size and seed give the same bytes, whatever the number of ``workers`` (threads, one block each; memory
    does not grow with the size). ``progress`` is called with (patches written, patches in all). An interrupted demo
    contest in ``out``, and the same one, are written anew; another one (size, seed or version) only with ``replace``.
    UsageError if ``out`` holds another one, or anything else; DataError if it cannot be written.
    """
    out = Path(out)
    extent(size)
    _refuse_foreign(out)
    files.writable_folder(out)
    with FileLock(out / _LOCK):
        if not replace:
            _refuse_another(out, size, seed)
        _generate(out, size, seed, workers, progress)
    return out


def ensure(
    size: str = "demo", seed: int = 0, cache_dir: Path | None = None, progress: Progress | None = None, workers: int = 2
) -> Path:
    """The demo contest of this size and seed in the cache, generated if it is not there or not complete.

    ``cache_dir`` defaults to DFCBENCH_CACHE, else the platform's cache directory. Safe to call from several processes:
    one generates, the others wait.
    """
    extent(size)
    out = (cache_dir or cache_directory()) / name(size, seed)
    if _complete(out, size, seed):
        return out
    _refuse_foreign(out)
    files.writable_folder(out)
    with FileLock(out / _LOCK):
        if not _complete(out, size, seed):
            _generate(out, size, seed, workers, progress)
    return out


def name(size: str = "demo", seed: int = 0) -> str:
    """What the demo contest of this size and seed is called, in the cache and in submissions."""
    return f"demo-v{VERSION}-{size}-s{seed}"


def cache_directory() -> Path:
    """DFCBENCH_CACHE, else ``dfcbench`` in the platform's cache directory."""
    chosen = os.environ.get("DFCBENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "dfcbench"


def _identity(size: str, seed: int) -> dict[str, Any]:
    return {"dataset": "demo", "version": VERSION, "scenes": _SCENES, "seed": seed, "size": size}


def _complete(out: Path, size: str, seed: int) -> bool:
    try:
        found = json.loads((out / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.items() >= _identity(size, seed).items()


def _refuse_foreign(out: Path) -> None:
    """Never delete what this module did not write."""
    if not out.is_dir() or (out / _LOCK).exists() or not any(out.iterdir()):
        return
    raise UsageError(f"{out}: holds files that are no demo contest. Name an empty or a new folder.")


def _refuse_another(out: Path, size: str, seed: int) -> None:
    """Never delete, unasked, a complete demo contest that is not the one to be written: runs may depend on it."""
    found = identity.demo(out)
    if found is not None and found.name != name(size, seed):
        raise UsageError(
            f"{out}: holds another contest: {found.title}. Write this one (size {size}, seed {seed}) to another folder, "
            "or give --replace to delete that one."
        )


def _generate(out: Path, size: str, seed: int, workers: int, progress: Progress | None) -> None:
    (out / MANIFEST).unlink(missing_ok=True)
    for part in ("DFC2020", "SEN12MS"):
        shutil.rmtree(out / part, ignore_errors=True)
    free, needed = shutil.disk_usage(out).free, extent(size).gigabytes * 1e9
    if free < needed:
        raise DataError(
            f"{out}: the demo contest of size {size} takes {needed / 1e9:.2g} GB, {free / 1e9:.2g} GB are free there. "
            "Choose another folder (DFCBENCH_CACHE sets the cache) or a smaller size."
        )
    plan = list(blocks(size))
    total = sum(block.patches for block in plan)
    done = 0
    if progress:
        progress(0, total)
    pending: set[Future[int]] = set()
    pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="demo")
    try:
        for block in plan:
            pending.add(pool.submit(_write_block, out, block, seed))
            while len(pending) > 2 * workers or (block is plan[-1] and pending):
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                done += sum(future.result() for future in finished)
                if progress:
                    progress(done, total)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    files.write_json(out / MANIFEST, _identity(size, seed) | {"splits": _summary(plan)})


def _summary(plan: list[Block]) -> dict[str, Any]:
    """Patches per split, and the regions of validation and test in the order of their patches."""
    summary: dict[str, Any] = {}
    for block in plan:
        entry = summary.setdefault(block.split, {"patches": 0, "regions": []})
        entry["patches"] += block.patches
        if block.region and (not entry["regions"] or entry["regions"][-1]["name"] != block.region.name):
            entry["regions"].append({"name": block.region.name, "first": block.first})
    return summary


_STREAM = {"look": 1, "validation": 2, "test": 3, "training": 4, "date of validation": 5, "date of test": 6, "date": 7}


def _generator(seed: int, stream: str, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((_DRAWS, seed, _STREAM[stream], index))))


Scene = dict[str, NDArray[Any]]


def build_block(block: Block, seed: int) -> Scene:
    """The rasters of one block, each (bands, H, W): s1 float32 dB, s2 uint16, lc uint16, dfc uint8."""
    rng = _generator(seed, block.split, block.index)
    region, setting, look, habit = _place(block, seed, rng)
    height, width = block.pixels
    padded = tuple(-(-(n + 2 * _MARGIN) // _NATIVE) * _NATIVE for n in (height, width))
    shape = (padded[0], padded[1])
    land = landscape.build(rng, shape, region, setting)
    unknown = _UNKNOWN if block.split == "training" else 0.0
    scene: Scene = {
        "lc": modis.labels(rng, land, region, habit, unknown),
        "s2": radiometry.optical(rng, land, region, look),
        "s1": radiometry.radar(rng, land, region, look),
        "dfc": land.label[np.newaxis],
    }
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return {name: raster[:, top : top + height, left : left + width] for name, raster in scene.items()}


def _place(block: Block, seed: int, rng: np.random.Generator) -> tuple[Region, Setting, radiometry.Look, modis.Field]:
    """Where the block lies. A region looks the same in all blocks of a split; each SEN12MS scene is a place apart."""
    if block.region is None or block.setting is None:
        region, setting = elsewhere(rng, block.season)
        look, habit = radiometry.look(rng, region), modis.habits(rng)
        own = _generator(seed, "date", block.index)
        date = some_date(own)
        return replace(region, vigour=region.vigour + date.vigour), setting, radiometry.at_date(own, look, date), habit
    number, date = REGIONS.index(block.region), SEASONS_APART[block.split]
    own = _generator(seed, "look", number)
    usual, habit = radiometry.look(own, block.region), modis.habits(own)
    look = radiometry.at_date(_generator(seed, f"date of {block.split}", number), usual, date)
    region = replace(block.region, covers=block.region.covers_in(block.split), vigour=block.region.vigour + date.vigour)
    return region, block.setting, look, habit


def _write_block(out: Path, block: Block, seed: int) -> int:
    scene = build_block(block, seed)
    corner = _corner(block)
    for k in range(block.patches):
        row, column = (block.stride * i for i in divmod(k, block.columns))
        number = block.first + k
        for modality, raster in scene.items():
            pixels = raster[:, row : row + PATCH, column : column + PATCH]
            if block.split == "training":
                if modality == "dfc":
                    continue
                season = SEASONS[block.season]
                folder = out / "SEN12MS" / season / f"{modality}_{block.scene}"
                name = f"{season}_{modality}_{block.scene}_p{number}.tif"
                place = rasters.Georeference(
                    corner.crs,
                    (10.0, 0.0, corner.transform[2] + 10.0 * column, 0.0, -10.0, corner.transform[5] - 10.0 * row),
                )
            else:
                scene_folder = "validation" if block.split == "validation" else "0"
                folder = out / "DFC2020" / f"ROIs0000_{block.split}" / f"{modality}_{scene_folder}"
                name = f"ROIs0000_{block.split}_{modality}_0_p{number}.tif"
                place = _NOWHERE
                if modality == "s1":
                    pixels = pixels.astype(np.float64)
            rasters.write(folder / name, np.ascontiguousarray(pixels), place, durable=False)
    return block.patches


def _corner(block: Block) -> rasters.Georeference:
    """A UTM zone and north-west corner for each scene, well apart from one another."""
    zone = 1 + (7 * block.index + 30) % 60
    easting = 300000.0 + 4000.0 * (block.index % 50) + 2.775
    northing = 3600000.0 + 30000.0 * (block.index % 40) + 2.775
    return rasters.Georeference(f"EPSG:326{zone:02d}", (10.0, 0.0, easting, 0.0, -10.0, northing))
