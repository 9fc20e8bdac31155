"""Memory and time of whole runs as the patches grow from 100 to the contest's 6,114, each run a process of its own.

``DFCBENCH_FULL=DIR pytest tests/benchmarks/test_full_size.py --benchmark-enable -s``. DIR, on a disk with 70 GB free, gets
the demo contest of size ``full`` (33 GB, written once), packed copies, and ``full_size.json``, which docs/scale.md tells
about; ``-k bag`` measures one method. One core is busy for some 45 minutes, a quarter of an hour more for the contest.
With ``DFCBENCH_FULL_SIZE=demo`` the 80 patches of the demo contest of that size stand for all, over and over: what a patch
takes is the same, 20 GB are enough, and no contest is waited for.

The contest of n patches has links to n patches of both splits, evenly spaced, as its test split, the same few patches
of validation, and all of SEN12MS, whatever n. Settings are as cheap as they can be without leaving out a step that is
done for each patch: few clusters, forests and training steps.

Memory is the kernel's own high-water mark of resident pages (VmHWM). It counts file pages that happen to be mapped, of
libraries and of what is being read of a packed copy, which the system may take away; so anonymous pages (RssAnon), the
process's own, are told as well. The kernel keeps no mark of these: the highest of a sample every 50 ms stands for it.

Time is processor time that the process spent itself. Time that the system spent for it is told apart: on a machine that
others use, it grows with their use of memory and disk, as time by the clock does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from dfcbench.archive import Archive
from dfcbench.demo.writing import ensure
from dfcbench.packing import packed_folder
from dfcbench.patches import PatchRecord
from tests.full_size import SIZES, Cost, Costs, bent, grown, load, memory_row, save, time_row

VALIDATION = 64
"""Patches of validation beside them: the prior and the reference come from these, at the same cost for all sizes."""
FIRST = 8
"""Patches of a run that is not measured: kernels are compiled once for a machine, SEN12MS is packed once."""

MOST_GROWN = 0.1
"""Of the peak with 500 patches, what 6,114 may take more."""
MOST_BENT = 0.1
"""Of the time that 1,000 patches add to the fixed cost, how far it may lie from a line through 100 and 6,114."""
IMAGES = ("s1", "s2", "low")
MEGABYTE = 1024**2
SECONDS = 0.05
"""Between two samples of memory."""

LABELS_ALONE = "low-resolution-labels"
"""Reads no image, so that it shows what the harness itself takes."""
METHODS: dict[str, tuple[str, ...]] = {
    LABELS_ALONE: ("--track 1",),
    "bag": (
        "--track 1",
        *("clusters=16", "bags=16", "sweeps=2", "texture_warm_up=1", "label_warm_up=1", "label_rounds=2"),
        *("tolerance=0", "prediction_passes=1"),
    ),
    "unet": ("--track 1", "width=4", "steps=20", "batch=4", "validate_every=0", "validation_patches=4"),
    "antonia": (
        "--track 2",
        *("forests_weighted=1", "forests_unweighted=1", "water_forests=1", "trees=5", "draw=20000", "min_samples=100"),
    ),
}
"""Track and parameters, beside the preset ``quick``."""

PACK = """
import sys
from pathlib import Path
from dfcbench.archive import Archive
from dfcbench.packing import packed_folder
archive, split, modalities = Archive.open(Path(sys.argv[1])), sys.argv[2], sys.argv[3:]
archive.patches(split).packed(packed_folder(split, archive.fingerprint(split)), modalities)
"""


def measured(name: str, patches: int, command: Sequence[str], place: Path) -> Cost:
    """Run a command to its end, which must be good, and tell what it took. ``name`` keeps its output apart from others'."""
    environment = os.environ | {"DFCBENCH_CACHE": str(place / "cache"), "DFCBENCH_METHODS": ""}
    told = place / f"{name}-{patches}.txt"
    started = time.perf_counter()
    with told.open("wb") as output:
        process = subprocess.Popen(command, cwd=place, env=environment, stdout=output, stderr=subprocess.STDOUT)
        resident = anonymous = 0
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            marks = memory_of(process.pid)
            resident, anonymous = max(resident, marks.get("VmHWM", 0)), max(anonymous, marks.get("RssAnon", 0))
            time.sleep(SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = told.read_text(errors="replace")
    assert process.returncode == 0, text
    assert "reading the tifs" not in text, text
    seconds = (time.perf_counter() - started, usage.ru_utime, usage.ru_stime)
    return Cost(
        patches, *(round(each, 1) for each in seconds), *(round(each / MEGABYTE) for each in (resident, anonymous))
    )


def memory_of(pid: int) -> dict[str, int]:
    """Bytes by name from /proc/PID/status; nothing of a process that is about to be gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: 1024 * int(text.split()[0]) for name, text in (line.split(":", 1) for line in lines) if "kB" in text}


@pytest.fixture(scope="module")
def place() -> Path:
    if "DFCBENCH_FULL" not in os.environ:
        pytest.skip("DFCBENCH_FULL names no folder: one on a disk with 70 GB free is needed")
    if not sys.platform.startswith("linux"):
        pytest.skip("memory is read from /proc, which only Linux has")
    folder = Path(os.environ["DFCBENCH_FULL"]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def contests(place: Path) -> dict[int, Path]:
    """Contests of all sizes, made once."""
    full = ensure(os.environ.get("DFCBENCH_FULL_SIZE", "full"), cache_dir=place, workers=2)
    splits = Archive.open(full / "DFC2020").splits
    records = (*splits["test"], *splits["validation"])
    made = {}
    for size in (FIRST, *SIZES):
        made[size] = place / "contests" / str(size)
        if made[size].exists():
            continue
        new = place / "contests" / "new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        (new / "SEN12MS").symlink_to(full / "SEN12MS")
        link(new, "test_{}_0", spaced(records, size))
        link(new, "validation_{}_0", spaced(splits["validation"], VALIDATION))
        new.rename(made[size])
    return made


def spaced(records: Sequence[PatchRecord], count: int) -> Iterator[PatchRecord]:
    """So many of them, evenly spaced; where there are fewer, each several times."""
    return (records[i] for i in np.linspace(0, len(records) - 1, count).round().astype(int))


def link(contest: Path, name: str, records: Iterator[PatchRecord]) -> None:
    """Links to the files of the patches, as a split that is named and numbered anew."""
    for number, record in enumerate(records):
        for token, path in record.files.items():
            folder = contest / name.format(token)
            folder.mkdir(exist_ok=True)
            (folder / f"ROIs0000_{name.format(token)}_p{number}.tif").symlink_to(path)


def pack(size: int, contest: Path, place: Path, split: str = "test", modalities: Sequence[str] = IMAGES) -> Cost:
    """Make the packed copy of a split, whatever share of the free disk it takes; it is opened, if it is there."""
    return measured("packing", size, [sys.executable, "-c", PACK, str(contest), split, *modalities], place)


def run(method: str, size: int, contest: Path, place: Path) -> Cost:
    track, *parameters = METHODS[method]
    submissions = place / "runs" / f"{method}-{size}"
    shutil.rmtree(submissions, ignore_errors=True)
    options = ["--preset", "quick", *(word for text in parameters for word in ("-p", text))]
    where = ["--data", str(contest), "--submissions", str(submissions), "--workers", "2"]
    command = [sys.executable, "-m", "dfcbench", "run", *track.split(), "--method", method, *options, *where]
    return measured(method, size, command, place)


def record(name: str, costs: Costs, place: Path) -> None:
    """Put what was measured into full_size.json, and print its rows of docs/scale.md."""
    save(place / "full_size.json", load(place / "full_size.json") | {name: costs})
    print(f"\n{time_row(name, costs)}\n{memory_row(name, costs)}")
    print("system and clock: " + ", ".join(f"{cost.system:.1f} s and {cost.wall:.0f} s" for cost in costs))


def require(costs: Costs) -> None:
    """Memory does not grow, and time lies on a line."""
    assert grown(costs) <= MOST_GROWN
    assert abs(bent(costs)) <= MOST_BENT


def test_packing(contests: dict[int, Path], place: Path) -> None:
    for size in SIZES:
        cache = packed_folder("test", Archive.open(contests[size]).fingerprint("test"), place / "cache")
        shutil.rmtree(cache, ignore_errors=True)
    costs = [pack(size, contests[size], place) for size in SIZES]
    record("packing", costs, place)
    require(costs)


@pytest.mark.parametrize("method", METHODS)
def test_method(method: str, contests: dict[int, Path], place: Path) -> None:
    if method == "unet":
        pack(0, contests[FIRST], place, "training", ("s2", "low"))
    run(method, FIRST, contests[FIRST], place)
    for size in SIZES if method != LABELS_ALONE else ():
        pack(size, contests[size], place)
    costs = [run(method, size, contests[size], place) for size in SIZES]
    record(method, costs, place)
    require(costs)
