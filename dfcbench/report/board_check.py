"""Whether the boards in a folder are what the submissions say, byte by byte."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dfcbench import paper
from dfcbench.errors import DataError
from dfcbench.leaderboard import Leaderboard
from dfcbench.report.board import render_board
from dfcbench.report.board_page import is_page_name, page_names
from dfcbench.report.html import is_own
from dfcbench.report.paper_table import paper_table, render_paper_table
from dfcbench.report.regions_table import read_regions, render_regions
from dfcbench.scheme import SCORED_CODES
from dfcbench.submission import Problem, Submission


@dataclass(frozen=True)
class Fault:
    """A file below the folder of boards that is not what it should be; ``path`` with slashes."""

    path: str
    kind: Literal["differs", "missing", "surplus"]


@dataclass(frozen=True)
class Scope:
    """Which boards' files are looked at; None is any. Without track and split, all that lies in a data set's folder."""

    track: int | None = None
    split: str | None = None
    data: str | None = None

    @property
    def whole(self) -> bool:
        """Whether folders of data sets are looked at as wholes."""
        return self.track is None and self.split is None

    def covers(self, path: str) -> bool:
        """Whether a file of this path (with slashes, below the folder of boards) belongs to what is looked at."""
        data = r"[^/]+" if self.data is None else re.escape(self.data)
        if self.whole:
            return re.match(rf"{data}/", path) is not None
        track = r"\d+" if self.track is None else str(self.track)
        split = r"[a-z]+" if self.split is None else re.escape(self.split)
        return re.match(rf"{data}/track{track}-{split}(?![A-Za-z0-9])", path) is not None


def render_boards(boards: Iterable[Leaderboard]) -> dict[str, bytes]:
    """All files of all boards, by their paths below the folder of boards."""
    files: dict[str, bytes] = {}
    for board in boards:
        files |= render_board(board)
    return files


def faults(expected: Mapping[str, bytes], root: Path, scope: Scope) -> list[Fault]:
    """Files below ``root`` that differ from ``expected``, are missing, or are there beside it, by path.

    Files whose names begin with a dot do not count, and none that lie directly in ``root`` unless expected.
    """
    found = []
    for path, content in expected.items():
        try:
            if (root / path).read_bytes() != content:
                found.append(Fault(path, "differs"))
        except OSError:
            found.append(Fault(path, "missing"))
    found += [Fault(path, "surplus") for path in _files(root) if scope.covers(path) and path not in expected]
    return sorted(found, key=lambda fault: fault.path)


def paper_tables(
    root: Path, submissions: Sequence[Submission], scope: Scope, is_former: paper.IsFormer | None = None
) -> dict[str, bytes]:
    """What the paper's tables that lie beside the boards (``dfcbench table`` writes them) should hold."""
    files: dict[str, bytes] = {}
    if not scope.whole:
        return files
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        for definition in paper.tables().values():
            if any(folder.glob(f"table-{definition.name}.*")) and scope.covers(f"{folder.name}/"):
                table = paper_table(definition, folder.name, submissions, is_former)
                files |= render_paper_table(table, definition.name, folder.name)
    return files


def regions_tables(
    root: Path, submissions: Sequence[Submission], scope: Scope
) -> tuple[dict[str, bytes], list[Problem]]:
    """What the tables of regions beside the boards should hold, made from their records, as the data may be elsewhere.

    A record that cannot be read is a problem; so is one whose pixels of a class are not those of the reference that
    submissions on the same data were scored with, where these cover all splits of the record.
    """
    files: dict[str, bytes] = {}
    problems: list[Problem] = []
    if not scope.whole:
        return files, problems
    for folder in sorted(path for path in root.glob("*") if path.is_dir() and scope.covers(f"{path.name}/")):
        try:
            found = read_regions(root, folder.name)
        except DataError as error:
            problems.append(Problem(folder, str(error)))
            continue
        if found is None:
            continue
        files |= render_regions(found)
        counts = {split: _reference(submissions, split, digits) for split, digits in found.fingerprints.items()}
        fault = found.contradicted({split: known for split, known in counts.items() if known is not None})
        if fault:
            record = folder / f"table-{paper.REGIONS}.json"
            advice = "Write it anew with `dfcbench table II`."
            problems.append(Problem(folder, f"{record}: {fault} in the submissions' reference. {advice}"))
    return files, problems


def _reference(submissions: Sequence[Submission], split: str, fingerprint: str) -> list[int] | None:
    """Reference pixels by SCORED_CODES of a split, from the first complete run that was scored with it."""
    for submission in submissions:
        meta = submission.meta
        of_split = (meta["split"], meta["data"]["fingerprint"]) == (split, fingerprint)
        if of_split and not submission.partial and submission.scores is not None:
            return [int(count) for count in submission.confusion.total[list(SCORED_CODES)].sum(axis=1)]
    return None


def stale_pages(board: Leaderboard, root: Path) -> list[Path]:
    """Pages of runs that left the board: files that have a run page's name and were made here, as their heads say."""
    folder = root / board.data / board.name
    kept = {name for named in page_names(board) for _, name in named}
    return [
        folder / name for name in _files(folder) if name not in kept and is_page_name(name) and is_own(folder / name)
    ]


def _files(root: Path) -> list[str]:
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name).relative_to(root).as_posix() for name in sorted(names) if not name.startswith(".")]
    return found
