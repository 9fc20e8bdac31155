"""Zips: written byte for byte the same, and zips and folders of strangers read without trust.

Nothing is ever unpacked onto the disk, so a path inside an archive can lead nowhere; it is refused all the same, for
whoever unpacks the archive later. What an archive claims about sizes is checked first, and what comes out of it is
counted while it comes.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dfcbench.errors import SubmissionError
from dfcbench.files import replacing

FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip can tell: members carry it, so that equal content makes equal archives."""

MOST_ENTRIES = 50_000
"""Files and folders of one archive: some five times the 5128 maps of the test split with macOS's twin of each."""

MOST_BYTES_EACH = 8 * 2**20
"""A 13-band patch of float64, the largest file of the contest, has 6.5 MiB; what is larger is none of its maps."""

MOST_BYTES = 4 * 2**30
"""Unpacked bytes of one archive: 5128 maps of 256 x 256 float64, the widest dtype, have 2.5 GiB."""

_MOST_AT_A_TIME = 8 * 2**20
"""Bytes of one read from the archive itself. Its list of contents is read at once; 50,000 entries have some 6 MB."""

_CHUNK = 2**18

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What every zip tool writes by default. Others ask for as much memory as the archive says."""

_ENCRYPTED = 0x1
_MOST_SHOWN = 120


def write_zip(path: Path, members: Mapping[str, Callable[[], bytes]]) -> None:
    """Write an archive atomically: members in the order of their names, with fixed dates and permissions.

    They are stored as they are: tifs of the contest are compressed in themselves, and other versions of zlib would make
    other bytes. Content is asked for when its turn comes.
    """
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, FIRST_DATE)
            info.create_system = 3  # Unix, on every system
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, members[name]())


@dataclass(frozen=True)
class Entry:
    """A file that may be read. path: within the archive or folder, with forward slashes. handle: for its source."""

    path: str
    handle: Any

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def shown(self) -> str:
        """The path, fit for a terminal."""
        return printable(self.path)


@dataclass(frozen=True)
class Refusal(Entry):
    """A file that is not read, and why. kind: ``path``, ``link``, ``encrypted``, ``compression`` or ``too large``."""

    kind: str
    reason: str


class Source(ABC):
    """Files handed in, as an archive or a folder: ``entries`` may be read, ``refusals`` are not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self.refusals: list[Refusal] = []
        self._taken = 0
        self._lock = threading.Lock()

    def read(self, entry: Entry) -> bytes:
        """Content of an entry. Raises OSError or ValueError with the reason if it is damaged or larger than allowed,
        SubmissionError once all entries together are. Several threads may read."""
        parts, size = [], 0
        with self._stream(entry) as stream:
            while part := stream.read(_CHUNK):
                size += len(part)
                self._count(len(part))
                if size > MOST_BYTES_EACH:
                    raise ValueError(f"is larger than {MOST_BYTES_EACH:,} bytes, and no map is")
                parts.append(part)
        return b"".join(parts)

    @abstractmethod
    def _stream(self, entry: Entry) -> Any:
        """A context manager that gives the entry's content as a stream, and its faults as OSError or ValueError."""

    def _count(self, size: int) -> None:
        with self._lock:
            self._taken += size
            if self._taken > MOST_BYTES:
                raise _too_much(self.path, self._taken)

    def _refuse(self, path: str, kind: str, reason: str) -> None:
        self.refusals.append(Refusal(path.replace("\\", "/"), None, kind, reason))

    def _limit(self, count: int) -> None:
        if count > MOST_ENTRIES:
            raise SubmissionError(
                f"{self.path}: holds more than {MOST_ENTRIES:,} files and folders; the contest's largest split has 5128 "
                "maps. Hand in the maps alone."
            )


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """A zip or a folder, to be read without trust.

    Raises SubmissionError, naming it, if it is missing, neither of both, damaged as a whole, or beyond all bounds.
    """
    path = Path(path)
    if path.is_dir():
        yield _Folder(path)
    elif path.is_file():
        with path.open("rb") as raw, _opened_zip(path, raw) as archive:
            yield _Zip(path, archive)
    else:
        raise SubmissionError(f"{path}: no such file or folder. Name a zip, or a folder, of maps.")


