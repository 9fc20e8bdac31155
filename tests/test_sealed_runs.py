"""Sealed runs as a person gives them: the thief is stopped, and honest methods end with the same bytes as ever."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dfcbench import rasters
from dfcbench.archive import Archive
from dfcbench.contest import FusionContest
from dfcbench.errors import ContractError, HiddenError, MethodCrash, UsageError
from dfcbench.maps import map_path
from dfcbench.plan import Plan, resolve_parameters
from dfcbench.registry import Registry
from dfcbench.runner import execute
from dfcbench.scoring import Confusion, confusion_matrix
from dfcbench.sealing import levels
from dfcbench.sealing.levels import KERNEL, PROCESS
from dfcbench.sealing.places import hidden_places
from dfcbench.sealing.standin import SealedRegistry
from dfcbench.states import HALF_UNSEALED, UNSEALED, order, state
from dfcbench.submission import Submission, find_submissions
from tests import thieves
from tests.conftest import Shell
from tests.plugins import MAJORITY, with_predict
from tests.test_composition import METHODS
from tests.test_runner import Quiet, make_plan

needs_kernel = pytest.mark.skipif(bool(levels.lacking()), reason=f"no seal by the kernel here: {levels.lacking()}")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="sealed runs are offered on POSIX only")


def sealed_plan(archive: Archive, out: Path, source: str = MAJORITY, *, seal: str | None = None, **options) -> Plan:
    """A plan whose method is known by hearsay only."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "plugin.py").write_text(source)
    return registered_plan(archive, out, str(out / "plugin.py"), seal=seal, **options)


def registered_plan(archive: Archive, out: Path, method: str, *, seal: str | None = None, **options) -> Plan:
    seal = seal or levels.offered()
    given, folders = options.pop("params", {}), options.pop("folders", ())
    submissions = out / "submissions"
    registry = SealedRegistry(folders, seal, hidden_places(archive, submissions), given)
    loaded = registry.load(method)
    params, preset = resolve_parameters(loaded.method, given, None, demo=False)
    contest = FusionContest(archive, options.pop("track", 1), options.pop("split", "test"))
    settings = {"seed": 0, "device": "cpu", "workers": 1, **options}
    made = Plan(
        contest,
        loaded,
        params,
        preset,
        submissions=submissions,
        registry=registry,
        overrides=given,
        seal=seal,
        **settings,
    )
    _ = made.parts
    registry.rest()
    return made


def run_all(plan: Plan) -> Submission:
    for part in order(plan)[:-1]:
        execute(part, Quiet(), keep_probabilities=True)
    return execute(plan, Quiet())


def results(folder: Path) -> dict[str, bytes]:
    """All that says how good the method is, and what it logged but for times and rates."""
    files = [*(folder / "predictions").iterdir(), folder / "scores.json", folder / "confusion.npz"]
    found = {path.name: path.read_bytes() for path in files}
    logged = [
        m for m in Submission(folder).metric_history() if not m["name"].endswith(("_per_second", "_waiting_share"))
    ]
    found["metrics"] = json.dumps([{k: v for k, v in m.items() if k != "time"} for m in logged]).encode()
    return found


