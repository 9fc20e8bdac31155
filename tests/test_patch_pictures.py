"""Pictures of the best and worst patches: the right ones, in the right colours, bounded, and read without trust."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dfcbench import rasters
from dfcbench.archive import Archive
from dfcbench.contest import FusionContest
from dfcbench.maps import map_path
from dfcbench.report import patch_pictures
from dfcbench.report.figures import radar
from dfcbench.report.patch_pictures import EACH, KINDS, PICTURES, choose, read_pictures, write_pictures
from dfcbench.report.run_figures import illustrate
from dfcbench.scheme import palette
from dfcbench.scoring import Confusion, confusion_matrix
from dfcbench.submission import CONFUSION, SCORES, Submission
from tests.made_submissions import made_confusion
from tests.pages import mapped_submission


@pytest.fixture
def contest(small: Archive) -> FusionContest:
    return FusionContest(small, 1, "test")


def pixels(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def two_classes(right: float, size: int = 10) -> NDArray[np.uint32]:
    """Half forest, half water, of which the share ``right`` is mapped rightly and the rest as Barren."""
    reference = np.repeat(np.uint8([1, 10]), size * 10)
    guess = reference.copy()
    guess[: round((1 - right) * guess.size)] = 9
    return confusion_matrix(reference, guess)


def test_best_and_worst_are_those_of_most_and_fewest_right_pixels() -> None:
    confusion = made_confusion(0.5, patches=12)
    rows = confusion.matrices[:, [1, 2, 4, 5, 6, 7, 9, 10], :].astype(float)
    share = {i: np.trace(m[1:, 1:]) / r.sum() for i, m, r in zip(confusion.ids, confusion.matrices, rows, strict=True)}
    ordered = sorted(share, key=lambda i: -share[i])
    chosen = choose(confusion)
    assert [i for group, i, _ in chosen if group == "best"] == ordered[:EACH]
    assert [i for group, i, _ in chosen if group == "worst"] == ordered[::-1][:EACH]
    assert all(accuracy == pytest.approx(share[i]) for _, i, accuracy in chosen)


def test_patches_of_one_class_are_passed_over_where_there_are_others() -> None:
    water = confusion_matrix(np.full(100, 10, np.uint8), np.full(100, 10, np.uint8))
    mixed = {f"mixed{i}": two_classes(0.1 * i) for i in range(1, 6)}
    chosen = choose(Confusion.collect([*((f"water{i}", water) for i in range(5)), *mixed.items()]))
    assert [i for _, i, _ in chosen] == ["mixed5", "mixed4", "mixed1", "mixed2"]
    only = choose(Confusion.collect((f"water{i}", water) for i in range(5)))
    assert [group for group, _, _ in only] == ["best", "best", "worst", "worst"]


@pytest.mark.parametrize("count", range(1, 6))
def test_no_patch_is_best_and_worst(count: int) -> None:
    chosen = choose(Confusion.collect((f"p{i}", two_classes(0.1 * i)) for i in range(count)))
    ids = [i for _, i, _ in chosen]
    assert len(set(ids)) == len(ids) == min(count, 2 * EACH)
    assert chosen[0] == ("best", f"p{count - 1}", pytest.approx(0.1 * (count - 1)))


def test_patches_without_scored_reference_are_never_chosen() -> None:
    nothing = confusion_matrix(np.zeros(10, np.uint8), np.ones(10, np.uint8))
    assert choose(Confusion.collect([("a", nothing), ("b", two_classes(0.5))])) == [("best", "b", 0.5)]
    assert choose(Confusion.collect([("a", nothing)])) == []


def test_maps_are_shown_pixel_by_pixel_in_the_colours_of_the_scheme(tmp_path: Path, contest: FusionContest) -> None:
    made = mapped_submission(tmp_path, contest, "bag")
    found = read_pictures(made)
    assert [p.group for p in found] == ["best"] * EACH + ["worst"] * EACH
    for patch in found:
        assert tuple(patch.images) == KINDS
        (record,) = contest.reference.select([patch.patch_id])
        prediction = rasters.read(map_path(made.folder, patch.patch_id))[0]
        for kind, codes in {"reference": record.high, "low": record.low, "prediction": prediction}.items():
            np.testing.assert_array_equal(pixels(patch.images[kind]), palette()[codes])
            assert sum(share for _, share in patch.shares[kind]) == pytest.approx(1, abs=1e-3)
            assert dict(patch.shares[kind]) == {
                int(code): pytest.approx(float((codes == code).mean()), abs=1e-4) for code in np.unique(codes)
            }
        wrong = (pixels(patch.images["error"]) < 200).any(axis=2)
        np.testing.assert_array_equal(wrong, record.high != prediction)
        assert patch.accuracy == pytest.approx(1 - wrong.mean())


def test_errors_are_dark_right_pixels_light_and_what_is_not_scored_grey() -> None:
    reference = np.array([[1, 1, 0, 3]], np.uint8)
    red, light, grey, also_grey = pixels(patch_pictures._error_map(reference, np.array([[2, 1, 0, 3]], np.uint8)))[0]
    assert red.max() < 200 and red[0] > 2 * red[1]
    assert light.min() > 240
    assert grey.tolist() == also_grey.tolist() == [150, 150, 150]


def test_names_on_a_map_stand_inside_their_class(tmp_path: Path, contest: FusionContest) -> None:
    named = 0
    for patch in read_pictures(mapped_submission(tmp_path, contest, "bag")):
        (record,) = contest.reference.select([patch.patch_id])
        for kind, codes in {"reference": record.high, "low": record.low}.items():
            height, width = codes.shape
            for label in patch.labels[kind]:
                assert codes[int(label.y * height), int(label.x * width)] == label.code
                named += 1
    assert named > 0


def test_runs_without_reference_show_patches_at_even_distances(tmp_path: Path, contest: FusionContest) -> None:
    made = mapped_submission(tmp_path, contest, "bag")
    for name in (CONFUSION, SCORES):
        (made.folder / name).unlink()
    blind = Submission(made.folder)
    contest.has_reference = False  # type: ignore[misc]
    write_pictures(contest, blind)
    found = read_pictures(blind)
    assert [(p.group, p.patch_id[-2:], p.accuracy) for p in found] == [("some", f"p{i}", None) for i in (0, 2, 4, 6)]
    assert all("reference" not in p.images and "error" not in p.images and "prediction" in p.images for p in found)


def test_same_run_gives_the_same_bytes(tmp_path: Path, contest: FusionContest) -> None:
    made = mapped_submission(tmp_path, contest, "bag")
    first = (made.folder / PICTURES).read_bytes()
    (made.folder / PICTURES).unlink()
    write_pictures(contest, made)
    assert (made.folder / PICTURES).read_bytes() == first


def test_a_run_is_illustrated_with_them(tmp_path: Path, contest: FusionContest) -> None:
    made = mapped_submission(tmp_path, contest, "bag")
    first = read_pictures(made)
    (made.folder / PICTURES).unlink()
    illustrate(contest, "bag", Submission(made.folder))
    assert read_pictures(made) == first != ()


def test_large_patches_are_thinned_to_a_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).choice(np.array([1, 2, 10], np.uint8), (1000, 700))
    shown = pixels(patch_pictures._class_map(noise))
    np.testing.assert_array_equal(shown, palette()[noise[::4, ::4]])
    seen = pixels(patch_pictures._photograph(np.random.default_rng(0).random((1000, 700, 3), np.float32)))
    assert max(seen.shape) <= 192
    assert abs(seen.shape[0] / seen.shape[1] - 10 / 7) < 0.02


def test_a_contest_patch_of_noise_stays_below_the_bound_of_a_picture() -> None:
    generator = np.random.default_rng(0)
    codes = generator.choice(np.array([1, 2, 4, 5, 6, 7, 9, 10], np.uint8), (256, 256))
    for content in (
        patch_pictures._class_map(codes),
        patch_pictures._error_map(codes, generator.permutation(codes)),
        patch_pictures._photograph(generator.random((256, 256, 3), np.float32)),
    ):
        assert len(content) <= patch_pictures.MOST_BYTES


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": 2, "patches": []}', '{"format": 1, "patches": 3}', '{"format": 1, "patches": [3]}'],
)
def test_damaged_file_means_no_pictures(tmp_path: Path, contest: FusionContest, content: str) -> None:
    made = mapped_submission(tmp_path, contest, "bag")
    (made.folder / PICTURES).write_text(content)
    assert read_pictures(made) == ()


def test_pictures_of_strangers_are_bounded(tmp_path: Path, contest: FusionContest) -> None:
    made = mapped_submission(tmp_path, contest, "bag")
    path = made.folder / PICTURES
    value = json.loads(path.read_text())
    value["patches"][0]["images"]["image"] = base64.b64encode(b"x" * (patch_pictures.MOST_BYTES + 1)).decode()
    value["patches"] *= 10
    path.write_text(json.dumps(value))
    found = read_pictures(made)
    assert len(found) == 2 * EACH
    assert "image" not in found[0].images
    assert "radar" in found[0].images
    path.write_text(json.dumps({**value, "more": "x" * 5_000_000}))
    assert read_pictures(made) == ()
    value["patches"][0]["images"]["image"] = '"><script>'
    path.write_text(json.dumps(value))
    assert read_pictures(made) == ()


def test_radar_shows_backscatter_stretched_and_holes_dark() -> None:
    generator = np.random.default_rng(0)
    s1 = generator.normal([[[-12.0]], [[-20.0]]], 5.0, (2, 64, 64)).astype(np.float32)
    s1[0, 3, 5] = np.nan
    shown = radar(s1)
    assert shown.shape == (64, 64, 3)
    assert shown.min() == 0 and shown.max() == 1
    assert shown[3, 5, 0] == 0 and shown[3, 5, 2] == 0
    order = np.argsort(s1[1], axis=None)
    assert (np.diff(shown[..., 1].ravel()[order]) >= 0).all()


@pytest.mark.parametrize("s1", [np.full((2, 8, 8), np.nan), np.full((2, 8, 8), -np.inf), np.full((2, 8, 8), -15.0)])
def test_radar_takes_patches_without_any_contrast(s1: NDArray[np.float64]) -> None:
    shown = radar(s1)
    assert np.isfinite(shown).all()
    assert len(np.unique(shown)) == 1
