"""Maps of strangers: every fault is found, all of them at once, and nothing in a zip or folder is trusted."""

from __future__ import annotations

import os
import stat
import struct
import threading
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from dfcbench import rasters, zips
from dfcbench.errors import SubmissionError
from dfcbench.handed_in import Inspection, inspect
from dfcbench.records import label_name
from tests.hand_in_maker import Members, codes_of, good_maps, make_folder, make_zip

IDS = tuple(f"ROIs0000_test_0_p{number}" for number in range(5))
FIRST, SECOND = label_name(IDS[0]), label_name(IDS[1])
CODES = codes_of(IDS[0])


def expect(patch_id: str) -> Any:
    return np.zeros((16, 16), np.uint8)


def faults_of(path: Path, **options: Any) -> Counter[str]:
    return Counter(fault.kind for fault in inspect(path, IDS, expect, **options).faults)


def renamed(members: Members, old: str, new: str) -> Members:
    return {(new if name == old else name): content for name, content in members.items()}


def replaced(content: bytes) -> Callable[[Members], Members]:
    def replace(members: Members) -> Members:
        return {**members, FIRST: content}

    return replace


def without_first(members: Members) -> Members:
    return {name: content for name, content in members.items() if name != FIRST}


def call(name: str) -> Callable[[Members], Members]:
    def rename(members: Members) -> Members:
        return renamed(members, FIRST, name)

    return rename


def add(name: str) -> Callable[[Members], Members]:
    def more(members: Members) -> Members:
        return {**members, name: members[FIRST]}

    return more


VRT = f"""<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename relativeToVRT="0">{__file__}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>
</VRTDataset>""".encode()

BROKEN = {
    "a map is missing": (without_first, {"missing"}),
    "a map of another split is there": (add("ROIs0000_validation_dfc_0_p0.tif"), {"surplus"}),
    "an image's name is used": (call(FIRST.replace("dfc", "s2")), {"missing", "surplus"}),
    "the suffix is in capitals": (call(FIRST.replace(".tif", ".TIF")), {"missing", "surplus"}),
    "a tif has a name of its own": (add("my_map.tif"), {"surplus"}),
    "a map is there twice": (add(f"more/{FIRST}"), {"duplicate"}),
    "a map is too small": (replaced(rasters.encode(CODES[:8])), {"size"}),
    "a map is 16 bits wide": (replaced(rasters.encode(CODES.astype(np.uint16))), {"dtype"}),
    "a map holds fractions": (replaced(rasters.encode(CODES.astype(np.float32))), {"dtype"}),
    "a map has two bands": (replaced(rasters.encode(np.stack([CODES, CODES]))), {"bands"}),
    "a map holds no-label": (replaced(rasters.encode(np.where(CODES == 1, 0, CODES).astype(np.uint8))), {"codes"}),
    "a map holds 11": (replaced(rasters.encode(np.where(CODES == 1, 11, CODES).astype(np.uint8))), {"codes"}),
    "a map is a text": (replaced(b"Forest, Water"), {"unreadable"}),
    "a map is empty": (replaced(b""), {"unreadable"}),
    "a map is cut short": (replaced(rasters.encode(CODES)[:-40]), {"unreadable"}),
    "a map is a VRT that names another file": (replaced(VRT), {"unreadable"}),
    "two bands of the wrong size and type": (replaced(rasters.encode(np.zeros((2, 8, 8)))), {"bands", "size", "dtype"}),
}


