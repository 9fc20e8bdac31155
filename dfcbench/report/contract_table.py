"""The checks of the contract as lines for a terminal, and as JSON."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence

from dfcbench.testing.catalogue import CHECKS
from dfcbench.testing.check import Outcome, Result
from dfcbench.testing.examination import keeps_contract
from dfcbench.testing.subject import Subject

_WIDTH = 118
_NAMES = max(len(check.name) for check in CHECKS)
_INDENT = " " * (_NAMES + 2 + max(len(outcome) for outcome in Outcome) + 2)


def lines(result: Result) -> str:
    """A check's line; what was seen and the remedy below it, if it failed."""
    head = f"{result.check.name:<{_NAMES}}  {result.outcome:<7}  "
    if result.outcome is not Outcome.failed:
        told = result.check.proves if result.outcome is Outcome.passed else result.seen
        remark = f" ({result.seen})" if result.outcome is Outcome.passed and result.seen else ""
        return _filled(head, f"{told}{remark}")
    return "\n".join(
        [
            _filled(head, result.seen),
            _filled(f"{_INDENT}wanted: ", result.check.proves),
            _filled(f"{_INDENT}remedy: ", result.check.remedy),
        ]
    )


def listing() -> str:
    """All checks with what they prove."""
    return "\n".join(_filled(f"{check.name:<{_NAMES}}  ", check.proves) for check in CHECKS)


def verdict(subject: Subject, results: Sequence[Result]) -> str:
    """The last line."""
    counts = Counter(result.outcome for result in results)
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome)
    if keeps_contract(results):
        return f"{subject.kind.name} keeps the contract: {told}."
    if counts[Outcome.failed]:
        return f"{subject.kind.name} breaks the contract: {told}."
    return f"{subject.kind.name}: nothing was checked ({told}), so nothing is known of it."


def as_json(subject: Subject, results: Sequence[Result]) -> str:
    """The same for scripts."""
    return json.dumps(
        {
            "method": subject.kind.name,
            "origin": subject.loaded.origin,
            "keeps_contract": keeps_contract(results),
            "checks": [
                {
                    "name": result.check.name,
                    "outcome": str(result.outcome),
                    "proves": result.check.proves,
                    "seen": result.seen,
                    "remedy": result.check.remedy if result.outcome is Outcome.failed else None,
                    "seconds": round(result.seconds, 3),
                }
                for result in results
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def _filled(head: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
