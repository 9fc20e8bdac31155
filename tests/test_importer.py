"""Import of the contest's archives: any wrapping, nothing outside the target, resumable, honest about the rest."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from dfcbench import importer
from dfcbench.archive import Archive
from dfcbench.errors import DataError
from dfcbench.importer import import_archives
from dfcbench.verify import verify
from tests import datamaker

NAME = "ROIs0000_test_s1_0_p1.tif"
TARGET = f"DFC2020/ROIs0000_test/s1_0/{NAME}"


def make_zip(path: Path, members: dict[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is: ZipInfo() would tidy separators
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, content)
    return path


def files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return datamaker.write_everything(tmp_path / "source")


def zips_of(source: Path, folder: Path) -> list[Path]:
    """The contest's archives: one per split and modality, every other one wrapped in a folder, with Apple's junk."""
    folder.mkdir()
    result = []
    for number, place in enumerate(sorted({p.parent for p in source.rglob("*.tif")})):
        wrap = f"{place.name}/" if number % 2 else ""
        members = {wrap + p.name: p.read_bytes() for p in sorted(place.iterdir())}
        members |= {f"__MACOSX/{wrap}._{p.name}": b"junk" for p in place.iterdir()} | {f"{wrap}.DS_Store": b"junk"}
        result.append(make_zip(folder / f"{place.parent.name}-{place.name}.zip", members))
    return result


def test_flat_and_wrapped_archives_give_the_contests_tree(source: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    out = tmp_path / "out"
    report = import_archives(zips_of(source, tmp_path / "zips"), out, progress=lambda *c: calls.append(c))
    assert files(out) == files(source)
    assert all((out / name).read_bytes() == (source / name).read_bytes() for name in files(source))
    total = len(files(source))
    assert (report.written, report.present, report.unknown, report.refused) == (total, 0, 0, [])
    assert report.junk > total
    assert report.splits == {"training": 24, "validation": 12, "test": 16, "regional": 32}
    assert calls == [(n, total) for n in range(1, total + 1)]
    assert [f for f in verify(Archive.open(out)) if f.severity == "error"] == []


def test_import_resumes_and_mends(source: Path, tmp_path: Path) -> None:
    zips, out = zips_of(source, tmp_path / "zips"), tmp_path / "out"

    def interrupt(done: int, total: int) -> None:
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_archives(zips, out, progress=interrupt)
    assert len(files(out)) == 30
    altered = out / files(out)[3]
    altered.write_bytes(bytes(altered.stat().st_size))
    untouched = out / files(out)[4]
    before = untouched.stat().st_mtime_ns
    report = import_archives(zips, out)
    assert report.present == 29 and report.written == len(files(source)) - 29
    assert untouched.stat().st_mtime_ns == before
    assert all((out / name).read_bytes() == (source / name).read_bytes() for name in files(source))


@pytest.mark.parametrize(
    "name",
    [
        f"../../{NAME}",
        f"/etc/{NAME}",
        f"..\\..\\{NAME}",
        f"C:\\data\\{NAME}",
        f"a/../../../b/{NAME}",
        f"ROIs0000_validation/{NAME}",
    ],
)
def test_no_path_leaves_the_target(tmp_path: Path, name: str) -> None:
    out = tmp_path / "deep/er/out"
    import_archives([make_zip(tmp_path / "evil.zip", {name: b"x"})], out)
    assert files(tmp_path) == [f"deep/er/out/{TARGET}", "evil.zip"]


@pytest.mark.parametrize(
    "name", ["../../evil.tif", "ROIs0000_test_s1_.._p1.tif", "ROIs0000_test_s1_0_p1.tif/../../x.py"]
)
def test_names_that_are_not_the_contests_are_counted_not_written(tmp_path: Path, name: str) -> None:
    report = import_archives([make_zip(tmp_path / "a.zip", {name: b"x", NAME: b"y"})], tmp_path / "out")
    assert files(tmp_path / "out") == [TARGET]
    assert report.unknown == 1 and report.examples == [f"a.zip!{name}"]


def test_links_are_refused(tmp_path: Path) -> None:
    link = make_zip(tmp_path / "a.zip", {NAME: b"/etc/passwd"}, external_attr=(stat.S_IFLNK | 0o777) << 16)
    report = import_archives([link], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [reason for _, reason in report.refused] == ["is a link, not a file"]


def test_implausible_size_is_refused_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "MOST_BYTES", 1000)
    members = {NAME: bytes(1001), NAME.replace("p1", "p2"): bytes(1000)}
    report = import_archives([make_zip(tmp_path / "a.zip", members)], tmp_path / "out")
    assert report.written == 1
    ((where, reason),) = report.refused
    assert NAME in where and "no patch has more than" in reason


def test_member_that_unpacks_to_more_than_it_claims_is_damaged(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {NAME: bytes(100_000)})
    content = path.read_bytes().replace((100_000).to_bytes(4, "little"), (500).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(DataError, match=NAME):
        import_archives([path], tmp_path / "out")
    assert files(tmp_path / "out") == []


def test_contradicting_copies_keep_the_first_and_tell(tmp_path: Path) -> None:
    first = make_zip(tmp_path / "1.zip", {NAME: b"first"})
    second = make_zip(tmp_path / "2.zip", {f"again/{NAME}": b"other"})
    same = make_zip(tmp_path / "3.zip", {NAME: b"first"})
    report = import_archives([first, second, same], tmp_path / "out")
    assert (tmp_path / "out" / TARGET).read_bytes() == b"first"
    assert report.written == 1 and len(report.refused) == 1 and "1.zip" in report.refused[0][1]
    assert report.splits == {"test": 1}


def test_bad_archives_are_named_before_anything_is_written(tmp_path: Path) -> None:
    good = make_zip(tmp_path / "good.zip", {NAME: b"x"})
    (tmp_path / "html.zip").write_text("<html>log in</html>")
    (tmp_path / "half.zip").write_bytes(good.read_bytes()[:60])
    make_zip(tmp_path / "other.zip", {"readme.txt": b"x"})
    for name, text in (
        ("html.zip", "cannot be opened as a zip"),
        ("half.zip", "cannot be opened as a zip"),
        ("absent.zip", "no such file"),
        ("other.zip", "holds readme.txt"),
    ):
        with pytest.raises(DataError, match=text) as caught:
            import_archives([good, tmp_path / name], tmp_path / "out")
        assert name in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_damaged_member_is_named_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(NAME, b"0123456789" * 100)
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123X56789", 1))
    with pytest.raises(DataError, match=rf"a\.zip!{NAME}: is damaged"):
        import_archives([path], tmp_path / "out")
    assert files(tmp_path / "out") == []


def test_full_disk_is_noticed_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    path = make_zip(tmp_path / "a.zip", {NAME: bytes(5000), NAME.replace("p1", "p2"): bytes(5000)})
    out = tmp_path / "out"
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(9999))
    with pytest.raises(DataError, match="out: unpacking needs"):
        import_archives([path], out)
    assert not out.exists()
    (out / TARGET).parent.mkdir(parents=True)
    (out / TARGET).write_bytes(bytes(5000))
    assert import_archives([path], out).written == 1


def test_target_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=r"out: is a file"):
        import_archives([make_zip(tmp_path / "a.zip", {NAME: b"x"})], tmp_path / "out")
