"""Bringing an index file to the schema of this program, or refusing it.

The difficulty: the file may be new, from an older program, from a newer one, from another program, or damaged in
just these few bytes, and a kill in the middle of a change must leave it as it was. All steps that are missing run in
one IMMEDIATE transaction, with the version number inside it (it rolls back with the tables), and what stands in the
file afterwards is compared with what the migrations make of an empty one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import apsw

from fuse4dbricks.errors import CacheFolderError

#: "F4DB" in the header of the file: what ``file`` and a careful reader recognise it by.
APPLICATION_ID = 0x46344442
#: A version number above this is a flipped bit, not the future.
_ABSURD_VERSION = 10_000

_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")


class NotOurIndex(Exception):
    """The file is no index of this program, or no longer a sound one: to be set aside."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step.

    Attributes:
        number: ``user_version`` once it is done.
        sql: its statements.
    """

    number: int
    sql: str


def _find_folder() -> Traversable:
    """``migrations/``: inside the package in a wheel, beside it in a checkout or an editable install."""
    packaged = files("fuse4dbricks") / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "migrations"


@cache
def load_migrations() -> tuple[Migration, ...]:
    """All steps, by number, without a gap."""
    found = sorted(
        (int(match[1]), file.read_text("utf-8"))
        for file in _find_folder().iterdir()
        if (match := _FILE_NAME.fullmatch(file.name))
    )
    if not found or [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise RuntimeError(f"migrations are missing from {_find_folder()}: this installation is incomplete")
    return tuple(Migration(number, sql) for number, sql in found)


def newest_version() -> int:
    """The version that this program reads and writes."""
    return load_migrations()[-1].number


def migrate(db: apsw.Connection, file: Path, steps: tuple[Migration, ...] | None = None) -> int:
    """Bring ``db`` up to date and return the version it had (0: it was empty).

    Raises:
        CacheFolderError: the index was written by a newer program.
        NotOurIndex: another application's file, or the schema is damaged.
        apsw.Error: see :mod:`fuse4dbricks.index.ailments`.
    """
    steps = load_migrations() if steps is None else steps
    newest = steps[-1].number
    with _Immediate(db):
        version = _check_identity(db, file, newest)
        for step in steps[version:]:
            # A multi-statement execute stops at the first row: drain it.
            db.execute(step.sql).fetchall()
        if version < newest:
            db.execute(f"PRAGMA user_version = {newest}").fetchall()
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}").fetchall()
        if not _expected_schema(steps) <= _schema(db):
            raise NotOurIndex("the schema is not the one that the migrations make")
    return version


def _check_identity(db: apsw.Connection, file: Path, newest: int) -> int:
    version = int(db.pragma("user_version"))
    application = int(db.pragma("application_id"))
    if version == 0 and application == 0 and not _schema(db):
        return 0
    if application != APPLICATION_ID or not 0 < version <= _ABSURD_VERSION:
        raise NotOurIndex(f"application id {application:#x}, version {version}")
    _refuse_newer(version, newest, file)
    return version


def refuse_newer(db: apsw.Connection, file: Path) -> None:
    """Make sure that this program may read an index.

    Raises:
        CacheFolderError: a newer program wrote it.
        apsw.Error: it cannot be asked.
    """
    version = int(db.pragma("user_version"))
    if int(db.pragma("application_id")) == APPLICATION_ID and version <= _ABSURD_VERSION:
        _refuse_newer(version, newest_version(), file)


def _refuse_newer(version: int, newest: int, file: Path) -> None:
    if version > newest:
        raise CacheFolderError(
            f"the index {file} was written by a newer fuse4dbricks (format {version}, this one knows up to {newest}); "
            "upgrade, or choose another folder with --disk-cache-dir"
        )


def _schema(db: apsw.Connection) -> set[tuple[str, str, str]]:
    # What others may have added (ANALYZE makes sqlite_stat1, a person a view) does not harm us.
    query = "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL"
    return {(str(kind), str(name), str(sql)) for kind, name, sql in db.execute(query)}


@cache
def _expected_schema(steps: tuple[Migration, ...]) -> frozenset[tuple[str, str, str]]:
    db = apsw.Connection(":memory:")
    try:
        for step in steps:
            db.execute(step.sql).fetchall()
        return frozenset(_schema(db))
    finally:
        db.close()


class _Immediate:
    """A transaction that takes the write lock first: one that upgrades later fails with BUSY whatever the timeout."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE").fetchall()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._db.execute("COMMIT").fetchall()
        elif self._db.in_transaction:
            self._db.execute("ROLLBACK").fetchall()
