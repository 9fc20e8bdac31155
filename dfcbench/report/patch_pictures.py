"""Small pictures of a run's best and worst patches, kept in its folder for its page.

``pictures.json`` holds, for each of a few patches, images (WebP, base64) of what was seen, mapped and missed there.
They are made while data and maps are at hand, and are small enough to be kept with the scores.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.contest import FusionContest
from dfcbench.files import write_json
from dfcbench.maps import SubmissionMaps
from dfcbench.report.figures import radar, rgb
from dfcbench.scheme import CODES, SCORED_CODES, palette
from dfcbench.scoring import Confusion
from dfcbench.submission import Submission

FORMAT = 1
"""Version of pictures.json."""

PICTURES = "pictures.json"

EACH = 2
"""Best patches, and worst ones: some 200 kB a run in all, so that a board's runs can be kept in version control."""
MIXED_SHARE = 0.05
"""Share of a patch from which a class counts as part of it; patches of one class alone (water!) would fill both ends."""

KINDS = ("image", "radar", "low", "prediction", "reference", "error")
"""What is shown of a patch, in this order: Sentinel-2, Sentinel-1, LR, and the maps."""

MOST_BYTES = 80_000
"""Of one picture: four times what a contest patch takes; 24 of them stay below 3 MB of a page."""
_MOST_IN_ALL = 4 * EACH * len(KINDS) * MOST_BYTES
"""Bytes of a whole pictures.json, twice what its pictures may take: base64 adds a third."""

_MAP_SIDE = 256
"""Pixels of a map's longer side, a contest patch; class codes cannot be averaged."""
_IMAGE_SIDE = 192
"""Pixels of an image's longer side, on a page that shows it some 180 wide: two thirds of the bytes of a whole patch."""
_QUALITY = 70
"""Of lossy WebP: no artefact that the eye finds at this size, half the bytes of 85."""
_EFFORT, _METHOD = 75, 4
"""Of the WebP encoder: 100 and 6 save 6 % of a map's bytes for 150 times the time, more than a second a map."""

_RIGHT, _WRONG, _NOWHERE = (246, 246, 246), (178, 24, 43), (150, 150, 150)
"""Colours of the error map: light, dark (the red of ColorBrewer's RdBu), and grey where there is no scored reference."""

_NAMED_RADIUS = 0.045
"""Share of a patch's side: a region of a map is named where a circle of that radius fits in, which holds two digits."""


@dataclass(frozen=True)
class PictureLabel:
    """A class code to be written onto a map at (x, y), shares of its width and height."""

    code: int
    x: float
    y: float


