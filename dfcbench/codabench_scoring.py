"""Scores land-cover maps by the rule of the 2020 IEEE GRSS Data Fusion Contest: the scoring program of a Codabench bundle.

    python3 codabench_scoring.py INPUT OUTPUT

INPUT/ref holds the reference maps and INPUT/res the submitted ones, under the same file names; folders inside are
searched too. OUTPUT/scores.json gets the average accuracy (the mean producer's accuracy of the classes that occur in the
reference, pixels of all patches pooled), overall accuracy, kappa, and each class's producer's accuracy, as fractions. A
class that the reference lacks gets none. If anything is wrong with the maps, all faults go to stderr, no scores.json is
written, and the exit status is 1: Codabench then marks the submission as failed.

One file on its own, for Python 3.7 or newer. Codabench's default image, codalab/codalab-legacy:py37, is Debian 10 with
Anaconda 2019.07: it has numpy and Pillow, and neither rasterio nor a tifffile that could be relied upon (py39 has one).
Tifs are read with the first of rasterio, tifffile and Pillow that can be imported; all give the same codes.

Submitted files are read without trust: only plain files whose content starts as a TIFF's are opened, so that neither a
link nor another format (a GDAL VRT, say) can point at the reference; pixels are decoded only if the header has the size
and type of a map.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Check = Callable[["Header"], None]
    """Raises ValueError if a file with this header is not wanted."""
    Reader = Callable[[Path, Check], Any]
    """Codes (H, W) of a tif, once its header has been checked."""

CODES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
"""Codes that a map may hold: Table I of Robinson et al., IEEE JSTARS 14 (2021)."""

SCORED = {
    1: "forest",
    2: "shrubland",
    4: "grassland",
    5: "wetlands",
    6: "croplands",
    7: "urban_built_up",
    9: "barren",
    10: "water",
}
"""Classes that are scored, by code, with their keys in scores.json. Others never occur in the reference; to predict one
is an error of the true class."""

MOST_BYTES = 8 * 2**20
"""Of one file: no map of the contest has a tenth of it."""

MOST_SHOWN = 100
"""Faults that are told one by one."""

SIZE = max(CODES) + 1
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JUNK = ("__MACOSX",)


class Faulty(Exception):
    """Maps cannot be scored; ``faults`` has one line each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(f"{len(faults)} fault(s)")
        self.faults = faults


class Header(NamedTuple):
    """What a tif says about itself."""

    bands: int
    shape: tuple[int, int]
    dtype: str


def score_folders(submitted: Path, reference: Path) -> dict[str, float]:
    """Scores of the maps in one folder against those in another. Raises Faulty, with all faults found."""
    expected, _ = _tifs(reference)
    found, faults = _tifs(submitted)
    if not expected:
        raise Faulty([f"{reference}: no reference maps there."])
    faults += [f"{name}: missing." for name in sorted(set(expected) - set(found))]
    faults += [f"{_plain(name)}: is no map of this split." for name in sorted(set(found) - set(expected))]
    read = _reader()
    counts = np.zeros(SIZE * SIZE, np.int64)
    for name in sorted(set(expected) & set(found)):
        try:
            truth = _scored_only(read(expected[name], _anything))
        except ValueError as error:
            raise Faulty([f"the organisers' own {name} {error}."]) from error
        try:
            guess = _read_map(read, found[name], truth.shape)
        except ValueError as error:
            faults.append(f"{name}: {error}.")
            continue
        pairs = truth.reshape(-1).astype(np.uint8) * SIZE + guess.reshape(-1)
        counts += np.bincount(pairs, minlength=SIZE * SIZE)
    if faults:
        raise Faulty(faults)
    return scores_of(counts.reshape(SIZE, SIZE))


def scores_of(confusion: Any) -> dict[str, float]:
    """Scores that follow from one confusion matrix (11, 11), reference code down, predicted code across."""
    codes = list(SCORED)
    matrix = [[int(confusion[row, column]) for column in range(SIZE)] for row in codes]
    hits = [matrix[k][code] for k, code in enumerate(codes)]
    present = [sum(row) for row in matrix]
    predicted = [sum(row[code] for row in matrix) for code in codes]
    pixels = sum(present)
    if not pixels:
        raise Faulty(["the reference has no pixel of a scored class."])
    shares = {SCORED[code]: hits[k] / present[k] for k, code in enumerate(codes) if present[k]}
    chance = sum(p * q for p, q in zip(present, predicted))  # noqa: B905 (Python 3.7)
    scores = {"average_accuracy": math.fsum(shares.values()) / len(shares), "overall_accuracy": sum(hits) / pixels}
    if pixels * pixels != chance:
        scores["kappa"] = (pixels * sum(hits) - chance) / (pixels * pixels - chance)
    return {**scores, **shares}


