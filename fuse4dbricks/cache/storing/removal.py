"""Deleting chunk files whose rows are gone, and keeping writers of the same names away meanwhile.

The difficulty: row first, COMMIT, then unlink, so that a crash leaves an orphan and never a row without its file. But
between the two, somebody may fetch the same chunk again and store it under the same name, and the unlink would
take the new file. So names that are being removed are known, and who wants to write one of them waits. And whoever
takes rows has :data:`FINISH_SECONDS` for their files though the mount ends (:mod:`~fuse4dbricks.concurrency.completion`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial

import trio

from fuse4dbricks.cache.storing.calls import DiskCalls
from fuse4dbricks.cache.storing.ports import ChunkFiles
from fuse4dbricks.chunks import ChunkName
from fuse4dbricks.errors import CacheError

logger = logging.getLogger("fuse4dbricks.cache")

#: For the files of rows that are gone when the mount ends: 256 of them take some ten milliseconds, and the end has 4 s.
FINISH_SECONDS = 1.0


class Removals:
    """Chunk files on their way out. For the loop only."""

    def __init__(self, files: ChunkFiles, calls: DiskCalls) -> None:
        self._files = files
        self._calls = calls
        self._under_way: dict[ChunkName, list[trio.Event]] = {}

    @contextmanager
    def claiming(self, names: Collection[ChunkName]) -> Iterator[None]:
        """Keep writers of ``names`` waiting from before their rows go until their files are gone.

        A name may be claimed by several at once, as by a reader who missed its file and by the sweep: its writers wait
        for the last of them.
        """
        done = trio.Event()
        claimed = set(names)
        for name in claimed:
            self._under_way.setdefault(name, []).append(done)
        try:
            yield
        finally:
            for name in claimed:
                self._under_way[name].remove(done)
                if not self._under_way[name]:
                    del self._under_way[name]
            done.set()

    async def wait_for(self, name: ChunkName) -> None:
        """Until nobody is removing ``name``."""
        while claims := self._under_way.get(name):
            await claims[0].wait()

    async def unlink(self, names: Collection[ChunkName]) -> bool:
        """Delete the files. False when some are left; the next start sweeps them."""
        if not names:
            return True
        with self.claiming(names):
            try:
                await self._calls.run(partial(self._files.remove, list(names)))
            except CacheError as error:
                logger.warning("chunk files could not be removed: %s", error, extra={"rate_limit": 60})
                return False
        return True
