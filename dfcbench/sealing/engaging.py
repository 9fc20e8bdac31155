"""A sealed method at work: its process is started for one run, and what it leaves is taken over without trust."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dfcbench.contest import ContestView
from dfcbench.errors import ContractError, DfcbenchError, MethodCrash, SubmissionError, UsageError
from dfcbench.files import replacing
from dfcbench.method import Contest, Method, PartMaps, PatchSet, Prediction, Reporter, RunContext
from dfcbench.scheme import SCORED_CODES
from dfcbench.sealing.compiled import hand_over
from dfcbench.sealing.places import compiled_in, link_files, packages, places
from dfcbench.sealing.process import Conversation, Process
from dfcbench.sealing.serving import Server
from dfcbench.sealing.standin import Standin

_LARGEST_PATCH = 1 << 20
"""Pixels of a patch at least allowed for when a method's answers are bounded: 16 patches of the contest's size."""
_BYTES = 16
"""Of the widest number that a map may be sent in."""


class SealedMethod(Method):
    """Fits and predicts in a process of its own. It is started at once, and again by ``load`` if that fails."""

    def __init__(self, start: Callable[[], tuple[Process, Server]], name: str) -> None:
        super().__init__(None)
        self.name = name  # type: ignore[misc]
        self._start = start
        self._process, self._server = start()

    def fit(self, contest: Contest, run: RunContext) -> None:
        """Fit in the process; what it asks for is answered meanwhile."""
        self._do("fit")

    def save(self, folder: Path) -> None:
        """Let the process keep what it learned."""
        self._do("save", folder=str(folder.absolute()))

    def load(self, folder: Path) -> None:
        """Let the process read what it kept. If it cannot, a fresh process takes its place."""
        try:
            self._do("load", folder=str(folder.absolute()))
        except Exception:
            self.end()
            self._process, self._server = self._start()
            raise

    def predict(self, patches: PatchSet, run: RunContext) -> Iterator[Prediction]:
        """Predictions as the process sends them, not yet looked at."""
        self._server.predicting = True
        self._process.command("predict", ids=patches.ids)
        conversation = self._conversation("predict")
        while (message := conversation.next()).kind == "prediction":
            yield Prediction(message.text("id"), message.array())

    def end(self, *, kindly: bool = False) -> None:
        """End the process."""
        self._process.end(kindly=kindly)

    def _conversation(self, call: str) -> Conversation:
        return Conversation(self._process, self._server.answer, call)

    def _do(self, command: str, **entries: Any) -> None:
        self._process.command(command, **entries)
        if self._conversation(command).next().kind != "done":
            raise ContractError(f"{self.name}: its process sent a map before it was asked for any.")


@contextmanager
def engaged(
    standin: Method,
    view: ContestView,
    run: RunContext,
    reporter: Reporter,
    hidden: Sequence[Path],
    *,
    fitted: Path,
    work: Path,
    artifacts: Path,
) -> Iterator[SealedMethod]:
    """The method that ``standin`` stands for, at work in a sealed process that sees ``view``; ended with the context.

    ``fitted`` is where it keeps what it learns, ``work`` the run's own folder for what is not kept. Artifacts are moved
    to ``artifacts`` in the end, plain files only.
    """
    if not isinstance(standin, Standin):
        raise UsageError(f"{standin.name}: was imported here before it could be sealed. Load it from a SealedRegistry.")
    describer = standin.params.describer
    own = work.absolute() / "sealed"
    home, made, scratch = own / "home", own / "artifacts", work.absolute() / "scratch"
    for folder in (made, scratch, fitted.absolute()):
        folder.mkdir(parents=True, exist_ok=True)
    largest = max((int(height) * int(width) for height, width in view.to_predict().shapes), default=0)
    learned = {name: _learned(part) for name, part in run.parts.items()}
    most = max(4 * largest, _LARGEST_PATCH) * len(SCORED_CODES) * _BYTES

    def start() -> tuple[Process, Server]:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        link_files(describer.files, home)
        writable = [home, made, scratch, fitted.absolute()]
        for package in packages(describer.entry):
            hand_over(package, compiled_in(home))
        readable = [*describer.files.values(), *(folder for folder in learned.values() if folder is not None)]
        allowed = places(describer.entry, hidden, readable, writable, run.device)
        process = Process(describer.entry, describer.level, allowed, home, most)
        try:
            server = Server(process, view, run.parts, reporter, standin.name)
            prior = (view.label_prior,) if view.needs.prior else ()
            process.command(
                "begin",
                *prior,
                values=standin.params.given,
                contest={
                    "track": view.track,
                    "split": view.split,
                    "needs": {**vars(view.needs), "inputs": sorted(view.needs.inputs)},
                    "sets": sorted(view.names),
                },
                seed=run.seed,
                device=run.device,
                workers=run.workers,
                scratch=str(scratch),
                artifacts=str(made),
                parts={
                    name: {"ids": part.ids, "learned": None if learned[name] is None else str(learned[name])}
                    for name, part in run.parts.items()
                },
            )
            Conversation(process, server.answer, "constructor").next()
        except DfcbenchError:
            process.end()
            raise
        except BaseException as error:
            process.end()
            if not isinstance(error, Exception):
                raise
            raise MethodCrash(f"{standin.name}: its constructor raised {type(error).__name__}: {error}.") from error
        return process, server

    method = SealedMethod(start, standin.name)
    ended_well = False
    try:
        yield method
        ended_well = True
    finally:
        method.end(kindly=ended_well)
        _collect(made, artifacts)


def _learned(part: PartMaps) -> Path | None:
    """Where what the part learned lies; None if it is not there."""
    try:
        return part.learned.absolute()
    except SubmissionError:
        return None


def _collect(made: Path, artifacts: Path) -> None:
    """Copy plain files that the method made; links, pipes and folders are left where they are."""
    if not any(made.iterdir()):
        return
    for path in sorted(made.iterdir()):
        if path.name.startswith("."):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as source:  # noqa: PTH123 (a descriptor)
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    with replacing(artifacts / path.name) as temporary, temporary.open("wb") as sink:
                        shutil.copyfileobj(source, sink)
