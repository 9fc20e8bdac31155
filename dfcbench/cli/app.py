"""The root of the command line, with what all commands share: ``--debug``, the log file, errors and exit codes."""

from __future__ import annotations

import functools
import logging
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from dfcbench import __version__
from dfcbench.errors import DfcbenchError
from dfcbench.files import cache_directory, disk_refuses, unwritable
from dfcbench.logs import RotatingLogFile

EPILOG = (
    "Exit codes: 0 ok, 2 usage, 3 data or disk, 4 plug-in, 5 a method broke its contract, 6 a method crashed, "
    "7 bad submission, 130 interrupted, 143 terminated; 1 anything else."
)

log = logging.getLogger("dfcbench")


_STOPPED = (130, 143)
"""Exit codes of a command that was asked to stop: 128 + the signal's number, as shells count."""


class Terminated(KeyboardInterrupt):
    """Somebody ended the command with SIGTERM, as batch systems do at the end of their patience."""


class Settings:
    """Set once by the root command."""

    debug = False
    logged = True


app = typer.Typer(
    name="dfcbench",
    help="The 2020 IEEE GRSS Data Fusion Contest as a benchmark: run methods, score them, rank them.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(shown: bool) -> None:
    if shown:
        typer.echo(f"dfcbench {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; the log file always has them.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """The 2020 IEEE GRSS Data Fusion Contest as a benchmark: run methods, score them, rank them.

    Start here: dfcbench run --track 1 --method bag
    """
    Settings.debug = debug
    _open_log()


def log_path() -> Path:
    """The log file of all commands; a run has one of its own beside its scores."""
    return cache_directory() / "dfcbench.log"


def _open_log() -> None:
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        log_path().parent.mkdir(parents=True, exist_ok=True)
        handler: logging.Handler = RotatingLogFile(log_path(), maxBytes=1_000_000, backupCount=1, encoding="utf-8")
    except OSError:
        handler = logging.NullHandler()
        Settings.logged = False
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    log.addHandler(handler)
    warnings = logging.StreamHandler()
    warnings.setLevel(logging.WARNING)
    warnings.addFilter(lambda record: record.levelno == logging.WARNING)
    warnings.setFormatter(logging.Formatter("warning: %(message)s"))
    log.addHandler(warnings)
    log.info("command: %s", " ".join(sys.argv[1:]))


def reported(command: Callable[..., Any]) -> Callable[..., Any]:
    """Errors of a command become one line on stderr and an exit code; tracebacks go to the log file."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except DfcbenchError as error:
            log.error("%s", error, exc_info=error)
            _end(str(error), error.exit_code)
        except KeyboardInterrupt as error:
            what, code = ("terminated", 143) if isinstance(error, Terminated) else ("interrupted", 130)
            log.info(what)
            _end(f"{what}. Give the same command again to go on where it stopped.", code)
        except BrokenPipeError:
            sys.stderr.close()
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if isinstance(error, OSError) and disk_refuses(error):
                log.exception("the disk refuses")
                told = unwritable(Path(error.filename or Path.cwd()), error)
                _end(str(told), told.exit_code)
            log.exception("unexpected")
            place = f"the traceback is in {log_path()}" if Settings.logged else "--debug shows the traceback"
            _end(f"unexpected {type(error).__name__}: {error}. Please report it; {place}.", 1)

    return wrapped


def _end(message: str, code: int) -> NoReturn:
    if Settings.debug:
        traceback.print_exc()
    typer.echo(message if code in _STOPPED else f"error: {message}", err=True)
    raise typer.Exit(code)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def with_commands() -> typer.Typer:
    """The app with every command; each module adds its own as it is imported."""
    from dfcbench.cli import (  # noqa: F401
        board,
        check_method,
        compare,
        data,
        methods,
        predict,
        run,
        submission,
        table,
        ui,
    )

    return app


def main() -> None:
    """Entry point of the ``dfcbench`` command."""
    signal.signal(signal.SIGTERM, _terminate)
    with_commands()()
