"""uvicorn, in the shape that a test needs.

The difficulty: a server made for production asks connections to finish, looks ten times a second whether it should
stop, and takes its signals from the main thread. Here several run in one thread of a test, and each must end at
once, with connections that a fault keeps hanging.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import uvicorn
from starlette.types import ASGIApp

from fuse4dbricks.devworkspace.certificates import Certificate
from fuse4dbricks.devworkspace.connection import WorkspaceProtocol

#: Seconds that cancelled requests are waited for; they have nothing left to do but to end.
_CANCELLED_S = 1.0

#: Turns of the event loop after which a connection that was accepted before the end shows among the others; asyncio
#: takes three for one. Whatever shows later is closed by nobody.
_ACCEPTING_TURNS = 20

#: Idle connections are kept as long as a gateway keeps them, so that a test sees reuse.
_KEEP_ALIVE_S = 75


class _Server(uvicorn.Server):
    """uvicorn without its clock: stops when told, and at once."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._ready = ready

    async def main_loop(self) -> None:
        self._ready()
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for bound in sockets or ():
            bound.close()
        for _ in range(_ACCEPTING_TURNS):
            for protocol in list(self.server_state.connections):
                if isinstance(protocol, WorkspaceProtocol):
                    protocol.connection.abort()
            await asyncio.sleep(0)
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCELLED_S)


def _config(app: ASGIApp, certificate: Certificate | None) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=WorkspaceProtocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    config.load()
    config.ssl = None if certificate is None else certificate.context()
    return config


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; clients can connect from now on, and wait.

    Raises:
        OSError: the port is taken, or the address not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)


async def serve_until(
    stopping: asyncio.Event,
    apps: Sequence[ASGIApp],
    sockets: Sequence[socket.socket],
    certificate: Certificate | None,
    ready: Callable[[], None],
) -> None:
    """Serve each application on its socket until the event is set, then drop everything.

    ``ready`` is called once, when all of them answer.
    """
    waiting = len(sockets)

    def one_is_ready() -> None:
        nonlocal waiting
        waiting -= 1
        if not waiting:
            ready()

    servers = [_Server(_config(app, certificate), stopping, one_is_ready) for app in apps]
    await asyncio.gather(
        *(server.serve(sockets=[bound]) for server, bound in zip(servers, sockets, strict=True))
    )
