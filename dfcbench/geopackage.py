"""GeoPackages of points, written and read with SQLite alone (OGC 12-128r19, GeoPackage Encoding Standard 1.4).

A GeoPackage is an SQLite database with a few tables of fixed names (clauses 1.1.2, 1.1.3, 2.1.5) and geometries as blobs
(clause 2.1.3). GIS such as QGIS read it, and edit it.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from dfcbench.errors import DataError
from dfcbench.files import replacing

WGS84 = 4326
"""Longitude and latitude, in degrees."""
CARTESIAN = -1
"""Positions on a plane that lies nowhere on Earth."""

_APPLICATION_ID = 0x47504B47
"""``GPKG`` in ASCII (requirement 2)."""
_USER_VERSION = 10400
"""Version 1.4 (requirement 2)."""

_WGS84_WKT = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
    'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],'
    'UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],AXIS["Latitude",NORTH],AXIS["Longitude",EAST],'
    'AUTHORITY["EPSG","4326"]]'
)

_SYSTEMS = (
    ("Undefined Cartesian SRS", CARTESIAN, "NONE", CARTESIAN, "undefined", None),
    ("Undefined geographic SRS", 0, "NONE", 0, "undefined", None),
    ("WGS 84 geodetic", WGS84, "EPSG", WGS84, _WGS84_WKT, "longitude and latitude in degrees"),
)
"""The three that every GeoPackage holds (requirement 11)."""

_LAST_CHANGE = "1970-01-01T00:00:00.000Z"
"""A time must stand there (requirement 15). The same one always, so that the same points give the same bytes."""

_SCHEMA = """
CREATE TABLE gpkg_spatial_ref_sys (
    srs_name TEXT NOT NULL, srs_id INTEGER NOT NULL PRIMARY KEY, organization TEXT NOT NULL,
    organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (
    table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE, description TEXT DEFAULT '',
    last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
    min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
    CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (
    table_name TEXT NOT NULL, column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL,
    z TINYINT NOT NULL, m TINYINT NOT NULL,
    CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name), CONSTRAINT uk_gc_table_name UNIQUE (table_name),
    CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
    CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
"""


def write_points(
    path: Path,
    layer: str,
    description: str,
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    places: Sequence[tuple[float, float]],
    srs: int,
) -> None:
    """Write one layer of points atomically.

    ``columns`` maps names to SQL types (TEXT, INTEGER, DOUBLE); ``places`` are x and y of the rows, in ``srs``
    (WGS84 or CARTESIAN). The same content gives the same bytes, with one version of SQLite.
    Raises UnwritableError if the disk refuses.
    """
    names = list(columns)
    box = (*(min(axis) for axis in zip(*places, strict=True)), *(max(axis) for axis in zip(*places, strict=True)))
    with replacing(path) as temporary, _connected(temporary) as database, database:
        database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {_USER_VERSION}")
        database.executescript(_SCHEMA)
        database.executemany("INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, ?, ?, ?, ?)", _SYSTEMS)
        contents = (layer, "features", layer, description, _LAST_CHANGE, *box, srs)
        database.execute(f"INSERT INTO gpkg_contents VALUES ({', '.join('?' * len(contents))})", contents)
        database.execute("INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', 'POINT', ?, 0, 0)", (layer, srs))
        defined = ", ".join(f"{_quoted(name)} {kind}" for name, kind in columns.items())
        table = f"CREATE TABLE {_quoted(layer)} (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom POINT, {defined})"
        database.execute(table)
        listed, marks = ", ".join(map(_quoted, names)), ", ".join("?" * (len(names) + 1))
        database.executemany(
            f"INSERT INTO {_quoted(layer)} (geom, {listed}) VALUES ({marks})",
            ((_point(*place, srs), *(row[name] for name in names)) for row, place in zip(rows, places, strict=True)),
        )


def read_rows(path: Path, layer: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Feature ids and attributes of a layer, in the order of the ids; geometries are left out.

    Raises DataError, naming the file, if it is no SQLite database or has no such layer.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file.")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            cursor = database.execute(f"SELECT * FROM {_quoted(layer)}")
            names = [entry[0] for entry in cursor.description]
            found = [dict(zip(names, row, strict=True)) for row in cursor]
    except sqlite3.Error as error:
        raise DataError(f"{path}: cannot be read as a GeoPackage with the layer {layer} ({error}).") from error
    for number, row in enumerate(found, start=1):
        row.pop("geom", None)
        yield int(row.pop("fid", number)), row


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A database to be written; what the disk refuses is an OSError, as of other files."""
    try:
        with closing(sqlite3.connect(path)) as database:
            yield database
    except sqlite3.OperationalError as error:
        raise OSError(str(error)) from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _point(x: float, y: float, srs: int) -> bytes:
    """GeoPackageBinary: magic, version 0, flags (little-endian, no envelope), srs, and the point as little-endian WKB."""
    return struct.pack("<2sBBi", b"GP", 0, 1, srs) + struct.pack("<BIdd", 1, 1, x, y)
