"""Index rules on made-up spectra: what each speaks against, where it is silent, and when data contradict it."""

from __future__ import annotations

import numpy as np
import pytest

from dfcbench.scheme import SCORED_NAMES
from dfcbench_methods.channels import SURFACE_NAMES
from dfcbench_methods.index_rules import RULE_NAMES, RULES, cover, fitting, indices_of, ruled, spoken

SPECTRA = {
    # B2, B3, B4, B5, B6, B7, B8, B8A, B11, B12: typical top-of-atmosphere reflectance
    "lake": (0.09, 0.07, 0.045, 0.04, 0.03, 0.03, 0.02, 0.02, 0.01, 0.008),
    "muddy river": (0.13, 0.13, 0.13, 0.13, 0.12, 0.12, 0.14, 0.10, 0.03, 0.02),
    "broadleaf forest": (0.09, 0.08, 0.05, 0.09, 0.25, 0.32, 0.33, 0.35, 0.17, 0.08),
    "meadow": (0.10, 0.10, 0.08, 0.12, 0.26, 0.31, 0.33, 0.35, 0.24, 0.14),
    "dense town": (0.15, 0.15, 0.15, 0.16, 0.18, 0.19, 0.19, 0.20, 0.22, 0.19),
    "suburb": (0.12, 0.11, 0.11, 0.13, 0.19, 0.21, 0.22, 0.23, 0.20, 0.15),
    "bare soil": (0.13, 0.15, 0.19, 0.22, 0.24, 0.26, 0.27, 0.28, 0.36, 0.32),
}
BY_NAME = {rule.name: rule for rule in RULES}


def image(*spectra: tuple[float, ...]) -> np.ndarray:
    """Reflectance (10, 1, n)."""
    return np.array(spectra, np.float32).T[:, np.newaxis, :]


def against(name: str) -> set[str]:
    """The classes that some rule speaks against."""
    indices = indices_of(image(SPECTRA[name]))
    return {doubted for rule in RULES if rule.speaks(indices)[0, 0] for doubted in rule.against}


@pytest.mark.parametrize(
    ("surface", "possible", "doubted"),
    [
        ("lake", {"Water", "Wetlands"}, {"Forest", "Urban/Built-up", "Barren", "Croplands", "Grassland", "Shrubland"}),
        ("muddy river", {"Water", "Wetlands"}, {"Forest"}),
        ("broadleaf forest", {"Forest", "Shrubland", "Wetlands"}, {"Water", "Urban/Built-up", "Barren"}),
        ("meadow", {"Grassland", "Croplands", "Wetlands"}, {"Water", "Urban/Built-up", "Barren"}),
        ("dense town", {"Urban/Built-up", "Barren"}, {"Water", "Forest"}),
        ("suburb", {"Urban/Built-up"}, {"Water"}),
        ("bare soil", {"Barren", "Croplands", "Urban/Built-up"}, {"Water", "Forest"}),
    ],
)
def test_typical_surfaces(surface, possible, doubted):
    found = against(surface)
    assert not found & possible
    assert doubted <= found


def test_every_rule_names_known_classes_and_its_reference():
    for rule in RULES:
        assert set(rule.against) <= set(SCORED_NAMES) and rule.against
        assert any(year in rule.reference for year in ("1996", "2002", "2003", "2004", "2006"))
    assert len(set(RULE_NAMES)) == len(RULES)
    for wanted in ("water", "urban", "barren"):
        assert wanted in RULE_NAMES


def test_thresholds_are_those_of_the_references():
    """NDWI and MNDWI 0; NDBI 0 with cover 0.7; BSI 0 with cover 0.1; NDVI 0.2 and 0.5; one step to either side."""
    e = np.float32(1e-3)
    zero = np.zeros((1, 2), np.float32)

    def at(rule: str, **values: tuple[float, float]) -> list[bool]:
        indices = dict.fromkeys(("NDWI", "MNDWI", "NDBI", "BSI", "NDVI", "cover"), zero)
        indices |= {name: np.array([pair], np.float32) for name, pair in values.items()}
        return BY_NAME[rule].speaks(indices)[0].tolist()

    assert at("water", NDWI=(e, e), MNDWI=(e, -e)) == [True, False]
    assert at("water", NDWI=(-e, 0), MNDWI=(e, e)) == [False, False]
    assert at("dry", NDWI=(-e, -e), MNDWI=(-e, e)) == [True, False]
    assert at("urban", NDBI=(-e, e), cover=(0.7 + e, 0.7 + e)) == [True, False]
    assert at("urban", NDBI=(-e, -e), cover=(0.7 - e, 0.7 + e)) == [False, True]
    assert at("barren", BSI=(-e, e), cover=(0.1 + e, 0.1 + e)) == [True, False]
    assert at("vegetated", NDVI=(0.5 + e, 0.5 - e)) == [True, False]
    assert at("bare", NDVI=(0.2 + e, 0.2 - e)) == [False, True]


def test_cover_runs_from_bare_soil_to_full_vegetation():
    np.testing.assert_allclose(cover(np.array([-1, 0.2, 0.35, 0.5, 1], np.float32)), [0, 0, 0.25, 1, 1], atol=1e-6)


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_no_rule_speaks_where_there_is_nothing_to_see(bad):
    for band in range(len(SURFACE_NAMES)):
        x = image(SPECTRA["lake"], SPECTRA["bare soil"])
        x[band, 0, 1] = bad
        speaks = [rule.speaks(indices_of(x))[0] for rule in RULES]
        assert any(s[0] for s in speaks)
        assert not any(s[1] for s in speaks)


def test_a_rule_takes_its_share_of_the_probability_and_a_class_is_doubted_once():
    p = np.full((8, 1, 2), 1 / 8, np.float32)
    indices = indices_of(image(SPECTRA["meadow"], SPECTRA["suburb"]))
    kept = spoken(RULES)
    after = ruled(p, indices, RULES, kept, 0.1)
    np.testing.assert_allclose(after.sum(axis=0), 1, atol=1e-6)
    water, grass = SCORED_NAMES.index("Water"), SCORED_NAMES.index("Grassland")
    np.testing.assert_allclose(after[water] / after[grass], 0.1, rtol=1e-5)
    np.testing.assert_array_equal(ruled(p, indices, RULES, kept, 1.0), p)


def test_a_pixel_whose_only_classes_are_forbidden_stays_as_it_is():
    p = np.zeros((8, 1, 1), np.float32)
    p[SCORED_NAMES.index("Barren")] = 1
    np.testing.assert_array_equal(ruled(p, indices_of(image(SPECTRA["meadow"])), RULES, spoken(RULES), 0.0), p)


def test_a_rule_that_the_labels_contradict_is_not_used_against_that_class():
    rule = BY_NAME["vegetated"]
    names = [SCORED_NAMES.index(name) for name in ("Water", "Barren")]
    inside, outside = np.full(8, 10.0), np.full(8, 10.0)
    inside[names] = [1, 30]
    outside[names] = [30, 1]
    kept = fitting(inside, outside, rule)
    assert [bool(kept[k]) for k in names] == [True, False]
    assert not kept[SCORED_NAMES.index("Forest")], "the rule never spoke against it"


def test_a_rule_that_never_speaks_is_kept():
    assert fitting(np.zeros(8), np.ones(8), BY_NAME["dry"]).sum() == 1