@pytest.mark.parametrize("packed", [True, False], ids=["zip", "folder"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_found_and_nothing_else_is_blamed(name: str, packed: bool, tmp_path: Path) -> None:
    change, kinds = BROKEN[name]
    members = change(good_maps(IDS))
    path = make_zip(tmp_path / "m.zip", members) if packed else make_folder(tmp_path / "maps", members)
    assert set(faults_of(path)) == kinds
    assert max(faults_of(path).values()) == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (f"/tmp/{FIRST}", "path"),
        (f"../{FIRST}", "path"),
        (f"a/../../{FIRST}", "path"),
        (f"..\\..\\{FIRST}", "path"),
        (f"C:/{FIRST}", "path"),
        (f"\\\\server\\share\\{FIRST}", "path"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused_and_written_nowhere(name: str, kind: str, tmp_path: Path) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    path = make_zip(inside / "m.zip", renamed(good_maps(IDS), FIRST, name))
    assert faults_of(path) == {kind: 1}
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"external_attr": (stat.S_IFLNK | 0o777) << 16, "create_system": 3}, "link"),
        ({"external_attr": (stat.S_IFIFO | 0o644) << 16, "create_system": 3}, "link"),
        ({"compress_type": zipfile.ZIP_LZMA}, "compression"),
        ({"compress_type": zipfile.ZIP_BZIP2}, "compression"),
    ],
)
def test_links_devices_and_odd_compressions_are_refused(attributes: dict[str, int], kind: str, tmp_path: Path) -> None:
    assert faults_of(make_zip(tmp_path / "m.zip", good_maps(IDS), **attributes)) == {kind: len(IDS)}


def patched(path: Path, signature: bytes, offset: int, value: bytes) -> Path:
    """The zip with bytes changed behind each record of this signature."""
    content = bytearray(path.read_bytes())
    start = content.find(signature)
    while start >= 0:
        content[start + offset : start + offset + len(value)] = value
        start = content.find(signature, start + 1)
    path.write_bytes(bytes(content))
    return path


def test_encrypted_maps_are_refused(tmp_path: Path) -> None:
    path = patched(make_zip(tmp_path / "m.zip", good_maps(IDS)), b"PK\x01\x02", 8, b"\x01")
    assert faults_of(path) == {"encrypted": len(IDS)}


def test_a_map_that_claims_to_be_huge_is_refused_unread(tmp_path: Path) -> None:
    path = patched(make_zip(tmp_path / "m.zip", good_maps(IDS)), b"PK\x01\x02", 24, struct.pack("<I", 2**31))
    report: Inspection[None] = inspect(path, IDS, expect)
    assert Counter(fault.kind for fault in report.faults) == {"too large": len(IDS)}
    assert report.faults[0].message == "claims 2,147,483,648 bytes; no map has more than 8,388,608."


def test_a_file_a_byte_too_large_is_not_said_to_have_the_size_that_is_allowed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "maps", {**good_maps(IDS), FIRST: bytes(zips.MOST_BYTES_EACH + 1)})
    report: Inspection[None] = inspect(folder, IDS, expect)
    assert report.faults[0].message == "has 8,388,609 bytes; no map has more than 8,388,608."


def messages(members: Members, tmp_path: Path) -> list[str]:
    report: Inspection[None] = inspect(make_zip(tmp_path / "m.zip", members), IDS, expect)
    return [fault.message for fault in report.faults]


def test_strange_codes_are_counted_and_the_first_is_found(tmp_path: Path) -> None:
    codes = CODES.copy()
    codes[3, 5:7] = 17
    codes[9, 0] = 0
    assert messages({**good_maps(IDS), FIRST: rasters.encode(codes)}, tmp_path) == [
        "3 pixel(s) hold codes outside 1..10: 0 (1 x), 17 (2 x); the first is at row 3, column 5 (from 0)."
    ]


@pytest.mark.parametrize("end", [6, 60, -40])
def test_a_damaged_tif_is_told_without_names_that_its_owner_does_not_know(end: int, tmp_path: Path) -> None:
    (told,) = messages({**good_maps(IDS), FIRST: rasters.encode(CODES, compress="deflate")[:end]}, tmp_path)
    assert told.startswith("is damaged or cut short: cannot be read as a tif (")
    assert "vsimem" not in told and "content.tif" not in told


def test_a_text_is_told_to_be_no_tif(tmp_path: Path) -> None:
    (told,) = messages({**good_maps(IDS), FIRST: b"Forest, Water"}, tmp_path)
    assert told == "is no tif, whatever its name; its first bytes are those of something else."


