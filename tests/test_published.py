"""Published results: the shipped table is sound, and a faulty line is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfcbench.errors import DataError
from dfcbench.published import COLUMNS, STATUSES, load, select

HEADER = ",".join(COLUMNS)
LINE = "track1,test,entry,team,S1+S2,AA,,57.49,official,a page"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join((HEADER, *lines)) + "\n")
    return path


def test_shipped_results_are_sound_and_hold_the_contest_winners() -> None:
    results = load()
    assert all(result.source and result.status in STATUSES for result in results)
    best = {track: select(results, track, "test")[0] for track in (1, 2)}
    assert (best[1].team, best[1].average_accuracy) == ("calebrob6", 0.5749)
    assert (best[2].team, best[2].average_accuracy) == ("Antonia", 0.6142)


def test_classes_join_their_entry_and_remarks_leave_the_status() -> None:
    fusion = [r for r in load() if r.entry == "U-Net ResNet-18 late fusion"]
    assert len(fusion) == 1
    assert len(fusion[0].producers_accuracy) == 8
    assert fusion[0].producers_accuracy["Wetlands"] == 0.0533
    inferred = [r for r in load() if r.remark]
    assert inferred
    assert {(r.status, r.remark) for r in inferred} == {("paper", "column inferred")}


def test_select_sorts_by_status_then_score_and_drops_what_has_no_average() -> None:
    chosen = select(load(), 2, "test")
    keys = [(STATUSES.index(r.status), -(r.average_accuracy or 0)) for r in chosen]
    assert keys == sorted(keys)
    assert all(r.average_accuracy is not None and r.track == 2 and r.split == "test" for r in chosen)
    assert not any(r.protocol == "val-to-test" for r in select(load(), 1, "test"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (LINE.replace("track1", "track3"), "protocol is 'track3'"),
        (LINE.replace("test", "train"), "split is 'train'"),
        (LINE.replace("57.49", "157.49"), "157.49"),
        (LINE.replace("57.49", "high"), "high"),
        (LINE.replace("57.49", "nan"), "nan"),
        (LINE.replace("official", "rumour"), "rumour"),
        (LINE.replace("AA,", "AA,Water"), "Water"),
        (LINE.replace("AA,", "producer_accuracy,Meadow"), "Meadow"),
        (LINE.replace("a page", " "), "source is empty"),
        (LINE + ",more", "10 columns"),
        (LINE.removesuffix(",a page"), "10 columns"),
        (LINE + "\n" + LINE, "twice"),
    ],
)
def test_faulty_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = write(tmp_path / "published.csv", line)
    with pytest.raises(DataError, match=rf"published\.csv, line \d.*{says}"):
        load(path)


def test_other_columns_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    for path in (tmp_path / "a.csv", tmp_path / "absent.csv"):
        with pytest.raises(DataError, match=path.name):
            load(path)
