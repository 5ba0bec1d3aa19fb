"""Opening the index file, and setting a damaged one aside.

The difficulties:

* WAL does not imply ``synchronous=NORMAL`` in the apsw wheel, and checkpoints would run in whichever write is the
  unlucky one: every setting is said here, once.
* Renaming a SQLite file that is open is the classic way to lose the next one: a connection that closes last deletes
  ``-wal`` *by name*. So no connection of ours checkpoints on close but the writer's at a proper end.
* mmap turns a truncated file into SIGBUS, which kills the mount: it stays off.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw

#: What SQLite stores; always bound as a parameter, never put into a statement.
Binds = tuple[str | int | float | bytes | None, ...]
#: What a statement gives: damage can change any type, so nothing is promised.
Row = tuple[Any, ...]

#: What belongs to an index file besides itself.
SIDECARS = ("-wal", "-shm")
#: Seconds that a write waits for another process's write; the writer thread only.
WRITER_BUSY_MS = 3000
#: RAM per connection for pages; the operating system keeps the rest.
PAGE_CACHE_KIB = 8192


def open_writer(file: Path, wal_keep_bytes: int) -> apsw.Connection:
    """The read-write connection, file created 0600 (``-wal`` and ``-shm`` follow its mode).

    Args:
        file: absolute, without links.
        wal_keep_bytes: a WAL that once was larger is cut back to this when it is reset.

    Raises:
        apsw.Error, OSError: it cannot be opened; see :mod:`fuse4dbricks.index.ailments`.
    """
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    db = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW)
    try:
        _settle(db, busy_ms=WRITER_BUSY_MS)
        _enter_wal(db)
        db.pragma("synchronous", "NORMAL")
        db.pragma("wal_autocheckpoint", 0)
        db.pragma("journal_size_limit", wal_keep_bytes)
    except BaseException:  # raised on: only the connection must not leak
        db.close(force=True)
        raise
    return db


def open_reader(file: Path, *, busy_ms: int = 0, is_still: bool = False) -> apsw.Connection:
    """A read-only connection; with ``busy_ms`` 0 a busy index is an error at once.

    Args:
        file: absolute, without links.
        busy_ms: how long to wait for a lock.
        is_still: nobody writes: no lock is taken, and neither ``-wal`` nor ``-shm`` is read or made.

    Raises:
        apsw.Error: it cannot be opened.
    """
    name = f"file:{quote(os.fspath(file))}?immutable=1" if is_still else str(file)
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW
    db = apsw.Connection(name, flags=flags | (apsw.SQLITE_OPEN_URI if is_still else 0))
    try:
        _settle(db, busy_ms=busy_ms)
        db.pragma("query_only", 1)
    except BaseException:  # raised on: only the connection must not leak
        db.close(force=True)
        raise
    return db


def _enter_wal(db: apsw.Connection) -> None:
    mode = db.pragma("journal_mode", "wal")
    if mode != "wal":
        raise apsw.CantOpenError(f"journal_mode is {mode}, not wal")


def _settle(db: apsw.Connection, *, busy_ms: int) -> None:
    db.set_busy_timeout(busy_ms)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    db.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    db.pragma("cell_size_check", 1)
    db.pragma("mmap_size", 0)
    db.pragma("temp_store", "memory")
    db.pragma("cache_size", -PAGE_CACHE_KIB)


def set_aside(file: Path, wall: float) -> Path:
    """Move a damaged index and its sidecars out of the way, and forget those moved before.

    The sidecars go first: a WAL left beside a new file would be played into it.

    Returns:
        The new name of the file.

    Raises:
        OSError: the folder does not let us.
    """
    for old in sorted(file.parent.glob(f"{file.name}.corrupt-*")):
        old.unlink(missing_ok=True)
    target = file.with_name(f"{file.name}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(wall))}")
    for suffix in (*SIDECARS, ""):
        source = file.with_name(file.name + suffix)
        if os.path.lexists(source):
            source.rename(target.with_name(target.name + suffix))
    return target