# The thief


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, small_root: Path) -> Iterator[dict[str, object]]:
    """All that a thief could know: where labels lie, a packed copy of some, another's submission, a server that listens."""
    folder = tmp_path_factory.mktemp("known")
    archive = Archive.open(small_root)
    split = f"validation-{archive.fingerprint('validation')}"
    packs = archive.labelled("validation").packed(Path(os.environ["DFCBENCH_CACHE"]) / "packed" / split).packs
    other = execute(make_plan(archive, folder / "other"), Quiet()).folder
    label = next((small_root / "DFC2020").rglob("*_test_dfc_*.tif"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield {
            "data": small_root,
            "label": label,
            "low": str(label).replace("dfc", "lc"),
            "packed": packs["high"].file.path,
            "other": other,
            "port": server.getsockname()[1],
            "note": f"dfcbench-{os.getpid()}",
            "tmp": tmp_path_factory.getbasetemp(),
        }


def let_loose(folder: Path, known: dict[str, object]) -> None:
    """Write the thief to a folder, with a link to a label beside it."""
    (folder / "borrowed.py").symlink_to(str(known["label"]))
    (folder / "thief.py").write_text(thieves.thief(**known, link=folder / "borrowed.py"))


@pytest.fixture(scope="module")
def stolen(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, small_root: Path, known: dict[str, object]
) -> tuple[dict[str, str | None], Path, str]:
    """What came of the thief's attempts, its submission, and what the command said."""
    if levels.lacking():
        pytest.skip(f"no seal by the kernel here: {levels.lacking()}")
    folder = tmp_path_factory.mktemp("thief")
    shutil.copy(empty_store, folder / "mlflow.db")
    let_loose(folder, known)
    other = Path(str(known["other"]))
    before = results(other)
    done = Shell(folder)("run", "--track", 1, "--method", "thief.py", "--data", small_root, "--sealed")
    (made,) = find_submissions(folder / "submissions")[0]
    assert results(other) == before, "another's submission is what it was"
    return json.loads((made.folder / "artifacts" / "loot.json").read_text()), made.folder, done.stderr


@pytest.mark.parametrize("attempt", thieves.attempts())
def test_the_thief_is_stopped(stolen, attempt):
    loot, _, _ = stolen
    if attempt == "kill the parent" and not levels.landlock.scopes_signals():
        pytest.skip(
            "this kernel's Landlock does not keep signals in (Linux 6.12 does); the run would end, and tell nothing"
        )
    assert loot[attempt] is None


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the thief knows Linux's /proc")
def test_a_thief_without_a_seal_gets_nearly_everything(known, small_root, tmp_path):
    """Or else its attempts would prove nothing."""
    let_loose(tmp_path, known)
    harmful = (
        "kill the parent",
        "truncate",
        "remove another",
        "replace another",
        "write ",
        "trace",
        "hard link",
        "mount",
        "leave a note",
    )
    lines = (tmp_path / "thief.py").read_text().splitlines()
    (tmp_path / "thief.py").write_text(
        "\n".join(line for line in lines if not any(f'yield "{name}' in line for name in harmful))
    )
    shell = Shell(tmp_path)
    shell.environment["MLFLOW_TRACKING_URI"] = "sqlite:////dev/null/none.db"
    shell("run", "--track", 1, "--method", "thief.py", "--data", small_root)
    (loot,) = tmp_path.glob("submissions/*/*/*/artifacts/loot.json")
    got = {name for name, what in json.loads(loot.read_text()).items() if what is not None}
    assert {"scorer", "open a label", "guess from a low-resolution name", "list the data", "search the disk"} <= got
    assert {"walk the object graph", "read what the process was told", "parent's environment", "copy by a child"} <= got
    assert {"symbolic link", "follow a link that lies there", "open another run's matrices", "Unix socket"} <= got
    assert {"open a packed copy of labels", "parent's memory", "reach the test's server"} <= got
    (scores,) = tmp_path.glob("submissions/*/*/*/scores.json")
    assert json.loads(scores.read_text())["average_accuracy"] == 1.0, "it patched the scorer"


def test_the_scorer_that_the_thief_patched_is_not_the_one_that_scores(stolen, small):
    _, folder, _ = stolen
    matrices = [(p.id, confusion_matrix(p.high, p.low)) for p in small.labelled("test")]
    np.testing.assert_array_equal(Submission(folder).confusion.matrices, Confusion.collect(matrices).matrices)
    assert Submission(folder).scores.average_accuracy < 0.5


def test_the_seal_is_told_recorded_and_shown(stolen, dfcbench: Shell):
    _, folder, told = stolen
    assert "[sealed: kernel]" in told
    assert "sealed  kernel: the method ran in a process that the kernel kept from hidden labels" in told
    meta = json.loads((folder / "submission.json").read_text())
    assert meta["sealed"] == "kernel"
    assert meta["badges"] == ["sealed: kernel"]
    dfcbench("leaderboard", "--submissions", folder.parents[2], "--out", "boards")
    (page,) = (dfcbench.folder / "boards").glob("*/track1-test.html")
    assert "sealed: kernel" in page.read_text()
    assert levels.MEANINGS[KERNEL] in page.read_text()


def test_what_a_sealed_method_prints_is_in_the_runs_log(stolen):
    assert "thief printed: open a label PermissionError" in (stolen[1] / "run.log").read_text()


# The same bytes as without a seal


HONEST = '''\
import numpy as np
from dfcbench.method import Field, Method, Needs, Params, Prediction
from helper import best


class HonestParams(Params):
    weights: str = Field("", description="a file")
    bias: float = Field(0.1, ge=0, description="of something")


class Honest(Method):
    """Uses all that a track shows."""

    name = "honest"
    needs = Needs(inputs={"s1", "s2"}, labels=__LABELS__, transductive=True, training=True, prior=True, feedback=True)
    Params = HonestParams

    def fit(self, contest, run):
        self.prior_ = contest.label_prior
        sample = contest.training.sample_pixels(200, run.generator("draw"), balance="low")
        self.mean_ = sample.x.mean(axis=0) + np.float32(self.params.bias)
        self.shapes_ = [contest.validation.shapes, [p.georeference.transform for p in contest.validation[1:3]]]
        if self.needs.labels == "high":
            self.high_ = [p.high.sum() for p in contest.labelled]
        if self.params.weights:
            self.weights_ = float(open(self.params.weights).read())
        for step, patch in enumerate(run.progress(contest.target, label="looking")):
            run.log({"s1": np.nanmean(patch.s1), "scene": len(patch.scene)}, step=step)
        answer = contest.feedback(Prediction(p.id, best(p.low, 0)) for p in contest.target)
        run.log({"server": answer.average_accuracy, "left": contest.feedback.remaining})
        run.save_checkpoint("half", {"mean": self.mean_})
        assert (run.load_checkpoint("half")["mean"] == self.mean_).all()
        run.artifact("note.txt").write_text("noted")

    def predict(self, patches, run):
        def one(patch):
            soft = self.prior_[np.clip(patch.low, 1, 10).astype(int) - 1].transpose(2, 0, 1).astype(np.float32)
            return Prediction(patch.id, soft + run.generator(patch.id).random(soft.shape, np.float32) / 4)

        yield from run.map(one, patches, label="mapping")
'''
HELPER = "def best(low, offset):\n    return (low + offset) % 11\n"


@pytest.mark.parametrize(("track", "labels"), [(1, "low"), (2, "high")])
def test_a_sealed_run_ends_with_the_bytes_of_an_unsealed_one(small, tmp_path, track, labels):
    helper = f"helper_of_track_{track}"  # modules of one name would be one module in this process
    source = HONEST.replace("__LABELS__", repr(labels)).replace("helper", helper)
    (tmp_path / "w.txt").write_text("0.25")
    for name in ("plain", "sealed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{helper}.py").write_text(HELPER)
    options = {"track": track, "params": {"weights": str(tmp_path / "w.txt"), "bias": 0.2}, "workers": 2}
    plain = make_plan(small, tmp_path / "plain", source, **options)
    sealed = sealed_plan(small, tmp_path / "sealed", source, **options)
    assert plain.key == sealed.key
    execute(plain, Quiet())
    watched = Quiet()
    execute(sealed, watched)
    assert results(plain.folder) == results(sealed.folder)
    assert len(results(sealed.folder)["metrics"]) > 100
    assert (sealed.folder / "artifacts" / "note.txt").read_text() == "noted"
    assert {watched.seen[label] for label in ("looking", "mapping", "predicting")} == {7}
    metas = [json.loads((plan.folder / "submission.json").read_text()) for plan in (plain, sealed)]
    assert metas[1].pop("sealed") == levels.offered()
    metas[1]["badges"].remove(levels.badge(levels.offered()))
    metas[0]["overrides"] = metas[1]["overrides"]  # the helper for unsealed plans gives none
    assert metas[0] == metas[1]
    assert not (sealed.folder / "work").exists()


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("low-resolution-labels", {}),
        ("bag", {"clusters": 4, "sweeps": 3, "bags": 1}),
        ("small.py:Small", {"steps": 3, "batch": 2, "crop": 16, "validate_every": 0}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_methods_map_alike_with_and_without_a_seal(small, tmp_path, method, params):
    (tmp_path / "small.py").write_text(SMALL)
    method = str(tmp_path / method) if ".py" in method else method
    loaded = Registry().load(method)
    values, preset = resolve_parameters(loaded.method, params, None, demo=False)
    plain = Plan(FusionContest(small, 1, "test"), loaded, values, preset, 0, "cpu", 1, tmp_path / "plain")
    execute(plain, Quiet())
    sealed = registered_plan(small, tmp_path, method, params=params)
    execute(sealed, Quiet())
    assert plain.folder.relative_to(tmp_path / "plain") == sealed.folder.relative_to(sealed.submissions)
    assert results(plain.folder) == results(sealed.folder)


SMALL = '''\
from dfcbench_methods.adapters import TorchMethod


class Small(TorchMethod):
    """Two convolutions."""

    name = "small"

    def network(self, channels, classes):
        from torch import nn

        first = nn.Conv2d(channels, 8, 3, padding=1)
        return nn.Sequential(first, nn.ReLU(), nn.Conv2d(8, classes, 3, padding=1))
'''


def test_a_composed_run_is_as_sealed_as_its_parts_and_maps_alike(small, tmp_path):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "composed.py").write_text(METHODS)
    sealed = registered_plan(small, tmp_path / "sealed", "mean", folders=(tmp_path / "methods",))
    assert [p.loaded.method.name for p in order(sealed)] == ["noise", "low-resolution-labels", "mean"]
    run_all(sealed)
    assert {Submission(p.folder).sealed for p in order(sealed)} == {levels.offered()}
    assert sealed.badges.count(levels.badge(levels.offered())) == 1
    from tests.test_composition import plan_of

    plain = plan_of(small, tmp_path / "methods", "mean")
    assert plain.key == sealed.key
    run_all(plain)
    assert results(plain.folder) == results(sealed.folder)
    assert not any(map(levels.is_badge, plain.badges))
    weakened = Submission(sealed.parts["first"].folder)
    meta = json.loads((weakened.folder / "submission.json").read_text())
    (weakened.folder / "submission.json").write_text(json.dumps({**meta, "sealed": PROCESS}))
    named = {"first": str(weakened.folder)}
    again = registered_plan(small, tmp_path / "sealed", "mean", folders=(tmp_path / "methods",), params=named)
    assert again.sealed == PROCESS, "as weak as the weakest"
    with pytest.raises(UsageError, match="is not sealed"):
        named = {"first": str(plain.parts["first"].folder)}
        registered_plan(small, tmp_path / "sealed", "mean", folders=(tmp_path / "methods",), params=named)


def test_what_a_part_learned_may_be_read_under_the_seal_as_well(small, tmp_path):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "composed.py").write_text(METHODS)
    sealed = registered_plan(small, tmp_path / "sealed", "heir", folders=(tmp_path / "methods",))
    run_all(sealed)
    from tests.test_composition import plan_of

    plain = plan_of(small, tmp_path / "methods", "heir")
    run_all(plain)
    assert results(plain.folder) == results(sealed.folder)


# What went wrong keeps its name


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (
            "        raise RuntimeError('no luck')",
            MethodCrash,
            "odd.predict raised RuntimeError: no luck. The traceback",
        ),
        ("        return iter(())", ContractError, "no prediction for 7 of 7 patches"),
        ("        yield 7", ContractError, "odd.predict yielded int, not a Prediction"),
        ("        yield Prediction(patches[0].id, np.zeros((3, 3), int))", ContractError, "is 3 x 3 pixels"),
        (
            "        yield Prediction(patches[0].id, np.zeros((16, 16), str))",
            ContractError,
            "labels are <U1, not integers",
        ),
        (
            "        yield Prediction(patches[0].id, np.zeros((8, 9999, 9999), 'f8'))",
            ContractError,
            "no map of a patch has",
        ),
        ("        patches[0].high", MethodCrash, "AttributeError: 'Patch' object has no attribute 'high'"),
        ("        patches[0].low", HiddenError, "Declare it"),
        ("        os.kill(os.getpid(), 9)", MethodCrash, "its process was ended by SIGKILL"),
    ],
)
def test_errors_are_those_of_an_unsealed_run(small, tmp_path, body, error, words):
    if "return" not in body and "yield" not in body:
        body += "\n        yield"
    plan = sealed_plan(small, tmp_path, with_predict(body, needs="Needs(inputs={'s2'}, labels='none')"))
    with pytest.raises(error) as caught:
        execute(plan, Quiet())
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert state(plan) == "unfinished"
    assert json.loads((plan.folder / "failure.json").read_text())["error"] == error.__name__


