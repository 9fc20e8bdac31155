"""Published results on DFC2020, with their sources: facts to stand beside what was measured, never among it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dfcbench.errors import DataError
from dfcbench.scheme import SCORED_NAMES

FILE = Path(__file__).with_name("published.csv")
COLUMNS = ("protocol", "split", "entry", "team", "inputs", "metric", "class", "value", "status", "source")

PROTOCOLS: Mapping[str, tuple[int, str]] = {
    "track1": (1, "Track 1"),
    "track2": (2, "Track 2"),
    "sen12ms": (1, "trained on SEN12MS with low-resolution labels"),
    "val-to-test": (2, "trained on the high-resolution labels of validation"),
}
"""Track whose rule a protocol keeps, and the protocol in words."""

STATUSES = ("official", "paper", "checkpoint", "third party")
"""The contest's own results; numbers in a publication of the contest's; a published network; anybody else's numbers."""

_SPLITS = ("validation", "test")
_METRICS = ("AA", "producer_accuracy")


@dataclass(frozen=True)
class PublishedResult:
    """One entry with all that is known of it; accuracies are fractions, None or absent where nobody published them.

    ``status`` is one of STATUSES; ``remark`` says what it leaves open, such as ``column inferred``.
    """

    protocol: str
    split: str
    entry: str
    team: str
    inputs: str
    status: str
    remark: str
    source: str
    average_accuracy: float | None
    producers_accuracy: Mapping[str, float]

    @property
    def track(self) -> int:
        """The track whose rule the entry keeps."""
        return PROTOCOLS[self.protocol][0]


def load(path: Path = FILE) -> tuple[PublishedResult, ...]:
    """All published results of a table with COLUMNS (values in percent), in its order.

    Lines of one entry from one source are joined. Raises DataError, naming file and line, for a line that is
    incomplete, unknown to the scheme, out of range, or there twice.
    """
    entries: dict[tuple[str, ...], dict[str, float]] = {}
    for place, row in _rows(path):
        status, _, remark = row["status"].partition("; ")
        _validate(place, row, status)
        names = ("protocol", "split", "entry", "team", "inputs")
        identity = (*(row[name] for name in names), status, remark, row["source"])
        values = entries.setdefault(identity, {})
        if row["class"] in values:
            raise DataError(f"{place}: {row['metric']} {row['class']} of '{row['entry']}' is there twice.")
        values[row["class"]] = _fraction(place, row["value"])
    results = []
    for (protocol, split, entry, team, inputs, status, remark, source), values in entries.items():
        average = values.pop("", None)
        results.append(PublishedResult(protocol, split, entry, team, inputs, status, remark, source, average, values))
    return tuple(results)


def select(results: Iterable[PublishedResult], track: int, split: str) -> tuple[PublishedResult, ...]:
    """Those with an average accuracy on that track's rule and split: by status as in STATUSES, best first."""
    chosen = [r for r in results if r.track == track and r.split == split and r.average_accuracy is not None]
    return tuple(
        sorted(chosen, key=lambda r: (STATUSES.index(r.status), -(r.average_accuracy or 0.0), r.entry, r.inputs))
    )


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise DataError(f"{path}: columns are {reader.fieldnames}; expected {', '.join(COLUMNS)}.")
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(f"{place}: {len(COLUMNS)} columns are expected.")
                yield place, row
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error


def _validate(place: str, row: Mapping[str, str], status: str) -> None:
    known = {"protocol": tuple(PROTOCOLS), "split": _SPLITS, "metric": _METRICS}
    for name, choices in known.items():
        if row[name] not in choices:
            raise DataError(f"{place}: {name} is '{row[name]}'; known are {', '.join(choices)}.")
    if status not in STATUSES:
        raise DataError(f"{place}: status is '{status}'; known are {', '.join(STATUSES)}.")
    if row["class"] not in (("",) if row["metric"] == "AA" else SCORED_NAMES):
        raise DataError(f"{place}: class '{row['class']}' does not go with {row['metric']}.")
    for name in ("entry", "team", "source"):
        if not row[name].strip():
            raise DataError(f"{place}: {name} is empty.")


def _fraction(place: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise DataError(f"{place}: value '{text}' is no percentage.")
    return round(value / 100, 10)  # what was printed, free of the division's last bit
