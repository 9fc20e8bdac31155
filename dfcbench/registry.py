"""Finds methods: entry points of installed distributions, files in a folder, or one file.

Listing reads source files and imports none of them, so a broken plug-in is seen with its reason and hides nothing else.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType

from dfcbench.errors import DfcbenchError, PluginError, UsageError
from dfcbench.method import Method, Needs, Params
from dfcbench.plugin_source import Sketch, locate_module, sketch_class, sketch_methods

GROUP = "dfcbench.methods"
_PLUGIN = "dfcbench_plugin_"
"""How the names of modules begin that came from a plug-in's file."""


@dataclass(frozen=True)
class Entry:
    """A method on offer. ``problem`` says why it cannot be used, as far as its source tells without importing."""

    name: str
    origin: str
    module: str | None
    file: Path | None
    class_name: str
    sketch: Sketch
    problem: str | None = None


@dataclass(frozen=True)
class Loaded:
    """A method's class, ready to be constructed. ``digest`` is the hash of a plug-in's files, None if it is installed."""

    method: type[Method]
    origin: str
    digest: str | None


class Registry:
    """All methods on offer: those of installed distributions, and those of the ``folders``.

    Raises UsageError if a folder does not exist.
    """

    def __init__(self, folders: tuple[Path, ...] = ()) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(f"{folder}: no such folder of methods. Check --methods-dir and DFCBENCH_METHODS.")
        found = [*_from_entry_points(), *(entry for folder in folders for entry in _from_folder(folder))]
        self.entries: tuple[Entry, ...] = tuple(sorted(found, key=lambda e: (e.name, e.origin)))

    def named(self, name: str) -> Entry:
        """The entry of that name. Raises PluginError: unknown (with near names), offered twice (with both origins)."""
        matches = [entry for entry in self.entries if entry.name == name]
        if not matches:
            names = sorted({entry.name for entry in self.entries})
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(names) or 'none'}."
            raise PluginError(f"No method is called {name!r}. {hint} `dfcbench methods` lists them all.")
        if len(matches) > 1:
            origins = " and by ".join(entry.origin for entry in matches)
            raise PluginError(
                f"Two methods are called {name!r}: offered by {origins}. Uninstall or rename one, "
                "or give the file that you mean as --method path.py:Class."
            )
        return matches[0]

    def load(self, reference: str) -> Loaded:
        """Import the method called ``reference``, or the class of a file given as ``path.py:Class`` or ``path.py``.

        Raises PluginError with the reason if it cannot be found, imported, or is not a method.
        """
        return load_entry(self.find(reference))

    def rest(self) -> None:
        """Planning is over: let go of what it took."""

    def find(self, reference: str) -> Entry:
        """The method called ``reference``, or the class of a file, without importing it. PluginError if it is not there."""
        path, _, class_name = reference.partition(".py:") if ".py:" in reference else (reference, "", "")
        if class_name or reference.endswith(".py"):
            return _from_file(Path(f"{path}.py" if class_name else path), class_name or None)
        return self.named(reference)


def _from_entry_points() -> Iterator[Entry]:
    seen: set[tuple[str, str, str]] = set()
    for point in metadata.entry_points(group=GROUP):
        distribution = point.dist
        origin = f"{distribution.name} {distribution.version}" if distribution else "an unnamed distribution"
        if (point.name, point.value, origin) in seen:  # one distribution on the path twice
            continue
        seen.add((point.name, point.value, origin))
        module, _, class_name = point.value.partition(":")
        sketch, problem = Sketch(), None
        try:
            file = locate_module(module)
            sketch = sketch_class(file, class_name)
        except PluginError as error:
            file, problem = None, str(error)
        yield Entry(point.name, origin, module, file, class_name, sketch, problem or sketch.problem)


def _from_folder(folder: Path) -> Iterator[Entry]:
    for file in sorted(folder.glob("*.py")):
        if file.name.startswith("_"):
            continue
        try:
            sketches = sketch_methods(file)
        except PluginError as error:
            yield Entry(file.stem, str(file), None, file, "", Sketch(), str(error))
            continue
        for class_name, sketch in sketches.items():
            name = sketch.name or class_name
            yield Entry(name, f"{file}:{class_name}", None, file, class_name, sketch, sketch.problem)


