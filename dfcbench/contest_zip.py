"""Packs a run's maps into the zip that the contest's server took: official names, flat, uint8."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dfcbench import rasters
from dfcbench.errors import SubmissionError, UsageError
from dfcbench.handed_in import Inspection, inspect
from dfcbench.maps import map_path
from dfcbench.records import label_name
from dfcbench.submission import CONFUSION, PREDICTIONS, Submission
from dfcbench.zips import write_zip


def pack(submission: Submission, out: Path) -> Inspection[None]:
    """Write the maps of a finished run to ``out``, unless one of them breaks the contest's format.

    The bytes of the tifs are kept. Equal maps make equal zips, and a kill leaves no half of one. Raises SubmissionError
    if the run is not finished, maps some of the patches only, or has no maps, or too few, UsageError if ``out`` is not
    the name of a zip: whatever else lies there is not replaced.
    """
    if out.suffix.lower() != ".zip" or out.is_dir():
        raise UsageError(f"-o {out}: the maps become a zip. Name a file that ends in .zip.")
    folder, ids = submission.folder, _ids(submission)

    def header(patch_id: str) -> rasters.RasterInfo:  # whatever size the run's own check let pass
        return rasters.info(map_path(folder, patch_id))

    report: Inspection[None] = inspect(folder, ids, header)
    if not report.faults:
        write_zip(out, {label_name(i): partial(map_path(folder, i).read_bytes) for i in ids})
    return report


def zip_name(submission: Submission) -> str:
    """Name of the zip, where none is given: track, method and run."""
    return f"track{submission.meta['track']}-{submission.folder.parent.name}-{submission.folder.name}.zip"


def _ids(submission: Submission) -> tuple[str, ...]:
    """Ids of the patches that the zip must have."""
    folder, meta = submission.folder, submission.meta
    if not submission.finished:
        raise SubmissionError(f"{folder}: is not finished. Give its command again, and pack it then.")
    if submission.partial:
        raise SubmissionError(
            f"{folder}: maps {meta['data']['limit']} of {meta['data']['patches']} patches (--limit); the contest takes "
            "all. Run it without --limit."
        )
    found = sorted(path.name for path in (folder / PREDICTIONS).glob("*.tif"))
    again = "Give the command that made the run again."
    if not found:
        raise SubmissionError(f"{folder / PREDICTIONS}: no maps there; they may have been left behind. {again}")
    if (folder / CONFUSION).exists():
        return submission.confusion.ids
    ids = tuple(name.replace("_dfc_", "_", 1).removesuffix(".tif") for name in found)
    if len(ids) != meta["data"]["patches"]:
        lacking = f"{len(ids)} maps, where the split has {meta['data']['patches']} patches"
        raise SubmissionError(f"{folder / PREDICTIONS}: holds {lacking}. {again}")
    return ids
