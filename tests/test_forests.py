"""Forests: what is drawn for each, what they say, how they are kept, and how a killed run goes on."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dfcbench.errors import DataError
from dfcbench_methods import forest_sampling, forests
from dfcbench_methods.forest_kernels import _descend
from dfcbench_methods.forest_sampling import NONE, Draw, Population, groups, shares
from dfcbench_methods.forest_trees import Trees, from_sklearn
from dfcbench_methods.forests import Growing, Member, checkpoint, class_weights, classifier, grow, grow_all, votes
from tests.forest_maker import Killed, Patches, Reporter, context, plain_patch

needs_sklearnex = pytest.mark.skipif(
    not importlib.util.find_spec("sklearnex"), reason="scikit-learn-intelex is not installed here"
)


def samples(n: int, seed: int = 0, classes: tuple[int, ...] = tuple(range(8))) -> Draw:
    """Overlapping classes in 6 features."""
    centres = np.random.default_rng(99).normal(size=(8, 6))
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, n).astype(np.uint8)
    return Draw((centres[y] + 0.7 * rng.normal(size=(n, 6))).astype(np.float32), y)


def population(tmp_path: Path, counts: list[tuple[int, int]]) -> Population:
    """Patches with so many pixels and so many training pixels among them; their first band tells the patch."""
    rng = np.random.default_rng(0)
    patches = [plain_patch(f"p{i}", np.zeros((1, pixels)), s2=i) for i, (pixels, _) in enumerate(counts)]
    found = Population(tmp_path / "labels.bin", [Patches(patches[:2]), Patches(patches[2:])])
    for i, (pixels, known) in enumerate(counts):
        labels = np.full((1, pixels), NONE, np.uint8)
        chosen = rng.choice(pixels, known, replace=False)
        labels[0, chosen] = rng.integers(0, 8, known)
        found.put(i, labels)
    return found


def places(patch) -> np.ndarray:
    """Features that tell which patch and pixel they are of."""
    width = patch.shape[1]
    return np.stack([np.full((1, width), patch.s2[0, 0, 0]), np.arange(width)[None]]).astype(np.float32)


COUNTS = [(50, 50), (400, 10), (300, 300), (40, 0), (90, 77)]


@pytest.mark.parametrize("n", [1, 7, 200, 436, 437, 10_000])
def test_a_draw_has_its_size_and_is_spread_in_proportion(n):
    available = np.array([known for _, known in COUNTS])
    drawn = np.stack([shares(n, available, np.random.default_rng(seed)) for seed in range(400)])
    assert (drawn <= available).all()
    assert (drawn.sum(axis=1) == min(n, available.sum())).all()
    expected = available * min(1, n / available.sum())
    assert np.abs(drawn - expected).max() < 1
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=0.12)


@pytest.mark.parametrize("n", [100, 10_000])
def test_drawn_pixels_are_training_pixels_with_their_labels_and_none_twice(tmp_path, n):
    found = population(tmp_path, COUNTS)
    draw = found.draw(["a"], n, places, context(tmp_path))["a"]
    assert len(draw.y) == len(draw.x) == min(n, 437)
    assert len(np.unique(draw.x, axis=0)) == len(draw.x)
    for (patch, pixel), label in zip(draw.x.astype(int), draw.y, strict=True):
        assert found.labels(patch)[0, pixel] == label != NONE


def test_every_training_pixel_is_as_likely_as_any_other(tmp_path):
    found = population(tmp_path, COUNTS)
    names = [f"f{i}" for i in range(300)]
    draws = found.draw(names, 100, places, context(tmp_path))
    seen = Counter(tuple(row) for draw in draws.values() for row in draw.x.astype(int).tolist())
    mean = 300 * 100 / 437
    assert len(seen) == 437
    assert np.abs(np.array(list(seen.values())) - mean).max() < 6 * np.sqrt(mean)


def test_a_draw_depends_on_seed_and_name_alone(tmp_path):
    found = population(tmp_path, COUNTS)
    together = found.draw(["a", "b", "c"], 100, places, context(tmp_path, workers=2))
    alone = found.draw(["b"], 100, places, context(tmp_path))["b"]
    np.testing.assert_array_equal(together["b"].x, alone.x)
    np.testing.assert_array_equal(together["b"].y, alone.y)
    assert not np.array_equal(together["a"].x, together["b"].x)
    other = found.draw(["b"], 100, places, context(tmp_path, seed=1))["b"]
    assert not np.array_equal(other.x, alone.x)


def test_each_patch_is_read_once_for_draws_that_share_a_pass(tmp_path):
    read: list[str] = []

    def features(patch) -> np.ndarray:
        read.append(patch.id)
        return places(patch)

    population(tmp_path, COUNTS).draw(["a", "b", "c"], 437, features, context(tmp_path))
    assert sorted(read) == ["p0", "p1", "p2", "p4"], "p3 has no training pixel"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_labels_take_no_memory_while_they_are_not_looked_at(tmp_path):
    found = population(tmp_path, COUNTS)
    found.draw(["a"], 20, places, context(tmp_path))
    found.recount()
    assert found.pixels == sum(known for _, known in COUNTS)
    assert str(tmp_path / "labels.bin") not in Path("/proc/self/maps").read_text()
    assert not [name for name, value in vars(found).items() if getattr(value, "size", 0) > 8 * (len(COUNTS) + 1)]


def test_draws_share_a_pass_as_far_as_memory_allows(monkeypatch):
    monkeypatch.setattr(forest_sampling, "MEMORY", 1000 * 2 * (4 * 3 + 1))
    assert groups(["a", "b", "c", "d", "e"], 1000, 3) == [["a", "b"], ["c", "d"], ["e"]]
    assert groups(["a", "b"], 10**9, 3) == [["a"], ["b"]]


def test_labels_of_another_size_than_the_images_are_an_error(tmp_path):
    with pytest.raises(DataError, match="p0"):
        population(tmp_path, COUNTS).put(0, np.zeros((2, 25), np.uint8))


@pytest.mark.parametrize("classes", [tuple(range(8)), (1, 4, 6), (3,)])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_forest_says_what_scikit_learns_own_says_and_0_for_absent_classes(classes, weighted):
    growing = Growing(trees=4, max_depth=12, min_samples=5)
    draw, other = samples(800, classes=classes), samples(3000, seed=1)
    trees = grow(draw, growing, weighted, seed=5)
    reference = classifier(growing, weighted, 5).fit(draw.x, draw.y)
    expected = np.zeros((3000, 8))
    expected[:, reference.classes_] = reference.predict_proba(other.x)
    np.testing.assert_allclose(trees.probabilities(other.x), expected, atol=1e-5)


def test_a_threshold_between_two_floats_parts_them_as_scikit_learn_does():
    class Tree:
        children_left = np.array([1, -1, -1])
        children_right = np.array([2, -1, -1])
        feature = np.array([0, -2, -2])
        value = np.eye(8)[[0, 1, 2]][:, None, :]

    for centre in (np.float32(0.1), np.float32(-3e5), np.float32(0)):
        below, above = (np.nextafter(centre, np.float32(side)) for side in (-np.inf, np.inf))
        for exact in (float(centre), (float(centre) + float(above)) / 2, (float(centre) + float(below)) / 2):
            Tree.threshold = np.array([exact, 0, 0])
            x = np.array([[below], [centre], [above]], np.float32)
            found = from_sklearn([Tree], np.arange(8)).probabilities(x).argmax(axis=1)
            np.testing.assert_array_equal(found, np.where(x[:, 0].astype(float) <= exact, 1, 2))


def test_trees_keep_their_votes_on_disk(tmp_path):
    trees = grow(samples(500), Growing(trees=3, min_samples=5), True, 0)
    trees.save(tmp_path / "forest.npz")
    x = samples(100, 1).x
    np.testing.assert_array_equal(Trees.load(tmp_path / "forest.npz").probabilities(x), trees.probabilities(x))


def test_class_weights_are_scikit_learns_balanced_ones():
    from sklearn.utils.class_weight import compute_class_weight

    y = np.repeat(np.array([0, 2, 7], np.uint8), [10, 50, 3])
    found = class_weights(y, weighted=True)
    np.testing.assert_allclose(found[[0, 2, 7]], compute_class_weight("balanced", classes=np.array([0, 2, 7]), y=y))
    assert found.sum() == found[[0, 2, 7]].sum()
    assert (class_weights(y, weighted=False) == 1).all()


def test_weighted_forests_find_more_of_a_rare_class():
    rng = np.random.default_rng(0)
    y = (rng.random(4000) < 0.02).astype(np.uint8)
    x = (y[:, None] + rng.normal(0, 0.7, (4000, 6))).astype(np.float32)
    growing = Growing(trees=10, min_samples=200)
    found = [grow(Draw(x, y), growing, weighted, 0).probabilities(x).argmax(1)[y == 1].mean() for weighted in (0, 1)]
    assert found[1] > found[0] + 0.2


def test_recounted_leaves_tell_the_weighted_shares_of_the_rows_that_reach_them():
    draw = samples(600)
    weight = np.arange(1.0, 9.0)
    trees = grow(draw, Growing(trees=1, max_depth=2, min_samples=2), False, 0).recounted(draw.x, draw.y, weight)
    at, active = np.zeros((2, 600), np.uint32)
    _descend(trees.link, trees.threshold, 0, draw.x, at, active)
    p = trees.probabilities(draw.x)
    assert len(np.unique(at)) == 4
    for leaf in np.unique(at):
        own = np.bincount(draw.y[at == leaf], minlength=8) * weight
        np.testing.assert_allclose(p[at == leaf], np.tile(own / own.sum(), (int((at == leaf).sum()), 1)), atol=1e-5)


@needs_sklearnex
def test_pixels_go_the_same_ways_as_in_sklearnex():
    """In a forest of one tree, all pixels of a leaf have one distribution, and leaves differ."""
    draw = samples(5000)
    growing = Growing("sklearnex", trees=1, min_samples=20)
    theirs = classifier(growing, True, 3).fit(draw.x, draw.y)
    trees = grow(draw, growing, True, 3)
    at, active = np.zeros((2, 5000), np.uint32)
    _descend(trees.link, trees.threshold, 0, draw.x, at, active)
    p = theirs.predict_proba(draw.x)
    for leaf in np.unique(at):
        assert np.ptp(p[at == leaf], axis=0).max() == 0
    assert len(np.unique(p, axis=0)) > 0.5 * len(np.unique(at))
    assert len(np.unique(at)) > 100


@needs_sklearnex
def test_sklearnex_grows_the_same_forest_whatever_the_number_of_workers():
    draw = samples(3000)
    one, two = (grow(draw, Growing("sklearnex", trees=4, min_samples=10, workers=w), True, 7) for w in (1, 2))
    np.testing.assert_array_equal(one.link, two.link)
    np.testing.assert_array_equal(one.leaves, two.leaves)


@needs_sklearnex
@pytest.mark.parametrize("draw", [samples(1), samples(30, classes=(5,))])
def test_sklearnex_copes_with_one_class(draw):
    p = grow(draw, Growing("sklearnex", trees=2), True, 0).probabilities(samples(9).x)
    np.testing.assert_allclose(p, np.eye(8)[[draw.y[0]] * 9], atol=1e-6)


MEMBERS = [Member(f"main-{i}", "main", i % 2 == 0, 1.0 + i) for i in range(3)] + [Member("water-0", "water", False)]


def scene(tmp_path: Path) -> tuple[Population, Patches]:
    rng = np.random.default_rng(4)
    patches = []
    for number in range(3):
        patch = plain_patch(f"p{number}", np.zeros((12, 17)))
        patch.s2[:] = rng.integers(0, 3000, patch.s2.shape)
        patches.append(patch)
    (tmp_path / "scratch").mkdir(parents=True, exist_ok=True)
    found = Population(tmp_path / "scratch" / "labels.bin", [Patches(patches)])
    for number, patch in enumerate(patches):
        found.put(number, (patch.s2[3] // 400).astype(np.uint8))
    return found, Patches(patches)


def bands(patch) -> np.ndarray:
    return patch.s2[:6].astype(np.float32)


GROWING = Growing(trees=3, min_samples=4)


def grown(tmp_path: Path, stop_at: int | None = None, **options) -> tuple[dict[str, Trees], Reporter]:
    reporter = Reporter(stop_at)
    run = context(tmp_path, reporter=reporter, **options)
    grow_all(MEMBERS, scene(tmp_path)[0], 150, bands, GROWING, run)
    return {m.name: run.load_checkpoint(checkpoint(m.name)) for m in MEMBERS}, reporter


@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_killed_run_goes_on_with_the_next_forest_to_the_same_forests(tmp_path, killed_after):
    whole, _ = grown(tmp_path / "whole")
    with pytest.raises(Killed):
        grown(tmp_path / "broken", stop_at=killed_after)
    broken, reporter = grown(tmp_path / "broken")
    assert reporter.grown == len(MEMBERS) - killed_after, "finished forests are not grown again"
    for name, trees in whole.items():
        np.testing.assert_array_equal(broken[name].link, trees.link)
        np.testing.assert_array_equal(broken[name].leaves, trees.leaves)


def test_forests_grown_in_passes_of_one_draw_each_are_the_same(tmp_path, monkeypatch):
    whole, _ = grown(tmp_path / "whole", workers=2)
    monkeypatch.setattr(forest_sampling, "MEMORY", 1)
    for name, trees in grown(tmp_path / "single")[0].items():
        np.testing.assert_array_equal(trees.link, whole[name].link)


@pytest.mark.parametrize("held", [forests.HELD, 0])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_vote_is_the_weighted_mean_of_the_forests(tmp_path, monkeypatch, held, workers):
    monkeypatch.setattr(forests, "HELD", held)
    monkeypatch.setattr(forests, "CHUNK", 2)
    committee, _ = grown(tmp_path)
    _, patches = scene(tmp_path)
    voted = list(votes(MEMBERS, committee.__getitem__, patches, bands, context(tmp_path, workers=workers)))
    assert [patch.id for patch, _ in voted] == ["p0", "p1", "p2"]
    for patch, found in voted:
        x = bands(patch).reshape(6, -1).T
        single = {name: trees.probabilities(x) for name, trees in committee.items()}
        main = (1 * single["main-0"] + 2 * single["main-1"] + 3 * single["main-2"]) / 6
        np.testing.assert_allclose(found["main"], main.T.reshape(8, 12, 17), atol=1e-5)
        np.testing.assert_allclose(found["water"], single["water-0"].T.reshape(8, 12, 17), atol=1e-5)


def test_a_committee_too_large_to_hold_is_read_forest_by_forest(tmp_path, monkeypatch):
    monkeypatch.setattr(forests, "HELD", 0)
    monkeypatch.setattr(forests, "CHUNK", 2)
    committee, _ = grown(tmp_path)
    read = []

    def reader(name: str) -> Trees:
        read.append(name)
        return committee[name]

    list(votes(MEMBERS, reader, scene(tmp_path)[1], bands, context(tmp_path)))
    names = [member.name for member in MEMBERS]
    assert read == [names[0], *names, *names], "once per chunk of two patches; the first shows that they are too large"
