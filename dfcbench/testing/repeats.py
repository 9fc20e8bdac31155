"""Checks that a run's maps depend on what makes its key, and on nothing else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dfcbench import rasters
from dfcbench.method import Prediction
from dfcbench.submission import PREDICTIONS
from dfcbench.testing.check import Fault
from dfcbench.testing.endings import whole_run
from dfcbench.testing.subject import SEED, Maps, Subject, Trial
from dfcbench.testing.surroundings import differences, other_seeds, process_state, random_state


def deterministic(subject: Subject) -> None:
    """Two fresh runs with one seed make the same maps, byte for byte."""
    require_same(subject.first.maps, _again(subject).trial.maps, "a second run")


def global_state(subject: Subject) -> None:
    """The process's random generators, folder, environment and settings are left as they were."""
    if left := _again(subject).left:
        raise Fault(f"changed: {', '.join(left)}")


def order(subject: Subject) -> None:
    """Patches asked for in reverse get the same maps."""
    patches = subject.shown()
    maps = subject.predict(subject.first.method, patches.select(reversed(patches.ids)))
    require_same(subject.first.maps, maps, "asked for in reverse")


def subset(subject: Subject) -> None:
    """Patches get the same maps when only half of them are asked for."""
    patches = subject.shown()
    chosen = patches.ids[: len(patches) // 2]
    maps = subject.predict(subject.first.method, patches.select(chosen))
    require_same({i: subject.first.maps[i] for i in chosen}, maps, "asked for half of the patches")


def save_load(subject: Subject) -> None:
    """A fresh instance that loads what was saved makes the same maps."""
    method = subject.new()
    method.load(subject.first.folder / "fitted")
    require_same(subject.first.maps, subject.predict(method, subject.shown()), "loaded by a fresh instance")


def workers(subject: Subject) -> None:
    """One worker thread and two make the same maps, byte for byte."""
    require_same(subject.first.maps, subject.trial("workers", workers=2).maps, "with two workers")


def new_process(subject: Subject) -> None:
    """A new process that knows the method's name and parameters alone makes the same maps."""
    run = whole_run(subject)
    if run.done.code:
        raise Fault(f"it ends with exit code {run.done.code}: {run.done.said}")
    (folder,) = run.submissions.glob(f"track{subject.track}/{subject.kind.name}/test-*")
    maps: Maps = {}
    for patch in subject.shown():
        values = rasters.read(folder / PREDICTIONS / patch._record.label_name)
        maps[patch.id] = values[0].astype(np.uint8)
    here: Maps = {i: Prediction(i, values).labels() for i, values in subject.first.maps.items()}
    require_same(here, maps, "in a new process")


def require_same(first: Maps, second: Maps, when: str) -> None:
    """Raise Fault unless both are the same maps to the last bit."""
    for patch_id, values in first.items():
        other = second.get(patch_id)
        if other is None:
            raise Fault(f"{when}, {patch_id} has no map")
        if values.shape != other.shape or values.dtype != other.dtype:
            raise Fault(f"{when}, {patch_id} is {other.dtype} {other.shape} instead of {values.dtype} {values.shape}")
        if values.tobytes() != other.tobytes():
            unlike = values != other
            told = f"{int(unlike.sum())} of {unlike.size} values differ"
            if np.issubdtype(values.dtype, np.floating):
                told += f", by {float(np.abs(values.astype(float) - other.astype(float)).max()):.3g} at most"
            raise Fault(f"{when}, {told} on {patch_id}")
    if extra := second.keys() - first.keys():
        raise Fault(f"{when}, there is a map of {min(extra)} besides")


class _Again(NamedTuple):
    """A second trial, and what of the process's state it left changed."""

    trial: Trial
    left: list[str]


def _again(subject: Subject) -> _Again:
    """A second run while the process's random generators stand elsewhere; made once, after the first one."""
    subject.first  # noqa: B018  it comes first

    def make() -> _Again:
        with other_seeds(SEED + 1):
            drawn, settings = random_state(), process_state()
            trial = subject.trial("again")
            return _Again(trial, differences(drawn, random_state()) + differences(settings, process_state()))

    return subject.once("again", make)
