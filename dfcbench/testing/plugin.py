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
    for reference in config.getoption("--dfcbench-method"):
        contract = Contract.from_parent(session, name=reference, nodeid=reference)
        items.extend(contract.collect())


class Contract(pytest.Collector):
    """A method's checks. They share what was found out once; its files go to pytest's temporary folder."""

    _examination: Examination | None = None

    def collect(self) -> Iterator[pytest.Item]:
        """One test per check."""
        from dfcbench.testing.pytest_tests import NAMES

        for name in NAMES:
            yield ContractItem.from_parent(self, name=name)

    def examination(self) -> Examination:
        """The examination, begun when first asked for. Raises pytest.UsageError if there is no such method."""
        if self._examination is None:
            from dfcbench.errors import DfcbenchError
            from dfcbench.testing.pytest_tests import examination_of

            option = self.config.getoption
            pairs = [pair.partition("=") for pair in option("--dfcbench-param")]
            factory: Any = self.config._tmp_path_factory  # type: ignore[attr-defined]  # what its fixture hands out
            try:
                self._examination = examination_of(
                    self.name,
                    factory.mktemp("dfcbench-contract"),
                    option("--dfcbench-preset"),
                    {key: _value(text) for key, _, text in pairs},
                    tuple(map(Path, option("--dfcbench-methods-dir"))),
                )
            except DfcbenchError as error:
                raise pytest.UsageError(str(error)) from error
        return self._examination


class ContractItem(pytest.Item):
    """One check."""

    def runtest(self) -> None:
        """Pass, fail or skip."""
        from dfcbench.testing.pytest_tests import require

        assert isinstance(self.parent, Contract)
        require(self.parent.examination(), self.name)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where it stands in reports."""
        assert self.parent is not None
        return Path(self.parent.name.partition(":")[0]), None, f"{self.parent.name}::{self.name}"


def _value(text: str) -> Any:
    """JSON where it reads as JSON, else text: as ``-p`` of ``dfcbench run`` takes it."""
    try:
        return json.loads(text)
    except ValueError:
        return text
