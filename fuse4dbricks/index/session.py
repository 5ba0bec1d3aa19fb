"""What the writer thread knows while it writes.

The difficulty: numbers kept in RAM for speed (row ids, totals, the list of next victims) must follow the
transaction: seen by others only after COMMIT, gone after ROLLBACK. All of them hang on this object, which has one
method for each outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import apsw

from fuse4dbricks.clock import Clock
from fuse4dbricks.index.connection import Binds, Row
from fuse4dbricks.index.records import Totals
from fuse4dbricks.index.shares import ShareSums
from fuse4dbricks.index.victims import VictimLists
from fuse4dbricks.index.workspaces import enrol

#: Row ids remembered per kind; all are forgotten when there are more, which costs one look-up each.
MAX_REMEMBERED = 10_000


class Ceiling:
    """What pinned chunks may take of the disk; it outlives the file, so it is shared by the sessions of one writer.

    Attributes:
        bytes: the limit.
    """

    def __init__(self) -> None:
        self.bytes = 1 << 62


class Session:
    """One connection's write side; used by the writer thread only.

    Attributes:
        host: of the workspace that this mount serves.
        workspace_id: its row.
        serial: of the file, among those that were open in turn.
        totals: of all chunks, the running transaction included.
        is_complete: whether all chunk files have been looked at since the file was made.
        victims: the next chunks to go.
        shares: what each user and each catalog takes.
        has_gone_folders: whether rows of forgotten folders wait to be cleared away.
        absences_posted: negative entries written, to know when to trim them.
        ceiling: of pinned chunks.
        pin_ends: Unix times at which pins end, by workspace and path; None: not read yet.
    """

    def __init__(
        self,
        db: apsw.Connection,
        host: str,
        workspace_id: int,
        clock: Clock,
        serial: int,
        ceiling: Ceiling | None = None,
    ) -> None:
        self.host = host
        self.workspace_id = workspace_id
        self.clock = clock
        self.serial = serial
        self.victims = VictimLists()
        self.shares = ShareSums()
        self.totals = Totals(0, 0)
        self.absences_posted = 0
        self.ceiling = ceiling or Ceiling()
        self.pin_ends: dict[tuple[int, str], float] | None = None
        self._committed_totals = self.totals
        self._db = db
        self._ids: dict[tuple[str, ...], int] = {}
        self._last_chunk_id: int = self.rows("SELECT coalesce(max(id), 0) FROM chunk")[0][0]
        self.has_gone_folders = (
            self.row("SELECT 1 FROM folder WHERE workspace_id IS NULL LIMIT 1") is not None
        )
        self.is_complete = self._load_complete()

    def _load_complete(self) -> bool:
        return self.row("SELECT 1 FROM inventory WHERE id = 1") is not None

    @contextmanager
    def serving(self, host: str) -> Iterator[None]:
        """A block that works on the rows of another workspace, which is enrolled if it is new."""
        own = (self.host, self.workspace_id)
        if host != self.host:
            self.host, self.workspace_id = host, enrol(self._db, host, self.clock.wall())[0]
            self.forget_ids()
        try:
            yield
        finally:
            if host != own[0]:
                self.host, self.workspace_id = own
                self.forget_ids()

    # --- statements ------------------------------------------------------------------------------

    def rows(self, sql: str, binds: Binds | Mapping[str, Any] = ()) -> list[Row]:
        """All rows that a statement gives."""
        return self._db.execute(sql, binds).fetchall()

    def row(self, sql: str, binds: Binds | Mapping[str, Any] = ()) -> Row | None:
        """The first row, or None."""
        found = self.rows(sql, binds)
        return found[0] if found else None

    def run(self, sql: str, binds: Binds | Mapping[str, Any] = ()) -> None:
        """A statement that gives nothing."""
        self._db.execute(sql, binds).fetchall()

    def run_many(self, sql: str, rows: Iterable[Binds]) -> None:
        """One statement over many bindings; the interpreter lock is let go between them."""
        self._db.executemany(sql, rows).fetchall()

    def changed(self) -> int:
        """Rows that the last statement changed."""
        return self._db.changes()

    def last_row_id(self) -> int:
        """The id of the row inserted last."""
        return self._db.last_insert_rowid()

    # --- row ids ---------------------------------------------------------------------------------

    def find_id(self, key: tuple[str, ...]) -> int | None:
        """A row id remembered under ``key`` (table, then what is unique in it)."""
        return self._ids.get(key)

    def remember_id(self, key: tuple[str, ...], row_id: int) -> int:
        """Keep a row id until the next rollback."""
        if len(self._ids) >= MAX_REMEMBERED:
            self._ids.clear()
        self._ids[key] = row_id
        return row_id

    def make_chunk_id(self) -> int:
        """An id that no chunk had before: times of use on their way may still name the rows that are gone."""
        self._last_chunk_id += 1
        return self._last_chunk_id

    def forget_ids(self) -> None:
        """Rows went away; look all of them up again."""
        self._ids.clear()

    # --- the transaction -------------------------------------------------------------------------

    def committed(self) -> Totals:
        """The transaction is on its way to the disk: what it changed counts from now on."""
        self._committed_totals = self.totals
        return self.totals

    def rolled_back(self) -> None:
        """The transaction did not happen."""
        self.totals = self._committed_totals
        self.is_complete = self._load_complete()
        self.victims.forget()
        self.shares.forget()
        self.pin_ends = None
        self.forget_ids()
