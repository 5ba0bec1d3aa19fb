"""A range of one version of a file as one stream, over as many replies as it takes.

The difficulty: long bodies break. A reader has seen the first megabytes and wants the rest, of the same bytes: so a
stream that breaks goes on at the offset it reached, in a new reply that is checked like the first, against the ETag
that the first one showed if it showed one. It ends when there is no progress, by attempts and by time; while bytes
come it may go on for ever.

Where there is a way past the workspace (``cloud.py``), a reply may come from there. What goes wrong with that one costs
the reader nothing but the way back: the stream goes on with the Files API, and stays there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self, TypeVar

from fuse4dbricks.entry import Version
from fuse4dbricks.errors import ProtocolViolation, RemoteError, VersionChanged
from fuse4dbricks.tokens import Token
from fuse4dbricks.workspace.calls import Caller, violation_in
from fuse4dbricks.workspace.dates import format_http_date
from fuse4dbricks.workspace.exchange import Call, Reply
from fuse4dbricks.workspace.identity import Identity
from fuse4dbricks.workspace.limits import Lane, Ticket
from fuse4dbricks.workspace.ranges import check_range_reply
from fuse4dbricks.workspace.replies import VIOLATION_TRIES
from fuse4dbricks.workspace.retry import Budget, Setback, persist

_ACCEPT = frozenset({200, 206})

T = TypeVar("T")


class Detour(Protocol):
    """Another way to the bytes of the same file."""

    async def open(self, span: range, version: Version, ticket: Ticket, /) -> Reply | None:
        """A reply that was checked, or None when there is none to be had this way."""
        ...

    def give_up(self, reason: str, /) -> None:
        """A reply broke off or does not fit."""
        ...


class RangeStream:
    """Bytes ``[start, stop)``, contiguous; an async context manager.

    Either its own iterator, in pieces, or :meth:`receive_into`, without a copy.
    """

    def __init__(
        self,
        caller: Caller,
        identity: Identity,
        token: Token,
        url_path: str,
        start: int,
        stop: int,
        version: Version,
        ticket: Ticket,
        detour: Detour | None = None,
    ) -> None:
        self._caller = caller
        self._detour = detour
        self._came_by: Detour | None = None
        self._identity = identity
        self._token = token
        self._url_path = url_path
        self._start = self._offset = start
        self._stop = stop
        self._version = version
        self._ticket = ticket
        self._budget: Budget | None = None
        self._reply: Reply | None = None
        self._gained = 0

    @property
    def version(self) -> Version:
        """What was asked for, with the ETag that the reply showed, if it showed one."""
        return self._version

    @property
    def received(self) -> int:
        """Bytes that have come so far."""
        return self._offset - self._start

    async def __aenter__(self) -> Self:
        if self._offset < self._stop:
            self._budget = self._caller.budget()
            await self._reopen(self._budget)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._next(self._take)
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def receive_into(self, room: memoryview) -> int:
        """Put the next bytes at the start of ``room``, which is not empty: how many; 0 at the end of the range.

        Beyond so many bytes, what ``room`` holds is not to be used: it may be of a reply that was rejected.

        Raises:
            RemoteError: as opening the stream.
        """
        return await self._next(lambda reply: self._take_into(reply, room)) or 0

    async def _next(self, take: Callable[[Reply], Awaitable[T]]) -> T | None:
        """What ``take`` gets out of this reply or another one; None at the end of the range."""
        while self._offset < self._stop:
            assert self._budget is not None, "a stream is used inside its context"
            reply = self._reply or await self._reopen(self._budget)
            try:
                return await take(reply)
            except Setback as failure:
                setback = failure
            await self._close()
            self._credit(self._budget)
            if self._came_by is not None:
                self._came_by.give_up(setback.reason)
                self._came_by = self._detour = None
            else:
                await self._budget.back_off(setback)
        return None

    async def _take(self, reply: Reply) -> bytes:
        """The next piece. The last one is handed on only when the body has ended where it should."""
        piece = await reply.body.next_piece()
        if piece is None:
            raise self._violation(reply, "the body is shorter than its headers say")
        await self._gain(reply, len(piece))
        return piece

    async def _take_into(self, reply: Reply, room: memoryview) -> int:
        """As :meth:`_take`; a byte beyond the range never gets into ``room``."""
        count = await reply.body.receive_into(room[: self._stop - self._offset])
        if not count:
            raise self._violation(reply, "the body is shorter than its headers say")
        await self._gain(reply, count, reply.body.pending)
        return count

    async def _gain(self, reply: Reply, count: int, pending: int = 0) -> None:
        """Count bytes that came, ``pending`` more with them; where the range ends the body must, too."""
        end = self._offset + count
        is_last = end == self._stop
        if end + pending > self._stop or (is_last and await reply.body.next_piece() is not None):
            raise self._violation(reply, "the body is longer than its headers say")
        self._offset = end
        self._gained += count
        self._caller.metrics.add("remote.bytes", count)
        if is_last:
            await self._close()

    async def _reopen(self, budget: Budget) -> Reply:
        if self._detour is not None:
            self._reply = await self._detour.open(
                range(self._offset, self._stop), self._version, self._ticket
            )
            if self._reply is not None:
                self._came_by = self._detour
                return self._reply
        async with self._identity.settling_denials(self._token):
            self._reply = await persist(budget, lambda: self._open_once(budget))
        self._came_by = None
        return self._reply

    async def _open_once(self, budget: Budget) -> Reply:
        reply = await self._caller.open(self._call(), self._token, self._ticket, budget, _ACCEPT)
        failure: RemoteError | Setback
        try:
            self._version = check_range_reply(
                reply.status, reply.headers, start=self._offset, stop=self._stop, version=self._version
            )
        except ProtocolViolation as error:
            failure = self._violation(reply, str(error))
        except VersionChanged as error:
            failure = VersionChanged(f"{self._call().what}: {error}", status=reply.status)
        else:
            return reply
        await reply.aclose()
        raise failure

    def _call(self) -> Call:
        headers = {"Range": f"bytes={self._offset}-{self._stop - 1}"}
        if self._version.last_modified is not None:
            # The server's own time; one built from a local clock has made every read fail (databricks-api 1.3).
            headers["If-Unmodified-Since"] = format_http_date(self._version.last_modified)
        return Call("range", Lane.DATA, "GET", self._url_path, headers=headers)

    def _credit(self, budget: Budget) -> None:
        """Renew the budget if this reply brought as much as the slowest tolerable one would have in all of it."""
        if self._gained >= budget.patience.min_rate * budget.patience.total:
            budget.renew()
        self._gained = 0

    def _violation(self, reply: Reply, text: str) -> Setback:
        violation = violation_in(self._call(), reply, text)
        return Setback(violation, reason="violation", tries=VIOLATION_TRIES)

    async def _close(self) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            await reply.aclose()
