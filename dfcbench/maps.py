"""The maps in a submission folder: where they lie, and how probabilities are kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench import rasters
from dfcbench.errors import SubmissionError
from dfcbench.rasters import Georeference
from dfcbench.records import label_name
from dfcbench.scheme import SCORED_CODES, palette, scored_index
from dfcbench.submission import FITTED, FITTED_MARK, PREDICTIONS, PROBABILITIES

_STEPS = 65535
"""Probabilities are kept as uint16, in steps of 1/65535: far below what any method knows, and readable by any GIS."""


def map_path(folder: Path, patch_id: str) -> Path:
    """Where a patch's labels lie: the contest's own name for them."""
    return folder / PREDICTIONS / label_name(patch_id)


def probabilities_path(folder: Path, patch_id: str) -> Path:
    """Where a patch's probabilities lie, if they were kept."""
    return folder / PROBABILITIES / label_name(patch_id)


def has_maps(folder: Path, ids: Iterable[str]) -> bool:
    """Whether the labels of all these patches lie there; a submission out of version control has scores only."""
    return all(map_path(folder, patch_id).exists() for patch_id in ids)


def write_labels(folder: Path, patch_id: str, labels: NDArray[np.uint8], georeference: Georeference | None) -> None:
    """Write codes (H, W) as a single-band uint8 tif with the scheme's colours."""
    rasters.write(map_path(folder, patch_id), labels, georeference, colours=palette(), compress="deflate")


def write_probabilities(
    folder: Path, patch_id: str, values: NDArray[np.floating[Any]], georeference: Georeference | None
) -> None:
    """Write probabilities (8, H, W), normalised to sum 1 over the classes, as an 8-band uint16 tif."""
    total = values.sum(axis=0, keepdims=True, dtype=np.float64)
    shares = np.divide(values, total, out=np.full(values.shape, 1 / len(values)), where=total > 0)
    steps = np.rint(shares * _STEPS).astype(np.uint16)
    rasters.write(probabilities_path(folder, patch_id), steps, georeference, compress="deflate")


def as_probabilities(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Codes (H, W) -> (8, H, W): 1 for the label; equal shares where its class is not scored."""
    classes = np.arange(len(SCORED_CODES))[:, np.newaxis, np.newaxis]
    shares: NDArray[np.float32] = (scored_index(labels) == classes).astype(np.float32)
    shares[:, ~shares.any(axis=0)] = 1 / len(SCORED_CODES)
    return shares


class SubmissionMaps:
    """Maps of a submission by patch id, and what its method learned; read when asked for, and nothing is kept."""

    def __init__(self, folder: Path, ids: Iterable[str]) -> None:
        self.folder = folder
        self.ids = tuple(ids)

    def labels(self, patch_id: str) -> NDArray[np.uint8]:
        """Codes (H, W). Raises SubmissionError if the map is not there."""
        path = map_path(self.folder, patch_id)
        if not path.exists():
            raise SubmissionError(f"{path}: no such map. Run that submission again with --if-exists rerun.")
        labels: NDArray[np.uint8] = rasters.read(path)[0].astype(np.uint8)
        return labels

    def probabilities(self, patch_id: str) -> NDArray[np.float32]:
        """Probabilities (8, H, W) as kept; made from the labels if they were not."""
        path = probabilities_path(self.folder, patch_id)
        if path.exists():
            kept: NDArray[np.float32] = rasters.read(path).astype(np.float32) / np.float32(_STEPS)
            return kept
        return as_probabilities(self.labels(patch_id))

    @property
    def learned(self) -> Path:
        """Folder of what the run's method learned. Raises SubmissionError if it is not there whole."""
        folder = self.folder / FITTED
        if not (folder / FITTED_MARK).exists():
            raise SubmissionError(f"{folder}: what that run learned is not here. Run it again with --if-exists rerun.")
        return folder
