"""Compiled loops of the forests: pixels run down the trees, to vote or to be counted in the leaves.

A forest is one table of nodes, 8 bytes each: a link and a threshold (see ``forest_trees``). A pixel's way down a tree
is a chain of dependent reads, so a block of pixels goes down in step: their reads wait for memory at the same time, and
the tree's upper nodes stay in the cache. Kernels run without the interpreter lock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiled import exact_kernel

FEATURE_BITS = 6
_SHIFT = np.uint32(FEATURE_BITS)
_MASK = np.uint32((1 << FEATURE_BITS) - 1)
_STEP = 256
"""Pixels that go down a tree in step."""
_BLOCK = 4096
"""Pixels that go down all trees before the next ones: their 36 features take 0.6 MB, about a second-level cache."""


@exact_kernel
def _descend(
    link: NDArray[np.int32],
    threshold: NDArray[np.float32],
    root: int,
    x: NDArray[np.float32],
    at: NDArray[np.uint32],
    active: NDArray[np.uint32],
) -> None:
    """Leaf node of each pixel of x (m, F) into at (m,). A value up to the threshold goes left, and so does NaN.

    Numbers of nodes and pixels are unsigned, so that no read asks whether it counts from the end.
    """
    count = x.shape[0]
    for i in range(count):
        at[i] = root
        active[i] = i
    if link[root] < 0:
        return
    while count > 0:
        kept = np.uint32(0)
        for j in range(count):
            i = active[j]
            node = at[i]
            word = np.uint32(link[node])
            child = np.uint32((word >> _SHIFT) + np.uint32(x[i, word & _MASK] > threshold[node]))
            at[i] = child
            active[kept] = i
            kept += np.uint32(link[child] >= 0)
        count = kept


@exact_kernel
def vote(
    link: NDArray[np.int32],
    threshold: NDArray[np.float32],
    roots: NDArray[np.int32],
    leaves: NDArray[np.float32],
    weight: float,
    x: NDArray[np.float32],
    votes: NDArray[np.float32],
) -> None:
    """Adds weight / trees times the leaves' distributions, summed over the trees, to votes (n, K). x (n, F)."""
    at = np.empty(_STEP, np.uint32)
    active = np.empty(_STEP, np.uint32)
    scale = np.float32(weight / roots.size)
    classes = leaves.shape[1]
    for block in range(0, x.shape[0], _BLOCK):
        end = min(block + _BLOCK, x.shape[0])
        for root in roots:
            for start in range(block, end, _STEP):
                stop = min(start + _STEP, end)
                _descend(link, threshold, root, x[start:stop], at, active)
                for i in range(stop - start):
                    leaf = np.uint32(-link[at[i]] - 1)
                    for k in range(classes):
                        votes[start + i, k] += scale * leaves[leaf, k]


@exact_kernel
def count_leaves(
    link: NDArray[np.int32],
    threshold: NDArray[np.float32],
    roots: NDArray[np.int32],
    x: NDArray[np.float32],
    y: NDArray[np.uint8],
    weight: NDArray[np.float64],
    counts: NDArray[np.float64],
) -> None:
    """Adds weight[y] of every row of x (n, F), y (n,), to the leaf where it ends in each tree: counts (leaves, K)."""
    at = np.empty(_STEP, np.uint32)
    active = np.empty(_STEP, np.uint32)
    for block in range(0, x.shape[0], _BLOCK):
        end = min(block + _BLOCK, x.shape[0])
        for root in roots:
            for start in range(block, end, _STEP):
                stop = min(start + _STEP, end)
                _descend(link, threshold, root, x[start:stop], at, active)
                for i in range(stop - start):
                    label = y[start + i]
                    counts[np.uint32(-link[at[i]] - 1), label] += weight[label]
