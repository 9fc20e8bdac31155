"""The terminal: progress bars and notes on stderr, results on stdout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Terminal:
    """Watches a run for a person. Without a terminal, each stage and each kind of work is told once."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._finished: set[str] = set()

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show bars while the block runs."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        if not console.is_terminal:
            yield
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[metrics]}", style="dim"),
        )
        with Progress(*columns, console=console) as progress:
            self._progress = progress
            try:
                yield
            finally:
                self._progress = None
                self._tasks.clear()

    def note(self, text: str) -> None:
        """A line for the person, on stderr."""
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            typer.echo(text, err=True)

    def stage(self, name: str) -> None:
        """A stage of the run begins."""
        if self._progress is None and name not in self._finished:
            typer.echo(f"{name} …", err=True)
            self._finished.add(name)

    def advance(self, label: str, done: int, total: int | None) -> None:
        """Work called ``label`` has got to ``done`` of ``total``."""
        if self._progress is None:
            if total is not None and done == total > 0 and label not in self._finished:
                typer.echo(f"  {label}: {done}", err=True)
                self._finished.add(label)
            return
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(label, total=total, metrics="")
        self._progress.update(self._tasks[label], completed=done, total=total)

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        """Show the latest metrics beside the newest bar."""
        if self._progress is not None and self._tasks:
            text = "  ".join(f"{name} {value:.5g}" for name, value in list(values.items())[:3])
            self._progress.update(list(self._tasks.values())[-1], metrics=text)
