"""The first thing that runs in a method's process: it reads its orders, seals itself, and only then imports anything else.

It is started as a script, isolated from the environment, with two numbers of open sockets as arguments; its orders come
as JSON on the standard input. Nothing but the standard library is imported before the seal.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_PR_SET_PDEATHSIG = 1
_WATCH_SECONDS = 1.0
"""Between two looks at whether the harness is alive, where the kernel does not tell."""
_PACKAGE_FILE = "__init__.py"


class Modules:
    """Finds modules at given files, so that the folders around them need not be searched, nor be readable."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = dict(files)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module at its file; None for what is not known here."""
        file = self._files.get(name)
        if file is None:
            return None
        folder = [os.path.dirname(file)] if os.path.basename(file) == _PACKAGE_FILE else None  # noqa: PTH119, PTH120
        return importlib.util.spec_from_file_location(name, file, submodule_search_locations=folder)

    def install(self) -> None:
        """Ask here before the module search path is looked through."""
        finders: list[Any] = sys.meta_path
        place = finders.index(PathFinder) if PathFinder in finders else len(finders)
        finders.insert(place, self)

    def remove(self) -> None:
        """Ask here no more."""
        finders: list[Any] = sys.meta_path
        finders.remove(self)


def enter() -> None:
    """Seal this process as ordered and hand over to ``worker``."""
    commands, service = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    orders = json.load(sys.stdin)
    _end_with(int(orders["parent"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash is not to leave what was in memory on a disk
    sys.path[:] = orders["path"]
    Modules(orders["modules"]).install()
    from dfcbench.sealing import landlock, seccomp

    sealed = {"landlock": 0, "filter": False}
    if seccomp.available():
        seccomp.drop_privileges()
    if orders["kernel"]:
        landlock.restrict([(path, word) for path, word in orders["rules"]])
        sealed["landlock"] = landlock.abi()
    if seccomp.available():
        seccomp.restrict(truncate=landlock.abi() < landlock.SINCE_TRUNCATE)
        sealed["filter"] = True

    from dfcbench.sealing.worker import work

    work(commands, service, orders, sealed)


def _end_with(parent: int) -> None:
    """See to it that this process ends when the harness does, however that comes about."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, *map(ctypes.c_ulong, (signal.SIGKILL, 0, 0, 0)))
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    enter()
