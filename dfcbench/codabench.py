"""A competition bundle for a Codabench server: the contest again, with the reference data of the user's own disk.

Format: version 2 of competition.yaml, https://docs.codabench.org (Yaml-Structure, Competition-Bundle-Structure). What it
allows has shaped the bundle: phases follow each other and never overlap, so the two tracks, which run side by side, are
two tasks of each phase; a submission is made to the tasks that are ticked; limits count uploads per phase; a leaderboard
that keeps one entry per team would drop a team's Track 1 entry for its Track 2 entry. A bundle of one track is simpler.
"""

from __future__ import annotations

import datetime
import json
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dfcbench import codabench_pages as pages
from dfcbench import codabench_scoring, rasters, records
from dfcbench.archive import Archive
from dfcbench.contest import TRACKS
from dfcbench.errors import DataError, UsageError
from dfcbench.files import write_bytes, write_text
from dfcbench.identity import DatasetIdentity
from dfcbench.method import FEEDBACK_LIMIT
from dfcbench.records import PatchRecord
from dfcbench.scheme import SCORED, SCORED_CODES, palette
from dfcbench.threads import in_order
from dfcbench.zips import write_zip

PHASES = ("validation", "test")
"""Splits in the order of the contest's phases."""

VALIDATION_DAYS = 28
"""Length of the validation phase: phases need dates, and organisers set their own in Codabench's editor."""

SHORTEST = 2
"""Days between the phases' first days, at least: a phase must end before the next starts, and Codabench reads midnight
for any hour of a date that is not quoted."""

IMAGE = "codalab/codalab-legacy:py37"
"""Codabench's own default image; the scoring program runs there."""

SECONDS = 600
"""Codabench's default limit; the program takes less than a minute for the 5128 maps of the test split."""

COMMAND = "python3 /app/program/score.py /app/input /app/output"

_DECIMALS = 4


@dataclass(frozen=True)
class Schedule:
    """First days of the two phases; the test phase has no end."""

    validation: datetime.date
    test: datetime.date

    @classmethod
    def starting(cls, validation: datetime.date, test: datetime.date | None = None) -> Schedule:
        """With VALIDATION_DAYS for the first phase unless ``test`` is given. Raises UsageError if it is not later."""
        chosen = test or validation + datetime.timedelta(days=VALIDATION_DAYS)
        if (chosen - validation).days < SHORTEST:
            raise UsageError(
                f"The test phase ({chosen}) must start at least {SHORTEST} days after the validation phase ({validation})."
            )
        return cls(validation, chosen)


