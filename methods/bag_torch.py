"""Sweeps of bag clustering with torch, for CUDA devices; the same model, tables and statistics as ``bag_engine``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d

from .bag_engine import Dense, Pairs, State, Sweep, View
from .bag_model import LOW_CODES, Settings, Statistics, Tables

TINY_POSTERIOR = 1e-26
"""Posteriors below this are cut to zero, as by the compiled kernels."""


class TorchEngine:
    """Sweeps on a torch device. ``dtype`` is numpy's, float32 or float64."""

    def __init__(self, settings: Settings, device: str, dtype: type[np.floating[Any]] = np.float32) -> None:
        self.settings = settings
        self.device = torch.device(device)
        self.dtype = dtype

    @torch.inference_mode()
    def sweep(self, tables: Tables, view: View, state: State | None, *, labels: bool = False) -> Sweep:
        s = self.settings
        height, width = view.shape
        n = height * width
        statistics = Statistics.zeros(tables)
        statistics.pixels = n
        low = self._to(view.low).long()
        log_prior = self._to(view.log_prior)[low]
        old = None if state is None else self._expand(state)
        features = []
        if tables.texture:
            assert old is not None
            evidence = self._boxed(old @ self._to(tables.to_bag), height, width) + self._to(tables.log_bag_share)
            q_bag, entropy = _softmax_entropy(evidence)
            statistics.bag_entropy = float(entropy.double().sum())
            statistics.bags = q_bag.double().sum(dim=0).cpu().numpy()
            features.append(self._boxed(q_bag, height, width))
        evidence = torch.zeros_like(log_prior) if old is None else old @ self._to(tables.to_label)
        q_label = torch.softmax(log_prior + evidence, dim=1)
        gain = torch.logsumexp(log_prior + evidence, dim=1) - (q_label * evidence).sum(dim=1)
        statistics.label_gain = float(gain.double().sum())
        kappa = self._to(s.kappa(height, width).reshape(-1, 1).astype(self.dtype))
        x = self._to(view.x).T - self._to(tables.centre)
        features += [q_label, kappa * x, kappa * x * x, kappa]
        stacked = torch.cat(features, dim=1)
        logits = stacked @ self._to(tables.to_cluster)
        statistics.log_total = float(torch.logsumexp(logits, dim=1).double().sum())
        q = torch.softmax(logits, dim=1)
        q = torch.where(q > TINY_POSTERIOR, q, 0)
        statistics.moments = (stacked.T @ q).double().cpu().numpy()
        by_code = torch.zeros((LOW_CODES, s.clusters), dtype=torch.float64, device=self.device)
        statistics.by_code = by_code.index_add_(0, low, q.double()).cpu().numpy()
        shown: NDArray[Any] | None = None
        if labels:
            after = torch.softmax(log_prior + q @ self._to(tables.to_label), dim=1).T
            shown = after.reshape(-1, height, width).float().cpu().numpy()
        return Sweep(statistics, self._reduce(q), shown)

    def _to(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _boxed(self, values: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Window sums of (H * W, D), zeros outside the image."""
        side = 2 * self.settings.radius + 1
        planes = values.T.reshape(1, -1, height, width)
        summed = avg_pool2d(planes, side, stride=1, padding=self.settings.radius, divisor_override=1)
        return summed.reshape(values.shape[1], -1).T

    def _expand(self, state: State) -> torch.Tensor:
        """q(s) (n, S) from what the last sweep left."""
        if isinstance(state, Dense):
            return self._to(state.q)
        share = self._to(state.share.astype(self.dtype))[:, None]
        clusters = self._to(state.clusters).long()
        q = torch.zeros((len(clusters), self.settings.clusters), dtype=share.dtype, device=self.device)
        return q.scatter_(1, clusters, torch.cat([share, 1 - share], dim=1))

    def _reduce(self, q: torch.Tensor) -> State:
        """What the next sweep is left."""
        if self.dtype == np.float64:
            return Dense(q.cpu().numpy())
        largest, clusters = torch.topk(q, 2, dim=1)
        share = largest[:, 0] / largest.sum(dim=1)
        return Pairs(clusters.to(torch.uint8).cpu().numpy(), share.half().cpu().numpy())


def _softmax_entropy(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    log_q = torch.log_softmax(logits, dim=1)
    q = log_q.exp()
    return torch.where(q > TINY_POSTERIOR, q, 0), -(q * log_q).sum(dim=1)
