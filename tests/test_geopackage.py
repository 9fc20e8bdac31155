"""GeoPackages as the standard asks for them; GDAL reads them where pyogrio is installed."""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from dfcbench.errors import DataError
from dfcbench.geopackage import CARTESIAN, WGS84, read_rows, write_points

COLUMNS = {"name": "TEXT", "row": "INTEGER", "x y": "DOUBLE"}
ROWS = [{"name": "a", "row": 3, "x y": 0.5}, {"name": 'say "b"', "row": -1, "x y": 2.25}]
PLACES = [(7.5, 47.25), (-99.125, 19.5)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_points(tmp_path / "a.gpkg", "points", "Two of them", COLUMNS, ROWS, PLACES, WGS84)
    return tmp_path / "a.gpkg"


def test_what_is_written_is_read_back_and_the_same_bytes_come_again(path):
    assert list(read_rows(path, "points")) == [(1, ROWS[0]), (2, ROWS[1])]
    write_points(path.with_name("b.gpkg"), "points", "Two of them", COLUMNS, ROWS, PLACES, WGS84)
    assert path.with_name("b.gpkg").read_bytes() == path.read_bytes()


def test_the_tables_are_those_that_the_standard_requires(path):
    """OGC 12-128r19: header (clause 1.1.1), tables (1.1.2, 1.1.3, 2.1.5) and geometries (2.1.3)."""
    assert path.read_bytes()[:16] == b"SQLite format 3\0"
    with closing(sqlite3.connect(path)) as database:

        def one(query):
            (row,) = database.execute(query).fetchall()
            return row

        assert struct.pack(">i", one("PRAGMA application_id")[0]) == b"GPKG"
        assert one("PRAGMA user_version") == (10400,)
        assert one("PRAGMA integrity_check") == ("ok",)
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        assert {-1, 0, 4326} == {srs for (srs,) in database.execute("SELECT srs_id FROM gpkg_spatial_ref_sys")}
        contents = "SELECT data_type, min_x, min_y, max_x, max_y, srs_id FROM gpkg_contents WHERE table_name = 'points'"
        assert one(contents) == ("features", -99.125, 19.5, 7.5, 47.25, 4326)
        assert one("SELECT * FROM gpkg_geometry_columns") == ("points", "geom", "POINT", 4326, 0, 0)
        assert one("SELECT pk FROM pragma_table_info('points') WHERE name = 'fid'") == (1,)
        for (blob,), place in zip(database.execute("SELECT geom FROM points ORDER BY fid"), PLACES, strict=True):
            magic, version, flags, srs, order, kind, x, y = struct.unpack("<2sBBiBIdd", blob)
            assert (magic, version, flags, srs) == (b"GP", 0, 1, 4326)
            assert (order, kind, x, y) == (1, 1, *place), "a point as well-known binary"


def test_gdal_reads_it(path):
    pyogrio = pytest.importorskip("pyogrio")
    assert pyogrio.list_layers(path).tolist() == [["points", "Point"]]
    info = pyogrio.read_info(path, layer="points")
    assert (info["crs"], info["features"]) == ("EPSG:4326", 2)
    assert info["total_bounds"] == (-99.125, 19.5, 7.5, 47.25)
    _, _, geometry, fields = pyogrio.raw.read(path, layer="points")
    assert [struct.unpack("<dd", point[5:21]) for point in geometry] == PLACES
    assert [column.tolist() for column in fields] == [[row[name] for row in ROWS] for name in COLUMNS]


def test_gdal_reads_positions_that_lie_nowhere(tmp_path):
    pyogrio = pytest.importorskip("pyogrio")
    write_points(tmp_path / "a.gpkg", "points", "", COLUMNS, ROWS, PLACES, CARTESIAN)
    assert pyogrio.read_info(tmp_path / "a.gpkg")["features"] == 2


def test_other_files_are_refused_by_name(tmp_path, path):
    (tmp_path / "text.gpkg").write_text("no database at all, but long enough to have a header " * 4)
    for name, layer in (("text.gpkg", "points"), ("a.gpkg", "lines"), ("none.gpkg", "points")):
        with pytest.raises(DataError, match=name):
            list(read_rows(tmp_path / name, layer))
    assert not (tmp_path / "none.gpkg").exists()
