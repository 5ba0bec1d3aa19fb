"""The RAM tier: complete chunks, least recently used first, bounded in bytes.

The difficulty: chunks fetched ahead live between "in flight" and "cached". If the RAM tier is small or off, or
full of what was read, they would be dropped before they are read, and fetched twice. So chunks that nobody has
read yet are kept apart, and while a file is open they may use what the windows leave of their own limit:
together the tier and the windows never take more than ``ram_bytes`` plus that limit. Where the system gives less than
that (``ulimit -v``), they are content with what they got, for a reader needs it more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import trio

from fuse4dbricks.cache.reading.budget import WindowBudget
from fuse4dbricks.cache.reading.chunk import Chunk

Forget = Callable[[Chunk], None]


class RamTier:
    """Complete chunks and, with each, whom to tell when it goes.

    Attributes:
        kept: bytes held.
    """

    def __init__(self, ram_bytes: int, budget: WindowBudget) -> None:
        self._ram_bytes = self._wanted_bytes = ram_bytes
        self._budget = budget
        self._used: OrderedDict[Chunk, Forget] = OrderedDict()
        self._unread: OrderedDict[Chunk, Forget] = OrderedDict()
        self._unread_bytes = 0
        self._readers = 0
        self._opened = trio.Event()
        self._turns = 0
        self.kept = 0

    def __contains__(self, chunk: object) -> bool:
        return chunk in self._used or chunk in self._unread

    def keep(self, chunk: Chunk, forget: Forget) -> None:
        """Hold a complete chunk; ``forget(chunk)`` is called when it is evicted."""
        self.kept += chunk.length
        if chunk.is_read or chunk.waiters:
            self._used[chunk] = forget
        else:
            self._unread[chunk] = forget
            self._unread_bytes += chunk.length
        self.trim()

    def touch(self, chunk: Chunk) -> None:
        """It was read now; it may still be arriving."""
        if chunk in self._used:
            self._used.move_to_end(chunk)
            return
        chunk.is_read = True
        forget = self._unread.pop(chunk, None)
        if forget is not None:
            self._unread_bytes -= chunk.length
            self._used[chunk] = forget

    def drop(self, chunk: Chunk) -> None:
        """Let go of one chunk, if it is here, without telling anyone."""
        if self._unread.pop(chunk, None) is not None:
            self._unread_bytes -= chunk.length
            self.kept -= chunk.length
        elif self._used.pop(chunk, None) is not None:
            self.kept -= chunk.length

    def opened(self) -> None:
        """One more handle is open."""
        self._readers += 1
        self._turns += 1
        if self._readers == 1:
            self._opened.set()

    def closed(self) -> None:
        """One handle less; with none left only ``ram_bytes`` stay."""
        self._readers -= 1
        self._turns += 1
        self.trim()

    async def idle_for(self, seconds: float) -> None:
        """Return when no handle was open for so long, or up to twice as long.

        Nobody is woken by opening and closing: that would be a task switch for each of a thousand small files.
        """
        while True:
            before = self._turns
            await trio.sleep(seconds)
            if not self._readers and self._turns == before:
                return

    async def used(self) -> None:
        """Return when a handle is open."""
        while not self._readers:
            self._opened = trio.Event()
            await self._opened.wait()

    def give_way(self) -> None:
        """There is no memory to be had: make do with half of what is held, until all is calm."""
        self._ram_bytes = min(self._ram_bytes, self.kept // 2)
        self._budget.narrow()
        self.trim()

    def clear(self) -> None:
        """Evict everything, and have another try at what was wanted at first."""
        self._ram_bytes = self._wanted_bytes
        self._budget.widen()
        for chunk, forget in (*self._used.items(), *self._unread.items()):
            self.drop(chunk)
            forget(chunk)

    def trim(self) -> None:
        """Evict the least recently used until the rest fits; what is unread only beyond its own share."""
        spare = self._budget.get_spare() if self._readers else 0
        while self.kept > self._ram_bytes + spare:
            is_over = self._unread_bytes > spare or not self._used
            chunk = next(iter(self._unread if is_over else self._used))
            forget = (self._unread if is_over else self._used)[chunk]
            self.drop(chunk)
            forget(chunk)
