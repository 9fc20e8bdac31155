"""Which maps of a run under way are there and sound: each is noted with a checksum once it is written."""

from __future__ import annotations

import logging
import zlib
from pathlib import Path

from dfcbench import rasters
from dfcbench.errors import DataError
from dfcbench.files import append_lines

log = logging.getLogger("dfcbench")


class MapLedger:
    """Checksums of maps by file name, a line each. A map without one, as of an earlier run, is sound if it can be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, str] | None = None

    def note(self, path: Path) -> None:
        """The map at ``path`` has been written. Raises UnwritableError if the disk refuses."""
        append_lines(self._path, f"{path.parent.name}/{path.name} {_crc32(path)}\n")

    def sound(self, path: Path) -> bool:
        """Whether the map is there, and what was written. A damaged one is told and taken away, to be made again."""
        if not path.exists():
            return False
        noted = self._read().get(f"{path.parent.name}/{path.name}")
        try:
            if noted is None:
                rasters.read(path)
            elif _crc32(path) != noted:
                raise DataError(f"{path}: is damaged.")
        except DataError as error:
            log.warning("%s It is made again.", error)
            path.unlink(missing_ok=True)
            return False
        return True

    def _read(self) -> dict[str, str]:
        if self._known is None:
            text = self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
            pairs = (line.split(" ") for line in text.splitlines())
            self._known = {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and len(pair[1]) == _DIGITS}
        return self._known


_DIGITS = 8
"""Hexadecimal digits of a checksum; a line that a kill cut short has fewer."""


def _crc32(path: Path) -> str:
    return f"{zlib.crc32(path.read_bytes()):0{_DIGITS}x}"