def test_sizes_tell_which_side_is_which(tmp_path: Path) -> None:
    (told,) = messages({**good_maps(IDS), FIRST: rasters.encode(CODES[:8])}, tmp_path)
    assert told == "is 8 x 16 pixels; the patch is 16 x 16 (height x width)."


def test_two_members_of_one_path_are_told_apart_from_two_of_one_name(tmp_path: Path) -> None:
    maps = good_maps(IDS)
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = make_zip(tmp_path / "m.zip", [*maps.items(), (FIRST, maps[FIRST]), (f"more/{SECOND}", maps[SECOND])])
    report: Inspection[None] = inspect(path, IDS, expect)
    assert [fault.message for fault in report.faults] == [
        "is there a second time, under the very same path.",
        f"is there a second time; the first one is {SECOND}.",
    ]


def test_a_map_that_hides_its_size_is_found_out(tmp_path: Path) -> None:
    """A megabyte behind a header that says a kilobyte."""
    path = make_zip(tmp_path / "m.zip", {**good_maps(IDS), FIRST: bytes(2**20)})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        start = content.find(struct.pack("<I", 2**20), 0)
        while start >= 0:
            if content[start - offset : start - offset + 4] == signature:
                content[start : start + 4] = struct.pack("<I", 1024)
            start = content.find(struct.pack("<I", 2**20), start + 1)
    path.write_bytes(bytes(content))
    assert faults_of(path) == {"unreadable": 1}


def test_a_damaged_member_is_one_fault(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "m.zip", good_maps(IDS))
    content = bytearray(path.read_bytes())
    content[content.find(SECOND.encode()) + len(SECOND) + 20] ^= 0xFF
    path.write_bytes(bytes(content))
    assert faults_of(path) == {"unreadable": 1}


@pytest.mark.parametrize("content", [b"", b"no zip at all", b"PK\x05\x06" + bytes(10)])
def test_what_is_no_zip_is_said_to_be_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(content)
    with pytest.raises(SubmissionError, match="cannot be opened as a zip"):
        inspect(tmp_path / "m.zip", IDS, expect)


def test_a_zip_cut_short_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "m.zip", good_maps(IDS))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SubmissionError, match="cannot be opened as a zip"):
        inspect(path, IDS, expect)


def test_nothing_there_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="nowhere"):
        inspect(tmp_path / "nowhere.zip", IDS, expect)


def test_what_unpacks_to_too_much_is_refused_by_its_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "m.zip", good_maps(IDS))
    monkeypatch.setattr(zips, "MOST_BYTES", 1000)
    with pytest.raises(SubmissionError, match="unpacks to"):
        inspect(path, IDS, expect)


