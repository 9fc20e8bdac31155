"""Figures: real PNG files, the same bytes each time, the right colours, no display and no global state."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from dfcbench.report.figures import PatchView, confusion_figure, panel_figure, rgb
from dfcbench.scheme import SCORED_CODES, palette
from dfcbench.scoring import Confusion, confusion_matrix
from tests.made_submissions import made_confusion


def view(seed: int = 0, **changes: object) -> PatchView:
    generator = np.random.default_rng(seed)
    reference = np.kron(generator.choice(SCORED_CODES, (4, 4)), np.ones((8, 8), np.uint8)).astype(np.uint8)
    arrays = {
        "s2": generator.integers(300, 3000, (13, 32, 32)).astype(np.uint16),
        "low": np.full((32, 32), 3, np.uint8),
        "prediction": reference,
        "reference": reference,
    }
    return PatchView(f"p{seed}", **{**arrays, **changes})  # type: ignore[arg-type]


def colours_in(path: Path) -> set[tuple[int, ...]]:
    pixels = np.rint(imread(path)[..., :3] * 255).astype(int)
    return set(map(tuple, np.unique(pixels.reshape(-1, 3), axis=0).tolist()))


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        confusion_figure(made_confusion(0.6), tmp_path / f"confusion-{name}.png")
        panel_figure([view(0), view(1)], tmp_path / f"panel-{name}.png")
    for kind in ("confusion", "panel"):
        a, b = ((tmp_path / f"{kind}-{name}.png").read_bytes() for name in ("a", "b"))
        assert a == b
        assert a.startswith(b"\x89PNG")
        assert b"Software" not in a


def test_panel_shows_maps_in_the_colours_of_the_scheme(tmp_path: Path) -> None:
    shown = view()
    found = colours_in(panel_figure([shown], tmp_path / "panel.png"))
    wanted = {tuple(map(int, palette()[code])) for code in (3, *np.unique(shown.prediction))}
    assert wanted <= found
    assert tuple(map(int, palette()[8])) not in found


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": None},
        {"low": None, "reference": None},
        {"s2": None, "s1": np.full((2, 32, 32), -12.0)},
        {"s2": None},
        {"prediction": np.zeros((32, 32), np.int64)},
    ],
)
def test_panel_takes_patches_that_lack_something(tmp_path: Path, changes: dict[str, object]) -> None:
    path = panel_figure([view(0), view(1, **changes)], tmp_path / "panel.png")
    assert imread(path).shape[2] in (3, 4)


def test_panel_without_patches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no patch"):
        panel_figure([], tmp_path / "panel.png")
    assert not list(tmp_path.iterdir())


def test_confusion_figure_takes_absent_classes_and_unscored_predictions(tmp_path: Path) -> None:
    reference = np.full((8, 8), 1, np.uint8)
    some = Confusion.collect([("p", confusion_matrix(reference, np.full((8, 8), 8, np.uint8)))])
    wide = imread(confusion_figure(some, tmp_path / "a.png")).shape[1]
    narrow = imread(confusion_figure(made_confusion(1.0), tmp_path / "b.png")).shape[1]
    assert wide > narrow  # a column more: Snow/Ice was predicted
    confusion_figure(Confusion.collect([]), tmp_path / "c.png")


def test_stretch_spans_the_range_but_does_not_blow_up_noise() -> None:
    s2 = np.zeros((13, 50, 50), np.uint16)
    s2[3] = np.linspace(500, 2500, 2500).reshape(50, 50)  # red
    s2[2] = 1000 + np.arange(2500).reshape(50, 50) % 7  # green: nearly constant
    image = rgb(s2)
    assert image.shape == (50, 50, 3)
    assert (image[..., 0].min(), image[..., 0].max()) == (0, 1)
    assert np.ptp(image[..., 1]) < 0.05


def test_drawing_needs_no_pyplot_and_importing_no_matplotlib() -> None:
    code = """
import sys
from dfcbench.report import figures, tables
assert "matplotlib" not in sys.modules and "rich" not in sys.modules
from pathlib import Path
import tempfile
from dfcbench.scoring import Confusion
figures.confusion_figure(Confusion.collect([]), Path(tempfile.mkdtemp()) / "a.png")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
