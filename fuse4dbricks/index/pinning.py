"""Pins in the writer thread: which paths are pinned, and the marks of their chunks.

The difficulties:

* Eviction must not join, so each chunk row carries a mark; a pin on a million chunks is then a million writes. So marks
  are brought in line in batches, and a row that says that this is not done yet survives a kill in between.
* Pins have a ceiling, or one of them could fill the cache. What is stored under a pin is marked only below it.
* A pin is somebody's wish and not derived from anything: when the index is replaced, the pins of the old file are carried
  over as far as they can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import apsw

from fuse4dbricks.entry import Version
from fuse4dbricks.index.connection import Row, open_reader
from fuse4dbricks.index.records import Pin
from fuse4dbricks.index.rollups import Counted, Rollup
from fuse4dbricks.index.rowsum import seal, version_key
from fuse4dbricks.index.session import Session
from fuse4dbricks.index.tree_rows import index_path
from fuse4dbricks.paths import RemotePath

#: The version of the index that brought the table of pins as it is.
PINS_SINCE = 4

#: Each is walked again and again by the mount, and asked about with each stored chunk.
MAX_PINS = 1000

#: Versions of files whose marks are looked at in one transaction.
VERSIONS_AT_ONCE = 100

PIN_COLUMNS = "p.path, p.created_by, p.created_at, p.expires_at, p.rowsum"
ALL_PINS = f"""
    SELECT w.host, p.is_settled, {PIN_COLUMNS} FROM pin p JOIN workspace w ON w.id = p.workspace_id"""  # noqa: S608 - constants
_ACTIVE = "SELECT workspace_id, path, coalesce(expires_at, 9e18) FROM pin"
_PUT = """
    INSERT INTO pin (workspace_id, path, created_by, created_at, expires_at, is_settled, rowsum)
    VALUES (?, ?, ?, ?, ?, 0, ?)
    ON CONFLICT (workspace_id, path) DO UPDATE SET
        created_by = excluded.created_by, created_at = excluded.created_at, expires_at = excluded.expires_at,
        is_settled = 0, rowsum = excluded.rowsum"""
_VERSIONS = """
    SELECT id, path, version_key FROM file_version
    WHERE workspace_id = ?1 AND (path, version_key) > (?2, ?3) AND path < ?4
    ORDER BY path, version_key LIMIT ?5"""
_CHUNKS = """
    SELECT c.version_id, c.volume_id, c.owner_id, v.extension, c.last_access_ms, c.disk_bytes, c.length, c.pinned, c.id
    FROM chunk c JOIN file_version v ON v.id = c.version_id WHERE c.version_id = ? AND c.pinned <> ?"""
_MARK = "UPDATE chunk SET pinned = ? WHERE id = ?"

#: Before all versions of a path.
_FIRST = -(1 << 63)

#: Where to go on: path and version key of the version that was looked at last.
Cursor = tuple[str, int]

#: Whether the chunks of a version (by path and version key) are to be marked.
Wanted = Callable[[str, int], bool]


@dataclass(frozen=True, slots=True)
class Seen:
    """The versions that a walk below a pin has met: what is not among them is nobody's wish any more."""

    keys: frozenset[int]

    def __call__(self, path: str, key: int) -> bool:
        """Whether this version was met."""
        return hash((path, key)) in self.keys


def seen_key(path: RemotePath, version: Version) -> int:
    """What :class:`Seen` remembers of a version: a number, for there may be hundreds of thousands."""
    return hash((index_path(path), version_key(version)))


def pin_rowsum(host: str, pin: Pin) -> int:
    """The checksum of a pin's row."""
    return seal("pin", host, index_path(pin.path), pin.created_by, pin.created_at, pin.expires_at)


def pin_from_row(host: str, row: Row) -> Pin | None:
    """The pin in the columns of :data:`PIN_COLUMNS`; None when it does not fit its checksum."""
    path, created_by, created_at, expires_at, rowsum = row
    pin = Pin(RemotePath(tuple(path.split("/")) if path else ()), created_by, created_at, expires_at)
    return pin if pin_rowsum(host, pin) == rowsum else None


# --- while chunks are stored ---------------------------------------------------------------------


def is_to_be_marked(session: Session, path: RemotePath, size: int) -> bool:
    """Whether chunks of the file at ``path`` are to be marked, with ``size`` bytes more that are so."""
    return _has_room(session, size) and covers(session, index_path(path))


def covers(session: Session, path: str) -> bool:
    """Whether a pin that has not ended is on ``path`` or on a folder above it."""
    if session.pin_ends is None:
        session.pin_ends = {(row[0], row[1]): row[2] for row in session.rows(_ACTIVE)}
    if not session.pin_ends:
        return False
    now, ends, workspace = session.clock.wall(), session.pin_ends, session.workspace_id
    return any(ends.get((workspace, each), 0.0) > now for each in _with_parents(path))


