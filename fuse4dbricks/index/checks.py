# ruff: noqa: S608 - statements are put together from constants of this package; values are always bound
"""Is everything as it should be? One routine for tests, users and post-mortems.

The difficulty: SQLite's own check calls a third of single-bit flips sound, and no check of the file knows of totals that
have drifted or of chunk files that nobody recorded. So this one looks at the file, at what belongs to what, at each
row's own sum, at every total, and at the chunk files that the caller found. It reads one snapshot and changes
nothing, so it may run while the mount does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from fuse4dbricks.entry import Version
from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index.chunk_writes import File
from fuse4dbricks.index.connection import Row
from fuse4dbricks.index.grants import grant_rowsum, sign_in_rowsum
from fuse4dbricks.index.migrations import refuse_newer
from fuse4dbricks.index.outside import open_outside
from fuse4dbricks.index.pinning import PIN_COLUMNS, PINS_SINCE, pin_from_row
from fuse4dbricks.index.rowsum import version_key
from fuse4dbricks.index.tree_rows import (
    ENTRY_COLUMNS,
    LISTING_COLUMNS,
    ListingRow,
    Place,
    absence_rowsum,
    entry_rowsum,
)
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Principal

#: Looks at one thing and says what is wrong.
Look = Callable[[apsw.Connection], Iterator[str]]

#: Findings reported; a file that is damaged everywhere needs no longer list.
MAX_FINDINGS = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: ``file``, ``reference``, ``checksum``, ``listing`` or ``totals``.
        what: for people to read.
    """

    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found.

    Attributes:
        findings: what is wrong inside the index; at most :data:`MAX_FINDINGS`.
        rows_without_file: chunk names that are recorded but not there; each will be a miss.
        files_without_row: chunk names that are there but not recorded, as a crash leaves them.
        chunks: rows.
        disk_bytes: what they take by their own account.
    """

    findings: tuple[Finding, ...]
    rows_without_file: tuple[bytes, ...]
    files_without_row: tuple[bytes, ...]
    chunks: int
    disk_bytes: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing at all is wrong."""
        return not (self.findings or self.rows_without_file or self.files_without_row)


def check(file: Path, chunk_files: Iterable[bytes] | None = None) -> CheckReport:
    """Look at the whole index, and hold it against the names of the chunk files that are there (None: do not).

    Reads everything: 10 to 20 s for 1,000,000 chunks.

    Raises:
        IndexUnavailable: it cannot be opened or read at all.
        CacheFolderError: a newer program wrote it.
    """
    try:
        db = open_outside(file)
    except apsw.Error as error:
        raise IndexUnavailable(f"the index {file} cannot be opened: {error}") from error
    try:
        db.execute("BEGIN").fetchall()  # one snapshot for all questions
        refuse_newer(db, file)
        findings: list[Finding] = []
        for kind, look in _LOOKS:
            findings += _look(db, kind, look)
        recorded = {row[0]: row[1] for row in _rows(db, "SELECT name, disk_bytes FROM chunk")}
        there = recorded.keys() if chunk_files is None else set(chunk_files)
        return CheckReport(
            findings=tuple(findings[:MAX_FINDINGS]),
            rows_without_file=tuple(sorted(recorded.keys() - there)),
            files_without_row=tuple(sorted(there - recorded.keys())),
            chunks=len(recorded),
            disk_bytes=sum(recorded.values()),
        )
    except (apsw.Error, UnicodeDecodeError, TypeError) as error:
        raise IndexUnavailable(f"the index {file} cannot be read: {error}") from error
    finally:
        db.close(force=True)


def _look(db: apsw.Connection, kind: str, look: Look) -> list[Finding]:
    found: list[Finding] = []
    try:
        for what in look(db):
            found.append(Finding(kind, what))
            if len(found) == MAX_FINDINGS:
                break
    except (apsw.Error, UnicodeDecodeError, TypeError, ValueError) as error:
        found.append(Finding(kind, f"cannot be read: {error}"))
    return found


def _rows(db: apsw.Connection, sql: str) -> Iterator[Row]:
    yield from db.execute(sql)


# --- the looks -----------------------------------------------------------------------------------


def _file(db: apsw.Connection) -> Iterator[str]:
    for (answer,) in _rows(db, f"PRAGMA quick_check({MAX_FINDINGS})"):
        if answer != "ok":
            yield str(answer)


def _references(db: apsw.Connection) -> Iterator[str]:
    for table, row_id, parent, _ in _rows(db, "PRAGMA foreign_key_check"):
        yield f"{table} row {row_id} belongs to no {parent}"


def _entries(db: apsw.Connection) -> Iterator[str]:
    for host, folder, viewer, rowsum, *row in _rows(db, _tree_rows("dentry", ENTRY_COLUMNS)):
        if entry_rowsum(Place(host, folder, viewer), row) != rowsum:
            yield f"entry {row[0]!r} in {folder!r}"


def _absences(db: apsw.Connection) -> Iterator[str]:
    for host, folder, viewer, rowsum, *row in _rows(
        db, _tree_rows("absence", "name, fetched_at, expires_at")
    ):
        if absence_rowsum(Place(host, folder, viewer), row[0], row[1], row[2]) != rowsum:
            yield f"negative entry {row[0]!r} in {folder!r}"


