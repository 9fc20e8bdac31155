"""pytest plug-in: ``pytest --dfcbench-method path.py:Class`` runs the contract's checks, each as a test of its own.

It is loaded in every pytest run of its environment, so that it imports nothing before it is asked for something.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dfcbench.testing.examination import Examination


_CONTRACTS: pytest.StashKey[list[Contract]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The plug-in's options."""
    group = parser.getgroup("dfcbench", "dfcbench: checks of land-cover mapping methods")
    group.addoption(
        "--dfcbench-method",
        action="append",
        default=[],
        metavar="METHOD",
        help="check that this method keeps the contract: a name, or path.py:Class; repeatable",
    )
    group.addoption(
        "--dfcbench-param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of the methods that are checked; repeatable",
    )
    group.addoption("--dfcbench-preset", default=None, metavar="PRESET", help="of those methods; default: quick")
    group.addoption(
        "--dfcbench-methods-dir", action="append", default=[], metavar="DIR", help="folder with methods; repeatable"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the checks of the methods asked for; before -k and -m choose among the tests."""
    contracts = config.stash[_CONTRACTS] = [
        Contract.from_parent(session, name=reference, nodeid=reference)
        for reference in config.getoption("--dfcbench-method")
    ]
    for contract in contracts:
        items.extend(contract.collect())


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A method all of whose checks were skipped fails: nothing was found out about it."""
    if _unknown(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say why such a method fails."""
    for name in _unknown(config):
        terminalreporter.write_line(f"{name}: all checks were skipped, so nothing is known of it", red=True)


class Contract(pytest.Collector):
    """A method's checks. They share what was found out once; its files go to pytest's temporary folder."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.examination = self._begun()
        self.skipped: list[bool] = []
        """Of each check that was asked for, whether it was skipped."""

    def collect(self) -> Iterator[pytest.Item]:
        """One test per check."""
        from dfcbench.testing.pytest_tests import NAMES

        for name in NAMES:
            yield ContractItem.from_parent(self, name=name)

    def _begun(self) -> Examination:
        """Raises pytest.UsageError if there is no such method, or it does not take these parameters."""
        from dfcbench.errors import DfcbenchError
        from dfcbench.testing.pytest_tests import begin

        option = self.config.getoption
        pairs = [pair.partition("=") for pair in option("--dfcbench-param")]
        factory: Any = self.config._tmp_path_factory  # type: ignore[attr-defined]  # what its fixture hands out
        try:
            return begin(
                self.name,
                factory.mktemp("dfcbench-contract"),
                option("--dfcbench-preset"),
                {key: _value(text) for key, _, text in pairs},
                tuple(map(Path, option("--dfcbench-methods-dir"))),
            )
        except DfcbenchError as error:
            raise pytest.UsageError(str(error)) from error


class ContractItem(pytest.Item):
    """One check."""

    def runtest(self) -> None:
        """Pass, fail or skip."""
        from dfcbench.testing.pytest_tests import require

        assert isinstance(self.parent, Contract)
        try:
            require(self.parent.examination, self.name)
        except pytest.skip.Exception:
            self.parent.skipped.append(True)
            raise
        self.parent.skipped.append(False)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it stands in reports."""
        assert self.parent is not None
        return Path(self.parent.name.partition(":")[0]), None, self.name


def _unknown(config: pytest.Config) -> list[str]:
    """Methods of which checks were asked for, and each was skipped."""
    return [c.name for c in config.stash.get(_CONTRACTS, []) if c.skipped and all(c.skipped)]


def _value(text: str) -> Any:
    """JSON where it reads as JSON, else text: as ``-p`` of ``dfcbench run`` takes it."""
    try:
        return json.loads(text)
    except ValueError:
        return text
