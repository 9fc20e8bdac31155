"""A fitted method maps a whole scene, window by window, into one georeferenced map.

The scene is worked through in strips of columns, and in each from top to bottom. What is in memory at a time is a few
windows and the sums of what was said of them, whatever the size of the scene; the windows themselves lie as small tifs
beside the map until they are predicted.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dfcbench import __version__, rasters
from dfcbench.answers import checked
from dfcbench.blending import Blend, Tiling
from dfcbench.errors import DataError, DfcbenchError, MethodCrash, UsageError
from dfcbench.files import TEMPORARY
from dfcbench.fitted import Fitted
from dfcbench.method import RunContext
from dfcbench.patches import PatchRecord, PatchSet
from dfcbench.rasters import Window
from dfcbench.scene import Scene
from dfcbench.scheme import CLASSES, NO_LABEL, palette

STRIP = 4096
"""Columns of a strip. Windows across its edges are predicted twice: about one of 22 in windows of 256 pixels."""
_TOGETHER = 16
"""Windows that a method is given at once, at least: in small scenes those of several rows, so that threads have work."""
_PER_CLASS = max(c.code for c in CLASSES) + 1

Progress = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and how much there is."""


@dataclass(frozen=True)
class Mapped:
    """What was written: pixels by code, (11,), and how many windows were predicted of how many.

    ``empty``: those of the scene's files that have no data, or no labels, anywhere.
    """

    counts: NDArray[np.int64]
    predicted: int
    windows: int
    empty: tuple[Path, ...] = ()


