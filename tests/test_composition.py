"""Methods that build on others: parts run once, are found again, and are contained in the composed run's key."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfcbench import rasters
from dfcbench.archive import Archive
from dfcbench.contest import FusionContest
from dfcbench.errors import PluginError, SubmissionError
from dfcbench.maps import SubmissionMaps, as_probabilities, probabilities_path, write_labels, write_probabilities
from dfcbench.plan import Plan, resolve_parameters
from dfcbench.registry import Registry
from dfcbench.runner import execute
from dfcbench.scheme import SCORED_CODES
from dfcbench.states import lacks_probabilities, order, state
from dfcbench.submission import find_submissions
from tests import datamaker
from tests.conftest import Shell
from tests.test_runner import Quiet

METHODS = '''\
import numpy as np
from dfcbench.method import Field, Method, Needs, Params, Part, Prediction


class NoiseParams(Params):
    bias: int = Field(0, description="class that is favoured")


class Noise(Method):
    """Random probabilities."""

    name = "noise"
    needs = Needs(inputs={"s2"}, labels="none", transductive=True)
    Params = NoiseParams

    def fit(self, contest, run):
        self.offset_ = run.generator("fit").random()

    def predict(self, patches, run):
        for patch in patches:
            p = run.generator("predict", patch.id).random((8, *patch.shape))
            p[self.params.bias] += self.offset_
            yield Prediction(patch.id, p)


class MeanParams(Params):
    first: str = "noise"
    second: str = "low-resolution-labels"
    split: str | None = None


class Mean(Method):
    """The mean of two parts."""

    name = "mean"
    needs = Needs(inputs=frozenset(), labels="none")
    Params = MeanParams

    def parts(self):
        return {
            "first": Part(self.params.first, split=self.params.split),
            "second": Part(self.params.second, split=self.params.split),
        }

    def fit(self, contest, run):
        self.seen_ = run.parts["first"].ids

    def predict(self, patches, run):
        for patch in patches:
            i = patch.id if patch.id in self.seen_ else self.seen_[0]
            yield Prediction(patch.id, sum(part.probabilities(i) for part in run.parts.values()) / 2)


class Heir(Noise):
    """Goes on from what a part learned."""

    name = "heir"

    def parts(self):
        return {"first": Part("noise", {"bias": 3})}

    def fit(self, contest, run):
        self.load(run.parts["first"].learned)
        self.found_ = self.offset_


class Endless(Mean):
    """Made of itself."""

    name = "endless"

    def parts(self):
        return {"self": Part("endless")}
'''


@pytest.fixture
def methods(tmp_path: Path) -> Path:
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "composed.py").write_text(METHODS)
    return tmp_path / "methods"


def plan_of(archive: Archive, methods: Path, name: str, params: dict | None = None, **options) -> Plan:
    registry = Registry((methods,))
    loaded = registry.load(name)
    values, preset = resolve_parameters(loaded.method, params or {}, None, demo=False)
    contest = FusionContest(archive, 1, options.pop("split", "test"))
    settings = {"seed": 0, "device": "cpu", "workers": 1, **options}
    return Plan(contest, loaded, values, preset, submissions=methods.parent / "out", registry=registry, **settings)


def run_all(plan: Plan) -> list[str]:
    ran = []
    for each in order(plan):
        observer = Quiet()
        execute(each, observer, keep_probabilities=each is not plan)
        ran += [each.loaded.method.name] * ("predict" in observer.stages)
    return ran


def test_parts_run_before_the_composed_method_and_only_once(small, methods):
    plan = plan_of(small, methods, "mean")
    assert run_all(plan) == ["noise", "low-resolution-labels", "mean"]
    assert run_all(plan_of(small, methods, "mean", {"second": "noise"})) == ["mean"]
    names = [s.meta["method"]["name"] for s in find_submissions(methods.parent / "out")[0]]
    assert sorted(names) == ["low-resolution-labels", "mean", "mean", "noise"]


def test_the_composed_map_is_what_the_parts_probabilities_say(small, methods):
    plan = plan_of(small, methods, "mean")
    run_all(plan)
    parts = {name: SubmissionMaps(part.folder, small.patches("test").ids) for name, part in plan.parts.items()}
    composed = SubmissionMaps(plan.folder, small.patches("test").ids)
    for patch in small.patches("test"):
        noise = np.random.default_rng([0, *_keys("predict", patch.id)]).random((8, 16, 16))
        noise[0] += np.random.default_rng([0, *_keys("fit")]).random()
        np.testing.assert_allclose(parts["first"].probabilities(patch.id), noise / noise.sum(0), atol=1e-5)
        mean = (parts["first"].probabilities(patch.id) + as_probabilities(patch.low)) / 2
        np.testing.assert_array_equal(composed.labels(patch.id), np.take(SCORED_CODES, mean.argmax(0)))


def _keys(*words: str) -> list[int]:
    import zlib

    return [zlib.crc32(word.encode()) for word in words]


def test_the_key_contains_the_keys_of_the_parts(small, methods):
    plan = plan_of(small, methods, "mean")
    assert plan.describe()["parts"] == {name: part.key for name, part in plan.parts.items()}
    assert plan_of(small, methods, "mean", seed=1).parts["first"].key != plan.parts["first"].key
    (methods / "composed.py").write_text(METHODS.replace("np.newaxis", "None") + "\n# other\n")
    assert plan_of(small, methods, "mean").key != plan.key


def test_badges_of_the_parts_are_those_of_the_whole(small, methods):
    assert plan_of(small, methods, "mean").badges == ["transductive"]
    assert plan_of(small, methods, "mean", {"first": "low-resolution-labels"}).badges == []


def test_a_part_may_be_run_on_another_split(small, methods):
    plan = plan_of(small, methods, "mean", {"split": "validation"})
    assert {part.contest.split for part in plan.parts.values()} == {"validation"}
    run_all(plan)
    assert state(plan) == "finished"


def test_a_finished_submission_serves_as_a_part(small, methods):
    part = plan_of(small, methods, "noise", {"bias": 3})
    execute(part, Quiet(), keep_probabilities=True)
    plan = plan_of(small, methods, "mean", {"first": str(part.folder)})
    assert run_all(plan) == ["low-resolution-labels", "mean"]
    assert plan.describe()["parts"]["first"] == part.key


def test_a_submission_about_other_patches_is_refused(small, methods, tmp_path):
    part = plan_of(small, methods, "noise", split="validation")
    execute(part, Quiet())
    with pytest.raises(SubmissionError, match="maps the validation split"):
        _ = plan_of(small, methods, "mean", {"first": str(part.folder)}).parts
    other = Archive.open(datamaker.write_contest(tmp_path / "other", test=3))
    with pytest.raises(SubmissionError, match="fingerprint"):
        _ = plan_of(other, methods, "mean", {"first": str(part.folder)}, split="validation", seed=1).parts


def test_probabilities_of_a_finished_run_are_made_up_for_without_fitting_again(small, methods):
    plan = plan_of(small, methods, "noise")
    execute(plan, Quiet())
    assert lacks_probabilities(plan)
    before = {path: path.read_bytes() for path in (plan.folder / "predictions").iterdir()}
    observer = Quiet()
    execute(plan, observer, keep_probabilities=True)
    assert not lacks_probabilities(plan)
    assert "fit" not in observer.stages
    assert {path: path.read_bytes() for path in (plan.folder / "predictions").iterdir()} == before
    assert state(plan) == "finished"


def test_a_method_made_of_itself_is_told(small, methods):
    with pytest.raises(PluginError, match="made of itself"):
        order(plan_of(small, methods, "endless"))


def test_kept_probabilities_come_back_as_they_were_and_sum_to_one(tmp_path):
    values = np.random.default_rng(3).random((8, 9, 7)) ** 8
    values[:, 0, 0] = 0
    write_probabilities(tmp_path, "ROIs0000_test_0_p1", values, None)
    back = SubmissionMaps(tmp_path, ["ROIs0000_test_0_p1"]).probabilities("ROIs0000_test_0_p1")
    values[:, 0, 0] = 1
    np.testing.assert_allclose(back, values / values.sum(0), atol=1.6e-5)
    assert rasters.info(probabilities_path(tmp_path, "ROIs0000_test_0_p1")).dtype == "uint16"


def test_without_kept_probabilities_the_labels_speak(tmp_path):
    labels = np.array([[1, 3, 10]], np.uint8)
    write_labels(tmp_path, "ROIs0000_test_0_p1", labels, None)
    shares = SubmissionMaps(tmp_path, ["ROIs0000_test_0_p1"]).probabilities("ROIs0000_test_0_p1")
    np.testing.assert_allclose(shares[:, 0, 0], np.eye(8)[0])
    np.testing.assert_allclose(shares[:, 0, 1], 1 / 8)
    np.testing.assert_allclose(shares[:, 0, 2], np.eye(8)[7])


def test_the_command_line_runs_parts_first(dfcbench: Shell, small_root: Path, methods: Path):
    done = dfcbench("run", "--track", 1, "--method", "mean", "--methods-dir", methods, "--data", small_root)
    assert done.stderr.index("Part: noise") < done.stderr.index("Part: low-resolution-labels")
    assert "mean (published), Track 1, test" in done.stdout
    assert len(find_submissions(dfcbench.folder / "submissions")[0]) == 3


def test_a_run_of_the_other_track_is_no_part(small, methods):
    part = plan_of(small, methods, "noise")
    part = replace(part, contest=FusionContest(small, 2, "test"))
    execute(part, Quiet(), keep_probabilities=True)
    with pytest.raises(SubmissionError, match="is a run of Track 2"):
        _ = plan_of(small, methods, "mean", {"first": str(part.folder)}).parts


def test_the_key_does_not_depend_on_where_a_part_lies_or_how_its_path_is_spelled(small, methods):
    part = plan_of(small, methods, "noise")
    execute(part, Quiet(), keep_probabilities=True)
    elsewhere = methods.parent / "moved" / "here"
    shutil.copytree(part.folder, elsewhere)
    spelled = [str(part.folder), f"{part.folder.parent}/./{part.folder.name}", str(elsewhere)]
    assert len({plan_of(small, methods, "mean", {"first": path}).key for path in spelled}) == 1


def test_labels_alone_make_another_key_and_half_kept_probabilities_are_refused(small, methods):
    part = plan_of(small, methods, "noise")
    execute(part, Quiet())
    hard = plan_of(small, methods, "mean", {"first": str(part.folder)}).key
    execute(part, Quiet(), keep_probabilities=True)
    assert plan_of(small, methods, "mean", {"first": str(part.folder)}).key != hard
    next((part.folder / "probabilities").iterdir()).unlink()
    with pytest.raises(SubmissionError, match="--keep-probabilities"):
        _ = plan_of(small, methods, "mean", {"first": str(part.folder)}).parts


def test_a_mistyped_folder_of_a_part_is_told(small, methods):
    with pytest.raises(SubmissionError, match=r"no submission\.json there"):
        _ = plan_of(small, methods, "mean", {"first": "submissions/track1/nope"}).parts
