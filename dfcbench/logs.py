"""Log files that never come between a command and its work: what cannot be written there is left out."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers


class _Patient(logging.FileHandler):
    """A full disk takes no lines; by itself ``logging`` would show a traceback for each of them."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave the line out."""

    def close(self) -> None:
        """Close the file, whether or not the disk takes what is left."""
        with contextlib.suppress(OSError):
            super().close()


class LogFile(_Patient):
    """Appends to one file. The constructor raises OSError if it cannot be opened."""


class RotatingLogFile(_Patient, logging.handlers.RotatingFileHandler):
    """The same, with a second file for what is older."""
