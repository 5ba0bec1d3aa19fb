"""Replies that carry a file: conditions, ranges, and a body in large pieces.

The difficulty: this body is what benchmarks measure, so it goes from ``pread`` to the socket in pieces that make
the per-call cost of the server vanish, while one slow reader or one fast one must not keep the others waiting. And
the headers must be exactly those of the real service: whole seconds, an inclusive range clipped at the end, 416
only when the start is beyond the end.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime

from starlette.types import Receive, Scope, Send

from fuse4dbricks.devworkspace.connection import Connection, Dropped
from fuse4dbricks.devworkspace.tree import Content, Node

#: Bytes handed to the socket at a time.
PIECE = 512 * 1024

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class RangeUnsatisfiable(Exception):
    """The range starts at or beyond the end."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``[start, stop)`` of a file."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """In bytes."""
        return self.stop - self.start


def parse_range(raw: str | None, size: int) -> Span | None:
    """The span that a Range header asks for; None for the whole file.

    What is no single byte range is ignored, as RFC 9110 section 14.2 says.

    Raises:
        RangeUnsatisfiable: nothing of it lies in the file.
    """
    match = None if raw is None else _RANGE.fullmatch(raw.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = int(match[2])
        if length == 0 or size == 0:
            raise RangeUnsatisfiable
        return Span(max(0, size - length), size)
    start = int(match[1])
    if match[2] and int(match[2]) < start:
        return None
    if start >= size:
        raise RangeUnsatisfiable
    return Span(start, min(int(match[2]) + 1, size) if match[2] else size)


def http_time(modified: float) -> str:
    """Last-Modified, in whole seconds."""
    return formatdate(int(modified), usegmt=True)


def parse_http_time(raw: str | None) -> float | None:
    """The Unix time of an HTTP-date; None when there is none or it is malformed, which means ignore it."""
    if raw is None:
        return None
    try:
        parsed = parsedate_to_datetime(raw)
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def is_modified_since(node: Node, raw: str | None) -> bool:
    """Whether If-Unmodified-Since fails; second granularity, an equal time passes."""
    since = parse_http_time(raw)
    return since is not None and int(node.modified) > since


def file_headers(node: Node, span: Span | None, etag: str | None) -> dict[str, str]:
    """Headers of a 200 or 206."""
    headers = {
        "content-type": "application/octet-stream",
        "content-length": str(node.size if span is None else span.length),
        "last-modified": http_time(node.modified),
        "accept-ranges": "bytes",
    }
    if span is not None:
        headers["content-range"] = f"bytes {span.start}-{span.stop - 1}/{node.size}"
    if etag is not None:
        headers["etag"] = etag
    return headers


class FileReply:
    """An ASGI reply with the bytes of a file; closes it."""

    def __init__(
        self, content: Content, span: Span | None, headers: dict[str, str], connection: Connection
    ) -> None:
        self._content = content
        self._span = Span(0, content.node.size) if span is None else span
        self._status = 200 if span is None else 206
        self._headers = headers
        self._connection = connection

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        Raises:
            Dropped: the reader has gone, or the file became shorter while it was sent.
        """
        del receive
        try:
            headers = [(name.encode(), value.encode("latin-1")) for name, value in self._headers.items()]
            await send({"type": "http.response.start", "status": self._status, "headers": headers})
            if scope["method"] == "HEAD" or not self._span.length:
                await send({"type": "http.response.body", "body": b""})
            else:
                await self._send_body(send)
        finally:
            self._content.close()

    async def _send_body(self, send: Send) -> None:
        at, stop = self._span.start, self._span.stop
        while at < stop:
            piece = self._content.read(at, min(PIECE, stop - at))
            if not piece:
                # The length is promised already: only a broken connection tells the truth now.
                self._connection.close()
                raise Dropped
            at += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": at < stop})
            if self._connection.gone and at < stop:
                raise Dropped
            # A socket that never fills would keep the loop to itself.
            await asyncio.sleep(0)
