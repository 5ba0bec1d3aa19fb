"""The TCP connection under a request, reached from the application.

The difficulty: HTTP servers protect an application from sending what a broken network or a broken proxy sends: a
reset in the middle of a body, fewer bytes than promised, a reply without framing. The protocol class here puts
the connection into the ASGI scope, so that a fault can go round the server's own bookkeeping.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_SCOPE_KEY = "fuse4dbricks.connection"

# l_onoff=1, l_linger=0: closing sends RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

# A reader that takes nothing is not waited for: 100 turns of 5 ms.
_DRAIN_TURNS, _DRAIN_TURN_S = 100, 0.005

# A sleep that lasted too long is made good by the next ones, or every rate would come out lower than asked.
_PACE_CREDIT_S = 0.05


class Dropped(Exception):
    """The connection is gone; whoever is still answering may stop."""


class Connection:
    """One client's connection."""

    def __init__(self, protocol: H11Protocol) -> None:
        self._protocol = protocol
        self._free_at = 0.0

    @property
    def gone(self) -> bool:
        """Whether writing has no use any more."""
        return self._protocol.transport.is_closing()

    def forget(self) -> None:
        """Tell the server not to answer any more; it would try a 500 on a closed transport."""
        if self._protocol.cycle is not None:
            self._protocol.cycle.disconnected = True

    def reset(self) -> None:
        """End it with a TCP RST, dropping what is still in the buffers."""
        transport = self._protocol.transport
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.forget()
        transport.abort()

    def close(self) -> None:
        """End it with a FIN after what is still in the buffers."""
        self.forget()
        self._protocol.transport.close()

    def abort(self) -> None:
        """End it at once; for the end of the server."""
        self._protocol.transport.abort()

    async def write(self, raw: bytes) -> None:
        """Send bytes as they are, past all HTTP bookkeeping."""
        await self._protocol.flow.drain()
        self._protocol.transport.write(raw)

    async def drain(self) -> None:
        """Wait until the kernel has taken what was written; not longer than a moment if it cannot."""
        transport = self._protocol.transport
        for _ in range(_DRAIN_TURNS):
            if self.gone or not transport.get_write_buffer_size():
                return
            await asyncio.sleep(_DRAIN_TURN_S)

    async def pace(self, length: int, bytes_per_second: float) -> None:
        """Wait until so many bytes fit into the rate; the rate is the connection's, not the request's."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(now - _PACE_CREDIT_S, self._free_at) + length / bytes_per_second
        await asyncio.sleep(max(0.0, self._free_at - now))


class WorkspaceProtocol(H11Protocol):
    """uvicorn's h11 protocol, which lets the application see its connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._application = self.app
        self.app = self._answer
        self.connection = Connection(self)
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the parent has it
        """Send small pieces at once."""
        # asyncio does so only for sockets whose protocol number is given, which accepted ones inherit from a
        # listener that has 0. Without it each reply of two writes waits 40 ms for a delayed acknowledgement.
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_SCOPE_KEY] = self.connection
        self._answering = asyncio.current_task()
        try:
            await self._application(scope, receive, send)
        except asyncio.CancelledError:
            # The client has gone or the server stops: there is nobody left to answer.
            self.connection.forget()
        finally:
            self._answering = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End the call too: one that hangs for a client that has given up would fill a gate for ever."""
        super().connection_lost(exc)
        if self._answering is not None:
            self._answering.cancel()


def connection_of(scope: Scope) -> Connection:
    """The connection that a request came on."""
    connection = scope[_SCOPE_KEY]
    assert isinstance(connection, Connection)
    return connection


def header(message: Message, name: bytes) -> bytes | None:
    """A header of an ``http.response.start`` message."""
    return next((value for key, value in message.get("headers", ()) if key.lower() == name), None)


def with_headers(message: Message, changes: Mapping[str, str | None]) -> Message:
    """The same start message with headers replaced, or taken out where the value is None."""
    wanted = {name.lower().encode(): value for name, value in changes.items()}
    headers = [(key, value) for key, value in message.get("headers", ()) if key.lower() not in wanted]
    headers += [(key, value.encode("latin-1")) for key, value in wanted.items() if value is not None]
    return {**message, "headers": headers}