@contextmanager
def workplace(path: Path) -> Iterator[Path]:
    """A folder for temporary files beside a map, on the disk that the map goes to; removed in the end.

    Raises DataError if there can be none.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=TEMPORARY.rstrip("*"), dir=path.parent)
    except OSError as error:
        raise DataError(f"{path.parent}: cannot be written to ({error.strerror}). Choose another -o.") from error
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def map_scene(
    fitted: Fitted,
    scene: Scene,
    path: Path,
    tiling: Tiling,
    run: RunContext,
    scratch: Path,
    progress: Progress,
    *,
    strip: int = STRIP,
) -> Mapped:
    """Map the scene with a fitted method and write it to ``path``, as ``rasters.class_map`` does.

    Pixels without data in an image that the method needs become 0; windows without any data are not predicted. The map
    appears complete or not at all. Raises MethodCrash if the method raises, ContractError if it breaks its contract.
    """
    with rasters.class_map(
        path,
        (scene.height, scene.width),
        scene.georeference,
        palette(),
        _tags(fitted),
        {f"CLASS_{c.code}": c.name for c in CLASSES},
        scratch,
    ) as write:
        return _Mapper(fitted, scene, tiling, run, scratch, write, progress, strip)()


def training_windows(
    scene: Scene, tiling: Tiling, scratch: Path, progress: Progress, note: Callable[[str], None] | None = None
) -> PatchSet:
    """The scene in windows that hardly overlap, as patches for a method that is fitted on it.

    Those that have data everywhere; if there is none, those that have any. ``note`` is told how many are left out.
    Raises DataError if the scene has no data, or the disk no room.
    """
    side = Tiling(tiling.window, 0)
    rows, columns = side.starts(scene.height), side.starts(scene.width)
    height, width = min(side.window, scene.height), min(side.window, scene.width)
    windows = [Window(row, column, height, width) for row in rows for column in columns]
    room, wanted = shutil.disk_usage(scratch).free, scene.bytes_cut(windows)
    if wanted > room:
        raise DataError(
            f"{scratch.parent}: fitting on the scene takes up to {wanted / 2**30:.1f} GiB there, {room / 2**30:.1f} are "
            "free. Choose another -o."
        )
    whole: list[PatchRecord] = []
    some: list[PatchRecord] = []
    for start in range(0, len(windows), _TOGETHER):
        chunk = windows[start : start + _TOGETHER]
        for row in sorted({window.row for window in chunk}):
            along = [window for window in chunk if window.row == row]
            block = scene.read(Window(row, along[0].column, height, along[-1].column + width - along[0].column))
            for window in along:
                valid = block.valid[block.within(window)]
                if valid.any():
                    (whole if valid.all() else some).extend(scene.cut(block, [window], scratch / "training"))
        progress("cutting windows", start + len(chunk), len(windows))
    if not whole and not some:
        raise DataError(f"{', '.join(map(str, scene.files.values()))}: no pixel has data in all of them.")
    chosen = whole or some
    if note is not None and (left_out := _left_out(len(windows), len(whole), len(some))):
        note(f"{left_out}; fitted on the other {len(chosen)}.")
    return PatchSet(chosen)


def _left_out(windows: int, whole: int, some: int) -> str:
    """Which windows a method is not fitted on, in words; empty if there are none."""
    empty = windows - whole - some
    words = [f"{empty} of {windows} windows {'has' if empty == 1 else 'have'} no data"] if empty else []
    if whole and some:
        words.append(f"{some} of {windows} windows {'has' if some == 1 else 'have'} gaps")
    return " and ".join(words)


class _Rows(NamedTuple):
    """Window rows that are predicted together: their first pixels, and where the next such rows begin."""

    rows: list[int]
    following: int


class _Mapper:
    def __init__(
        self,
        fitted: Fitted,
        scene: Scene,
        tiling: Tiling,
        run: RunContext,
        scratch: Path,
        write: rasters.Rows,
        progress: Progress,
        strip: int,
    ) -> None:
        self.fitted, self.scene, self.tiling, self.run = fitted, scene, tiling, run
        self.scratch, self.write, self.progress = scratch, write, progress
        self.height, self.width = min(tiling.window, scene.height), min(tiling.window, scene.width)
        self.weights = tiling.weights(self.height, self.width)
        self.counts = np.zeros(_PER_CLASS, np.int64)
        self.predicted = self.done = 0
        self.found: set[str] = set()
        columns = tiling.starts(scene.width)
        self.strips = [
            (left, [c for c in columns if c < left + strip and c + self.width > left])
            for left in range(0, scene.width, strip)
        ]
        self.strip = strip
        self.total = len(tiling.starts(scene.height)) * sum(len(columns) for _, columns in self.strips)

    def __call__(self) -> Mapped:
        self.progress("mapping windows", 0, self.total)
        for left, columns in self.strips:
            self._map_strip(left, min(left + self.strip, self.scene.width), columns)
        empty = tuple(path for role, path in self.scene.files.items() if role not in self.found)
        return Mapped(self.counts, self.predicted, self.total, empty)

    def _map_strip(self, left: int, right: int, columns: list[int]) -> None:
        first, last = columns[0], columns[-1] + self.width
        rows = list(self._rows(len(columns)))
        blend = Blend(max(group.rows[-1] - group.rows[0] for group in rows) + self.height, last - first)
        for group in rows:
            codes = self._map_rows(group, columns, blend)[:, left - first : right - first]
            self.counts += np.bincount(codes.ravel(), minlength=_PER_CLASS)
            self.write(group.rows[0], left, codes)

    def _map_rows(self, group: _Rows, columns: list[int], blend: Blend) -> NDArray[np.uint8]:
        """Codes (H, W) of the rows of pixels that are finished with these windows."""
        top, first = group.rows[0], columns[0]
        stretch = Window(top, first, group.rows[-1] + self.height - top, columns[-1] + self.width - first)
        windows = [Window(row, column, self.height, self.width) for row in group.rows for column in columns]
        block = self.scene.read(stretch)
        valid = block.valid
        self.found |= block.found
        chosen = [window for window in windows if valid[block.within(window)].any()]
        if chosen:
            patches = PatchSet(self.scene.cut(block, chosen, self.scratch / "windows"))
            del block  # it lies on the disk now
            self._predict(patches, dict(zip(patches.ids, chosen, strict=True)), stretch, blend)
        self.done += len(windows)
        self.progress("mapping windows", self.done, self.total)
        finished = group.following - top
        codes = blend.pop(finished)
        codes[~valid[:finished]] = NO_LABEL
        return codes

    def _rows(self, columns: int) -> Iterator[_Rows]:
        starts = self.tiling.starts(self.scene.height)
        together = max(1, _TOGETHER // columns)
        for i in range(0, len(starts), together):
            following = starts[i + together] if i + together < len(starts) else self.scene.height
            yield _Rows(starts[i : i + together], following)

    def _predict(self, patches: PatchSet, places: Mapping[str, Window], stretch: Window, blend: Blend) -> None:
        """Add what the method says of these windows to a blend whose first pixel is that of the stretch."""
        method = self.fitted.method
        wanted = {patch.id: patch for patch in patches}
        with _guarded(method.name):
            predictions = method.predict(patches.restricted(self.fitted.shown), self.run)
            for patch, prediction, labels in checked(predictions, wanted, method.name, patches.ids):
                place = places[patch.id]
                row, column = place.row - stretch.row, place.column - stretch.column
                blend.add(row, column, np.asarray(prediction.values), labels, self.weights)
                self.progress("mapping windows", self.done + len(places) - len(wanted), self.total)
        self.predicted += len(places)
        shutil.rmtree(self.scratch / "windows")


@contextmanager
def _guarded(method: str) -> Iterator[None]:
    try:
        yield
    except (DfcbenchError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        raise MethodCrash(f"{method}.predict raised {type(error).__name__}: {error} on the scene.") from error


def check_output(path: Path, inputs: list[Path]) -> None:
    """Raise UsageError for a map that is no tif, is a folder, or would replace one of the scene's own files."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(f"-o {path}: the map is a GeoTIFF; give it a name that ends in .tif.")
    if path.is_dir():
        raise UsageError(f"-o {path}: is a folder. Name a file.")
    for file in inputs:
        if path.resolve() == file.resolve():
            raise UsageError(f"-o {path}: is one of the scene's own files. Choose another name.")


def _tags(fitted: Fitted) -> dict[str, str]:
    about = fitted.submission.meta["method"]
    return {
        "TIFFTAG_SOFTWARE": f"dfcbench {__version__}",
        "METHOD": f"{about['name']} {about['version']}".strip(),
        "RUN": fitted.submission.key,
        "FITTED_ON": "the scene" if fitted.needs.transductive else "the run's own training data",
    }
