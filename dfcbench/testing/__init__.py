"""The contract that every method keeps, as checks that anyone can run: on the command line, in pytest, or from here.

    dfcbench methods check my_method.py:MyMethod
    pytest --dfcbench-method my_method.py:MyMethod

or, in a test file, one test per check::

    from dfcbench.testing import contract_tests

    test_contract = contract_tests("my_method.py:MyMethod", steps=20)

``catalogue`` lists the checks; ``examination`` applies them to a ``subject``. Importing this package imports no other room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def contract_tests(reference: str, *, preset: str | None = None, **parameters: Any) -> Callable[..., None]:
    """A test function for pytest, parametrised by check: give it a name that begins with ``test_``.

    reference: a method's name, or ``path.py:Class``. preset: by default quick. parameters: of the method, small enough
    for a dozen fits.
    """
    from dfcbench.testing.pytest_tests import test_function

    return test_function(reference, preset, parameters)