GARBAGE = """
        import gc
        from dfcbench.sealing.wire import Channel
        ends = [o._socket for o in gc.get_objects() if isinstance(o, Channel)]
        for end in ends:
            try:
                end.sendall({garbage})
            except OSError:
                pass
        time.sleep(60)
        yield
"""


@pytest.mark.parametrize(
    "garbage",
    [
        "b'\\xff' * 64",
        '(lambda h: len(h).to_bytes(4, "big") + h)(b\'{"kind": "x", "arrays": [["<f8", [99999, 99999]]], "files": 0}\')',
        '(lambda h: len(h).to_bytes(4, "big") + h)(b\'{"kind": "open", "set": 5, "arrays": [], "files": 0}\')',
    ],
)
def test_what_is_no_message_ends_the_run_and_nothing_else(small, tmp_path, garbage):
    plan = sealed_plan(small, tmp_path, with_predict(GARBAGE.replace("{garbage}", garbage)))
    with pytest.raises(ContractError, match="process"):
        execute(plan, Quiet())
    assert state(plan) == "unfinished"


def test_faults_of_a_plug_in_are_told_as_without_a_seal(dfcbench: Shell, small_root: Path):
    (dfcbench.folder / "bad.py").write_text(MAJORITY.replace("import numpy", "1 / 0\nimport numpy"))
    (dfcbench.folder / "good.py").write_text(MAJORITY)
    common = ("run", "--track", 1, "--data", small_root, "--sealed", "--method")
    assert "cannot be imported: ZeroDivisionError" in dfcbench(*common, "bad.py", expect=4).stderr
    told = dfcbench(*common, "good.py", "-p", "offset=99", "-p", "odd=1", expect=2).stderr
    plain = dfcbench(
        "run", "--track", 1, "--data", small_root, "--method", "good.py", "-p", "offset=99", "-p", "odd=1", expect=2
    )
    assert plain.stderr.splitlines()[-1] in told
    assert "offset=0" in told


