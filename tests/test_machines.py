"""One door for per-patch work: one thread, eight threads, and a Dask cluster that loses a worker give the same bytes."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dfcbench import cluster as cluster_room
from dfcbench import records
from dfcbench.archive import Archive
from dfcbench.cli.options import device_for
from dfcbench.contest import FusionContest
from dfcbench.errors import ContractError, DataError, DfcbenchError, HiddenError, MethodCrash, UsageError
from dfcbench.method import RunContext
from dfcbench.patches import PatchSet
from dfcbench.plan import Plan, resolve_parameters
from dfcbench.registry import Registry
from dfcbench.runner import execute
from dfcbench.states import order
from dfcbench.threads import Door, in_order
from tests.conftest import Shell
from tests.test_runner import Quiet, content

WORKERS = 3


class Machines:
    """A cluster of worker processes on this machine, and the ``Cluster`` that is connected to it."""

    def __init__(self, local: Any, door: Any) -> None:
        self.local, self.door = local, door

    @property
    def address(self) -> str:
        return str(self.local.scheduler_address)

    def kill_one(self) -> None:
        """SIGKILL for one of the workers; its supervisor starts another one in a while."""
        pids = self.door._client.run(os.getpid, on_error="ignore")
        os.kill(next(iter(pids.values())), signal.SIGKILL)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'dfcbench[dask]'")
    pytest.importorskip("cloudpickle", reason="cloudpickle is not installed: pip install 'dfcbench[dask]'")
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("no SIGKILL on this platform")
    shared = tmp_path_factory.mktemp("shared")
    with (
        distributed.LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            local_directory=str(tmp_path_factory.mktemp("dask")),
        ) as local,
        cluster_room.connected(local.scheduler_address, [shared]) as door,
    ):
        yield Machines(local, door)


# ---------------------------------------------------------------- the door keeps its terms, whoever works behind it


@pytest.fixture(params=["1 thread", "8 threads", "cluster"])
def door(request: pytest.FixtureRequest) -> Callable[..., Iterator[Any]]:
    if request.param == "cluster":
        return partial(in_order, door=request.getfixturevalue("machines").door)
    return partial(in_order, workers=int(request.param.split()[0]))


class Odd(Exception):
    """An exception of nobody else's."""


def late_first(number: int) -> int:
    """The earlier an item, the longer it takes, and some fail."""
    time.sleep(0.2 if number == 0 else 0.01)
    if number == 5:
        raise Odd(f"item {number}")
    return number * number


def test_results_come_in_order_until_the_first_that_failed_which_keeps_its_type(door: Any) -> None:
    got: list[int] = []
    with pytest.raises(Odd, match="item 5"):
        got.extend(door(late_first, range(40)))
    # list.extend keeps what came before the exception
    assert got == [0, 1, 4, 9, 16]


def test_items_are_taken_no_further_than_results_may_wait_and_closing_lets_go_of_the_rest(door: Any) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in itertools.count():
            taken.append(number)
            yield number

    results = door(abs, items())
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.3)  # time enough to run ahead
    assert len(taken) <= 3 + 2 * 8
    results.close()
    before = len(taken)
    time.sleep(0.1)
    assert len(taken) == before


def test_an_error_of_the_items_themselves_passes_through(door: Any) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise Odd("while listing")

    with pytest.raises(Odd, match="while listing"):
        list(door(abs, items()))


# ---------------------------------------------------------------- whole runs


class Killer(Quiet):
    """An observer that kills a worker as soon as work of some label is under way; of none if that is empty."""

    def __init__(self, machines: Machines, label: str) -> None:
        super().__init__()
        self.machines, self.label = machines, label
        self.killed = False

    def advance(self, label: str, done: int, total: int | None) -> None:
        super().advance(label, done, total)
        if not self.killed and label == self.label and done == 1:
            self.killed = True
            self.machines.kill_one()


def planned(archive: Archive, out: Path, reference: str, door: Door | None = None, **options: Any) -> Plan:
    registry = Registry()
    loaded = registry.load(reference)
    given = options.pop("params", {})
    params, preset = resolve_parameters(loaded.method, given, "quick", demo=False)
    contest = FusionContest(archive, options.pop("track", 1), "test")
    settings: dict[str, Any] = {"seed": 3, "device": "cpu", "workers": 1, **options}
    return Plan(
        contest, loaded, params, preset, submissions=out, registry=registry, door=door, overrides=given, **settings
    )


