"""What a plug-in's source tells about its methods without importing it."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from dfcbench.errors import DfcbenchError, PluginError
from dfcbench.method import Needs


@dataclass(frozen=True)
class Sketch:
    """A method as its source describes it; None where only importing could tell."""

    name: str | None = None
    summary: str | None = None
    needs: Needs | None = None
    reconstruction: bool = False
    """Whether the class says so itself; a base class may."""
    problem: str | None = None


def locate_module(module: str) -> Path:
    """Source file of a dotted module, found without importing any of its parents. Raises PluginError."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError) as error:
        raise PluginError(f"module {top} cannot be found: {error}") from error
    name = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            break
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, list(spec.submodule_search_locations))
    if spec is None or name != module or not spec.origin or not spec.origin.endswith(".py"):
        raise PluginError(f"there is no module {module}.")
    return Path(spec.origin)


def sketch_class(file: Path, class_name: str) -> Sketch:
    """Sketch of one class. Raises PluginError if the file cannot be parsed or has no such name at its top level."""
    tree = _parse(file)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return _sketch(node, tree, file)
    if class_name not in set(_bound_names(tree)):
        raise PluginError(f"{file} has no class {class_name}.")
    return Sketch(problem=_import_problem(tree, file))


def sketch_methods(file: Path) -> dict[str, Sketch]:
    """Sketches of the classes in a file that set ``name`` and have a base. PluginError if it cannot be parsed."""
    tree = _parse(file)
    return {
        node.name: _sketch(node, tree, file)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and _assigned(node, "name") is not None and node.bases
    }


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise PluginError(f"SyntaxError: {error.msg} ({file}, line {error.lineno})") from error
    except (OSError, ValueError) as error:
        raise PluginError(f"{file} cannot be read: {error}") from error


def _sketch(node: ast.ClassDef, tree: ast.Module, file: Path) -> Sketch:
    name = _assigned(node, "name")
    docstring = ast.get_docstring(node)
    reconstruction = _assigned(node, "reconstruction")
    return Sketch(
        name=name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None,
        summary=docstring.strip().splitlines()[0] if docstring and docstring.strip() else None,
        needs=_needs(node),
        reconstruction=isinstance(reconstruction, ast.Constant) and reconstruction.value is True,
        problem=_import_problem(tree, file),
    )


def _assigned(node: ast.ClassDef, name: str) -> ast.expr | None:
    for statement in node.body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return getattr(statement, "value", None)
    return None


def _needs(node: ast.ClassDef) -> Needs | None:
    """The needs that a class states, or the default of ``Method``; None where another base class may state them."""
    expression = _assigned(node, "needs")
    if expression is None:
        inherits = any(not isinstance(base, ast.Name) or base.id != "Method" for base in node.bases)
        return None if inherits else Needs()
    if not isinstance(expression, ast.Call) or expression.args:
        return None
    try:
        given = {k.arg: _literal(k.value) for k in expression.keywords if k.arg}
        return Needs(**given)  # type: ignore[arg-type]
    except (ValueError, TypeError, DfcbenchError):
        return None


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"frozenset", "set"}:
        return frozenset(ast.literal_eval(node.args[0])) if node.args else frozenset()
    return ast.literal_eval(node)


def _bound_names(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _import_problem(tree: ast.Module, file: Path) -> str | None:
    """Why importing the module is bound to fail: a package that is not installed, or a plain ``raise``."""
    for node in tree.body:
        if isinstance(node, ast.Raise):
            return f"raises an exception when it is imported ({file}, line {node.lineno})."
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        for module in modules:
            top = module.partition(".")[0]
            if not _is_there(top, file.parent):
                return f"imports {top}, which is not installed ({file}, line {node.lineno})."
    return None


def _is_there(top: str, beside: Path) -> bool:
    if top in sys.modules or top in sys.builtin_module_names:
        return True
    if (beside / f"{top}.py").exists() or (beside / top).is_dir():
        return True
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False
