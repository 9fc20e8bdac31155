"""What travels to another machine and what happens there: a function in a file, an item on the wire, the result back.

The function is pickled once into a file that all machines see, and each worker reads it once; an item is sent with every
task. Paths travel, absolute; pixels do not. Installed code is imported by the worker; code of plug-in files, which it could
not import, is part of the pickle.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfcbench.errors import ContractError, DfcbenchError, PluginError

FUNCTIONS = 2
"""Functions that a worker keeps: that of the present work, and of the work before, of which a task may still run."""

_loading = threading.Lock()


def dumped(thing: Any) -> bytes:
    """``thing`` pickled for another machine. Raises ContractError if it cannot be."""
    sink = io.BytesIO()
    try:
        _pickler()(sink, protocol=5).dump(thing)
    except DfcbenchError:
        raise
    except Exception as error:  # pickling runs foreign code, which raises what it likes
        name = getattr(thing, "__qualname__", None) or repr(thing)[:80]
        raise ContractError(
            f"{name}: cannot be sent to another machine ({type(error).__name__}: {error}). A function given to run.map may "
            "hold arrays, parameters, patches and models; keep open files, locks and the contest out of it."
        ) from error
    return sink.getvalue()


def send_plugins_by_value() -> None:
    """From now on code of plug-ins' files is part of what is ``dumped``. It takes some ms: once for many items."""
    import cloudpickle

    from dfcbench.registry import plugin_modules

    for module in plugin_modules():
        cloudpickle.register_pickle_by_value(module)


@functools.cache
def _pickler() -> Any:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, Path) and not value.is_absolute():
                return type(value), (os.fspath(value.absolute()),)
            return super().reducer_override(value)

    return Pickler


@dataclass(frozen=True)
class Failure:
    """An exception on its way home, pickled by itself: what it was caused by often cannot be."""

    pickled: bytes

    @property
    def error(self) -> BaseException:
        """The exception, of its own type, with the worker's traceback as a note."""
        error: BaseException = pickle.loads(self.pickled)
        return error


def perform(path: str, item: bytes) -> Any:
    """In a worker: the function kept at ``path``, of the item; a ``Failure`` if it raised.

    Errors of dfcbench tell which worker raised them.
    """
    try:
        with _loading:
            function = _function(path)
        _one_thread()
        return function(pickle.loads(item))
    except (Exception, SystemExit) as raised:
        return _failure(raised)


def _failure(raised: BaseException) -> Failure:
    text = f"On worker {_here()}:\n{''.join(traceback.format_exception(raised))}"
    error = type(raised)(f"{raised} (On worker {_here()}.)") if isinstance(raised, DfcbenchError) else raised
    error.__cause__ = error.__context__ = error.__traceback__ = None
    error.add_note(text)
    try:
        data = dumped(error)
        pickle.loads(data)  # some can be written and not read
    except Exception:
        data = pickle.dumps(RuntimeError(f"{type(raised).__name__}: {raised}\n{text}"))
    return Failure(data)


async def forget() -> None:
    """In a worker: let go of the functions that it keeps. A coroutine, as only these are not waited for."""
    _function.cache_clear()


@functools.lru_cache(maxsize=FUNCTIONS)
def _function(path: str) -> Callable[[Any], Any]:
    try:
        loaded: Callable[[Any], Any] = pickle.loads(Path(path).read_bytes())
    except ImportError as error:
        raise PluginError(f"the method's code cannot be loaded: {error}. Install the same packages there.") from error
    return loaded


def _one_thread() -> None:
    """Linear algebra as in a local run, for this process and for good: one task must not undo it under another."""
    pools = _pools(len(sys.modules))
    pools.limit(limits=1)
    for library in pools.lib_controllers:  # else no other thread of this worker could limit libraries loaded later
        getattr(library, "clear_controlling_thread", lambda: None)()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@functools.lru_cache(maxsize=1)
def _pools(modules: int) -> Any:
    """The libraries' thread pools; looked for again once more modules are loaded, since that takes 3 ms."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _here() -> str:
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:  # no worker: a test that calls it in its own process
        return "here"


def look(packages: list[str], files: list[str]) -> Callable[[], dict[str, Any]]:
    """A function that tells what a process has: versions by name, and sizes of files (None: not there).

    It is made so that it runs where dfcbench is not installed: it refers to nothing of this module.
    """

    def looked() -> dict[str, Any]:
        import hashlib
        import importlib.util
        import platform
        from importlib import metadata
        from pathlib import Path

        found: dict[str, Any] = {"python": ".".join(platform.python_version_tuple()[:2])}
        for name in packages:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = None
        for name in ("dfcbench", "dfcbench_methods"):
            spec = importlib.util.find_spec(name)
            digest = hashlib.blake2b(digest_size=6)
            for folder in (spec.submodule_search_locations or []) if spec else []:
                for path in sorted(Path(folder).rglob("*.py")):
                    digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
            found[f"source of {name}"] = digest.hexdigest() if spec else None
        sizes: dict[str, int | None] = {}
        for file in files:
            try:
                sizes[file] = Path(file).stat().st_size
            except OSError:
                sizes[file] = None
        return {"versions": found, "files": sizes}

    return looked
