"""The body of one reply, at a pace.

The difficulty: a read timeout is per read, so a server that sends a byte every half second holds a reader for ever;
and a body that is left half-read must take its connection with it, or the next reply on it begins with somebody
else's bytes. Time spent in our reader's hands, on the other hand, is not the server's fault.

So waiting draws on an allowance (:attr:`Patience.stall` seconds at most) that each byte refills at
:attr:`Patience.min_rate`, and :meth:`Body.aclose` unwinds whatever is unfinished.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import httpx
import trio

from fuse4dbricks.errors import ProtocolViolation
from fuse4dbricks.workspace.http1 import PlainBody
from fuse4dbricks.workspace.network import TRANSPORT_ERRORS, in_body, timed_out
from fuse4dbricks.workspace.retry import Patience, Setback

T = TypeVar("T")


class Body:
    """Bytes as they arrive; :meth:`aclose` it in any case.

    ``allowance`` seconds may pass before the first of them.
    """

    def __init__(self, response: httpx.Response, patience: Patience, allowance: float, what: str) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._response = response
        # Iterated directly: httpx's own iterators are for decoding, which would unpack a gzip bomb.
        self._pieces: AsyncIterator[bytes] = aiter(response.stream)
        self._plain = response.stream if isinstance(response.stream, PlainBody) else None
        self._rest = memoryview(b"")
        self._is_started = False
        self._is_finished = False
        self._patience = patience
        self._allowance = min(allowance, patience.stall)
        self._what = what

    async def next_piece(self, deadline: float = float("inf")) -> bytes | None:
        """The next bytes, never empty; None at the end.

        Raises:
            Setback: the connection was lost, the body is too slow or incomplete, or ``deadline`` (trio time) passed.
        """
        if self._rest:
            piece, self._rest = bytes(self._rest), memoryview(b"")
            return piece
        return await self._next_full(deadline)

    async def receive_into(self, room: memoryview, deadline: float = float("inf")) -> int:
        """Put the next bytes at the start of ``room``, which is not empty: how many; 0 at the end.

        Raises:
            Setback: as :meth:`next_piece`; what ``room`` holds then is not to be used.
        """
        plain = self._plain
        if plain is not None and not self._rest:
            return await self._receive(deadline, lambda: plain.receive_into(room), int) or 0
        if not self._rest:
            self._rest = memoryview(await self._next_full(deadline) or b"")
        count = min(len(self._rest), len(room))
        room[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    @property
    def pending(self) -> int:
        """Bytes that came with those that were put in the last room, and had no place there."""
        return len(self._rest)

    async def _next_full(self, deadline: float) -> bytes | None:
        while (piece := await self._receive(deadline, self._pieces.__anext__, len)) == b"":
            pass
        return piece

    async def _receive(
        self, deadline: float, receive: Callable[[], Awaitable[T]], measure: Callable[[T], int]
    ) -> T | None:
        """What ``receive`` brings, in time; None at the end."""
        if self._is_finished:
            return None
        began = trio.current_time()
        self._is_started = True
        failure: Setback | None = None
        piece: T | None = None
        with trio.move_on_at(min(deadline, began + self._allowance)) as scope:
            try:
                piece = await receive()
            except StopAsyncIteration:
                self._is_finished = True
            except TRANSPORT_ERRORS as error:
                self._is_finished = True
                failure = in_body(self._what, error)
        if scope.cancelled_caught:
            self._is_finished = True
            raise timed_out(self._what, "the body")
        if failure is not None:
            raise failure
        if piece is not None:
            spent = trio.current_time() - began
            earned = measure(piece) / self._patience.min_rate
            self._allowance = max(0.0, min(self._patience.stall, self._allowance - spent + earned))
        return piece

    async def read_all(self, limit: int, deadline: float) -> bytes:
        """The whole body.

        Raises:
            ProtocolViolation: it is longer than ``limit`` bytes.
            Setback: as :meth:`next_piece`.
        """
        pieces: list[bytes] = []
        length = 0
        while (piece := await self.next_piece(deadline)) is not None:
            length += len(piece)
            if length > limit:
                raise ProtocolViolation(f"{self._what}: an answer of more than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Give the connection back if the body was read to its end, else close it. Never waits for the server."""
        if self._is_started and not self._is_finished:
            self._is_finished = True
            await self._unwind()
        with trio.CancelScope(shield=True):
            await self._response.aclose()

    async def _unwind(self) -> None:
        """Let the nested generators of httpx and httpcore end where they stand.

        They hold one another, so closing the outermost leaves the inner ones to the garbage collector, about which
        trio rightly warns. Under a cancelled scope each of them meets the exception itself and closes the connection.
        """
        with trio.CancelScope(shield=True) as scope:
            scope.cancel()
            try:
                while True:
                    await anext(self._pieces)
                    await trio.lowlevel.checkpoint()
            except (StopAsyncIteration, *TRANSPORT_ERRORS):
                pass
