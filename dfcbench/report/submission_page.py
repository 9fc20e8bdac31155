"""The page of one submission: its scores, where they come from, what was logged, and what it looks like on the ground."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from dfcbench.leaderboard import Entry, Leaderboard, Section, build
from dfcbench.report.board import section_title
from dfcbench.report.curves import MOST_CHARTS, chart, curves, short
from dfcbench.report.html import BADGES, badge_list, data_url, render, shade, statement, swatch
from dfcbench.report.patch_pictures import KINDS, PatchPictures, read_pictures
from dfcbench.report.tables import text_of
from dfcbench.runner import TIMING
from dfcbench.scheme import CLASSES, NAMES, SCORED, SCORED_CODES
from dfcbench.scoring import ClassScore, Confusion, Interval, Scores
from dfcbench.submission import MAPS_BADGE, Submission
from dfcbench.tracking_names import parameters

_BAR_WIDTH, _BAR_HEIGHT = 200, 20
"""CSS pixels of the bar of an accuracy of 100 %."""
_LONGEST = 2000
"""Characters of a parameter's value on a page."""

_TITLES = {
    "image": "Sentinel-2",
    "radar": "Sentinel-1",
    "low": "low-resolution labels",
    "prediction": "prediction",
    "reference": "reference",
    "error": "errors",
}
_WORDS = {
    "image": "natural colours: B4, B3, B2",
    "radar": "VV, VH and VV − VH as red, green, blue",
}
_GROUPS = {"best": "Best patches", "worst": "Worst patches", "some": "Patches"}
_CLASSES_NAMED = 3
"""Classes below a map, the largest first."""


@dataclass(frozen=True)
class _Picture:
    title: str
    words: str
    source: str
    alternative: str
    css: str
    labels: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True)
class _PatchRow:
    name: str
    accuracy: str
    pictures: tuple[_Picture, ...]


def run_page(submission: Submission) -> bytes:
    """The page of a run by itself, without rank and without links to a board."""
    meta = submission.meta
    board = build([submission], data=meta["data"]["name"], track=meta["track"], split=meta["split"])
    section = board.sections[0]
    return submission_page(board, section, section.entries[0], {}, alone=True)


def submission_page(
    board: Leaderboard, section: Section, entry: Entry, others: Mapping[str, str], *, alone: bool = False
) -> bytes:
    """The page of an entry. ``others``: names of the pages of the board's other submissions, by key.

    ``alone``: there is no board to lead back to, and no rank.
    """
    submission = entry.submission
    scores = submission.scores
    found = curves(submission.metric_history())
    pictures = read_pictures(submission)
    return render(
        "submission.html",
        board=board,
        alone=alone,
        section=section_title(board, section),
        entry=entry,
        meta=submission.meta,
        statement=statement(board),
        badges=[(badge_list([badge]), BADGES.get(badge, "")) for badge in entry.badges],
        tiles=_tiles(scores) if scores else [],
        scores=scores,
        bars=[_class_row(cover.code, scores.classes[cover.name]) for cover in SCORED] if scores else [],
        matrix=_matrix(submission.confusion) if scores else None,
        charts=[(curve, chart(curve)) for curve in found if len(curve.values) > 1][:MOST_CHARTS],
        hidden_charts=max(0, sum(len(curve.values) > 1 for curve in found) - MOST_CHARTS),
        single=[(curve.name, short(curve.values[0], 6)) for curve in found if len(curve.values) == 1],
        groups=_groups(pictures),
        parameters=_parameters(submission.meta),
        provenance=_provenance(entry, others),
    )


def _tiles(scores: Scores) -> list[tuple[str, str, str]]:
    """Title, value and remark of each headline number."""
    percent = [
        ("average accuracy", scores.average_accuracy, scores.average_accuracy_interval),
        ("overall accuracy", scores.overall_accuracy, scores.overall_accuracy_interval),
        ("kappa x 100", scores.kappa, scores.kappa_interval),
        ("mean IoU", scores.mean_iou, None),
        ("macro F1", scores.macro_f1, None),
    ]
    tiles = [(title, text_of(value, "percent"), _range(interval)) for title, value, interval in percent]
    ignored = f"{scores.ignored:,} more have no scored class" if scores.ignored else ""
    return [*tiles, ("patches", f"{scores.patches:,}", ""), ("reference pixels", f"{scores.pixels:,}", ignored)]