BAG = {"clusters": 6, "bags": 4, "sweeps": 5}
FOREST = {"trees": 4, "engine": "sklearn"}
SMALL: dict[str, tuple[int, dict[str, Any], str]] = {
    "low-resolution-labels": (1, {}, "scoring"),
    "bag": (1, BAG, "sweep 4"),
    "random-forest": (1, {"trees": 4, "pixels": 900, "engine": "sklearn"}, ""),
    "epitome": (1, {"size": 12, "batches": 2, "batch_size": 8, "embedding_windows": 512}, ""),
    "unet": (1, {"steps": 2, "batch": 2, "crop": 16, "validate_every": 2}, ""),
    "antonia": (
        2,
        {
            "experiment": 2,
            "engine": "sklearn",
            "forests_weighted": 2,
            "forests_unweighted": 2,
            "trees": 3,
            "draw": 300,
            "min_samples": 4,
        },
        "growing forests",
    ),
    "pineapples-track1": (
        1,
        {"clusters": 6, "cluster_pixels": 500, "words": 6, "topics": 2, "documents": 40, "pixels": 400, **FOREST},
        "drawing windows",
    ),
    "dfchen": (2, {"pixels": 400, **FOREST, "width": 2, "batch": 2, "crop": 16, "steps": 2, "retraining_steps": 1}, ""),
}
"""Track, parameters, and the work during which a worker is killed; killing one in each would take long."""


def whole(plan: Plan, observer: Quiet) -> None:
    """The runs that it builds upon, and its own."""
    for each in order(plan):
        execute(each, observer, keep_probabilities=each is not plan)


@pytest.mark.parametrize("method", SMALL)
def test_a_run_is_the_same_on_1_worker_8_workers_and_a_cluster_that_loses_one(
    machines: Machines, small: Archive, tmp_path: Path, method: str
) -> None:
    track, params, label = SMALL[method]
    alone = planned(small, tmp_path / "alone", method, track=track, params=params)
    threads = planned(small, tmp_path / "threads", method, track=track, params=params, workers=8)
    shared = planned(small, tmp_path / "shared", method, machines.door, track=track, params=params)
    whole(alone, Quiet())
    whole(threads, Quiet())
    killer = Killer(machines, label)
    whole(shared, killer)
    assert killer.killed or not label, f"no work was called {label!r}: {killer.seen}"
    assert content(threads.folder) == content(alone.folder)
    assert content(shared.folder) == content(alone.folder)


PLUGIN = '''\
"""A method with a module beside it, an exception of its own, and a constant that it computes when it is imported."""
import os, signal
import numpy as np
import beside
from dfcbench.method import Field, Method, Needs, Params, Prediction

class Mine(Exception):
    pass

class Settings(Params):
    offset: int = Field(1, ge=0, description="added to the code")
    deadly: str = Field("", description="a file: the worker that makes it kills itself")
    fails: str = Field("", description="the patch that fails")

class Plugged(Method):
    """Labels turned by an offset."""
    name = "plugged"
    needs = Needs(inputs={"s2"}, labels="low", transductive=True)
    Params = Settings

    def fit(self, contest, run):
        self.mean_ = np.mean(list(run.map(beside.brightness, contest.target, label="means")))

    def predict(self, patches, run):
        def one(patch):
            if patch.id.endswith(self.params.fails or "nothing"):
                raise Mine(f"{patch.id} displeases")
            if self.params.deadly and not os.path.exists(self.params.deadly):
                open(self.params.deadly, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            bright = beside.brightness(patch) > self.mean_
            own = run.generator("plugged", patch.id).integers(0, 2, patch.low.shape)
            return Prediction(patch.id, (patch.low + own + self.params.offset * bright) % 11)
        yield from run.map(one, patches)
'''
BESIDE = "SCALE = 10_000\n\n\ndef brightness(patch):\n    return float(patch.s2.mean()) / SCALE\n"


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "plugged.py").write_text(PLUGIN)
    (tmp_path / "code" / "beside.py").write_text(BESIDE)
    return str(tmp_path / "code" / "plugged.py")


