"""What a method's ``predict`` yields, checked one by one against what it was asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import ContractError
from dfcbench.method import Prediction
from dfcbench.patches import Patch


def checked(
    predictions: Any, wanted: dict[str, Patch], method: str, known: Collection[str]
) -> Iterator[tuple[Patch, Prediction, NDArray[np.uint8]]]:
    """Each prediction with its patch and its codes (H, W); answered patches are taken out of ``wanted``.

    ``known`` are the ids of all patches there are, those answered before included. Raises ContractError for what is no
    prediction, for an unknown or answered patch, for another shape or other values than promised, and in the end if a
    patch is left without an answer.
    """
    asked = len(wanted)
    for prediction in predicted(predictions, method):
        patch_id = prediction.patch_id
        patch = wanted.pop(patch_id, None)
        if patch is None:
            reason = "a second time" if patch_id in known else "though no patch has that id"
            raise ContractError(f"{method}.predict yielded {patch_id!r} {reason}.")
        labels = prediction.labels()
        if labels.shape != patch.shape:
            raise ContractError(
                f"{method}: the prediction for {patch_id} is {labels.shape[0]} x {labels.shape[1]} pixels, "
                f"the patch {patch.shape[0]} x {patch.shape[1]}."
            )
        yield patch, prediction, labels
    if wanted:
        some = ", ".join(list(wanted)[:3])
        raise ContractError(
            f"{method} yielded no prediction for {len(wanted)} of {asked} patches ({some}, …). "
            "predict must yield one Prediction for every patch that it is given."
        )


def predicted(predictions: Any, method: str) -> Iterator[Prediction]:
    """The predictions that ``predict`` returned. Raises ContractError for what yields none, or something else."""
    if not isinstance(predictions, Iterable):
        raise ContractError(f"{method}.predict returned {type(predictions).__name__}; it must yield Predictions.")
    for prediction in predictions:
        if getattr(prediction, "patch_id", None) is None:
            raise ContractError(f"{method}.predict yielded {type(prediction).__name__}, not a Prediction.")
        yield prediction