@dataclass(frozen=True)
class PatchPictures:
    """One patch as it is kept.

    group: ``best``, ``worst``, or ``some`` where nothing is scored. accuracy: share of right pixels, None if unscored.
    images: WebP by kind. shares: by kind of map, the share of each class code that occurs, the largest
    first. labels: by kind of map.
    """

    patch_id: str
    group: str
    accuracy: float | None
    images: Mapping[str, bytes]
    shares: Mapping[str, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    labels: Mapping[str, tuple[PictureLabel, ...]] = field(default_factory=dict)


def choose(confusion: Confusion, each: int = EACH) -> list[tuple[str, str, float]]:
    """The best and the worst patches as (group, id, share of right pixels): best first, then the worst first.

    Only patches in which at least two scored classes have MIXED_SHARE of the reference are looked at, unless there are
    too few of those. No patch is in both groups.
    """
    codes = list(SCORED_CODES)
    rows = confusion.matrices[:, codes, :].astype(np.int64)
    present = rows.sum(axis=2)
    pixels = present.sum(axis=1)
    hits = confusion.matrices[:, codes, codes].sum(axis=1, dtype=np.int64)
    scored = pixels > 0
    mixed = scored & (((present >= MIXED_SHARE * pixels[:, None]) & (present > 0)).sum(axis=1) >= 2)
    pool = np.flatnonzero(mixed if mixed.sum() >= 2 * each else scored)
    share = hits[pool] / pixels[pool]
    ordered = pool[np.argsort(-share, kind="stable")]
    best = ordered[: min(each, -(-len(ordered) // 2))]
    worst = ordered[len(best) :][::-1][:each]
    return [
        (group, confusion.ids[i], float(hits[i] / pixels[i]))
        for group, chosen in (("best", best), ("worst", worst))
        for i in chosen
    ]


def write_pictures(contest: FusionContest, submission: Submission) -> None:
    """Write the pictures of a run whose maps are in its folder; what was there before is replaced.

    Best and worst patches where the run is scored, else patches at even distances. Raises DataError or SubmissionError
    if data or maps cannot be read.
    """
    if submission.scores is not None:
        chosen: list[tuple[str, str, float | None]] = list(choose(submission.confusion))
    else:
        rows = np.unique(np.linspace(0, len(contest.scored) - 1, 2 * EACH).round().astype(int))
        chosen = [("some", contest.scored.ids[row], None) for row in rows]
    patches = contest.scored.select([patch_id for _, patch_id, _ in chosen])
    references = contest.reference.select(patches.ids) if contest.has_reference else None
    maps = SubmissionMaps(submission.folder, patches.ids)
    entries = []
    for number, (group, patch_id, accuracy) in enumerate(chosen):
        patch = patches[number]
        codes = {"prediction": maps.labels(patch_id)}
        if "low" in patch.modalities:
            codes["low"] = patch.low
        if references is not None:
            codes["reference"] = references[number].high
        images = {kind: _class_map(values) for kind, values in codes.items()}
        if "reference" in codes:
            images["error"] = _error_map(codes["reference"], codes["prediction"])
        if "s2" in patch.modalities:
            images["image"] = _photograph(rgb(patch.s2))
        if "s1" in patch.modalities:
            images["radar"] = _photograph(radar(patch.s1))
        entries.append(
            {
                "patch": patch_id,
                "group": group,
                "accuracy": accuracy,
                "images": {kind: base64.b64encode(content).decode("ascii") for kind, content in images.items()},
                "shares": {kind: _shares(values) for kind, values in codes.items()},
                "labels": {kind: _labels(values) for kind, values in codes.items()},
            }
        )
    write_json(submission.folder / PICTURES, {"format": FORMAT, "patches": entries})


def read_pictures(submission: Submission) -> tuple[PatchPictures, ...]:
    """The pictures kept with a run; none if there are none, or what is there is not what ``write_pictures`` writes.

    Pictures of more than MOST_BYTES are left out.
    """
    path = submission.folder / PICTURES
    try:
        if path.stat().st_size > _MOST_IN_ALL:
            return ()
        value = json.loads(path.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            return ()
        return tuple(_patch(entry) for entry in value["patches"][: 2 * EACH])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()


def _patch(entry: Any) -> PatchPictures:
    images = {kind: base64.b64decode(entry["images"][kind], validate=True) for kind in KINDS if kind in entry["images"]}
    return PatchPictures(
        patch_id=str(entry["patch"]),
        group=str(entry["group"]),
        accuracy=None if entry["accuracy"] is None else float(entry["accuracy"]),
        images={kind: content for kind, content in images.items() if len(content) <= MOST_BYTES},
        shares={
            kind: tuple((int(code), float(share)) for code, share in pairs) for kind, pairs in entry["shares"].items()
        },
        labels={
            kind: tuple(PictureLabel(int(code), float(x), float(y)) for code, x, y in points)
            for kind, points in entry["labels"].items()
        },
    )


def _shares(codes: NDArray[np.uint8]) -> list[tuple[int, float]]:
    counts = np.bincount(codes.ravel(), minlength=max(CODES) + 1)
    order = sorted(np.flatnonzero(counts), key=lambda code: (-counts[code], code))
    return [(int(code), round(float(counts[code] / codes.size), 4)) for code in order]


def _labels(codes: NDArray[np.uint8]) -> list[tuple[int, float, float]]:
    """Where each class has its widest place, if that is wide enough for a name."""
    return sorted((code, round(x, 4), round(y, 4)) for code, x, y in _widest(codes))


def _widest(codes: NDArray[np.uint8]) -> Iterator[tuple[int, float, float]]:
    from scipy.ndimage import distance_transform_edt

    height, width = codes.shape
    for code in np.unique(codes[codes > 0]):
        distance = distance_transform_edt(np.pad(codes == code, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(int(distance.argmax()), distance.shape)
        if distance[row, column] >= _NAMED_RADIUS * max(height, width):
            yield int(code), (float(column) + 0.5) / width, (float(row) + 0.5) / height


def _class_map(codes: NDArray[np.uint8]) -> bytes:
    return _webp(palette()[_thinned(codes)], lossless=True)


def _error_map(reference: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> bytes:
    colours = np.where((reference == prediction)[..., None], np.array(_RIGHT, np.uint8), np.array(_WRONG, np.uint8))
    colours[~np.isin(reference, SCORED_CODES)] = _NOWHERE
    return _webp(_thinned(colours), lossless=True)


def _photograph(colours: NDArray[np.float32]) -> bytes:
    return _webp((colours * 255).round().astype(np.uint8), lossless=False)


def _thinned(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every n-th row and column, so that the longer side has _MAP_SIDE pixels at most."""
    step = -(-max(pixels.shape[:2]) // _MAP_SIDE)
    return pixels[::step, ::step]


def _webp(pixels: NDArray[np.uint8], *, lossless: bool) -> bytes:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    if not lossless:
        image.thumbnail((_IMAGE_SIDE, _IMAGE_SIDE), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=lossless, quality=_EFFORT if lossless else _QUALITY, method=_METHOD)
    return buffer.getvalue()
