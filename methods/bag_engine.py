"""One sweep of bag clustering over one patch: the exact updates of q(b), q(l) and q(s), and their statistics.

The patch is passed in bands of rows small enough for the processor's cache; only q(b) is held for the whole patch. What
a patch hands on to its next sweep is q(s) alone, since q(b) and q(l) follow from it: in float64 in full, in float32 as
``Pairs``, the two most probable clusters and the first one's share, 4 bytes a pixel. The Gaussians count 25 times, so
q(s) is nearly hard: what is dropped moves the bound by less than a part in 100,000.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import bag_kernels as kernels
from .bag_model import LABELS, Settings, Statistics, Tables

BAND_PIXELS = 4096
"""Pixels of a band: its features, logits and posteriors then take about 2 MB in float32."""


@dataclass(frozen=True)
class View:
    """A patch as the model sees it: x (C, H * W) scaled channels, low (H * W,) codes, log_prior (11, 8) by code."""

    x: NDArray[Any]
    low: NDArray[np.uint8]
    log_prior: NDArray[Any]
    shape: tuple[int, int]


@dataclass(frozen=True)
class Pairs:
    """q(s) reduced to its two largest values: clusters (n, 2) uint8 and the first one's share (n,) float16.

    The rest is dropped only where q(s) is handed on to the next sweep's q(b) and q(l); statistics, bound and results
    come from q(s) in full.
    """

    clusters: NDArray[np.uint8]
    share: NDArray[np.float16]

    @property
    def top(self) -> NDArray[np.uint8]:
        return self.clusters[:, 0]


@dataclass(frozen=True)
class Dense:
    """q(s) in full, (n, S)."""

    q: NDArray[Any]

    @property
    def top(self) -> NDArray[np.intp]:
        return np.asarray(self.q.argmax(axis=1))


State = Pairs | Dense


@dataclass(frozen=True)
class Sweep:
    """What a sweep over one patch returns. q_label (8, H, W) float32 where it was asked for."""

    statistics: Statistics
    state: State
    q_label: NDArray[np.float32] | None = None


class Engine(Protocol):
    """Something that sweeps: ``CpuEngine`` here, ``TorchEngine`` in ``bag_torch``."""

    dtype: type[np.floating[Any]]

    def sweep(self, tables: Tables, view: View, state: State | None, *, labels: bool = False) -> Sweep:
        """q(b) and q(l) from ``state`` (from nothing at the start), then q(s) from them.

        Without a state q(l) is the prior, and the tables must be those without texture. ``labels`` asks for q(l) as it
        follows from the new q(s).
        """
        ...


class _Buffers(threading.local):
    """Arrays that a thread uses again for its next patch: fresh pages cost as much as the arithmetic."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type[np.generic] | np.dtype[Any]) -> NDArray[Any]:
        """An uninitialised array, valid until the same name is taken again in the same thread."""
        size = int(np.prod(shape))
        held = self._arrays.get(name)
        if held is None or held.size < size or held.dtype != dtype:
            held = self._arrays[name] = np.empty(size, dtype)
        return held[:size].reshape(shape)


class CpuEngine:
    """Sweeps with compiled kernels and BLAS. One instance serves any number of threads."""

    def __init__(self, settings: Settings, dtype: type[np.floating[Any]] = np.float32) -> None:
        self.settings = settings
        self.dtype = dtype
        self._buffers = _Buffers()

    def __reduce__(self) -> tuple[type[CpuEngine], tuple[Any, ...]]:
        return CpuEngine, (self.settings, self.dtype)

    def sweep(self, tables: Tables, view: View, state: State | None, *, labels: bool = False) -> Sweep:
        s, take = self.settings, self._buffers.take
        height, width = view.shape
        statistics = Statistics.zeros(tables)
        statistics.pixels = height * width
        q_bag = self._bags(tables, view, state, statistics) if tables.texture else None
        at = s.bags if tables.texture else 0
        kappa = s.kappa(height, width).ravel().astype(self.dtype)
        step = max(1, BAND_PIXELS // width)
        share = np.empty(height * width, np.float32)
        pairs = np.empty((height * width, 2), np.uint8)
        dense = np.empty((height * width, s.clusters), self.dtype) if self.dtype == np.float64 else None
        q_label = np.empty((LABELS, height * width), np.float32) if labels else None
        for row in range(0, height, step):
            band = slice(row * width, min(row + step, height) * width)
            n = band.stop - band.start
            features = take("features", (n, len(tables.to_cluster)), self.dtype)
            if q_bag is not None:
                kernels.window_sums(q_bag, s.bags, s.radius, row, features)
            statistics.label_gain += self._labels(tables, view, state, band, features[:, at : at + LABELS])
            kernels.colour_features(view.x[:, band], tables.centre, kappa[band], features[:, at + LABELS :])
            q = take("q", (n, s.clusters), self.dtype)
            np.matmul(features, tables.to_cluster, out=q)
            statistics.log_total += kernels.colour_posterior(q)
            statistics.moments += features.T @ q
            kernels.code_counts(q, view.low[band], statistics.by_code)
            if dense is None:
                kernels.two_largest(q, pairs[band], share[band])
            else:
                dense[band] = q
            if q_label is not None:
                shown = take("labels", (n, LABELS), self.dtype)
                kernels.label_posterior(q @ tables.to_label, view.low[band], view.log_prior, shown)
                q_label[:, band] = shown.T
        new = Pairs(pairs, share.astype(np.float16)) if dense is None else Dense(dense)
        return Sweep(statistics, new, None if q_label is None else q_label.reshape(LABELS, height, width))

    def _labels(self, tables: Tables, view: View, state: State | None, band: slice, posterior: NDArray[Any]) -> float:
        """q(l) for a band into ``posterior`` (n, 8); returns its part of the bound."""
        low = view.low[band]
        gain: float
        if isinstance(state, Pairs):
            share = state.share[band].astype(np.float32)
            gain = kernels.label_posterior_of_pairs(
                state.clusters[band], share, tables.to_label, low, view.log_prior, posterior
            )
        else:
            evidence = self._buffers.take("label evidence", posterior.shape, self.dtype)
            if state is None:
                evidence[:] = 0
            else:
                np.matmul(state.q[band], tables.to_label, out=evidence)
            gain = kernels.label_posterior(evidence, low, view.log_prior, posterior)
        return gain

    def _bags(self, tables: Tables, view: View, state: State | None, statistics: Statistics) -> NDArray[Any]:
        """q(b) for the whole patch, (H, W * B)."""
        assert state is not None, "bags follow from q(s): the first sweep has tables without texture"
        height, width = view.shape
        length = width * self.settings.bags
        evidence = self._buffers.take("bag evidence", (height * width, self.settings.bags), self.dtype)
        if isinstance(state, Dense):
            np.matmul(state.q, tables.to_bag, out=evidence)
        else:
            kernels.mix_two(state.clusters, state.share.astype(np.float32), tables.to_bag, evidence)
        q_bag = self._buffers.take("q_bag", (height, length), self.dtype)
        statistics.bag_entropy += kernels.bag_posterior(
            evidence.reshape(height, length), tables.log_bag_share, self.settings.radius, q_bag, statistics.bags
        )
        return q_bag
