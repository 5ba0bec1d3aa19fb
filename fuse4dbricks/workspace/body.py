"""The body of one reply, at a pace.

The difficulty: a read timeout is per read, so a server that sends a byte every half second holds a reader for ever;
and a body that is left half-read must take its connection with it, or the next reply on it begins with somebody
else's bytes. Time spent in our reader's hands, on the other hand, is not the server's fault.

So waiting draws on an allowance (:attr:`Patience.stall` seconds at most) that each byte refills at
:attr:`Patience.min_rate`, and :meth:`Body.aclose` unwinds whatever is unfinished.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import trio

from fuse4dbricks.errors import ProtocolViolation
from fuse4dbricks.workspace.network import TRANSPORT_ERRORS, in_body, timed_out
from fuse4dbricks.workspace.retry import Patience, Setback


class Body:
    """Bytes as they arrive; :meth:`aclose` it in any case.

    ``allowance`` seconds may pass before the first of them.
    """

    def __init__(self, response: httpx.Response, patience: Patience, allowance: float, what: str) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._response = response
        # Iterated directly: httpx's own iterators are for decoding, which would unpack a gzip bomb.
        self._pieces: AsyncIterator[bytes] = aiter(response.stream)
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
        while (piece := await self._receive(deadline)) == b"":
            pass
        return piece

    async def _receive(self, deadline: float) -> bytes | None:
        if self._is_finished:
            return None
        began = trio.current_time()
        self._is_started = True
        failure: Setback | None = None
        piece: bytes | None = None
        with trio.move_on_at(min(deadline, began + self._allowance)) as scope:
            try:
                piece = await anext(self._pieces)
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
            earned = len(piece) / self._patience.min_rate
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
