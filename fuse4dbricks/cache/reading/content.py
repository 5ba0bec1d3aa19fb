"""One version of one file, as all its readers share it: what of it is in RAM or on its way.

The difficulty: the same chunk may be arriving, in RAM, waiting to be written to disk, or two of these, while
handles of several users read it, and it must be fetched once. ``chunks`` is the one place where a chunk is
found: it is entered when somebody starts to fetch it and leaves only when it is neither arriving, nor kept by
the RAM tier, nor being written to disk. All of this happens between awaits, so there is no lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import trio

from fuse4dbricks.cache.reading.budget import WindowBudget
from fuse4dbricks.cache.reading.chunk import Chunk
from fuse4dbricks.cache.reading.extent import Extent, Fan
from fuse4dbricks.cache.reading.ports import DiskPort, RangeSource, ReadBuffer
from fuse4dbricks.cache.reading.ram import RamTier
from fuse4dbricks.cache.reading.window import WindowShape
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import ChunkUnusable, VersionChanged
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.workspace.limits import Urgency


@dataclass(frozen=True, slots=True)
class Tiers:
    """The layers below a reader, and what bounds them.

    Attributes:
        loads_ahead: how many threads may load from disk ahead of need.
        most_gathered: bytes between the first and the last place of a file that is read all over, up to which what lies
            between is fetched ahead of need.
    """

    ram: RamTier
    disk: DiskPort
    source: RangeSource
    budget: WindowBudget
    supervisor: Supervisor
    metrics: Metrics
    chunk_size: int
    shape: WindowShape
    loads_ahead: trio.CapacityLimiter
    most_gathered: int


class Content:
    """The chunks of one (path, version). Lives as long as a reader, a fetch or the RAM tier refers to it.

    Attributes:
        chunks: in RAM or arriving, by index.
        extents: remote reads under way.
        exact: the version, with the ETag that the first reply showed: what later replies are held to.
        used: chunks that RAM answered for since a handle was last closed.
        changed: why this version is no more; from then on nothing of it is served.
    """

    __slots__ = (
        "__weakref__",
        "_unreadable",
        "changed",
        "chunks",
        "exact",
        "extents",
        "path",
        "tiers",
        "used",
        "version",
    )

    def __init__(self, tiers: Tiers, path: RemotePath, version: Version) -> None:
        self.tiers = tiers
        self.path = path
        self.version = self.exact = version
        self.chunks: dict[int, Chunk] = {}
        self.extents: set[Extent] = set()
        self.changed: VersionChanged | None = None
        self.used: set[int] = set()
        self._unreadable: set[int] = set()

    def get_length(self, index: int) -> int:
        """Bytes of a chunk; only the last one is short."""
        size = self.tiers.chunk_size
        return min(size, self.version.size - index * size)

    def get_piece(self, index: int, start: int, stop: int) -> ReadBuffer | None:
        """Bytes [start, stop) of a chunk if RAM or a warm chunk file has them; None means wait."""
        chunk = self.chunks.get(index)
        if chunk is None:
            return self._read_now(index, start, stop - start)
        self.tiers.ram.touch(chunk)
        self.used.add(index)
        return chunk.get(start, stop)

    def _read_now(self, index: int, start: int, length: int) -> bytes | bytearray | None:
        if self.changed is not None:
            return None
        piece = self.tiers.disk.read_now(self.path, self.version, index, start, length)
        # A file that was cut while it is open reads short: a miss like any other damage.
        return piece if piece is not None and len(piece) == length else None

    def get_absent(self, first: int, stop: int) -> tuple[list[int], list[range]]:
        """Of the chunks [first, stop) not in RAM: those on disk, and the runs that only the workspace has."""
        absent = [index for index in range(first, stop) if index not in self.chunks]
        if not absent:
            return [], []
        known = self.tiers.disk.get_known(self.path, self.version, first, stop)
        stored = [index for index in absent if index in known and index not in self._unreadable]
        return stored, list(_runs(index for index in absent if index not in stored))

    def fetch(self, run: range, leader: Fan, urgency: Urgency) -> Extent:
        """Start a remote read of chunks that nobody is fetching yet."""
        extent = Extent(self, leader, run, urgency)
        self.tiers.supervisor.start_soon("extent", extent.run)
        self.extents.add(extent)
        for chunk in extent.chunks:
            self.chunks[chunk.index] = chunk
            self.tiers.budget.in_flight += chunk.length
        self.tiers.ram.trim()
        self.tiers.metrics.count("read.extents", urgency=urgency.name.lower())
        return extent

    def pin(self, seen: Version) -> None:
        """Hold every reply to the ETag of the first: a change within one second shows in nothing else.

        Raises:
            VersionChanged: this reply has another one.
        """
        if seen.etag is None:
            return
        if self.exact.etag is None:
            self.exact = replace(self.exact, etag=seen.etag)
        elif self.exact.etag != seen.etag:
            raise VersionChanged(f"{self.path}: the ETag is another one now")

    def load(self, index: int, *, is_ahead: bool) -> None:
        """Start loading a chunk from disk."""
        chunk = Chunk(index, self.get_length(index))
        self.tiers.supervisor.start_soon("load chunk", self._load, chunk, is_ahead)
        self.chunks[index] = chunk

    def approach(self, indexes: Sequence[int]) -> None:
        """A sequential reader comes to these chunks, which are on disk, soon."""
        if self.changed is not None or self.tiers.disk.open_ahead(self.path, self.version, indexes):
            return
        for index in indexes:
            # A chunk that is verified and in memory needs no thread: one byte tells.
            if self.get_piece(index, 0, 1) is None:
                self.load(index, is_ahead=True)

    def land(self, chunk: Chunk, owner: str) -> None:
        """A chunk has come from the workspace: keep it, and store it behind the reader's back."""
        chunk.is_publishing = True
        self._keep(chunk)
        payload = chunk.get_payload()
        done = partial(self._published, chunk)
        if not self.tiers.disk.publish(self.path, self.version, chunk.index, payload, owner, done):
            self._release(chunk)

    def pass_by(self, index: int) -> None:
        """A sequential reader has left the chunk behind.

        What is on disk was written or read a moment ago, so it is in the page cache, too; and memory that is used
        again is warm, while 512 MiB of new pages cost as much as their download.
        """
        chunk = self.chunks.get(index)
        if chunk is None or chunk.extent is not None or chunk.is_wanted:
            return
        chunk.is_passed = True
        if not chunk.is_publishing and self.is_stored(index):
            self.tiers.ram.drop(chunk)
            self.lose(chunk)

    def is_stored(self, index: int) -> bool:
        """Whether a chunk is on disk, as far as is known."""
        return index in self.tiers.disk.get_known(self.path, self.version, index, index + 1)

    def lose(self, chunk: Chunk) -> None:
        """A chunk will not be here (any more)."""
        if self.chunks.get(chunk.index) is chunk:
            del self.chunks[chunk.index]

    async def drop_changed(self, error: VersionChanged) -> None:
        """The file is another one now: forget all of this version, and tell everyone who reads it."""
        if self.changed is not None:
            return
        self.changed = error
        self.tiers.metrics.count("read.version_changed")
        for extent in list(self.extents):
            extent.end(error)
        for chunk in self.chunks.values():
            self.tiers.ram.drop(chunk)
        self.chunks.clear()
        await self.tiers.disk.drop_version(self.path, self.version)

    def _keep(self, chunk: Chunk) -> None:
        if self.chunks.get(chunk.index) is chunk:
            self.tiers.ram.keep(chunk, self._evicted)

    def _evicted(self, chunk: Chunk) -> None:
        # A second fetch of a chunk that is about to be on disk would be a waste of both.
        if not chunk.is_publishing:
            self.lose(chunk)

    def _published(self, chunk: Chunk) -> None:
        self._unreadable.discard(chunk.index)
        self._release(chunk)

    def _release(self, chunk: Chunk) -> None:
        """The disk tier does not need the chunk any more; perhaps nobody does."""
        chunk.is_publishing = False
        if chunk not in self.tiers.ram:
            self.lose(chunk)
        elif chunk.is_passed:
            self.pass_by(chunk.index)

    async def _load(self, chunk: Chunk, is_ahead: bool) -> None:
        try:
            payload = await self._load_payload(chunk.index, is_ahead)
            if payload is not None and len(payload) == chunk.length:
                chunk.complete(payload)
                self._keep(chunk)
        finally:
            if not chunk.is_complete:
                self._unreadable.add(chunk.index)
                self.lose(chunk)
                chunk.fail(ChunkUnusable(f"{self.path}: chunk {chunk.index} is not on disk after all"))

    async def _load_payload(self, index: int, is_ahead: bool) -> bytes | memoryview | None:
        if not is_ahead:
            return await self.tiers.disk.load_chunk(self.path, self.version, index)
        async with self.tiers.loads_ahead:
            return await self.tiers.disk.load_chunk(self.path, self.version, index)


def _runs(indexes: Iterator[int]) -> Iterator[range]:
    """Consecutive indexes as ranges."""
    run = range(0)
    for index in indexes:
        if run and run.stop == index:
            run = range(run.start, index + 1)
            continue
        if run:
            yield run
        run = range(index, index + 1)
    if run:
        yield run
