"""HTTP/1.1 on one link: a request out, a reply's head in, and its body past the parser.

The difficulty: a general parser copies a body four times, piece by piece, on its way to whoever wanted it. But a
body whose length the head tells needs no parsing at all. So h11 writes the request, reads the head and whatever is
framed in another way; the bytes of a plain body go from the link to the reader as they are, counted, and into the
reader's own memory if he gives it (:meth:`PlainBody.receive_into`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Protocol

import h11
import httpx
import trio

from fuse4dbricks.units import KIB
from fuse4dbricks.workspace.links import Link

#: A reply's head may have as much; gateways send a few KiB of cookies and policies.
MAX_HEAD = 100 * KIB

#: Of a body, so much is handed on as it comes, whatever it is: somebody may wait for the first bytes of it only.
PROMPT = 256 * KIB

#: Statuses that never have a body (RFC 9112 section 6.3).
_BODILESS = frozenset({204, 304})

_BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class Release(Protocol):
    """Told when a link is not needed any more."""

    def __call__(self, link: Link, /, *, is_reusable: bool) -> None:
        """``is_reusable``: it can take another request."""
        ...


async def exchange(link: Link, request: httpx.Request, release: Release) -> httpx.Response:
    """Send a request without a body, and read the reply up to its body.

    ``release`` is called once: at the latest when the reply's stream is closed, or before an error leaves this.

    Raises:
        httpx.LocalProtocolError: the request cannot be put on the wire.
        httpx.RemoteProtocolError: the reply is not HTTP, or the connection ended before it.
        httpx.WriteError, httpx.WriteTimeout, httpx.ReadError: the connection is broken.
    """
    talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
    with ExitStack() as undo:
        undo.callback(release, link, is_reusable=False)
        await _send(link, talk, request)
        head = await _receive_head(link, talk)
        body = _body_of(request, head, talk, link, release)
        undo.pop_all()
    return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=body)


async def _send(link: Link, talk: h11.Connection, request: httpx.Request) -> None:
    timeouts = request.extensions.get("timeout", {})
    try:
        head = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
        text = (talk.send(head) or b"") + (talk.send(h11.EndOfMessage()) or b"")
    except h11.LocalProtocolError:
        # h11's words quote the header, token and all.
        raise httpx.LocalProtocolError("malformed request") from None
    with trio.move_on_after(timeouts.get("write", float("inf"))):
        try:
            return await link.send(text)
        except _BROKEN as error:
            raise httpx.WriteError("the connection is broken") from error
    raise httpx.WriteTimeout("the request could not be sent in time")


async def _receive_head(link: Link, talk: h11.Connection) -> h11.Response:
    while True:
        try:
            event = talk.next_event()
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError("the reply is not HTTP") from error
        if isinstance(event, h11.Response):
            return event
        if isinstance(event, h11.InformationalResponse) and event.status_code != 101:
            continue
        if event is not h11.NEED_DATA:
            raise httpx.RemoteProtocolError("the reply is of another protocol")
        text = await _receive(link)
        if not text:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        talk.receive_data(text)


async def _receive(link: Link) -> bytes:
    try:
        return await link.receive()
    except _BROKEN as error:
        raise httpx.ReadError("the connection is broken") from error


async def _receive_into(link: Link, room: memoryview) -> int:
    try:
        return await link.receive_into(room)
    except _BROKEN as error:
        raise httpx.ReadError("the connection is broken") from error


def _body_of(
    request: httpx.Request, head: h11.Response, talk: h11.Connection, link: Link, release: Release
) -> httpx.AsyncByteStream:
    fields: dict[bytes, bytes] = dict(head.headers)
    length = fields.get(b"content-length")
    if request.method == "HEAD" or head.status_code in _BODILESS:
        length = b"0"
    elif length is None or b"transfer-encoding" in fields:
        return FramedBody(link, release, talk)
    return PlainBody(link, release, talk.trailing_data[0], int(length), is_kept=_is_kept(head, fields))


def _is_kept(head: h11.Response, fields: dict[bytes, bytes]) -> bool:
    """Whether the server keeps the connection."""
    options = {option.strip().lower() for option in fields.get(b"connection", b"").split(b",")}
    return head.http_version == b"1.1" and b"close" not in options


class _LentLink(httpx.AsyncByteStream):
    """A body whose end, or whose being closed, gives the link back."""

    def __init__(self, link: Link, release: Release) -> None:
        self._link = link
        self._release = release
        self._is_lent = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._is_lent:
            raise StopAsyncIteration
        try:
            piece = await self._next_piece()
        except BaseException:  # raised on: a connection in mid-body is no use to the next call
            self._give_back(is_reusable=False)
            raise
        if piece:
            return piece
        self._give_back(is_reusable=self._is_reusable())
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Give the link back, for another request if everything was received."""
        self._give_back(is_reusable=self._is_reusable())

    @abstractmethod
    async def _next_piece(self) -> bytes:
        """The next bytes; empty at the end."""

    @abstractmethod
    def _is_reusable(self) -> bool:
        """Whether the next reply would begin where this body ended."""

    def _give_back(self, *, is_reusable: bool) -> None:
        if self._is_lent:
            self._is_lent = False
            self._link.expect(0)
            self._release(self._link, is_reusable=is_reusable)


