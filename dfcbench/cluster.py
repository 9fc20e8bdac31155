"""Per-patch work on a Dask cluster: the same function over the same items, in the same order, with the same results.

The only room where distributed is imported. Dask does what is hard: it keeps workers busy, notices those that die, and gives
their tasks to others. Here is only what makes it a ``Door``: results in order, few of them waiting, nothing large on the
wire, and a cluster that is looked at before work begins.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from dfcbench.cluster_task import Failure, dumped, forget, look, perform, send_plugins_by_value
from dfcbench.errors import DataError, UsageError
from dfcbench.files import TEMPORARY, cache_directory, writable_folder, write_bytes
from dfcbench.machine import software
from dfcbench.threads import WAITING, windowed

Item = TypeVar("Item")
Result = TypeVar("Result")

CONNECTING = 10.0
"""Seconds that a scheduler has to answer, and workers to be there."""
LOOKING = 60.0
"""Seconds that all workers together have to tell what they have; the slowest import something first."""
PATIENCE = 2.0
"""Seconds between two looks whether anybody is still at work."""
DESERTED = 60.0
"""Seconds without a single worker after which the work is given up: a supervisor restarts one sooner."""
STALE = 7 * 24 * 3600.0
"""Seconds after which functions that a killed run left behind are removed."""


class Cluster:
    """A ``Door`` to the workers of a scheduler. Made by ``connected``."""

    def __init__(self, client: Any, address: str, folder: Path) -> None:
        self.address = address
        self.workers = max(1, sum(client.nthreads().values()))
        self._client = client
        self._folder = folder

    def __str__(self) -> str:
        processes = len(self._client.nthreads())
        return f"Dask cluster {self.address}, {processes} worker process(es), {self.workers} thread(s)"

    def __call__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
        """As ``threads.in_order``. A task whose worker dies is done by another one.

        Raises DataError if scheduler or workers are gone, or if one task after the other kills its worker.
        """
        path = self._folder / f"{uuid.uuid4().hex}.pkl"
        send_plugins_by_value()
        write_bytes(path, dumped(function))

        def submit(item: Item) -> _Promise[Result]:
            with self.told():
                return _Promise(self, self._client.submit(perform, str(path), dumped(item), pure=False))

        try:
            yield from windowed(submit, items, WAITING * self.workers)
        finally:
            path.unlink(missing_ok=True)

    def populated(self, before: float) -> float:
        """When a worker was last seen (monotonic): now, or ``before``. Raises DataError if that is too long ago."""
        with self.told():
            if self._client.nthreads():
                return time.monotonic()
        if time.monotonic() - before > DESERTED:
            raise DataError(
                f"--scheduler {self.address}: no worker has been there for {DESERTED:.0f} s. Start workers; the same "
                "command goes on."
            )
        return before

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors of the connection in words."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed.client import ClosedClientError
        from distributed.comm import CommClosedError

        try:
            yield
        except KilledWorker as error:
            raise DataError(
                f"--scheduler {self.address}: a task was lost with worker after worker ({error}). Most often workers are "
                "killed for memory: give them more (--memory-limit), or fewer threads each. The same command goes on."
            ) from error
        except (CancelledError, ClosedClientError, CommClosedError) as error:
            raise DataError(
                f"--scheduler {self.address}: the scheduler is gone, or has dropped the work ({error}). Start it again; the "
                "same command goes on."
            ) from error


class _Promise(Generic[Result]):
    """A task's result, waited for as long as anybody works."""

    def __init__(self, cluster: Cluster, future: Any) -> None:
        self._cluster = cluster
        self._future = future

    def result(self) -> Result:
        from distributed import TimeoutError as Waited

        seen = time.monotonic()
        while True:
            try:
                with self._cluster.told():
                    result: Result | Failure = self._future.result(timeout=PATIENCE)
            except Waited:
                seen = self._cluster.populated(seen)
                continue
            if isinstance(result, Failure):
                raise result.error
            return result

    def cancel(self) -> None:
        with contextlib.suppress(Exception):  # of a connection that is gone
            self._future.cancel()


@contextmanager
def connected(address: str, folders: Sequence[Path], files: Sequence[Path] = ()) -> Iterator[Cluster]:
    """A cluster whose workers have this process's versions and see these folders (written to) and files (read).

    Raises UsageError if distributed is not installed here, no scheduler answers, it has no worker, or a worker has other
    versions; DataError if a worker does not see a folder or file. Each names the worker and what it lacks.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            f"--scheduler {address}: Dask is not installed here ({error}). pip install 'dfcbench[dask]'."
        ) from error
    try:
        client = Client(address, timeout=CONNECTING, set_as_default=False, name="dfcbench")
    except (OSError, ValueError, TimeoutError) as error:
        raise UsageError(
            f"--scheduler {address}: no scheduler answers there ({type(error).__name__}: {error}). Start one with `dask "
            "scheduler`, workers with `dask worker ADDRESS`, and give the address that it prints."
        ) from error
    with contextlib.closing(client), _shared_folder() as folder:
        _wait_for_workers(client, address)
        _compare(client, address, [folder, *folders], files)
        try:
            yield Cluster(client, address, folder)
        finally:
            with contextlib.suppress(Exception):  # workers that are gone have forgotten anyway
                client.run(forget, wait=False)


@contextmanager
def _shared_folder() -> Iterator[Path]:
    """A folder for functions within the cache, which all machines see."""
    home = writable_folder(cache_directory() / "cluster")
    for left in home.glob(TEMPORARY):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY.rstrip("*"), dir=home))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=CONNECTING)
    except TimeoutError as error:
        raise UsageError(
            f"--scheduler {address}: has no workers. Start some with `dask worker {address}`, and try again."
        ) from error


def _compare(client: Any, address: str, folders: Sequence[Path], files: Sequence[Path]) -> None:
    packages = [name for name in software() if name not in ("python", "dfcbench")]
    with contextlib.ExitStack() as stack:
        tokens = []
        for folder in folders:
            token = stack.enter_context(tempfile.NamedTemporaryFile(prefix=TEMPORARY.rstrip("*"), dir=folder))
            token.write(b"seen by all workers?")
            token.flush()
            tokens.append(Path(token.name).absolute())
        looked = look(packages, [str(path) for path in (*tokens, *(path.absolute() for path in files))])
        here = looked()
        there = client.run(looked, on_error="return")
    for worker, found in sorted(there.items()):
        where = f"--scheduler {address}: worker {worker}"
        if isinstance(found, BaseException):
            raise UsageError(f"{where}: cannot be asked what it has ({type(found).__name__}: {found}).")
        differ = [
            f"{name} {found['versions'][name] or 'missing'} there, {version or 'missing'} here"
            for name, version in here["versions"].items()
            if found["versions"][name] != version
        ]
        if differ:
            raise UsageError(
                f"{where}: {'; '.join(differ)}. Results could differ; install the same versions on all machines."
            )
        unseen = [path for path, size in here["files"].items() if found["files"][path] != size]
        if unseen:
            place = Path(unseen[0])
            place = place.parent if place in tokens else place
            raise DataError(
                f"{where}: does not see {place} as it is here. Data, submissions and the cache (DFCBENCH_CACHE) must lie on "
                "a file system that all machines share, under the same path."
            )