def _listings(db: apsw.Connection) -> Iterator[str]:
    for host, folder, viewer, rowsum, *row in _rows(db, _tree_rows("listing", LISTING_COLUMNS)):
        if ListingRow(*row).rowsum(Place(host, folder, viewer)) != rowsum:
            yield f"listing of {folder!r}"


def _tree_rows(table: str, columns: str) -> str:
    return f"""
        SELECT w.host, f.path, viewer, rowsum, {columns}
        FROM {table} JOIN folder f ON f.id = folder_id JOIN workspace w ON w.id = f.workspace_id"""


def _chunks(db: apsw.Connection) -> Iterator[str]:
    for host, path, key, *row in _rows(db, _CHUNK_ROWS):
        file = File(RemotePath(tuple(path.split("/"))), Version(*row[:4]))
        chunk_index, rowsum = row[4], row[8]
        if version_key(file.version) != key or file.chunk_rowsum(host, row[4:8]) != rowsum:
            yield f"chunk {chunk_index} of {path!r}"


def _sign_ins(db: apsw.Connection) -> Iterator[str]:
    for host, fingerprint, principal, user_name, rowsum in _rows(db, _SIGN_IN_ROWS):
        if sign_in_rowsum(host, fingerprint, Principal(principal, user_name)) != rowsum:
            yield f"sign-in of {user_name!r}"


def _grants(db: apsw.Connection) -> Iterator[str]:
    for host, principal, volume, proved_at, expires_at, rowsum in _rows(db, _GRANT_ROWS):
        if grant_rowsum(host, principal, volume, proved_at, expires_at) != rowsum:
            yield f"grant of {principal!r} on {volume!r}"


def _pins(db: apsw.Connection) -> Iterator[str]:
    if int(db.pragma("user_version")) < PINS_SINCE:
        return
    for host, *row in _rows(db, _PIN_ROWS):
        if pin_from_row(host, tuple(row)) is None:
            yield f"pin on {row[0]!r}"


def _listing_counts(db: apsw.Connection) -> Iterator[str]:
    for path, viewer, said, counted in _rows(db, _LISTING_COUNTS):
        yield f"listing of {path!r} for {viewer!r} says {said} entries, there are {counted}"


def _totals(db: apsw.Connection) -> Iterator[str]:
    for name, stored, counted in _TOTALS:
        for sign, left, right in (("says", stored, counted), ("does not say", counted, stored)):
            for row in _rows(db, f"{left} EXCEPT {right}"):
                yield f"{name} {sign} {row!r}"


_CHUNK_ROWS = """
    SELECT w.host, v.path, v.version_key, v.size, v.last_modified, v.etag, v.unsettled_at,
           c.chunk_index, c.name, c.length, c.checksum, c.rowsum
    FROM chunk c JOIN file_version v ON v.id = c.version_id JOIN workspace w ON w.id = v.workspace_id"""
_SIGN_IN_ROWS = """
    SELECT w.host, s.fingerprint, s.principal, s.user_name, s.rowsum
    FROM sign_in s JOIN workspace w ON w.id = s.workspace_id"""
_GRANT_ROWS = """
    SELECT w.host, g.principal, g.volume, g.proved_at, g.expires_at, g.rowsum
    FROM grant g JOIN workspace w ON w.id = g.workspace_id"""
_PIN_ROWS = f"SELECT w.host, {PIN_COLUMNS} FROM pin p JOIN workspace w ON w.id = p.workspace_id"
_LISTING_COUNTS = """
    SELECT f.path, l.viewer, l.entries,
           (SELECT count(*) FROM dentry d WHERE d.folder_id = l.folder_id AND d.viewer = l.viewer) AS counted
    FROM listing l JOIN folder f ON f.id = l.folder_id WHERE f.workspace_id IS NOT NULL AND l.entries <> counted"""

#: name, as stored, as counted from the rows.
_TOTALS = (
    (
        "usage",
        "SELECT volume_id, owner_id, extension, chunks, disk_bytes, pinned_chunks, pinned_bytes FROM usage",
        """SELECT c.volume_id, c.owner_id, coalesce(v.extension, ''), count(*), sum(c.disk_bytes), sum(c.pinned),
                  sum(c.disk_bytes * c.pinned)
           FROM chunk c LEFT JOIN file_version v ON v.id = c.version_id GROUP BY 1, 2, 3""",
    ),
    (
        "usage_day",
        "SELECT day, chunks, disk_bytes FROM usage_day",
        "SELECT last_access_ms / 86400000, count(*), sum(disk_bytes) FROM chunk GROUP BY 1",
    ),
    (
        "file_version",
        "SELECT id, chunks, cached_bytes FROM file_version",
        "SELECT version_id, count(*), sum(length) FROM chunk WHERE version_id IS NOT NULL GROUP BY 1",
    ),
    (
        "volume",
        "SELECT id, files FROM volume",
        "SELECT v.id, (SELECT count(*) FROM file_version f WHERE f.volume_id = v.id) FROM volume v",
    ),
)

_LOOKS: tuple[tuple[str, Look], ...] = (
    ("file", _file),
    ("reference", _references),
    ("checksum", _entries),
    ("checksum", _absences),
    ("checksum", _listings),
    ("checksum", _chunks),
    ("checksum", _sign_ins),
    ("checksum", _grants),
    ("checksum", _pins),
    ("listing", _listing_counts),
    ("totals", _totals),
)