def _range(interval: Interval | None) -> str:
    return "" if interval is None else f"95 %: {text_of(interval, 'interval')}"


def _class_row(code: int, score: ClassScore) -> tuple[Markup, str, Markup, tuple[str, ...]]:
    """Swatch, name, bar and numbers of a class; numbers that are undefined are empty."""
    cover = CLASSES[code - 1]
    values = (
        (score.producers_accuracy, "percent"),
        (score.producers_accuracy_interval, "interval"),
        (score.users_accuracy, "percent"),
        (score.iou, "percent"),
        (score.f1, "percent"),
        (score.pixels, "count"),
    )
    texts = tuple("" if value is None else text_of(value, kind) for value, kind in values)  # type: ignore[arg-type]
    return swatch(cover), cover.name, _bar(cover.colour, code, score), texts


def _bar(colour: str, code: int, score: ClassScore) -> Markup:
    """The producer's accuracy as a bar in the class's colour and pattern, with its interval."""
    if score.producers_accuracy is None:
        return Markup("")
    length = round(score.producers_accuracy * _BAR_WIDTH, 1)
    pieces = [
        Markup('<rect class="ground" width="{}" height="{}"/>').format(_BAR_WIDTH, _BAR_HEIGHT),
        Markup('<rect width="{}" height="{}" fill="{}"/>').format(length, _BAR_HEIGHT, colour),
        Markup('<rect width="{}" height="{}" fill="url(#pattern-{})"/>').format(length, _BAR_HEIGHT, code),
    ]
    if score.producers_accuracy_interval is not None:
        low, high = (round(end * _BAR_WIDTH, 1) for end in score.producers_accuracy_interval)
        y = _BAR_HEIGHT // 2
        path = f"M{low} {y}H{high}M{low} {y - 5}V{y + 5}M{high} {y - 5}V{y + 5}"
        pieces += [Markup('<path class="{}" d="{}"/>').format(css, path) for css in ("halo", "range")]
    frame = Markup('<rect class="frame" x=".5" y=".5" width="{}" height="{}"/>')
    pieces.append(frame.format(_BAR_WIDTH - 1, _BAR_HEIGHT - 1))
    return Markup('<svg class="bar" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>').format(
        _BAR_WIDTH, _BAR_HEIGHT, Markup("").join(pieces)
    )


def _matrix(confusion: Confusion) -> dict[str, Any]:
    """Columns and rows of the confusion matrix; cells are (text, hover text, CSS class)."""
    total = confusion.total
    rows = total[list(SCORED_CODES)]
    others = [code for code in range(len(total)) if code not in SCORED_CODES and rows[:, code].any()]
    columns = [*SCORED_CODES, *others]
    lines = []
    for cover, counts in zip(SCORED, rows, strict=True):
        present = int(counts.sum())
        cells = []
        for code in columns:
            share = int(counts[code]) / present if present else 0.0
            text = "" if not present else f"{100 * share:.1f}" if counts[code] else "·"
            hover = f"{cover.name} mapped as {_name(code)}: {int(counts[code]):,} pixels"
            css = " ".join(
                word for word in (shade(share) if counts[code] else "", "right" * (code == cover.code)) if word
            )
            cells.append((text, hover, css))
        lines.append((swatch(cover), cover.name, f"{present:,}", cells))
    return {"columns": [(_name(code), code in others) for code in columns], "rows": lines}


def _name(code: int) -> str:
    return NAMES.get(code, "no label")


def _groups(pictures: Sequence[PatchPictures]) -> list[tuple[str, list[_PatchRow]]]:
    groups = []
    for group, title in _GROUPS.items():
        rows = [_patch_row(patch) for patch in pictures if patch.group == group]
        if rows:
            groups.append((title, rows))
    return groups


def _patch_row(patch: PatchPictures) -> _PatchRow:
    accuracy = "" if patch.accuracy is None else f"{text_of(patch.accuracy, 'percent')} % of its pixels right"
    pictures = tuple(_picture(patch, kind) for kind in KINDS if kind in patch.images)
    return _PatchRow(patch.patch_id, accuracy, pictures)


