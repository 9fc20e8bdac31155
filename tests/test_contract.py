"""The contract's checks: a method that keeps it passes them all, and each check fails for the method that breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfcbench.testing import contract_tests
from dfcbench.testing.catalogue import CHECKS
from dfcbench.testing.check import Outcome, Result
from dfcbench.testing.examination import examine, keeps_contract
from dfcbench.testing.subject import Subject
from tests.contract_plugins import GOOD, broken

PROCESSES = ("constructor", "light-import", "new-process", "resume", "stop")
"""Checks that start processes, which takes seconds."""


test_low_resolution_labels = contract_tests("low-resolution-labels")
test_bag = contract_tests("bag", sweeps=3, clusters=8, bags=8, prediction_passes=1)


def subject_of(source: str, folder: Path, **options) -> Subject:
    (folder / "mine.py").write_text(source)
    return Subject(f"{folder / 'mine.py'}:Means", folder / "work", **options)


def failed(results: tuple[Result, ...]) -> dict[str, str]:
    return {result.check.name: result.seen for result in results if result.outcome is Outcome.failed}


def test_a_method_that_keeps_the_contract_passes_every_check_that_applies(tmp_path):
    results = examine(subject_of(GOOD, tmp_path), CHECKS)
    assert failed(results) == {}
    assert [r.check.name for r in results if r.outcome is Outcome.skipped] == ["codes"]
    assert keeps_contract(results)


@pytest.mark.parametrize("check", [check.name for check in CHECKS if check.name != "light-import"])
def test_each_check_and_no_other_fails_for_the_method_that_breaks_it(tmp_path, check):
    wanted = [c for c in CHECKS if c.name not in PROCESSES or c.name == check]
    results = examine(subject_of(broken(check), tmp_path), wanted)
    assert list(failed(results)) == [check], failed(results)
    assert not keeps_contract(results)
