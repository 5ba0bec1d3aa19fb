"""A scripted workspace, a disk of dictionaries, and a data cache on top of both.

Everything moves in trio checkpoints: a test holds the stream still, lets single pieces through, or makes it fail
at an exact offset; nothing sleeps. Sizes are small (a chunk has 64 bytes) so that an example costs microseconds.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace

import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.cache.reading.data_cache import DataCache, Gauges
from fuse4dbricks.cache.reading.opened import LateReader
from fuse4dbricks.cache.reading.ports import Pieces
from fuse4dbricks.cache.reading.window import WindowShape
from fuse4dbricks.concurrency.supervise import Supervisor, supervised
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import VersionChanged
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Principal, Token, Viewer
from fuse4dbricks.workspace.limits import Ticket, Urgency

CHUNK = 64
PIECE = 16
SHAPE = WindowShape(reorder=4 * CHUNK, widest=64 * CHUNK, step=8 * CHUNK, small_file=4 * CHUNK, prompt=PIECE)
PATH = RemotePath(("c", "s", "v", "file"))

Key = tuple[RemotePath, Version, int]


def content_of(size: int, seed: int = 0) -> bytes:
    """Bytes in which every offset can be told from its neighbours."""
    return random.Random(seed).randbytes(size)


def version_of(content: bytes, modified: int = 1) -> Version:
    return Version(len(content), modified)


@dataclass
class Opener:
    """A local user: who he is, and what his token is now. ``error`` is raised instead when set."""

    name: str = "ada"
    token: str = "token-of-ada"
    error: Exception | None = None
    asked: int = 0

    async def __call__(self) -> Viewer:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return Viewer(1000, Principal(self.name, f"{self.name}@example.com"), Token(self.token))


@dataclass
class Call:
    """One range request as the service saw it."""

    token: str
    start: int
    stop: int
    urgency: Urgency
    ticket: Ticket
    sent: int = 0
    is_exhausted: bool = False
    is_closed: bool = False

    @property
    def span(self) -> tuple[int, int]:
        return self.start, self.stop


class ScriptedSource:
    """Range requests over contents in memory.

    Attributes:
        files: what the service has now.
        calls: every request, in order.
        sent: how often each byte offset (of any file) was sent.
        pace: awaited before each piece; :meth:`hold` makes the stream wait for :meth:`allow`.
        failures: absolute offset → error, raised once instead of sending the byte at that offset.
        refused: token → error, raised when it opens a stream.
        extra: bytes sent after the last one that was asked for.
        is_short: the last piece is left out.
        piece: bytes that come at a time.
    """

    def __init__(self, files: dict[RemotePath, tuple[Version, bytes]]) -> None:
        self.files = files
        self.calls: list[Call] = []
        self.sent: Counter[tuple[RemotePath, int]] = Counter()
        self.pace: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        self._held_from: int | None = None
        self.failures: dict[int, Exception] = {}
        self.refused: dict[str, Exception] = {}
        self.extra = b""
        self.is_short = False
        self.piece = PIECE
        self._permits = trio.Semaphore(0)

    def hold(self, offset: int = 0) -> None:
        """From now on no piece at or beyond ``offset`` is sent without a permit."""
        self._held_from = offset

    async def let_go(self) -> None:
        """Everything may be sent again, at full speed."""
        self.pace = trio.lowlevel.checkpoint
        self._held_from = None
        await self.allow(1000)

    async def allow(self, pieces: int) -> None:
        """Let that many pieces through, whichever stream asks first, and wait until all is quiet."""
        for _ in range(pieces):
            self._permits.release()
        await wait_all_tasks_blocked()

    @property
    def spans(self) -> list[tuple[int, int]]:
        return [call.span for call in self.calls]

    @property
    def bytes_sent(self) -> int:
        return sum(call.sent for call in self.calls)

    @asynccontextmanager
    async def stream_range(
        self, token: Token, path: RemotePath, start: int, stop: int, version: Version, ticket: Ticket
    ) -> AsyncIterator[Pieces]:
        call = Call(token.reveal(), start, stop, ticket.urgency, ticket)
        self.calls.append(call)
        await trio.lowlevel.checkpoint()
        if call.token in self.refused:
            raise self.refused[call.token]
        now, content = self.files[path]
        if not now.same_bytes_as(version):
            raise VersionChanged("412", status=412)
        try:
            async with aclosing(self._pieces(call, path, content)) as pieces:
                yield ScriptedPieces(pieces, replace(version, etag=version.etag or now.etag))
        finally:
            call.is_closed = True

    async def _pieces(self, call: Call, path: RemotePath, content: bytes) -> AsyncGenerator[bytes]:
        offset = call.start
        while offset < call.stop:
            until = min(offset - offset % self.piece + self.piece, call.stop)
            await (
                self.pace()
                if self._held_from is None or offset < self._held_from
                else self._permits.acquire()
            )
            if self.is_short and until == call.stop:
                break
            for place in range(offset, until):
                if place in self.failures:
                    raise self.failures.pop(place)
            call.sent += until - offset
            self.sent.update((path, place) for place in range(offset, until))
            yield content[offset:until]
            offset = until
        if self.extra:
            yield self.extra
        call.is_exhausted = True


@dataclass
class ScriptedPieces:
    """A range as it arrives, with the ETag of the file as it is now."""

    pieces: AsyncGenerator[bytes]
    version: Version
    rest: bytes = b""
    received: int = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.pieces

    async def receive_into(self, room: memoryview) -> int:
        await trio.lowlevel.checkpoint()  # as every link does
        if not self.rest:
            self.rest = await anext(self.pieces, b"")
            self.received += len(self.rest)
        count = min(len(self.rest), len(room))
        room[:count], self.rest = self.rest[:count], self.rest[count:]
        return count


class DictDisk:
    """The disk tier as dictionaries.

    Attributes:
        stored: payloads by (path, version, chunk index).
        cold: chunks that ``read_now`` would block on; a load warms them.
        bad: chunks that look stored and fail when loaded.
        reads_in_loop: whether ``open_ahead`` makes chunks fit for ``read_now``; else they have to be loaded.
        opened: chunks that were to be opened ahead.
        takes: whether ``publish`` accepts.
        publishing: accepted and not stored, while ``is_slow``.
    """

    def __init__(self) -> None:
        self.stored: dict[Key, bytes] = {}
        self.cold: set[Key] = set()
        self.bad: set[Key] = set()
        self.reads_in_loop = False
        self.opened: list[int] = []
        self.takes = True
        self.is_slow = False
        self.publishing: list[tuple[Key, memoryview, Callable[[], None]]] = []
        self.loads: Counter[int] = Counter()
        self.loading = 0
        self.most_loading = 0
        self.held: Counter[tuple[RemotePath, Version]] = Counter()
        self.owners: Counter[str] = Counter()
        self.used: list[Collection[int] | None] = []
        self.dropped: list[Version] = []
        self.pace: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint

    def put(self, path: RemotePath, version: Version, content: bytes, chunks: Iterable[int]) -> None:
        """As an earlier mount left it: stored, and not in the page cache."""
        for index in chunks:
            key = (path, version, index)
            self.stored[key] = content[index * CHUNK : (index + 1) * CHUNK]
            self.cold.add(key)

    def get_known(self, path: RemotePath, version: Version, first: int, stop: int) -> frozenset[int]:
        return frozenset(index for index in range(first, stop) if (path, version, index) in self.stored)

    def read_now(
        self, path: RemotePath, version: Version, chunk_index: int, offset: int, length: int
    ) -> bytes | None:
        key = (path, version, chunk_index)
        if key not in self.stored or key in self.cold or key in self.bad:
            return None
        return self.stored[key][offset : offset + length]

    def open_ahead(self, path: RemotePath, version: Version, indexes: Sequence[int]) -> bool:
        if self.reads_in_loop:
            self.opened += indexes
            self.cold -= {(path, version, index) for index in indexes}
        return self.reads_in_loop

    async def load_chunk(self, path: RemotePath, version: Version, chunk_index: int) -> bytes | None:
        key = (path, version, chunk_index)
        self.loads[chunk_index] += 1
        self.loading += 1
        payload = self.stored.get(key)
        self.most_loading = max(self.most_loading, self.loading)
        try:
            await self.pace()
        finally:
            self.loading -= 1
        if key in self.bad:
            self.bad.discard(key)
            self.stored.pop(key, None)
            return None
        self.cold.discard(key)
        return payload

    def hold(self, path: RemotePath, version: Version) -> None:
        self.held[path, version] += 1

    def release(self, path: RemotePath, version: Version, used: Collection[int] | None = ()) -> None:
        self.held[path, version] -= 1
        self.used.append(used)

    def publish(
        self,
        path: RemotePath,
        version: Version,
        chunk_index: int,
        payload: memoryview,
        owner: str,
        on_done: Callable[[], None],
    ) -> bool:
        if not self.takes:
            return False
        self.owners[owner] += 1
        self.publishing.append(((path, version, chunk_index), payload, on_done))
        if not self.is_slow:
            trio.lowlevel.current_trio_token().run_sync_soon(self.store_all)
        return True

    def store_all(self) -> None:
        """Finish what was accepted."""
        waiting, self.publishing = self.publishing, []
        for key, payload, on_done in waiting:
            self.stored[key] = bytes(payload)
            on_done()

    def give_up_all(self) -> None:
        """Finish what was accepted, and store none of it, as a disk without room does."""
        waiting, self.publishing = self.publishing, []
        for _, _, on_done in waiting:
            on_done()

    async def drop_version(self, path: RemotePath, version: Version) -> None:
        await trio.lowlevel.checkpoint()
        self.dropped.append(version)
        for key in [key for key in self.stored if key[:2] == (path, version)]:
            del self.stored[key]


@dataclass
class Rig:
    """A data cache with everything round it."""

    cache: DataCache
    source: ScriptedSource
    disk: DictDisk
    metrics: Metrics
    supervisor: Supervisor

    def open(self, opener: Opener | None = None, path: RemotePath = PATH) -> LateReader:
        """A handle on the file as the service has it now."""
        return self.cache.open(opener or Opener(), path, self.source.files[path][0])

    async def settle(self) -> Gauges:
        """Wait until nothing moves any more."""
        await wait_all_tasks_blocked()
        return self.cache.get_gauges()


@asynccontextmanager
async def reading_rig(
    *contents: bytes,
    ram_bytes: int = 1000 * CHUNK,
    window_bytes: int = 256 * CHUNK,
    shape: WindowShape = SHAPE,
    most_gathered: int = 0,
) -> AsyncIterator[Rig]:
    """A rig over one file per content (``PATH``, then ``PATH`` with a number), idle again at the end."""
    files = {
        (PATH if not number else PATH.parent.child(f"file{number}")): (version_of(content), content)
        for number, content in enumerate(contents)
    }
    source, disk, metrics = ScriptedSource(files), DictDisk(), Metrics()
    async with supervised(metrics) as supervisor:
        cache = DataCache(
            files=source,
            disk=disk,
            supervisor=supervisor,
            metrics=metrics,
            ram_bytes=ram_bytes,
            window_bytes=window_bytes,
            chunk_size=CHUNK,
            shape=shape,
            most_gathered=most_gathered,
        )
        yield Rig(cache, source, disk, metrics, supervisor)
        if supervisor.is_open:
            await source.let_go()
        gauges = cache.get_gauges()
    assert (gauges.in_flight_bytes, gauges.extents, gauges.waiters, gauges.streams) == (0, 0, 0, 0), gauges


async def read_through(reader: LateReader, request: int = 32) -> bytes:
    """The whole file in order, as ``cat`` reads it."""
    parts = bytearray()
    while piece := await reader.read(len(parts), request):
        parts += piece
    return bytes(parts)
