"""What a method shares with the whole process: the terminal, the file system, random generators, settings."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_SHOWN = 200
"""Characters of what was printed that a message shows."""


@dataclass
class Heard:
    """What left the method by ways other than its results."""

    printed: str = ""
    warned: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    """Paths that it opened for writing, made, moved or removed."""


@contextmanager
def output(watch: Heard) -> Iterator[None]:
    """What is printed goes to the watch: through ``sys.stdout`` and ``sys.stderr``, or past them to the descriptors.

    Warnings are kept apart.
    """
    with tempfile.TemporaryFile() as sink:
        stream = open(os.dup(sink.fileno()), "w", encoding="utf-8", errors="replace", buffering=1)  # noqa: SIM115, PTH123
        streams = sys.stdout, sys.stderr
        for former in streams:
            former.flush()
        descriptors = [os.dup(number) for number in (1, 2)]
        shown = warnings.showwarning

        def note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            watch.warned.append(f"{category.__name__}: {message}")

        try:
            for number in (1, 2):
                os.dup2(sink.fileno(), number)
            sys.stdout = sys.stderr = stream
            warnings.showwarning = note
            yield
        finally:
            warnings.showwarning = shown
            sys.stdout, sys.stderr = streams
            stream.close()
            for number, saved in zip((1, 2), descriptors, strict=True):
                os.dup2(saved, number)
                os.close(saved)
            sink.seek(0)
            watch.printed = sink.read().decode("utf-8", "replace").strip()[:_SHOWN]


_sink: list[str] | None = None
_hooked = False

_CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((0, None), (1, 2)),
    "os.truncate": ((0, None),),
    "sqlite3.connect": ((0, None),),
}
"""Audit events that change the file system: which arguments are paths, and descriptors of the folders they begin at."""
_FOLDERS_OF_DESCRIPTORS = Path("/proc/self/fd")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    sink = _sink
    if sink is None:
        return
    if event == "open":
        path, mode, flags = arguments
        writing = set(mode) & set("wax+") if isinstance(mode, str) else isinstance(flags, int) and flags & _WRITING
        places = [(path, None)] if writing else []
    else:
        places = [
            (arguments[path], None if folder is None else arguments[folder]) for path, folder in _CHANGES.get(event, ())
        ]
    sink.extend(_whole(path, folder) for path, folder in places if isinstance(path, str | bytes | os.PathLike))


def _whole(path: str | bytes | os.PathLike[Any], folder: int | None) -> str:
    """The path from where it begins: a folder that is open, as in ``shutil.rmtree``, or the current one."""
    name = os.fsdecode(path)
    if folder is None or folder < 0 or not _FOLDERS_OF_DESCRIPTORS.is_dir():
        return name
    return str((_FOLDERS_OF_DESCRIPTORS / str(folder)).readlink() / name)


@contextmanager
def writes(watch: Heard) -> Iterator[None]:
    """Paths that Python code changes; libraries that write past Python are seen by what they leave, see ``listing``."""
    global _sink, _hooked
    if not _hooked:  # a hook stays for the life of the process
        sys.addaudithook(_hook)
        _hooked = True
    _sink, former = watch.written, _sink
    try:
        yield
    finally:
        _sink = former


_CACHES = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
_TORCH_CACHE = "torchinductor_*"
"""Folder in the temporary one that torch makes for itself when parts of it are imported; with the user's name."""


def strangers(paths: list[str], allowed: list[Path]) -> list[str]:
    """Those of the paths that lie outside the allowed folders, and are no cache of Python or a library."""
    home, temporary = Path.home(), Path(tempfile.gettempdir())
    caches = [
        home / ".cache",
        home / ".config" / "matplotlib",
        Path("/dev"),
        Path("/proc"),
        *temporary.glob(_TORCH_CACHE),
    ]
    caches += [Path(os.environ[name]) for name in _CACHES if name in os.environ]
    places = [place.resolve() for place in (*allowed, *caches)]
    found = []
    for path in dict.fromkeys(paths):
        full = Path(path).resolve()
        if "__pycache__" in full.parts or any(full == place or place in full.parents for place in places):
            continue
        found.append(str(full))
    return found


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and modification time of every file below a folder, by relative path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def random_state() -> dict[str, Any]:
    """State of the process's own random generators; torch's only if torch is there already."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002  it is this one that is watched
    state: dict[str, Any] = {
        "random": random.getstate(),
        "numpy.random": (name, np.asarray(keys).tobytes(), *rest),
    }
    if (torch := sys.modules.get("torch")) is not None:
        state["torch"] = torch.random.get_rng_state().numpy().tobytes()
    return state


def process_state() -> dict[str, Any]:
    """The rest that code in one process shares: folder, environment, numpy's and torch's settings."""
    state: dict[str, Any] = {
        "current folder": str(Path.cwd()),
        "environment": dict(os.environ),
        "numpy.seterr": np.geterr(),
    }
    if (torch := sys.modules.get("torch")) is not None:
        state["torch's threads"] = torch.get_num_threads()
        state["torch's default dtype"] = torch.get_default_dtype()
        state["torch's determinism"] = torch.are_deterministic_algorithms_enabled()
    return state


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Names of the states that were there before and are others now."""
    return [name for name, value in before.items() if after[name] != value]


@contextmanager
def other_seeds(seed: int) -> Iterator[None]:
    """Inside, the process's random generators stand elsewhere; afterwards where they stood."""
    before_random, before_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = sys.modules.get("torch")
    before_torch = None if torch is None else torch.random.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    if torch is not None:
        torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before_random)
        np.random.set_state(before_numpy)  # noqa: NPY002
        if torch is not None:
            torch.random.set_rng_state(before_torch)
