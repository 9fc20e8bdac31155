"""Class-specific rules: what they exclude, to whom it goes, and when they are not believed."""

from __future__ import annotations

import numpy as np

from dfcbench.scheme import SCORED_NAMES
from dfcbench_methods.class_rules import RULES, ruled, trusted
from dfcbench_methods.features.indices import INDICES

NAMES = ("NDVI", "MNDWI")
WATER, FOREST, BARREN = (SCORED_NAMES.index(name) for name in ("Water", "Forest", "Barren"))


def test_rules_name_classes_and_indices_that_exist_and_say_where_they_are_from() -> None:
    known = {index.name for index in INDICES}
    for rule in RULES:
        assert rule.name in SCORED_NAMES and rule.index in known
        assert rule.least < rule.most and any(c.isdigit() for c in rule.reference)


def test_a_dry_pixel_is_not_water_and_goes_to_the_others_in_proportion() -> None:
    p = np.zeros((8, 1, 2), np.float32)
    p[WATER], p[BARREN], p[FOREST] = 0.6, 0.3, 0.1
    x = np.array([[[0.3, 0.3]], [[-0.4, 0.4]]], np.float32)
    found = ruled(p, x, NAMES, RULES)
    np.testing.assert_allclose(found[[WATER, BARREN, FOREST], 0, 0], [0, 0.75, 0.25], rtol=1e-6)
    np.testing.assert_allclose(found[[WATER, BARREN, FOREST], 0, 1], [1, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(ruled(p, x, NAMES, ()), p)


def test_where_nothing_would_be_left_the_vote_stands() -> None:
    p = np.zeros((8, 1, 1), np.float32)
    p[WATER] = 1
    np.testing.assert_array_equal(ruled(p, np.array([[[0.3]], [[-0.4]]], np.float32), NAMES, RULES), p)


def test_rules_that_the_training_labels_contradict_are_not_believed() -> None:
    y = np.full(100, WATER, np.uint8)
    x = np.zeros((100, 2), np.float32)
    x[:, 1] = 0.3
    assert {rule.name for rule in trusted(x, y, NAMES)} == {"Water"}, "others have no pixel to bear them out"
    x[:4, 1] = -0.3
    assert trusted(x, y, NAMES)
    x[:6, 1] = -0.3
    assert not trusted(x, y, NAMES)
