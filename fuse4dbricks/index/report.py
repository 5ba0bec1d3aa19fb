"""What the index says of the cache, for another process than the mount's.

The difficulties:

* The folder may be another user's with a mount at work in it, or lie on a read-only disk. An ordinary connection makes
  ``-wal`` and ``-shm`` where there are none; so a file without a log is read as immutable, with no lock and no trace,
  and read again the ordinary way if it turns out that a mount began meanwhile.
* Each figure comes from totals that were rolled up, or from an index: adding up 1,000,000 rows takes seconds.
* Half of what the command may take is Python's own start, and a class made by ``dataclass`` costs 1.7 ms of it, a
  NamedTuple 0.1 ms: so records here, and what they become on their way to the terminal, are these.
* All of it is one snapshot, or the parts would not add up; it is held for milliseconds, because no log is reused
  while somebody reads.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from fuse4dbricks.errors import CacheFolderError
from fuse4dbricks.index.ailments import Ailment, diagnose
from fuse4dbricks.index.connection import Row, open_reader
from fuse4dbricks.index.migrations import APPLICATION_ID, newest_version

#: The version of the index that brought the table inventory.
_INVENTORY_SINCE = 2

#: Milliseconds to wait for another process's lock.
BUSY_MS = 2000


class MountNote(NamedTuple):
    """The mount that uses the folder, or the last one that did.

    Attributes:
        settings: the limits in force, by name; see :func:`fuse4dbricks.app.books.settings_of`.
        started_at: Unix time.
        ended_at: Unix time; None: it is still there, or was killed.
    """

    workspace: str
    pid: int
    mountpoint: str
    settings: dict[str, float]
    started_at: float
    ended_at: float | None


class VolumeUse(NamedTuple):
    """What one volume takes.

    Attributes:
        files: versions of files with at least one chunk.
        disk_bytes: on the disk.
    """

    workspace: str
    catalog: str
    schema: str
    name: str
    files: int
    chunks: int
    disk_bytes: int


class Use(NamedTuple):
    """What the chunks of one owner or one extension take on the disk."""

    name: str
    chunks: int
    disk_bytes: int


class ShareUse(NamedTuple):
    """What one user or one catalog takes of the disk, but for pinned chunks: what a quota is held against.

    Attributes:
        kind: ``user`` or ``catalog``.
    """

    kind: str
    workspace: str
    name: str
    disk_bytes: int


class DayUse(NamedTuple):
    """Chunks by the day of their last use.

    Attributes:
        day: since 1970-01-01 UTC; None: another chunk has taken their place, and they wait for eviction.
    """

    day: int | None
    chunks: int
    disk_bytes: int


class FileUse(NamedTuple):
    """One version of one file.

    Attributes:
        size: of the whole file.
        cached_bytes: how much of it is here.
    """

    workspace: str
    path: str
    size: int
    chunks: int
    cached_bytes: int


class Report(NamedTuple):
    """All that the index knows about itself.

    Attributes:
        workspaces: hosts, and Unix times from when on their counters count.
        counts: all counters, over all workspaces; names as :func:`~fuse4dbricks.telemetry.metrics.flat_name` makes them.
        files: those with most cached bytes first; only as many as were asked for.
        is_complete: false while chunk files that a new index does not know of yet may be there.
    """

    workspaces: dict[str, float]
    mount: MountNote | None
    counts: dict[str, int]
    volumes: tuple[VolumeUse, ...]
    owners: tuple[Use, ...]
    extensions: tuple[Use, ...]
    days: tuple[DayUse, ...]
    files: tuple[FileUse, ...]
    pinned: Use
    is_complete: bool
    shares: tuple[ShareUse, ...] = ()


def load_report(file: Path, top: int) -> Report:
    """Read the index ``file``, with its ``top`` files.

    Raises:
        CacheFolderError: there is none, it cannot be read now, it is damaged, another program's or a newer one's.
    """
    file = file.parent.resolve() / file.name
    before = _stamp(file)
    if before is not None:
        try:
            report = _load(file, top, is_still=True)
        except CacheFolderError:
            if _stamp(file) == before:
                raise
        else:
            if _stamp(file) == before:
                return report
    return _load(file, top, is_still=False)


def _stamp(file: Path) -> tuple[int, ...] | None:
    """What tells whether the file was written; None when a log belongs to it.

    Raises:
        CacheFolderError: there is no such file.
    """
    try:
        status = file.stat(follow_symlinks=False)
    except FileNotFoundError:
        raise CacheFolderError(f"there is no index in {file.parent}; a mount makes one") from None
    except OSError as error:
        raise CacheFolderError(f"the index {file} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise CacheFolderError(f"the index {file} is not a regular file")
    with suppress(FileNotFoundError):
        if file.with_name(f"{file.name}-wal").stat(follow_symlinks=False).st_size:
            return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _load(file: Path, top: int, *, is_still: bool) -> Report:
    with _told(file), _opened(file, is_still=is_still) as db:
        db.execute("BEGIN").fetchall()  # one snapshot for all questions
        version = _check_identity(db, file)
        return Report(
            workspaces=dict(_rows(db, "SELECT host, created_at FROM workspace ORDER BY id")),
            mount=_load_mount(db),
            counts=dict(_rows(db, _COUNTS)),
            volumes=tuple(VolumeUse(*row) for row in _rows(db, _VOLUMES)),
            owners=tuple(Use(*row) for row in _rows(db, _OWNERS)),
            extensions=tuple(Use(*row) for row in _rows(db, _EXTENSIONS)),
            # Displaced chunks have 0 for the time of their last use.
            days=tuple(DayUse(day or None, *row) for day, *row in _rows(db, _DAYS)),
            files=tuple(FileUse(*row) for row in _rows(db, FILES, top)),
            pinned=Use(*_rows(db, _PINNED)[0]),
            is_complete=version < _INVENTORY_SINCE or bool(_rows(db, _INVENTORY)),
            shares=tuple(ShareUse(*row) for row in _rows(db, _SHARES)),
        )


@contextmanager
def _opened(file: Path, *, is_still: bool) -> Iterator[apsw.Connection]:
    db = open_reader(file, busy_ms=BUSY_MS, is_still=is_still)
    try:
        yield db
    finally:
        db.close(force=True)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """A block whose mishaps become one line for the person at the terminal."""
    try:
        yield
    except (apsw.Error, UnicodeDecodeError, ValueError, TypeError) as error:
        ailment = diagnose(error)
        if ailment is Ailment.BUSY:
            why = "another process has locked it; try again"
        elif ailment is Ailment.SICK:
            why = f"it cannot be read ({error}); check its owner, its mode and its disk"
        else:
            why = f"it is damaged ({error}); the next mount makes a new one from the chunk files"
        raise CacheFolderError(f"cannot use the index {file}: {why}") from error


def _check_identity(db: apsw.Connection, file: Path) -> int:
    """The version of the index; each of this program's past ones has the tables that are asked for."""
    application, version = (int(db.pragma(name)) for name in ("application_id", "user_version"))
    if application != APPLICATION_ID:
        raise CacheFolderError(f"cannot use the index {file}: it is not one of this program")
    if version > newest_version():
        raise CacheFolderError(
            f"cannot use the index {file}: a newer fuse4dbricks made it (format {version}, this one knows up to "
            f"{newest_version()}); use the newer program"
        )
    return version


