"""The method under check: found, constructed, shown variants of the easy contest, fitted and asked in this process."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from dfcbench.archive import Archive
from dfcbench.contest import FusionContest
from dfcbench.errors import DfcbenchError
from dfcbench.feedback import Feedback
from dfcbench.maps import SubmissionMaps
from dfcbench.method import Method, Needs, Params, PartMaps, Prediction, RunContext
from dfcbench.patches import PatchSet
from dfcbench.plan import Plan, resolve_parameters
from dfcbench.registry import Loaded, Registry
from dfcbench.testing.check import Unknown
from dfcbench.testing.contest import EASY, SIDE, Variant, write
from dfcbench.testing.processes import Child, Order
from dfcbench.testing.surroundings import listing
from dfcbench.testing.watching import Watch, WatchedView, watched, watching

Found = TypeVar("Found")

SEED = 1
"""Of every run of a method that is checked; any would do but 0, which a method may have by chance."""

Maps = dict[str, NDArray[Any]]
"""Predicted values by patch id."""


@dataclass
class Trial:
    """One fit and all maps of the scored split. ``answers`` is what predict yielded, unchecked and in its order."""

    method: Method
    folder: Path
    answers: list[Any] = field(default_factory=list)
    seconds: float = 0.0
    watch: Watch = field(default_factory=Watch)
    stray: list[str] = field(default_factory=list)
    """Files of the contest that are others afterwards."""

    @property
    def maps(self) -> Maps:
        """Values by patch id, of the answers that are predictions."""
        return as_maps(self.answers)


def as_maps(answers: Sequence[Any]) -> Maps:
    """Values by patch id, of the answers that are predictions."""
    return {answer.patch_id: np.asarray(answer.values) for answer in answers if isinstance(answer, Prediction)}


class Subject:
    """A method's class under some parameters. ``folder`` takes contests and runs, and is the caller's to remove.

    parameters: those given; ``preset``: by default quick, where the method has it. folders: where methods are looked up
    besides. side: of the patches, for a method that takes no others. contests: where the contests lie, or are to be written,
    by default in ``folder``; several subjects may share them. Raises PluginError if the method cannot be loaded.
    """

    def __init__(
        self,
        reference: str,
        folder: Path,
        *,
        parameters: Mapping[str, Any] | None = None,
        preset: str | None = None,
        folders: tuple[Path, ...] = (),
        side: int = SIDE,
        contests: Path | None = None,
    ) -> None:
        self.reference = reference
        self.folder = folder
        self.parameters = dict(parameters or {})
        self.asked_preset = preset
        self.folders = folders
        self.side = side
        self.contests = contests or folder / "contests"
        self.registry = Registry(folders)
        self.loaded: Loaded = self.registry.load(reference)
        self._parts: dict[str, dict[str, PartMaps]] = {}
        self._trials = 0
        self._known: dict[str, Any] = {}

    @property
    def kind(self) -> type[Method]:
        """The method's class."""
        return self.loaded.method

    def once(self, name: str, find_out: Callable[[], Found]) -> Found:
        """What ``find_out`` finds, found out when first asked for under this name; what it raises is not kept."""
        if name not in self._known:
            self._known[name] = find_out()
        found: Found = self._known[name]
        return found

    @cached_property
    def _resolved(self) -> tuple[Params, str]:
        return resolve_parameters(self.kind, self.parameters, self.asked_preset, demo=True)

    @property
    def params(self) -> Params:
        """The parameters of every run. Raises UsageError if there is no such set of parameters."""
        return self._resolved[0]

    def require_given(self) -> None:
        """Raise UsageError if parameters or a preset were given that the method does not take: no fault of the method."""
        if self.parameters or self.asked_preset:
            self._resolved  # noqa: B018

    @property
    def preset(self) -> str:
        """The preset's name."""
        return self._resolved[1]

    @cached_property
    def needs(self) -> Needs:
        """What the method needs under these parameters."""
        return self.new().requires()

    @property
    def track(self) -> int:
        """The track that shows the method what it needs."""
        return 2 if self.needs.labels == "high" else 1

    @property
    def modalities(self) -> list[str]:
        """Which of ``s1``, ``s2`` and ``low`` the method may read."""
        return sorted(self.needs.inputs) + (["low"] if self.needs.labels != "none" else [])

    def new(self) -> Method:
        """A fresh instance, not fitted."""
        return self.kind(self.params)

    def place(self, name: str) -> Path:
        """A new folder for something that is tried."""
        self._trials += 1
        folder = self.folder / f"{self._trials:02d}-{name}"
        folder.mkdir(parents=True)
        return folder

    def contest(self, variant: Variant = EASY) -> FusionContest:
        """The contest's variant on the method's track, written when first asked for."""

        def find() -> FusionContest:
            root = self.contests / f"{variant.name}-{self.side}"
            if not root.exists():
                write(root.with_name(f"{root.name}.part"), variant, self.side).rename(root)
            return FusionContest(Archive.open(root), self.track, "test")

        return self.once(f"contest {variant.name}", find)

    def shown(self, variant: Variant = EASY) -> PatchSet:
        """The scored patches as the method sees them."""
        return self.contest(variant).view(self.needs).to_predict()

    def run(self, folder: Path, variant: Variant = EASY, workers: int = 1) -> RunContext:
        """What a method gets at work in ``folder``, on the CPU."""
        return RunContext(
            seed=SEED,
            workers=workers,
            scratch=folder / "scratch",
            artifacts=folder / "artifacts",
            parts=self.parts(variant),
        )

    def trial(
        self,
        name: str,
        variant: Variant = EASY,
        *,
        parts_of: Variant | None = None,
        workers: int = 1,
        eye: bool = False,
    ) -> Trial:
        """Fit a fresh instance, save it, and map the scored patches, in this process; ``eye`` watches it do so.

        ``parts_of``: whose parts are given, if not the variant's own. What the method raises passes through.
        """
        folder = self.place(name)
        contest = self.contest(variant)
        server = Feedback(contest.reference, folder / "server" / "feedback.json") if self.needs.feedback else None
        run = self.run(folder, parts_of or variant, workers)
        view = contest.view(self.needs, watched, server) if eye else contest.view(self.needs, feedback=server)
        (folder / "fitted").mkdir()
        trial = Trial(self.new(), folder)
        tempfile.gettempdir()  # looks for a place to write when first asked
        begin = time.monotonic()

        def work() -> None:
            trial.method.fit(cast(Any, WatchedView(view)) if eye else view, run)
            trial.method.save(folder / "fitted")
            trial.answers = list(trial.method.predict(view.to_predict(), run))

        if eye:
            before = listing(contest.archive.root)
            with watching() as trial.watch:
                work()
            after = listing(contest.archive.root)
            trial.stray = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        else:
            work()
        trial.seconds = time.monotonic() - begin
        return trial

    @cached_property
    def first(self) -> Trial:
        """The trial that others are compared with, watched."""
        return self.trial("first", eye=True)

    def predict(self, method: Method, patches: PatchSet, variant: Variant = EASY) -> Maps:
        """Maps of some patches by a fitted method."""
        return as_maps(list(method.predict(patches, self.run(self.place("predict"), variant))))

    def parts(self, variant: Variant = EASY) -> dict[str, PartMaps]:
        """Maps of the method's parts on the variant, by their names; made by runs of their own when first asked for.

        Raises Unknown if a part fails there.
        """
        if variant.name not in self._parts:
            declared = self.new().parts()
            self._parts[variant.name] = self._make_parts(variant) if declared else {}
        return self._parts[variant.name]

    def _make_parts(self, variant: Variant) -> dict[str, PartMaps]:
        submissions = self.submissions_with_parts(variant)
        plan = Plan(
            contest=self.contest(variant),
            loaded=self.loaded,
            params=self.params,
            preset=self.preset,
            seed=SEED,
            device="cpu",
            workers=1,
            submissions=submissions,
            registry=self.registry,
        )
        done = Child(self.order(submissions, variant, parts_only=True)).wait()
        if done.code:
            raise Unknown(f"a part of it fails on the contest {variant.name}: {done.said}")
        maps: dict[str, PartMaps] = {}
        for name, part in plan.parts.items():
            ids = part.contest.scored.ids if isinstance(part, Plan) else plan.contest.scored.ids
            maps[name] = SubmissionMaps(part.folder, ids)
        return maps

    def submissions_with_parts(self, variant: Variant = EASY) -> Path:
        """Where the runs of the parts lie."""
        return self.folder / "parts" / variant.name

    def order(self, submissions: Path, variant: Variant = EASY, **settings: Any) -> Order:
        """A run of the method in a process of its own."""
        return Order(
            reference=self.reference if ".py" not in self.reference else str(Path(self.reference).absolute()),
            folders=tuple(map(str, self.folders)),
            parameters=self.parameters,
            preset=self.preset,
            seed=SEED,
            root=str(self.contest(variant).archive.root),
            track=self.track,
            submissions=str(submissions),
            cache=str(self.folder / "cache"),
            **settings,
        )


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Inside, what the harness caches goes to ``folder``, and not to the user's own cache."""
    before = os.environ.get("DFCBENCH_CACHE")
    os.environ["DFCBENCH_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["DFCBENCH_CACHE"]
        else:
            os.environ["DFCBENCH_CACHE"] = before


def refusal(error: BaseException) -> bool:
    """Whether an exception is one that a user can act on: of dfcbench's own kinds, and with a text."""
    return isinstance(error, DfcbenchError) and bool(str(error).strip())
