"""What a Codabench competition's pages say: overview, evaluation, data and terms, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dfcbench.identity import DatasetIdentity
from dfcbench.records import label_name
from dfcbench.scheme import CLASSES, CODES, SCORED

_CONTEST = "the 2020 IEEE GRSS Data Fusion Contest"

PAPER = "Robinson et al., IEEE JSTARS 14 (2021)"
DATA_DOI = "10.21227/rha7-m332"
"""DFC2020 at IEEE DataPort."""

_TRACKS = {
    1: "Track 1: low-resolution labels only. High-resolution labels are never shown.",
    2: "Track 2: the high-resolution labels of the validation split may be learned from as well.",
}


def pages(identity: DatasetIdentity, patches: Mapping[str, int], tracks: Sequence[int], limit: int) -> dict[str, str]:
    """Texts by the names of their files. ``patches``: how many by split. ``limit``: submissions in a phase."""
    return {
        "overview": _overview(identity, tracks),
        "evaluation": _evaluation(patches, tracks, limit),
        "data": _data(identity, patches),
        "terms": _terms(identity),
    }


def title(identity: DatasetIdentity) -> str:
    """The competition's name: the contest's own for its own data, and that of the data for any other."""
    if identity.official:
        return f"Land cover with noisy labels: {_CONTEST}"
    return f"{identity.title}, in the manner of {_CONTEST}"


def task(track: int, split: str) -> str:
    """One line about a task."""
    if (track, split) == (2, "validation"):
        return "To try the format only: the labels of this split are Track 2's training data."
    return _TRACKS[track]


def phase(split: str) -> str:
    """One line about a phase."""
    return {
        "validation": "Maps of the validation images; for trying out.",
        "test": "Maps of the test images; this phase decides.",
    }[split]


def _overview(identity: DatasetIdentity, tracks: Sequence[int]) -> str:
    listed = "\n".join(f"* {_TRACKS[track]}" for track in tracks)
    return f"""# {title(identity)}

Map land cover at 10 m from Sentinel-1 and Sentinel-2 images. Labels for learning come from MODIS at 500 m, and are often
wrong.

{listed}

The contest is described in {PAPER}. This competition was exported with dfcbench, which also holds the winners' methods,
runs yours on the same data, and checks a submission before you upload it:

    dfcbench run --track {tracks[0]} --method my_method.py:MyMethod
    dfcbench submission pack RUN -o maps.zip
    dfcbench submission check maps.zip --track {tracks[0]} --split test
"""


def _evaluation(patches: Mapping[str, int], tracks: Sequence[int], limit: int) -> str:
    scored = ", ".join(cover.name for cover in SCORED)
    others = " and ".join(f"{cover.code} {cover.name}" for cover in CLASSES if not cover.scored)
    names = "\n".join(f"* {split}: {count} maps, such as `{_example(split)}`" for split, count in patches.items())
    both = (
        "\n\nBoth tracks are tasks of each phase. **Choose your track when you submit:** Codabench ticks both, so untick "
        "the one that your maps are not for. Each upload counts once, whatever is ticked."
        if len(tracks) > 1
        else ""
    )
    return f"""# Evaluation

## What to submit
A flat zip with one single-band uint8 tif per patch, of the patch's size (256 x 256 pixels in DFC2020), holding class
codes {min(CODES)}..{max(CODES)}, plain or compressed by deflate or LZW, and named as the patch's label file:

{names}

If a map is missing, surplus or of another format, all faults are listed in the scoring log, and nothing is scored. Files
that are no tifs are passed over. You may submit {limit} times in each phase.{both}

## How it is scored
Pixels of all patches are pooled. The producer's accuracy of a class is the share of its reference pixels that your maps
get right. The **average accuracy** is the mean over the classes that occur in the reference: {scored}.
A prediction of {others} is an error of the true class. Reference pixels without a scored class are left out.

Ranked by average accuracy. Overall accuracy, Cohen's kappa and each class's producer's accuracy are shown beside it; all
are fractions. A class that the reference lacks has no value.
"""


def _data(identity: DatasetIdentity, patches: Mapping[str, int]) -> str:
    counts = " and ".join(f"{count} {split} patches" for split, count in patches.items())
    rows = "\n".join(f"| {c.code} | {c.name} | `{c.colour}` | {'yes' if c.scored else 'no'} |" for c in CLASSES)
    if identity.official:
        source = f"DFC2020, at IEEE DataPort, DOI [{DATA_DOI}](https://doi.org/{DATA_DOI}). A login is needed."
    elif identity.demo:
        source = "This is artificial data that dfcbench generates, not DFC2020: `dfcbench data demo --out DIR`."
    else:
        source = "This is not DFC2020 as it was published. Ask the organisers where to get it."
    return f"""# Data

{identity.title}: {counts}.

{source}

Each patch has Sentinel-1 (VV and VH, dB), Sentinel-2 (13 bands, reflectance x 10000) and low-resolution labels (MODIS land
cover, IGBP classes in the first band). Maps use the simplified classes:

| code | class | colour | scored |
|---|---|---|---|
{rows}
"""


def _terms(identity: DatasetIdentity) -> str:
    licence = (
        f"The data are under the terms of their source (DOI {DATA_DOI}); get them there, and pass none of them on."
        if identity.official
        else "The data are under the terms of whoever provides them; pass none of them on without leave."
    )
    return f"""# Terms

{licence}

High-resolution labels of the test images are not to be used, from whatever source, nor those of the validation images on
Track 1. A person or team takes part under one name.

Organisers: these terms come with the exported bundle. Read them, and put your own in their place where you need others.
"""


def _example(split: str) -> str:
    return label_name(f"ROIs0000_{split}_0_p0")
