"""Fusion of several classifiers, class by class, by weights that need no reference.

How good a branch is at a class is estimated from what the branches say together, with p(HR | LR) as what is known of the
truth: the observer model of Dawid and Skene, Applied Statistics 28 (1979), in which each branch errs at random in its own
way, and the truth of a pixel has the prior of its LR label. All that it needs of the pixels is how often each combination
of LR label and branches' classes occurs. Branches that learned from the same labels share errors, of which the model knows
nothing: it overrates branches that err together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfcbench.scheme import CODES, SCORED_CODES

CLASSES = len(SCORED_CODES)
ROWS = max(CODES) + 1


def combinations(
    low: NDArray[np.uint8], branches: Sequence[NDArray[np.intp]], symbols: int = CLASSES
) -> NDArray[np.int64]:
    """How often each combination occurs: LR codes (H, W) and class indices of each branch (H, W) -> (11, 8, ..., 8).

    ``symbols``: of how many a branch says one, where these are not the classes themselves.
    """
    shape = (ROWS, *[symbols] * len(branches))
    flat = np.ravel_multi_index([low.ravel(), *(branch.ravel() for branch in branches)], shape)
    counts: NDArray[np.int64] = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    return counts


@dataclass(frozen=True)
class Estimate:
    """Estimated accuracies: producer's and user's, (B, 8) by branch and class, and the share of each class, (8,)."""

    producers: NDArray[np.float64]
    users: NDArray[np.float64]
    share: NDArray[np.float64]

    @property
    def average_accuracy(self) -> NDArray[np.float64]:
        """Mean of the producer's accuracies, (B,)."""
        mean: NDArray[np.float64] = self.producers.mean(axis=1)
        return mean

    @property
    def weights(self) -> NDArray[np.float64]:
        """(B, 8), summing to 1 over the branches: the F1 score of a branch at a class, so that neither missing a class
        nor naming it everywhere makes it heavy."""
        total = self.producers + self.users
        f1 = np.divide(2 * self.producers * self.users, total, out=np.zeros_like(total), where=total > 0)
        alike = np.full_like(f1, 1 / len(f1))
        shares: NDArray[np.float64] = np.divide(f1, f1.sum(axis=0), out=alike, where=f1.sum(axis=0) > 0)
        return shares


def observed(
    counts: NDArray[np.int64], prior: NDArray[np.float64], iterations: int
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """What each observer says of each true class, by expectation maximisation from the prior alone.

    counts (11, S_1, ..., S_B): how often each combination of LR code and the observers' symbols occurs; prior (11, 8), p(l)
    by LR code, row 0 for pixels without a label. Expected pixels by true class and symbol, (8, S_b) for each observer, and
    the share of each class (8,). With 0 iterations the truth is what p(HR | LR) says, independent of the observers. One
    count is added to every cell on the way, so that nothing is impossible.
    """
    cells = np.flatnonzero(counts)
    n = counts.ravel()[cells].astype(np.float64)
    low, *said = np.unravel_index(cells, counts.shape)
    sizes = counts.shape[1:]
    truth = prior[low]
    for _ in range(iterations):
        logs = np.log(np.maximum(prior[low], np.finfo(np.float64).tiny))
        for symbols, size in zip(said, sizes, strict=True):
            logs += np.log(likelihood(_joint(truth, n, symbols, size)))[:, symbols].T
        truth = np.exp(logs - logs.max(axis=1, keepdims=True))
        truth /= truth.sum(axis=1, keepdims=True)
    joints = [_joint(truth, n, symbols, size) for symbols, size in zip(said, sizes, strict=True)]
    return joints, n @ truth / n.sum()


def likelihood(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    """p(symbol | class) (8, S) from pixels by class and symbol, with one more in every cell."""
    more = joint + 1.0
    shares: NDArray[np.float64] = more / more.sum(axis=1, keepdims=True)
    return shares


def estimate(counts: NDArray[np.int64], prior: NDArray[np.float64], iterations: int) -> Estimate:
    """Accuracies of branches that say classes; counts as ``combinations`` gives them, summed; the rest as ``observed``."""
    found, share = observed(counts, prior, iterations)
    joints = np.stack(found)
    right = np.diagonal(joints, axis1=1, axis2=2)
    of_truth, of_map = joints.sum(axis=2), joints.sum(axis=1)
    return Estimate(
        np.divide(right, of_truth, out=np.zeros_like(right), where=of_truth > 0),
        np.divide(right, of_map, out=np.zeros_like(right), where=of_map > 0),
        share,
    )


def _joint(
    truth: NDArray[np.float64], n: NDArray[np.float64], said: NDArray[np.intp], size: int
) -> NDArray[np.float64]:
    """Pixels by true class and what was said, (8, size)."""
    joint = np.zeros((CLASSES, size))
    np.add.at(joint.T, said, truth * n[:, np.newaxis])
    return joint


def fused(branches: Sequence[NDArray[np.float32]], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Probabilities (8, H, W) of each branch -> their sum, weighted by branch and class (B, 8), with sum 1."""
    w = weights.astype(np.float32)[:, :, np.newaxis, np.newaxis]
    total: NDArray[np.float32] = np.add.reduce([share * p for share, p in zip(w, branches, strict=True)])
    whole = total.sum(axis=0, keepdims=True)
    result: NDArray[np.float32] = np.where(whole > 0, total / np.where(whole > 0, whole, 1), np.float32(1 / CLASSES))
    return result