class PlainBody(_LentLink):
    """So many bytes."""

    def __init__(self, link: Link, release: Release, begun: bytes, length: int, *, is_kept: bool) -> None:
        super().__init__(link, release)
        self._begun = begun
        self._left = length
        self._prompt_until = length - PROMPT
        self._is_kept = is_kept

    async def receive_into(self, room: memoryview) -> int:
        """As the iteration, but into ``room``, which is not empty: how many bytes; 0 at the end.

        Raises:
            httpx.RemoteProtocolError: the body ended early.
            httpx.ReadError: the connection is broken.
        """
        if not self._is_lent:
            return 0
        try:
            count = await self._next_bytes(room[: self._left])
        except BaseException:  # raised on: a connection in mid-body is no use to the next call
            self._give_back(is_reusable=False)
            raise
        if not count:
            self._give_back(is_reusable=self._is_reusable())
        return count

    async def _next_bytes(self, room: memoryview) -> int:
        if not room:
            return 0
        if self._begun:
            count = min(len(self._begun), len(room))
            room[:count], self._begun = self._begun[:count], self._begun[count:]
        else:
            self._expect()
            count = await _receive_into(self._link, room)
            if not count:
                raise httpx.RemoteProtocolError("the body ended early")
        self._left -= count
        return count

    async def _next_piece(self) -> bytes:
        if not self._left:
            return b""
        piece, self._begun = self._begun, b""
        if not piece:
            self._expect()
            piece = await _receive(self._link)
            if not piece:
                raise httpx.RemoteProtocolError("the body ended early")
        if len(piece) > self._left:
            piece, self._begun = piece[: self._left], piece[self._left :]
        self._left -= len(piece)
        return piece

    def _expect(self) -> None:
        if self._left <= self._prompt_until:
            self._link.expect(self._left)

    def _is_reusable(self) -> bool:
        # Bytes beyond the body are nobody's; the next reply must not begin with them.
        return self._is_kept and not self._left and not self._begun


class FramedBody(_LentLink):
    """Chunks, or everything up to the end of the connection: h11's to tell."""

    def __init__(self, link: Link, release: Release, talk: h11.Connection) -> None:
        super().__init__(link, release)
        self._talk = talk

    async def _next_piece(self) -> bytes:
        while True:
            try:
                event = self._talk.next_event()
            except h11.RemoteProtocolError as error:
                raise httpx.RemoteProtocolError("the body is garbled or ended early") from error
            if isinstance(event, h11.Data):
                if event.data:
                    return bytes(event.data)
            elif event is h11.NEED_DATA:
                self._talk.receive_data(await _receive(self._link))
            else:
                return b""

    def _is_reusable(self) -> bool:
        is_done = self._talk.our_state is h11.DONE and self._talk.their_state is h11.DONE
        return is_done and not self._talk.trailing_data[0]
