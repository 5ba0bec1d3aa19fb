"""One chunk in RAM, from its first byte on.

The difficulty: a reader of 4 KiB must not wait for the mebibyte around it, yet what he is given goes to the
kernel without a copy while the rest of the buffer is still being written, by the network itself. So bytes below the watermark
``filled`` never change again, the buffer is never resized (a ``bytearray`` with exported views cannot be), and
whoever needs bytes above the watermark sleeps until it has passed *his* bytes: a 1 MiB chunk comes in 64 TLS
records, and waking every reader for each would cost more than the download.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from fuse4dbricks.buffers import make_blank
from fuse4dbricks.concurrency.flights import own_copy

if TYPE_CHECKING:
    from fuse4dbricks.cache.reading.extent import Extent

_NOTHING = memoryview(b"")


class Chunk:
    """A chunk that is complete, or filling up.

    Attributes:
        index: its number in the file.
        length: bytes it will have; the last one of a file is short.
        filled: bytes that are there, from the start of the chunk.
        extent: the remote read that fills it; None once complete, and for a chunk that comes from disk.
        claims: reads under way that will need it, now or after the chunks before it.
        is_read: somebody was given bytes of it.
        is_passed: a sequential reader has it behind him, so once it is on disk RAM has no use for it.
        is_publishing: the disk tier is still writing it, so it must stay findable.
    """

    __slots__ = (
        "_buffer",
        "_error",
        "_needs",
        "_view",
        "claims",
        "extent",
        "filled",
        "index",
        "is_passed",
        "is_publishing",
        "is_read",
        "length",
    )

    def __init__(self, index: int, length: int, extent: Extent | None = None) -> None:
        self.index = index
        self.length = length
        self.filled = 0
        self.extent = extent
        self.claims = 0
        self.is_read = False
        self.is_passed = False
        self.is_publishing = False
        self._view = _NOTHING
        self._buffer = _NOTHING
        self._needs: list[tuple[int, trio.Event]] = []
        self._error: Exception | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there."""
        return self.filled == self.length

    @property
    def is_wanted(self) -> bool:
        """Whether a read needs it that is under way."""
        return self.claims > 0 or bool(self._needs)

    @property
    def waiters(self) -> int:
        """Tasks that sleep until their bytes come."""
        return len(self._needs)

    def get_first_need(self) -> int:
        """How many of its bytes satisfy the first waiter that is not satisfied; all of them where nobody waits."""
        return min((need for need, _ in self._needs if need > self.filled), default=self.length)

    def get(self, start: int, stop: int) -> memoryview | None:
        """Bytes [start, stop) of the chunk, uncopied and unchanging; None while they are still to come."""
        return self._view[start:stop] if stop <= self.filled else None

    def get_payload(self) -> memoryview:
        """The whole of a complete chunk."""
        return self._view

    def get_room(self) -> memoryview:
        """Where the bytes go that are still to come, all of it; memory is taken when this is first asked for."""
        if not self._buffer:
            self._buffer = memoryview(make_blank(self.length))
            self._view = self._buffer.toreadonly()
        return self._buffer[self.filled :]

    def advance(self, count: int) -> bool:
        """So many more bytes are in their place, at the start of the room: from now on they never change.

        Returns:
            Whether somebody has waited for them.
        """
        self.filled += count
        return self._wake()

    def complete(self, payload: bytes | memoryview) -> None:
        """Take over a whole chunk that was read elsewhere."""
        self._view = memoryview(payload).toreadonly()
        self.filled = self.length
        self._wake()

    def fail(self, error: Exception) -> None:
        """No more bytes will come; everyone still waiting raises a copy of ``error``."""
        self._error = error
        for _, event in self._needs:
            event.set()

    async def reach(self, need: int) -> None:
        """Wait until ``filled`` is at least ``need``.

        Raises:
            Exception: what :meth:`fail` was given, as a copy of the caller's own.
        """
        if self.filled < need and self._error is None:
            entry = (need, trio.Event())
            self._needs.append(entry)
            try:
                await entry[1].wait()
            finally:
                self._needs.remove(entry)
        if self.filled < need and self._error is not None:
            raise own_copy(self._error)

    def _wake(self) -> bool:
        satisfied = [event for need, event in self._needs if need <= self.filled]
        for event in satisfied:
            event.set()
        return bool(satisfied)
