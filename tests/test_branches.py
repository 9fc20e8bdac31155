"""What branches bring, as metrics: counted by hand on maps that are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from dfcbench.method import RunContext
from dfcbench.scheme import SCORED_CODES
from dfcbench_methods.branches import hold_out, log_agreement, log_held_out
from tests.branch_maker import Patches, Stopper


def one_hot(classes: list[int]) -> np.ndarray:
    return np.eye(8, dtype=np.float32)[classes].T[:, None]


def test_agreement_is_with_the_map_and_changes_are_of_labels() -> None:
    stopper = Stopper()
    patches = Patches([SimpleNamespace(id="a"), SimpleNamespace(id="b")])
    final = one_hot([0, 1, 2, 3])

    def look(patch):
        other = one_hot([0, 1, 2, 4]) if patch.id == "a" else one_hot([5, 5, 5, 5])
        return {"other": other, "same": 0.5 * final, "final": final}, {"step": (one_hot([0, 1, 3, 3]), final)}

    log_agreement(patches, look, RunContext(reporter=stopper, workers=2))
    assert stopper.values == {"other_agreement": [3 / 8], "same_agreement": [1.0], "step_changed": [2 / 8]}


def test_held_out_accuracies_leave_out_what_has_no_label() -> None:
    stopper = Stopper()
    high = np.array([[SCORED_CODES[0], SCORED_CODES[0], SCORED_CODES[0], SCORED_CODES[7], 0, 3]], np.uint8)
    patches = Patches([SimpleNamespace(id="a", high=high)])
    log_held_out(patches, lambda _: {"one": one_hot([0, 0, 1, 7, 7, 7])}, RunContext(reporter=stopper))
    assert stopper.values == {"one_held_out_accuracy": [0.75], "one_held_out_average_accuracy": [(2 / 3 + 1) / 2]}
    log_held_out(None, lambda _: {}, RunContext(reporter=stopper))


def test_a_tenth_is_held_out_apart_from_the_rest_and_of_one_patch_nothing() -> None:
    patches = Patches(SimpleNamespace(id=str(i)) for i in range(30))
    training, held = hold_out(patches, np.random.default_rng(0))
    assert held is not None and (len(training), len(held)) == (27, 3)
    assert {*training.ids, *held.ids} == set(patches.ids)
    assert hold_out(Patches(patches[:1]), np.random.default_rng(0)) == (patches[:1], None)
    assert len(hold_out(Patches(patches[:2]), np.random.default_rng(0))[1] or ()) == 1
