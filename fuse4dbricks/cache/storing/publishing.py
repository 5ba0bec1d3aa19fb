"""Storing chunks behind the readers' backs: ``.tmp``, rename, then the row.

The difficulty: nobody waits for this, so it must bound itself. It holds buffers of readers, so the queue is bounded in
bytes; a buffer is given back exactly once, and never while a thread that was abandoned in a hanging write still reads
from it; room is reserved before the first byte is written; and what was dropped meanwhile gets no row.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import trio

from fuse4dbricks.cache.storing.breaker import Breaker
from fuse4dbricks.cache.storing.calls import DiskCalls
from fuse4dbricks.cache.storing.eviction import Eviction
from fuse4dbricks.cache.storing.known import KnownChunks
from fuse4dbricks.cache.storing.ports import ChunkRows, held_by, is_full
from fuse4dbricks.cache.storing.quotas import Quotas
from fuse4dbricks.cache.storing.removal import Removals
from fuse4dbricks.cache.storing.room import DiskLimits, Room
from fuse4dbricks.chunks import CacheFolder, ChunkLabel, ChunkName, ChunkStore
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import CacheError, ChunkUnusable, IndexUnavailable
from fuse4dbricks.index.records import NewChunk
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.units import MIB

logger = logging.getLogger("fuse4dbricks.cache")

#: Payloads that may wait to be written, together; and in number, for tiny ones.
MAX_QUEUED_BYTES = 64 * MIB
MAX_QUEUED = 1024

#: Chunks written at once: two keep one disk busy and leave a core to the readers.
AT_ONCE = 2

#: Seconds for the row; the index's writer is a thread on the same disk.
INDEX_DEADLINE = 20.0


@dataclass(slots=True, eq=False)
class _Job:
    """One chunk on its way to the disk.

    Attributes:
        is_unwanted: its version was dropped meanwhile.
        is_given_up: the loop does not wait for it any more; a thread that has not begun must not.
        is_in_thread: a thread reads the payload.
    """

    label: ChunkLabel
    name: ChunkName
    payload: memoryview | bytes
    disk_bytes: int
    on_done: Callable[[], None]
    is_unwanted: bool = False
    is_given_up: bool = False
    is_in_thread: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> bool:
        """In the thread: whether to read the payload at all."""
        with self.lock:
            self.is_in_thread = not self.is_given_up
            return self.is_in_thread

    def give_up(self) -> bool:
        """In the loop: no thread begins any more. Whether one has and is not over."""
        with self.lock:
            self.is_given_up = True
            return self.is_in_thread


@dataclass(frozen=True, slots=True)
class _Written:
    checksum: int
    index_bytes: int
    spare: int


@dataclass(frozen=True, slots=True)
class PublishingScene:
    """What publishing works on.

    Attributes:
        breaker: of writing files.
        index_breaker: of recording them; without rows files are not worth their writing.
    """

    rows: ChunkRows
    store: ChunkStore
    folder: CacheFolder
    limits: DiskLimits
    room: Room
    quotas: Quotas
    eviction: Eviction
    removals: Removals
    known: KnownChunks
    calls: DiskCalls
    breaker: Breaker
    index_breaker: Breaker
    metrics: Metrics


class Publisher:
    """The chunks that are to be stored, each with a task of its own, few of which are at work."""

    def __init__(self, scene: PublishingScene, supervisor: Supervisor) -> None:
        self._scene = scene
        self._supervisor = supervisor
        self._jobs: dict[ChunkName, _Job] = {}
        self._queued_bytes = 0
        self._is_open = True
        self._turns = trio.CapacityLimiter(AT_ONCE)
        self._idle = trio.Event()

    def is_publishing(self, name: ChunkName) -> bool:
        """Whether the chunk is waiting to be stored or being stored."""
        return name in self._jobs

    def offer(self, label: ChunkLabel, payload: memoryview | bytes, on_done: Callable[[], None]) -> bool:
        """Store a chunk in the background.

        Returns:
            Whether it was taken; then ``on_done`` is called once, in the loop, when the payload is not needed any more.
        """
        name = label.name()
        refusal = self._why_refused(label, name, len(payload))
        if refusal is not None:
            self._scene.metrics.count("disk.refused", reason=refusal)
            return False
        job = _Job(label, name, payload, self._scene.store.get_disk_bytes(label, len(payload)), on_done)
        self._jobs[name] = job
        self._queued_bytes += len(payload)
        self._supervisor.start_soon("publish", self._publish, job)
        return True

    def _why_refused(self, label: ChunkLabel, name: ChunkName, length: int) -> str | None:
        if not self._is_open or not self._supervisor.is_open:
            return "closed"
        if length != label.length:
            return "length"
        if name in self._jobs:
            return "duplicate"
        if not self._scene.breaker.is_due:
            return "disk"
        if not self._scene.index_breaker.is_due:
            return "index"
        if len(self._jobs) >= MAX_QUEUED or (self._jobs and self._queued_bytes + length > MAX_QUEUED_BYTES):
            return "queue"
        return None

    def drop_version(self, path: RemotePath, version: Version) -> None:
        """What is on its way of a version that is no more gets no row."""
        for job in self._jobs.values():
            if held_by(job.label) == (path, version):
                job.is_unwanted = True

    async def drain(self, within: float) -> bool:
        """Take no more, and wait up to ``within`` seconds until all that was taken is stored; whether it is."""
        self._is_open = False
        with trio.move_on_after(within):
            while self._jobs:
                await self._idle.wait()
        return not self._jobs

    # --- one chunk -------------------------------------------------------------------------------

    async def _publish(self, job: _Job) -> None:
        try:
            async with self._turns:
                refusal = await self._store(job)
            if refusal is not None:
                self._scene.metrics.count("disk.refused", reason=refusal)
        finally:
            if not job.give_up():
                self._finish(job)

    async def _store(self, job: _Job) -> str | None:
        """Why the chunk was not stored, or None."""
        try:
            await self._scene.removals.wait_for(job.name)
            return "dropped" if job.is_unwanted else await self._store_with_room(job)
        except ChunkUnusable:
            return "place"
        except IndexUnavailable:
            return "index"
        except CacheError as error:
            if not is_full(error):
                return "disk"
            self._scene.eviction.ask()
            return "space"

    async def _store_with_room(self, job: _Job) -> str | None:
        """Why the chunk was not stored, or None.

        Raises:
            CacheError: the disk failed, or (``IndexUnavailable``) the index did.
        """
        scene = self._scene
        if not await scene.eviction.make_room(job.label, job.disk_bytes):
            return "room"
        if not scene.index_breaker.allows():
            return "index"
        with scene.room.reserving(job.disk_bytes), scene.quotas.reserving(job.label, job.disk_bytes):
            written = await scene.calls.run(partial(self._write, job, trio.lowlevel.current_trio_token()))
            scene.room.index = written.index_bytes
            scene.room.spare = min(scene.room.spare, written.spare)
            if job.is_unwanted:
                await scene.removals.unlink([job.name])
                return "dropped"
            await self._record(job, written.checksum)
        scene.eviction.stored_one()
        scene.metrics.count("disk.published")
        scene.metrics.add("disk.published_bytes", len(job.payload))
        return None

    def _write(self, job: _Job, token: trio.lowlevel.TrioToken) -> _Written:
        """In a thread: the chunk file, and a look at what has grown meanwhile."""
        if not job.begin():
            raise CacheError("nobody waits for this chunk any more")
        try:
            spare = self._check_margin(job.disk_bytes)
            checksum = self._scene.store.write(job.label, job.payload)
            if job.is_given_up:
                # It came too late: without a row it would be an orphan until the next start.
                self._scene.store.remove([job.name])
            return _Written(checksum, self._scene.folder.index_bytes(), spare)
        finally:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._thread_over, job)

    def _check_margin(self, size: int) -> int:
        """What the disk has beyond its margin after ``size`` bytes more."""
        free, total = self._scene.folder.free_bytes()
        spare = free - size - self._scene.limits.get_margin(total)
        if spare < 0:
            cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise CacheError(f"only {free // MIB} MiB are free on its disk") from cause
        return spare

    async def _record(self, job: _Job, checksum: int) -> None:
        label, scene = job.label, self._scene
        row = NewChunk(
            label.chunk_index, job.name, len(job.payload), checksum, label.owner, disk_bytes=job.disk_bytes
        )
        try:
            with trio.fail_after(INDEX_DEADLINE):
                await scene.rows.add(label.path, label.version, [row])
        except trio.TooSlowError:
            # The row may still come, so the file stays.
            error = IndexUnavailable(f"the index did not take a row within {INDEX_DEADLINE:.0f} s")
            scene.index_breaker.failed(str(error), at_once=True)
            raise error from None
        except IndexUnavailable as error:
            scene.index_breaker.failed(str(error), at_once=True)
            await scene.removals.unlink([job.name])
            raise
        finally:
            scene.known.forget_chunk(label.path, label.version, label.chunk_index)
        scene.index_breaker.succeeded()

    def _thread_over(self, job: _Job) -> None:
        job.is_in_thread = False
        if job.is_given_up:
            self._finish(job)

    def _finish(self, job: _Job) -> None:
        del self._jobs[job.name]
        self._queued_bytes -= len(job.payload)
        try:
            job.on_done()
        except Exception:  # this may run outside any task, where an exception would end the event loop
            logger.exception("a reader's callback failed")
        if not self._jobs:
            self._idle.set()
            self._idle = trio.Event()