def test_a_plug_in_in_a_users_file_runs_on_workers_that_cannot_import_it(
    machines: Machines, small: Archive, tmp_path: Path, plugin: str
) -> None:
    marker = tmp_path / "a worker was here"
    params = {"deadly": str(marker)}
    shared = planned(small, tmp_path / "shared", plugin, machines.door, params=params)
    execute(shared, Quiet())
    assert marker.exists(), "no worker killed itself"
    alone = planned(small, tmp_path / "alone", plugin, params=params)
    execute(alone, Quiet())
    assert content(shared.folder) == content(alone.folder)


def test_a_changed_plug_in_is_run_as_it_is_now(machines: Machines, small: Archive, tmp_path: Path, plugin: str) -> None:
    execute(planned(small, tmp_path / "before", plugin, machines.door), Quiet())
    Path(plugin).write_text(PLUGIN.replace("self.params.offset * bright", "3 * bright"))
    shared = planned(small, tmp_path / "shared", plugin, machines.door)
    alone = planned(small, tmp_path / "alone", plugin)
    execute(shared, Quiet())
    execute(alone, Quiet())
    assert content(shared.folder) == content(alone.folder)


def test_a_methods_own_exception_is_its_crash_and_maps_before_it_are_kept(
    machines: Machines, small: Archive, tmp_path: Path, plugin: str
) -> None:
    plan = planned(small, tmp_path, plugin, machines.door, params={"fails": "_p4"})
    with pytest.raises(MethodCrash, match=r"raised Mine: ROIs0000_test_0_p4 displeases") as caught:
        execute(plan, Quiet())
    assert type(caught.value.__cause__).__name__ == "Mine"
    assert len(list((plan.folder / "predictions").iterdir())) == 4


def test_the_command_runs_on_a_cluster_from_relative_paths(
    dfcbench: Shell, machines: Machines, small_root: Path, tmp_path: Path
) -> None:
    (dfcbench.folder / "data").symlink_to(small_root)
    command = ("run", "--track", 1, "--method", "bag", "--data", "data", "--preset", "quick")
    for key, value in BAG.items():
        command += ("-p", f"{key}={value}")
    told = dfcbench(*command, "--scheduler", machines.address, "--submissions", "shared").stderr
    assert f"Dask cluster {machines.address}" in told
    alone = planned(Archive.open(small_root), tmp_path / "alone", "bag", params=BAG, seed=0)
    execute(alone, Quiet())
    assert content(tmp_path / "shared" / alone.folder.relative_to(tmp_path / "alone")) == content(alone.folder)


def test_a_packed_copy_is_the_same_and_its_pixels_do_not_travel(
    machines: Machines, small: Archive, tmp_path: Path
) -> None:
    counted: list[int] = []

    def watched(function: Callable[[Any], Any], items: Any) -> Iterator[Any]:
        for result in machines.door(function, items):
            counted.append(len(pickle.dumps(result)))
            yield result

    watched.workers = WORKERS  # type: ignore[attr-defined]
    patches = small.patches("test")
    patches.packed(tmp_path / "here")
    seen: list[tuple[int, int]] = []
    patches.packed(tmp_path / "there", door=watched, progress=lambda *told: seen.append(told))  # type: ignore[arg-type]
    here, there = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("here", "there"))
    assert here == there
    assert max(counted) < 200 < patches[0].s2.nbytes
    assert seen == [(n, 21) for n in range(1, 22)]


# ---------------------------------------------------------------- what travels


