"""The ``dfcbench`` command within the tests' own process: quick, and open to faults that a test puts in its way."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dfcbench.cli.app import Settings, with_commands

NO_STORE = "sqlite:////dev/null/mlflow.db"
"""A store that is found unusable before MLflow is imported, which takes seconds."""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: exit code, stdout and stderr."""

    code: int
    out: str
    err: str


@contextlib.contextmanager
def _own_logging() -> Iterator[None]:
    log = logging.getLogger("dfcbench")
    handlers, level, propagate = list(log.handlers), log.level, log.propagate
    try:
        yield
    finally:
        for handler in [h for h in log.handlers if h not in handlers]:
            log.removeHandler(handler)
            handler.close()
        log.setLevel(level)
        log.propagate = propagate


def call(*arguments: object, store: str = NO_STORE) -> Outcome:
    """Run the command; whatever it raises beyond its exit code passes through."""
    out, err = io.StringIO(), io.StringIO()
    former = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = store
    code = 0
    try:
        with _own_logging(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                with_commands()([str(a) for a in arguments])
            except SystemExit as end:
                code = int(end.code or 0)
    finally:
        Settings.debug, Settings.logged = False, True
        if former is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = former
    return Outcome(code, out.getvalue(), err.getvalue())


def told(outcome: Outcome, code: int, *words: str) -> str:
    """The one line in which a command that failed with ``code`` says why, which holds these words."""
    assert outcome.code == code, f"exit code {outcome.code}, expected {code}\n{outcome.out}\n{outcome.err}"
    assert "Traceback" not in outcome.err + outcome.out
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    for word in words:
        assert word in line, f"{word!r} is not in {line!r}"
    return line


def content(folder: Path) -> dict[str, bytes]:
    """What two runs of one key must have in common, byte for byte: result, maps, and all pictures."""
    files = [folder / name for name in ("submission.json", "scores.json", "confusion.npz", "pictures.json")]
    files += sorted((folder / "predictions").iterdir()) + sorted((folder / "artifacts").glob("*.png"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