def _tifs(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Tifs below a folder by name, and what is wrong about where they lie. Other files are passed over."""
    found: dict[str, Path] = {}
    faults: list[str] = []
    for path in _files(folder):
        name = path.name
        if name.startswith(".") or not name.lower().endswith((".tif", ".tiff")):
            continue
        if path.is_symlink() or not path.is_file():
            faults.append(f"{_plain(name)}: is a link or a device, not a file.")
        elif name in found:
            faults.append(f"{_plain(name)}: is there a second time.")
        else:
            found[name] = path
    return found, faults


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(str(folder)):
        folders[:] = sorted(name for name in folders if name not in _JUNK)
        for name in sorted(names):
            yield Path(place, name)


def _read_map(read: Reader, path: Path, shape: tuple[int, int]) -> Any:
    """Codes (H, W), uint8. Raises ValueError with what is wrong."""

    def check(header: Header) -> None:
        if header.bands != 1:
            raise ValueError(f"has {header.bands} bands; a map has one")
        if header.shape != shape:
            raise ValueError(f"is {_size(header.shape)} pixels; the patch is {_size(shape)}")
        if header.dtype != "uint8":
            raise ValueError(f"is {header.dtype}; a map is uint8")

    codes = read(path, check)
    if codes.shape != shape or codes.dtype != np.uint8:
        raise ValueError("is damaged")
    if codes.min() < min(CODES) or codes.max() > max(CODES):
        raise ValueError(f"holds codes outside {min(CODES)}..{max(CODES)}")
    return codes


def _scored_only(reference: Any) -> Any:
    """Reference codes of any integer type -> codes of scored classes, and 0 elsewhere, uint8."""
    table = np.zeros(256, np.uint8)
    table[list(SCORED)] = list(SCORED)
    known = (reference >= min(CODES)) & (reference <= max(CODES))
    return table[np.where(known, reference, 0).astype(np.uint8)]


def _anything(header: Header) -> None:
    pass


def _reader() -> Reader:
    """The first library that is there, behind a look at the file itself."""
    for name, decode in (("rasterio", _with_rasterio), ("tifffile", _with_tifffile), ("PIL.Image", _with_pillow)):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        if name == "PIL.Image":
            importlib.import_module("PIL.TiffImagePlugin")
        return _careful(library, decode)
    raise SystemExit("None of rasterio, tifffile and Pillow can be imported; use an image that has one.")


def _careful(library: Any, decode: Callable[[Any, Path, Check], Any]) -> Reader:
    def read(path: Path, check: Check) -> Any:
        with path.open("rb") as handle:
            magic = handle.read(4)
        if magic not in _MAGIC or path.stat().st_size > MOST_BYTES:
            raise ValueError("is no tif, or too large for a map")
        try:
            return np.asarray(decode(library, path, check))
        except ValueError:
            raise
        except Exception as error:  # whatever a library thinks of a damaged file
            raise ValueError("cannot be read ({})".format(" ".join(str(error).split())[:200])) from error

    return read


def _with_rasterio(rasterio: Any, path: Path, check: Check) -> Any:
    with rasterio.open(str(path), driver="GTiff") as source:
        check(Header(source.count, (source.height, source.width), source.dtypes[0]))
        return source.read(1)


def _with_tifffile(tifffile: Any, path: Path, check: Check) -> Any:
    with tifffile.TiffFile(str(path)) as source:
        page = source.pages[0]
        check(Header(page.samplesperpixel, (page.imagelength, page.imagewidth), str(page.dtype)))
        return page.asarray()


def _with_pillow(image: Any, path: Path, check: Check) -> Any:
    dtypes = {"L": "uint8", "P": "uint8", "I;16": "uint16", "I;16B": "uint16", "I": "int32", "F": "float32"}
    with image.open(str(path)) as source:
        if source.format != "TIFF":
            raise ValueError("is no tif")
        check(Header(len(source.getbands()), (source.height, source.width), dtypes.get(source.mode, source.mode)))
        return np.asarray(source)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _plain(name: str) -> str:
    """A stranger's file name, fit for a log."""
    return name.encode("ascii", "backslashreplace").decode()[:200]


def main(arguments: list[str]) -> int:
    """Exit status."""
    if len(arguments) != 2:
        print("usage: codabench_scoring.py INPUT OUTPUT", file=sys.stderr)
        return 2
    given, output = (Path(argument) for argument in arguments)
    try:
        scores = score_folders(given / "res", given / "ref")
    except Faulty as error:
        for fault in error.faults[:MOST_SHOWN]:
            print(fault, file=sys.stderr)
        more = f", the first {MOST_SHOWN} shown" if len(error.faults) > MOST_SHOWN else ""
        print(f"{len(error.faults)} fault(s){more}; not scored.", file=sys.stderr)
        return 1
    (output / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    print("average accuracy {:.4f}".format(scores["average_accuracy"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