# What stands, what goes on, what begins anew


def test_a_dry_run_tells_the_guarantee_and_writes_nothing(dfcbench: Shell, small_root: Path):
    shown = dfcbench(
        "run", "--track", 1, "--method", "low-resolution-labels", "--data", small_root, "--sealed", "--dry-run"
    )
    assert f"sealed  {levels.offered()}: {levels.MEANINGS[levels.offered()]}" in shown.stderr
    assert not (dfcbench.folder / "submissions").exists()


def test_a_finished_run_without_a_seal_is_set_aside_and_made_again(small, tmp_path):
    plain = make_plan(small, tmp_path)
    execute(plain, Quiet())
    before = results(plain.folder)
    plan = sealed_plan(small, tmp_path)
    assert plan.folder == plain.folder
    assert state(plan) == UNSEALED
    moved: list[Path] = []
    execute(plan, Quiet(), moved=moved.append)
    assert state(plan) == state(plain) == "finished"
    assert Submission(plan.folder).sealed == levels.offered()
    assert results(plan.folder) == results(moved[0]) == before
    assert Submission(moved[0]).sealed is None


def test_what_was_begun_without_a_seal_is_not_gone_on_with(small, tmp_path):
    body = """
        for number, patch in enumerate(patches):
            if number == 3:
                stops({stop!r})
            yield Prediction(patch.id, patch.low)
    """.format(stop=str(tmp_path / "stop"))
    (tmp_path / "stop").touch()
    source = (
        with_predict(body)
        + """

def stops(path):
    try:
        open(path).close()
    except PermissionError:  # as a sealed run cannot see it
        return
    raise RuntimeError("stopped")
"""
    )
    with pytest.raises(MethodCrash):
        execute(make_plan(small, tmp_path, source), Quiet())
    plan = sealed_plan(small, tmp_path, source)
    assert state(plan) == HALF_UNSEALED
    with pytest.raises(MethodCrash) if levels.lacking() else _nothing():
        execute(plan, Quiet())
    assert len(list(plan.folder.parent.glob(".*.before-1/predictions/*.tif"))) == 3


