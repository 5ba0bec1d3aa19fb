"""The disk tier: chunk files and their rows as one cache that cannot fail a reader.

The difficulty: between a reader and his bytes stand a disk, a folder and a database, and each of them may be full, slow,
broken or gone. Whatever happens here is a miss, and the reader goes to the workspace: nothing raises but
cancellation, every wait is bounded, a chunk that is not what its row says is dropped and counted, and a disk that
keeps failing is left alone until it works again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial

import trio

from fuse4dbricks.cache.storing.assembly import Shelf, Ties, assemble
from fuse4dbricks.cache.storing.keeping import Keeping
from fuse4dbricks.cache.storing.ports import Held, IndexPort
from fuse4dbricks.cache.storing.publishing import MAX_QUEUED_BYTES
from fuse4dbricks.cache.storing.removal import FINISH_SECONDS
from fuse4dbricks.cache.storing.room import DiskLimits
from fuse4dbricks.cache.storing.upkeep import Upkeep
from fuse4dbricks.chunks import CacheFolder, ChunkLabel, ChunkName, ChunkStore
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.completion import run_to_end
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import CacheError, ChunkUnusable
from fuse4dbricks.index.records import ChunkRow
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics

__all__ = ["DiskLimits", "DiskTier"]

logger = logging.getLogger("fuse4dbricks.cache")

#: Chunks of one file that the kernel may have served from its own pages and that are taken for used, at its close:
#: 0.1 ms for each 128 that nobody has asked about before.
MOST_TOUCHED = 1024

#: Seconds that forgetting a version may hold up whoever noticed that it is no more.
DROP_PATIENCE = 10.0


class DiskTier:
    """Chunks on disk, of one workspace and one chunk size.

    Args:
        index, store, folder: what it consists of; where one is None, or ``limits.max_bytes`` is 0, there is no disk
            cache: everything is a miss and nothing is stored.
        workspace: normalised host.
        chunk_size: bytes; the same as the readers'.
        queue_bytes: of payloads that may wait to be written; what comes beyond is not stored.
    """

    def __init__(
        self,
        *,
        index: IndexPort | None,
        store: ChunkStore | None,
        folder: CacheFolder | None,
        workspace: str,
        chunk_size: int,
        limits: DiskLimits,
        supervisor: Supervisor,
        metrics: Metrics,
        clock: Clock,
        queue_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        self._workspace = workspace
        self._chunk_size = chunk_size
        self._supervisor = supervisor
        self._metrics = metrics
        self._held: dict[Held, int] = {}
        self._index = index
        self._shelf: Shelf | None = None
        if index is not None and store is not None and folder is not None and limits.max_bytes > 0:
            ties = Ties(
                limits,
                workspace,
                chunk_size,
                supervisor,
                metrics,
                clock,
                self._held.keys,
                self._drop_unfit,
                queue_bytes,
            )
            self._shelf = assemble(index, store, folder, ties)

    # --- in the loop -----------------------------------------------------------------------------

    def get_known(self, path: RemotePath, version: Version, first: int, stop: int) -> frozenset[int]:
        """Which of the chunks [first, stop) can be had from disk now, as far as is known."""
        shelf = self._shelf
        if shelf is None or not shelf.read_breaker.is_due:
            return frozenset()
        return shelf.known.get_indexes(path, version, first, stop)

    def read_now(
        self, path: RemotePath, version: Version, chunk_index: int, offset: int, length: int
    ) -> bytes | bytearray | None:
        """Bytes of a verified chunk that is in the page cache; None when that cannot be without waiting."""
        shelf = self._shelf
        row = None if shelf is None else shelf.known.get(path, version, chunk_index)
        if shelf is None or row is None:
            return None
        name = ChunkName(row.name)
        content = shelf.store.read_now(name, offset, length)
        if content is None and not shelf.store.is_open(name) and _is_opened(shelf, row):
            content = shelf.store.read_now(name, offset, length)
        if content is None or len(content) != length:
            return None
        shelf.rows.touch(row.id)
        return content

    def open_ahead(self, path: RemotePath, version: Version, indexes: Sequence[int]) -> bool:
        """Get chunks ready for :meth:`read_now`, in the background; False where it has no chance."""
        shelf = self._shelf
        if shelf is None or not shelf.store.reads_in_loop or not self._supervisor.is_open:
            return False
        wanted: list[tuple[ChunkName, int, int]] = []
        for index in indexes:
            row = shelf.known.get(path, version, index)
            # Where one is not in memory the next ones are not either, and to look has the kernel read 4 KiB of each.
            if row is not None and (wanted or not _is_opened(shelf, row)):
                wanted.append((ChunkName(row.name), row.length, row.checksum))
        if wanted:
            self._supervisor.start_soon("open chunks", self._open_ahead, shelf, wanted)
        return True

    async def _open_ahead(self, shelf: Shelf, wanted: Sequence[tuple[ChunkName, int, int]]) -> None:
        with suppress(CacheError):  # counted and logged where it happened
            await shelf.reads.run(partial(shelf.store.open_ahead, wanted))

    def hold(self, path: RemotePath, version: Version) -> None:
        """One more reader is open: eviction leaves its chunks alone."""
        held = (path, version)
        self._held[held] = self._held.get(held, 0) + 1

    def release(self, path: RemotePath, version: Version, used: Collection[int] | None = ()) -> None:
        """One reader less; what it ``used`` from RAM (None: any of the file) counts as used here too.

        Or what is read most would look on disk as if nobody read it.
        """
        self._touch(path, version, used)
        held = (path, version)
        left = self._held.pop(held, 0) - 1
        if left > 0:
            self._held[held] = left
        elif self._shelf is not None:
            self._shelf.eviction.released()

    def _touch(self, path: RemotePath, version: Version, used: Collection[int] | None) -> None:
        shelf = self._shelf
        if shelf is None:
            return
        if used is None:
            used = range(min(MOST_TOUCHED, -(-version.size // self._chunk_size)))
        for index in used:
            row = shelf.known.get(path, version, index)
            if row is not None:
                shelf.rows.touch(row.id)

    def publish(
        self,
        path: RemotePath,
        version: Version,
        chunk_index: int,
        payload: memoryview | bytes,
        owner: str,
        on_done: Callable[[], None],
    ) -> bool:
        """Store a chunk in the background.

        Returns:
            Whether it was taken; then ``on_done`` is called once, in the loop, when the payload is not needed any more.
        """
        if self._shelf is None or self._is_uncounted:
            return False
        return self._shelf.publisher.offer(self._label(path, version, chunk_index, owner), payload, on_done)

    # --- with waiting ----------------------------------------------------------------------------

    async def load_chunk(self, path: RemotePath, version: Version, chunk_index: int) -> memoryview | None:
        """A whole chunk, verified; None is a miss."""
        shelf = self._shelf
        row = None if shelf is None else shelf.known.get(path, version, chunk_index)
        if shelf is None or row is None:
            return None
        label = self._label(path, version, chunk_index)
        self.hold(path, version)
        try:
            payload = await shelf.reads.run(partial(shelf.store.load, label, row.length, row.checksum))
        except ChunkUnusable as error:
            self._note_unusable(shelf, label, row, error)
            return None
        except CacheError:
            return None  # counted and logged where it happened
        finally:
            self.release(path, version)
        shelf.rows.touch(row.id)
        return payload

    async def read(
        self, path: RemotePath, version: Version, chunk_index: int, offset: int, length: int
    ) -> bytes | memoryview | None:
        """Bytes of a chunk: of a verified one no more than these are read from disk; None is a miss."""
        shelf = self._shelf
        row = None if shelf is None else shelf.known.get(path, version, chunk_index)
        if shelf is None or row is None:
            return None
        name = ChunkName(row.name)
        if shelf.store.is_verified(name):
            try:
                content = await shelf.reads.run(partial(shelf.store.read, name, offset, length))
            except ChunkUnusable:
                pass  # written to since it was verified: the whole chunk tells what it is now
            except CacheError:
                return None
            else:
                shelf.rows.touch(row.id)
                return content if len(content) == length else None
        payload = await self.load_chunk(path, version, chunk_index)
        return payload[offset : offset + length] if payload is not None else None

    async def drop_version(self, path: RemotePath, version: Version) -> None:
        """Forget everything of a version that is no more."""
        if self._shelf is not None:
            self._shelf.publisher.drop_version(path, version)
            await self._drop(self._shelf, path, version, None)

    # --- services --------------------------------------------------------------------------------

    async def run_eviction(self) -> None:
        """Keep to the limits until cancelled."""
        if self._shelf is not None:
            await self._shelf.eviction.run()

    async def run_sweep(self, rest: float = 0.0) -> None:
        """After ``rest`` seconds, and whenever the index was lost: record the chunk files that have no row, or remove them.

        An index that does not know all chunk files yet is given no rest.
        """
        if self._shelf is not None:
            await self._shelf.upkeep.stock.run(rest=rest)

    @property
    def upkeep(self) -> Upkeep | None:
        """For orders that people give; None where there is no disk cache."""
        return None if self._shelf is None else self._shelf.upkeep

    @property
    def keeping(self) -> Keeping | None:
        """For who fills the cache on purpose; None where there is no disk cache, or it is not all known yet."""
        if self._shelf is None or self._is_uncounted:
            return None
        return Keeping(self._shelf, self._label, self._chunk_size)

    @property
    def _is_uncounted(self) -> bool:
        """Whether there may be many chunk files that the index does not count: more would pass the limit."""
        return self._index is not None and not self._index.is_complete

    async def aclose(self, within: float = 3.0) -> None:
        """Take no more chunks, and store those that were taken, as far as that is done in ``within`` seconds."""
        if self._shelf is None:
            return
        left = await self._shelf.publisher.drain(within)
        if left:
            logger.info("%d chunks that were read last are not stored: there was no time left", left)

    # --- dropping --------------------------------------------------------------------------------

    def _label(self, path: RemotePath, version: Version, chunk_index: int, owner: str = "") -> ChunkLabel:
        return ChunkLabel(self._workspace, path, version, chunk_index, self._chunk_size, owner)

    def _note_unusable(self, shelf: Shelf, label: ChunkLabel, row: ChunkRow, error: ChunkUnusable) -> None:
        """A chunk is not what its row says: let the row go, unless it has gone already."""
        is_current = shelf.known.get(label.path, label.version, label.chunk_index) == row
        if not is_current or shelf.publisher.is_publishing(label.name()):
            return
        reason = "missing" if isinstance(error.__cause__, FileNotFoundError) else "damaged"
        self._metrics.count("disk.dropped", reason=reason)
        logger.warning(
            "chunk %d of %s is dropped from the cache: %s",
            label.chunk_index,
            label.path,
            error,
            extra={"rate_limit": 60},
        )
        self._drop_soon(shelf, label.path, label.version, [label.chunk_index])

    def _drop_unfit(self, path: RemotePath, version: Version, indexes: Sequence[int]) -> None:
        """Chunks of another length than this mount's: a former chunk size."""
        if self._shelf is not None:
            self._metrics.add("disk.dropped", len(indexes), reason="unfit")
            self._drop_soon(self._shelf, path, version, list(indexes))

    def _drop_soon(self, shelf: Shelf, path: RemotePath, version: Version, indexes: list[int]) -> None:
        if self._supervisor.is_open:
            self._supervisor.start_soon("drop chunks", self._drop, shelf, path, version, indexes)

    async def _drop(
        self, shelf: Shelf, path: RemotePath, version: Version, indexes: Sequence[int] | None
    ) -> None:
        """Rows, COMMIT, then files; None: of the whole version."""
        names = [self._label(path, version, index).name() for index in indexes or ()]

        async def remove() -> None:
            gone = await shelf.rows.remove(path, version, indexes)
            shelf.known.forget_version(path, version)
            await shelf.removals.unlink([ChunkName(name) for name in gone])

        try:
            with shelf.removals.claiming(names), trio.move_on_after(DROP_PATIENCE):
                await run_to_end(remove, within=FINISH_SECONDS)
        except CacheError as error:
            logger.warning("chunks could not be dropped: %s", error, extra={"rate_limit": 60})
        finally:
            shelf.known.forget_version(path, version)


def _is_opened(shelf: Shelf, row: ChunkRow) -> bool:
    """Whether a chunk is open, or could be opened in the loop.

    Which is not tried on a disk that is ill: each attempt has the kernel read the ends of a file ahead.
    """
    name, store = ChunkName(row.name), shelf.store
    return store.is_open(name) or (
        shelf.read_breaker.is_closed and store.open_now(name, row.length, row.checksum)
    )
