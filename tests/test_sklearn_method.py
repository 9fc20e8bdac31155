"""SklearnMethod: what a classifier is given, and what becomes of its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import GaussianNB

from dfcbench.archive import Archive
from dfcbench.contest import FusionContest
from dfcbench.errors import ContractError, DataError, HiddenError
from dfcbench.method import Needs, RunContext
from dfcbench.scheme import SCORED_CODES, scored_index
from dfcbench_methods.adapters import PixelParams, SklearnMethod, SklearnParams
from dfcbench_methods.features.stack import PLAIN, Stack
from dfcbench_methods.pixel_draw import PixelFeatures, draw_pixels, level_shares, low
from tests.sen12ms_maker import Patches, make_training


class Recorded:
    """A classifier that keeps what it is given and answers with its first class."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y
        self.classes_ = np.unique(y)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        p = np.zeros((len(x), len(self.classes_)))
        p[:, 0], p[:, -1] = 0.75, 0.25
        return p


class Recording(SklearnMethod):
    name = "recording"

    def classifier(self, run: RunContext) -> Any:
        return Recorded()


class Bayes(SklearnMethod):
    name = "bayes"

    def classifier(self, run: RunContext) -> Any:
        return GaussianNB()


class Linear(SklearnMethod):
    name = "linear"

    def classifier(self, run: RunContext) -> Any:
        return SGDClassifier(random_state=run.seed)


def fitted(method: type[SklearnMethod], contest: Any, run: RunContext | None = None, **params: Any) -> Any:
    made = method(method.Params(**{"pixels": 3000, **params}))
    made.fit(contest, run or RunContext())
    return made


def maps(method: SklearnMethod, patches: Any, **options: Any) -> dict[str, np.ndarray]:
    return {p.patch_id: p.values for p in method.predict(patches, RunContext(**options))}


@pytest.fixture(scope="module")
def contest() -> Any:
    return make_training()


def test_a_classifier_of_three_lines_beats_the_low_resolution_labels(contest: Any) -> None:
    found = maps(fitted(Bayes, contest, inputs="s1+s2", source="labelled"), contest.target)
    ours, theirs = [], []
    for code in SCORED_CODES:
        of_class = [patch.high == code for patch in contest.target]
        if any(mask.any() for mask in of_class):
            pairs = list(zip(contest.target, of_class, strict=True))
            codes = [np.array(SCORED_CODES)[found[p.id].argmax(axis=0)] for p in contest.target]
            ours.append(np.mean(np.concatenate([c[m] == code for c, m in zip(codes, of_class, strict=True)])))
            theirs.append(np.mean(np.concatenate([p.low[m] == code for p, m in pairs])))
    assert np.mean(ours) > np.mean(theirs) + 0.1


def test_probabilities_stand_in_the_column_of_their_class(contest: Any) -> None:
    method = fitted(Recording, contest)
    classes = method.classifier_.classes_
    assert len(classes) > 1
    for values in maps(method, contest.target).values():
        assert values.shape == (8, 40, 40)
        assert (values[classes[0]] == 0.75).all() and (values[classes[-1]] == 0.25).all()
        assert (np.delete(values, [classes[0], classes[-1]], axis=0) == 0).all()


def test_a_class_that_never_occurs_in_training_has_probability_0() -> None:
    contest = make_training(seed=3)
    for patch in contest.training:
        patch.low[patch.low == 5] = 0
    for values in maps(fitted(Bayes, contest), contest.target).values():
        assert (values[3] == 0).all()
        np.testing.assert_allclose(values.sum(axis=0), 1, atol=1e-5)


def test_a_classifier_without_probabilities_gives_codes(contest: Any) -> None:
    method = fitted(Linear, contest)
    for patch in contest.target:
        values = maps(method, [patch])[patch.id]
        assert values.shape == patch.shape and values.dtype == np.uint8
        x = PixelFeatures()(patch)[:, 3, 5]
        assert values[3, 5] == SCORED_CODES[method.classifier_.predict(x[np.newaxis])[0]]


