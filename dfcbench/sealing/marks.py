"""What is on disk of a run's seal: a mark while the run is under way, an entry of submission.json when it is finished.

What was learned or mapped without a seal is never gone on with under one.
"""

from __future__ import annotations

import json
from pathlib import Path

from dfcbench.files import write_json
from dfcbench.sealing.levels import at_least

MARK = "sealed.json"
"""In the folder ``work/`` of a run that is under way: how it is sealed."""


def mark(work: Path, seal: str | None) -> None:
    """Note how the run under way is sealed. Once it goes on without a seal, it has none."""
    if seal is None:
        (work / MARK).unlink(missing_ok=True)
    else:
        write_json(work / MARK, {"sealed": seal})


def may_go_on(work: Path, finished: str | None, seal: str) -> bool:
    """Whether what was begun can be gone on with under this seal; ``finished`` is that of the submission, if any."""
    if not work.exists():
        return at_least(finished, seal)
    try:
        noted = json.loads((work / MARK).read_text(encoding="utf-8"))["sealed"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return at_least(noted, seal)