def test_unpacked_bytes_are_counted_while_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that grew since they were listed, as headers that lie would have it."""
    folder = make_folder(tmp_path / "maps", good_maps(IDS))
    with zips.opened(folder) as source:
        entry = source.entries[0]
        entry.handle.write_bytes(bytes(zips.MOST_BYTES_EACH + 1))
        with pytest.raises(ValueError, match="larger than"):
            source.read(entry)
        monkeypatch.setattr(zips, "MOST_BYTES", 2000)
        with pytest.raises(SubmissionError, match="unpacks to"):
            source.read(source.entries[1])


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = good_maps(IDS)
    monkeypatch.setattr(zips, "MOST_ENTRIES", 4)
    for path in (make_zip(tmp_path / "m.zip", maps), make_folder(tmp_path / "maps", maps)):
        with pytest.raises(SubmissionError, match="more than 4 files"):
            inspect(path, IDS, expect)


def test_an_endless_list_of_contents_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "m.zip", good_maps(IDS))
    monkeypatch.setattr(zips, "_MOST_AT_A_TIME", 100)
    with pytest.raises(SubmissionError, match="list of contents"):
        inspect(path, IDS, expect)


def test_a_small_tif_that_claims_a_huge_raster_is_not_decoded(tmp_path: Path) -> None:
    huge = tmp_path / "huge.tif"
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "tiled": True, "sparse_ok": True}
    with rasterio.open(huge, "w", width=60_000, height=60_000, **profile):
        pass
    assert huge.stat().st_size < zips.MOST_BYTES_EACH
    path = make_zip(tmp_path / "m.zip", {**good_maps(IDS), FIRST: huge.read_bytes()})
    assert faults_of(path) == {"size": 1}


@pytest.mark.skipif(os.name != "posix", reason="links and pipes as Unix has them")
def test_a_folders_links_and_pipes_are_refused_and_not_opened(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "maps", good_maps(IDS))
    make_folder(tmp_path / "elsewhere", good_maps(IDS))
    for name in (FIRST, SECOND):
        (folder / name).unlink()
    (folder / FIRST).symlink_to(tmp_path / "elsewhere" / FIRST)
    os.mkfifo(folder / SECOND)
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    assert faults_of(folder) == {"link": 3}


def test_all_faults_are_told_at_once_in_the_order_of_kinds_and_patches(tmp_path: Path) -> None:
    maps = good_maps(IDS)
    maps[label_name(IDS[1])] = b"no tif"
    maps[label_name(IDS[2])] = rasters.encode(CODES.astype(np.int32))
    maps[label_name(IDS[3])] = rasters.encode(np.full((16, 16), 200, np.uint8))
    maps["ROIs0000_test_dfc_0_p99.tif"] = maps.pop(FIRST)
    path = make_zip(tmp_path / "m.zip", [*maps.items(), ("../x.tif", b"")])
    report: Inspection[None] = inspect(path, IDS, expect, workers=2)
    assert [fault.kind for fault in report.faults] == ["missing", "surplus", "path", "unreadable", "dtype", "codes"]
    assert "200" in report.faults[-1].message


def test_junk_and_folders_are_remarked_upon_and_do_no_harm(tmp_path: Path) -> None:
    members = {f"my maps/{name}": content for name, content in good_maps(IDS).items()}
    members |= {f"__MACOSX/my maps/._{FIRST}": b"junk", ".DS_Store": b"junk", "my maps/Thumbs.db": b"junk"}
    members |= {"readme.txt": b"thanks", ".dfcbench-demo.lock": b""}
    path = make_zip(tmp_path / "m.zip", [("my maps/", b""), *members.items()])
    report = inspect(path, IDS, expect, lambda patch_id, labels, expected: labels.copy())
    assert not report.faults
    assert sorted(remark.kind for remark in report.remarks) == ["folder", "hidden", "ignored", "junk"]
    assert [r.message for r in report.remarks if r.kind == "hidden"] == ["1 hidden file(s); passed over."]
    assert all(np.array_equal(labels, codes_of(patch_id)) for patch_id, labels in report.results)


def test_a_wicked_name_cannot_command_the_terminal(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "m.zip", {**good_maps(IDS), "\x1b[2J\u202e\nevil.tif": b"", "long" * 999 + ".tif": b""})
    report: Inspection[None] = inspect(path, IDS, expect)
    assert len(report.faults) == 2
    assert all(fault.where.isprintable() and len(fault.where) <= 120 for fault in report.faults)


def test_results_come_in_the_order_of_patches_from_several_threads(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "m.zip", dict(reversed(good_maps(IDS).items())))
    seen: set[int] = set()

    def use(patch_id: str, labels: Any, expected: Any) -> int:
        seen.add(threading.get_ident())
        return int(labels.sum())

    calls: list[tuple[int, int]] = []
    report = inspect(path, IDS, expect, use, workers=2, progress=lambda *c: calls.append(c))
    assert report.results == [(i, int(codes_of(i).sum())) for i in IDS]
    assert calls == [(number, len(IDS)) for number in range(1, len(IDS) + 1)]
    assert threading.get_ident() not in seen


def test_maps_with_a_fault_among_them_are_not_used(tmp_path: Path) -> None:
    used: list[str] = []
    path = make_zip(tmp_path / "m.zip", without_first(good_maps(IDS)))
    report = inspect(path, IDS, expect, lambda patch_id, *_: used.append(patch_id))
    assert report.faults
    assert not used
    assert not report.results
