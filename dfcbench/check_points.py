"""Check points: pixels drawn at random from a reference or from a map, for people to say what is truly there.

The draw is stratified by region, as that of the contest's organisers was for their reference (Robinson et al., IEEE JSTARS
14, 2021, Table III), and on request by class within each region. Every pixel of a stratum is equally likely, and no pixel
is drawn twice. A drawing is kept as ``drawing.json``: whoever judges must not see it, as it tells the classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.errors import DataError, UsageError
from dfcbench.estimators import Sample
from dfcbench.files import write_json
from dfcbench.patches import PatchSet
from dfcbench.sampling import distinct, spread
from dfcbench.scheme import NAMES, NO_LABEL
from dfcbench.scoring import SIZE
from dfcbench.threads import in_order

FORMAT = 1
"""Version of drawing.json."""

DRAWING = "drawing.json"
CHIPS = "chips"

NOWHERE = "pixels"
"""In place of a coordinate system: x counts columns and y rows of the patch, from its upper left corner."""

_ID_DIGITS = 6
"""Hexadecimal digits of a drawing's digest in its points' ids: two drawings of one folder's history share them by one
chance in 16 million."""

Codes = Callable[[int], NDArray[np.uint8]]
"""Codes (H, W) of the patch at a position."""


def code_name(code: int) -> str:
    """Name of a class, or of what is none."""
    return "no label" if code == NO_LABEL else NAMES[code]


@dataclass(frozen=True)
class Stratum:
    """Pixels from which points were drawn.

    region: its name, None where the data tell none. codes: of the map, those of the stratum's pixels. pixels: how many.
    points: how many were drawn, at random without replacement.
    """

    region: str | None
    codes: tuple[int, ...]
    pixels: int
    points: int

    @property
    def title(self) -> str:
        """For people: its class, if it has one, and its region."""
        of_class = code_name(self.codes[0]) if len(self.codes) == 1 else ""
        return " of ".join(part for part in (of_class, self.region or "") if part) or "the whole split"


@dataclass(frozen=True)
class CheckPoint:
    """One pixel to be judged.

    x, y: its middle in ``crs``, or in pixels of its patch (NOWHERE). longitude, latitude: in degrees on WGS 84, None where
    the data lie nowhere. stratum: position of its stratum. code: class of the map there.
    """

    id: str
    patch: str
    row: int
    column: int
    x: float
    y: float
    crs: str
    longitude: float | None
    latitude: float | None
    stratum: int
    code: int

    @property
    def chip(self) -> str:
        """Its picture, within the drawing's folder."""
        return f"{CHIPS}/{self.id}.png"


@dataclass(frozen=True)
class Subject:
    """What is judged: the reference (``method`` None) or a submission's maps, and of which data.

    data: name, title, official and fingerprint, as in submission.json. run, key: the submission's.
    """

    data: Mapping[str, Any]
    split: str
    method: str | None = None
    run: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class Drawing:
    """Check points in the order in which they are judged, a random one, and how they were drawn."""

    subject: Subject
    seed: int
    by_class: bool
    asked: int
    strata: tuple[Stratum, ...]
    points: tuple[CheckPoint, ...]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that depend on all that a drawing is, ids excepted, as these hold the first of them."""
        value = {**asdict(self), "points": [{**asdict(point), "id": ""} for point in self.points]}
        return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()

    def sample(self, judged: Mapping[str, int], mapped: Mapping[str, int] | None = None) -> Sample:
        """The sample that these judgements make, class by point id; points without one are left out.

        ``mapped`` tells the classes of another map at the points, whose accuracies are then estimated.
        """
        codes = {point.id: point.code for point in self.points} if mapped is None else mapped
        counts = np.zeros((len(self.strata), SIZE, SIZE), np.int64)
        for point in self.points:
            if point.id in judged:
                counts[point.stratum, codes[point.id], judged[point.id]] += 1
        holds = np.zeros((len(self.strata), SIZE), np.bool_)
        for number, stratum in enumerate(self.strata):
            holds[number, list(stratum.codes) if mapped is None else slice(None)] = True
        return Sample(np.array([stratum.pixels for stratum in self.strata], np.int64), holds, counts)


def draw(
    patches: PatchSet,
    codes: Codes,
    subject: Subject,
    *,
    points: int,
    by_class: bool,
    seed: int,
    regions: Sequence[str | None] | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Drawing:
    """Draw ``points`` pixels of each region, or of each class in each region; all of them where there are fewer.

    ``codes`` gives the map of the patch at a position; pixels without a label are drawn from submissions' maps, where
    they are errors, and not from the reference. ``regions`` are those of the patches, in their order; by default what
    file names tell. The draw depends on the seed, the maps, the regions and the patches' order alone.
    Raises UsageError for less than one point, DataError if nothing can be drawn or a map has another shape than its patch.
    """
    if points < 1:
        raise UsageError(f"--points {points}: draw at least 1 point.")
    counts = np.zeros((len(patches), SIZE), np.int64)
    maps = in_order(codes, range(len(patches)), workers)
    for number, labels in enumerate(maps):
        counts[number] = np.bincount(labels.ravel(), minlength=SIZE)
        if progress is not None:
            progress(number + 1, len(patches))
    if subject.method is None:
        counts[:, NO_LABEL] = 0
    generator = np.random.default_rng(seed)
    strata: list[Stratum] = []
    drawn: list[tuple[int, int, int]] = []
    for region, rows in _by_region(patches.regions if regions is None else regions).items():
        present = [code for code in range(SIZE) if counts[rows, code].any()]
        for group in [(code,) for code in present] if by_class else [tuple(present)] * bool(present):
            sizes = counts[np.ix_(rows, group)].sum(axis=1)
            box, rank = spread(distinct(int(sizes.sum()), points, generator), sizes)
            drawn += [(rows[b], len(strata), int(r)) for b, r in zip(box, rank, strict=True)]
            strata.append(Stratum(region, group, int(sizes.sum()), len(rank)))
    if not drawn:
        raise DataError(
            "There is nothing to draw from: no patch has a labelled pixel. Choose another --split or --what."
        )
    found = _located(drawn, strata, patches, codes)
    ordered = [found[i] for i in generator.permutation(len(found))]
    return _numbered(Drawing(subject, seed, by_class, points, tuple(strata), tuple(ordered)))


def codes_at(drawing: Drawing, ids: Sequence[str], codes: Codes) -> list[int]:
    """What another map says at the points, in their order; ``codes`` gives that of the patch at a position in ``ids``.

    Each map is read once. Raises UsageError if a point's patch is not among ``ids``.
    """
    rows = {patch_id: row for row, patch_id in enumerate(ids)}
    if lacking := [point.patch for point in drawing.points if point.patch not in rows]:
        raise UsageError(
            f"Patch {lacking[0]}, where a point was drawn, is not there. Give the data that were drawn from."
        )
    found = [0] * len(drawing.points)
    by_patch: dict[str, list[int]] = {}
    for number, point in enumerate(drawing.points):
        by_patch.setdefault(point.patch, []).append(number)
    for patch_id, numbers in by_patch.items():
        labels = codes(rows[patch_id])
        for number in numbers:
            found[number] = int(labels[drawing.points[number].row, drawing.points[number].column])
    return found


def write_drawing(folder: Path, drawing: Drawing) -> None:
    """Write drawing.json, the same bytes for the same drawing, with each point's probability of being drawn."""
    value = asdict(drawing)
    for point in value["points"]:
        stratum = drawing.strata[point["stratum"]]
        point["inclusion_probability"] = stratum.points / stratum.pixels
    write_json(folder / DRAWING, {"format": FORMAT, "digest": drawing.digest, **value})


