"""What a check of the contract is, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dfcbench.testing.subject import Subject


class Outcome(StrEnum):
    """What came of a check."""

    passed = "passed"
    failed = "failed"
    skipped = "skipped"


class Fault(Exception):
    """Raised by a check that fails; the text is what was seen."""


class Skip(Exception):
    """Raised by a check that does not apply to this method; the text is the reason."""


class Unknown(Skip):
    """Raised by a check of which nothing can be found out here; what rests on it is skipped as well."""


@dataclass(frozen=True)
class Check:
    """One clause of the contract.

    proves: what holds if it passes. remedy: what the method's author changes if it fails. function: raises Fault or
    Skip, or passes and may return a remark. after: checks without which this one says nothing: it is skipped unless all
    of them hold.
    """

    name: str
    proves: str
    remedy: str
    function: Callable[[Subject], str | None]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What came of one check. seen: the fault, the reason for skipping, or a remark; may be empty if it passed."""

    check: Check
    outcome: Outcome
    seen: str
    seconds: float
    holds: bool
    """Whether checks that rest on this one say something: it passed, or does not apply."""


def blame(error: BaseException) -> str:
    """An exception in one line, with the last place in its traceback."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
