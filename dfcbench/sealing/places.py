"""What a method's process may read and write, and how it finds modules without searching folders that it may not read."""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import dfcbench
from dfcbench.archive import Archive, place_of
from dfcbench.errors import UsageError
from dfcbench.files import cache_directory
from dfcbench.records import LABEL_TOKEN
from dfcbench.registry import Entry

_SYSTEM = (
    *("/lib", "/lib32", "/lib64", "/bin", "/sbin", "/System", "/nix/store"),
    *("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/bin", "/usr/sbin", "/usr/share"),
    *("/usr/local/lib", "/usr/local/lib64", "/usr/local/bin", "/usr/local/share", "/usr/local/cuda"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/fonts", "/etc/mime.types"),
    *("/etc/localtime", "/etc/timezone", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/proc/sys/kernel/osrelease"),
    *("/sys/devices/system", "/sys/kernel/mm", "/sys/fs/cgroup"),
    *("/dev/random", "/dev/urandom"),
)
"""Libraries, and what they read about the machine: processors, memory, the time zone, users' names."""
_SHARED_PREFIXES = ("/usr", "/usr/local")
"""Where a system's own Python lives among other things; its libraries are granted one by one."""
_SINKS = ("/dev/null", "/dev/zero", "/dev/full")
_CODE = (".py", *EXTENSION_SUFFIXES)
_SHARED_MEMORY = "/dev/shm"
_CUDA_READ = ("/sys", "/proc/driver", "/proc/devices", "/proc/modules")
_CUDA_DEVICES = ("nvidia*", "nvidia-caps/*", "dri/*")

_KEPT = (
    *("PATH", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "MALLOC_CONF"),
    *("LC_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "NUMBA_", "TORCH_", "ATEN_"),
    *("PYTORCH_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "SKLEARN", "TBB_", "DAAL", "GDAL_"),
)
"""Environment variables, or beginnings of their names, on which results or speed may depend. No other is passed on."""


@dataclass(frozen=True)
class Places:
    """The rules of one process. rules: pairs of a path and a word of ``landlock.RIGHTS``. path: of modules. modules,
    beside: files of modules outside of it; those beside the plug-in are found while it is loaded."""

    rules: list[tuple[str, str]]
    path: list[str]
    modules: dict[str, str] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)


def hidden_places(archive: Archive, submissions: Path) -> list[Path]:
    """Folders with high-resolution labels, or with what was learned from them, as they really lie on the disk."""
    labels = [
        record.files[LABEL_TOKEN]
        for records in archive.splits.values()
        for record in records
        if LABEL_TOKEN in record.files
    ]
    folders = {path.parent for path in labels} | {path.resolve().parent for path in labels if path.is_symlink()}
    return sorted({folder.resolve() for folder in (*folders, submissions, cache_directory())})


def named_files(given: Mapping[str, Any]) -> dict[str, Path]:
    """Files that parameters name, by what is written there. Raises UsageError for one that holds labels."""
    found = {}
    for value in _texts(given.values()):
        try:
            path = Path(value).expanduser()
            if not path.is_file():
                continue
        except (OSError, ValueError):
            continue
        place = place_of(path.resolve().name)
        if place is not None and place.token == LABEL_TOKEN:
            raise UsageError(f"--sealed: {path} holds high-resolution labels, which no sealed method may read.")
        if not path.is_absolute() and ".." in path.parts:
            raise UsageError(
                f"--sealed: give {value} as an absolute path; a sealed method works in a folder of its own."
            )
        found[value] = path.absolute()
    return found


def link_files(files: Mapping[str, Path], home: Path) -> None:
    """Let the relative paths of files be found from ``home``, too."""
    for name, path in files.items():
        link = home / name.removeprefix("~/")
        if not Path(name).is_absolute() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)


def places(
    entry: Entry, hidden: Sequence[Path], files: Iterable[Path], writable: Iterable[Path], device: str = "cpu"
) -> Places:
    """What the process of a method may reach: Python, its own source, ``files``, and, to write in, ``writable``.

    Raises UsageError if a hidden folder lies within what Python itself needs to read.
    """
    granted = _Granted(hidden)
    roots = _python()
    for root in (*roots, *map(Path, _SYSTEM)):
        granted.need(root)
    path: list[str] = []
    modules: dict[str, str] = {}
    for text in sys.path:
        folder = Path(text or os.curdir).absolute()
        real = folder.resolve()
        packages = folder.name in ("site-packages", "dist-packages")
        if any(real.is_relative_to(root.resolve()) for root in roots) or (packages and granted.may(folder)):
            path.append(str(folder))
        elif folder.is_dir():
            for name, file in _modules_in(folder):
                if name not in modules and granted.may(_home(file)):
                    modules[name] = str(file)
    for finder in sys.meta_path:  # setuptools' finders of packages in development; the process has them, too
        mapping = getattr(sys.modules.get(getattr(finder, "__module__", "")), "MAPPING", None)
        for place in mapping.values() if isinstance(mapping, dict) else ():
            granted.may(Path(place))
    for name, file in _own(entry):
        granted.need(_home(file))
        modules[name] = str(file)
    beside = {}
    if entry.module is None and entry.file is not None:
        granted.need(entry.file)
        beside = {name: str(file) for name, file in _modules_in(entry.file.parent) if granted.may(_home(file))}
    for listed in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        if Path(listed).is_absolute():
            granted.may(Path(listed))
    rules = [(str(place), "read") for place in (*granted.places, *files)]
    rules += [(str(place), "write") for place in writable]
    rules += [(place, "device") for place in _SINKS]
    rules.append((_SHARED_MEMORY, "shared memory"))
    if device.startswith("cuda"):
        rules += [(place, "read") for place in _CUDA_READ]
        rules += [(str(place), "device") for pattern in _CUDA_DEVICES for place in Path("/dev").glob(pattern)]
    return Places(rules, path, modules, beside)


def environment(home: Path) -> dict[str, str]:
    """The environment of the process: what results depend on, and ``home`` for everything that is temporary."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
    own = ("HOME", "TMPDIR", "TEMP", "TMP", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "DFCBENCH_CACHE")
    return {**kept, **dict.fromkeys(own, str(home)), "NUMBA_CACHE_DIR": str(compiled_in(home))}


def compiled_in(home: Path) -> Path:
    """Where the process keeps machine code that it compiles."""
    return home / "numba"


def packages(entry: Entry) -> list[Path]:
    """Folder of the package that an installed method is in; none of a plug-in's file."""
    return [] if entry.module is None else [_home(file) for name, file in _own(entry) if name != "dfcbench"]


class _Granted:
    """Collects readable places, and lets none through that would show a hidden one."""

    def __init__(self, hidden: Sequence[Path]) -> None:
        self._hidden = [Path(place).resolve() for place in hidden]
        self.places: dict[Path, None] = {}

    def _shows(self, place: Path) -> Path | None:
        """What is hidden and would be shown with this place; a file must be code, as it may be a link to a label."""
        real = place.resolve()
        if real.is_file() and not real.name.endswith(_CODE) and place.suffix in _CODE:
            return real
        return next((hidden for hidden in self._hidden if hidden.is_relative_to(real)), None)

    def need(self, place: Path) -> None:
        """Grant it. Raises UsageError if something hidden lies in it."""
        if (shown := self._shows(place)) is not None:
            raise UsageError(
                f"--sealed: {shown} is to be hidden, and {place}, which the method needs, lies with it. Move one of them "
                "(--data, --submissions, DFCBENCH_CACHE, or the method's file)."
            )
        self.places[place] = None

    def may(self, place: Path) -> bool:
        """Grant it unless something hidden lies in it; whether it was."""
        if self._shows(place) is not None:
            return False
        self.places[place] = None
        return True


def _python() -> list[Path]:
    """Folders of this Python: its own and its virtual environment's."""
    paths = sysconfig.get_paths()
    folders = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix} - set(_SHARED_PREFIXES)
    folders |= {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {str(Path(sys.executable).resolve().parent), *site.getsitepackages()}
    return [Path(folder) for folder in sorted(folders)]


def _own(entry: Entry) -> Iterator[tuple[str, Path]]:
    """The harness's package and, of an installed method, the package that it is in."""
    yield "dfcbench", Path(dfcbench.__file__)
    if entry.module is not None:
        top = entry.module.partition(".")[0]
        spec = importlib.util.find_spec(top)
        if spec is not None and spec.origin:
            yield top, Path(spec.origin)


def _modules_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and files of the modules and packages in a folder of the module search path."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for path in entries:
        if path.is_dir() and path.name.isidentifier() and (path / "__init__.py").is_file():
            yield path.name, path / "__init__.py"
        elif path.suffix == ".py" and path.stem.isidentifier() and path.is_file():
            yield path.stem, path
        elif suffix := next((s for s in EXTENSION_SUFFIXES if path.name.endswith(s)), None):
            yield path.name.removesuffix(suffix), path


def _home(file: Path) -> Path:
    """What must be readable for a module: its package's folder, or the file alone."""
    return file.parent if file.name == "__init__.py" else file


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str) and value:
            yield value
        elif isinstance(value, list):
            yield from _texts(value)
        elif isinstance(value, dict):
            yield from _texts(value.values())
