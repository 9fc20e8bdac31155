"""Leaderboards: submissions of one data set, track and split, ranked; published results beside them.

Only complete runs that kept to the plain rules rank together. Runs on some of the patches, runs tuned on the server's
answers, and data sets that share a name but not their content stand apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dfcbench.errors import SubmissionError
from dfcbench.published import PublishedResult, load, select
from dfcbench.scoring import Scores
from dfcbench.submission import MAPS_BADGE, TUNED_BADGE, Submission

KINDS = ("ranked", TUNED_BADGE, MAPS_BADGE, "partial", "unscored")
"""Sections in the order of a page. ``partial`` (some of the patches) and ``unscored`` have no ranks."""

_RANKLESS = ("partial", "unscored")


@dataclass(frozen=True)
class Entry:
    """One submission on a board. Entries with the same scores share a rank; None where nothing is ranked."""

    rank: int | None
    method: str
    parameters: str
    """Those that were given and differ from the preset's, as in ``inputs=s1+s2 trees=10``."""
    version: str
    preset: str
    seed: int
    run: str
    key: str
    badges: tuple[str, ...]
    fingerprint: str
    patches: int
    limit: int | None
    scores: Scores | None
    submission: Submission
    """Where all else lies that a page tells of the run."""

    @property
    def label(self) -> str:
        """The method, and the parameters that set this run apart from others of it."""
        return f"{self.method} ({self.parameters})" if self.parameters else self.method


@dataclass(frozen=True)
class Section:
    """Entries that may be compared: one kind, one fingerprint of the data."""

    kind: str
    fingerprint: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Leaderboard:
    """All that a page about one data set, track and split shows."""

    data: str
    title: str
    official: bool
    track: int
    split: str
    sections: tuple[Section, ...]
    published: tuple[PublishedResult, ...]

    @property
    def name(self) -> str:
        """Name of the board's files, such as ``track1-test``."""
        return f"track{self.track}-{self.split}"

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Fingerprints of the data in the order of the sections."""
        return tuple(dict.fromkeys(section.fingerprint for section in self.sections))


def build(
    submissions: Iterable[Submission],
    *,
    data: str,
    track: int,
    split: str,
    published: Sequence[PublishedResult] | None = None,
) -> Leaderboard:
    """The board of one data set (``data.name``), track and split, from finished submissions of any kind.

    Ranked by average accuracy, then overall accuracy, then method, run and key. Where submissions of one data name
    differ in their data's fingerprint, each fingerprint has sections of its own: the one with most submissions first,
    then in alphabetical order. Published results (``published`` instead of the shipped ones) are there only if every
    submission says that its data is the official contest's.
    Raises SubmissionError if no submission fits, or the data's name is no plain word.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", data):
        raise SubmissionError(f"Data name {data!r}: only letters, digits, '.', '_' and '-' may name a board's folder.")
    chosen = [s for s in submissions if _place(s) == (data, track, split)]
    if not chosen:
        raise SubmissionError(f"No finished submission of {data}, Track {track}, {split}. Run a method on it first.")
    official = all(s.meta["data"]["official"] for s in chosen)
    counts = Counter(s.meta["data"]["fingerprint"] for s in chosen)
    sections = []
    for fingerprint in sorted(counts, key=lambda f: (-counts[f], f)):
        group = [s for s in chosen if s.meta["data"]["fingerprint"] == fingerprint]
        for kind in KINDS:
            entries = _ranked([s for s in group if _kind(s) == kind], kind)
            if entries:
                sections.append(Section(kind, fingerprint, entries))
    first = min(chosen, key=lambda s: (s.meta["data"]["fingerprint"] != sections[0].fingerprint, str(s.folder)))
    return Leaderboard(
        data=data,
        title=first.meta["data"]["title"],
        official=official,
        track=track,
        split=split,
        sections=tuple(sections),
        published=select(load() if published is None else published, track, split) if official else (),
    )


def build_all(
    submissions: Iterable[Submission], *, published: Sequence[PublishedResult] | None = None
) -> list[Leaderboard]:
    """One board per data set, track and split that occurs among finished submissions, in alphabetical order."""
    every = list(submissions)
    return [
        build(every, data=data, track=track, split=split, published=published)
        for data, track, split in sorted({_place(s) for s in every})
    ]


def _place(submission: Submission) -> tuple[str, int, str]:
    meta = submission.meta
    return meta["data"]["name"], meta["track"], meta["split"]


def _kind(submission: Submission) -> str:
    badges = submission.meta["badges"]
    if submission.scores is None or submission.scores.average_accuracy is None:
        return "unscored"
    if submission.partial:
        return "partial"
    return next((badge for badge in (TUNED_BADGE, MAPS_BADGE) if badge in badges), "ranked")


def _ranked(submissions: Sequence[Submission], kind: str) -> tuple[Entry, ...]:
    ordered = sorted(submissions, key=_order)
    alike = Counter(_description(submission) for submission in ordered)
    entries: list[Entry] = []
    for position, submission in enumerate(ordered, start=1):
        rank = None if kind in _RANKLESS else position
        if rank and entries and _order(submission)[:2] == _order(ordered[position - 2])[:2]:
            rank = entries[-1].rank
        entry = _entry(submission, rank)
        if alike[_description(submission)] > 1:
            entry = replace(entry, parameters=f"{entry.parameters} key={submission.key[:8]}".strip())
        entries.append(entry)
    return tuple(entries)


def _description(submission: Submission) -> tuple[Any, ...]:
    """What a row of a board tells of a run. Runs may share it, as on other training data; their keys then differ."""
    meta = submission.meta
    method = meta["method"]
    return (
        method["name"],
        method["version"],
        submission.changes,
        meta.get("preset"),
        meta["seed"],
        meta["data"].get("limit"),
    )


def _order(submission: Submission) -> tuple[Any, ...]:
    scores, meta = submission.scores, submission.meta
    average = scores.average_accuracy if scores else None
    overall = scores.overall_accuracy if scores else None
    names = (meta["method"]["name"], meta["seed"], submission.folder.name, meta["key"])
    return (-(average or 0.0), -(overall or 0.0), *names)


def _entry(submission: Submission, rank: int | None) -> Entry:
    meta = submission.meta
    return Entry(
        rank=rank,
        method=meta["method"]["name"],
        parameters=submission.changes,
        version=meta["method"]["version"],
        preset=str(meta.get("preset") or ""),
        seed=meta["seed"],
        run=submission.folder.name,
        key=meta["key"],
        badges=tuple(map(str, meta["badges"])),
        fingerprint=meta["data"]["fingerprint"],
        patches=submission.scores.patches if submission.scores else meta["data"]["patches"],
        limit=meta["data"].get("limit"),
        scores=submission.scores,
        submission=submission,
    )
