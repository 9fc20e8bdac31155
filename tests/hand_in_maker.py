"""Maps handed in for tests, good and broken: tifs as bytes by their names, packed into zips or folders."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfcbench import rasters
from dfcbench.records import label_name
from dfcbench.scheme import CODES

Members = dict[str, bytes]


def codes_of(patch_id: str, shape: tuple[int, int] = (16, 16)) -> NDArray[np.uint8]:
    """Random codes 1..10 that depend on the patch's name alone."""
    generator = np.random.default_rng(zlib.crc32(patch_id.encode()))
    return generator.choice(np.array(CODES, np.uint8), shape)


def good_maps(ids: Iterable[str]) -> Members:
    """One sound map per patch, under its official name."""
    return {label_name(i): rasters.encode(codes_of(i), compress="deflate") for i in ids}


def make_zip(path: Path, members: Mapping[str, bytes] | Iterable[tuple[str, bytes]], **attributes: int) -> Path:
    """A zip with member names as they are given, even double or wicked ones; ``attributes`` are set on all members."""
    pairs = members.items() if isinstance(members, Mapping) else members
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in pairs:
            info = zipfile.ZipInfo("x")
            info.filename = name  # ZipInfo() would tidy separators
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return path


def make_folder(path: Path, members: Mapping[str, bytes]) -> Path:
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path
