"""One open handle: reads pinned to one version.

The difficulty: the same call must be a few microseconds when the bytes are in RAM, and survive everything when
they are not: a chunk file that turns out bad, another user's token that fails under a shared fetch, a fetch that
ends under the reader. So :meth:`FileReader.get` does no more than look, and :meth:`FileReader.read` looks again
after every wait, until it has the bytes or an error that is its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trio

from fuse4dbricks.cache.reading.chunk import Chunk
from fuse4dbricks.cache.reading.content import Content
from fuse4dbricks.cache.reading.extent import Extent
from fuse4dbricks.cache.reading.interest import Interest
from fuse4dbricks.cache.reading.ports import ReadBuffer, ViewerOf
from fuse4dbricks.cache.reading.tally import HitTally
from fuse4dbricks.concurrency.flights import own_copy
from fuse4dbricks.errors import (
    ChunkUnusable,
    DeadlineExceeded,
    InvalidToken,
    NotFound,
    NoToken,
    PermissionDenied,
    RemoteError,
    VersionChanged,
)

#: Of the 30 s that a request of the kernel may take, what a reader waits for a call that was begun ahead of need and
#: then runs out of time; after less he begins one of his own, which may take 25.
SHARE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Tallies:
    """What RAM and what the disk answered, over all handles."""

    ram: HitTally
    disk: HitTally


class FileReader:
    """Reads one version of one file for one opener.

    Attributes:
        version: what was opened; each byte returned is of it.
    """

    __slots__ = ("_chunk_size", "_content", "_interest", "_tallies", "version")

    def __init__(self, content: Content, viewer_of: ViewerOf, tallies: Tallies) -> None:
        self.version = content.version
        self._content = content
        self._interest = Interest(content, viewer_of)
        self._tallies = tallies
        self._chunk_size = content.tiers.chunk_size

    def get(self, offset: int, length: int) -> ReadBuffer | None:
        """Bytes [offset, offset + length), clipped to the file, if no wait is needed; else None."""
        stop = min(offset + length, self.version.size)
        if offset >= stop:
            return b""
        index, start = divmod(offset, self._chunk_size)
        until = start + stop - offset
        if until <= self._chunk_size:
            found = self._content.get_piece(index, start, until)
        else:
            found = self._get_span(offset, stop)
        if found is None:
            return None
        (self._tallies.ram if type(found) is memoryview else self._tallies.disk).add(stop - offset)
        self._interest.moved(offset, stop)
        self._interest.look_ahead()
        return found

    async def read(self, offset: int, length: int) -> ReadBuffer:
        """Bytes [offset, offset + length), clipped to the file, waiting for them where necessary.

        Raises:
            VersionChanged: the file is another one now; the handle will not read any more.
            RemoteError: the workspace refused, failed or stayed silent.
            NoToken: the opener has no token any more, and the bytes are not cached.
        """
        found = self.get(offset, length)
        if found is not None:
            return found
        if self._content.changed is not None:
            raise own_copy(self._content.changed)
        stop = min(offset + length, self.version.size)
        self._interest.moved(offset, stop)
        size = self._chunk_size
        first, last = offset // size, (stop - 1) // size
        # What this read waits for goes out before what it makes worth fetching ahead.
        self._interest.demand(first, last + 1)
        self._interest.look_ahead()
        with self._claimed(range(first, last + 1)):
            pieces = [
                await self._read_piece(index, max(offset - index * size, 0), min(stop - index * size, size))
                for index in range(first, last + 1)
            ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Give up every interest: what nobody else wants stops."""
        self._interest.close()
        tiers = self._content.tiers
        used, self._content.used = self._content.used, set()
        tiers.disk.release(self._content.path, self.version, used)
        tiers.ram.closed()
        self._tallies.ram.flush()
        self._tallies.disk.flush()

    def _get_span(self, offset: int, stop: int) -> bytes | None:
        """A read over chunk borders: the one case that copies."""
        pieces: list[ReadBuffer] = []
        while offset < stop:
            index, start = divmod(offset, self._chunk_size)
            until = min(self._chunk_size, start + stop - offset)
            piece = self._content.get_piece(index, start, until)
            if piece is None:
                return None
            pieces.append(piece)
            offset += until - start
        return b"".join(pieces)

    @contextmanager
    def _claimed(self, span: range) -> Iterator[None]:
        """Keep what is arriving of ``span`` from being cut, even if another read moves the handle elsewhere."""
        chunks = [chunk for index in span if (chunk := self._content.chunks.get(index)) is not None]
        for chunk in chunks:
            chunk.claims += 1
        try:
            yield
        finally:
            for chunk in chunks:
                chunk.claims -= 1
                if chunk.extent is not None:
                    chunk.extent.cut_if_useless()

    async def _read_piece(self, index: int, start: int, stop: int) -> ReadBuffer:
        """Bytes of one chunk, whatever it takes."""
        while True:
            if self._content.changed is not None:
                raise own_copy(self._content.changed)
            found = self._content.get_piece(index, start, stop)
            if found is not None:
                return found
            if index not in self._content.chunks:
                self._interest.demand(index, index + 1)
            chunk = self._content.chunks[index]
            is_remote = chunk.extent is not None
            if await self._is_reached(chunk, stop):
                self._count_wait(is_remote, stop - start)
                # By way of the chunk itself: it may have left RAM while this task was waking up.
                found = chunk.get(start, stop)
                if found is not None:
                    return found

    async def _is_reached(self, chunk: Chunk, need: int) -> bool:
        """Wait for a chunk's bytes. False: that way failed, another one may not.

        Raises:
            Exception: the error of the remote read, if asking again would be no different.
        """
        extent, began = chunk.extent, trio.current_time()
        if extent is not None:
            self._interest.join(extent)
            extent.ticket.promote()
        try:
            await chunk.reach(need)
        except ChunkUnusable:
            return False
        except (RemoteError, NoToken) as error:
            if await self._is_final(error, extent, trio.current_time() - began):
                raise
            return False
        return True

    async def _is_final(self, error: Exception, extent: Extent | None, waited: float) -> bool:
        """Whether a fetch of this handle's own would fail the same way, after so many seconds of waiting."""
        if extent is None or isinstance(error, VersionChanged):
            return True
        if extent.is_ahead:
            # Its attempts may have been used up before anybody waited.
            return isinstance(error, DeadlineExceeded) and waited >= SHARE_SECONDS
        if extent.leader is self._interest or not isinstance(
            # A workspace may say "no such file" to whom it is not for.
            error,
            InvalidToken | PermissionDenied | NotFound | NoToken,
        ):
            return True
        viewer = await self._interest.resolve_viewer()
        return extent.viewer is not None and extent.viewer.token == viewer.token

    def _count_wait(self, is_remote: bool, size: int) -> None:
        if is_remote:
            self._content.tiers.metrics.count("read.misses")
            self._content.tiers.metrics.add("read.miss_bytes", size)
        else:
            self._tallies.disk.add(size)
