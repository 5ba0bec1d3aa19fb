"""The index file in the writer thread: opened, written, checkpointed, and replaced when it is beyond use.

The difficulties:

* A damaged file must not cost the mount: it is set aside with its WAL and a new one begun, at start or in the middle.
* Checkpoints that SQLite runs by itself make one write in a thousand 59 ms slow (measured); here they run between
  writes, in this thread, and PASSIVE, so that no reader waits.
* A reader in another process that keeps a transaction open stops the WAL from being reused. Past a limit nothing is
  written until it is gone: a cache entry is not worth a full disk.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index.ailments import Ailment, diagnose
from fuse4dbricks.index.connection import WRITER_BUSY_MS, open_writer, set_aside
from fuse4dbricks.index.log_sizes import LogSizes
from fuse4dbricks.index.migrations import NotOurIndex, migrate
from fuse4dbricks.index.ops import Op
from fuse4dbricks.index.pinning import rescue_pins, restore_pins
from fuse4dbricks.index.records import Totals
from fuse4dbricks.index.rollups import load_totals, recount
from fuse4dbricks.index.session import Ceiling, Session
from fuse4dbricks.index.workspaces import enrol

log = logging.getLogger("fuse4dbricks.index")

# A row that comes and goes dirties a page, so this fails where a real write would. (To write what is there does not.)
_PROBE = (
    "INSERT INTO stat_counter (workspace_id, name, value) VALUES (?, 'probe', 1)",
    "DELETE FROM stat_counter WHERE workspace_id = ? AND name = 'probe'",
)


@dataclass(frozen=True, slots=True)
class Opened:
    """What the loop needs to know of the open file."""

    workspace_id: int
    fingerprint_key: bytes
    totals: Totals


class Store:
    """One index file open for writing; used by the writer thread only.

    Attributes:
        generation: counts the files that were open in turn.
        was_rebuilt: whether a damaged file was set aside since the start.
    """

    def __init__(self, file: Path, host: str, clock: Clock, log_sizes: LogSizes | None = None) -> None:
        self._file = file
        self._host = host
        self._clock = clock
        self._log_sizes = log_sizes or LogSizes()
        self._wal_pages = 0
        self._db: apsw.Connection | None = None
        self._session: Session | None = None
        self._opened: Opened | None = None
        self._ceiling = Ceiling()
        self.generation = 0
        self.was_rebuilt = False

    @property
    def opened(self) -> Opened:
        """As last opened.

        Raises:
            IndexUnavailable: it never was.
        """
        if self._opened is None:
            raise IndexUnavailable("the index is not open")
        return self._opened

    @property
    def session(self) -> Session:
        """The write side of the open file.

        Raises:
            IndexUnavailable: there is none.
        """
        if self._session is None:
            raise IndexUnavailable("the index is not open")
        return self._session

    @property
    def is_open(self) -> bool:
        """Whether there is a file to write to."""
        return self._session is not None

    # --- opening ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Open or create the file; a damaged or foreign one is set aside.

        Raises:
            CacheFolderError: it was written by a newer program.
            apsw.Error, OSError: the disk does not let us.
        """
        try:
            self._open()
        except NotOurIndex as why:
            self.rebuild(str(why))
        except (apsw.Error, UnicodeDecodeError) as error:
            if isinstance(error, apsw.Error) and diagnose(error) is not Ailment.CORRUPT:
                raise
            self.rebuild(str(error))

    def rebuild(self, why: str) -> None:
        """Set the file aside and begin a new one.

        Raises:
            apsw.Error, OSError: the disk does not let us.
        """
        self.close(checkpoint=False)
        pins = rescue_pins(self._file)
        aside = set_aside(self._file, self._clock.wall())
        log.warning("the index was set aside as %s (%s); a new one is begun", aside.name, why)
        self.was_rebuilt = True
        self._open()
        if pins:
            self.transact([Op(partial(restore_pins, pins=pins))])

    def _open(self) -> None:
        db = open_writer(self._file, self._log_sizes.keep_bytes)
        try:
            migrate(db, self._file)
            # Kept when a damaged file is replaced in the middle, for the tokens are already known by it.
            key = self._opened.fingerprint_key if self._opened else None
            workspace_id, key = enrol(db, self._host, self._clock.wall(), key)
            session = Session(db, self._host, workspace_id, self._clock, self.generation + 1, self._ceiling)
            self._db, self._session = db, session
            totals = load_totals(session)
            if totals is None:
                log.warning("the totals in the index do not agree; counting again")
                (totals,) = self.transact([Op(recount)])
            session.totals = totals
            session.committed()
        except BaseException:  # raised on: half an open index is none
            self._db = self._session = None
            db.close(force=True)
            raise
        db.set_wal_hook(self._note_wal)
        self._cut_wal()
        self._opened = Opened(workspace_id, key, totals)
        self.generation += 1

    # --- writing ---------------------------------------------------------------------------------

    def transact(self, ops: list[Op]) -> list[Any]:
        """Run the operations in one transaction and return their values, or change nothing and raise."""
        session, db = self.session, self._connection
        db.execute("BEGIN IMMEDIATE").fetchall()
        try:
            values = [op.write(session) for op in ops]
            db.execute("COMMIT").fetchall()
        except BaseException:  # raised on: nothing half written stays
            if db.in_transaction:
                db.execute("ROLLBACK").fetchall()
            session.rolled_back()
            raise
        session.committed()
        return values

    def probe(self) -> None:
        """A write that changes nothing, to see whether writing works again.

        Raises:
            apsw.Error, IndexUnavailable: it does not.
        """
        if self._session is None:
            self.open()
        if self.is_wal_full:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self.transact(
            [Op(partial(Session.run, sql=sql, binds=(self.session.workspace_id,))) for sql in _PROBE]
        )

    @property
    def _connection(self) -> apsw.Connection:
        if self._db is None:
            raise IndexUnavailable("the index is not open")
        return self._db

    # --- the WAL ---------------------------------------------------------------------------------

    def _note_wal(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    @property
    def is_wal_full(self) -> bool:
        """Whether a foreign reader keeps the WAL from being reused and it has grown too far."""
        return self._wal_pages >= self._log_sizes.full

    @property
    def is_wal_left(self) -> bool:
        """Whether :meth:`tidy_wal` has more to do, which a reader may have kept it from."""
        return self._wal_pages >= self._log_sizes.idle

    def tidy_wal(self, *, idle: bool) -> None:
        """Move the WAL into the database if there is enough of it.

        Raises:
            apsw.Error: the disk does not let us.
        """
        sizes = self._log_sizes
        if self._wal_pages >= sizes.force:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)
        elif self._wal_pages >= (sizes.idle if idle else sizes.soon):
            self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _cut_wal(self) -> None:
        """What creating the file, or a run with a larger limit, has left is not waited for to be overwritten."""
        wal = self._file.with_name(f"{self._file.name}-wal")
        if wal.stat().st_size > self._log_sizes.keep_bytes:
            self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _checkpoint(self, mode: int) -> None:
        db = self._connection
        # A reader is not worth waiting for: the next write is a better chance than a stalled queue.
        db.set_busy_timeout(0)
        try:
            pages, moved = db.wal_checkpoint(mode=mode)
            self._wal_pages = max(0, pages - moved)
        except apsw.BusyError:
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        finally:
            db.set_busy_timeout(WRITER_BUSY_MS)

    # --- the end ---------------------------------------------------------------------------------

    def close(self, *, checkpoint: bool) -> None:
        """Close the file; never raises. Without ``checkpoint`` nothing is written."""
        db, self._db, self._session = self._db, None, None
        if db is None:
            return
        try:
            if checkpoint:
                db.set_busy_timeout(0)
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error as error:
            log.info("the index was closed without a checkpoint: %s", error)
        db.close(force=True)
