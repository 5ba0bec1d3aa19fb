"""Storing whole files on purpose, rather than behind a reader's back.

The difficulty: what a reader has fetched is stored if that is easy, and nobody hears of it when it is not. Who fills the
cache on purpose has to hear: a chunk that was not kept must not count as done. He must not push out by his new chunks the
old ones of the same set, and must know beforehand whether the set fits at all.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from fuse4dbricks.cache.storing.assembly import Shelf
from fuse4dbricks.chunks import ChunkLabel
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import CacheError
from fuse4dbricks.paths import RemotePath

#: Times that a chunk is offered, and seconds in between: the queue of what readers have fetched may be full, or the same
#: chunk on its way from a reader.
TRIES = 20
PAUSE = 0.25

#: Makes the label of a chunk: path, version, chunk index, owner.
Labelling = Callable[[RemotePath, Version, int, str], ChunkLabel]


class Keeping:
    """A disk cache, for who fills it on purpose. For the loop only.

    Attributes:
        chunk_size: bytes.
    """

    def __init__(self, shelf: Shelf, label: Labelling, chunk_size: int) -> None:
        self._shelf = shelf
        self._label = label
        self.chunk_size = chunk_size

    def count_chunks(self, version: Version) -> int:
        """How many chunks a file has."""
        return -(-version.size // self.chunk_size)

    def get_missing(self, path: RemotePath, version: Version, *, is_use: bool) -> list[range]:
        """The runs of chunks that are not here; with ``is_use`` those that are count as used just now."""
        runs: list[range] = []
        for index in range(self.count_chunks(version)):
            row = self._shelf.known.get(path, version, index)
            if row is not None:
                if is_use:
                    self._shelf.rows.touch(row.id)
            elif runs and runs[-1].stop == index:
                runs[-1] = range(runs[-1].start, index + 1)
            else:
                runs.append(range(index, index + 1))
        return runs

    def get_disk_bytes(self, path: RemotePath, version: Version) -> int:
        """What all chunks of a file take on the disk."""
        count = self.count_chunks(version)
        if not count:
            return 0
        last = self._label(path, version, count - 1, "")
        of_last = self._shelf.store.get_disk_bytes(last, last.length)
        if count == 1:
            return of_last
        first = self._label(path, version, 0, "")
        return (count - 1) * self._shelf.store.get_disk_bytes(first, first.length) + of_last

    @property
    def is_measured(self) -> bool:
        """Whether the disk has been looked at since the start."""
        return self._shelf.upkeep.is_measured

    def get_capacity(self) -> int:
        """What chunks may take of the disk at most; what is pinned has its part of it."""
        return self._shelf.upkeep.get_capacity()

    async def store(
        self, path: RemotePath, version: Version, index: int, payload: memoryview | bytes, owner: str
    ) -> None:
        """Store a chunk; on return it is there.

        Raises:
            CacheError: it was not kept.
        """
        label = self._label(path, version, index, owner)
        for _ in range(TRIES):
            done = trio.Event()
            if self._shelf.publisher.offer(label, payload, done.set):
                await done.wait()
            if self._shelf.known.get(path, version, index) is not None:
                return
            await trio.sleep(PAUSE)
        raise CacheError("the cache does not keep it: it is full, or its disk or index refuses")

    async def is_sound(self, path: RemotePath, version: Version, index: int) -> bool:
        """Whether a chunk is here and is what was written: each byte of it is read."""
        row = self._shelf.known.get(path, version, index)
        if row is None:
            return False
        label = self._label(path, version, index, "")
        try:
            payload = await self._shelf.reads.run(
                lambda: self._shelf.store.load(label, row.length, row.checksum)
            )
        except CacheError:
            return False
        return len(payload) == label.length
