"""A run's folder while a process is at it: its lock and log, what a killed one left there, a former run set aside."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dfcbench.errors import DataError, DfcbenchError, SubmissionError, UnwritableError, UsageError
from dfcbench.files import TEMPORARY, unwritable, writable_folder, write_json
from dfcbench.logs import LogFile
from dfcbench.states import WORK
from dfcbench.submission import FAILURE, META, Submission

log = logging.getLogger("dfcbench")

LEDGER = "feedback.json"
"""The server's answers; not set aside when a run starts over, as they were given."""
LOG = "run.log"
LOCK = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder, unless it is there, and be the one process at its run; what dfcbench logs also goes to its log.

    What a killed process left half written is removed first. Raises UsageError if another process is at the run,
    UnwritableError if the folder cannot be written.
    """
    writable_folder(folder)
    try:
        lock = FileLock(folder / LOCK).acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            f"{folder}: another process is at this run. Wait for it, or change --seed or a parameter."
        ) from error
    with lock, _logged(folder / LOG):
        _clear_leftovers(folder)
        yield


def tidy(folder: Path, write_page: Callable[[], None] | None = None) -> None:
    """What a finished run that was killed in its last moment left to be done: remove what is of no use, write its page.

    ``write_page`` is None where the page is there. Nothing is done while another process is at the run, or where the
    folder cannot be written: a finished run is shown from wherever it is.
    """
    with suppress(Timeout, OSError, UnwritableError, SubmissionError):
        if write_page is None and not (folder / WORK).exists() and not any(folder.rglob(TEMPORARY)):
            return
        with FileLock(folder / LOCK, timeout=0):
            if not Submission(folder).finished:  # another process has begun it anew meanwhile
                return
            _clear_leftovers(folder)
            shutil.rmtree(folder / WORK, ignore_errors=True)
            if write_page is not None:
                write_page()


@contextmanager
def told_of_the_disk(folder: Path) -> Iterator[None]:
    """Whatever the disk refuses while a run is under way is a fault of the disk, and names the file."""
    try:
        yield
    except OSError as error:
        raise unwritable(Path(error.filename or folder), error) from error


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Everything that dfcbench logs also goes to ``path``."""
    try:
        handler = LogFile(path, encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()


def _clear_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed run left half written."""
    for path in folder.rglob(TEMPORARY):
        path.unlink(missing_ok=True)


def set_aside(folder: Path) -> Path | None:
    """Make room for a run from scratch; what lay there is kept beside it under a name that starts with a dot.

    Returns the folder that it was moved to, None if nothing lay there.
    """
    kept = [path for path in folder.iterdir() if path.name not in (LOCK, LOG, LEDGER)]
    kept.sort(key=lambda path: path.name != META)  # first of all, it must not count as finished any more
    if not kept:
        return None
    number = 1
    while (aside := folder.parent / f".{folder.name}.before-{number}").exists():
        number += 1
    with told_of_the_disk(folder):
        aside.mkdir()
        for path in kept:
            path.rename(aside / path.name)
    log.info("the former run was moved to %s", aside)
    return aside


def record_failure(folder: Path, error: DfcbenchError) -> None:
    """Write down why the run failed, if the folder takes it."""
    try:
        write_json(folder / FAILURE, {"error": type(error).__name__, "message": str(error)})
    except (OSError, DataError):
        log.warning("%s: the failure could not be recorded there.", folder)
