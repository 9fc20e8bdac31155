"""Compiled loops of bag clustering: window sums and posteriors. Matrix products stay with BLAS, in ``bag_em``.

Every kernel serves float32 and float64; the first run compiles for some 10 s. Inputs must be finite.

Per-pixel vectors are stored pixel by pixel, so one image row of B-vectors is a flat array of W * B numbers. A window
sum along the row is then a sum of shifted copies of that array, in long loops that vectorise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.scheme import SCORED_CODES

from .compiled import exp, inlined, kernel

_LABELS = len(SCORED_CODES)  # known at compilation, so that loops over labels unroll


@inlined
def _add(line: NDArray[Any], sums: NDArray[Any]) -> None:
    for i in range(sums.size):
        sums[i] += line[i]


@inlined
def _add_four(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any], d: NDArray[Any], sums: NDArray[Any]) -> None:
    for i in range(sums.size):
        sums[i] += (a[i] + b[i]) + (c[i] + d[i])


@inlined
def window_row(
    source: NDArray[Any], y: int, depth: int, radius: int, columns: NDArray[Any], sums: NDArray[Any]
) -> None:
    """Window sums of one image row. source (H, W * depth); writes sums (W * depth,), uses columns (W * depth,)."""
    height, length = source.shape
    columns[:] = source[y]
    if radius == 2 and 2 <= y < height - 2:
        _add_four(source[y - 2], source[y - 1], source[y + 1], source[y + 2], columns)
    else:
        for row in range(max(0, y - radius), min(height, y + radius + 1)):
            if row != y:
                _add(source[row], columns)
    sums[:] = columns
    far = 2 * depth
    if radius == 2 and length >= 2 * far:
        middle = sums[far : length - far]
        before, after = columns[: length - 2 * far], columns[2 * far :]
        _add_four(before, columns[depth : length - far - depth], columns[far + depth : length - depth], after, middle)
        for step in range(1, 3):
            shift = step * depth
            _add(columns[shift : shift + far], sums[:far])
            _add(columns[length - far - shift : length - shift], sums[length - far :])
        _add(columns[:depth], sums[depth:far])
        _add(columns[length - depth :], sums[length - far : length - depth])
    else:
        for step in range(1, radius + 1):
            shift = step * depth
            if shift < length:
                _add(columns[shift:], sums[: length - shift])
                _add(columns[: length - shift], sums[shift:])


@kernel
def bag_posterior(
    evidence: NDArray[Any], log_share: NDArray[Any], radius: int, posterior: NDArray[Any], counts: NDArray[np.float64]
) -> float:
    """q(b) ~ p(b) exp{box[evidence]} for a whole patch.

    evidence, posterior (H, W * B); log_share (B,) = log p(b). Adds the sum of q(b) over windows to counts (B,) and
    returns the sum of the entropies of q(b).
    """
    height, length = evidence.shape
    depth = log_share.size
    columns = np.empty_like(evidence[0])
    sums = np.empty_like(columns)
    row_counts = np.empty_like(log_share)
    entropy = 0.0
    for y in range(height):
        window_row(evidence, y, depth, radius, columns, sums)
        row_counts[:] = 0
        line = posterior[y]
        for start in range(0, length, depth):
            t = sums[start : start + depth]
            q = line[start : start + depth]
            top = t[0] + log_share[0]
            for b in range(depth):
                t[b] += log_share[b]
                top = max(top, t[b])
            total = top - top
            dot = top - top
            for b in range(depth):
                d = t[b] - top
                e = exp(d)
                q[b] = e
                total += e
                dot += e * d
            scale = 1 / total
            for b in range(depth):
                q[b] *= scale
                row_counts[b] += q[b]
            entropy += math.log(total) - dot / total
        for b in range(depth):
            counts[b] += row_counts[b]
    return entropy


@kernel
def window_sums(source: NDArray[Any], depth: int, radius: int, first: int, out: NDArray[Any]) -> None:
    """Window sums of image rows into the leading columns of a feature matrix.

    source (H, W * depth); out (n, K), whose columns 0..depth-1 receive rows ``first`` to ``first + n / W``.
    """
    width = source.shape[1] // depth
    columns = np.empty_like(source[0])
    sums = np.empty_like(columns)
    for row in range(out.shape[0] // width):
        window_row(source, first + row, depth, radius, columns, sums)
        for x in range(width):
            target = out[row * width + x]
            for b in range(depth):
                target[b] = sums[x * depth + b]


@inlined
def _one_label_posterior(evidence: NDArray[Any], log_prior: NDArray[Any], posterior: NDArray[Any]) -> float:
    """``label_posterior`` of one pixel, all (L,)."""
    top = evidence[0] + log_prior[0]
    for k in range(_LABELS):
        top = max(top, evidence[k] + log_prior[k])
    total = top - top
    dot = top - top
    for k in range(_LABELS):
        e = exp(evidence[k] + log_prior[k] - top)
        posterior[k] = e
        total += e
        dot += e * evidence[k]
    scale = 1 / total
    for k in range(_LABELS):
        posterior[k] *= scale
    return float(top + math.log(total) - dot / total)


@kernel
def label_posterior(
    evidence: NDArray[Any], low: NDArray[np.uint8], log_prior: NDArray[Any], posterior: NDArray[Any]
) -> float:
    """q(l) ~ p(l) exp{evidence}. evidence, posterior (n, L); low (n,) codes, the rows of log_prior (11, L).

    Returns the sum over pixels of sum_l q(l) [log p(l) - log q(l)].
    """
    gain = 0.0
    for i in range(evidence.shape[0]):
        gain += _one_label_posterior(evidence[i], log_prior[low[i]], posterior[i])
    return gain


@kernel
def label_posterior_of_pairs(
    clusters: NDArray[np.uint8],
    share: NDArray[np.float32],
    table: NDArray[Any],
    low: NDArray[np.uint8],
    log_prior: NDArray[Any],
    posterior: NDArray[Any],
) -> float:
    """``label_posterior`` where q(s) is what ``two_largest`` kept and table (S, L) turns it into evidence.

    Pixels that belong to one cluster alone share their posterior with all others of the same code and cluster.
    """
    codes, depth = log_prior.shape[0], table.shape[0]
    known = np.zeros((codes, depth), np.bool_)
    gains = np.empty((codes, depth), np.float64)
    shared = np.empty((codes, depth, _LABELS), posterior.dtype)
    evidence = np.empty(_LABELS, posterior.dtype)
    gain = 0.0
    for i in range(low.size):
        code, first = low[i], clusters[i, 0]
        if share[i] == 1:
            if not known[code, first]:
                gains[code, first] = _one_label_posterior(table[first], log_prior[code], shared[code, first])
                known[code, first] = True
            gain += gains[code, first]
            for k in range(_LABELS):
                posterior[i, k] = shared[code, first, k]
        else:
            second = clusters[i, 1]
            for k in range(_LABELS):
                evidence[k] = table[second, k] + share[i] * (table[first, k] - table[second, k])
            gain += _one_label_posterior(evidence, log_prior[code], posterior[i])
    return gain


@kernel
def colour_features(x: NDArray[Any], centre: NDArray[Any], kappa: NDArray[Any], out: NDArray[Any]) -> None:
    """Sufficient statistics of the Gaussians: out (n, 2 C + 1) = kappa * [x, x^2, 1].

    x (C, n) is taken from centre (C,); kappa (n,).
    """
    channels, n = x.shape
    for c in range(channels):
        line = x[c]
        middle = centre[c]
        for i in range(n):
            d = line[i] - middle
            out[i, c] = kappa[i] * d
            out[i, channels + c] = kappa[i] * d * d
    for i in range(n):
        out[i, 2 * channels] = kappa[i]


@kernel
def colour_posterior(logits: NDArray[Any]) -> float:
    """Turns logits (n, S) into q(s) in place; returns the sum over pixels of logsumexp."""
    n, clusters = logits.shape
    log_total = 0.0
    for i in range(n):
        q = logits[i]
        top = q[0]
        for s in range(clusters):
            top = max(top, q[s])
        total = top - top
        for s in range(clusters):
            e = exp(q[s] - top)
            q[s] = e
            total += e
        scale = 1 / total
        for s in range(clusters):
            q[s] *= scale
        log_total += top + math.log(total)
    return log_total


@kernel
def code_counts(q: NDArray[Any], low: NDArray[np.uint8], counts: NDArray[np.float64]) -> None:
    """Adds q (n, S) to counts (11, S) by the low-resolution code (n,) of each pixel."""
    for i in range(q.shape[0]):
        row = counts[low[i]]
        for s in range(q.shape[1]):
            row[s] += q[i, s]


@kernel
def two_largest(q: NDArray[Any], clusters: NDArray[np.uint8], share: NDArray[np.float32]) -> None:
    """The two most probable clusters of each pixel and the first one's share among them.

    q (n, S) float32, S <= 256; clusters (n, 2); share (n,). Non-negative floats are ordered as their bits are, so the
    index takes the place of the last eight bits and both searches become maxima of integers.
    """
    n, depth = q.shape
    for i in range(n):
        row = q[i]
        first = np.int32(-1)
        for s in range(depth):
            first = max(first, np.int32((np.float32(row[s]).view(np.int32) & ~255) | s))
        second = np.int32(-1)
        for s in range(depth):
            key = np.int32((np.float32(row[s]).view(np.int32) & ~255) | s)
            second = max(second, key if key != first else np.int32(-1))
        a, b = first & 255, second & 255
        clusters[i, 0] = a
        clusters[i, 1] = b
        share[i] = row[a] / (row[a] + row[b])


@kernel
def mix_two(clusters: NDArray[np.uint8], share: NDArray[np.float32], table: NDArray[Any], out: NDArray[Any]) -> None:
    """Rows of table (S, K) mixed in the proportions that ``two_largest`` kept: out (n, K)."""
    n, columns = out.shape
    for i in range(n):
        first = table[clusters[i, 0]]
        second = table[clusters[i, 1]]
        target = out[i]
        for k in range(columns):
            target[k] = second[k] + share[i] * (first[k] - second[k])