def export(
    archive: Archive,
    out: Path,
    schedule: Schedule,
    tracks: Sequence[int] = TRACKS,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the bundle to ``out``: a zip, ready for upload, if its name ends in .zip, else a folder to look at.

    Equal data and dates make equal bytes. Raises DataError if a split lacks high-resolution labels, UsageError if
    ``out`` is a folder with something in it, or a file that is no zip.
    """
    for split in PHASES:
        archive.labelled(split)  # complete, or an error that says what is missing
    reference = {split: archive.splits[split] for split in PHASES}
    zipped = out.suffix.lower() == ".zip"
    if out.exists() and not zipped and not out.is_dir():
        raise UsageError(f"{out}: is a file. Choose another -o: a zip (*.zip), or a new folder.")
    if out.is_dir() and (zipped or any(out.iterdir())):
        raise UsageError(f"{out}: is a folder that is not empty, or has a zip's name. Choose another -o.")
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".bundle-", dir=out.absolute().parent))
    except OSError as error:
        raise DataError(f"{out}: cannot be written ({error.strerror}). Choose another -o.") from error
    try:
        staging.chmod(0o755)
        _write(archive, staging, reference, schedule, tracks, workers, progress)
        if zipped:
            files = {file.relative_to(staging).as_posix(): file for file in staging.rglob("*") if file.is_file()}
            write_zip(out, {name: partial(file.read_bytes) for name, file in files.items()})
        else:
            staging.rename(out.absolute())
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def columns() -> list[tuple[str, str]]:
    """Key in scores.json and title of each column of the leaderboard."""
    keys = codabench_scoring.SCORED
    summary = [("average_accuracy", "Average accuracy"), ("overall_accuracy", "Overall accuracy"), ("kappa", "Kappa")]
    return summary + [(keys[cover.code], cover.name) for cover in SCORED]


def scoring_program() -> dict[str, bytes]:
    """Files of the scoring program by name."""
    metadata = f"command: {COMMAND}\ndescription: Average accuracy of land-cover maps\n"
    return {"score.py": Path(codabench_scoring.__file__).read_bytes(), "metadata.yaml": metadata.encode()}


def _write(
    archive: Archive,
    folder: Path,
    reference: Mapping[str, Sequence[PatchRecord]],
    schedule: Schedule,
    tracks: Sequence[int],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    total = sum(map(len, reference.values()))
    done = 0
    for split, patches in reference.items():
        tifs: dict[str, Callable[[], bytes]] = {}
        for patch, content in zip(patches, in_order(_reference_tif, patches, workers), strict=True):
            tifs[patch.label_name] = partial(bytes, content)
            done += 1
            if progress is not None:
                progress(done, total)
        write_zip(folder / f"reference_{split}.zip", tifs)
    program = scoring_program()
    write_zip(folder / "scoring_program.zip", {name: partial(bytes, content) for name, content in program.items()})
    sizes = {split: len(patches) for split, patches in reference.items()}
    texts = pages.pages(archive.identity, sizes, tracks, FEEDBACK_LIMIT)
    for name, text in texts.items():
        write_text(folder / "pages" / f"{name}.md", text)
    write_bytes(folder / "logo.png", logo())
    lines = _competition(archive.identity, schedule, tracks)
    write_text(folder / "competition.yaml", "\n".join(lines) + "\n")


def _reference_tif(patch: PatchRecord) -> bytes:
    """The patch's high-resolution labels as uint8, whatever its own file has."""
    return rasters.encode(records.read(patch, "high"), compress="deflate")


def _competition(identity: DatasetIdentity, schedule: Schedule, tracks: Sequence[int]) -> Iterator[str]:
    """Lines of competition.yaml; texts are written as JSON, which YAML reads."""
    text = json.dumps
    yield "version: 2"
    yield f"title: {text(pages.title(identity) + _of_track(tracks))}"
    about = f"Land cover at 10 m from Sentinel-1 and -2 with noisy labels. Data: {identity.title}."
    yield f"description: {text(about)}"
    yield "image: logo.png"
    yield "terms: pages/terms.md"
    yield "registration_auto_approve: false"
    yield f"docker_image: {IMAGE}"
    yield "make_programs_available: true"
    yield "make_input_data_available: false"
    yield "pages:"
    for title in ("Overview", "Evaluation", "Data", "Terms"):
        yield f"  - title: {title}"
        yield f"    file: pages/{title.lower()}.md"
    yield "tasks:"
    for index, (split, track) in enumerate(_tasks(tracks)):
        yield f"  - index: {index}"
        yield f"    name: {text(f'Track {track}, {split}')}"
        yield f"    description: {text(pages.task(track, split))}"
        yield f"    reference_data: reference_{split}.zip"
        yield "    scoring_program: scoring_program.zip"
    yield "phases:"
    starts = dict(zip(PHASES, (schedule.validation, schedule.test), strict=True))
    for index, split in enumerate(PHASES):
        yield f"  - index: {index}"
        yield f"    name: {split.capitalize()}"
        yield f"    description: {text(pages.phase(split))}"
        yield f"    start: {starts[split]} 00:00:00"
        if split == "validation":
            yield f"    end: {schedule.test - datetime.timedelta(days=1)} 23:59:59"
        yield f"    max_submissions: {FEEDBACK_LIMIT}"
        yield f"    max_submissions_per_day: {FEEDBACK_LIMIT}"
        yield f"    execution_time_limit: {SECONDS}"
        yield "    tasks:"
        yield from (f"      - {number}" for number, (of, _) in enumerate(_tasks(tracks)) if of == split)
    yield "leaderboards:"
    yield "  - title: Results"
    yield "    key: main"
    yield f"    submission_rule: {'Force_Best' if len(tracks) == 1 else 'Force_Latest_Multiple'}"
    yield "    columns:"
    for index, (key, title) in enumerate(columns()):
        yield f"      - title: {text(title)}"
        yield f"        key: {key}"
        yield f"        index: {index}"
        yield "        sorting: desc"
        yield f"        precision: {_DECIMALS}"


def _tasks(tracks: Sequence[int]) -> list[tuple[str, int]]:
    return [(split, track) for split in PHASES for track in tracks]


def _of_track(tracks: Sequence[int]) -> str:
    return f", Track {tracks[0]}" if len(tracks) == 1 else ""


def logo(cell: int = 64) -> bytes:
    """A PNG of the scored classes' colours, four by two, (2 * cell, 4 * cell) pixels; the same bytes everywhere."""
    colours = palette()[list(SCORED_CODES)]
    row = [bytes(code for code in range(first, first + 4) for _ in range(cell)) for first in (0, 4)]
    lines = b"".join(b"\0" + line for line in row for _ in range(cell))
    header = struct.pack(">IIBBBBB", 4 * cell, 2 * cell, 8, 3, 0, 0, 0)  # 8 bits, palette
    parts = ((b"IHDR", header), (b"PLTE", colours.tobytes()), (b"IDAT", zlib.compress(lines, 0)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