def _has_room(session: Session, size: int) -> bool:
    return session.totals.pinned_bytes + size <= session.ceiling.bytes


def _with_parents(path: str) -> Iterator[str]:
    yield path
    while path:
        path = path.rpartition("/")[0]
        yield path


# --- orders --------------------------------------------------------------------------------------


def put_pin(session: Session, host: str, pin: Pin) -> bool:
    """Record a pin, in place of one on the same path; False when there are too many."""
    with session.serving(host):
        count = session.rows("SELECT count(*) FROM pin WHERE path <> ?", (index_path(pin.path),))[0][0]
        if count >= MAX_PINS:
            return False
        row = (session.workspace_id, index_path(pin.path), pin.created_by, pin.created_at, pin.expires_at)
        session.run(_PUT, (*row, pin_rowsum(host, pin)))
        session.pin_ends = None
        return True


def end_pin(session: Session, host: str, path: RemotePath) -> bool:
    """Let a pin end now; whether there is one."""
    for pin in load_pins(session, host):
        if pin.path == path and not pin.has_ended(session.clock.wall()):
            return put_pin(session, host, replace(pin, expires_at=0.0))
    return False


def load_pins(session: Session, host: str) -> list[Pin]:
    """All pins of a workspace whose rows are sound, ended ones too."""
    return [pin for each, pin in _sound(session.rows(ALL_PINS)) if each == host]


def sound_pins(rows: Iterable[Row]) -> list[tuple[str, Pin]]:
    """The pins in the rows of :data:`ALL_PINS`, with their hosts, but for those that do not fit their checksums."""
    return list(_sound(rows))


def _sound(rows: Iterable[Row]) -> Iterator[tuple[str, Pin]]:
    for host, is_settled, *row in rows:
        pin = pin_from_row(host, tuple(row))
        if pin is not None:
            yield host, replace(pin, is_settled=bool(is_settled))


def settle(
    session: Session, host: str, path: RemotePath, cursor: Cursor | None, wanted: Wanted
) -> Cursor | None:
    """Bring the marks of the next versions at and below ``path`` in line; where to go on, or None at the end."""
    with session.serving(host):
        top = index_path(path)
        rows = session.rows(
            _VERSIONS,
            (session.workspace_id, *(cursor or (top, _FIRST)), _end_of(top), VERSIONS_AT_ONCE),
        )
        rollup = Rollup()
        for version_id, found, key in rows:
            # Between "a" and "a/" others may sort, such as "a b".
            if found == top or not top or found.startswith(f"{top}/"):
                _mark(session, rollup, version_id, is_wanted=wanted(found, key))
        rollup.write(session)
        return (rows[-1][1], rows[-1][2]) if len(rows) == VERSIONS_AT_ONCE else None


def _end_of(top: str) -> str:
    """Behind all that is below ``top``, in the order of bytes: "0" follows "/"."""
    return f"{top}0" if top else "\U0010ffff"


def _mark(session: Session, rollup: Rollup, version_id: int, *, is_wanted: bool) -> None:
    room = session.ceiling.bytes - session.totals.pinned_bytes - rollup.pinned_bytes
    for row in session.rows(_CHUNKS, (version_id, int(is_wanted))):
        counted = Counted(*row[:8])
        if is_wanted:
            room -= counted.disk_bytes
            if room < 0:
                return
        rollup.count(counted, -1)
        rollup.count(replace(counted, pinned=int(is_wanted)), 1)
        session.run(_MARK, (int(is_wanted), row[8]))
        session.victims.note_use(counted.last_access_ms)


def finish_pin(session: Session, host: str, pin: Pin) -> None:
    """The marks are in line with the row, unless it was written again meanwhile; one that has ended goes."""
    with session.serving(host):
        key = (session.workspace_id, index_path(pin.path), pin_rowsum(host, pin))
        if pin.has_ended(session.clock.wall()):
            session.run("DELETE FROM pin WHERE workspace_id = ? AND path = ? AND rowsum = ?", key)
        else:
            session.run(
                "UPDATE pin SET is_settled = 1 WHERE workspace_id = ? AND path = ? AND rowsum = ?", key
            )
        session.pin_ends = None


# --- over the replacement of the file ------------------------------------------------------------


def rescue_pins(file: Path) -> list[tuple[str, Pin]]:
    """The pins of an index that is about to be set aside, with their hosts, as far as they can be read."""
    found: list[tuple[str, Pin]] = []
    with suppress(apsw.Error, UnicodeDecodeError, TypeError, ValueError, AttributeError):
        db = open_reader(file)
        try:
            found += _sound(db.execute(ALL_PINS))
        finally:
            db.close(force=True)
    return found[:MAX_PINS]


def restore_pins(session: Session, pins: Iterable[tuple[str, Pin]]) -> None:
    """Record the pins that :func:`rescue_pins` found."""
    for host, pin in pins:
        put_pin(session, host, pin)
