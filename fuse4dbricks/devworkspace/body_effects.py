"""What can go wrong with a body on its way: too short, too long, too slow, compressed, not framed.

The difficulty: a short body comes in three kinds that a client notices in three different ways or not at all. The
Content-Length agrees with what is sent (only the range that was asked for tells); it promises more and the
connection ends; or there is no length and the end of the connection is the end of the body.
"""

from __future__ import annotations

import asyncio
import gzip
import http
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from starlette.types import Message

from fuse4dbricks.devworkspace.connection import Dropped, header, with_headers
from fuse4dbricks.devworkspace.faults import ActiveFault, Exchange, Proceed

#: Pieces per second that a paced body is cut into, so that it is smooth; and the largest, so that a fast one is too.
_PACED_PER_SECOND = 20
_PACED_MOST = 256 * 1024


def _pieces(message: Message, size: int) -> Iterator[Message]:
    body: bytes = message.get("body", b"")
    if len(body) <= size:
        yield message
        return
    for start in range(0, len(body), size):
        is_last = start + size >= len(body)
        more = message.get("more_body", False) if is_last else True
        yield {**message, "body": body[start : start + size], "more_body": more}


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """So many bytes per second on each connection, whatever the number of requests on it."""

    bytes_per_second: float

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Pace the body."""
        del active
        size = max(1, min(_PACED_MOST, int(self.bytes_per_second / _PACED_PER_SECOND)))

        async def send(message: Message) -> None:
            if message["type"] != "http.response.body":
                await exchange.send(message)
                return
            for piece in _pieces(message, size):
                await exchange.connection.pace(len(piece.get("body", b"")), self.bytes_per_second)
                await exchange.send(piece)

        await proceed(exchange.sending(send))


@dataclass(frozen=True, slots=True)
class Drip:
    """So few bytes of the body at a time, with a pause before each: the slow-loris."""

    pause_seconds: float
    bytes_at_a_time: int = 1

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Pause before each piece; ends when the reader has gone."""
        del active

        async def send(message: Message) -> None:
            if message["type"] != "http.response.body":
                await exchange.send(message)
                return
            for piece in _pieces(message, self.bytes_at_a_time):
                await asyncio.sleep(self.pause_seconds)
                if exchange.connection.gone:
                    raise Dropped
                await exchange.send(piece)

        await proceed(exchange.sending(send))


@dataclass(frozen=True, slots=True)
class DripHeaders:
    """The status line and headers a byte at a time, then nothing."""

    pause_seconds: float

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Write the head of a reply past the server's bookkeeping, slowly."""
        del proceed, active
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 5\r\n"
        for byte in head + b"x-padding: " + b"x" * 1000:
            if exchange.connection.gone:
                raise Dropped
            await exchange.connection.write(bytes((byte,)))
            await asyncio.sleep(self.pause_seconds)
        exchange.connection.close()
        raise Dropped


@dataclass(frozen=True, slots=True)
class ShortBody:
    """Only the first ``keep`` bytes of the body.

    Attributes:
        framing: ``consistent``: Content-Length says ``keep``; ``cut``: it says the whole and the connection ends;
            ``close``: there is none, and the connection ends.
    """

    keep: int
    framing: Literal["consistent", "cut", "close"] = "consistent"

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Cut the body."""
        del active
        left = self.keep

        async def send(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.start":
                await self._start(exchange, message)
                return
            body = message.get("body", b"")[:left]
            left -= len(body)
            if message.get("more_body") and left:
                await self._body(exchange, body, more=True)
                return
            await self._body(exchange, body, more=self.framing != "consistent")
            if self.framing != "consistent":
                exchange.connection.close()
            raise Dropped

        await proceed(exchange.sending(send))

    async def _start(self, exchange: Exchange, message: Message) -> None:
        if self.framing == "close":
            await _write_head(
                exchange, with_headers(message, {"content-length": None, "connection": "close"})
            )
            return
        length = int(header(message, b"content-length") or 0)
        sent = min(self.keep, length) if self.framing == "consistent" else length
        await exchange.send(with_headers(message, {"content-length": str(sent)}))

    async def _body(self, exchange: Exchange, body: bytes, *, more: bool) -> None:
        if self.framing == "close":
            exchange.record.bytes_sent += len(body)
            await exchange.connection.write(body)
        else:
            await exchange.send({"type": "http.response.body", "body": body, "more_body": more})


async def _write_head(exchange: Exchange, message: Message) -> None:
    # h11 would turn a reply without a length into chunks; only past it can a body end with the connection.
    status: int = message["status"]
    exchange.record.status = status
    lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}".encode()]
    lines += [key + b": " + value for key, value in message["headers"]]
    await exchange.connection.write(b"\r\n".join(lines) + b"\r\n\r\n")


async def send_transformed(
    exchange: Exchange, proceed: Proceed, transform: Callable[[bytes], bytes], **changes: str | None
) -> None:
    """Let the exchange proceed, and send ``transform`` of the whole body with these headers changed."""
    started: list[Message] = []
    body = bytearray()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            started.append(message)
            return
        body.extend(message.get("body", b""))
        if not message.get("more_body"):
            whole = transform(bytes(body))
            headers = {name.replace("_", "-"): value for name, value in changes.items()}
            await exchange.send(with_headers(started[0], {"content-length": str(len(whole))} | headers))
            for piece in _pieces({"type": "http.response.body", "body": whole}, 1 << 20):
                await exchange.send(piece)

    await proceed(exchange.sending(send))


@dataclass(frozen=True, slots=True)
class LongBody:
    """So many bytes more than the answer has, with a Content-Length that says so."""

    extra: int

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Append zeros."""
        del active
        await send_transformed(exchange, proceed, lambda body: body + bytes(self.extra))


#: Zeros in one member of a gzip file.
_MEMBER = 1 << 20


@dataclass(frozen=True, slots=True)
class Gzip:
    """The body compressed, wanted or not; with ``bomb`` bytes of zeros behind it."""

    bomb: int = 0

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Compress and label."""
        del active
        await send_transformed(
            exchange, proceed, lambda body: gzip.compress(body) + _zeros(self.bomb), content_encoding="gzip"
        )


def _zeros(count: int) -> bytes:
    """So many zeros, compressed, member by member: at once 50 MB keep the server busy until its client gives up."""
    whole, rest = divmod(count, _MEMBER)
    return gzip.compress(bytes(_MEMBER)) * whole + (gzip.compress(bytes(rest)) if rest else b"")


@dataclass(frozen=True, slots=True)
class Garbled:
    """The body cut in the middle of its JSON (or whatever it is), consistently framed."""

    keep_fraction: float = 0.5

    async def play(self, exchange: Exchange, proceed: Proceed, active: ActiveFault) -> None:
        """Keep the first part."""
        del active
        await send_transformed(exchange, proceed, lambda body: body[: int(len(body) * self.keep_fraction)])
