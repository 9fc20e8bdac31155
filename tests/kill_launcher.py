"""Runs the ``dfcbench`` command, and ends it by a signal at a chosen moment of a chosen stage.

A moment is an event: a file opened, made, renamed or removed. Environment: ``KILL_STAGE`` (one of STAGES), ``KILL_EVENT``
(how many events of that stage, and of those that follow, pass before), ``KILL_SIGNAL`` (its number), ``KILL_DELAY``
(seconds from there on). Without ``KILL_STAGE`` the events are counted, into the JSON file ``KILL_COUNTS``.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from pathlib import Path

STAGES = ("pack", "fit", "predict", "score", "illustrate", "finish")
MOMENTS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "tempfile.mkstemp", "mmap.__new__"}
)
FREE = -1
"""Of a stage that is not one of STAGES: the start of the command."""


class Killer:
    """Counts moments, and sends the signal when its time has come."""

    def __init__(self) -> None:
        self.stage = FREE
        self.counts = dict.fromkeys(STAGES, 0)
        self.target = STAGES.index(os.environ["KILL_STAGE"]) if "KILL_STAGE" in os.environ else None
        self.left = int(os.environ.get("KILL_EVENT", "0"))
        self.signal = int(os.environ.get("KILL_SIGNAL", "9"))
        self.delay = float(os.environ.get("KILL_DELAY", "0"))

    def enter(self, stage: str) -> None:
        """A stage begins; fit asks for packed patches, and goes on afterwards."""
        self.stage = STAGES.index(stage)

    def hear(self, event: str, arguments: object) -> None:
        """One audit event of the interpreter."""
        if event not in MOMENTS or self.stage == FREE:
            return
        self.counts[STAGES[self.stage]] += 1
        if self.target is None or self.stage < self.target:
            return
        if self.left:
            self.left -= 1
            return
        self.target = None
        if self.delay:
            threading.Thread(target=self._later, daemon=True).start()
        else:
            os.kill(os.getpid(), self.signal)

    def _later(self) -> None:
        time.sleep(self.delay)
        os.kill(os.getpid(), self.signal)


def main() -> None:
    """Hook in, and give the command what is left of the command line."""
    sys.path.pop(0)  # this folder, whose modules are no top-level ones
    from dfcbench.cli.console import Terminal
    from dfcbench.report import run_figures

    killer = Killer()
    told, draw = Terminal.stage, run_figures.illustrate

    def stage(self: Terminal, name: str) -> None:
        killer.enter(name)
        told(self, name)

    def illustrate(*arguments: object) -> None:
        killer.enter("illustrate")
        draw(*arguments)  # type: ignore[arg-type]
        killer.enter("finish")

    Terminal.stage = stage  # type: ignore[method-assign]
    run_figures.illustrate = illustrate  # type: ignore[assignment]
    if place := os.environ.get("KILL_COUNTS"):
        atexit.register(lambda: Path(place).write_text(json.dumps(killer.counts)))
    sys.addaudithook(killer.hear)
    from dfcbench.cli import main as dfcbench

    dfcbench()


if __name__ == "__main__":
    main()
