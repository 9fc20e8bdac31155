"""How per-patch work scales, what it sends, and why joblib is not its door.

``pytest tests/benchmarks/test_scaling.py --benchmark-enable -s``. The work is the prediction of ``bag`` on patches of
256 x 256 pixels from a packed copy. Best of some rounds; on a machine of two cores at least, or nothing is said of scaling.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from dfcbench.archive import Archive
from dfcbench.method import Prediction
from dfcbench.patches import PatchSet
from dfcbench.threads import WAITING, Door, in_order
from dfcbench_methods.bag import BagParams, Reader
from dfcbench_methods.bag_em import infer
from dfcbench_methods.bag_engine import CpuEngine
from dfcbench_methods.bag_start import initial_model
from tests import datamaker

PATCHES = 24
ROUNDS = 3
LEAST_SPEED_UP = 1.5
"""Of two threads over one: memory bandwidth and the writing of results are shared."""
MOST_BEHIND = 1.5
"""Of two worker processes against two threads: results are sent."""
MOST_COST = 0.25
"""Of the prediction of a patch, what a task may cost beside its work: else threads would be the better door."""
MOST_SENT = 4096
"""Bytes of an item: ids and paths."""


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> PatchSet:
    variant = datamaker.Variant({"s1": "float32", "s2": "uint16", "lc": "uint16", "dfc": "uint8"}, size=256)
    root = tmp_path_factory.mktemp("scaling")
    datamaker.write_split(root, "DFC2020/ROIs0000_test", "0", "0", range(PATCHES), variant)
    return Archive.open(root).patches("test").packed(root / "packed")


@pytest.fixture(scope="module")
def predict(patches: PatchSet) -> Callable[[Any], Prediction]:
    params = BagParams(prediction_passes=3)
    reader = Reader(patches, params, np.ones((10, 8)), np.float32)
    generator = np.random.default_rng(0)
    model = initial_model(generator.random((2000, len(params.channels))), params.settings(), generator)
    engine = CpuEngine(params.settings())

    def one(patch: Any) -> Prediction:
        return Prediction(patch.id, infer(engine, model, reader.view(patch), 3, 0.0)[0])

    return one


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """A cluster of two processes."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'dfcbench[dask]'")
    from dfcbench.cluster import connected

    folder = tmp_path_factory.mktemp("dask")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", local_directory=str(folder)
        ) as local,
        connected(local.scheduler_address, [folder]) as cluster,
    ):
        yield cluster


def rate(work: Callable[[], Iterator[Any]]) -> float:
    """Items a second, the best of some rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        count = sum(1 for _ in work())
        best = max(best, count / (time.perf_counter() - started))
    return best


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: nothing scales here")
def test_two_workers_are_faster_than_one_and_a_cluster_does_not_fall_far_behind(
    patches: PatchSet, predict: Callable[[Any], Prediction], door: Door
) -> None:
    list(door(predict, patches[:4]))  # each worker imports and compiles once
    with threadpool_limits(1):
        one = rate(lambda: in_order(predict, patches, 1))
        two = rate(lambda: in_order(predict, patches, 2))
        cluster = rate(lambda: in_order(predict, patches, door=door))
    print(f"\npatches/s: 1 thread {one:.2f}, 2 threads {two:.2f}, cluster of 2 processes {cluster:.2f}")
    print(f"2 threads / 1 thread {two / one:.2f}, 2 threads / cluster {two / cluster:.2f}")
    assert two / one >= LEAST_SPEED_UP
    assert two / cluster <= MOST_BEHIND


def test_items_are_paths_and_results_are_what_was_asked_for(
    patches: PatchSet, predict: Callable[[Any], Prediction]
) -> None:
    pytest.importorskip("cloudpickle", reason="Dask is not installed: pip install 'dfcbench[dask]'")
    from dfcbench.cluster_task import dumped

    item, result = len(dumped(patches[0])), len(pickle.dumps(predict(patches[0]), protocol=5))
    pixels = sum(getattr(patches[0], name).nbytes for name in ("s1", "s2", "low"))
    function = len(dumped(predict))
    print(f"\nbytes: item {item:,}, result {result:,}; function, by file, once {function:,}; pixels {pixels:,}")
    assert item < MOST_SENT < pixels


def test_a_task_costs_little_beside_the_prediction_of_a_patch(
    patches: PatchSet, predict: Callable[[Any], Prediction], door: Door
) -> None:
    """What a task costs beside its work: tells how short work may be to be worth sending."""
    list(door(abs, range(8)))
    count = 400
    task = min(_timed(lambda: list(door(abs, range(count)))) for _ in range(ROUNDS)) / count
    work = min(_timed(lambda: predict(patches[0])) for _ in range(ROUNDS))
    print(f"\n{1000 * task:.2f} ms per task on a cluster of two processes, {1000 * work:.1f} ms per patch")
    assert task < MOST_COST * work


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


class Counted:
    """A result that knows how many of its kind are alive."""

    lock = threading.Lock()
    alive = most = 0

    def __init__(self) -> None:
        with Counted.lock:
            Counted.alive += 1
            Counted.most = max(Counted.most, Counted.alive)

    def __del__(self) -> None:
        with Counted.lock:
            Counted.alive -= 1


def joblib_in_order(function: Callable[[int], Any], items: Any, workers: int) -> Iterator[Any]:
    """joblib's generator, told to dispatch no more than ``in_order`` has waiting."""
    from joblib import Parallel, delayed

    parallel = Parallel(
        workers, backend="threading", return_as="generator", pre_dispatch=WAITING * workers, batch_size=1
    )
    yield from parallel(delayed(function)(item) for item in items)


