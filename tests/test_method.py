"""The interface that methods derive from."""

from __future__ import annotations

import copy
import pickle

import pytest

from dfcbench.errors import DfcbenchError, NotFittedError
from dfcbench.method import Method


class Plain(Method):
    """A method that maps nothing."""

    name = "plain"

    def fit(self, contest, run):
        self.learned_ = 1

    def predict(self, patches, run):
        yield from ()


def test_what_fit_learns_asked_for_too_early_says_that_it_is_not_fitted():
    method = Plain()
    with pytest.raises(NotFittedError, match=r"Plain\.learned_ is what fit learns.*Call fit first") as caught:
        _ = method.learned_
    assert isinstance(caught.value, DfcbenchError) and caught.value.exit_code == 5
    assert not hasattr(method, "learned_") and getattr(method, "learned_", None) is None
    method.fit(None, None)
    assert method.learned_ == 1


@pytest.mark.parametrize("name", ["learned", "_learned_", "__learned__"])
def test_any_other_attribute_is_missing_as_everywhere(name):
    with pytest.raises(AttributeError, match=f"'Plain' object has no attribute '{name}'") as caught:
        getattr(Plain(), name)
    assert not isinstance(caught.value, DfcbenchError)


def test_methods_are_copied_and_pickled_as_ever():
    method = Plain()
    method.fit(None, None)
    assert copy.deepcopy(method).learned_ == pickle.loads(pickle.dumps(method)).learned_ == 1
