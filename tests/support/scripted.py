"""A workspace of one function: what it is asked it records, what it answers the test says.

It stands where httpx's transport does, so the client under test is whole above the socket. Bodies are played piece
by piece on trio's clock, so a MockClock makes hours of drip-feeding take no time.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import httpx
import trio

from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token
from fuse4dbricks.workspace import Limits, Patience, Workspace

HOST = "adb-1.azuredatabricks.net"
TOKEN = Token("dapi0123456789canary")
#: 2024-07-18 11:33:20 UTC, and the wall time at which tests begin, well after it.
MODIFIED = 1_721_302_400
NOW = 1_750_000_000.0
FOLDER = RemotePath(("c", "s", "v"))
#: A folder without entries.
EMPTY: dict[str, list[object]] = {"contents": []}

Answer = httpx.Response | Exception
Script = Callable[[httpx.Request], Answer | Awaitable[Answer]]


class TrioClock:
    """Wall time that runs with trio's clock from :data:`NOW` on, so with a MockClock it jumps when it jumps."""

    def __init__(self) -> None:
        self._began = trio.current_time()

    def monotonic(self) -> float:
        return trio.current_time()

    def wall(self) -> float:
        return NOW + trio.current_time() - self._began


class Played(httpx.AsyncByteStream):
    """A body in pieces: bytes are sent, numbers are seconds of silence, exceptions are raised."""

    def __init__(self, *pieces: bytes | float | Exception, repeat: bool = False) -> None:
        self._pieces = pieces
        self._repeat = repeat
        self.is_closed = False
        self.sent = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            for piece in self._pieces:
                await trio.lowlevel.checkpoint()
                if isinstance(piece, Exception):
                    raise piece
                if isinstance(piece, bytes):
                    self.sent += len(piece)
                    yield piece
                else:
                    await trio.sleep(piece)
            if not self._repeat:
                return

    async def aclose(self) -> None:
        self.is_closed = True


class ScriptedTransport(httpx.AsyncBaseTransport):
    """Answers each request by ``script`` (or by each of a sequence in turn, the last for ever)."""

    def __init__(self, script: Script | Iterable[Answer]) -> None:
        self._script = script if callable(script) else _in_turn(list(script))
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []
        self.in_flight = 0
        self.peak = 0
        self.is_closed = False

    @property
    def paths(self) -> list[str]:
        return [request.url.raw_path.decode() for request in self.requests]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(trio.current_time())
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            answer = self._script(request)
            if inspect.isawaitable(answer):
                answer = await answer
        finally:
            self.in_flight -= 1
        assert isinstance(answer, httpx.Response | Exception)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        self.is_closed = True


def _in_turn(answers: list[Answer]) -> Script:
    def script(_request: httpx.Request) -> Answer:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    return script


@asynccontextmanager
async def scripted(
    script: Script | Iterable[Answer],
    *,
    patience: Patience | None = None,
    limits: Limits | None = None,
    metrics: Metrics | None = None,
) -> AsyncIterator[tuple[Workspace, ScriptedTransport]]:
    """A real :class:`Workspace` over a scripted transport."""
    transport = ScriptedTransport(script)
    async with Workspace.at(
        f"https://{HOST}",
        clock=TrioClock(),
        metrics=metrics or Metrics(),
        patience=patience,
        transport=transport,
        limits=limits,
    ) as workspace:
        yield workspace, transport


def reply(payload: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """A JSON reply."""
    body = json.dumps(payload).encode()
    return httpx.Response(
        status, content=body, headers={"content-type": "application/json", **(headers or {})}
    )


def refusal(
    status: int, code: str | int, message: str = "no", headers: Mapping[str, str] | None = None, **more: Any
) -> httpx.Response:
    """An error reply as the service makes them."""
    return reply({"error_code": code, "message": message, **more}, status, headers)


def throttled(retry_after: str | None = None) -> httpx.Response:
    """The service's limit of calls."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return refusal(429, "REQUEST_LIMIT_EXCEEDED", headers=headers)


async def never(_request: httpx.Request) -> httpx.Response:
    """No reply at all."""
    await trio.sleep_forever()
    raise AssertionError


def page(status: int = 200) -> httpx.Response:
    """A gateway's HTML page."""
    return httpx.Response(status, html="<html><title>Sign in</title></html>")


def http_date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


def serve_range(
    request: httpx.Request,
    content: bytes,
    *,
    modified: int = MODIFIED,
    body: httpx.AsyncByteStream | None = None,
    status: int = 206,
    **headers: str | None,
) -> httpx.Response:
    """The right answer to a range request, with whatever the test makes wrong about it (None removes a header)."""
    first, last = (int(number) for number in request.headers["range"].removeprefix("bytes=").split("-"))
    part = content[first : last + 1]
    right: dict[str, str | None] = {
        "content-range": f"bytes {first}-{first + len(part) - 1}/{len(content)}",
        "content-length": str(len(part)),
        "last-modified": http_date(modified),
        "content-type": "application/octet-stream",
    }
    right |= {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(
        status,
        headers={name: value for name, value in right.items() if value is not None},
        stream=body if body is not None else Played(part),
    )
