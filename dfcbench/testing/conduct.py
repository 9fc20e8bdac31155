"""Checks of what a method does besides its maps, while it is watched."""

from __future__ import annotations

from dfcbench.testing.check import Fault, Skip
from dfcbench.testing.contest import EASY, Variant
from dfcbench.testing.repeats import require_same
from dfcbench.testing.subject import Subject
from dfcbench.testing.surroundings import strangers
from dfcbench.testing.watching import unused


def inputs_unchanged(subject: Subject) -> None:
    """Arrays that were handed over hold what they held."""
    if changed := sorted(subject.first.watch.changed):
        raise Fault(f"it writes into {changed[0]}" + (f", and {len(changed) - 1} more" if len(changed) > 1 else ""))


def declared_needs(subject: Subject) -> str | None:
    """It asks for nothing that its needs do not declare."""
    watch = subject.first.watch
    if watch.refused:
        raise Fault(f"it asks for {', '.join(watch.refused)}, and its needs are {subject.needs}")
    idle = unused(watch, subject.needs)
    return f"declared and not used here: {', '.join(idle)}" if idle else None


def hidden_labels(subject: Subject) -> None:
    """The maps are the same when the labels that the track hides are others."""
    needs = subject.needs
    if needs.feedback:
        raise Skip("the contest's server tells it of the hidden labels, and boards say so")
    relabelled = ("test",) if needs.prior or needs.labels == "high" else ("test", "validation")
    variant = Variant("-".join(["relabelled", *relabelled]), relabelled=relabelled)
    other = subject.trial("relabelled", variant, parts_of=EASY)
    require_same(subject.first.maps, other.maps, "with other hidden labels on the disk")


def silent(subject: Subject) -> None:
    """It prints nothing."""
    if printed := subject.first.watch.printed:
        raise Fault(f"it prints {printed!r}")


def writes(subject: Subject) -> None:
    """It writes to its scratch folder, its artifacts and what it saves, and nowhere else."""
    trial = subject.first
    allowed = [trial.folder / name for name in ("scratch", "artifacts", "fitted", "server")]
    places = strangers(trial.watch.written, allowed)
    places += trial.stray
    if places:
        raise Fault(f"it writes to {', '.join(places[:3])}" + (" and other places" if len(places) > 3 else ""))
