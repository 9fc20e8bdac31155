"""The checks applied to one method: each once, those first on which others rest, and a verdict over all."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from dfcbench.testing.catalogue import BY_NAME
from dfcbench.testing.check import Check, Fault, Outcome, Result, Skip, Unknown, blame
from dfcbench.testing.subject import Subject, own_cache


class Examination:
    """Results of checks on one method, by check; each is found out when first asked for."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._results: dict[str, Result] = {}

    def result(self, check: Check) -> Result:
        """What comes of the check. KeyboardInterrupt passes through; everything else becomes a result."""
        if check.name not in self._results:
            self._results[check.name] = self._examine(check)
        return self._results[check.name]

    def _examine(self, check: Check) -> Result:
        for name in check.after:
            before = self.result(BY_NAME[name])
            if not before.holds:
                reason = f"says nothing, as {name} failed" if before.outcome is Outcome.failed else before.seen
                return Result(check, Outcome.skipped, reason, 0.0, holds=False)
        begin = time.monotonic()
        outcome, seen, holds = Outcome.passed, "", True
        try:
            with own_cache(self.subject.folder / "cache"):
                seen = check.function(self.subject) or ""
        except Fault as fault:
            outcome, seen, holds = Outcome.failed, str(fault), False
        except Skip as reason:
            outcome, seen, holds = Outcome.skipped, str(reason), not isinstance(reason, Unknown)
        except (Exception, SystemExit) as error:  # whatever a method raises
            outcome, seen, holds = Outcome.failed, blame(error), False
        return Result(check, outcome, seen, time.monotonic() - begin, holds)


def examine(
    subject: Subject, checks: Sequence[Check], told: Callable[[Result], None] | None = None
) -> tuple[Result, ...]:
    """Results of these checks, in this order; ``told`` gets each as it comes."""
    examination = Examination(subject)
    results = []
    for check in checks:
        results.append(examination.result(check))
        if told is not None:
            told(results[-1])
    return tuple(results)


def keeps_contract(results: Sequence[Result]) -> bool:
    """Whether none failed and not all were skipped: of a method that was never looked at, nothing is known."""
    outcomes = {result.outcome for result in results}
    return Outcome.passed in outcomes and Outcome.failed not in outcomes
