"""One remote read: a run of missing chunks, streamed into them by a service task.

The difficulty: the reader who asked may seek away, be interrupted or lose his token while others have come to
need the same bytes; and what nobody needs any more still occupies one of eight connections. So an extent
belongs to no reader. Handles that have an interest are its ``fans``, reads under way are counted by the chunks
that they need; when both are gone it is *cut*: before the first byte of a chunk at once, else after the chunk
that is arriving, because closing the connection costs a new TLS handshake and the chunk is nearly there.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

import trio

from fuse4dbricks.cache.reading.chunk import Chunk
from fuse4dbricks.concurrency.flights import FlightAborted
from fuse4dbricks.errors import Fuse4dbricksError, InvalidToken, ProtocolViolation, VersionChanged
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.workspace.limits import Ticket, Urgency

if TYPE_CHECKING:
    from fuse4dbricks.cache.reading.content import Content


class Fan(Protocol):
    """An open handle, as its extents see it."""

    async def resolve_viewer(self) -> Viewer:
        """Who reads, with a valid token."""
        ...

    def extent_ended(self, extent: Extent, /) -> None:
        """It will bring nothing more."""
        ...


class Extent:
    """A remote read of consecutive chunks.

    Attributes:
        leader: the handle that asked first; its token fetches.
        is_ahead: nobody waited for it when it was started.
        viewer: whose token was used; None until it is known.
        ticket: its place in the queue for connections.
        chunks: still incomplete, in order; the first one is arriving. Empty when all is done.
        fans: handles with an interest.
    """

    __slots__ = (
        "_content",
        "_is_cut",
        "_offset",
        "_scope",
        "_stop",
        "chunks",
        "fans",
        "is_ahead",
        "leader",
        "ticket",
        "viewer",
    )

    def __init__(self, content: Content, leader: Fan, run: range, urgency: Urgency) -> None:
        self._content = content
        self.leader = leader
        self.viewer: Viewer | None = None
        self.is_ahead = urgency is Urgency.AHEAD
        self.ticket = Ticket(urgency)
        self.chunks = deque(Chunk(index, content.get_length(index), self) for index in run)
        self.fans: set[Fan] = set()
        self._offset = run.start * content.tiers.chunk_size
        self._stop = self._offset + sum(chunk.length for chunk in self.chunks)
        self._scope = trio.CancelScope()
        self._is_cut = False

    async def run(self) -> None:
        """Fetch; the service task. Errors go to those who wait for the bytes.

        Raises:
            Exception: an error that is not of this project's tree, for the log.
        """
        error: Exception = FlightAborted("extent")
        try:
            with self._scope:
                await self._fetch()
        except Exception as failure:  # noqa: BLE001 - it is not swallowed: each waiter raises it
            error = failure
            self._content.tiers.metrics.count("read.extents_failed", error=type(failure).__name__)
        finally:
            self.end(error)
        if isinstance(error, VersionChanged):
            await self._content.drop_changed(error)
        if not isinstance(error, Fuse4dbricksError | FlightAborted):
            raise error

    def leave(self, fan: Fan) -> None:
        """A handle lost its interest."""
        self.fans.discard(fan)
        self.cut_if_useless()

    def cut_if_useless(self) -> None:
        """Stop early when no handle and no task wants what is still to come."""
        if self.fans or any(chunk.is_wanted for chunk in self.chunks):
            return
        keep = 1 if self.chunks and self.chunks[0].filled else 0
        if len(self.chunks) == keep:
            return
        self._is_cut = True
        self._content.tiers.metrics.count("read.extents_cancelled")
        while len(self.chunks) > keep:
            self._give_up(self.chunks.pop(), FlightAborted("cut"))
        if not keep:
            self._scope.cancel()

    def end(self, error: Exception) -> None:
        """No more bytes: whoever still waits raises ``error``; chunks that are complete stay."""
        self._is_cut = True
        self._scope.cancel()
        while self.chunks:
            self._give_up(self.chunks.popleft(), error)
        self._content.extents.discard(self)
        for fan in self.fans:
            fan.extent_ended(self)
        self.fans.clear()

    async def _fetch(self) -> None:
        viewer = await self.leader.resolve_viewer()
        try:
            await self._stream(viewer)
        except InvalidToken:
            # A token can end in the middle of a long read; one that was renewed meanwhile goes on from there.
            renewed = await self.leader.resolve_viewer()
            if renewed.token == viewer.token:
                raise
            await self._stream(renewed)

    async def _stream(self, viewer: Viewer) -> None:
        self.viewer = viewer
        content = self._content
        async with content.tiers.source.stream_range(
            viewer.token, content.path, self._offset, self._stop, content.exact, self.ticket
        ) as pieces:
            content.pin(pieces.version)
            while self.chunks:
                count = await pieces.receive_into(self._get_room())
                if not count:
                    raise ProtocolViolation(
                        f"{content.path}: the stream ended at {self._offset}, not {self._stop}"
                    )
                if self._take(count, viewer):
                    # Who waited goes first: trio runs the two in any order, and the next turn may take a millisecond.
                    await trio.lowlevel.checkpoint()
            # Run to the natural end unless cut: only then can the connection be used again.
            if not self._is_cut and await pieces.receive_into(memoryview(bytearray(1))):
                raise ProtocolViolation(f"{content.path}: bytes beyond {self._stop}")

    def _get_room(self) -> memoryview:
        """Where the next bytes go; where there is no memory for that, the RAM tier gives way.

        Raises:
            MemoryError: that did not help.
        """
        chunk = self.chunks[0]
        try:
            room = chunk.get_room()
        except MemoryError:
            self._content.tiers.metrics.count("read.memory_short")
            self._content.tiers.ram.give_way()
            room = chunk.get_room()
        # All that came may be the whole chunk, whose decryption would make its first 4 KiB 1.3 ms later.
        return room if chunk.filled else room[: max(chunk.get_first_need(), self._content.tiers.shape.prompt)]

    def _take(self, count: int, viewer: Viewer) -> bool:
        """So many bytes came into the first chunk; whether somebody has waited for them."""
        if not self.chunks:
            return False  # cut while they came
        chunk = self.chunks[0]
        is_awaited = chunk.advance(count)
        self._offset += count
        if chunk.is_complete:
            self.chunks.popleft()
            self._settle(chunk)
            self._content.land(chunk, viewer.principal.user_name)
        return is_awaited

    def _give_up(self, chunk: Chunk, error: Exception) -> None:
        self._settle(chunk)
        self._content.lose(chunk)
        chunk.fail(error)

    def _settle(self, chunk: Chunk) -> None:
        chunk.extent = None
        self._content.tiers.budget.in_flight -= chunk.length
