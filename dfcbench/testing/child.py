"""A process that makes one run, as ``dfcbench run`` does, and reports its progress; ``processes`` starts it.

    python -m dfcbench.testing.child < order.json

It ends with 0, with the exit code of dfcbench's own errors, with 130 where it was interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = "\x1e"
"""Begins every line of the report, so that whatever a method prints is no report."""

EVENTS = 3
"""Patches that are made or read in a stage before Ctrl-C comes: it is well under way then."""


def say(text: str) -> None:
    """Report an event."""
    print(f"{MARK}{text}", flush=True)


class Reporter:
    """Observes a run and reports its stages and maps; an interrupt is told where the run has got to."""

    def __init__(self, interrupt: Interrupt | None) -> None:
        self._interrupt = interrupt

    def stage(self, name: str) -> None:
        """A stage begins."""
        say(f"stage {name}")
        if self._interrupt is not None and name in ("fit", "predict"):
            self._interrupt.arm(
                "fit" if name == "fit" else ""
            )  # the harness itself looks at patches before it asks for maps

    def advance(self, label: str, done: int, total: int | None) -> None:
        """Maps are told one by one."""
        if label == "predicting":
            say(f"mapped {done}")
            if self._interrupt is not None:
                self._interrupt.arm("predict")

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        """Not told."""


class Interrupt:
    """Ctrl-C that comes in the midst of a stage: when some patches were made or read in it."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._armed = False
        self._left = EVENTS
        self._lock = threading.Lock()
        self._watch_patches()

    def arm(self, stage: str) -> None:
        """Count from now on if this is the stage, and no more if it is not."""
        self._armed = stage == self._stage

    def _count(self) -> None:
        with self._lock:
            if not self._armed or self._left == 0:
                return
            self._left -= 1
            if self._left:
                return
        say("interrupted")
        os.kill(os.getpid(), signal.SIGINT)

    def _watch_patches(self) -> None:
        from dfcbench.patches import LabelledPatch, LabelledPatchSet, Patch, PatchSet

        count = self._count

        def counting(kind: type[Patch]) -> type[Any]:
            class Counted(kind):  # type: ignore[valid-type, misc]
                __slots__ = ()

                def __init__(self, *args: Any, **kwargs: Any) -> None:
                    super().__init__(*args, **kwargs)
                    count()

                def _read(self, modality: str) -> Any:
                    count()
                    return super()._read(modality)

            return Counted

        PatchSet._patch_type = counting(Patch)
        LabelledPatchSet._patch_type = counting(LabelledPatch)


def main() -> int:
    """Make the run that the order on stdin describes."""
    from dfcbench.errors import DfcbenchError

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    try:
        work(json.load(sys.stdin))
    except DfcbenchError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def work(order: Mapping[str, Any]) -> None:
    """Plan as ``dfcbench run`` does, make the parts, then the run, unless only parts are wanted."""
    from dfcbench.archive import Archive
    from dfcbench.contest import FusionContest
    from dfcbench.plan import Plan, resolve_parameters
    from dfcbench.registry import Registry
    from dfcbench.runner import execute
    from dfcbench.states import order as in_order

    registry = Registry(tuple(map(Path, order["folders"])))
    loaded = registry.load(order["reference"])
    params, preset = resolve_parameters(loaded.method, order["parameters"], order["preset"], demo=True)
    plan = Plan(
        contest=FusionContest(Archive.open(Path(order["root"])), order["track"], "test"),
        loaded=loaded,
        params=params,
        preset=preset,
        seed=order["seed"],
        device="cpu",
        workers=1,
        submissions=Path(order["submissions"]),
        registry=registry,
        overrides=order["parameters"],
    )
    *parts, whole = in_order(plan)
    for part in parts:
        execute(part, Reporter(None), keep_probabilities=True)
    if not order["parts_only"]:
        interrupt = Interrupt(order["interrupt"]) if order["interrupt"] else None
        execute(whole, Reporter(interrupt), keep_probabilities=True)


if __name__ == "__main__":
    sys.exit(main())
