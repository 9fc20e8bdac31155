"""SEN12MS as training data: the hold-out is left alone, scenes stay whole, every class is looked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dfcbench import records
from dfcbench.archive import Archive
from dfcbench.errors import DataError
from dfcbench.method import RunContext
from dfcbench.patches import HOLDOUT_SCENES, PatchRecord, PatchSet
from dfcbench.scheme import SCORED_CODES
from dfcbench_methods.sen12ms import (
    CANDIDATES,
    class_aware,
    label_counts,
    spread_over_scenes,
    subsample,
    training_and_holdout,
    training_scenes,
)


def made(**scenes: int) -> PatchSet:
    """Patches by name alone: so many of each scene of spring."""
    return PatchSet(
        PatchRecord(f"ROIs1158_spring_{scene[1:]}_p{k}", f"ROIs1158_spring_{scene[1:]}", None, {"lc": Path("none")})
        for scene, count in scenes.items()
        for k in range(count)
    )


def scenes(patches: PatchSet) -> Counter[str]:
    return Counter(patch.scene for patch in patches)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_official_hold_out_scenes_are_never_trained_on(small: Archive) -> None:
    every = small.patches("training")
    assert set(scenes(every)) & HOLDOUT_SCENES == {"ROIs1158_spring_63", "ROIs2017_winter_146"}
    kept = training_scenes(every)
    assert set(scenes(kept)) == {"ROIs1158_spring_101", "ROIs1868_summer_2"}
    assert kept.ids == small.patches("training", "train").ids
    run = RunContext()
    for seed in range(5):
        run.seed = seed
        assert not set(scenes(subsample(every, 3, run))) & HOLDOUT_SCENES


def test_training_and_holdout_are_the_official_parts(small: Archive) -> None:
    training, holdout = training_and_holdout(small.patches("training"), rng())
    assert training.ids == small.patches("training", "train").ids
    assert holdout.ids == small.patches("training", "holdout").ids


@pytest.mark.parametrize("seed", range(4))
def test_where_no_official_scene_is_here_whole_scenes_are_held_out(seed: int) -> None:
    patches = made(**{f"s{i}": 3 for i in range(200, 230)})
    training, holdout = training_and_holdout(patches, rng(seed))
    assert sorted(training.ids + holdout.ids) == sorted(patches.ids)
    assert not set(scenes(training)) & set(scenes(holdout))
    assert len(scenes(holdout)) == 3
    assert set(scenes(holdout).values()) == {3}
    assert training_and_holdout(patches, rng(seed))[1].ids == holdout.ids


def test_of_two_scenes_one_is_held_out_and_of_one_none() -> None:
    training, holdout = training_and_holdout(made(s1=2, s2=5), rng())
    assert len(scenes(training)) == len(scenes(holdout)) == 1
    training, holdout = training_and_holdout(made(s1=4), rng())
    assert (len(training), len(holdout)) == (4, 0)


def test_hold_out_scenes_alone_are_an_error_with_a_reason() -> None:
    with pytest.raises(DataError, match="hold-out"):
        training_scenes(made(s63=2, s146=1))


@pytest.mark.parametrize("n", [1, 4, 5, 9, 13, 14])
def test_a_spread_takes_as_evenly_from_scenes_as_these_allow(n: int) -> None:
    patches = made(s1=6, s2=1, s3=7)
    chosen = spread_over_scenes(patches, n, rng(n))
    assert len(set(chosen.ids)) == n
    assert list(chosen.ids) == [i for i in patches.ids if i in set(chosen.ids)]
    counts = scenes(chosen)
    wanted = [sorted(min(level, size) for size in (6, 1, 7)) for level in range(8)]
    found = sorted(counts.get(scene, 0) for scene in scenes(patches))
    assert any(all(a <= f <= b for a, f, b in zip(wanted[k], found, wanted[k + 1], strict=True)) for k in range(7))


def test_a_spread_is_drawn_and_not_the_first_patches() -> None:
    patches = made(s1=50, s2=50)
    draws = {spread_over_scenes(patches, 6, rng(seed)).ids for seed in range(5)}
    assert len(draws) == 5
    numbers = [int(i.rpartition("_p")[2]) for ids in draws for i in ids]
    assert max(numbers) > 25


@pytest.mark.parametrize("seed", range(8))
def test_every_class_is_among_as_many_patches_as_there_are_classes(seed: int) -> None:
    generator = rng(seed)
    counts = generator.integers(1, 1000, (300, 8)) * (generator.random((300, 8)) < [0.9, 0.9, 0.5, 0.5, 0.1, 0.1, 0, 0])
    counts[generator.integers(300), 6] = 1
    chosen = class_aware(counts, 8, generator)
    assert len(chosen) == 8
    assert (counts[chosen].sum(axis=0) > 0).tolist() == [True] * 7 + [False]


def test_rare_classes_are_represented_better_than_by_chance() -> None:
    counts = np.zeros((1000, 8), np.int64)
    counts[:, 0] = 100
    counts[:40, 1] = 50
    chosen = class_aware(counts, 50, rng())
    assert (chosen < 40).sum() >= 25, "half of the turns are the rare class's; by chance 2 of 50 would be"


def test_a_class_prefers_patches_that_have_more_of_it() -> None:
    counts = np.full((100, 1), 1)
    counts[:50] = 99
    first = [int(class_aware(counts, 1, rng(seed))[0]) for seed in range(200)]
    assert np.mean(np.array(first) < 50) > 0.95


def test_patches_without_a_scored_class_are_never_chosen() -> None:
    counts = np.zeros((20, 8), np.int64)
    counts[[3, 7], 2] = 5
    assert class_aware(counts, 10, rng()).tolist() == [3, 7]


def test_labels_are_read_of_few_patches_and_images_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, str]] = []

    def fake(record: PatchRecord, modality: str) -> np.ndarray:
        read.append((record.id, modality))
        return np.full((4, 4), SCORED_CODES[len(read) % 8], np.uint8)

    monkeypatch.setattr(records, "read", fake)
    patches = made(**{f"s{i}": 50 for i in range(200, 220)})
    chosen = subsample(patches, 30, RunContext())
    assert len(chosen) == 30
    assert len(scenes(chosen)) >= 12
    assert {modality for _, modality in read} == {"low"}
    assert len(read) == len({i for i, _ in read}) == CANDIDATES * 30


def test_a_subsample_depends_on_the_seed_and_not_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def forest(record: PatchRecord, modality: str) -> np.ndarray:
        return np.full((4, 4), 1, np.uint8)

    monkeypatch.setattr(records, "read", forest)
    patches = made(s1=20, s2=20)
    found = {
        (seed, k): subsample(patches, 5, RunContext(seed=seed, workers=k)).ids for seed in range(4) for k in (1, 2)
    }
    assert all(found[seed, 1] == found[seed, 2] for seed in range(4))
    assert len(set(found.values())) == 4


def test_counts_are_those_of_the_scored_classes(small: Archive) -> None:
    patches = small.patches("training")
    found = label_counts(patches, RunContext())
    for patch, row in zip(patches, found, strict=True):
        assert row.tolist() == [int((patch.low == code).sum()) for code in SCORED_CODES]


def test_labels_of_no_scored_class_are_an_error_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def savanna(record: PatchRecord, modality: str) -> np.ndarray:
        return np.full((4, 4), 3, np.uint8)

    monkeypatch.setattr(records, "read", savanna)
    with pytest.raises(DataError, match="scored class"):
        subsample(made(s1=3), 2, RunContext())
