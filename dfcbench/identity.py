"""Which data set lies in a folder: the contest's own, the demo, or one that nobody vouches for."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfcbench import records
from dfcbench.errors import DataError
from dfcbench.records import LABEL_TOKEN, MODALITIES, PatchRecord
from dfcbench.scheme import CODES, SCORED
from dfcbench.threads import in_order

OFFICIAL_PATCHES = 986
"""Patches of DFC2020's validation split."""

PUBLISHED_PIXELS: dict[str, int] = dict(
    zip(
        (c.name for c in SCORED),
        (5_904_112, 3_353_501, 7_655_859, 11_272_496, 8_405_224, 3_517_590, 1_887_823, 22_621_891),
        strict=True,
    )
)
"""High-resolution pixels per scored class of DFC2020's validation split, as its public loaders count them."""

MANIFEST = "contest.json"
"""File at the root of a demo contest that says which one it is."""

_READ_WHOLE = (LABEL_TOKEN, MODALITIES["low"].token)
"""Tokens of labels: every score and every prior depends on every pixel of them."""

BLOCK = 4096
"""Bytes read from the middle and from the end of an image for the fingerprint: one page each."""

MOST_OPENED = 10_000
"""Patches whose content enters the fingerprint of a split; of a larger one, that many at even distances do."""


@dataclass(frozen=True)
class DatasetIdentity:
    """name: short and fit for file names. title: for people. official: it is DFC2020 beyond doubt. demo: artificial."""

    name: str
    title: str
    official: bool
    demo: bool = False


DFC2020 = DatasetIdentity("dfc2020", "DFC2020, the 2020 IEEE GRSS Data Fusion Contest", True)


def compare_with_published(validation: Sequence[PatchRecord]) -> dict[str, tuple[int, int]]:
    """Reference pixels per scored class over these patches: (found, published). Reads every reference file."""
    counts = np.zeros(max(CODES) + 1, np.int64)
    for codes in in_order(lambda record: records.read(record, "high"), validation, workers=2):
        counts += np.bincount(codes.ravel(), minlength=len(counts))
    return {c.name: (int(counts[c.code]), PUBLISHED_PIXELS[c.name]) for c in SCORED}


def demo(root: Path) -> DatasetIdentity | None:
    """The demo contest that the manifest at ``root`` names; None if there is no such manifest."""
    try:
        manifest = json.loads((root / MANIFEST).read_text("utf-8"))
        if manifest["dataset"] != "demo":
            return None
        version, seed, size = int(manifest["version"]), int(manifest["seed"]), _slug(str(manifest["size"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    title = f"Demo contest (version {version}, size {size}, seed {seed})"
    return DatasetIdentity(f"demo-v{version}-{size}-s{seed}", title, official=False, demo=True)


def demo_regions(root: Path) -> dict[str, list[tuple[int, str]]]:
    """By split, the regions of the demo contest at ``root``: number of the first patch, and name, in ascending order.

    A region lasts to the next one's first patch. Empty if there is no manifest, or it tells no regions.
    """
    try:
        splits = json.loads((root / MANIFEST).read_text("utf-8"))["splits"]
        found = {
            str(split): sorted((int(region["first"]), str(region["name"])) for region in entry["regions"])
            for split, entry in splits.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {split: regions for split, regions in found.items() if regions and regions[0][0] == 0}


def unidentified(root: Path, fingerprints: Sequence[str]) -> DatasetIdentity:
    """A data set in the contest's layout that is neither DFC2020 nor the demo; its content is part of its name."""
    content = fingerprints[0]
    if len(fingerprints) > 1:
        content = hashlib.blake2b("".join(fingerprints).encode(), digest_size=8).hexdigest()
    folder = root.resolve().name
    name = f"{_slug(folder) or 'contest'}-{content[:8]}"
    return DatasetIdentity(name, f"Unidentified contest data in the DFC2020 layout ({folder})", False)


def fingerprint(patches: Sequence[PatchRecord]) -> str:
    """16 hexadecimal digits from the ids, and from each file's modality, length and content.

    Labels, high and low, are read whole; of images two pages are. Raises DataError if a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    for record in patches:
        digest.update(f"{record.id} {' '.join(sorted(record.files))}\n".encode())
    step = -(-len(patches) // MOST_OPENED)
    for record in patches[:: max(step, 1)]:
        for token in sorted(record.files):
            path = record.files[token]
            try:
                with path.open("rb", buffering=0) as handle:
                    size = os.fstat(handle.fileno()).st_size
                    digest.update(f"{token} {size}\n".encode())
                    if token in _READ_WHOLE:
                        digest.update(handle.read())
                    else:
                        for start in (size // 2, size - BLOCK):
                            handle.seek(max(start, 0))
                            digest.update(handle.read(BLOCK))
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror}). Run `dfcbench data verify`.") from error
    return digest.hexdigest()


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
