"""Unpacks the contest's zip archives as downloaded into the contest's layout.

Where a file goes is derived from its own name alone, so nothing can leave the target folder, whatever folders, links or
absolute paths an archive contains, and flat and wrapped archives give the same tree.
"""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dfcbench.archive import place_of
from dfcbench.errors import DataError

MOST_BYTES = 64 * 2**20
"""A 13-band patch of float64 has 6.5 MiB; what claims ten times as much is no patch."""

CHUNK = 2**20

MOST_EXAMPLES = 5


@dataclass
class ImportReport:
    """What became of the archives' files.

    written, present (there already, with the same content) and junk (folders such as ``__MACOSX``, dot files) count
    files; unknown counts files that are not the contest's, with some ``examples``; refused lists
    (archive!member, reason); splits counts files written or present by split.
    """

    out: Path
    written: int = 0
    present: int = 0
    junk: int = 0
    unknown: int = 0
    examples: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    splits: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Member:
    archive: Path
    info: zipfile.ZipInfo
    split: str
    target: Path


def import_archives(
    zips: Sequence[Path], out: Path, progress: Callable[[int, int], None] | None = None
) -> ImportReport:
    """Unpack the contest's files from ``zips`` below ``out``, in the layout of ``archive``.

    Each file appears complete or not at all; after an interruption the same call goes on, leaving files alone whose
    size and checksum agree. ``progress`` counts files. Raises DataError, naming the archive, if one is missing, no zip,
    damaged, encrypted or without a file of the contest; and if the disk has too little room.
    """
    out = Path(out)
    report = ImportReport(out)
    members = [member for path in zips for member in _plan(Path(path), out, report)]
    _check_room(out, members)
    taken: dict[Path, _Member] = {}
    done = 0
    for path in dict.fromkeys(member.archive for member in members):
        with _opened(path) as archive:
            for member in (m for m in members if m.archive == path):
                earlier = taken.setdefault(member.target, member)
                if earlier.info.CRC != member.info.CRC:
                    reason = f"differs from the file of the same name in {earlier.archive}"
                    report.refused.append((_label(member), reason))
                elif _same(member.target, member.info):
                    report.present += earlier is member
                    report.splits[member.split] += earlier is member
                else:
                    _extract(archive, member)
                    report.written += 1
                    report.splits[member.split] += 1
                done += 1
                if progress is not None:
                    progress(done, len(members))
    return report


def _plan(path: Path, out: Path, report: ImportReport) -> Iterator[_Member]:
    """The members of one archive that are the contest's; the others are counted."""
    known = refused = 0
    with _opened(path) as archive:
        infos = archive.infolist()
    for info in infos:
        parts = re.split(r"[/\\]", info.filename)
        if info.is_dir():
            continue
        if any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in parts):
            report.junk += 1
            continue
        place = place_of(parts[-1])
        if place is None:
            report.unknown += 1
            if len(report.examples) < MOST_EXAMPLES:
                report.examples.append(f"{path.name}!{info.filename}")
            continue
        member = _Member(path, info, place.split, out / place.folder / parts[-1])
        if reason := _objection(info):
            report.refused.append((_label(member), reason))
            refused += 1
            continue
        known += 1
        yield member
    if not known and not refused:
        shown = ", ".join(info.filename for info in infos[:MOST_EXAMPLES]) or "nothing"
        raise DataError(
            f"{path}: holds no file of the contest, such as ROIs0000_validation_s2_0_p17.tif; it holds {shown}. "
            "Leave it out, or download the archive again."
        )


def _objection(info: zipfile.ZipInfo) -> str | None:
    if info.file_size > MOST_BYTES:
        return f"claims {info.file_size / 2**20:,.0f} MiB; no patch has more than {MOST_BYTES // 2**20} MiB"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a link, not a file"
    if info.flag_bits & 0x1:
        return "is encrypted"
    return None


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Check the path of the archive.") from None
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: cannot be opened as a zip ({error}). Download it again.") from error


def _extract(archive: zipfile.ZipFile, member: _Member) -> None:
    """Write one member beside its target and rename it.

    No fsync: it would take most of the time, and a file lost with the power is found by its checksum in the next run.
    """
    part = member.target.with_name(f".{member.target.name}.part")
    try:
        member.target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member.info) as source, part.open("wb") as sink:
            shutil.copyfileobj(source, sink, CHUNK)
        part.replace(member.target)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        part.unlink(missing_ok=True)
        raise DataError(f"{_label(member)}: is damaged ({error}). Download the archive again, then repeat.") from error
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(f"{member.target}: cannot be written ({error}). Check space and permissions there.") from error


def _same(path: Path, info: zipfile.ZipInfo) -> bool:
    """Whether the file is there with the size and checksum of the member."""
    if not path.is_file() or path.stat().st_size != info.file_size:
        return False
    crc = 0
    with path.open("rb") as source:
        while chunk := source.read(CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc == info.CRC


def _check_room(out: Path, members: Sequence[_Member]) -> None:
    sizes = {m.target: m.info.file_size for m in members}
    needed = sum(size for path, size in sizes.items() if not path.is_file() or path.stat().st_size != size)
    existing = out.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise DataError(f"{existing}: is a file; a folder is needed to unpack into. Choose another --out.")
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DataError(
            f"{out}: unpacking needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free there. "
            "Make room, or choose another --out."
        )


def _label(member: _Member) -> str:
    return f"{member.archive}!{member.info.filename}"
