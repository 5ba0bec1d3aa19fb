"""Reading the index in the event loop.

The difficulties:

* A point read takes 5–7 µs here and 110 µs by way of a thread, so it is done in the loop, which is only right while
  each statement uses an index and none can wait: ``busy_timeout`` is 0, and every statement is declared with
  :func:`in_loop`, so that a test can ask SQLite for the plan of each.
* Whatever goes wrong is a miss: the workspace knows everything that is here. Damage is also told to the writer thread,
  which replaces the file; ``epoch`` says when, and the connection is opened anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import NewType

import apsw

from fuse4dbricks.index.ailments import Ailment, diagnose
from fuse4dbricks.index.connection import Binds, Row, open_reader
from fuse4dbricks.index.writer import Writer
from fuse4dbricks.telemetry.metrics import Metrics

#: A statement that may run in the loop.
Query = NewType("Query", str)

_DECLARED: list[Query] = []


def in_loop(sql: str) -> Query:
    """Declare a statement that runs in the loop: it must be answered from an index, without a sort."""
    query = Query(sql)
    _DECLARED.append(query)
    return query


def get_declared_queries() -> tuple[Query, ...]:
    """All statements that run in the loop."""
    return tuple(_DECLARED)


class Reader:
    """The loop's read-only connection."""

    def __init__(self, file: Path, writer: Writer, metrics: Metrics) -> None:
        self._file = file
        self._writer = writer
        self._metrics = metrics
        self._db: apsw.Connection | None = None
        self._epoch = 0
        self._closed = False

    @property
    def workspace_id(self) -> int:
        """The row of the workspace that this mount serves, in the file as it is now."""
        return self._writer.opened.workspace_id

    def rows(self, query: Query, binds: Binds) -> list[Row] | None:
        """All rows, or None when they cannot be had now."""
        if self._closed or self._writer.is_other_process():
            self._miss("closed")
            return None
        if not self._writer.gate.acquire(blocking=False):  # the file is being replaced
            self._miss(Ailment.BUSY.value)
            return None
        try:
            if self._db is None or self._epoch != self._writer.epoch:
                self._reopen()
            assert self._db is not None
            return self._db.execute(query, binds).fetchall()
        except Exception as error:  # noqa: BLE001 - damage comes as any type (UnicodeDecodeError …); it is a miss
            self._note_mishap(error)
            return None
        finally:
            self._writer.gate.release()

    def row(self, query: Query, binds: Binds) -> Row | None:
        """The first row, or None."""
        found = self.rows(query, binds)
        return found[0] if found else None

    def note_bad_row(self) -> None:
        """A row did not fit its checksum."""
        self._metrics.count("index.misses", reason="checksum")

    def close(self) -> None:
        """Let the file go; from now on everything is a miss."""
        self._closed = True
        self._drop()

    def _reopen(self) -> None:
        self._drop()
        self._epoch = self._writer.epoch
        self._db = open_reader(self._file)

    def _drop(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close(force=True)

    def _note_mishap(self, error: Exception) -> None:
        ailment = diagnose(error)
        if ailment is Ailment.CORRUPT:
            self._writer.suspect(self._epoch, str(error))
            self._drop()
        self._miss(ailment.value)

    def _miss(self, reason: str) -> None:
        self._metrics.count("index.misses", reason=reason)