def _nothing():
    import contextlib

    return contextlib.nullcontext()


def test_nothing_unsealed_is_added_to_a_sealed_run(small, tmp_path):
    plan = sealed_plan(small, tmp_path)
    execute(plan, Quiet())
    plain = make_plan(small, tmp_path)
    execute(plain, Quiet())
    with pytest.raises(UsageError, match="is a sealed run"):
        execute(plain, Quiet(), keep_probabilities=True)
    next((plan.folder / "predictions").iterdir()).unlink()
    with pytest.raises(UsageError, match="is a sealed run"):
        execute(plain, Quiet())
    execute(sealed_plan(small, tmp_path), Quiet(), keep_probabilities=True)
    assert Submission(plan.folder).sealed == levels.offered()
    assert len(list((plan.folder / "probabilities").iterdir())) == 7


SLOW = """
        for number, patch in enumerate(patches):
            if number == 3 and not (run.scratch / "been").exists():
                (run.scratch / "been").write_text(str(os.getpid()))
                time.sleep(60)
            yield Prediction(patch.id, patch.low)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_broken_off_run_leaves_no_process_and_goes_on_sealed(dfcbench: Shell, small_root: Path, how: signal.Signals):
    dfcbench.environment["MLFLOW_TRACKING_URI"] = "sqlite:////dev/null/none.db"
    (dfcbench.folder / "slow.py").write_text(with_predict(SLOW))
    command = ("run", "--track", 1, "--method", "slow.py", "--data", small_root, "--sealed")
    process = dfcbench.start(*command)
    been = _awaited(lambda: next(dfcbench.folder.glob("submissions/*/*/*/work/scratch/been"), None))
    worker, folder = int(_awaited(been.read_text)), been.parents[2]
    assert _awaited(lambda: len(list(folder.glob("predictions/ROIs*.tif"))) == 3)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert _awaited(lambda: not _alive(worker))
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "Give the same command again" in err
    if how != signal.SIGKILL:
        return
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("predictions/ROIs*.tif")}
    dfcbench(*command)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert Submission(folder).sealed == levels.offered()
    for patch in Archive.open(small_root).patches("test"):
        np.testing.assert_array_equal(rasters.read(map_path(folder, patch.id))[0], patch.low)


def _awaited(question, seconds: float = 60):
    until = time.monotonic() + seconds
    while not (answer := question()) and time.monotonic() < until:
        time.sleep(0.05)
    return answer


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


# Where the kernel offers nothing


def test_without_the_kernel_the_run_says_so_and_keeps_the_rest_of_its_promise(small, tmp_path, monkeypatch):
    from dfcbench.cli.run import _offered

    source = MAJORITY.replace("self.seen_ = 1", LOOKS)
    plan = sealed_plan(small, tmp_path, source, seal=PROCESS)
    submission = execute(plan, Quiet())
    assert submission.sealed == PROCESS
    assert submission.meta["badges"] == ["sealed: process"]
    looked = json.loads((plan.folder / "artifacts" / "looked.json").read_text())
    assert looked == {"told": False, "scorer": False, "memory": False}
    assert state(sealed_plan(small, tmp_path, source, seal=KERNEL)) == UNSEALED

    said: list[str] = []
    monkeypatch.setattr(levels, "offered", lambda: PROCESS)
    monkeypatch.setattr(levels, "lacking", lambda: "this is a test")
    assert _offered(type("Terminal", (), {"note": lambda self, text: said.append(text)})()) == PROCESS
    assert "files are not protected by the kernel, since this is a test" in said[0]


LOOKS = """
        import gc, json, os, sys
        from pathlib import Path
        where = " ".join([*sys.argv, *sys.path, os.getcwd(), *os.environ.values()])
        try:
            import dfcbench.scoring
            scorer = True
        except ImportError:
            scorer = False
        held = [str(v) for o in gc.get_objects() if isinstance(o, dict) for v in o.values() if isinstance(v, (str, Path))]
        look = {"told": "/small" in where, "scorer": scorer, "memory": any(v.endswith("/small") for v in held)}
        run.artifact("looked.json").write_text(json.dumps(look))
        self.seen_ = 1"""


def test_links_among_the_artifacts_are_not_followed(small, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    link = f"os.symlink({str(secret)!r}, run.artifact('a')); os.mkfifo(run.artifact('p')); run.artifact('b').write_text('')"
    source = with_predict("        for p in patches:\n            yield Prediction(p.id, p.low)")
    source = source.replace("self.contest_ = None", link)
    plan = sealed_plan(small, tmp_path, source, seal=PROCESS)
    execute(plan, Quiet())
    assert sorted(path.name for path in (plan.folder / "artifacts").iterdir()) == ["b"]


def test_a_watchful_thread_never_outlives_the_run(small, tmp_path):
    before = threading.active_count()
    execute(sealed_plan(small, tmp_path), Quiet())
    assert threading.active_count() == before
