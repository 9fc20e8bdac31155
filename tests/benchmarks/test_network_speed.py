"""Training and prediction of U-Net and DeepLabv3+: throughput, and the share of time spent waiting for data.

Run with ``pytest tests/benchmarks/test_network_speed.py -s``. The networks have their published width; batches are
small, so that a step takes seconds on a CPU. The CUDA part is skipped where there is no such device.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dfcbench.archive import Archive
from dfcbench.method import RunContext
from dfcbench.patches import PatchSet
from dfcbench_methods.deeplabv3 import DeepLabV3
from dfcbench_methods.networks.data import Crops, Reader
from dfcbench_methods.networks.optimisers import Schedule
from dfcbench_methods.networks.training import train
from dfcbench_methods.torch_method import TorchMethod
from dfcbench_methods.unet import UNet
from tests import datamaker

MOST_WAITING = 0.05
LEAST_SPEEDUP = 2.0
MOST_OVER_PLAIN = 1.15
"""Processor time of a method's map over that of the bare network. Reading, scaling and softmax of a patch are a hundredth
or two of it; the rest is for the scatter between rounds."""
PATCHES = 16
TIMED, ROUNDS = 4, 3
WORKERS = int(os.environ.get("DFCBENCH_BENCHMARK_WORKERS", "1"))
"""Threads, in torch and for the data; one by default, so that figures of machines compare."""

METHODS: list[tuple[type[TorchMethod], dict[str, Any]]] = [
    (UNet, {}),
    (DeepLabV3, {"backbone": "resnet50"}),
    (DeepLabV3, {"backbone": "resnet101"}),
]
NAMES = ["unet", "deeplabv3-resnet50", "deeplabv3-resnet101"]


def processor(function: Callable[[], object]) -> float:
    """Seconds of processor time that it takes, in all threads: other work on the machine does not count."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


class Metrics:
    """Keeps the last value of each metric."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def advance(self, label: str, done: int, total: int | None) -> None:
        pass

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        self.values.update(values)


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    variant = datamaker.Variant({"s1": "float32", "s2": "uint16", "lc": "uint16", "dfc": "uint8"}, size=256)
    root = tmp_path_factory.mktemp("speed")
    datamaker.write_split(root, "DFC2020/ROIs0000_test", "0", "0", range(PATCHES), variant)
    return Archive.open(root).patches("test").packed(tmp_path_factory.mktemp("pack"))


def build(kind: type[TorchMethod], options: dict[str, Any], device: str = "cpu") -> tuple[TorchMethod, nn.Module]:
    method = kind(kind.Params(**options))
    return method, method._new(RunContext(device=device))


@pytest.mark.parametrize(("kind", "options"), METHODS, ids=NAMES)
def test_training_on_a_cpu_hardly_waits_for_data(
    patches: PatchSet, kind: type[TorchMethod], options: dict[str, Any], tmp_path: Path
) -> None:
    _, network = build(kind, options)
    metrics = Metrics()
    run = RunContext(workers=WORKERS, scratch=tmp_path, reporter=metrics)
    crops = Crops(patches, Reader("s2"), size=128, batch=4)
    train(network, crops, Schedule(6, 1e-3), run, "speed")
    share, speed = metrics.values["speed_waiting_share"], metrics.values["speed_patches_per_second"]
    print(
        f"\n{kind.name} {options}: training {speed / 4:.3f} patches of 256 x 256 per second, {WORKERS} thread(s), "
        f"{100 * share:.2f} % of the time spent waiting for data"
    )
    assert share < MOST_WAITING


@pytest.mark.parametrize(("kind", "options"), METHODS, ids=NAMES)
def test_prediction_on_a_cpu_takes_no_longer_than_the_bare_network(
    patches: PatchSet, kind: type[TorchMethod], options: dict[str, Any]
) -> None:
    """Against a loop over images that lie in memory, one by one, in torch's default layout.

    Building the network, once per run, is left out: the time of one patch is subtracted from that of some more.
    """
    method, network = build(kind, options)
    method.weights_ = {key: value.numpy() for key, value in network.state_dict().items()}  # type: ignore[attr-defined]
    network.eval()
    run = RunContext(workers=WORKERS)
    images = [torch.from_numpy(Reader("s2")(patch)[None]) for patch in patches[:TIMED]]

    def bare() -> None:
        with torch.inference_mode():
            for image in images:
                network(image)

    def mapped(n: int) -> None:
        for _ in method.predict(patches[:n], run):
            pass

    before = torch.get_num_threads()
    torch.set_num_threads(WORKERS)
    rounds = []
    for _ in range(ROUNDS):
        several, one = (processor(partial(mapped, n)) for n in (TIMED + 1, 1))
        rounds.append((several - one, processor(bare)))
    torch.set_num_threads(before)
    ours, plain = (min(times) / TIMED for times in zip(*rounds, strict=True))
    print(
        f"\n{kind.name} {options}: prediction {1 / ours:.2f} patches per second and core, the bare network {1 / plain:.2f}; "
        f"{ours / plain:.2f} times its processor time"
    )
    assert ours / plain < MOST_OVER_PLAIN


# On a GPU


def seconds(function: Callable[[], object], rounds: int = 3) -> float:
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        function()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return min(times)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(("kind", "options"), METHODS, ids=NAMES)
def test_mixed_precision_is_twice_as_fast_on_a_gpu(
    patches: PatchSet, kind: type[TorchMethod], options: dict[str, Any], tmp_path: Path
) -> None:
    """The step alone, on a batch that is there; then the whole loop with its data."""
    batch = Crops(patches, Reader("s2"), size=256, batch=32)(0, RunContext().generator("speed"))
    steps, speeds = 20, {}

    def same(step: int, generator: Any) -> Any:
        return batch

    for mixed in (False, True):
        _, network = build(kind, options)
        metrics = Metrics()
        run = RunContext(device="cuda", workers=os.cpu_count() or 1, scratch=tmp_path / str(mixed), reporter=metrics)
        schedule = Schedule(steps, 1e-3, mixed=mixed)
        train(network, same, Schedule(5, 1e-3, mixed=mixed), run, "warm")
        speeds[mixed] = steps * len(batch[0]) / seconds(partial(train, network, same, schedule, run, "step"), rounds=1)
        crops = Crops(patches, Reader("s2"), size=256, batch=32)
        train(network, crops, schedule, run, "speed")
        print(
            f"\n{kind.name} {options} mixed={mixed}: {speeds[mixed]:.0f} patches/s on a batch that is there; with its data "
            f"{metrics.values['speed_patches_per_second']:.0f}, waiting {100 * metrics.values['speed_waiting_share']:.1f} %"
        )
    assert speeds[True] / speeds[False] >= LEAST_SPEEDUP


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(("kind", "options"), METHODS, ids=NAMES)
def test_a_gpu_predicts_what_the_cpu_predicts(
    patches: PatchSet, kind: type[TorchMethod], options: dict[str, Any]
) -> None:
    method, network = build(kind, options)
    method.weights_ = {key: value.numpy() for key, value in network.state_dict().items()}  # type: ignore[attr-defined]
    contexts = [RunContext(), RunContext(device="cuda", workers=os.cpu_count() or 1)]
    on_cpu, on_gpu = ([p.values for p in method.predict(patches[:2], run)] for run in contexts)
    for first, second in zip(on_cpu, on_gpu, strict=True):
        assert abs(first - second).max() < 0.02
    list(method.predict(patches, contexts[1]))
    speed = len(patches) / seconds(lambda: list(method.predict(patches, contexts[1])))
    print(f"\n{kind.name} {options}: prediction {speed:.1f} patches per second on a GPU")
