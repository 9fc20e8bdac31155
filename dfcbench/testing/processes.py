"""Runs of a method in processes of their own, through the runner as ``dfcbench run`` does it, to be killed or stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dfcbench.files import TEMPORARY
from dfcbench.submission import CONFUSION, META, PREDICTIONS, PROBABILITIES, SCORES
from dfcbench.testing.child import MARK

HASH_SEED = "1"
"""PYTHONHASHSEED of the processes: the order of sets of words is one that this process is unlikely to have."""


@dataclass(frozen=True)
class Order:
    """A run to be made; see ``child``. interrupt: Ctrl-C comes in this stage, fit or predict, while it reads patches."""

    reference: str
    folders: tuple[str, ...]
    parameters: Mapping[str, Any]
    preset: str
    seed: int
    root: str
    track: int
    submissions: str
    cache: str
    parts_only: bool = False
    interrupt: str = ""


class Done(NamedTuple):
    """How a process ended: its exit code, the signal's number below 0; what it said of itself."""

    code: int
    said: str


@dataclass(frozen=True)
class Event:
    """A line of the process's report, ``stage fit`` or ``mapped 3``, and when it came, by ``time.monotonic``."""

    text: str
    time: float = field(default_factory=time.monotonic)


class Child:
    """A process at an order. Its events are read as they come; what it prints otherwise is passed over.

    limit: seconds after which it is killed, lest it hang for ever.
    """

    def __init__(self, order: Order, limit: float | None = None) -> None:
        self._limit = limit
        self._hung = False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed when the process is waited for
        path = [entry or str(Path.cwd()) for entry in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dfcbench.testing.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path),
                "PYTHONHASHSEED": HASH_SEED,
                "DFCBENCH_CACHE": order.cache,
            },
            encoding="utf-8",
            errors="replace",
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(order)))
        self._process.stdin.close()
        self.events: list[Event] = []
        self._timer = threading.Timer(limit or 0.0, self._end)
        self._timer.daemon = True
        if limit is not None:
            self._timer.start()

    def _end(self) -> None:
        self._hung = True
        self._process.kill()

    def __iter__(self) -> Iterator[Event]:
        """Events until the process ends."""
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                if line.startswith(MARK):
                    self.events.append(Event(line.removeprefix(MARK).strip()))
                    yield self.events[-1]
        except KeyboardInterrupt:
            self._process.kill()
            raise

    def until(self, text: str) -> bool:
        """Wait for an event; False if the process ended without it."""
        return any(event.text == text for event in self)

    def kill(self) -> None:
        """SIGKILL, at once."""
        self._process.kill()

    def wait(self, seconds: float | None = None) -> Done:
        """How it ended; one that takes longer than ``seconds`` is killed. Raises TimeoutError then."""
        try:
            if seconds is None:
                for _ in self:
                    pass
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            raise TimeoutError(f"no end within {seconds:g} s") from error
        finally:
            self._timer.cancel()
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            said = self._said()
        return Done(code, said)

    def _said(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        self._errors.close()
        if self._hung:
            return f"it was killed, as it took more than {self._limit:.0f} s"
        return lines[-1] if lines else ""


def results(submissions: Path) -> dict[str, bytes]:
    """The content of all that one run must leave the same each time, by relative path; empty without a finished run."""
    found: dict[str, bytes] = {}
    for meta in submissions.glob(f"*/*/*/{META}"):
        folder = meta.parent
        maps = [path for name in (PREDICTIONS, PROBABILITIES) for path in (folder / name).glob("*")]
        for path in (meta, folder / SCORES, folder / CONFUSION, *maps):
            if path.exists():
                found[str(path.relative_to(submissions))] = path.read_bytes()
    return found


def half_files(submissions: Path) -> list[str]:
    """Temporary files that an interrupted run left behind."""
    return [str(path.relative_to(submissions)) for path in sorted(submissions.rglob(TEMPORARY))]
