"""``dfcbench methods check``: does a method keep the contract?"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfcbench.cli.app import reported
from dfcbench.cli.methods import methods_app
from dfcbench.cli.options import MethodsDirOption, methods_folders, parse_parameters
from dfcbench.errors import ContractError, UsageError

if TYPE_CHECKING:
    from dfcbench.testing.check import Result

LONG = 15.0
"""Seconds of a fit after which it is told that a dozen take minutes."""

EXAMPLES = """Examples:

  dfcbench methods check bag

  dfcbench methods check my_method.py:MyMethod -p steps=20

  dfcbench methods check my_method.py:MyMethod --only order --only subset

  dfcbench methods check --list

It takes about ten fits on a contest of a few small patches, and as many starts of a process: give a method that trains for
long smaller parameters with -p. Exit code 5 if a check fails, or none passes.
"""


@methods_app.command("check", epilog=EXAMPLES)
@reported
def check(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Name of a method, or a file of yours as path.py:Class.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only this check; repeatable.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the checks and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON.")] = False,
    parameters: Annotated[
        list[str] | None, typer.Option("-p", metavar="KEY=VALUE", help="A parameter of the method; repeatable.")
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Default: quick, where the method has it.")] = None,
    side: Annotated[
        int | None,
        typer.Option("--side", min=32, help="Side of the patches in pixels, for a method that takes no others."),
    ] = None,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Check that a method keeps the contract: some thirty checks on a small made-up contest, a line each."""
    from dfcbench.report import contract_table
    from dfcbench.testing.catalogue import chosen
    from dfcbench.testing.contest import SIDE
    from dfcbench.testing.examination import examine, keeps_contract
    from dfcbench.testing.subject import Subject

    if listed:
        typer.echo(contract_table.listing())
        return
    if name is None:
        raise UsageError("Name a method, or a file as path.py:Class. `dfcbench methods` lists the methods on offer.")
    checks = chosen(only or [])
    given, faults = parse_parameters(parameters)
    if faults:
        raise UsageError(" ".join(faults))
    folders = methods_folders([*(context.obj or []), *(methods_dir or [])])
    with tempfile.TemporaryDirectory(prefix="dfcbench-check-", ignore_cleanup_errors=True) as folder:
        subject = Subject(name, Path(folder), parameters=given, preset=preset, folders=folders, side=side or SIDE)
        subject.require_given()

        def tell(result: Result) -> None:
            if not as_json:
                typer.echo(contract_table.lines(result))
            if result.check.name == "runs" and result.seconds > LONG:
                typer.echo(
                    f"One fit with its maps takes {result.seconds:.0f} s, and about ten are to come. Smaller parameters "
                    "(-p) make them short.",
                    err=True,
                )

        results = examine(subject, checks, tell)
        if as_json:
            typer.echo(contract_table.as_json(subject, results))
    if not keeps_contract(results):
        raise ContractError(contract_table.verdict(subject, results))
    if not as_json:
        typer.echo(contract_table.verdict(subject, results))
