"""Work in the background, in order, waited for only so long."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Worker:
    """One daemon thread that does jobs in their order; after ``seconds`` without one it calls ``idle``."""

    def __init__(self, idle: Callable[[], None], seconds: float) -> None:
        self._idle = idle
        self._seconds = seconds
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def do(self, work: Callable[[], None], seconds: float) -> None:
        """Do ``work`` in the thread; raise what it raises, or TimeoutError once it takes longer than that."""
        done = threading.Event()
        errors: list[BaseException] = []

        def job() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)
            finally:
                done.set()

        self._put(job)
        if not done.wait(seconds):
            raise TimeoutError(f"no answer within {seconds:.0f} s")
        if errors:
            raise errors[0]

    def post(self, work: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        """Do ``work`` in the thread without waiting; what it raises goes to ``failed``."""

        def job() -> None:
            try:
                work()
            except BaseException as error:
                failed(error)

        self._put(job)

    def wake(self) -> None:
        """Call ``idle`` as soon as the jobs before it are done."""
        self._put(self._idle)

    def stop(self) -> None:
        """End the thread after the jobs that wait."""
        self._jobs.put(None)

    def _put(self, job: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="dfcbench-background", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _loop(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._seconds)
            except queue.Empty:
                job = self._idle
            if job is None:
                return
            job()