def _picture(patch: PatchPictures, kind: str) -> _Picture:
    words = _WORDS.get(kind, "")
    if kind == "error":
        share = "wrong" if patch.accuracy is None else f"{text_of(1 - patch.accuracy, 'percent')} % wrong"
        unscored = any(code not in SCORED_CODES for code, _ in patch.shares.get("reference", ()))
        words = f"{share} (dark)" + ("; grey: not scored" if unscored else "")
    if kind in patch.shares:
        named = [f"{_name(code)} {100 * share:.0f} %" for code, share in patch.shares[kind][:_CLASSES_NAMED]]
        more = len(patch.shares[kind]) - len(named)
        words = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    labels = tuple((p.code, f"{100 * p.x:.1f}", f"{100 * p.y:.1f}") for p in patch.labels.get(kind, ()))
    return _Picture(
        title=_TITLES[kind],
        words=words,
        source=data_url(patch.images[kind], "image/webp"),
        alternative=f"{_TITLES[kind]} of patch {patch.patch_id}: {words}",
        css="" if kind in ("image", "radar") else "map",
        labels=labels,
    )


def _parameters(meta: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Name, value, and whether it was given rather than the preset's."""
    given = {} if MAPS_BADGE in meta["badges"] else meta.get("overrides", {})
    return [
        (name, value if len(value) <= _LONGEST else value[:_LONGEST] + " …", name.split(".")[0] in given)
        for name, value in parameters(meta).items()
        if name != "seed"
    ]


def _provenance(entry: Entry, others: Mapping[str, str]) -> list[tuple[str, Markup]]:
    """What made this run, line by line; what is not known has no line."""
    meta = entry.submission.meta
    method, data = meta["method"], meta["data"]
    commit = str(meta.get("commit") or "")
    shown = commit.removesuffix("+") + (", with changes that are not in it" if commit.endswith("+") else "")
    depends = data.get("depends_on") or {}
    foreign = MAPS_BADGE in entry.badges
    lines: list[tuple[str, Any]] = [
        ("method", f"{method['name']}, version {method['version']}" if method["version"] else method["name"]),
        ("from", method.get("origin")),
        ("source", method.get("citation")),
        ("preset", entry.preset),
        ("seed", None if foreign else entry.seed),
        ("needs", _needs(meta.get("needs") or {})),
        ("built upon", _parts(meta.get("parts") or {}, others)),
        ("data", f"{data['title']} ({data['name']})"),
        ("fingerprint", data["fingerprint"]),
        ("depends on", ", ".join(f"{split} {value}" for split, value in sorted(depends.items()))),
        ("patches", f"{entry.limit} of {data['patches']}" if entry.limit else data["patches"]),
        ("server's answers", _answers(meta.get("feedback") or {})),
        ("duration", _duration(entry.submission)),
        ("device", meta.get("device")),
        (
            "scored with" if foreign else "software",
            ", ".join(f"{name} {version}" for name, version in sorted((meta.get("software") or {}).items())),
        ),
        ("commit", shown),
        ("run", entry.run),
        ("key", entry.key),
    ]
    return [(title, Markup("{}").format(value)) for title, value in lines if value not in (None, "")]


def _needs(needs: Mapping[str, Any]) -> str:
    words = [" + ".join(map(str, needs.get("inputs") or ())), f"labels: {needs['labels']}" if "labels" in needs else ""]
    words += [name for name in ("prior", "training", "feedback", "transductive") if needs.get(name)]
    return ", ".join(word for word in words if word)


def _parts(parts: Mapping[str, Any], others: Mapping[str, str]) -> Markup:
    linked = Markup('{} <a href="{}">{}</a>')
    plain = Markup("{} {}")
    words = [
        linked.format(name, others[key], others[key].removesuffix(".html"))
        if key in others
        else plain.format(name, key)
        for name, key in sorted((str(name), str(key)) for name, key in parts.items())
    ]
    return Markup(", ").join(words)


def _answers(feedback: Mapping[str, Any]) -> str:
    return f"{feedback['answers']} of at most {feedback['limit']}" if {"answers", "limit"} <= feedback.keys() else ""


def _duration(submission: Submission) -> str:
    """From timing.json; empty if it is missing or says something else."""
    try:
        timing = json.loads((submission.folder / TIMING).read_text(encoding="utf-8"))
        stages = {str(name): float(value) for name, value in timing["seconds"].items()}
        workers = timing.get("workers")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in sorted(stages.items(), key=lambda item: item[0]))
    return f"{sum(stages.values()):.1f} s ({told})" + (f" with {workers} worker(s)" if workers else "")