def _from_file(file: Path, class_name: str | None) -> Entry:
    file = file.expanduser().absolute()
    if not file.is_file():
        raise PluginError(f"{file}: no such file. Give --method a name, or a file as path.py:Class.")
    sketches = sketch_methods(file)
    if class_name is None:
        if len(sketches) != 1:
            found = ", ".join(sketches) or "none"
            raise PluginError(f"{file}: holds {len(sketches)} methods ({found}). Name one, as {file.name}:Class.")
        class_name = next(iter(sketches))
    sketch = sketches.get(class_name) or sketch_class(file, class_name)
    return Entry(sketch.name or class_name, f"{file}:{class_name}", None, file, class_name, sketch)


def load_entry(entry: Entry) -> Loaded:
    """Import what the entry names. Raises PluginError with the reason if that fails, or it is not a method."""
    digest = None
    try:
        if entry.module is not None:
            module = importlib.import_module(entry.module)
        else:
            assert entry.file is not None
            module = _import_file(entry.file)
            digest = source_digest(entry.file, beside(entry.file))
    except (KeyboardInterrupt, DfcbenchError):
        raise
    except BaseException as error:  # a plug-in may raise anything, SystemExit too
        raise PluginError(f"{entry.name} ({entry.origin}) cannot be imported: {_reason(error)}") from error
    cls = getattr(module, entry.class_name, None)
    if cls is None:
        raise PluginError(f"{entry.name} ({entry.origin}): {module.__name__} has no class {entry.class_name!r}.")
    _check_class(cls, entry)
    return Loaded(cls, entry.origin, digest)


def _import_file(file: Path) -> ModuleType:
    """Import a plug-in file under a name of its own; its folder is importable while it loads, for files beside it."""
    name = f"{_PLUGIN}{hashlib.blake2b(str(file).encode(), digest_size=6).hexdigest()}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError(f"{file}: not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    finally:
        sys.path.remove(str(file.parent))
    return module


def beside(file: Path) -> list[Path]:
    """Modules in the folder of a plug-in file that are imported, in alphabetical order."""
    return sorted(path for path in _loaded() if path.parent == file.parent and path != file)


def source_digest(file: Path, others: Sequence[Path]) -> str:
    """Hash of a plug-in file and of the modules beside it that it imported: another text is another method."""
    digest = hashlib.blake2b(file.read_bytes(), digest_size=8)
    for path in others:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _loaded() -> dict[Path, ModuleType]:
    """Modules that have been imported, by their source file."""
    files = ((getattr(module, "__file__", None), module) for module in list(sys.modules.values()))
    return {Path(file): module for file, module in files if file and file.endswith(".py")}


def plugin_modules() -> list[ModuleType]:
    """Modules that came from plug-ins' files, and those beside them: another process cannot import them by name."""
    loaded = _loaded()
    folders = {file.parent for file, module in loaded.items() if module.__name__.startswith(_PLUGIN)}
    installed = ("dfcbench", "dfcbench_methods")
    return [
        module
        for file, module in loaded.items()
        if file.parent in folders and module.__name__.partition(".")[0] not in installed
    ]


def _check_class(cls: object, entry: Entry) -> None:
    where = f"{entry.name} ({entry.origin})"
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise PluginError(f"{where}: {entry.class_name} is not a subclass of dfcbench.method.Method.")
    if missing := sorted(getattr(cls, "__abstractmethods__", ())):
        raise PluginError(f"{where}: {entry.class_name} does not define {' and '.join(missing)}.")
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
        raise PluginError(
            f"{where}: {entry.class_name}.name must be text of letters, digits and hyphens, not {name!r}."
        )
    if name != entry.name:
        raise PluginError(f"{where}: the class calls itself {name!r}; entry point and class must agree on the name.")
    if not isinstance(cls.needs, Needs):
        raise PluginError(f"{where}: {entry.class_name}.needs must be Needs(...), not {cls.needs!r}.")
    if not isinstance(cls.reconstruction, bool):
        raise PluginError(
            f"{where}: {entry.class_name}.reconstruction must be True or False, not {cls.reconstruction!r}."
        )
    if not (isinstance(cls.Params, type) and issubclass(cls.Params, Params)):
        raise PluginError(f"{where}: {entry.class_name}.Params must be a subclass of dfcbench.method.Params.")


def _reason(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
