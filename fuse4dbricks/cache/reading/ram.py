"""The RAM tier: complete chunks, least recently used first, bounded in bytes.

The difficulty: chunks fetched ahead live between "in flight" and "cached". If the RAM tier is small or off, they
would be dropped before they are read, and fetched twice. So while somebody has a file open the tier may also
use what the windows leave of their own limit: together never more than ``ram_bytes`` plus that limit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from fuse4dbricks.cache.reading.budget import WindowBudget
from fuse4dbricks.cache.reading.chunk import Chunk

Forget = Callable[[Chunk], None]


class RamTier:
    """Complete chunks and, with each, whom to tell when it goes."""

    def __init__(self, ram_bytes: int, budget: WindowBudget) -> None:
        self._ram_bytes = ram_bytes
        self._budget = budget
        self._chunks: OrderedDict[Chunk, Forget] = OrderedDict()
        self._readers = 0
        self.kept = 0

    def __contains__(self, chunk: object) -> bool:
        return chunk in self._chunks

    def keep(self, chunk: Chunk, forget: Forget) -> None:
        """Hold a complete chunk; ``forget(chunk)`` is called when it is evicted."""
        self._chunks[chunk] = forget
        self.kept += chunk.length
        self.trim()

    def touch(self, chunk: Chunk) -> None:
        """It was read now."""
        if chunk in self._chunks:
            self._chunks.move_to_end(chunk)

    def drop(self, chunk: Chunk) -> None:
        """Let go of one chunk, if it is here, without telling anyone."""
        if self._chunks.pop(chunk, None) is not None:
            self.kept -= chunk.length

    def opened(self) -> None:
        """One more handle is open."""
        self._readers += 1

    def closed(self) -> None:
        """One handle less; with none left only ``ram_bytes`` stay."""
        self._readers -= 1
        self.trim()

    def trim(self) -> None:
        """Evict the least recently used until the rest fits."""
        room = self._ram_bytes + (self._budget.get_spare() if self._readers else 0)
        while self.kept > room:
            chunk, forget = self._chunks.popitem(last=False)
            self.kept -= chunk.length
            forget(chunk)
