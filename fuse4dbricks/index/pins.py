"""Pins, for the loop: what is pinned, and having the marks of chunks follow.

The difficulty: a pin is one row and perhaps a million marks, and neither the loop nor the writer may be held up by them.
So the row comes first and counts at once for what is stored from then on; marks follow in batches (:meth:`Pins.settle`).
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fuse4dbricks.clock import Clock
from fuse4dbricks.index.pinning import (
    PIN_COLUMNS,
    VERSIONS_AT_ONCE,
    Cursor,
    Wanted,
    end_pin,
    finish_pin,
    pin_from_row,
    put_pin,
    settle,
)
from fuse4dbricks.index.reader import Reader, in_loop
from fuse4dbricks.index.records import Pin
from fuse4dbricks.index.session import Session
from fuse4dbricks.index.tree_rows import index_path
from fuse4dbricks.index.writer import Writer
from fuse4dbricks.paths import RemotePath

_LOAD = in_loop(f"SELECT {PIN_COLUMNS} FROM pin p WHERE p.workspace_id = ? AND p.path = ?")  # noqa: S608 - constants
_LOAD_ALL = in_loop(f"SELECT p.is_settled, {PIN_COLUMNS} FROM pin p WHERE p.workspace_id = ?")  # noqa: S608 - constants


class Pins:
    """The pins of one workspace."""

    def __init__(self, reader: Reader, writer: Writer, host: str, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host
        self._clock = clock

    def covers(self, path: RemotePath) -> bool:
        """Whether a pin is on ``path`` or on a folder above it; 5 µs for each step of the path."""
        now = self._clock.wall()
        for depth in range(path.depth, -1, -1):
            place = RemotePath(path.parts[:depth])
            row = self._reader.row(_LOAD, (self._reader.workspace_id, index_path(place)))
            pin = None if row is None else pin_from_row(self._host, row)
            # Damage to the order of keys makes a search end at a neighbour's row.
            if pin is not None and pin.path == place and not pin.has_ended(now):
                return True
        return False

    def load_all(self) -> list[Pin] | None:
        """All pins, ended ones whose marks are still to go too; None: cannot be read now."""
        rows = self._reader.rows(_LOAD_ALL, (self._reader.workspace_id,))
        if rows is None:
            return None
        found = [(pin_from_row(self._host, row[1:]), row[0]) for row in rows]
        return [replace(pin, is_settled=bool(is_settled)) for pin, is_settled in found if pin is not None]

    async def put(self, pin: Pin) -> bool:
        """Record a pin, in place of one on the same path; False when there are too many.

        Raises:
            IndexUnavailable: it is not recorded.
        """
        return await self._writer.run(partial(put_pin, host=self._host, pin=pin))

    async def end(self, path: RemotePath) -> bool:
        """Let the pin on ``path`` end; whether there is one.

        Raises:
            IndexUnavailable: it goes on.
        """
        return await self._writer.run(partial(end_pin, host=self._host, path=path))

    async def settle(self, pin: Pin, cursor: Cursor | None, wanted: Wanted) -> Cursor | None:
        """Mark the chunks of some versions at and below a pin, or take their marks away.

        Args:
            pin: where.
            cursor: None for the first call, then what the former one returned.
            wanted: says of a version whether it is to be marked; called in the writer thread.

        Returns:
            Where to go on; None: that was all.

        Raises:
            IndexUnavailable: it is not done.
        """
        write = partial(settle, host=self._host, path=pin.path, cursor=cursor, wanted=wanted)
        return await self._writer.run(write, rows=VERSIONS_AT_ONCE)

    async def finish(self, pin: Pin) -> None:
        """All marks of a pin are in line; one that has ended is forgotten.

        Raises:
            IndexUnavailable: it is not noted, and has to be done again.
        """
        await self._writer.run(partial(finish_pin, host=self._host, pin=pin))

    async def limit(self, to_bytes: int) -> None:
        """Mark no more chunks than take so much of the disk, from now on, as long as the index is open.

        Raises:
            IndexUnavailable: the former limit holds.
        """

        def write(session: Session) -> None:
            session.ceiling.bytes = to_bytes

        await self._writer.run(write)