def test_nothing_that_is_hidden_travels(
    machines: Machines, small: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until maps are scored, neither a function nor an item holds a path of high-resolution labels."""
    observer, sent = Quiet(), []

    def watched(thing: Any) -> bytes:
        data = real(thing)
        if observer.stages[-1] != "score":
            sent.append(data)
        return data

    real = cluster_room.dumped
    monkeypatch.setattr(cluster_room, "dumped", watched)
    execute(planned(small, tmp_path / "out", "bag", machines.door, params={**BAG, "sweeps": 2}), observer)
    assert len(sent) > 3 * 7, "two sweeps and a prediction"
    assert not [data for data in sent if b"dfc_" in data.replace(b"dfcbench_", b"") or b"\x8c\x03dfc\x94" in data]
    scored = real(small.labelled("test")[0])
    assert b"\x8c\x03dfc\x94" in scored, "the search would find one"


def test_the_contest_itself_never_travels(machines: Machines, small: Archive) -> None:
    contest = FusionContest(small, 1, "test")
    view = contest.view(Registry().load("bag").method().requires())

    def curious(number: int) -> int:
        return len(view.target) + number

    with pytest.raises(ContractError, match=r"curious: cannot be sent to another machine .*contest stays where it is"):
        list(machines.door(curious, [1]))


def test_what_cannot_be_pickled_is_told_with_its_name(machines: Machines) -> None:
    lock = threading.Lock()

    def locked(number: int) -> int:
        with lock:
            return number

    with pytest.raises(ContractError, match=r"locked: cannot be sent to another machine \(TypeError: .*lock"):
        list(machines.door(locked, [1]))


def test_a_run_context_travels_without_its_reporter_and_works_alone_there(machines: Machines, tmp_path: Path) -> None:
    class Unsendable:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def advance(self, *_: object) -> None: ...

        def metrics(self, *_: object) -> None: ...

    run = RunContext(seed=7, workers=4, scratch=tmp_path, reporter=Unsendable(), door=machines.door)
    copy = pickle.loads(pickle.dumps(run))
    assert (copy.seed, copy.workers, copy.distributed, copy.scratch) == (7, 1, False, tmp_path)
    assert run.distributed

    def nested(number: int) -> float:
        return sum(run.map(abs, range(number), label="within")) + run.generator("key", number).random()

    assert list(run.map(nested, [3])) == [3 + np.random.default_rng([7, *_words("key"), 3]).random()]


def _words(text: str) -> list[int]:
    import zlib

    return [zlib.crc32(text.encode())]


def test_an_error_names_the_file_and_the_worker_that_does_not_see_it(
    machines: Machines, small: Archive, tmp_path: Path
) -> None:
    gone = records.PatchRecord("ROIs0000_test_0_p1", "ROIs0000_test_0", None, {"s1": tmp_path / "gone.tif"})
    with pytest.raises(DataError, match=r"gone\.tif.*\(On worker tcp://"):
        list(machines.door(_read_s1, PatchSet([gone])))


def _read_s1(patch: Any) -> Any:
    return patch.s1


class Unreadable(Exception):
    """It can be pickled, but not read again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def test_an_exception_that_cannot_travel_is_told_in_words_with_its_traceback(machines: Machines) -> None:
    def fail(number: int) -> int:
        raise Unreadable(number, 2)

    with pytest.raises(RuntimeError, match=r"Unreadable: 1 and 2\nOn worker tcp://(.|\n)*in fail\n"):
        list(machines.door(fail, [1]))


def test_a_workers_own_time_out_is_not_taken_for_ours(machines: Machines) -> None:
    def fail(number: int) -> int:
        raise TimeoutError("mine") from OSError("because")

    with pytest.raises(TimeoutError, match="mine") as caught:
        list(machines.door(fail, [1]))
    assert "because" in caught.value.__notes__[0]


@pytest.mark.parametrize("kind", [DataError, HiddenError, ContractError, UsageError])
def test_errors_of_the_harness_keep_their_kind(machines: Machines, kind: type[DfcbenchError]) -> None:
    def refuse(number: int) -> int:
        raise kind(f"number {number}")

    with pytest.raises(kind, match="number 1"):
        list(machines.door(refuse, [1]))


# ---------------------------------------------------------------- clusters that cannot be worked with


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense://", "tcp://"])
def test_a_scheduler_that_does_not_answer_is_named_and_not_waited_for(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed: pip install 'dfcbench[dask]'")
    monkeypatch.setattr(cluster_room, "CONNECTING", 0.5)
    with pytest.raises(UsageError, match=f"--scheduler {address}: no scheduler answers"):
        cluster_room.connected(address, [tmp_path]).__enter__()


def test_a_scheduler_without_workers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'dfcbench[dask]'")
    monkeypatch.setattr(cluster_room, "CONNECTING", 1.0)
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        pytest.raises(UsageError, match="has no workers"),
    ):
        cluster_room.connected(empty.scheduler_address, [tmp_path]).__enter__()


def elsewhere(change: Callable[[dict[str, Any]], None]) -> Callable[..., Any]:
    """``look`` as if other processes than this one had something else."""
    real, me = cluster_room.look, os.getpid()

    def look(packages: list[str], files: list[str]) -> Callable[[], dict[str, Any]]:
        inner = real(packages, files)

        def looked() -> dict[str, Any]:
            found = inner()
            if os.getpid() != me:
                change(found)
            return found

        return looked

    return look


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("numpy", "1.26.4", r"numpy 1\.26\.4 there, \S+ here"),
        ("python", "3.9", r"python 3\.9 there, 3\.\d+ here"),
        ("source of dfcbench", None, r"source of dfcbench missing there, \w+ here"),
        ("source of dfcbench_methods", "abc", r"source of dfcbench_methods abc there, \w+ here"),
    ],
)
def test_a_worker_with_other_versions_is_named_with_what_it_has(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, told: str
) -> None:
    def change(found: dict[str, Any]) -> None:
        found["versions"][name] = value

    monkeypatch.setattr(cluster_room, "look", elsewhere(change))
    with pytest.raises(UsageError, match=rf"worker tcp://[\d.:]+: {told}"):
        cluster_room.connected(machines.address, [tmp_path]).__enter__()


