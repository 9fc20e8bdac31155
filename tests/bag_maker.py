"""Small contests for tests of bag clustering, and its equations written out plainly.

The contests have nothing to do with the demo's: smooth random regions, each class a few colours of which some are
shared between classes in unlike proportions, and labels from coarse cells with a fixed confusion.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from dfcbench.scheme import CODES, SCORED_CODES


@dataclass
class FakePatch:
    id: str
    s1: np.ndarray
    s2: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return (self.low.shape[0], self.low.shape[1])


def make_contest(
    sizes: list[tuple[int, int]], *, seed: int = 0, cell: int = 12, scale: float = 6.0, noise: float = 120.0
) -> SimpleNamespace:
    """A contest's target and label prior; ``sizes`` are the patches' heights and widths."""
    generator = np.random.default_rng(seed)
    colours = generator.uniform(300, 4500, size=(14, 13))
    echoes = np.stack([generator.uniform(-18, -6, 14), generator.uniform(-24, -12, 14)], axis=1)
    # Class k shows colours k, k + 3 and k + 6: every colour but a few belongs to two or three classes.
    share = np.array([0.65, 0.25, 0.1])
    confusion = 0.55 * np.eye(10)[np.array(SCORED_CODES) - 1] + 0.45 * generator.dirichlet(np.full(10, 0.3), size=8)
    patches = []
    for number, (height, width) in enumerate(sizes):
        fields = gaussian_filter(generator.standard_normal((8, height, width)), (0, scale, scale))
        classes = fields.argmax(axis=0)
        mode = np.searchsorted(share.cumsum()[:2], generator.random((height, width)))
        kind = (classes + 3 * mode) % 14
        s2 = np.moveaxis(colours[kind], 2, 0) + noise * generator.standard_normal((13, height, width))
        s1 = np.moveaxis(echoes[kind], 2, 0) + generator.standard_normal((2, height, width))
        low = np.zeros((height, width), np.uint8)
        for y in range(0, height, cell):
            for x in range(0, width, cell):
                block = classes[y : y + cell, x : x + cell]
                most = np.bincount(block.ravel(), minlength=8).argmax()
                low[y : y + cell, x : x + cell] = generator.choice(10, p=confusion[most]) + 1
        high = np.array(SCORED_CODES, np.uint8)[classes]
        patches.append(FakePatch(f"patch_{number}", s1.astype(np.float32), s2.clip(0).astype(np.uint16), low, high))
    counts = np.zeros((11, 11))
    for patch in patches:
        np.add.at(counts, (patch.low, patch.high), 1)
    rows = counts[1:][:, list(SCORED_CODES)]
    totals = rows.sum(axis=1, keepdims=True)
    prior = np.where(totals > 0, rows / np.maximum(totals, 1), 1 / 8)
    assert prior.shape == (len(CODES), len(SCORED_CODES))
    return SimpleNamespace(split="test", target=patches, label_prior=prior)


def average_accuracy(contest: Any, maps: dict[str, np.ndarray]) -> float:
    """Mean recall over the classes present, pixels pooled."""
    high = np.concatenate([p.high.ravel() for p in contest.target])
    predicted = np.concatenate([maps[p.id].ravel() for p in contest.target])
    return float(np.mean([(predicted[high == code] == code).mean() for code in np.unique(high)]))


def windows(height: int, width: int, radius: int) -> list[list[int]]:
    """For every window centre, the pixels inside; flat indices, row by row."""
    return [
        [
            a * width + b
            for a in range(max(0, y - radius), min(height, y + radius + 1))
            for b in range(max(0, x - radius), min(width, x + radius + 1))
        ]
        for y in range(height)
        for x in range(width)
    ]


@dataclass
class Plain:
    """The model's equations as printed, over one image, without any of the project's code.

    x (n, C), kappa (n,), prior (n, L), weights (C,), members as ``windows`` gives them; parameters as in ``BagModel``.
    """

    x: np.ndarray
    kappa: np.ndarray
    prior: np.ndarray
    weights: np.ndarray
    members: list[list[int]]
    mean: np.ndarray
    variance: np.ndarray
    bag_share: np.ndarray
    in_bag: np.ndarray
    in_label: np.ndarray

    def gaussian(self) -> np.ndarray:
        """kappa log N(x; mu, v), (n, S), channels weighted."""
        out = np.empty((len(self.x), len(self.mean)))
        for i in range(len(self.x)):
            for s in range(len(self.mean)):
                distance = (self.x[i] - self.mean[s]) ** 2 / self.variance[s]
                terms = -0.5 * (distance + np.log(2 * np.pi * self.variance[s]))
                out[i, s] = self.kappa[i] * float((self.weights * terms).sum())
        return out

    def bags(self, q_s: np.ndarray) -> np.ndarray:
        logits = np.empty((len(self.x), len(self.bag_share)))
        for j, pixels in enumerate(self.members):
            for b in range(len(self.bag_share)):
                logits[j, b] = np.log(self.bag_share[b]) + sum(float(q_s[i] @ np.log(self.in_bag[b])) for i in pixels)
        return softmax(logits)

    def labels(self, q_s: np.ndarray) -> np.ndarray:
        return softmax(np.log(self.prior) + q_s @ np.log(self.in_label).T)

    def clusters(self, q_b: np.ndarray, q_l: np.ndarray) -> np.ndarray:
        logits = self.gaussian() + q_l @ np.log(self.in_label)
        for j, pixels in enumerate(self.members):
            for i in pixels:
                logits[i] += q_b[j] @ np.log(self.in_bag)
        return softmax(logits)

    def bound(self, q_b: np.ndarray, q_s: np.ndarray, q_l: np.ndarray) -> float:
        total = (q_b @ np.log(self.bag_share)).sum() + entropy(q_b) + entropy(q_s) + entropy(q_l)
        for j, pixels in enumerate(self.members):
            for i in pixels:
                total += float(q_b[j] @ np.log(self.in_bag) @ q_s[i])
        total += (self.gaussian() * q_s).sum() + (q_l @ np.log(self.in_label) * q_s).sum()
        return float(total + (q_l * np.log(self.prior)).sum())


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def entropy(q: np.ndarray) -> float:
    return float(-(q * np.log(np.where(q > 0, q, 1))).sum())
