"""verify and summarise: all faults at once, each with its file; counts and shares that can be checked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dfcbench import identity, rasters
from dfcbench.archive import Archive
from dfcbench.errors import DataError
from dfcbench.scheme import NAMES
from dfcbench.summary import summarise
from dfcbench.verify import Fault, verify
from tests import datamaker

SOUND = replace(datamaker.DFC2020, size=256)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return datamaker.write_contest(tmp_path_factory.mktemp("sound"), SOUND, validation=1, test=2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small contest whose only oddity is its patch size of 16 x 16."""
    return datamaker.write_contest(tmp_path / "data")


def path_of(root: Path, token: str, number: int = 1) -> Path:
    return datamaker.file(root, "DFC2020/ROIs0000_test", "0", token, f"0_p{number}")


def faults(root: Path) -> list[Fault]:
    """Faults of single files; the note on the whole split's patch size is left out."""
    return [f for f in verify(Archive.open(root)) if f.patch_id is not None]


def test_sound_data_have_no_fault(sound: Path) -> None:
    assert verify(Archive.open(sound)) == []


@pytest.mark.parametrize("name", sorted(datamaker.VARIANTS.keys() - {"narrow", "float"}))
def test_known_variants_have_no_fault(tmp_path: Path, name: str) -> None:
    assert faults(datamaker.write_contest(tmp_path, datamaker.VARIANTS[name])) == []


@pytest.mark.parametrize(("name", "found"), [("narrow", "int32"), ("float", "float32")])
def test_odd_but_readable_reflectance_is_a_warning(tmp_path: Path, name: str, found: str) -> None:
    seen = faults(datamaker.write_contest(tmp_path, datamaker.VARIANTS[name]))
    assert {(f.kind, f.severity, f.message) for f in seen} == {
        ("dtype", "warning", f"is {found}, expected uint16 or int16.")
    }
    assert len(seen) == 7


