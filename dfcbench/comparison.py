"""Runs side by side: what each scored, and how sure one may be that their difference is more than the choice of patches.

Differences have paired bootstrap intervals: patches are resampled, every run is scored on the same resample from summed
confusion matrices, and the interval is of the difference (percentile bootstrap; Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, Sec. 13.3). Pixels are no unit to resample or to count in a McNemar test, as neighbouring pixels are
not independent of each other.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfcbench.archive import region_of
from dfcbench.errors import SubmissionError, UsageError
from dfcbench.maps import SubmissionMaps, map_path
from dfcbench.patches import LabelledPatch, LabelledPatchSet
from dfcbench.scheme import SCORED_CODES
from dfcbench.scoring import MEASURES, Confusion, Interval, measures, percentile_interval, resampled
from dfcbench.submission import Submission
from dfcbench.threads import in_order

MOST_SIDES = 26
"""Sides are lettered A to Z."""

_DIGEST_SHOWN = 8
"""Characters of a source file's digest that tell two versions of a plug-in apart."""

_SCORED = np.array(SCORED_CODES)


@dataclass(frozen=True)
class Side:
    """One method under one setting: its runs, of one seed each. ``label`` sets it apart from the other sides."""

    letter: str
    label: str
    runs: tuple[Submission, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs, in their order."""
        return tuple(run.meta["seed"] for run in self.runs)


@dataclass(frozen=True)
class Estimate:
    """A number as a fraction, its interval, and the standard deviation across seeds; None where undefined.

    Of several seeds the value is the mean, and the interval that of the mean over these seeds. ``spread`` needs two.
    """

    value: float | None
    interval: Interval | None
    spread: float | None = None

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval lies above or below 0, else 0."""
        if self.interval is None:
            return 0
        return (self.interval[0] > 0) - (self.interval[1] < 0)


@dataclass(frozen=True)
class Part:
    """Some of the patches: MEASURES of every side, and differences (second minus first) by pair of sides.

    region: its name; None for all patches together.
    """

    region: str | None
    patches: int
    scores: tuple[Mapping[str, Estimate], ...]
    differences: Mapping[tuple[int, int], Mapping[str, Estimate]]


@dataclass(frozen=True)
class Comparison:
    """Sides, the pairs of them (positions) whose differences are told, all patches, and regions if there are any."""

    sides: tuple[Side, ...]
    pairs: tuple[tuple[int, int], ...]
    whole: Part
    regions: tuple[Part, ...]


@dataclass(frozen=True)
class PatchDifference:
    """One patch in two runs: scored reference pixels, how many of them each has right, and ``only``: how many the one has
    right where the other is wrong, None if the maps were not looked at."""

    patch_id: str
    pixels: int
    right: tuple[int, int]
    only: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """By which patches are ordered: pixels that one alone has right; if unknown, the least that they can be."""
        return sum(self.only) if self.only else abs(self.right[1] - self.right[0])


def fold(runs: Sequence[Submission], *, seeds: bool = True) -> tuple[Side, ...]:
    """Sides in the order of their first runs; with ``seeds``, runs that differ in nothing but the seed make one side.

    Where that would leave a single side, as nothing else was named, its seeds are sides of their own. Raises UsageError
    for fewer than two runs, and for more sides than letters.
    """
    if len(runs) < 2:
        raise UsageError("Name at least two runs, or a method with several: `dfcbench compare A B`.")
    groups = _grouped(runs) if seeds else []
    if len(groups) < 2:
        groups = [[run] for run in runs]
    if len(groups) > MOST_SIDES:
        raise UsageError(f"{len(groups)} runs are too many to stand side by side; name up to {MOST_SIDES}.")
    return tuple(
        Side(chr(ord("A") + number), label, tuple(sorted(group, key=lambda run: run.meta["seed"])))
        for number, (group, label) in enumerate(zip(groups, _labels(groups), strict=True))
    )


def compare(sides: Sequence[Side], *, pairwise: bool = False) -> Comparison:
    """Scores and differences of each side to the first, or of all pairs.

    Raises UsageError, saying what differs, unless all runs are of the same data, split, patches and reference labels.
    """
    runs = list({run.folder: run for side in sides for run in side.runs}.values())
    matrices = _comparable(runs)
    confusions = [[matrices[str(run.folder)] for run in side.runs] for side in sides]
    pairs = tuple(combinations(range(len(sides)), 2)) if pairwise else tuple((0, i) for i in range(1, len(sides)))
    ids = confusions[0][0].ids
    by_region: dict[str, list[str]] = {}
    for patch_id in ids:
        region = region_of(patch_id)
        if region is not None:
            by_region.setdefault(region, []).append(patch_id)
    regions = tuple(
        _part(region, [[c.select(chosen) for c in side] for side in confusions], pairs)
        for region, chosen in sorted(by_region.items())
    )
    return Comparison(tuple(sides), pairs, _part(None, confusions, pairs), regions)


def representatives(first: Side, second: Side) -> tuple[Submission, Submission]:
    """The runs whose patches speak for two sides: of the lowest seed that both have, else of each one's lowest."""
    common = [seed for seed in first.seeds if seed in second.seeds]
    a, b = (side.runs[side.seeds.index(common[0]) if common else 0] for side in (first, second))
    return a, b


def net_differences(first: Submission, second: Submission) -> list[PatchDifference]:
    """Patches from the one that differs most, by confusion matrices: pixels right in each, not which."""
    a = first.confusion
    b = second.confusion.select(a.ids)
    rows = zip(a.ids, a.matrices[:, _SCORED].sum(axis=(1, 2)), _right(a), _right(b), strict=True)
    return _ordered(PatchDifference(i, int(pixels), (int(x), int(y))) for i, pixels, x, y in rows)


def map_differences(
    first: Submission,
    second: Submission,
    reference: LabelledPatchSet,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[PatchDifference]:
    """Patches from the one that differs most, by maps and reference, pixel by pixel.

    Raises SubmissionError if a map is missing, or is not the one that was scored.
    """
    runs = (first, second)
    maps = [SubmissionMaps(run.folder, reference.ids) for run in runs]
    scored = [dict(zip(c.ids, _right(c), strict=True)) for c in (run.confusion for run in runs)]

    def count(patch: LabelledPatch) -> PatchDifference:
        high = patch.high
        known = np.isin(high, _SCORED)
        right = []
        for run, each, hits in zip(runs, maps, scored, strict=True):
            labels = each.labels(patch.id)
            hit = known & (labels == high) if labels.shape == high.shape else np.zeros_like(known)
            if labels.shape != high.shape or int(hit.sum()) != hits.get(patch.id):
                raise SubmissionError(
                    f"{map_path(run.folder, patch.id)}: is not the map that was scored. Run it again with "
                    "--if-exists rerun."
                )
            right.append(hit)
        a, b = right
        return PatchDifference(
            patch.id, int(known.sum()), (int(a.sum()), int(b.sum())), (int((a & ~b).sum()), int((b & ~a).sum()))
        )

    found = []
    for done, difference in enumerate(in_order(count, iter(reference), workers), start=1):
        found.append(difference)
        if progress is not None:
            progress(done, len(reference))
    return _ordered(found)


def _ordered(differences: Any) -> list[PatchDifference]:
    return sorted(differences, key=lambda difference: -difference.size)


def _right(confusion: Confusion) -> NDArray[np.int64]:
    """Right pixels per patch, (N,)."""
    right: NDArray[np.int64] = confusion.matrices[:, _SCORED, _SCORED].sum(axis=1, dtype=np.int64)
    return right


def _part(region: str | None, confusions: Sequence[Sequence[Confusion]], pairs: Sequence[tuple[int, int]]) -> Part:
    patches = len(confusions[0][0].ids)
    flat = [confusion for side in confusions for confusion in side]
    drawn = iter(resampled(flat)) if patches > 1 else None
    values, draws = [], []
    for side in confusions:
        each = [measures(confusion.total) for confusion in side]
        values.append({name: [measured[name] for measured in each] for name in MEASURES})
        mine = [next(drawn) for _ in side] if drawn is not None else None
        draws.append({name: np.mean([d[name] for d in mine], axis=0) for name in MEASURES} if mine else None)
    scores = tuple(
        {name: _estimate(v[name], None if d is None else d[name]) for name in MEASURES}
        for v, d in zip(values, draws, strict=True)
    )
    differences = {}
    for a, b in pairs:
        first, second = draws[a], draws[b]
        differences[a, b] = {
            name: Estimate(
                _difference(scores[a][name].value, scores[b][name].value),
                None if first is None or second is None else percentile_interval(second[name] - first[name]),
            )
            for name in MEASURES
        }
    return Part(region, patches, scores, differences)


def _estimate(values: Sequence[float | None], drawn: NDArray[np.float64] | None) -> Estimate:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Estimate(None, None)
    spread = statistics.stdev(known) if len(known) > 1 else None
    return Estimate(math.fsum(known) / len(known), None if drawn is None else percentile_interval(drawn), spread)


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else second - first


def _comparable(runs: Sequence[Submission]) -> dict[str, Confusion]:
    """Confusion matrices by folder, of the same patches in the same order."""
    first = runs[0]
    base = first.confusion
    result = {}
    for run in runs:
        faults = list(_faults(first, run, base))
        if faults:
            raise UsageError(f"{first.folder} and {run.folder} cannot be compared: {'; '.join(faults)}.")
        result[str(run.folder)] = run.confusion.select(base.ids)
    return result


def _faults(first: Submission, other: Submission, base: Confusion) -> Iterator[str]:
    a, b = first.meta, other.meta
    data = [f"{m['data']['title']} (fingerprint {m['data']['fingerprint']})" for m in (a, b)]
    if a["data"]["fingerprint"] != b["data"]["fingerprint"]:
        yield f"other data, {data[0]} and {data[1]}"
    if a["split"] != b["split"]:
        yield f"other splits, {a['split']} and {b['split']}"
    confusion = other.confusion
    if set(base.ids) != set(confusion.ids):
        common = len(set(base.ids) & set(confusion.ids))
        yield f"other patches, {len(base.ids)} and {len(confusion.ids)}, of which {common} are the same"
        return
    rows = [c.matrices.sum(axis=2) for c in (base, confusion.select(base.ids))]
    unlike = int((rows[0] != rows[1]).any(axis=1).sum())
    if unlike:
        yield f"other reference labels in {unlike} of {len(base.ids)} patches"


def _grouped(runs: Sequence[Submission]) -> list[list[Submission]]:
    """Runs that differ in the seed only, each once, in the order of first appearance."""
    groups: dict[str, list[list[Submission]]] = {}
    seen = set()
    for run in runs:
        place = run.folder.resolve()
        if place in seen:
            continue
        seen.add(place)
        alike = groups.setdefault(_setting(run), [])
        seed = run.meta["seed"]
        # Two runs with one seed differ in something that submission.json does not tell: they are no seeds of one setting.
        group = next((group for group in alike if seed not in [other.meta["seed"] for other in group]), None)
        if group is None:
            alike.append([run])
        else:
            group.append(run)
    found = [group for alike in groups.values() for group in alike]
    position = {run.folder: number for number, run in reversed(list(enumerate(runs)))}
    return sorted(found, key=lambda group: min(position[run.folder] for run in group))


def _setting(run: Submission) -> str:
    meta = run.meta
    method, data = meta["method"], meta["data"]
    parts = {
        "method": [method["name"], method["version"], method.get("source_digest")],
        "parameters": meta["parameters"],
        "preset": meta.get("preset"),
        "place": [meta["track"], meta["split"], data["fingerprint"], data.get("limit"), data.get("depends_on")],
    }
    return json.dumps(parts, sort_keys=True)


def _labels(groups: Sequence[Sequence[Submission]]) -> list[str]:
    """The method's name and, where others share it, what sets each apart."""
    traits = [_traits(group) for group in groups]
    labels = []
    for mine in traits:
        namesakes = [other for other in traits if other[0] == mine[0]]
        apart = [
            text
            for number, text in enumerate(mine[1:], start=1)
            if text and any(other[number] != text for other in namesakes)
        ]
        labels.append(f"{mine[0]} ({', '.join(apart)})" if apart else mine[0])
    return labels


def _traits(group: Sequence[Submission]) -> list[str]:
    first = group[0]
    meta = first.meta
    digest = str(meta["method"].get("source_digest") or "")[:_DIGEST_SHOWN]
    seeds = sorted(run.meta["seed"] for run in group)
    return [
        meta["method"]["name"],
        first.changes,
        str(meta.get("preset") or ""),
        f"Track {meta['track']}",
        f"version {meta['method']['version']}",
        f"file {digest}" if digest else "",
        f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}",
    ]