def read_drawing(folder: Path) -> Drawing:
    """Read back what ``write_drawing`` wrote. Raises DataError if it is not there, or anything in it was changed."""
    path = folder / DRAWING
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise DataError(f"{path}: format {value['format']!r}; this dfcbench reads format {FORMAT}.")
        strata = tuple(Stratum(**{**entry, "codes": tuple(entry["codes"])}) for entry in value["strata"])
        points = []
        for entry in value["points"]:
            del entry["inclusion_probability"]
            points.append(CheckPoint(**entry))
        subject = Subject(**value["subject"])
        drawing = Drawing(subject, value["seed"], value["by_class"], value["asked"], strata, tuple(points))
        if drawing.digest != value["digest"] or _numbered(drawing) != drawing:
            raise ValueError("its digest is not that of its content")
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no such file. Name a folder that `dfcbench validate-labels draw` wrote, all its files with it."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"{path}: is not what was written there ({error}). Give the command that drew it again, in another folder, and "
            "put the sheet there."
        ) from error
    return drawing


def _by_region(regions: Sequence[str | None]) -> dict[str | None, list[int]]:
    """Positions of the patches by region, in the order of the regions' names."""
    rows: dict[str | None, list[int]] = {}
    for number, region in enumerate(regions):
        rows.setdefault(region, []).append(number)
    return dict(sorted(rows.items(), key=lambda item: item[0] or ""))


def _located(
    drawn: Sequence[tuple[int, int, int]], strata: Sequence[Stratum], patches: PatchSet, codes: Codes
) -> list[CheckPoint]:
    """Points from (patch, stratum, rank among the stratum's pixels of that patch, counted along rows)."""
    by_patch: dict[int, list[tuple[int, int]]] = {}
    for row, stratum, rank in drawn:
        by_patch.setdefault(row, []).append((stratum, rank))
    found = []
    for number, wanted in sorted(by_patch.items()):
        patch, labels = patches[number], codes(number)
        if labels.shape != patch.shape:
            raise DataError(f"The map of {patch.id} has shape {labels.shape}, its patch {patch.shape}. Make it again.")
        place = patch.georeference
        pixels: dict[int, NDArray[np.intp]] = {}
        for stratum, rank in wanted:
            if stratum not in pixels:
                pixels[stratum] = np.flatnonzero(np.isin(labels, strata[stratum].codes))
            row, column = (int(i) for i in divmod(pixels[stratum][rank], labels.shape[1]))
            x, y, crs, longitude, latitude = column + 0.5, row + 0.5, NOWHERE, None, None
            if place.located and place.crs is not None:
                x, y = place.corner(row + 0.5, column + 0.5)
                crs = place.crs_name or " ".join(place.crs.split())
                longitude, latitude = place.longitude_latitude(x, y)
            code = int(labels[row, column])
            found.append(CheckPoint("", patch.id, row, column, x, y, crs, longitude, latitude, stratum, code))
    return found


def _numbered(drawing: Drawing) -> Drawing:
    """The same drawing with its points' ids: their number in it, and the beginning of its digest."""
    digits, tail = len(str(len(drawing.points))), drawing.digest[:_ID_DIGITS]
    values = (asdict(point) for point in drawing.points)
    points = (CheckPoint(**{**v, "id": f"p{n:0{digits}}-{tail}"}) for n, v in enumerate(values, start=1))
    return Drawing(**{**vars(drawing), "points": tuple(points)})
