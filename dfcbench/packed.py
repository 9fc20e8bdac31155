"""A copy of patches made for speed: one flat file per modality, memory-mapped, checked against its sources.

A copy is a folder. Per modality it holds ``<modality>.json``, the index, and the binary file that the index names. The
index is written last and names its binary by a digest of the sources, so an interrupted build is never taken for a
complete one, and a set without the reference never opens the index of the reference.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench import rasters, records
from dfcbench.errors import DataError
from dfcbench.files import replacing, write_json
from dfcbench.records import MODALITIES, PatchRecord
from dfcbench.threads import Door, in_order

FORMAT = 1
"""Version of the folder's layout; raise it when the meaning of a byte changes."""

BUILD_THREADS = 2
"""Decoding tifs releases the interpreter, so a second thread hides it behind the writing; more gain little."""

_COLUMNS = ("id", "source", "size", "mtime_ns", "offset", "height", "width", "crc32")

Progress = Callable[[int, int], None]


class StalePackError(DataError):
    """The copy is missing, incomplete, damaged, or older than its sources: build it again."""


class PackFile:
    """One binary file, mapped read-only when first read, and again after unpickling. Safe to share between threads."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._map: mmap.mmap | None = None
        self._lock = threading.Lock()
        self._sound: set[int] = set()

    def __getstate__(self) -> tuple[Path, int]:
        return self.path, self.size

    def __setstate__(self, state: tuple[Path, int]) -> None:
        PackFile.__init__(self, *state)

    def check(self) -> None:
        """Raise StalePackError unless the file is there and as long as the index says."""
        try:
            found = self.path.stat().st_size
        except OSError:
            raise StalePackError(f"{self.path}: the packed copy is gone; pack the patches again.") from None
        if found != self.size:
            raise StalePackError(
                f"{self.path}: has {found} bytes, {self.size} expected; the packed copy is damaged, pack again."
            )

    def read(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """A copy of the array that starts at ``offset``.

        The pages behind it are let go, so that resident memory does not grow with what has been read.
        """
        mapped = self._map or self._open()
        count = math.prod(shape)
        pixels = np.frombuffer(mapped, dtype, count, offset).reshape(shape).copy()
        if hasattr(mmap, "MADV_DONTNEED"):
            first = offset // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(mmap.MADV_DONTNEED, first, offset + count * dtype.itemsize - first)
        return pixels

    def read_sound(self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], crc: int) -> NDArray[Any]:
        """The same, compared with its checksum when this process reads it first: a disk that fails does not say so.

        Raises StalePackError if it is damaged, or the file is gone.
        """
        pixels = self.read(offset, shape, dtype)
        if offset not in self._sound:
            if zlib.crc32(pixels.data) != crc:
                raise StalePackError(
                    f"{self.path}: the packed copy is damaged at byte {offset}; pack the patches again."
                )
            self._sound.add(offset)
        return pixels

    def _open(self) -> mmap.mmap:
        with self._lock:
            if self._map is None:
                self.check()
                with self.path.open("rb") as handle:
                    self._map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
            return self._map


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one modality of one patch lies in a copy."""

    file: PackFile
    modality: str
    offset: int
    shape: tuple[int, int]
    crc: int | None = None

    def read(self) -> NDArray[Any]:
        """The pixels as ``records.read`` gives them; an array of its own, which may be written to.

        Raises StalePackError if the copy is damaged there; the index is taken away, so that it is built again in time.
        """
        shape, dtype = _array_shape(self.modality, self.shape), MODALITIES[self.modality].dtype
        try:
            if self.crc is None:
                return self.file.read(self.offset, shape, dtype)
            return self.file.read_sound(self.offset, shape, dtype, self.crc)
        except (StalePackError, ValueError) as error:
            with contextlib.suppress(OSError):
                _index_path(self.file.path.parent, self.modality).unlink()
            if isinstance(error, ValueError):  # the index points beyond the file
                raise StalePackError(f"{self.file.path}: is not what its index says ({error}); pack again.") from error
            raise


@dataclass(frozen=True, slots=True)
class Pack:
    """One modality of a set's patches in a copy: offsets (n,) in bytes, shapes (n, 2), checksums (n,) if
    they are known, all in the order of the set."""

    file: PackFile
    modality: str
    offsets: NDArray[np.int64]
    shapes: NDArray[np.int64]
    crcs: NDArray[np.int64] | None = None

    def slot(self, index: int) -> Slot:
        """Where the patch at this position lies."""
        height, width = self.shapes[index]
        crc = None if self.crcs is None else int(self.crcs[index])
        return Slot(self.file, self.modality, int(self.offsets[index]), (int(height), int(width)), crc)

    def take(self, rows: NDArray[np.int64]) -> Pack:
        """The same for the patches at these positions."""
        crcs = None if self.crcs is None else self.crcs[rows]
        return Pack(self.file, self.modality, self.offsets[rows], self.shapes[rows], crcs)


