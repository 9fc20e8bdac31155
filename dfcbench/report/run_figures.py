"""The pictures that every scored run comes with: its confusion matrix, and a panel of a few patches."""

from __future__ import annotations

import numpy as np

from dfcbench import rasters
from dfcbench.contest import FusionContest
from dfcbench.maps import map_path
from dfcbench.report.figures import PatchView, confusion_figure, panel_figure
from dfcbench.report.patch_pictures import write_pictures
from dfcbench.submission import ARTIFACTS, Submission

PANEL = 4
"""Patches in the panel: as many as fit on a screen without scrolling."""


def illustrate(contest: FusionContest, method: str, submission: Submission) -> None:
    """Write ``confusion.png`` and ``patches.png`` to the submission's artifacts, and its page's pictures beside them.

    The patches of the panel are evenly spaced over the split, so that runs of one split show the same ones.
    """
    identity = contest.archive.identity
    title = f"{method}, Track {contest.track}, {contest.split}: {identity.title}"
    folder = submission.folder / ARTIFACTS
    folder.mkdir(exist_ok=True)
    if submission.scores is not None:
        confusion_figure(submission.confusion, folder / "confusion.png", title)
    patches = contest.scored
    chosen = np.unique(np.linspace(0, len(patches) - 1, PANEL).round().astype(int))
    references = contest.reference if contest.has_reference else None
    views = []
    for i in map(int, chosen):
        patch = patches[i]
        views.append(
            PatchView(
                name=patch.id,
                prediction=rasters.read(map_path(submission.folder, patch.id))[0],
                s2=patch.s2 if "s2" in patch.modalities else None,
                s1=patch.s1 if "s1" in patch.modalities and "s2" not in patch.modalities else None,
                low=patch.low if "low" in patch.modalities else None,
                reference=references[i].high if references is not None else None,
            )
        )
    panel_figure(views, folder / "patches.png", title)
    write_pictures(contest, submission)
