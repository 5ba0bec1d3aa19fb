"""A workspace that runs: in a thread beside a test, or for a command until a signal.

The difficulty: a test must have the port before it starts its client, and its end must not wait for a connection
that a fault keeps hanging. So the sockets are bound and listening before the thread starts, and stopping aborts
every connection and cancels every task instead of asking them to finish.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from fuse4dbricks.devworkspace.app import cloud_app, workspace_app
from fuse4dbricks.devworkspace.certificates import Certificate, make_certificate
from fuse4dbricks.devworkspace.connection import WorkspaceProtocol
from fuse4dbricks.devworkspace.entra import Entra
from fuse4dbricks.devworkspace.faults import FaultPlan
from fuse4dbricks.devworkspace.grants import Grants
from fuse4dbricks.devworkspace.journal import Journal, Record
from fuse4dbricks.devworkspace.people import People
from fuse4dbricks.devworkspace.settings import Behaviour, Settings
from fuse4dbricks.devworkspace.state import State
from fuse4dbricks.devworkspace.tree import Tree

#: Seconds that stopping may take; past it something blocks the event loop, and the thread is left behind.
STOP_S = 5.0

#: Seconds that cancelled requests are waited for; they have nothing left to do but to end.
_CANCELLED_S = 1.0

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
        for protocol in list(self.server_state.connections):
            if isinstance(protocol, WorkspaceProtocol):
                protocol.connection.abort()
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


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)


class LocalWorkspace:
    """A Databricks workspace over a folder ``root/CATALOG/SCHEMA/VOLUME/…``.

    ::

        with LocalWorkspace(tmp_path) as ws:
            ws.url, ws.token, ws.user            # a client needs no more
            ws.faults.add(Latency(0.1), kind="fs.files.get")
            ws.counts["fs.files.get"]

    Everything reachable from it may be used from any thread while it runs.

    Args:
        root: the folder; keyword arguments are the fields of :class:`Settings`.
        settings: all settings at once, instead of ``root`` and keywords.
        tree: a source of files other than the folder.
        behaviour: how the service answers; also ``ws.behaviour`` later on.
        certificate: TLS with this certificate; ``tls=True`` makes one.

    Raises:
        OSError: from :meth:`start`, when a port is taken.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        settings: Settings | None = None,
        tree: Tree | None = None,
        behaviour: Behaviour | None = None,
        certificate: Certificate | None = None,
        **fields: Any,
    ) -> None:
        if settings is None:
            settings = Settings(root=Path() if root is None else root, **fields)
        self.settings = settings
        self.state = State.of(settings, tree, behaviour)
        self._certificate = certificate
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    # --- what a test reads ---------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Of the workspace, without a trailing slash."""
        return self.state.url

    @property
    def cloud_url(self) -> str:
        """Of the cloud store."""
        return self.state.cloud_url

    @property
    def authority(self) -> str:
        """Of the fake Entra: url/tenant."""
        return f"{self.url}/{self.settings.tenant}"

    @property
    def user(self) -> str:
        """The first user."""
        return self.settings.user

    @property
    def token(self) -> str:
        """The first user's token."""
        return self.settings.token

    @property
    def authority_file(self) -> Path | None:
        """PEM file that a client is to trust; None without TLS."""
        return None if self._certificate is None else self._certificate.authority

    @property
    def people(self) -> People:
        """Users, service principals, tokens."""
        return self.state.people

    @property
    def grants(self) -> Grants:
        """Who may do what."""
        return self.state.grants

    @property
    def entra(self) -> Entra:
        """Device logins."""
        return self.state.entra

    @property
    def behaviour(self) -> Behaviour:
        """How the service answers; assign to its fields."""
        return self.state.behaviour

    @property
    def faults(self) -> FaultPlan:
        """What goes wrong."""
        return self.state.faults

    @property
    def journal(self) -> Journal:
        """What was asked."""
        return self.state.journal

    @property
    def log(self) -> list[Record]:
        """The requests so far, oldest first."""
        return self.state.journal.get_log()

    @property
    def counts(self) -> Counter[str]:
        """Calls so far, by kind."""
        return self.state.journal.get_counts()

    # --- life ----------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Bind, listen and serve; returns when a client can connect."""
        self._prepare_certificate()
        scheme = "http" if self._certificate is None else "https"
        sockets = [_listen(self.settings.host, self.settings.port)]
        try:
            sockets.append(_listen(self.settings.host, self.settings.cloud_port))
        except OSError:
            sockets[0].close()
            raise
        self.state.url, self.state.cloud_url = (self._url(scheme, bound) for bound in sockets)
        apps = (workspace_app(self.state), cloud_app(self.state))
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(apps, sockets, started), name="local-workspace", daemon=True
        )
        self._thread.start()
        started.wait()
        return self

    def _run(
        self, apps: Sequence[ASGIApp], sockets: Sequence[socket.socket], started: threading.Event
    ) -> None:
        try:
            asyncio.run(self._serve(apps, sockets, started.set))
        finally:
            # Whoever waits for the start must not wait for ever when there was none.
            started.set()

    def _prepare_certificate(self) -> None:
        settings = self.settings
        if settings.certificate is not None and settings.private_key is not None:
            self._certificate = Certificate(settings.certificate, settings.private_key, settings.certificate)
        elif settings.tls and self._certificate is None:
            self._private = tempfile.TemporaryDirectory(prefix="local-workspace-")
            names = ("localhost", "127.0.0.1", "::1", settings.host)
            self._certificate = make_certificate(Path(self._private.name), tuple(dict.fromkeys(names)))

    def _url(self, scheme: str, bound: socket.socket) -> str:
        host = self.settings.host
        host = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"

    async def _serve(
        self, apps: Sequence[ASGIApp], sockets: Sequence[socket.socket], started: Callable[[], None]
    ) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        waiting = len(sockets)

        def ready() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                started()

        servers = [_Server(_config(app, self._certificate), self._stopping, ready) for app in apps]
        await asyncio.gather(
            *(server.serve(sockets=[bound]) for server, bound in zip(servers, sockets, strict=True))
        )

    def stop(self) -> None:
        """End every connection and free the ports, within :data:`STOP_S` seconds; harmless when stopped.

        Raises:
            RuntimeError: the event loop is blocked.
        """
        if self._thread is not None:
            assert self._loop is not None
            assert self._stopping is not None
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(STOP_S)
            if self._thread.is_alive():
                raise RuntimeError("the local workspace did not stop")
            self._thread = None
        if self._private is not None:
            self._private.cleanup()
            self._private = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()


def run(settings: Settings, on_ready: Callable[[LocalWorkspace], None]) -> int:
    """Serve until SIGINT or SIGTERM; for a command, in the main thread.

    Args:
        settings: port 0 takes a free port.
        on_ready: called once, when clients can connect; ``ws.url``, ``ws.token`` and ``ws.authority_file`` are set.

    Returns:
        The exit code, 0.

    Raises:
        OSError: a port is taken.
    """
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with LocalWorkspace(settings=settings) as workspace:
            on_ready(workspace)
            ended.wait()
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
    return os.EX_OK
