"""The checks as tests of pytest: a test function to be imported, and what the plug-in's items do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dfcbench.testing.catalogue import BY_NAME, CHECKS
from dfcbench.testing.check import Outcome
from dfcbench.testing.examination import Examination
from dfcbench.testing.subject import Subject

NAMES = tuple(check.name for check in CHECKS)


def test_function(reference: str, preset: str | None, parameters: Mapping[str, Any]) -> Callable[..., None]:
    """See ``dfcbench.testing.contract_tests``."""
    examined: list[Examination] = []

    @pytest.mark.parametrize("check", NAMES)
    def test_contract(check: str, tmp_path_factory: pytest.TempPathFactory) -> None:
        if not examined:
            folder = tmp_path_factory.mktemp("dfcbench-contract")
            examined.append(begin(reference, folder, preset, parameters))
        require(examined[0], check)

    return test_contract


test_function.__test__ = False  # type: ignore[attr-defined]  # it makes tests, and is none


def begin(
    reference: str, folder: Path, preset: str | None, parameters: Mapping[str, Any], folders: tuple[Path, ...] = ()
) -> Examination:
    """An examination of a method, whose contests and runs go to ``folder``.

    Raises PluginError if there is no such method, UsageError if it does not take what is given.
    """
    contests = folder.parent / "dfcbench-contests"  # shared by all methods of a run of pytest
    subject = Subject(reference, folder, preset=preset, parameters=parameters, folders=folders, contests=contests)
    subject.require_given()
    return Examination(subject)


def require(examination: Examination, name: str) -> None:
    """Pass, fail or skip the running test as the check does."""
    result = examination.result(BY_NAME[name])
    if result.outcome is Outcome.skipped:
        pytest.skip(result.seen)
    if result.outcome is Outcome.failed:
        pytest.fail(f"{result.check.proves}: no\n  seen: {result.seen}\n  remedy: {result.check.remedy}", pytrace=False)