def test_maps_are_pixel_for_pixel_the_classifiers_answers(contest: Any) -> None:
    method = fitted(Bayes, contest, inputs="s1+s2", indices=True)
    patch = contest.target[0]
    values = maps(method, [patch], workers=2)[patch.id]
    x = PixelFeatures("s1+s2", True)(patch)
    for row, column in ((0, 0), (7, 31), (39, 2)):
        (expected,) = method.classifier_.predict_proba(x[:, row, column][np.newaxis])
        np.testing.assert_allclose(values[method.classifier_.classes_, row, column], expected, atol=1e-6)


def test_classes_beyond_the_scheme_break_the_contract(contest: Any) -> None:
    method = fitted(Recording, contest)
    method.classifier_.classes_ = np.array([1, 10])
    with pytest.raises(ContractError, match="class 10"):
        maps(method, contest.target)


def test_all_features_are_those_of_the_track_2_winner_in_order(contest: Any) -> None:
    patch = contest.target[0]
    features = PixelFeatures("s1+s2", indices=True)
    assert features.names == PLAIN
    np.testing.assert_array_equal(features(patch), Stack()(patch))
    np.testing.assert_array_equal(PixelFeatures("s1+s2")(patch), Stack()(patch)[:12])
    np.testing.assert_array_equal(PixelFeatures("s2")(patch), Stack()(patch)[:10])


def test_radar_is_neither_asked_for_nor_read_with_s2_alone(contest: Any) -> None:
    class NoRadar:
        def __init__(self, patch: Any) -> None:
            self.s2 = patch.s2

    patch: Any = NoRadar(contest.target[0])
    assert PixelFeatures("s2", indices=True)(patch).shape == (22, 40, 40)
    assert Bayes().requires().inputs == {"s2"}


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ("sen12ms", Needs({"s1", "s2"}, "low", training=True)),
        ("labelled", Needs({"s1", "s2"}, "high")),
        ("target", Needs({"s1", "s2"}, "low", transductive=True)),
    ],
)
def test_the_source_of_training_pixels_is_declared(source: str, needs: Needs) -> None:
    assert Bayes(SklearnParams(inputs="s1+s2", source=source)).requires() == needs


@pytest.mark.parametrize(("source", "track"), [("sen12ms", 1), ("target", 1), ("labelled", 2)])
def test_each_source_is_one_that_the_contest_shows_for_these_needs(small: Archive, source: str, track: int) -> None:
    method = Recording(SklearnParams(source=source))
    method.fit(FusionContest(small, track, "test").view(method.requires()), RunContext())
    assert len(method.classifier_.y) > 100


def test_high_resolution_labels_are_not_to_be_had_on_track_1(small: Archive) -> None:
    method = Recording(SklearnParams(source="labelled"))
    view = FusionContest(small, 1, "test").view(Needs({"s2"}, "low"))
    with pytest.raises(HiddenError, match="Track 1"):
        method.fit(view, RunContext())


def drawn(patches: Patches, n: int, balance: Any, seed: int = 0) -> Any:
    """A draw whose features are the patch's number, row and column."""
    numbers = {patch.id: k for k, patch in enumerate(patches)}

    def place(patch: Any) -> np.ndarray:
        height, width = patch.shape
        planes = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
        return np.stack([np.full(patch.shape, numbers[patch.id]), *planes]).astype(np.float32)

    return draw_pixels(patches, low, n, balance, place, RunContext(seed=seed))  # type: ignore[arg-type]


@pytest.mark.parametrize("balance", ["equal", "natural", "all"])
@pytest.mark.parametrize("n", [1, 100, 3001, 10**6])
def test_a_draw_takes_each_pixel_once_with_its_own_label(contest: Any, balance: str, n: int) -> None:
    patches = contest.training
    draw = drawn(patches, n, balance)
    labels = np.stack([scored_index(p.low) for p in patches])
    there = labels.size if balance == "all" else int((labels < 8).sum())
    assert len(draw.y) == len(np.unique(draw.x, axis=0)) == min(n, there)
    np.testing.assert_array_equal(labels[tuple(draw.x.astype(int).T)], draw.y)


def test_equal_draws_have_as_many_pixels_of_each_class(contest: Any) -> None:
    available = np.bincount(np.concatenate([scored_index(p.low).ravel() for p in contest.training]), minlength=256)[:8]
    n = 8 * int(np.sort(available[available > 0])[1])
    counts = np.bincount(drawn(contest.training, n, "equal").y, minlength=8)
    rare = available.argmin() if available.min() else np.flatnonzero(available)[available[available > 0].argmin()]
    others = np.delete(counts[available > 0], list(np.flatnonzero(available)).index(rare))
    assert counts[rare] == available[rare]
    assert counts.sum() == n and others.min() >= n // 8


def test_natural_draws_keep_the_shares_of_classes(contest: Any) -> None:
    available = np.bincount(np.concatenate([scored_index(p.low).ravel() for p in contest.training]), minlength=256)[:8]
    counts = np.bincount(drawn(contest.training, 2000, "natural").y, minlength=8)
    np.testing.assert_allclose(counts / 2000, available / available.sum(), atol=1e-3)


def test_draws_depend_on_the_seed_alone(contest: Any) -> None:
    first, second, other = (drawn(contest.training, 500, "equal", seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.x, second.x)
    assert not np.array_equal(first.x, other.x)


@pytest.mark.parametrize("seed", range(20))
def test_level_shares_are_as_equal_as_what_is_there_allows(seed: int) -> None:
    generator = np.random.default_rng(seed)
    available = generator.integers(0, 40, 8)
    n = int(generator.integers(0, 250))
    shares = level_shares(n, available)
    assert shares.sum() == min(n, available.sum())
    assert (shares <= available).all()
    short = shares < available
    if short.any():
        assert shares[short].max() - shares[short].min() <= 1
        assert shares.max() <= shares[short].max() or (shares[~short] <= shares[short].max()).all()


def test_labels_of_another_size_than_the_images_are_an_error(contest: Any) -> None:
    patches = make_training(seed=5).training
    patches[0].low = patches[0].low[:30]
    with pytest.raises(DataError, match="verify"):
        fitted(Bayes, make_training_of(patches))


def make_training_of(patches: Patches) -> Any:
    contest = make_training()
    contest.training = patches
    return contest


def test_no_labels_at_all_are_an_error_with_a_reason(contest: Any) -> None:
    blank = make_training(seed=6)
    for patch in blank.target:
        patch.low[:] = 3
    with pytest.raises(DataError, match="scored class"):
        fitted(Bayes, blank, source="target")


def test_bad_pixels_do_no_harm() -> None:
    contest = make_training(seed=7)
    for patches in (contest.training, contest.target):
        patches[0].s1[:, :5] = np.nan
        patches[0].s2[:] = 0
    for values in maps(fitted(Bayes, contest, inputs="s1+s2", indices=True), contest.target).values():
        assert np.isfinite(values).all()


def test_save_and_load_keep_the_maps(contest: Any, tmp_path: Path) -> None:
    class Trees(SklearnMethod):
        name = "trees"

        def classifier(self, run: RunContext) -> Any:
            return ExtraTreesClassifier(5, random_state=run.seed)

    method = fitted(Trees, contest)
    method.save(tmp_path)
    copy = Trees(method.params)
    copy.load(tmp_path)
    for name, values in maps(copy, contest.target).items():
        np.testing.assert_array_equal(values, maps(method, contest.target)[name])


def test_parameters_are_inherited_and_can_be_added_to() -> None:
    class Own(SklearnParams):
        trees: int = 3

    assert set(Own.model_fields) == {*SklearnParams.model_fields, "trees"}
    assert set(PixelParams.model_fields) < set(SklearnParams.model_fields)


def test_an_unknown_adapter_names_those_that_exist() -> None:
    import dfcbench_methods.adapters as adapters

    with pytest.raises(AttributeError, match="SklearnMethod"):
        adapters.KerasMethod  # noqa: B018