def pack(
    folder: Path,
    patches: Sequence[PatchRecord],
    modalities: Sequence[str],
    shapes: Callable[[], NDArray[np.int64]],
    progress: Progress | None = None,
    door: Door | None = None,
) -> dict[str, Pack]:
    """Open the copies of these modalities in ``folder``; build those that are missing or stale.

    ``shapes`` gives the patches' heights and widths (n, 2); it is called only if something must be built, to see
    whether the disk has room. ``progress`` counts the arrays that are built. With a ``door`` it is built behind
    it. Raises DataError if the disk has too
    little room or refuses, or if a source cannot be read.
    """
    from filelock import FileLock

    opened, missing = _open_fresh(folder, patches, modalities)
    if not missing:
        return opened
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            opened, missing = _open_fresh(folder, patches, modalities)
            for modality in missing:
                _discard(folder, modality)
            if missing:
                _check_room(folder, missing, shapes())
            for number, modality in enumerate(missing):
                step = None if progress is None else _shifted(progress, number, len(missing))
                _build(folder, modality, patches, step, door)
                opened[modality] = open_pack(folder, modality, patches)
    except OSError as error:
        raise DataError(
            f"{folder}: the packed copy cannot be written ({error}). Check space and permissions there."
        ) from error
    return opened


def open_pack(folder: Path, modality: str, patches: Sequence[PatchRecord]) -> Pack:
    """The copy of one modality, which may hold other patches as well.

    Raises StalePackError if it is missing, incomplete, of another format, lacks a patch, or if one of the sources has
    another size or modification time than when it was packed.
    """
    index = _load_index(folder, modality)
    columns = index["patches"]
    position = {patch_id: i for i, patch_id in enumerate(columns["id"])}
    where = _index_path(folder, modality)
    try:
        rows = [position[record.id] for record in patches]
    except KeyError as error:
        raise StalePackError(f"{where}: holds no patch {error.args[0]}; pack the patches again.") from None
    for record, row in zip(patches, rows, strict=True):
        packed_from = (columns["source"][row], columns["size"][row], columns["mtime_ns"][row])
        if _stamp(record, modality) != packed_from:
            raise StalePackError(f"{where}: {record.path(modality)} has changed since it was packed; pack again.")
    try:
        file = PackFile(folder / index["binary"], index["bytes"])
        offsets = np.array(columns["offset"], np.int64)[rows]
        sizes = np.array([columns["height"], columns["width"]], np.int64).T.reshape(-1, 2)[rows]
        crcs = np.array(columns["crc32"], np.int64)[rows]
    except (ValueError, TypeError, OverflowError) as error:
        raise StalePackError(f"{where}: is no index of a packed copy ({error}); pack again.") from error
    file.check()
    return Pack(file, modality, offsets, sizes, crcs)


def verify_pack(folder: Path, progress: Progress | None = None) -> None:
    """Read every record of every modality in ``folder`` and compare checksums.

    Raises StalePackError naming all damaged records; DataError if there is no copy in ``folder``.
    """
    modalities = [name for name in MODALITIES if _index_path(folder, name).exists()]
    if not modalities:
        raise DataError(f"{folder}: holds no packed copy (no <modality>.json). Check the path.")
    damaged = []
    indices = {name: _load_index(folder, name) for name in modalities}
    total = sum(len(index["patches"]["id"]) for index in indices.values())
    done = 0
    for name, index in indices.items():
        columns = index["patches"]
        file = PackFile(folder / index["binary"], index["bytes"])
        file.check()
        for patch_id, offset, height, width, crc in zip(
            *(columns[key] for key in ("id", "offset", "height", "width", "crc32")), strict=True
        ):
            pixels = file.read(offset, _array_shape(name, (height, width)), MODALITIES[name].dtype)
            if zlib.crc32(pixels.data) != crc:
                damaged.append(f"{name} of {patch_id}")
            done += 1
            if progress is not None:
                progress(done, total)
    if damaged:
        raise StalePackError(
            f"{folder}: {len(damaged)} of {total} packed records are damaged: {', '.join(damaged)}. "
            "Delete the folder; it is built again when needed."
        )


def _open_fresh(
    folder: Path, patches: Sequence[PatchRecord], modalities: Sequence[str]
) -> tuple[dict[str, Pack], list[str]]:
    opened, missing = {}, []
    for modality in modalities:
        try:
            opened[modality] = open_pack(folder, modality, patches)
        except StalePackError:
            missing.append(modality)
    return opened, missing