def gated(function: Callable[[int], Any], items: Any, workers: int) -> Iterator[Any]:
    """joblib's generator with its memory bounded: no task begins before few enough results wait."""
    taken, change = 0, threading.Condition()

    def one(numbered: tuple[int, int]) -> Any:
        with change:
            change.wait_for(lambda: numbered[0] < taken + WAITING * workers)
        return function(numbered[1])

    for result in joblib_in_order(one, enumerate(items), workers):  # type: ignore[arg-type]
        with change:
            taken += 1
            change.notify_all()
        yield result


@pytest.mark.parametrize(("work_ms", "consumer_ms", "count"), [(0, 0, 1000), (1, 0, 500), (60, 0, 40), (1, 4, 200)])
def test_joblib_bounds_either_memory_or_speed(work_ms: int, consumer_ms: int, count: int) -> None:
    """Both at once is what ``in_order`` does."""
    pytest.importorskip("joblib")

    def task(_: int) -> Counted:
        time.sleep(work_ms / 1000)
        return Counted()

    def all_of(door: Callable[..., Iterator[Any]]) -> None:
        for result in door(task, range(count), 2):
            del result
            time.sleep(consumer_ms / 1000)

    print(f"\nwork {work_ms} ms, consumer {consumer_ms} ms, {count} items, 2 threads:")
    found = {}
    for name, door in (("in_order", in_order), ("joblib", joblib_in_order), ("joblib, gated", gated)):
        Counted.most = 0
        seconds = _timed(lambda door=door: all_of(door))  # type: ignore[misc]
        found[name] = (count / seconds, Counted.most)
        print(f"  {name:14} {count / seconds:9.0f} items/s, at most {Counted.most} results alive")
    assert found["in_order"][1] <= WAITING * 2 + 1
    assert found["in_order"][0] >= 0.8 * max(speed for speed, most in found.values() if most <= WAITING * 2 + 1)


def test_joblib_forgets_results_before_an_error() -> None:
    """An item fails while an earlier result has not been taken yet: a run that goes on would have to do it again."""
    pytest.importorskip("joblib")

    def fails(number: int) -> int:
        time.sleep(0.05 if number < 2 else 0.001)
        if number == 3:
            raise ValueError(number)
        return number

    got: dict[str, list[int]] = {"in_order": [], "joblib": []}
    for name, door in (("in_order", in_order), ("joblib", joblib_in_order)):
        with pytest.raises(ValueError, match="3"):
            for result in door(fails, range(20), 2):
                got[name].append(result)
                time.sleep(0.1)
    print(f"\nresults before the error of item 3: {got}")
    assert got["in_order"] == [0, 1, 2]


def test_a_packed_copy_is_built_at_the_same_speed_behind_the_door(
    patches: PatchSet, door: Door, tmp_path: Path
) -> None:
    """Pixels travel there, so this shows no more than that it does no harm."""
    plain = PatchSet(patches._records)
    list(door(abs, range(8)))
    local = _timed(lambda: plain.packed(tmp_path / "local"))
    shared = _timed(lambda: plain.packed(tmp_path / "shared", door=door))
    print(f"\npacking {PATCHES} patches: here {local:.2f} s, behind the door {shared:.2f} s")
    for one, other in zip(
        sorted((tmp_path / "local").glob("*.bin")), sorted((tmp_path / "shared").glob("*.bin")), strict=True
    ):
        assert one.read_bytes() == other.read_bytes()
