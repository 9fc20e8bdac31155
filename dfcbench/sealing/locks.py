"""Locks of ``multiprocessing`` for threads alone, where there is no shared memory to keep semaphores in.

A sealed process has no ``/dev/shm``: what it could leave there, another run could read. Thread pools (``joblib``'s too)
take such a lock for each queue, though all of their workers are threads of one process. They get these; another process
that tries to use one is told that there are none.
"""

from __future__ import annotations

import _multiprocessing
import os
import threading
from typing import Any, NoReturn

_RECURSIVE = 0
"""``multiprocessing.synchronize.RECURSIVE_MUTEX``: a lock that its thread may take again."""


_REFUSAL = "there are no locks between processes in a sealed run; use threads, as run.map does."


class _Handle:
    """What would be sent to another process."""

    def __reduce__(self) -> NoReturn:
        raise PermissionError(_REFUSAL)


class ThreadLock:
    """Takes the place of ``_multiprocessing.SemLock``: a semaphore, or a recursive lock, of this process's threads."""

    SEM_VALUE_MAX = _multiprocessing.SemLock.SEM_VALUE_MAX
    name = None  # nothing of it lies anywhere

    def __init__(self, kind: int, value: int, maxvalue: int, name: str, unlink: bool) -> None:
        self.kind = kind
        self.maxvalue = maxvalue
        self._value = value
        self._held = 0
        self._owner: int | None = None
        self._free = threading.Condition(threading.Lock())
        self._process = os.getpid()
        self.handle = _Handle()

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Take it, waiting ``timeout`` seconds at most; whether it was taken."""
        if os.getpid() != self._process:
            raise PermissionError(_REFUSAL)
        with self._free:
            if self.kind == _RECURSIVE and self._is_mine():
                self._held += 1
                return True
            patience = (None if timeout is None else max(timeout, 0.0)) if block else 0.0
            if not self._free.wait_for(lambda: self._value > 0, patience):
                return False
            self._value -= 1
            self._held += 1
            self._owner = threading.get_ident()
            return True

    def release(self) -> None:
        """Give it back. Raises AssertionError for another thread's recursive lock, ValueError for one too many."""
        with self._free:
            if self.kind == _RECURSIVE:
                if not self._is_mine():
                    raise AssertionError("attempt to release recursive lock not owned by thread")
                if self._held > 1:
                    self._held -= 1
                    return
            elif self._value >= self.maxvalue:
                raise ValueError("semaphore or lock released too many times")
            self._held -= 1
            self._value += 1
            self._free.notify()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _count(self) -> int:
        return self._held

    def _is_mine(self) -> bool:
        return self._held > 0 and self._owner == threading.get_ident()

    def _get_value(self) -> int:
        return self._value

    def _is_zero(self) -> bool:
        return self._value == 0

    def _after_fork(self) -> None:
        pass


def install() -> None:
    """Let ``multiprocessing`` make such locks from now on."""
    module: Any = _multiprocessing
    module.SemLock = ThreadLock