def change(token: str, edit: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        pixels = rasters.read(path)
        result = edit(pixels)
        rasters.write(path, pixels if result is None else result, datamaker.NOWHERE)

    apply.token = token  # type: ignore[attr-defined]
    return apply


def put(value: float) -> Callable[[np.ndarray], None]:
    def edit(pixels: np.ndarray) -> None:
        pixels[0, 2, 3] = value

    return edit


def whole(token: str, action: Callable[[Path], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        action(path)

    apply.token = token  # type: ignore[attr-defined]
    return apply


def cut(share: float) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.parametrize(
    ("damage", "kind", "severity", "text"),
    [
        (whole("s2", Path.unlink), "missing", "error", "has no s2 file"),
        (whole("dfc", Path.unlink), "missing", "error", "has no dfc file"),
        (whole("s1", cut(0.5)), "unreadable", "error", "cannot be read"),
        (whole("s2", cut(0.97)), "unreadable", "error", "cannot be read"),
        (whole("lc", cut(0)), "unreadable", "error", "cannot be read"),
        (whole("dfc", lambda p: p.write_text("<html>")), "unreadable", "error", "cannot be read"),
        (change("s1", lambda x: x[:1]), "bands", "error", "has 1 band(s), expected 2."),
        (change("s2", lambda x: x[:10]), "bands", "error", "has 10 band(s), expected 13."),
        (change("lc", lambda x: np.concatenate([x, x])), "bands", "error", "has 8 band(s), expected 1, 2, 3 or 4."),
        (change("lc", lambda x: x[:, :, :8]), "shape", "error", "is 16x8 pixels, other files of the patch are 16x16."),
        (change("s2", lambda x: (x / 10000).astype(np.float32)), "dtype", "error", "is float32, expected uint16"),
        (change("s1", lambda x: x.astype(np.int16)), "dtype", "warning", "is int16, expected float32 or float64."),
        (change("s1", put(np.nan)), "nan", "warning", "0.195% of its values"),
        (change("s1", put(np.inf)), "nan", "warning", "0.195% of its values"),
        (change("s1", put(55.0)), "range", "warning", "outside -60..40 dB"),
        (change("s2", put(40000)), "range", "warning", "to 40000"),
        (change("s2", lambda x: np.where(x > 9000, -3, x).astype(np.int16)), "range", "warning", "from -3"),
        (change("dfc", put(11)), "codes", "error", "codes 11 are outside the scheme's 0..10 (1 pixels)"),
        (change("lc", put(77)), "codes", "warning", "codes 77 are outside IGBP"),
    ],
)
def test_each_kind_of_damage_is_found_in_its_file_and_nowhere_else(
    root: Path, damage: Callable[[Path], None], kind: str, severity: str, text: str
) -> None:
    token = damage.token  # type: ignore[attr-defined]
    path = path_of(root, token)
    damage(path)
    (fault,) = faults(root)
    assert (fault.kind, fault.severity, fault.split, fault.patch_id) == (kind, severity, "test", "ROIs0000_test_0_p1")
    assert text in fault.message
    assert fault.path == (None if kind == "missing" else path)
    assert (path.name in str(fault)) or kind == "missing"


def test_all_faults_are_reported_at_once_whatever_the_workers(root: Path) -> None:
    path_of(root, "s1", 0).unlink()
    cut(0.5)(path_of(root, "s2", 1))
    change("dfc", put(12))(path_of(root, "dfc", 2))
    change("s1", put(np.nan))(path_of(root, "s1", 2))
    (root / "copy").mkdir()
    (root / "copy" / path_of(root, "lc", 3).name).write_bytes(path_of(root, "lc", 3).read_bytes())
    calls: list[tuple[int, int]] = []
    found = verify(Archive.open(root), progress=lambda *c: calls.append(c))
    assert sorted(f.kind for f in found if f.patch_id) == ["codes", "duplicate", "missing", "nan", "unreadable"]
    assert calls == [(n, 7) for n in range(1, 8)]
    assert verify(Archive.open(root), workers=2) == found


def test_only_the_asked_split_is_read(root: Path) -> None:
    path_of(root, "s1").unlink()
    assert [f.kind for f in verify(Archive.open(root), ["validation"])] == ["shape"]
    with pytest.raises(DataError, match="no split 'regional'"):
        verify(Archive.open(root), ["regional"])


def test_modality_that_no_patch_has_is_one_fault(root: Path) -> None:
    for path in root.rglob("*_test_s1_*.tif"):
        path.unlink()
    found = [f for f in verify(Archive.open(root), ["test"]) if f.severity == "error"]
    assert [(f.kind, f.patch_id) for f in found] == [("missing", None)]
    assert "none of 4 patches has a s1 file" in found[0].message


def test_test_labels_may_be_withheld(tmp_path: Path) -> None:
    assert faults(datamaker.write_contest(tmp_path, test_labels=False)) == []


def test_other_patch_size_is_odd_and_a_single_one_a_fault(root: Path, tmp_path: Path) -> None:
    found = verify(Archive.open(root))
    assert [(f.kind, f.severity, f.split) for f in found] == [
        ("shape", "warning", "validation"),
        ("shape", "warning", "test"),
    ]
    assert "its patches are 16x16 pixels" in found[0].message
    mixed = tmp_path / "mixed"
    datamaker.write_split(mixed, "DFC2020/ROIs0000_test", "0", "0", range(1), SOUND)
    datamaker.write_split(mixed, "DFC2020/ROIs0000_test", "0", "0", range(1, 3), datamaker.DFC2020)
    assert [(f.patch_id, f.severity) for f in verify(Archive.open(mixed))] == [
        ("ROIs0000_test_0_p1", "error"),
        ("ROIs0000_test_0_p2", "error"),
    ]


def test_release_by_region_and_sen12ms_are_checked_alike(tmp_path: Path) -> None:
    datamaker.write_regional(datamaker.write_sen12ms(tmp_path))
    region = datamaker.file(tmp_path, "DFC_Public_Dataset/ROIs0000_winter", "KippaRing", "dfc", "KippaRing_p12")
    scene = datamaker.file(tmp_path, "SEN12MS/ROIs1158_spring", "101", "s2", "101_p30")
    change("dfc", put(99))(region)
    cut(0.6)(scene)
    assert {(f.kind, f.path) for f in faults(tmp_path)} == {("codes", region), ("unreadable", scene)}


@pytest.mark.parametrize(
    ("missed", "severity", "text"),
    [(1, "error", "a damaged copy of DFC2020"), (10**8, "warning", "not DFC2020"), (0, None, "")],
)
def test_self_check_tells_a_damaged_copy_from_other_data(
    root: Path, monkeypatch: pytest.MonkeyPatch, missed: int, severity: str | None, text: str
) -> None:
    check = {name: (count + missed * (name == "Water"), count) for name, count in identity.PUBLISHED_PIXELS.items()}
    monkeypatch.setattr(identity, "OFFICIAL_PATCHES", 3)
    monkeypatch.setattr(identity, "compare_with_published", lambda records: check)
    found = [f for f in verify(Archive.open(root)) if f.kind == "self-check"]
    assert [f.severity for f in found] == ([severity] if severity else [])
    if found:
        assert text in found[0].message and "22,621,891 published" in found[0].message
        assert "Forest" not in found[0].message
    (root / "contest.json").write_text(json.dumps({"dataset": "demo", "version": 1, "seed": 0, "size": "full"}))
    assert not [f for f in verify(Archive.open(root)) if f.kind == "self-check"]


def test_unreadable_reference_does_not_stop_the_self_check(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "OFFICIAL_PATCHES", 3)
    path = datamaker.file(root, "DFC2020/ROIs0000_validation", "validation", "dfc", "0_p1")
    path.write_bytes(b"")
    assert [f.kind for f in faults(root)] == ["unreadable"]


def test_summary_counts_and_statistics_agree_with_numpy(tmp_path: Path) -> None:
    datamaker.write_everything(tmp_path)
    archive = Archive.open(tmp_path)
    calls: list[tuple[int, int]] = []
    summaries = {s.split: s for s in summarise(archive, sample=None, progress=lambda *c: calls.append(c))}
    assert list(summaries) == ["training", "validation", "test", "regional"]
    assert calls[-1] == (23, 23)
    test, patches = summaries["test"], archive.labelled("test")
    assert (test.patches, test.sampled, test.unreadable) == (4, 4, 0)
    assert test.modalities == {"s1": 4, "s2": 4, "low": 4, "high": 4}
    assert test.scenes == {"ROIs0000_test_0": 4} and test.regions == {}
    s1 = np.concatenate([p.s1.reshape(2, -1) for p in patches], axis=1).astype(np.float64)
    s2 = np.concatenate([p.s2.reshape(13, -1) for p in patches], axis=1).astype(np.float64)
    for name, values in (("VV", s1[0]), ("VH", s1[1]), ("B1", s2[0]), ("B8A", s2[8]), ("B12", s2[12])):
        np.testing.assert_allclose(test.bands[name], (values.mean(), values.std()), rtol=1e-6)
    low, high = (np.concatenate([getattr(p, n).ravel() for p in patches]) for n in ("low", "high"))
    for shares, codes in ((test.low, low), (test.high, high)):
        assert abs(sum(shares.values()) - 1) < 1e-12
        assert shares == {NAMES[c]: np.mean(codes == c) for c in range(1, 11) if (codes == c).any()}
    assert summaries["regional"].regions == {"BlackForest": 2, "CapeTown": 2, "KippaRing": 2, "Mumbai": 2}
    assert len(summaries["training"].scenes) == 4 and summaries["training"].high == {}


def test_summary_samples_with_a_seed_and_says_how_many(root: Path) -> None:
    archive = Archive.open(root)
    first, again, other = (summarise(archive, sample=2, seed=s)[1] for s in (0, 0, 3))
    assert first.sampled == 2 and first.patches == 4
    assert first == again and first.bands != other.bands


def test_summary_counts_what_it_could_not_read_and_leaves_nan_out(root: Path) -> None:
    cut(0.5)(path_of(root, "s2"))
    change("s1", put(np.nan))(path_of(root, "s1"))
    summary = summarise(Archive.open(root), workers=2)[1]
    assert summary.unreadable == 1
    assert summary.nan == pytest.approx(1 / (4 * 2 * 256))
    assert np.isfinite(summary.bands["VV"].mean) and -20 < summary.bands["VV"].mean < -8


def test_whole_patches_that_got_lost_are_told_by_their_numbers(tmp_path: Path) -> None:
    datamaker.write_contest(tmp_path, test=6)
    for path in tmp_path.rglob("*_test_*_p[24].tif"):
        path.unlink()
    (fault,) = [f for f in verify(Archive.open(tmp_path)) if f.kind == "missing"]
    assert fault.severity == "warning"
    assert "2 patch number(s)" in fault.message
    assert "p2, p4" in fault.message
