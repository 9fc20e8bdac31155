"""Labels from a 299 x 299 epitome, dense form, against unfolding + fp32 matrix product + softmax in the same run.

Run with ``pytest tests/benchmarks/test_epitome_speed.py -s``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from dfcbench_methods.epitome_likelihood import Dense, Tables
from dfcbench_methods.epitome_model import EpitomeModel

SIZE, WINDOW, CHANNELS, LABELS = 299, 7, 12, 8
HEIGHT, WIDTH = 32, 256
USUAL_WINDOWS = 512
"""As many as fit (512 x 89401 floats are 183 MB); its cost per window does not depend on their number."""

PEAK = """
import resource
import numpy as np
from dfcbench.method import RunContext
from dfcbench_methods.epitome_likelihood import Dense, Tables
from dfcbench_methods.epitome_training import Trainer, Training
trainer = Trainer(Training(299, 7, 12, (1.0,) * 12), RunContext())
import torch
torch.set_num_threads(1)
trainer.step(torch.rand(256, 12, 7, 7))
dense = Dense(Tables.of(trainer.model(), np.ones(12), 49.0))
dense.window_labels(np.random.rand(12, 8, 256).astype(np.float32), np.random.rand(8, 299, 299))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def smooth(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    field = gaussian_filter(rng.standard_normal(shape), (0, 1.5, 1.5), mode="wrap")
    return (0.5 + 0.2 * field / field.std()).astype(np.float32)


def usual(model: EpitomeModel, x: NDArray[np.float32], table: NDArray[np.float32], temperature: float):
    """The matrix product over unfolded windows: a function of a slice of windows, and the unfolded windows."""
    offsets = range(-(WINDOW // 2), WINDOW // 2 + 1)
    centre = model.mean.mean(axis=(1, 2), keepdims=True)
    mean, radius = model.mean - centre, WINDOW // 2
    per_position = [
        np.roll(np.stack([model.precision * mean, -model.precision / 2]), (-a, -b), (2, 3))
        for a in offsets
        for b in offsets
    ]
    matrix = np.stack(per_position).transpose(1, 2, 0, 3, 4).reshape(-1, SIZE * SIZE).astype(np.float32)
    constant = sum(
        np.roll((np.log(model.precision / (2 * np.pi)) - model.precision * mean**2).sum(axis=0) / 2, (-a, -b), (0, 1))
        for a in offsets
        for b in offsets
    )
    constant = (constant + model.log_prior()).ravel().astype(np.float32)
    labels = np.ascontiguousarray(table.reshape(LABELS, -1).T)
    padded = np.pad(x - centre, ((0, 0), (radius, radius), (radius, radius)), mode="reflect")

    def mix(first: int, count: int) -> NDArray[np.float32]:
        y, z = np.divmod(np.arange(first, first + count), WIDTH)
        views = np.lib.stride_tricks.sliding_window_view(padded, (WINDOW, WINDOW), axis=(1, 2))
        windows = views[:, y, z].transpose(1, 0, 2, 3).reshape(count, -1)
        energy = np.concatenate([windows, windows * windows], axis=1) @ matrix
        energy += constant
        energy /= np.float32(temperature)
        energy -= energy.max(axis=1, keepdims=True)
        np.exp(energy, out=energy)
        energy /= energy.sum(axis=1, keepdims=True)
        return energy @ labels

    return mix


def seconds(function: Callable[[], object]) -> float:
    """Processor time of this thread: other work on the machine does not count."""
    start = time.thread_time()
    function()
    return time.thread_time() - start


@pytest.mark.parametrize("temperature", [49.0, 9.8])
def test_dense_form_beats_the_matrix_product_three_times(temperature: float) -> None:
    rng = np.random.default_rng(0)
    precision = rng.uniform(1, 100, (CHANNELS, SIZE, SIZE)).astype(np.float32)
    model = EpitomeModel(smooth(rng, CHANNELS, SIZE, SIZE), precision, rng.normal(size=(SIZE, SIZE)), WINDOW)
    table = rng.dirichlet(np.ones(LABELS), (SIZE, SIZE)).transpose(2, 0, 1).astype(np.float32)
    x = smooth(rng, CHANNELS, HEIGHT, WIDTH)
    dense = Dense(Tables.of(model, np.ones(CHANNELS), temperature))
    mix = usual(model, x, table, temperature)
    corner = EpitomeModel(model.mean[:, :8, :8], precision[:, :8, :8], model.logit[:8, :8], WINDOW)
    small = Dense(Tables.of(corner, np.ones(CHANNELS), 1.0))
    small.window_labels(x[:, :9], table[:, :8, :8])  # compiles
    small.centre_labels(x[:, :9], table[:, :8, :8])
    with threadpool_limits(1):
        mix(0, 8)
        plain = [seconds(lambda: mix(0, USUAL_WINDOWS)) / USUAL_WINDOWS for _ in range(2)]
        centre = seconds(lambda: dense.centre_labels(x, table)) / (HEIGHT * WIDTH)
        window = seconds(lambda: dense.window_labels(x, table)) / (HEIGHT * WIDTH)
        found = dense.centre_labels(x, table).reshape(LABELS, -1).T
    ratio = min(plain) / centre
    print(
        f"\nT = {temperature}: windows/s matrix product {1 / min(plain):.0f}, centre {1 / centre:.0f} "
        f"({ratio:.1f} times), all windows over a pixel {1 / window:.0f} ({min(plain) / window:.1f} times)"
    )
    np.testing.assert_allclose(found[:USUAL_WINDOWS], mix(0, USUAL_WINDOWS), rtol=0, atol=1e-4)
    assert ratio > 3
    assert min(plain) / window > 3


def test_training_and_prediction_stay_below_two_gigabytes() -> None:
    result = subprocess.run([sys.executable, "-c", PEAK], check=True, capture_output=True, text=True)
    print(f"\npeak resident memory {json.loads(result.stdout):.0f} MB")
    assert json.loads(result.stdout) < 2000
