"""A grown forest as one table of nodes: small, saved in one file, the same whichever library grew it.

Libraries keep some 150 bytes per node for what only growing needs, and vote tree by tree through general code. Here a
node has 8 bytes and a leaf 32, so the 60 forests of the full recipe take about a gigabyte. Splits are kept exactly:
a float32 feature x goes left where x <= t, and t, a float64, is rounded down to float32, which no float32 x can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.scheme import SCORED_CODES

from .forest_kernels import FEATURE_BITS, count_leaves, vote

CLASSES = len(SCORED_CODES)
MOST_NODES = 1 << (31 - FEATURE_BITS)


@dataclass(frozen=True)
class Trees:
    """A forest over the classes of ``SCORED_CODES``.

    link (nodes,) int32: of a split, the left child's number times 64 plus the feature; the right child is the left
    one's neighbour; of a leaf, -1 - its row in ``leaves``. threshold (nodes,) float32. roots (trees,) int32.
    leaves (leaves, 8) float32: distributions; a class that the forest has not seen has probability 0.
    """

    link: NDArray[np.int32]
    threshold: NDArray[np.float32]
    roots: NDArray[np.int32]
    leaves: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.link.nbytes + self.threshold.nbytes + self.roots.nbytes + self.leaves.nbytes

    def vote(self, x: NDArray[np.float32], votes: NDArray[np.float32], weight: float = 1.0) -> None:
        """Adds ``weight`` times the mean over the trees of their leaves' distributions to votes (n, 8). x (n, F)."""
        vote(self.link, self.threshold, self.roots, self.leaves, weight, x, votes)

    def probabilities(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The forest's class probabilities, (n, 8)."""
        votes = np.zeros((len(x), CLASSES), np.float32)
        self.vote(np.ascontiguousarray(x, np.float32), votes)
        return votes

    def recounted(self, x: NDArray[np.float32], y: NDArray[np.uint8], weight: NDArray[np.float64]) -> Trees:
        """The same trees, with leaves that tell the distribution of these rows: x (n, F), y (n,) class indices.

        weight (8,) by class. A leaf that no row reaches keeps what it has.
        """
        counts = np.zeros(self.leaves.shape)
        count_leaves(self.link, self.threshold, self.roots, x, y, weight, counts)
        total = counts.sum(axis=1, keepdims=True)
        leaves = np.where(total > 0, counts / np.where(total > 0, total, 1), self.leaves).astype(np.float32)
        return Trees(self.link, self.threshold, self.roots, leaves)

    def save(self, path: Path) -> None:
        """Write one .npz file."""
        np.savez(path, link=self.link, threshold=self.threshold, roots=self.roots, leaves=self.leaves)

    @classmethod
    def load(cls, path: Path) -> Trees:
        """Read what ``save`` wrote."""
        with np.load(path) as held:
            return cls(held["link"], held["threshold"], held["roots"], held["leaves"])


def from_sklearn(trees: Sequence[Any], classes: NDArray[np.integer[Any]]) -> Trees:
    """scikit-learn's ``tree_`` objects of one forest, whose classes are these indices into ``SCORED_CODES``."""
    parts, leaves, roots = [], [], []
    nodes = held = 0
    for tree in trees:
        link, threshold, leaf_nodes = _flat(tree, nodes, held)
        value = np.asarray(tree.value)[leaf_nodes, 0, :]
        own = np.zeros((len(value), CLASSES), np.float32)
        own[:, np.asarray(classes, np.intp)] = value / value.sum(axis=1, keepdims=True)
        parts.append((link, threshold))
        leaves.append(own)
        roots.append(nodes)
        nodes += len(link)
        held += len(own)
    if nodes > MOST_NODES:
        raise ValueError(f"a forest of {nodes} nodes; its table holds {MOST_NODES}. Grow fewer or shallower trees.")
    links, thresholds = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Trees(links, thresholds, np.array(roots, np.int32), np.concatenate(leaves))


def _flat(tree: Any, first: int, held: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.intp]]:
    """One tree, level by level with siblings side by side: links, thresholds, and the old numbers of its leaves.

    ``first`` and ``held`` are the numbers of nodes and leaves of the trees before it.
    """
    left, right = tree.children_left, tree.children_right
    order, level, child = [np.zeros(1, np.intp)], np.zeros(1, np.intp), []
    placed = 1
    while level.size:
        splits = left[level] >= 0
        parents = level[splits]
        of_level = np.full(len(level), -1, np.int64)
        of_level[splits] = first + placed + 2 * np.arange(len(parents))
        child.append(of_level)
        level = np.stack([left[parents], right[parents]], axis=1).ravel().astype(np.intp)
        order.append(level)
        placed += len(level)
    old, children = np.concatenate(order), np.concatenate(child)
    is_leaf = children < 0
    link = np.where(is_leaf, 0, (children << FEATURE_BITS) + tree.feature[old])
    link[is_leaf] = -1 - (held + np.arange(is_leaf.sum()))
    exact = tree.threshold[old]
    threshold = exact.astype(np.float32)
    above = threshold > exact
    threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
    return link.astype(np.int32), threshold, old[is_leaf]
