"""The contract's checks: a method that keeps it passes them all, and each check fails for the method that breaks it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfcbench.testing import contract_tests, endings
from dfcbench.testing.catalogue import CHECKS, chosen
from dfcbench.testing.check import Outcome, Result
from dfcbench.testing.examination import examine, keeps_contract
from dfcbench.testing.subject import Subject
from tests.contract_plugins import GOOD, broken

PROCESSES = ("constructor", "light-import", "new-process", "resume", "stop")
"""Checks that start processes, which takes seconds."""


test_low_resolution_labels = contract_tests("low-resolution-labels")
test_bag = contract_tests("bag", sweeps=3, clusters=8, bags=8, prediction_passes=1)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """How fast a run stops proves nothing on a machine that is busy with other tests."""
    monkeypatch.setattr(endings, "STOP_SECONDS", 120.0)


@pytest.fixture(scope="session")
def contests(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("contests")


def subject_of(source: str, folder: Path, contests: Path) -> Subject:
    (folder / "mine.py").write_text(source)
    return Subject(f"{folder / 'mine.py'}:Means", folder / "work", contests=contests)


def failed(results: tuple[Result, ...]) -> dict[str, str]:
    return {result.check.name: result.seen for result in results if result.outcome is Outcome.failed}


def test_a_method_that_keeps_the_contract_passes_every_check_that_applies(tmp_path, contests):
    results = examine(subject_of(GOOD, tmp_path, contests), CHECKS)
    assert failed(results) == {}
    assert [r.check.name for r in results if r.outcome is Outcome.skipped] == ["codes"]
    assert keeps_contract(results)


@pytest.mark.parametrize("check", [check.name for check in CHECKS if check.name != "light-import"])
def test_each_check_and_no_other_fails_for_the_method_that_breaks_it(tmp_path, contests, check):
    wanted = [c for c in CHECKS if c.name not in PROCESSES or c.name == check]
    results = examine(subject_of(broken(check), tmp_path, contests), wanted)
    assert list(failed(results)) == [check], failed(results)
    assert not keeps_contract(results)


def test_a_run_that_takes_its_time_after_ctrl_c_fails(tmp_path, contests, monkeypatch):
    monkeypatch.setattr(endings, "STOP_SECONDS", 1.0)
    source = broken("stop").replace(
        "except KeyboardInterrupt:\n", "except KeyboardInterrupt:\n                time.sleep(60)\n"
    )
    assert "time.sleep(60)" in source
    (result,) = examine(subject_of(source, tmp_path, contests), chosen(["stop"]))
    assert result.outcome is Outcome.failed and "1 s after Ctrl-C in fit it was still at work" in result.seen


def test_a_process_that_hangs_is_ended_and_told_of(tmp_path, contests, monkeypatch):
    monkeypatch.setattr(endings, "LONGEST", 3.0)
    monkeypatch.setattr(endings, "TIMES", 0.0)
    hangs = "        if os.environ.get('PYTHONHASHSEED') == '1':\n            time.sleep(600)\n        sums, counts ="
    source = GOOD.replace("        sums, counts =", hangs)
    (result,) = examine(subject_of(source, tmp_path, contests), chosen(["new-process"]))
    assert result.outcome is Outcome.failed and "more than 3 s" in result.seen


def test_what_rests_on_a_failed_check_is_skipped_with_its_name(tmp_path, contests):
    results = examine(subject_of(broken("runs"), tmp_path, contests), chosen(["runs", "size", "order", "resume"]))
    assert [result.outcome for result in results] == [Outcome.failed, *[Outcome.skipped] * 3]
    assert {result.seen for result in results[1:]} == {"says nothing, as runs failed"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("np.float32(np.nan) * self.one(patch)", "not finite"),
        ("self.one(patch) - np.float32(0.5)", "least probability"),
    ],
)
def test_values_that_are_no_probabilities_are_told_by_their_fault(tmp_path, contests, given, told):
    source = GOOD.replace("yield Prediction(patch.id, self.one(patch))", f"yield Prediction(patch.id, {given})")
    (result,) = examine(subject_of(source, tmp_path, contests), chosen(["probabilities"]))
    assert result.outcome is Outcome.failed and told in result.seen


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("raise RuntimeError('broken')", "RuntimeError: broken"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_whatever_a_method_raises_becomes_a_result(tmp_path, contests, line, told):
    source = GOOD.replace("        sums, counts =", f"        {line}\n        sums, counts =")
    (result,) = examine(subject_of(source, tmp_path, contests), chosen(["runs"]))
    assert result.outcome is Outcome.failed and result.seen.startswith(told) and "mine.py, line" in result.seen


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("self.kept = open(__file__).read()", "sets kept"),
        ("threading.Thread(target=time.sleep, args=(1,), daemon=True).start()", "starts 1 thread"),
        ("import matplotlib", "imports matplotlib"),
        ("open('/dev/null').close()", "opens /dev/null"),
        ("self.params = None", "self.params is not what it was given"),
    ],
)
def test_a_constructor_that_works_is_told_what_it_did(tmp_path, contests, change, told):
    constructor = (
        f"    def __init__(self, params=None):\n        super().__init__(params)\n        {change}\n\n    def fit("
    )
    (result,) = examine(
        subject_of(GOOD.replace("    def fit(", constructor), tmp_path, contests), chosen(["constructor"])
    )
    assert result.outcome is Outcome.failed and told in result.seen
