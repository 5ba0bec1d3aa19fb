"""Storing chunks behind the readers' backs: ``.tmp``, rename, then the row.

The difficulty: nobody waits for this, so it must bound itself. It holds buffers of readers, so the queue is bounded in
bytes; a buffer is given back exactly once, and never while a thread that was abandoned in a hanging write still reads
from it; room is reserved before the first byte is written; and what was dropped meanwhile gets no row.

It must keep up with the network, too, or what was read is not on disk after all. Each hop to a thread and each
transaction costs some turns of a loop that is busy with readers, 15 ms together, so what has gathered meanwhile is
written and recorded in one go.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
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

#: Payloads that may wait to be written, together, unless the tier is told otherwise; and in number, for tiny ones.
MAX_QUEUED_BYTES = 64 * MIB
MAX_QUEUED = 1024

#: Threads that write: two keep one disk busy and leave a core to the readers.
AT_ONCE = 2
#: When much waits, a download outruns them (380 against 320 MiB/s on two cores), and what finds the queue full is not
#: on disk in the end: then more of them compete for the processor.
HURRIED = 4
#: The part of the queue that makes the difference.
HURRY_SHARE = 0.125
#: Chunks that one of them writes before it is asked again.
BATCH = 8

#: Seconds for the row; the index's writer is a thread on the same disk.
INDEX_DEADLINE = 20.0


@dataclass(slots=True, eq=False)
class _Job:
    """One chunk on its way to the disk.

    Attributes:
        checksum: of what was written; None: it is not on disk.
        refusal: why it is not to be stored after all.
        is_unwanted: its version was dropped meanwhile.
        is_given_up: the loop does not wait for it any more; a thread that has not begun must not.
        is_in_thread: a thread reads the payload.
    """

    label: ChunkLabel
    name: ChunkName
    payload: memoryview | bytes
    disk_bytes: int
    on_done: Callable[[], None]
    checksum: int | None = None
    refusal: str | None = None
    is_unwanted: bool = False
    is_given_up: bool = False
    is_in_thread: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> bool:
        """In the thread: whether to read the payload at all."""
        with self.lock:
            self.is_in_thread = not self.is_given_up
            return self.is_in_thread

    def wrote(self, checksum: int) -> bool:
        """In the thread: the file is there. Whether somebody will record it."""
        with self.lock:
            self.checksum = None if self.is_given_up else checksum
            return not self.is_given_up

    def end(self) -> bool:
        """In the thread: it reads the payload no more. Whether the loop has gone on without it, and is to be told."""
        with self.lock:
            self.is_in_thread = False
            return self.is_given_up

    def give_up(self) -> bool:
        """In the loop: no thread begins any more. Whether one has and is not over."""
        with self.lock:
            self.is_given_up = True
            return self.is_in_thread


@dataclass(frozen=True, slots=True)
class _Look:
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
    """The chunks that are to be stored, and up to :data:`HURRIED` tasks that store them, a batch at a time.

    ``queue_bytes`` of payloads may wait.
    """

    def __init__(
        self, scene: PublishingScene, supervisor: Supervisor, queue_bytes: int = MAX_QUEUED_BYTES
    ) -> None:
        self._scene = scene
        self._supervisor = supervisor
        self._jobs: dict[ChunkName, _Job] = {}
        self._pending: deque[_Job] = deque()
        self._queued_bytes = 0
        self._max_queued_bytes = queue_bytes
        self._is_open = True
        self._workers = 0
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
        self._pending.append(job)
        self._queued_bytes += len(payload)
        if self._workers < (HURRIED if self._is_hurried else AT_ONCE):
            self._workers += 1
            self._supervisor.start_soon("publish", self._work)
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
        if len(self._jobs) >= MAX_QUEUED or (
            self._jobs and self._queued_bytes + length > self._max_queued_bytes
        ):
            return "queue"
        return None

    @property
    def _is_hurried(self) -> bool:
        return self._queued_bytes > HURRY_SHARE * self._max_queued_bytes

    def drop_version(self, path: RemotePath, version: Version) -> None:
        """What is on its way of a version that is no more gets no row."""
        for job in self._jobs.values():
            if held_by(job.label) == (path, version):
                job.is_unwanted = True

    async def drain(self, within: float) -> int:
        """Take no more, and wait up to ``within`` seconds until all that was taken is stored; how many are not."""
        self._is_open = False
        with trio.move_on_after(within):
            while self._jobs:
                await self._idle.wait()
        return len(self._jobs)

    # --- a batch -----------------------------------------------------------------------------------

    async def _work(self) -> None:
        try:
            while self._pending:
                # Removals that were asked for before these chunks were offered get under way first.
                await trio.lowlevel.checkpoint()
                await self._publish(self._take_batch())
        finally:
            self._workers -= 1
            while self._pending and not self._workers:  # only when this was cancelled or failed
                self._finish(self._pending.popleft())

    def _take_batch(self) -> list[_Job]:
        """The next chunks that can be recorded together: of one version. None when others were quicker."""
        batch: list[_Job] = []
        share = min(BATCH, -(-len(self._pending) // AT_ONCE))
        while self._pending and len(batch) < share:
            if batch and held_by(self._pending[0].label) != held_by(batch[0].label):
                break
            batch.append(self._pending.popleft())
        return batch

    async def _publish(self, batch: Sequence[_Job]) -> None:
        try:
            with ExitStack() as reserved:
                for job in batch:
                    await self._prepare(job, reserved)
                await self._write(_remaining(batch))
                await self._drop_unwanted(_remaining(batch))
                await self._record(_remaining(batch))
            self._account(batch)
        finally:
            for job in batch:
                if not job.give_up():
                    self._finish(job)

    async def _prepare(self, job: _Job, reserved: ExitStack) -> None:
        """Find room for the chunk, or a reason not to store it."""
        scene = self._scene
        await scene.removals.wait_for(job.name)
        if job.is_unwanted:
            job.refusal = "dropped"
        elif await scene.eviction.make_room(job.label, job.disk_bytes):
            reserved.enter_context(scene.room.reserving(job.disk_bytes))
            reserved.enter_context(scene.quotas.reserving(job.label, job.disk_bytes))
        else:
            job.refusal = "room"

    async def _write(self, jobs: Sequence[_Job]) -> None:
        scene = self._scene
        if not jobs:
            return
        if not scene.index_breaker.allows():
            _refuse(jobs, "index")
            return
        try:
            look = await scene.calls.run(partial(self._write_files, jobs, trio.lowlevel.current_trio_token()))
        except CacheError as error:
            for job in jobs:
                job.give_up()
            _refuse([job for job in jobs if job.checksum is None], "space" if is_full(error) else "disk")
            if is_full(error):
                scene.eviction.ask()
        else:
            scene.room.index, scene.room.spare = look.index_bytes, min(scene.room.spare, look.spare)

    def _write_files(self, jobs: Sequence[_Job], token: trio.lowlevel.TrioToken) -> _Look:
        """In a thread: the chunk files, and a look at what has grown meanwhile."""
        spare = 0
        with self._scene.store.writing() as write:
            for job in jobs:
                if not job.begin():
                    raise CacheError("nobody waits for these chunks any more")
                try:
                    spare = self._check_margin(job.disk_bytes)
                    if not job.wrote(write(job.label, job.payload)):
                        # It came too late: without a row it would be an orphan until the next start.
                        self._scene.store.remove([job.name])
                except ChunkUnusable:
                    job.refusal = "place"
                finally:
                    if job.end():
                        with suppress(trio.RunFinishedError):
                            token.run_sync_soon(self._finish, job)
        return _Look(self._scene.folder.index_bytes(), spare)

    def _check_margin(self, size: int) -> int:
        """What the disk has beyond its margin after ``size`` bytes more."""
        free, total = self._scene.folder.free_bytes()
        spare = free - size - self._scene.limits.get_margin(total)
        if spare < 0:
            cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise CacheError(f"only {free // MIB} MiB are free on its disk") from cause
        return spare

    async def _drop_unwanted(self, jobs: Sequence[_Job]) -> None:
        unwanted = [job for job in jobs if job.is_unwanted]
        if unwanted:
            _refuse(unwanted, "dropped")
            await self._scene.removals.unlink([job.name for job in unwanted])

    async def _record(self, jobs: Sequence[_Job]) -> None:
        scene = self._scene
        if not jobs:
            return
        path, version = held_by(jobs[0].label)
        try:
            with trio.fail_after(INDEX_DEADLINE):
                await scene.rows.add(path, version, [_row(job) for job in jobs])
        except trio.TooSlowError:
            # The rows may still come, so the files stay.
            _refuse(jobs, "index")
            scene.index_breaker.failed(
                f"the index did not take a row within {INDEX_DEADLINE:.0f} s", at_once=True
            )
        except IndexUnavailable as error:
            _refuse(jobs, "index")
            scene.index_breaker.failed(str(error), at_once=True)
            await scene.removals.unlink([job.name for job in jobs])
        else:
            scene.index_breaker.succeeded()
        finally:
            for job in jobs:
                scene.known.forget_chunk(path, version, job.label.chunk_index)

    def _account(self, batch: Sequence[_Job]) -> None:
        scene, stored = self._scene, _remaining(batch)
        for job in batch:
            if job.refusal is not None:
                scene.metrics.count("disk.refused", reason=job.refusal)
        if stored:
            scene.eviction.stored_one()
            scene.metrics.add("disk.published", len(stored))
            scene.metrics.add("disk.published_bytes", sum(len(job.payload) for job in stored))

    def _finish(self, job: _Job) -> None:
        if self._jobs.get(job.name) is not job:
            return  # an abandoned thread was over first
        del self._jobs[job.name]
        self._queued_bytes -= len(job.payload)
        try:
            job.on_done()
        except Exception:  # this may run outside any task, where an exception would end the event loop
            logger.exception("a reader's callback failed")
        if not self._jobs:
            self._idle.set()
            self._idle = trio.Event()


def _remaining(jobs: Sequence[_Job]) -> list[_Job]:
    """Those that nothing speaks against so far."""
    return [job for job in jobs if job.refusal is None]


def _refuse(jobs: Sequence[_Job], reason: str) -> None:
    for job in jobs:
        job.refusal = job.refusal or reason


def _row(job: _Job) -> NewChunk:
    assert job.checksum is not None, "only what was written is recorded"
    label = job.label
    return NewChunk(
        label.chunk_index, job.name, len(job.payload), job.checksum, label.owner, disk_bytes=job.disk_bytes
    )