def test_a_worker_that_does_not_see_a_folder_is_named(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(found: dict[str, Any]) -> None:
        found["files"] = dict.fromkeys(found["files"])

    monkeypatch.setattr(cluster_room, "look", elsewhere(change))
    with pytest.raises(DataError, match=r"worker tcp://[\d.:]+: does not see .*same path"):
        cluster_room.connected(machines.address, [tmp_path]).__enter__()
    assert not list(tmp_path.iterdir()), "nothing of the look is left"


class Stub:
    """A client of a cluster that breaks."""

    def __init__(self, workers: dict[str, int], outcome: BaseException) -> None:
        self.workers, self.outcome = workers, outcome

    def nthreads(self) -> dict[str, int]:
        return self.workers

    def submit(self, *_: Any, **__: Any) -> Any:
        def result(timeout: float) -> Any:
            raise self.outcome

        return SimpleNamespace(result=result, cancel=lambda: None, status="pending")


def test_work_without_workers_is_given_up_and_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed: pip install 'dfcbench[dask]'")
    monkeypatch.setattr(cluster_room, "DESERTED", 0.0)
    deserted = cluster_room.Cluster(Stub({}, TimeoutError()), "tcp://far:1", tmp_path)
    with pytest.raises(DataError, match=r"tcp://far:1: no worker has been there.*same command goes on"):
        list(deserted(abs, [1]))


def test_a_task_that_kills_its_workers_and_a_scheduler_that_is_gone_are_told_apart(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'dfcbench[dask]'")
    from concurrent.futures import CancelledError

    from distributed.comm import CommClosedError

    killed = distributed.KilledWorker("task", SimpleNamespace(address="tcp://w:1"), 3)
    gone = "scheduler is gone.*same command goes on"
    for outcome, told in ((killed, "killed for memory"), (CancelledError("x"), gone), (CommClosedError("y"), gone)):
        broken = cluster_room.Cluster(Stub({"w": 1}, outcome), "tcp://far:1", tmp_path)
        with pytest.raises(DataError, match=told):
            list(broken(abs, [1]))
    assert not list(tmp_path.iterdir()), "functions are removed whatever happens"


def test_without_dask_the_option_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'dfcbench\[dask\]'"):
        cluster_room.connected("tcp://127.0.0.1:9", [tmp_path]).__enter__()


def test_a_gpu_and_a_cluster_are_not_asked_for_together() -> None:
    assert device_for("auto", "tcp://127.0.0.1:9") == "cpu"
    with pytest.raises(UsageError, match="--device cuda: with --scheduler"):
        device_for("cuda", "tcp://127.0.0.1:9")


def test_a_sealed_run_on_a_cluster_is_refused(dfcbench: Shell, small_root: Path) -> None:
    command = ("run", "--track", 1, "--method", "bag", "--data", small_root, "--sealed")
    assert "--sealed with --scheduler" in dfcbench(*command, "--scheduler", "tcp://127.0.0.1:9", expect=2).stderr