def printable(text: str) -> str:
    """A stranger's file name on one line, without characters that would command a terminal, and not too long."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
    return plain if len(plain) <= _MOST_SHOWN else f"{plain[: _MOST_SHOWN - 1]}…"


def _opened_zip(path: Path, raw: BinaryIO) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(_Sparing(path, raw))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise SubmissionError(f"{path}: cannot be opened as a zip ({error}). Pack it anew.") from error


class _Sparing:
    """A file from which nobody takes much at a time, whatever an archive's own numbers ask for."""

    def __init__(self, path: Path, raw: BinaryIO) -> None:
        self._path = path
        self._raw = raw
        self.seek, self.tell, self.seekable, self.close = raw.seek, raw.tell, raw.seekable, raw.close

    def read(self, size: int = -1) -> bytes:
        if size > _MOST_AT_A_TIME:
            raise SubmissionError(
                f"{self._path}: its list of contents alone has {size / 2**20:,.0f} MiB, more than any zip of maps needs. "
                "Hand in the maps alone."
            )
        return self._raw.read(size if size >= 0 else _MOST_AT_A_TIME)


class _Zip(Source):
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        super().__init__(path)
        self._archive = archive
        infos = archive.infolist()
        self._limit(len(infos))
        claimed = 0
        for info in infos:
            name = info.filename.replace("\\", "/")
            objection = _objection(info, name)
            if objection is not None:
                self._refuse(info.filename, *objection)
            elif not info.is_dir():
                claimed += info.file_size
                self.entries.append(Entry(name, info))
        if claimed > MOST_BYTES:
            raise _too_much(path, claimed)

    @contextmanager
    def _stream(self, entry: Entry) -> Iterator[Any]:
        try:
            with self._archive.open(entry.handle) as stream:
                yield stream
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(str(error) or "ends too early") from error


def _objection(info: zipfile.ZipInfo, name: str) -> tuple[str, str] | None:
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "path", "is an absolute path; the contest's zip is flat."
    if ".." in name.split("/"):
        return "path", "leads out of the archive (..); the contest's zip is flat."
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "link", "is a link or a device, not a file."
    if info.flag_bits & _ENCRYPTED:
        return "encrypted", "is encrypted; pack it without a password."
    if info.compress_type not in _METHODS:
        return "compression", "is compressed by another method than deflate; pack it with a plain zip tool."
    if info.file_size > MOST_BYTES_EACH:
        return "too large", f"claims {info.file_size:,} bytes; no map has more than {MOST_BYTES_EACH:,}."
    return None


class _Folder(Source):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        count = 0
        for folder, folders, files in os.walk(path, onerror=self._unreadable):
            folders.sort()
            count += len(folders) + len(files)
            self._limit(count)
            for name in (*sorted(files), *(f for f in folders if Path(folder, f).is_symlink())):
                file = Path(folder, name)
                inside = file.relative_to(path).as_posix()
                status = file.lstat()
                if not stat.S_ISREG(status.st_mode):
                    self._refuse(inside, "link", "is a link or a device, not a file.")
                elif status.st_size > MOST_BYTES_EACH:
                    size = f"has {status.st_size:,} bytes; no map has more than {MOST_BYTES_EACH:,}."
                    self._refuse(inside, "too large", size)
                else:
                    self.entries.append(Entry(inside, file))

    def _unreadable(self, error: OSError) -> None:
        raise SubmissionError(f"{error.filename}: cannot be read ({error.strerror}). Check permissions there.")

    @contextmanager
    def _stream(self, entry: Entry) -> Iterator[Any]:
        with entry.handle.open("rb") as stream:
            yield stream


def _too_much(path: Path, size: int) -> SubmissionError:
    return SubmissionError(
        f"{path}: unpacks to {size / 2**30:,.1f} GiB or more; {MOST_BYTES // 2**30} GiB are far more than any set of maps "
        "needs. Hand in the maps alone, as uint8."
    )
