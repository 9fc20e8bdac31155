"""Pictures of check points: the pixel to be judged in its surroundings, and in its whole patch."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dfcbench.check_points import CHIPS, CheckPoint, Drawing
from dfcbench.errors import DataError
from dfcbench.files import unwritable, writable_folder
from dfcbench.patches import PatchSet
from dfcbench.report.figures import rgb
from dfcbench.threads import in_order

SIDE = 396
"""Pixels of a chip's height, and of each of its two halves' width: it fits on any screen beside the sheet."""
SURROUNDINGS = 33
"""Pixels of the patch in the left half, 330 m at 10 m: the point's field, block or shore, each pixel 12 on the screen. Odd,
so that the point is in the middle."""
_EFFORT = 1
"""Of the PNG encoder, of 9: a third of the time of its default 6 for a fifth more bytes."""

_GAP = 8
_LIGHT, _DARK = (255, 255, 255), (0, 0, 0)


def write_chips(
    folder: Path,
    drawing: Drawing,
    patches: PatchSet,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a PNG for every point; each patch is read once.

    Without fsync, as sheets come later, and who finds no sheet draws again. Raises DataError if a patch has no Sentinel-2
    image.
    """
    by_patch: dict[str, list[CheckPoint]] = {}
    for point in drawing.points:
        by_patch.setdefault(point.patch, []).append(point)
    shown = patches.select(sorted(by_patch))
    if "s2" not in shown.modalities:
        lacking = next(patch.id for patch in shown if "s2" not in patch.modalities)
        raise DataError(f"patch {lacking}: has no s2 file, so there is no picture to judge by. Add it.")

    writable_folder(folder / CHIPS)

    def write(number: int) -> int:
        patch = shown[number]
        image = Image.fromarray((rgb(patch.s2) * 255).round().astype(np.uint8))
        for point in by_patch[patch.id]:
            path = folder / point.chip
            try:
                path.write_bytes(chip(image, point.row, point.column))
            except OSError as error:
                raise unwritable(path, error) from error
        return len(by_patch[patch.id])

    done = 0
    for count in in_order(write, range(len(shown)), workers):
        done += count
        if progress is not None:
            progress(done, len(drawing.points))


def chip(image: Image.Image, row: int, column: int) -> bytes:
    """PNG of the point: to the left SURROUNDINGS magnified with the pixel framed, to the right the whole patch with the
    frame of the left half. Beyond the patch's border it is grey."""
    scale = SIDE // SURROUNDINGS
    left, top = column - SURROUNDINGS // 2, row - SURROUNDINGS // 2
    near = Image.new("RGB", (SURROUNDINGS, SURROUNDINGS), (128, 128, 128))
    near.paste(image, (-left, -top))
    picture = Image.new("RGB", (2 * SIDE + _GAP, SIDE), _LIGHT)
    picture.paste(near.resize((SIDE, SIDE), Image.Resampling.NEAREST), (0, 0))
    draw = ImageDraw.Draw(picture)
    middle = SURROUNDINGS // 2 * scale
    _frame(draw, (middle, middle, middle + scale, middle + scale))

    zoom = SIDE / max(image.size)
    width, height = (round(zoom * side) for side in image.size)
    offset = SIDE + _GAP
    picture.paste(image.resize((width, height), Image.Resampling.BILINEAR), (offset, 0))
    across = (offset + round(zoom * min(max(x, 0), image.width)) for x in (left, left + SURROUNDINGS))
    down = (round(zoom * min(max(y, 0), image.height)) for y in (top, top + SURROUNDINGS))
    (west, east), (north, south) = across, down
    _frame(draw, (west, north, east, south))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=_EFFORT)
    return buffer.getvalue()


def _frame(draw: ImageDraw.ImageDraw, inside: tuple[int, int, int, int]) -> None:
    """A white frame in a black one around a rectangle (left, top, right, bottom), which stays free."""
    left, top, right, bottom = inside
    for away, colour in ((4, _DARK), (2, _LIGHT)):
        box = (left - away, top - away, right - 1 + away, bottom - 1 + away)
        draw.rectangle(box, outline=colour, width=2)
