"""Cross-entropy with soft targets, or with class indices of which some pixels have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IGNORED = 255
"""Target of a pixel that the loss and the accuracy leave out, as in ``dfcbench.scheme.scored_index``."""


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Loss of logits (N, classes, H, W): targets (N, classes, H, W) are soft, (N, H, W) are indices."""
    if targets.ndim == logits.ndim:
        return soft_cross_entropy(logits, targets, weights)
    return hard_cross_entropy(logits, targets, weights)


def soft_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over the pixels with a target of - sum_c target log softmax(logits); targets sum to 1, or to 0 for none.

    With ``weights`` (classes,), every target counts as much as its class's weight.
    """
    if weights is not None:
        targets = targets * weights[:, None, None]
    mass = targets.sum()
    loss: torch.Tensor = -(targets * logits.log_softmax(dim=1)).sum() / mass.clamp(min=1.0)
    return loss


def hard_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over the pixels whose target is not ``IGNORED``; 0 where there is none. Weighted by class, if given."""
    from torch.nn import functional

    indices = targets.long()
    total = functional.cross_entropy(logits, indices, weights, ignore_index=IGNORED, reduction="sum")
    labelled = indices != IGNORED
    if weights is None:
        mass = labelled.sum()
    else:
        mass = (weights[indices.where(labelled, 0)] * labelled).sum()
    return total / mass.clamp(min=1e-6)
