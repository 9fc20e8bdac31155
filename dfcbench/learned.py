"""What a method learned, as files: marked whole once all are there, with a checksum of each, so that damage shows."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

from dfcbench.files import write_json

_CHUNK = 2**20


def mark_whole(folder: Path, mark: Path) -> None:
    """Write ``mark``, a file in ``folder``: all that was learned is there, and this is the CRC-32 of each file."""
    write_json(mark, {"crc32": {name: _crc32(folder / name) for name in _names(folder, mark)}})


def damaged(folder: Path, mark: Path) -> str | None:
    """The first file that is not what it was when ``mark`` was written; None if all are, or the mark tells nothing.

    The mark of an earlier dfcbench tells nothing. Raises OSError or ValueError if the mark itself cannot be read.
    """
    kept = json.loads(mark.read_text(encoding="utf-8"))
    sums = kept.get("crc32", {}) if isinstance(kept, dict) else {}
    for name, crc in sorted(sums.items()):
        path = folder / name
        if not path.is_file() or _crc32(path) != crc:
            return str(name)
    return None


def _names(folder: Path, mark: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != mark:
            yield path.relative_to(folder).as_posix()


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc
