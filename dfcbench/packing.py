"""When a memory-mapped copy of a patch set is worth its disk space."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path

from dfcbench.errors import DataError
from dfcbench.files import cache_directory
from dfcbench.patches import PatchSet
from dfcbench.records import MODALITIES
from dfcbench.threads import Door

log = logging.getLogger("dfcbench")

_SHARE_OF_FREE_SPACE = 0.25
"""A copy may take this share of what is free where the cache lies, and no more: it is a convenience, not a duty."""


def packed_folder(split: str, fingerprint: str, cache: Path | None = None) -> Path:
    """Where the copy of a split with this fingerprint lies; ``cache`` defaults to the cache folder."""
    return (cache or cache_directory()) / "packed" / f"{split}-{fingerprint}"


def pack_where_it_pays(
    patches: PatchSet, folder: Path, progress: Callable[[int, int], None], door: Door | None = None
) -> PatchSet:
    """The packed copy of ``patches`` in ``folder``, or ``patches`` themselves where it does not fit or help."""
    if not {"s1", "s2"} & patches.modalities or not len(patches):
        return patches
    pixels = math.prod(patches[0].shape) * len(patches)
    size = pixels * sum(MODALITIES[name].bands * MODALITIES[name].dtype.itemsize for name in patches.modalities)
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not folder.exists() and size > _SHARE_OF_FREE_SPACE * shutil.disk_usage(existing).free:
        log.warning("%s: too little free space for a packed copy of %d bytes; reading the tifs.", existing, size)
        return patches
    try:
        return patches.packed(folder, progress=progress, door=door)
    except (DataError, OSError) as error:
        log.warning("no packed copy (%s); reading the tifs.", error)
        return patches
