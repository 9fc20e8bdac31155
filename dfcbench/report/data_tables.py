"""What ``dfcbench data info`` shows: one block of tables per split."""

from __future__ import annotations

from dfcbench.report.tables import Column, Table
from dfcbench.scheme import CLASSES
from dfcbench.summary import SplitSummary

_PLACES_SHOWN = 8


def summary_tables(summary: SplitSummary) -> list[Table]:
    """Class shares (low and high resolution) and band statistics of one split."""
    files = ", ".join(f"{name} {count}" for name, count in summary.modalities.items())
    title = f"{summary.split}: {summary.patches:,} patches ({files})"
    notes = [_places("regions", summary.regions) or _places("scenes", summary.scenes)]
    if summary.sampled < summary.patches:
        notes.append(f"Shares and statistics from {summary.sampled} patches drawn at random; --sample 0 reads all.")
    if summary.unlabelled:
        notes.append(f"{100 * summary.unlabelled:.2f} % of the pixels have no low-resolution label.")
    if summary.nan:
        notes.append(f"{100 * summary.nan:.2g} % of the Sentinel-1 values are not finite.")
    if summary.unreadable:
        notes.append(f"{summary.unreadable} file(s) could not be read: see `dfcbench data verify`.")
    classes = Table(
        title,
        (
            Column("class"),
            Column("low resolution, % of pixels", "percent"),
            Column("high resolution, % of pixels", "percent"),
        ),
        tuple(
            (c.name, summary.low.get(c.name), summary.high.get(c.name))
            for c in CLASSES
            if c.name in summary.low or c.name in summary.high
        ),
        notes=tuple(notes),
    )
    bands = Table(
        "",
        (Column("band"), Column("mean"), Column("sd")),
        tuple((name, f"{s.mean:.2f}", f"{s.sd:.2f}") for name, s in summary.bands.items()),
        notes=("VV and VH in dB, B1 to B12 in reflectance x 10000.",),
    )
    return [table for table in (classes, bands) if table.rows]


def _places(word: str, counts: dict[str, int]) -> str:
    shown = [f"{name} {count}" for name, count in list(counts.items())[:_PLACES_SHOWN]]
    more = len(counts) - len(shown)
    return f"{len(counts)} {word}: {', '.join(shown)}{f' and {more} more' if more else ''}." if counts else ""
