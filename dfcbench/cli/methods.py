"""``dfcbench methods``: what is on offer, what one method is, and a new one to begin with; ``check_method`` checks one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfcbench.cli.app import app, reported
from dfcbench.cli.new_method import Kind, write_method
from dfcbench.cli.options import MethodsDirOption, open_registry

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from dfcbench.method import Needs
    from dfcbench.plugin_source import Sketch

methods_app = typer.Typer(
    help="List the methods on offer, show one, check one, or write a new one.", rich_markup_mode=None
)
app.add_typer(methods_app, name="methods")


@methods_app.callback(invoke_without_command=True)
@reported
def list_methods(context: typer.Context, methods_dir: MethodsDirOption = None) -> None:
    """List the methods on offer: name, summary, needs, origin. Sources are read, nothing is imported."""
    if context.invoked_subcommand is not None:
        context.obj = methods_dir
        return
    from tabulate import tabulate

    registry = open_registry(methods_dir)
    rows = [
        [entry.name, _summary(entry.sketch), _needs(entry.sketch.needs), entry.origin]
        for entry in registry.entries
        if entry.problem is None
    ]
    typer.echo(tabulate(rows, ["method", "summary", "needs", "origin"], maxcolwidths=[None, 48, 30, None]))
    broken = [entry for entry in registry.entries if entry.problem is not None]
    if broken:
        typer.echo("\nCannot be used:")
        for entry in broken:
            typer.echo(f"  {entry.name} ({entry.origin}): {entry.problem}")
    names = [entry.name for entry in registry.entries]
    for name in sorted({name for name in names if names.count(name) > 1}):
        origins = " and ".join(entry.origin for entry in registry.entries if entry.name == name)
        typer.echo(f"\n{name} is offered twice, by {origins}: neither runs by that name.")


@methods_app.command("show")
@reported
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of a method, or a file as path.py:Class.")],
    methods_dir: MethodsDirOption = None,
) -> None:
    """Show one method: what it does, what it needs, its parameters with their defaults and presets, its citation."""
    import inspect

    from tabulate import tabulate

    loaded = open_registry([*(context.obj or []), *(methods_dir or [])]).load(name)
    method = loaded.method
    typer.echo(f"{method.name} {method.version}, from {loaded.origin}\n")
    typer.echo(inspect.cleandoc(method.__doc__ or "(no description)") + "\n")
    typer.echo(f"Needs: {_needs(method.needs)}")
    if method.reconstruction:
        typer.echo(
            "Reconstruction: little is public of what it re-implements; above, what is known and what was chosen."
        )
    if method.citation:
        typer.echo(f"Citation: {method.citation}")
    presets = {name: values for name, values in method.presets.items() if values}
    rows = [
        [key, _default(field), *(values.get(key, "") for values in presets.values()), field.description]
        for key, field in method.Params.model_fields.items()
    ]
    if rows:
        headers = ["parameter", "default", *presets, "meaning"]
        widths = [None] * (len(headers) - 1) + [60]
        typer.echo("\n" + tabulate(rows, headers, maxcolwidths=widths, disable_numparse=True))
    else:
        typer.echo("\nIt has no parameters.")
    typer.echo(f"\nPresets: {', '.join(method.presets) or 'published'}. Run it: dfcbench run --track 1 --method {name}")


NEW_EXAMPLES = """Examples:

  dfcbench methods new my-method

  dfcbench methods new my-forest --kind sklearn

  dfcbench methods new my-network --kind torch --out methods/network.py
"""


@methods_app.command("new", epilog=NEW_EXAMPLES)
@reported
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the method: lower case words joined by hyphens.")],
    kind: Annotated[
        Kind,
        typer.Option(
            "--kind", help="plain; sklearn: a classifier of pixels; torch: a network. The last two learn from SEN12MS."
        ),
    ] = Kind.plain,
    out: Annotated[Path | None, typer.Option("--out", help="File to write. Default: <name>.py here.")] = None,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Write a file with a new method: complete, it runs as it is, and is yours to change."""
    registry = open_registry([*(context.obj or []), *(methods_dir or [])])
    path, class_name = write_method(name, kind, out, {entry.name for entry in registry.entries})
    typer.echo(f"Written: {path}")
    typer.echo(f"Run it: dfcbench run --track 1 --method {shlex.quote(f'{path}:{class_name}')}")


def _default(field: FieldInfo) -> str:
    """The default as text; one that its field makes from other parameters is not known before they are."""
    if field.is_required():
        return "required"
    if getattr(field, "default_factory_takes_validated_data", False):
        return "(from others)"
    value = field.get_default(call_default_factory=True)
    return "" if value is None else str(value)


def _summary(sketch: Sketch) -> str:
    mark = "[reconstruction]" if sketch.reconstruction else ""
    return f"{sketch.summary or ''} {mark}".strip()


def _needs(needs: Needs | None) -> str:
    if needs is None:
        return "(see methods show)"
    words = [*sorted(needs.inputs)]
    words += {"none": [], "low": ["LR labels"], "high": ["HR labels (Track 2)"]}[needs.labels]
    words += ["SEN12MS"] if needs.training else []
    words += ["transductive"] if needs.transductive else []
    return ", ".join(words) or "nothing"
