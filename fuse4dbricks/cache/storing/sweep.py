"""After a start: what a crash has left in the folder goes.

The difficulty: orphans (files without a row) take space that nobody counts, but finding them means listing all
files, 5 to 11 s for 300,000, and asking for each name. So it is done behind everyone's back, a shard at a time with
pauses, and only deletes what certainly has no row: not when the index cannot tell, and not what is being written now.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import trio

from fuse4dbricks.cache.storing.calls import DiskCalls
from fuse4dbricks.cache.storing.ports import ChunkFiles, ChunkRows
from fuse4dbricks.cache.storing.removal import Removals
from fuse4dbricks.chunks import ChunkName
from fuse4dbricks.chunks.layout import SHARDS
from fuse4dbricks.errors import CacheError
from fuse4dbricks.telemetry.metrics import Metrics

logger = logging.getLogger("fuse4dbricks.cache")

#: Names per question to the index, which is asked in the loop: 128 take less than 1 ms.
BATCH = 128

#: Seconds of rest for each file seen: 2,000 a second, so that readers have the disk; 10,000 chunks take 5 s.
PAUSE = 0.0005

#: How often, and after how many seconds each, to ask an index that could not tell.
TRIES = 3
RETRY_PAUSE = 1.0


class Sweep:
    """One sweep of the cache folder."""

    def __init__(
        self,
        files: ChunkFiles,
        rows: ChunkRows,
        removals: Removals,
        calls: DiskCalls,
        is_publishing: Callable[[ChunkName], bool],
        metrics: Metrics,
    ) -> None:
        self._files = files
        self._rows = rows
        self._removals = removals
        self._calls = calls
        self._is_publishing = is_publishing
        self._metrics = metrics

    async def run(self) -> bool:
        """Remove leftovers and orphans. False, with a word in the log, where the disk or the index does not answer."""
        try:
            leftovers = await self._calls.run(self._files.sweep_temporary)
            orphans = 0
            for shard in range(SHARDS):
                orphans += await self._sweep_shard(shard)
        except CacheError as error:
            logger.warning("the cache folder was not swept to the end: %s", error)
            return False
        self._metrics.add("disk.swept", leftovers, kind="temporary")
        self._metrics.add("disk.swept", orphans, kind="orphan")
        if leftovers or orphans:
            logger.info(
                "removed from the cache folder: %d unfinished files, %d unrecorded", leftovers, orphans
            )
        return True

    async def _sweep_shard(self, shard: int) -> int:
        names = await self._calls.run(partial(self._files.list_shard, shard))
        removed = 0
        for start in range(0, len(names), BATCH):
            orphans = await self._find_orphans(names[start : start + BATCH])
            if not await self._removals.unlink(orphans):
                raise CacheError("files cannot be deleted")
            removed += len(orphans)
        await trio.sleep(len(names) * PAUSE)
        return removed

    async def _find_orphans(self, names: list[ChunkName]) -> list[ChunkName]:
        for _ in range(TRIES):
            recorded = self._rows.load_names(names)
            if recorded is not None:
                # Asked after the rows: a chunk gets its row before it ceases to be in publication.
                return [name for name in names if name not in recorded and not self._is_publishing(name)]
            await trio.sleep(RETRY_PAUSE)
        raise CacheError("the index cannot be asked")
