"""Counters that outlive the mount, and which mount it is.

The difficulty: ``cache-stats`` runs in another process, or with no mount at all, and must tell what the mount counted.
So the mount adds its counts every few seconds and leaves its pid, place and limits in a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial

from fuse4dbricks.index.reader import Reader, in_loop
from fuse4dbricks.index.session import Session
from fuse4dbricks.index.writer import Writer

_LOAD_COUNTS = in_loop("SELECT name, value FROM stat_counter WHERE workspace_id = ?")
_ADD = """
    INSERT INTO stat_counter (workspace_id, name, value) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET value = value + excluded.value"""


class Counters:
    """The counters of one workspace and the mount of this folder."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self._reader = reader
        self._writer = writer

    def post_counts(self, deltas: Mapping[str, int]) -> bool:
        """Add to counters; False when there is no room for that now."""
        return not deltas or self._writer.post(partial(_add, deltas=dict(deltas)), rows=len(deltas))

    def load_counts(self) -> dict[str, int]:
        """All counters since the index was made; empty when it cannot be read now."""
        return dict(self._reader.rows(_LOAD_COUNTS, (self._reader.workspace_id,)) or ())

    def post_mount(
        self, pid: int, mountpoint: str, started_at: float, settings: Mapping[str, object] | None = None
    ) -> None:
        """This mount uses the folder now; ``settings`` are the limits in force, as JSON values."""
        row = (pid, mountpoint, json.dumps(settings or {}, sort_keys=True), started_at)
        self._writer.post(partial(_write_mount, row=row))

    def post_unmount(self) -> None:
        """The mount has ended properly."""
        self._writer.post(_end_mount)


def _add(session: Session, deltas: dict[str, int]) -> None:
    session.run_many(_ADD, [(session.workspace_id, name, amount) for name, amount in deltas.items()])


def _write_mount(session: Session, row: tuple[int, str, str, float]) -> None:
    session.run(
        "INSERT OR REPLACE INTO mount (id, workspace_id, pid, mountpoint, settings, started_at) "
        "VALUES (1, ?, ?, ?, ?, ?)",
        (session.workspace_id, *row),
    )


def _end_mount(session: Session) -> None:
    session.run("UPDATE mount SET ended_at = ? WHERE id = 1", (session.clock.wall(),))
