"""What all HTML pages share: templates, colours, sortable tables, the class legend. The same input gives the same bytes.

A page is one file: style and script are inside it, pictures are data URLs, and its content security policy lets it load
nothing else. Every value from a submission goes through jinja2's escaping.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dfcbench.leaderboard import MAPS_BADGE, Leaderboard
from dfcbench.report.tables import Cell, Kind, text_of
from dfcbench.scheme import CLASSES, LandCover
from dfcbench.sealing.levels import MEANINGS, badge
from dfcbench.submission import RECONSTRUCTION_BADGE, TUNED_BADGE

_BLUES = ("#f7fbff", "#deebf7", "#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08519c", "#08306b")
"""ColorBrewer's Blues, 9 classes: one hue from light to dark, so that it reads without colour vision and in print."""

SHADES = 21
"""Steps of the heat map's scale: 5 % each."""

_GENERATOR = b'<meta name="generator" content="dfcbench">'
"""In the head of every page."""
_HEAD = 500
"""Bytes at a page's beginning within which that stands."""

BADGES = {
    "transductive": "fitted on the very images that are scored",
    "HR labels": "learned from high-resolution labels",
    TUNED_BADGE: "used the scores of earlier submissions on the same split",
    RECONSTRUCTION_BADGE: "re-implements an entry of which little is public; what is not known of it was chosen",
    MAPS_BADGE: "only the maps are known; they were not made here",
    **{badge(level): meaning for level, meaning in MEANINGS.items()},
}
"""What the badges mean."""

PATTERNS: dict[int, str] = {
    1: "M0 8L8 0M-2 2L2 -2M6 10L10 6",
    2: "M0 0L8 8M-2 6L2 10M6 -2L10 2",
    3: "M4 0V8",
    4: "M0 4H8",
    5: "M0 4Q2 1 4 4T8 4",
    6: "M0 4H8M4 0V8",
    7: "M0 0L8 8M8 0L0 8",
    8: "M4 2V6M2 4H6",
    9: "M2 2h.01M6 6h.01",
    10: "",
}
"""SVG path of each class's pattern on a tile of 8 x 8, by code; Water is plain."""


@dataclass(frozen=True)
class HtmlCell:
    """A cell: what it shows, by what it sorts (empty cells come last), and its CSS class."""

    html: Markup
    value: str = ""
    css: str = ""


@dataclass(frozen=True)
class HtmlColumn:
    """A column of a sortable table. largest_first: the order that the first click makes."""

    title: str
    hint: str = ""
    numeric: bool = False
    largest_first: bool = False
    css: str = ""


@dataclass(frozen=True)
class HtmlTable:
    """A table for the macro of the same name. sorted_by: index of the column that the rows ascend by at first."""

    caption: str
    columns: tuple[HtmlColumn, ...]
    rows: tuple[tuple[HtmlCell, ...], ...]
    sorted_by: int | None = None


def is_own(page: Path) -> bool:
    """Whether a page was made here: its head says so."""
    try:
        with page.open("rb") as file:
            return _GENERATOR in file.read(_HEAD)
    except OSError:
        return False


def render(template: str, **values: Any) -> bytes:
    """A page from a template of this package, UTF-8."""
    return (_environment().get_template(template).render(**values).strip() + "\n").encode("utf-8")


def statement(board: Leaderboard) -> tuple[str, str]:
    """Which data a page is about, in one sentence, and what its scores may be compared with."""
    if board.official:
        return (
            "These are scores on DFC2020, the official data of the 2020 IEEE GRSS Data Fusion Contest.",
            "They compare with published results of the same track and split.",
        )
    if board.title.startswith("Demo contest"):
        return (
            "These are scores on the demo contest, not on DFC2020.",
            "Its landscape, images and labels are artificial, made by dfcbench for trying things out. Scores here do not "
            "compare with those of the contest or of any publication, so none are shown beside them.",
        )
    return (
        f"These are scores on other data ({board.title}), not on DFC2020.",
        "They do not compare with those of the contest or of any publication, so none are shown beside them.",
    )


def shade(share: float) -> str:
    """CSS class of the heat map for a share in [0, 1]."""
    return f"h{round(min(max(share, 0.0), 1.0) * (SHADES - 1))}"


def shade_colours(step: int) -> tuple[str, str]:
    """Background of a shade (0..20), and black or white, whichever is easier to read on it."""
    position = step / (SHADES - 1) * (len(_BLUES) - 1)
    low = min(int(position), len(_BLUES) - 2)
    a, b = (np.array(list(bytes.fromhex(colour[1:]))) for colour in _BLUES[low : low + 2])
    red, green, blue = np.rint(a + (b - a) * (position - low)).astype(int).tolist()
    background = f"#{red:02x}{green:02x}{blue:02x}"
    return background, max(("#000000", "#ffffff"), key=lambda text: contrast(background, text))


def contrast(first: str, second: str) -> float:
    """Contrast of two colours, 1 to 21 (WCAG 2.2); text needs 4.5."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    shares = np.array(list(bytes.fromhex(colour[1:]))) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def data_url(content: bytes, kind: str) -> str:
    """Bytes as a ``data:`` URL of that media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def number_cell(value: Cell, kind: Kind, css: str = "") -> HtmlCell:
    """A cell with a number or interval as ``text_of`` writes it, empty where undefined; an interval sorts by its start."""
    if value is None or value == "":
        return HtmlCell(Markup(""), "", css)
    first = value[0] if isinstance(value, tuple) else value
    text = Markup("{}").format(text_of(value, kind))
    return HtmlCell(text, str(first), css)


def text_cell(text: str, css: str = "") -> HtmlCell:
    """A cell of text, which sorts as such."""
    return HtmlCell(Markup("{}").format(text), " ".join(text.split()), css)


def heat_cell(value: float | None, *, bold: bool = False) -> HtmlCell:
    """A share in percent on its colour."""
    if value is None:
        return HtmlCell(Markup(""), "", "heat")
    text = Markup("<b>{}</b>" if bold else "{}").format(text_of(value, "percent"))
    return HtmlCell(text, str(value), f"heat {shade(value)}")


def badge_list(badges: Sequence[str]) -> Markup:
    """Badges, each with its meaning as hover text."""
    pieces = [Markup('<span class="badge" title="{}">{}</span>').format(BADGES.get(b, ""), b) for b in badges]
    return Markup(" ").join(pieces)


def swatch(cover: LandCover) -> Markup:
    """A small square in the class's colour and pattern; decoration beside its name."""
    return Markup(
        '<svg class="swatch" viewBox="0 0 16 16" aria-hidden="true"><rect width="16" height="16" fill="{}"/>'
        '<rect width="16" height="16" fill="url(#pattern-{})"/></svg>'
    ).format(cover.colour, cover.code)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("dfcbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader = made.loader
    assert loader is not None
    made.filters["breakable"] = _breakable
    made.globals |= {
        "style": Markup(loader.get_source(made, "style.css")[0]),
        "script": Markup(loader.get_source(made, "sort.js")[0]),
        "shades": [(f"h{step}", *shade_colours(step)) for step in range(SHADES)],
        "classes": [(cover, PATTERNS[cover.code], _ink(cover.colour)) for cover in CLASSES],
        "swatch": swatch,
    }
    return made


def _breakable(text: str) -> Markup:
    """Text that may go on a new line after a slash."""
    return Markup("/<wbr>").join(text.split("/"))


def _ink(colour: str) -> str:
    """Of a pattern on a class's colour: black on light, white on dark."""
    return max(("#000000", "#ffffff"), key=lambda text: contrast(colour, text))
