"""Maps made elsewhere become a submission: checked, scored by the contest's rule, and kept like those of a run."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench import __version__, rasters, records
from dfcbench.contest import FusionContest
from dfcbench.errors import DataError, UsageError
from dfcbench.files import unwritable, writable_folder
from dfcbench.handed_in import Inspection, inspect
from dfcbench.machine import commit
from dfcbench.maps import map_path
from dfcbench.scheme import palette
from dfcbench.scoring import Confusion, confusion_matrix
from dfcbench.submission import (
    FINISHED,
    MAPS_BADGE,
    Submission,
    find_submissions,
    write_scores,
    write_submission,
)

MOST_NAME = 80
"""Characters of a team's or method's name: more would not fit into a board."""

_MOST_SLUG = 40
"""Characters of a name in a folder's name: of four bytes each, two of them leave room within a file system's 255."""

Scored = tuple[NDArray[np.uint32], bytes]
"""A map's confusion matrix, and a digest of its codes."""


@dataclass(frozen=True)
class Outcome:
    """What became of the maps. submission: None if they have faults. known: they had been entered before."""

    inspection: Inspection[Scored]
    submission: Submission | None
    known: bool = False


def check(
    path: Path, contest: FusionContest, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> Inspection[None]:
    """Find all faults of maps of the contest's split; it needs no high-resolution labels."""
    by_id = {record.id: record for record in contest.archive.splits[contest.split]}
    return inspect(path, list(by_id), lambda i: by_id[i].header(), workers=workers, progress=progress)


def enter(
    path: Path,
    contest: FusionContest,
    *,
    team: str,
    method: str,
    submissions: Path,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    illustrate: Callable[[Submission], None] | None = None,
) -> Outcome:
    """Check and score the maps of a zip or folder, and keep them as a submission with the badge "maps only".

    The submission's folder appears complete or not at all. Maps that were entered before, under whatever name, are
    recognised by their content, and nothing is written. ``illustrate`` may add files to the submission's artifacts.
    Raises UsageError for a name that no board can show, DataError if the split has no high-resolution labels here.
    """
    for what, name in (("--team", team), ("--method", method)):
        _require_name(what, name)
    if not contest.has_reference:
        raise DataError(
            f"{contest.archive.root}: the {contest.split} split has no high-resolution labels here, so there is nothing "
            "to score with. `dfcbench submission check` looks at the format without them."
        )
    by_id = {record.id: record for record in contest.archive.splits[contest.split]}
    staging = _staging(submissions)

    def score(patch_id: str, labels: NDArray[np.uint8], high: NDArray[np.uint8]) -> Scored:
        place = rasters.info(by_id[patch_id].path("high")).georeference
        file = map_path(staging, patch_id)
        # Not flushed one by one, which would take most of the time: whoever loses them with the power has the zip.
        rasters.write(file, labels, place, colours=palette(), compress="deflate", durable=False)
        codes = np.ascontiguousarray(labels)
        digest = hashlib.blake2b(f"{patch_id} {codes.shape} ".encode(), digest_size=16)
        digest.update(codes.data)
        return confusion_matrix(high, codes), digest.digest()

    try:
        inspection = inspect(
            path,
            list(by_id),
            lambda i: records.read(by_id[i], "high"),
            score,
            workers=workers,
            progress=progress,
        )
        if inspection.faults:
            return Outcome(inspection, None)
        key = _key(contest, (digest for _, (_, digest) in inspection.results))
        for earlier in find_submissions(submissions, contest.track, contest.split)[0]:
            if earlier.key == key:
                return Outcome(inspection, earlier, known=True)
        write_scores(staging, Confusion.collect((i, matrix) for i, (matrix, _) in inspection.results))
        if illustrate is not None:
            illustrate(Submission(staging))
        write_submission(staging, _meta(contest, key, team, method))
        folder = submissions / f"track{contest.track}" / _slug(method) / _run_name(contest, team, key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging.rename(folder)
        return Outcome(inspection, Submission(folder))
    except OSError as error:
        raise unwritable(submissions, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _staging(submissions: Path) -> Path:
    """A folder on the same disk that nobody takes for a submission, as its name starts with a dot."""
    staging = Path(tempfile.mkdtemp(prefix=".entering-", dir=writable_folder(submissions)))
    staging.chmod(0o755)
    return staging


def _key(contest: FusionContest, digests: Iterable[bytes]) -> str:
    """What makes these maps these maps: their pixels, and what they are scored on; no name. 16 hexadecimal digits."""
    maps = hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()
    data = contest.archive.fingerprint(contest.split)
    parts = {"track": contest.track, "split": contest.split, "data": data, "maps": maps}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _meta(contest: FusionContest, key: str, team: str, method: str) -> dict[str, Any]:
    """The content of submission.json, in the form of a run's."""
    identity = contest.archive.identity
    fingerprint = contest.archive.fingerprint(contest.split)
    return {
        "key": key,
        "status": FINISHED,
        "track": contest.track,
        "split": contest.split,
        "method": {
            "name": method,
            "version": "",
            "summary": f"Maps made elsewhere, handed in by {team}.",
            "citation": "",
            "origin": "maps made elsewhere",
            "source_digest": None,
        },
        "parameters": {"team": team},
        "overrides": {"team": team},
        "seed": 0,
        "badges": [MAPS_BADGE],
        "parts": {},
        "data": {
            "name": identity.name,
            "title": identity.title,
            "official": identity.official,
            "fingerprint": fingerprint,
            "depends_on": {contest.split: fingerprint},
            "patches": len(contest.scored),
            "limit": None,
        },
        "software": {"dfcbench": __version__},  # what scored the maps; what made them is not known
        "commit": commit(),
    }


def _run_name(contest: FusionContest, team: str, key: str) -> str:
    return f"{contest.split}-{contest.archive.identity.name}-{_slug(team)}-{key[:8]}"


def _require_name(option: str, name: str) -> None:
    if not name.isprintable() or not _slug(name) or len(name) > MOST_NAME:
        raise UsageError(
            f"{option} {name!r}: give a name of at most {MOST_NAME} printable characters, a letter or digit among them."
        )


def _slug(text: str) -> str:
    """A folder's name: letters and digits of any script, and single dots, underscores and hyphens within."""
    return re.sub(r"(?:[^\w.]|\.\.)+", "-", text.lower())[:_MOST_SLUG].strip("-._")
