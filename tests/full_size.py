"""What whole runs took as the patches grew: the measurements kept in tests/benchmarks/full_size.json, and their tables.

``benchmarks/test_full_size.py`` measures; the rows are those of docs/scale.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

KEPT = Path(__file__).parent / "benchmarks" / "full_size.json"

SIZES = (100, 500, 1000, 6114)
"""Patches; the last is what DFC2020 has in validation and test."""


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds by the clock, of itself and of the system for it, and megabytes at most."""

    patches: int
    wall: float
    user: float
    system: float
    resident: int
    anonymous: int


Costs = Sequence[Cost]
"""Of one kind of run, in the order of SIZES."""


def load(path: Path) -> dict[str, Costs]:
    """Measurements by kind of run; none if there is no such file."""
    known = json.loads(path.read_text()) if path.exists() else {}
    return {name: [Cost(**cost) for cost in costs] for name, costs in known.items()}


def save(path: Path, measured: dict[str, Costs]) -> None:
    """What ``load`` reads."""
    path.write_text(
        json.dumps({name: [asdict(cost) for cost in costs] for name, costs in measured.items()}, indent=1) + "\n"
    )


def line(costs: Costs) -> tuple[float, float]:
    """Fixed cost and cost of a patch in seconds: the line through the smallest and the largest size."""
    first, last = costs[0], costs[-1]
    each = (last.user - first.user) / (last.patches - first.patches)
    return first.user - each * first.patches, each


def bent(costs: Costs) -> float:
    """How far the cost of 1,000 patches above the fixed one lies from the line, as a share of it."""
    fixed, each = line(costs)
    return (costs[SIZES.index(1000)].user - fixed) / (1000 * each) - 1


def grown(costs: Costs) -> float:
    """Peak memory of 6,114 patches over that of 500, less 1."""
    return costs[-1].resident / costs[SIZES.index(500)].resident - 1


def time_row(name: str, costs: Costs) -> str:
    """Of the table of times: fixed, a patch, patches a second, each size, and how bent the line is."""
    fixed, each = line(costs)
    sizes = " | ".join(f"{cost.user:,.1f} s" for cost in costs)
    return (
        f"| `{name}` | {fixed:.1f} s | {1000 * each:.1f} ms | {1 / each:,.0f} | {sizes} | {100 * bent(costs):+.1f} % |"
    )


def memory_row(name: str, costs: Costs) -> str:
    """Of the table of memory: each size, and what grew."""
    sizes = " | ".join(f"{cost.resident:,} ({cost.anonymous:,})" for cost in costs)
    return f"| `{name}` | {sizes} | {100 * grown(costs):+.1f} % |"
