"""What people ask of a cache, whether a mount works in it or not.

The difficulty: an order may mean a million chunks, and the mount has readers meanwhile. So orders are obeyed in
pieces of bounded length, each of which says whether there is more; what open files are reading stays; and rows go
before files, as in eviction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import trio

from fuse4dbricks.cache.storing.known import KnownChunks
from fuse4dbricks.cache.storing.ports import Held, IndexPort
from fuse4dbricks.cache.storing.removal import FINISH_SECONDS, Removals
from fuse4dbricks.cache.storing.room import Room
from fuse4dbricks.cache.storing.stocktaking import Stocktaking
from fuse4dbricks.chunks import ChunkName
from fuse4dbricks.concurrency.completion import run_to_end
from fuse4dbricks.errors import CacheError
from fuse4dbricks.index.records import Selection, Victim, VictimQuery
from fuse4dbricks.index.selecting import Batch
from fuse4dbricks.telemetry.metrics import Metrics

#: Chunks per transaction and per batch of unlinks.
BATCH = 256


@dataclass(frozen=True, slots=True)
class Freed:
    """What an order has done so far.

    Attributes:
        chunks, bytes: that are gone; of disk space.
        has_more: whether to give it again.
    """

    chunks: int
    bytes: int
    has_more: bool


class Upkeep:
    """Obeys orders about one cache folder. For the loop only.

    Attributes:
        stock: what looks through the folder.
    """

    def __init__(
        self,
        index: IndexPort,
        known: KnownChunks,
        removals: Removals,
        room: Room,
        stock: Stocktaking,
        get_held: Callable[[], Collection[Held]],
        metrics: Metrics,
    ) -> None:
        self.stock = stock
        self._index = index
        self._known = known
        self._removals = removals
        self._room = room
        self._get_held = get_held
        self._metrics = metrics

    @property
    def is_measured(self) -> bool:
        """Whether the folder and its disk have been looked at since the start."""
        return self._room.overhead is not None

    @property
    def knows_all(self) -> bool:
        """Whether the index knows of all chunk files; a new one does once the folder was looked through."""
        return self._index.is_complete

    def get_capacity(self) -> int:
        """What all chunks together may take of the disk, if whatever is not pinned gives way."""
        room, recorded = self._room, self._index.chunks.get_totals().bytes
        besides = room.used - recorded
        return max(0, min(room.limit - besides, recorded + room.spare))

    async def evict(self, selection: Selection, seconds: float) -> Freed:
        """Delete the chunks of a selection that no open file is reading and no pin protects.

        Raises:
            CacheError: the index or the disk does not let us.
        """
        held = self._get_held() if selection.names is None else ()
        chosen = replace(selection, protected=frozenset(held))
        deadline = trio.current_time() + seconds
        chunks = size = 0
        cursor: int | None = 0
        while cursor is not None and trio.current_time() < deadline:
            batch, freed = await run_to_end(partial(self._evict_batch, chosen, cursor), within=FINISH_SECONDS)
            chunks, size, cursor = chunks + len(batch.victims), size + freed, batch.cursor
        return Freed(chunks, size, cursor is not None)

    async def _evict_batch(self, chosen: Selection, cursor: int) -> tuple[Batch, int]:
        batch = await self._index.chunks.take_selected(chosen, cursor, BATCH)
        return batch, await self._unlink(batch.victims)

    async def shrink(self, to_bytes: int, seconds: float) -> Freed:
        """Delete the least recently used chunks until all together take ``to_bytes`` at most.

        Raises:
            CacheError: the index or the disk does not let us.
        """
        deadline = trio.current_time() + seconds
        chunks = size = 0
        while (excess := self._index.chunks.get_totals().bytes - to_bytes) > 0:
            if trio.current_time() >= deadline:
                return Freed(chunks, size, has_more=True)
            query = VictimQuery(free_bytes=excess, protected=frozenset(self._get_held()))
            count, freed = await run_to_end(partial(self._shrink_batch, query), within=FINISH_SECONDS)
            if not count:
                break
            chunks, size = chunks + count, size + freed
        return Freed(chunks, size, has_more=False)

    async def _shrink_batch(self, query: VictimQuery) -> tuple[int, int]:
        victims = await self._index.chunks.take_victims(query, BATCH)
        return len(victims), await self._unlink(victims)

    async def count_again(self) -> None:
        """Make the totals anew from the rows.

        Raises:
            CacheError: the index does not let us.
        """
        await self._index.chunks.count_again()

    async def renew(self) -> int:
        """Begin the index anew, and have it filled from the chunk files; returns what :meth:`Stocktaking.ask` does.

        Raises:
            CacheError: the index does not let us.
        """
        await self._index.renew()
        self._known.clear()
        return self.stock.ask_once()

    async def _unlink(self, victims: Sequence[Victim]) -> int:
        """Delete the files of rows that are gone; their size on the disk."""
        size = sum(victim.disk_bytes for victim in victims)
        self._known.clear()
        self._metrics.add("disk.evicted", len(victims), reason="asked")
        self._metrics.add("disk.evicted_bytes", size, reason="asked")
        with self._room.parting(size, len(victims)):
            if not await self._removals.unlink([ChunkName(victim.name) for victim in victims]):
                raise CacheError("chunk files cannot be deleted")
        return size
