"""An exception that crosses from one process to the other: its type's name and its text, never the object."""

from __future__ import annotations

import re
import traceback
from typing import Any

from dfcbench import errors
from dfcbench.errors import DfcbenchError, MethodCrash

_MOST_TEXT = 20_000
"""Characters of a message or a traceback that are passed on."""
_HARNESS: dict[str, type[DfcbenchError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, DfcbenchError)
}


def told(error: BaseException) -> dict[str, Any]:
    """What is sent of an exception."""
    try:
        message = str(error)
    except Exception as other:
        message = f"(its text raised {type(other).__name__})"
    lines = "".join(traceback.format_exception(error))
    return {"error": type(error).__name__, "message": message[:_MOST_TEXT], "traceback": lines[-_MOST_TEXT:]}


def rebuilt(error: str, message: str, trace: str = "") -> Exception:
    """An exception to raise in this process: dfcbench's own type if it has that name, else a new one of that name."""
    name = error if re.fullmatch(r"[A-Za-z_]\w{0,99}", error) else "Exception"
    kind = _HARNESS.get(name)
    text = printable(message)
    made: Exception = kind(text) if kind is not None else type(name, (Exception,), {})(text)
    if trace:
        made.add_note(f"In the method's process:\n{printable(trace)}")
    return made


def printable(text: str) -> str:
    """Text that does nothing to a terminal but show itself."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def ended(method: str, call: str, status: int | None) -> MethodCrash:
    """The error for a method's process that is no more; ``status`` as ``subprocess`` gives it."""
    import signal

    how = (
        "its process closed the channel to the harness" if status is None else f"its process ended with status {status}"
    )
    if status is not None and status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        how = f"its process was ended by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
    return MethodCrash(f"{method}.{call}: {how}. Maps written so far are kept; the same command goes on from there.")
