"""The low-resolution labels as a map."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from dfcbench.method import RunContext
from dfcbench_methods.low_resolution_labels import LowResolutionLabels


def test_labels_come_out_as_they_are_in_every_shape() -> None:
    generator = np.random.default_rng(0)
    patches = [
        SimpleNamespace(id=f"p{i}", low=generator.integers(0, 11, size=(4 + i, 9), dtype=np.uint8)) for i in range(3)
    ]
    method = LowResolutionLabels()
    method.fit(SimpleNamespace(), RunContext())
    predictions = list(method.predict(patches, RunContext()))  # type: ignore[arg-type]
    assert [p.patch_id for p in predictions] == ["p0", "p1", "p2"]
    for patch, prediction in zip(patches, predictions, strict=True):
        np.testing.assert_array_equal(prediction.labels(), patch.low)


def test_it_asks_for_labels_only() -> None:
    needs = LowResolutionLabels.needs
    assert (needs.inputs, needs.labels, needs.transductive, needs.training) == (frozenset(), "low", False, False)
