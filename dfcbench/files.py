"""Atomic writes: a file is either absent, its old self, or complete; a kill at any moment leaves nothing in between."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dfcbench.errors import UnwritableError

TEMPORARY = ".tmp-*"
"""Names of files that are being written."""

_REFUSALS = frozenset(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO") if hasattr(errno, name)
)
"""No space, no quota, beyond the largest size, mounted read-only, and a disk that fails."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; when the block ends well, flush it to disk and rename it onto ``path``.

    The temporary name keeps the suffix of ``path`` (writers such as GDAL and numpy look at it) and starts with a dot.
    An exception in the block removes the temporary file and leaves ``path`` as it was.
    Raises UnwritableError, naming ``path``, if the disk refuses; an OSError of the block about another file passes through.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".tmp-{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(descriptor)
    except OSError as error:
        raise unwritable(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.filename not in (None, name):
            raise
        raise unwritable(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def writable_folder(path: Path) -> Path:
    """Make the folder, unless it is there, and see that files can be made in it: before work whose result goes there.

    Raises UnwritableError, naming ``path``, if not.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(prefix=".tmp-", dir=path).close()
    except OSError as error:
        raise unwritable(path, error) from error
    return path


def disk_refuses(error: BaseException) -> bool:
    """Whether an exception says that the disk takes no more, whoever was writing."""
    if not isinstance(error, OSError):
        return False
    return error.errno in _REFUSALS or (error.errno is None and "requested and" in str(error))  # the latter is numpy's


def unwritable(path: Path, error: OSError) -> UnwritableError:
    """The error that says why nothing can be written to ``path``, and what to do."""
    reason = error.strerror or str(error)
    if isinstance(error, FileExistsError | NotADirectoryError):
        files = [place for place in (path, *path.parents) if place.is_file()]
        reason = f"{files[0]} is a file, and a folder is needed there" if files else reason
    elif isinstance(error, FileNotFoundError):
        reason = "no folder can be made there"
    return UnwritableError(
        f"{path}: cannot be written ({reason}). Check space and permissions there, or choose another place."
    )


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8 with the newlines that it has."""
    write_bytes(path, text.encode("utf-8"))


def json_text(value: Any) -> str:
    """Indented JSON that is the same, byte for byte, for equal values."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` atomically, as ``json_text``."""
    write_text(path, json_text(value))


def remove(path: Path) -> None:
    """Remove a file, if it is there. Raises UnwritableError, naming ``path``, if the disk refuses."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UnwritableError(f"{path}: cannot be removed ({error.strerror}). Check permissions there.") from error


def append_lines(path: Path, lines: str) -> None:
    """Append whole lines, as UTF-8; one before them that a kill cut short is ended, so that it spoils none of these.

    Raises UnwritableError, naming ``path``, if the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if end := file.seek(0, os.SEEK_END):
                file.seek(end - 1)
                lines = lines if file.read(1) == b"\n" else "\n" + lines
            file.write(lines.encode())
    except OSError as error:
        raise unwritable(path, error) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_directory(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # a platform without directory handles; the rename itself has happened
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def cache_directory() -> Path:
    """Where rebuildable things live (demo contest, packed copies): ``DFCBENCH_CACHE``, else the user's cache folder."""
    if configured := os.environ.get("DFCBENCH_CACHE"):
        return Path(configured).expanduser().absolute()
    if base := os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA"):
        return Path(base) / "dfcbench"
    return Path.home() / ".cache" / "dfcbench"
