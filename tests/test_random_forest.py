"""The random forest as a method: what it learns from, in both engines, and its votes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from dfcbench.method import RunContext
from dfcbench.scheme import SCORED_CODES
from dfcbench_methods import forests
from dfcbench_methods.forests import engine_here
from dfcbench_methods.random_forest import RandomForestMapping, RandomForestParams
from tests.sen12ms_maker import make_training

ENGINES = ["sklearn", *(["sklearnex"] if engine_here() == "sklearnex" else [])]
SMALL = {"pixels": 4000, "trees": 20, "min_samples": 20, "engine": "sklearn"}


def fitted(contest: Any, workers: int = 1, **params: Any) -> RandomForestMapping:
    method = RandomForestMapping(RandomForestParams(**{**SMALL, **params}))
    method.fit(contest, RunContext(workers=workers))
    return method


def maps(method: RandomForestMapping, contest: Any) -> dict[str, np.ndarray]:
    return {p.patch_id: p.values for p in method.predict(contest.target, RunContext())}


def average_accuracy(found: dict[str, np.ndarray], contest: Any) -> float:
    high = np.concatenate([p.high.ravel() for p in contest.target])
    codes = np.concatenate([found[p.id].ravel() for p in contest.target])
    return float(np.mean([(codes[high == code] == code).mean() for code in np.unique(high)]))


@pytest.fixture(scope="module")
def contest() -> Any:
    return make_training(size=(60, 60), seed=1)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_learns_classes_from_noisy_labels_and_beats_them(contest: Any, engine: str) -> None:
    found = maps(fitted(contest, engine=engine, inputs="s1+s2"), contest)
    ours = average_accuracy({k: np.array(SCORED_CODES)[v.argmax(axis=0)] for k, v in found.items()}, contest)
    theirs = average_accuracy({p.id: p.low for p in contest.target}, contest)
    assert ours > theirs, (ours, theirs)


@pytest.mark.parametrize("engine", ENGINES)
def test_votes_are_probabilities_and_0_for_a_class_that_never_occurs(engine: str) -> None:
    contest = make_training(seed=4)
    for patch in contest.training:
        patch.low[np.isin(patch.low, (5, 10))] = 3
    method = fitted(contest, engine=engine)
    for values in maps(method, contest).values():
        assert values.shape == (8, 40, 40)
        np.testing.assert_allclose(values.sum(axis=0), 1, atol=1e-5)
        assert (values[[3, 7]] == 0).all() and (values[0] > 0).any()


def test_the_forest_is_the_engines_own(contest: Any) -> None:
    """Its votes are those of scikit-learn's classifier on the same draw."""
    from sklearn.ensemble import RandomForestClassifier

    method = RandomForestMapping(RandomForestParams(**SMALL))
    run = RunContext()
    draw = method._draw(contest, run)
    method.fit(contest, run)
    seed = int(run.generator("random-forest").integers(2**31))
    plain = RandomForestClassifier(20, max_depth=60, min_samples_split=20, random_state=seed).fit(draw.x, draw.y)
    ours = method.classifier_.predict_proba(draw.x)
    np.testing.assert_allclose(ours[:, plain.classes_], plain.predict_proba(draw.x), atol=1e-5)


def test_forests_do_not_depend_on_threads(contest: Any) -> None:
    one, two = (maps(fitted(contest, workers=workers), contest) for workers in (1, 2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


def test_save_and_load_keep_the_maps(contest: Any, tmp_path: Path) -> None:
    method = fitted(contest)
    method.save(tmp_path)
    copy = RandomForestMapping(method.params)
    copy.load(tmp_path)
    for name, values in maps(method, contest).items():
        np.testing.assert_array_equal(maps(copy, contest)[name], values)


def test_the_published_needs_are_low_resolution_labels_of_sen12ms() -> None:
    for inputs, expected in (("s2", {"s2"}), ("s1+s2", {"s1", "s2"})):
        needs = RandomForestMapping(RandomForestParams(inputs=inputs)).requires()
        assert (needs.inputs, needs.labels, needs.training, needs.transductive) == (expected, "low", True, False)


def test_the_engine_is_resolved_and_one_that_is_not_there_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RandomForestParams().engine == engine_here()
    monkeypatch.setattr(forests, "engine_here", lambda: "sklearn")
    assert RandomForestParams().engine == "sklearn"
    with pytest.raises(ValidationError, match="not installed"):
        RandomForestParams(engine="sklearnex")
    with pytest.raises(ValidationError, match="engines are auto, sklearn and sklearnex"):
        RandomForestParams(engine="xgboost")
