"""Options that several commands share, and what they resolve to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dfcbench.errors import UsageError

if TYPE_CHECKING:
    from dfcbench.archive import Archive
    from dfcbench.cli.console import Terminal
    from dfcbench.registry import Registry
    from dfcbench.threads import Door

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of the contest's data. Default: DFCBENCH_DATA, else the demo contest."),
]
SubmissionsOption = Annotated[
    Path,
    typer.Option("--submissions", envvar="DFCBENCH_SUBMISSIONS", help="Folder of submissions."),
]
MethodsDirOption = Annotated[
    list[Path] | None,
    typer.Option("--methods-dir", help="Folder with methods of your own, one per file; also DFCBENCH_METHODS."),
]
TrackOption = Annotated[int, typer.Option("--track", help="1 (low-resolution labels) or 2 (high-resolution too).")]
SplitOption = Annotated[str, typer.Option("--split", help="test, validation, or regional (the release by region).")]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Per-patch work on the Dask cluster of this scheduler, as tcp://host:8786.",
    ),
]

SUBMISSIONS = Path("submissions")


def given_data(data: Path | None) -> Path | None:
    """``data``, else DFCBENCH_DATA; None if neither is given, which means the default demo contest."""
    configured = os.environ.get("DFCBENCH_DATA")
    folder = Path(configured) if data is None and configured else data
    return None if folder is None else folder.expanduser()


def open_archive(data: Path | None, terminal: Terminal) -> Archive:
    """The archive at ``data``, at DFCBENCH_DATA, or the demo contest, which is generated once."""
    from dfcbench.archive import Archive

    folder = given_data(data)
    if folder is not None:
        if data is None:
            terminal.note(f"Data: {folder} (from DFCBENCH_DATA).")
        return Archive.open(folder)
    from dfcbench import demo

    with terminal.progress():
        root = demo.ensure(progress=lambda done, total: terminal.advance("generating the demo contest", done, total))
    terminal.note(f"No --data given: using the demo contest, artificial data in the real layout ({root}).")
    return Archive.open(root)


@contextmanager
def joined(scheduler: str | None, archive: Archive, submissions: Path, terminal: Terminal) -> Iterator[Door | None]:
    """The door to a scheduler's cluster, whose workers see the data and the submissions; None without a scheduler."""
    if scheduler is None:
        yield None
        return
    from dfcbench.cluster import connected
    from dfcbench.files import writable_folder

    seen = [path for records in archive.splits.values() for path in records[0].files.values()]
    with connected(scheduler, [writable_folder(submissions)], seen) as cluster:
        terminal.note(f"Per-patch work is done on {cluster}.")
        yield cluster


def device_for(device: str, scheduler: str | None) -> str:
    """The device to run on; with a scheduler the processors, as workers may have no other.

    Raises UsageError if another one was asked for, or is not here.
    """
    from dfcbench.machine import resolve_device

    if scheduler is None:
        return resolve_device(device)
    if device not in ("auto", "cpu"):
        raise UsageError(f"--device {device}: with --scheduler the workers' processors do the work; leave it away.")
    return "cpu"


def demo_at(data: Path | None) -> str | None:
    """Name of the demo contest that ``open_archive`` would open, told before any data are touched; None for other data."""
    from dfcbench import demo, identity

    folder = given_data(data)
    if folder is None:
        return demo.name()
    found = identity.demo(folder)
    return found.name if found else None


def open_registry(folders: list[Path] | None) -> Registry:
    """All methods on offer, those in DFCBENCH_METHODS and ``folders`` included."""
    from dfcbench.registry import Registry

    return Registry(methods_folders(folders))


def sealed_registry(
    folders: list[Path] | None, seal: str, archive: Archive, submissions: Path, given: dict[str, Any]
) -> Registry:
    """The same methods, none of which is imported here; what the archive and the submissions hold is hidden from them."""
    from dfcbench.sealing.places import hidden_places
    from dfcbench.sealing.standin import SealedRegistry

    return SealedRegistry(methods_folders(folders), seal, hidden_places(archive, submissions), given)


def methods_folders(folders: list[Path] | None) -> tuple[Path, ...]:
    """The folders in DFCBENCH_METHODS, then ``folders``; each once, as absolute paths."""
    listed = [Path(part) for part in os.environ.get("DFCBENCH_METHODS", "").split(os.pathsep) if part]
    return tuple(dict.fromkeys(path.expanduser().absolute() for path in [*listed, *(folders or [])]))


def parse_parameters(pairs: list[str] | None) -> tuple[dict[str, Any], list[str]]:
    """``key=value`` texts -> values, and what is wrong: pairs without ``=`` and keys given twice.

    A value is JSON where it reads as JSON, else text.
    """
    values: dict[str, Any] = {}
    faults = []
    for pair in pairs or []:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            faults.append(f"-p {pair}: write a parameter as key=value.")
            continue
        if key in values:
            faults.append(f"-p {key} is given twice; give it once.")
        try:
            values[key] = json.loads(text)
        except ValueError:
            values[key] = text
    return values, faults