def _rows(db: apsw.Connection, sql: str, *binds: int) -> list[Row]:
    return db.execute(sql, binds).fetchall()


def _load_mount(db: apsw.Connection) -> MountNote | None:
    for host, pid, mountpoint, settings, started_at, ended_at in _rows(db, _MOUNT):
        return MountNote(host, pid, mountpoint, _numbers(json.loads(settings)), started_at, ended_at)
    return None


def _numbers(settings: Any) -> dict[str, float]:
    """What of the settings is a number; a later program may write others."""
    return {
        str(name): value
        for name, value in settings.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


_MOUNT = """
    SELECT coalesce(w.host, ''), m.pid, m.mountpoint, m.settings, m.started_at, m.ended_at
    FROM mount m LEFT JOIN workspace w ON w.id = m.workspace_id"""
_COUNTS = "SELECT name, sum(value) FROM stat_counter GROUP BY name"
_VOLUMES = """
    SELECT coalesce(w.host, ''), v.catalog, v.schema, v.name, v.files, u.chunks, u.disk_bytes
    FROM (SELECT volume_id, sum(chunks) AS chunks, sum(disk_bytes) AS disk_bytes FROM usage GROUP BY volume_id) u
    JOIN volume v ON v.id = u.volume_id LEFT JOIN workspace w ON w.id = v.workspace_id
    ORDER BY u.disk_bytes DESC, v.id"""
_OWNERS = """
    SELECT o.name, sum(u.chunks), sum(u.disk_bytes) FROM usage u JOIN owner o ON o.id = u.owner_id
    GROUP BY o.name ORDER BY 3 DESC, 1"""
_EXTENSIONS = """
    SELECT extension, sum(chunks), sum(disk_bytes) FROM usage GROUP BY extension ORDER BY 3 DESC, 1"""
_DAYS = "SELECT day, chunks, disk_bytes FROM usage_day ORDER BY day DESC"
FILES = """
    SELECT coalesce(w.host, ''), f.path, f.size, f.chunks, f.cached_bytes
    FROM (SELECT * FROM file_version ORDER BY cached_bytes DESC LIMIT ?) f
    LEFT JOIN workspace w ON w.id = f.workspace_id"""
_SHARES = """
    SELECT 'user', w.host, o.name, sum(u.disk_bytes - u.pinned_bytes)
    FROM usage u JOIN owner o ON o.id = u.owner_id JOIN workspace w ON w.id = o.workspace_id GROUP BY w.host, o.name
    UNION ALL
    SELECT 'catalog', w.host, v.catalog, sum(u.disk_bytes - u.pinned_bytes)
    FROM usage u JOIN volume v ON v.id = u.volume_id JOIN workspace w ON w.id = v.workspace_id
    GROUP BY w.host, v.catalog"""
_INVENTORY = "SELECT 1 FROM inventory"
_PINNED = "SELECT '', coalesce(sum(pinned_chunks), 0), coalesce(sum(pinned_bytes), 0) FROM usage"
