"""Checks of runs that are broken off: real processes, through the runner, killed or interrupted, that then go on."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from dfcbench.testing.check import Fault, Skip
from dfcbench.testing.processes import Child, Done, Event, half_files, results
from dfcbench.testing.subject import SEED, Subject

STOP_SECONDS = 10.0
"""From Ctrl-C to the end of the process: a third of the 30 s that batch systems (Slurm's KillWait, Kubernetes' grace period)
leave by default between asking a process to end and killing it."""
LONGEST, TIMES = 120.0, 30.0
"""Seconds that a process may take, and how many times what the run took in this process may come to them: it starts anew,
it may compile, and the machine may be busy. What takes longer hangs."""
INTERRUPTED = 130
"""Exit code of a run that ended because it was asked to."""


class Run(NamedTuple):
    """A run in a process of its own."""

    submissions: Path
    done: Done
    events: list[Event]


def whole_run(subject: Subject) -> Run:
    """The run that nothing breaks off; made once."""
    return subject.once("whole run", lambda: _whole(subject))


def _whole(subject: Subject) -> Run:
    submissions = _room(subject, "whole")
    child = _child(subject, submissions)
    done = child.wait()
    return Run(submissions, done, child.events)


def resume(subject: Subject) -> str:
    """A run killed while it fits, and again while it maps, goes on and ends with the bytes of one that was not."""
    whole = whole_run(subject)
    moment = random.Random(SEED)
    submissions = _room(subject, "killed")
    fit, first = (_time(whole.events, text) for text in ("stage fit", "stage predict"))
    lasted = moment.uniform(0.2, 0.9) * (first - fit)
    mapped = moment.randint(1, len(subject.shown()) - 1)
    told = [
        _killed(subject, submissions, "stage fit", lasted, f"{lasted:.2f} s into fit"),
        _killed(subject, submissions, f"mapped {mapped}", 0.0, f"after {mapped} maps"),
    ]
    _go_on(subject, whole, submissions, f"killed {' and '.join(told)}")
    return f"killed {' and '.join(told)}"


def _killed(subject: Subject, submissions: Path, event: str, wait: float, when: str) -> str:
    child = _child(subject, submissions)
    if not child.until(event):
        done = child.wait()
        if done.code:
            raise Fault(f"before it could be killed {when}, the run ended with exit code {done.code}: {done.said}")
        return f"not {when}, as the run was over"
    time.sleep(wait)
    child.kill()
    child.wait()
    return when


def stop(subject: Subject) -> str:
    """Ctrl-C during fit and during predict ends the run soon, leaves no half files, and the run can go on."""
    if os.name != "posix":
        raise Skip("this platform has no SIGINT for processes")
    whole = whole_run(subject)
    submissions, stopped = _room(subject, "stopped"), []
    for stage in ("fit", "predict"):
        if _stopped(subject, submissions, stage):
            stopped.append(stage)
        else:  # the run has come to its end
            submissions = _room(subject, "stopped")
    if stopped:
        _go_on(subject, whole, submissions, f"stopped in {' and '.join(stopped)}")
    return f"stopped in {' and '.join(stopped)}" if stopped else "it was too quick to be stopped"


def _stopped(subject: Subject, submissions: Path, stage: str) -> bool:
    child = _child(subject, submissions, interrupt=stage)
    if not child.until("interrupted"):
        done = child.wait()
        if done.code:
            raise Fault(f"the run ended with exit code {done.code}: {done.said}")
        return False
    try:
        done = child.wait(STOP_SECONDS)
    except TimeoutError:
        raise Fault(f"{STOP_SECONDS:g} s after Ctrl-C in {stage} it was still at work") from None
    if done.code == 0:
        raise Fault(f"after Ctrl-C in {stage} it went on to the end, as if nothing had been asked")
    if done.code != INTERRUPTED:
        raise Fault(f"after Ctrl-C in {stage} it ended with exit code {done.code}, not {INTERRUPTED}: {done.said}")
    if left := half_files(submissions):
        raise Fault(f"after Ctrl-C in {stage} there is half a file: {left[0]}")
    return True


def _go_on(subject: Subject, whole: Run, submissions: Path, how: str) -> None:
    """Run to the end; raise Fault unless that gives what the whole run gave."""
    done = _child(subject, submissions).wait()
    if done.code:
        raise Fault(f"{how}, the run does not go on: exit code {done.code}: {done.said}")
    wanted, found = results(whole.submissions), results(submissions)
    unlike = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if unlike:
        raise Fault(f"{how}, and gone on: {len(unlike)} of {len(wanted)} files differ, such as {unlike[0]}")


def _child(subject: Subject, submissions: Path, interrupt: str = "") -> Child:
    """A process that makes the run, or goes on with it."""
    limit = LONGEST + TIMES * subject.first.seconds
    return Child(subject.order(submissions, interrupt=interrupt), limit)


def _room(subject: Subject, name: str) -> Path:
    """A folder of submissions in which the parts' runs lie already."""
    folder = subject.place(name)
    if subject.parts():
        shutil.copytree(subject.submissions_with_parts(), folder, dirs_exist_ok=True)
    return folder


def _time(events: list[Event], text: str) -> float:
    return next((event.time for event in events if event.text == text), 0.0)