def _build(
    folder: Path, modality: str, patches: Sequence[PatchRecord], progress: Progress | None, door: Door | None
) -> None:
    stamps = [_stamp(record, modality) for record in patches]
    ids = [record.id for record in patches]
    digest = hashlib.sha256(json.dumps([FORMAT, ids, stamps]).encode()).hexdigest()[:12]
    binary = folder / f"{modality}-{digest}.bin"
    columns: dict[str, list[Any]] = {
        "id": ids,
        "source": [name for name, _, _ in stamps],
        "size": [size for _, size, _ in stamps],
        "mtime_ns": [mtime for _, _, mtime in stamps],
        **{key: [] for key in ("offset", "height", "width", "crc32")},
    }
    offset = 0
    with replacing(binary) as temporary:
        written = (
            _write_here(temporary, modality, patches) if door is None else _send(temporary, modality, patches, door)
        )
        for done, (shape, size, crc) in enumerate(written, start=1):
            columns["offset"].append(offset)
            columns["height"].append(shape[0])
            columns["width"].append(shape[1])
            columns["crc32"].append(crc)
            offset += size
            if progress is not None:
                progress(done, len(patches))
    write_json(
        _index_path(folder, modality),
        {"format": FORMAT, "modality": modality, "binary": binary.name, "bytes": offset, "patches": columns},
    )


_Written = tuple[tuple[int, int], int, int]
"""Of one array in the binary: height and width, bytes, checksum."""


def _write_here(binary: Path, modality: str, patches: Sequence[PatchRecord]) -> Iterator[_Written]:
    with binary.open("wb") as sink:
        for pixels in in_order(partial(_pixels, modality=modality), patches, BUILD_THREADS):
            sink.write(pixels.data)
            yield _about(pixels)


def _send(binary: Path, modality: str, patches: Sequence[PatchRecord], door: Door) -> Iterator[_Written]:
    """Every array is written where it belongs by whoever reads it, so that no pixels travel. Headers tell the places."""
    shapes = list(in_order(partial(_shape, modality), patches, door=door))
    sizes = [math.prod(_array_shape(modality, shape)) * MODALITIES[modality].dtype.itemsize for shape in shapes]
    offsets = np.cumsum([0, *sizes]).tolist()
    with binary.open("wb") as file:
        file.truncate(offsets[-1])
    yield from in_order(partial(_place, binary, modality), zip(patches, offsets, shapes, strict=False), door=door)


def _pixels(record: PatchRecord, modality: str) -> NDArray[Any]:
    return np.ascontiguousarray(records.read(record, modality))


def _shape(modality: str, record: PatchRecord) -> tuple[int, int]:
    found = rasters.info(record.path(modality))
    return found.height, found.width


def _place(binary: Path, modality: str, job: tuple[PatchRecord, int, tuple[int, int]]) -> _Written:
    record, offset, shape = job
    pixels = _pixels(record, modality)
    if pixels.shape[-2:] != shape:
        raise DataError(f"{record.path(modality)}: has changed while it was packed. Let nobody write there meanwhile.")
    with binary.open("r+b") as file:
        file.seek(offset)
        file.write(pixels.data)
    return _about(pixels)


def _about(pixels: NDArray[Any]) -> _Written:
    height, width = pixels.shape[-2:]
    return (height, width), pixels.nbytes, zlib.crc32(pixels.data)


def _load_index(folder: Path, modality: str) -> dict[str, Any]:
    path = _index_path(folder, modality)
    try:
        index: dict[str, Any] = json.loads(path.read_text("utf-8"))
        complete = index["format"] == FORMAT and index["modality"] == modality and {"binary", "bytes"} <= set(index)
        if complete and len({len(index["patches"][column]) for column in _COLUMNS}) != 1:
            raise ValueError("its columns differ in length")
    except FileNotFoundError:
        raise StalePackError(f"{path}: there is no packed copy; pack the patches first.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StalePackError(f"{path}: is no index of a packed copy ({error}); pack again.") from error
    if not complete:
        raise StalePackError(f"{path}: was written by another version (format {index['format']}); pack again.")
    return index


def _check_room(folder: Path, modalities: Sequence[str], shapes: NDArray[np.int64]) -> None:
    per_pixel = sum(MODALITIES[name].bands * MODALITIES[name].dtype.itemsize for name in modalities)
    needed = int(shapes.prod(axis=1).sum()) * per_pixel
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: packing {', '.join(modalities)} of {len(shapes)} patches needs {needed / 1e9:.2f} GB, "
            f"{free / 1e9:.2f} GB are free there. Make room, or choose a folder on another disk."
        )


def _discard(folder: Path, modality: str) -> None:
    """Remove what is left of an older or interrupted copy; index first, so that it never points at nothing."""
    _index_path(folder, modality).unlink(missing_ok=True)
    for pattern in (f"{modality}-*.bin", f".tmp-{modality}-*"):
        for leftover in folder.glob(pattern):
            leftover.unlink(missing_ok=True)


def _index_path(folder: Path, modality: str) -> Path:
    return folder / f"{modality}.json"


def _stamp(record: PatchRecord, modality: str) -> tuple[str, int, int]:
    path = record.path(modality)
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be found ({error.strerror}). Run `dfcbench data verify`.") from error
    return path.name, status.st_size, status.st_mtime_ns


def _array_shape(modality: str, shape: tuple[int, int]) -> tuple[int, ...]:
    bands = MODALITIES[modality].bands
    return (bands, *shape) if bands > 1 else shape


def _shifted(progress: Progress, number: int, of: int) -> Progress:
    """Progress of one of several equally long parts, as progress of the whole."""
    return lambda done, total: progress(number * total + done, of * total)
