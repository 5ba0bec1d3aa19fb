"""A workspace that runs: in a thread beside a test, or for a command until a signal.

The difficulty: a test must have the port before it starts its client, and its end must not wait for a connection
that a fault keeps hanging. So the sockets are bound and listening before the thread starts, and stopping aborts
every connection and cancels every task instead of asking them to finish.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from fuse4dbricks.devworkspace.app import cloud_app, workspace_app
from fuse4dbricks.devworkspace.certificates import LOCAL_NAMES, Certificate, make_certificate
from fuse4dbricks.devworkspace.entra import Entra
from fuse4dbricks.devworkspace.faults import FaultPlan
from fuse4dbricks.devworkspace.grants import Grants
from fuse4dbricks.devworkspace.journal import Journal, Record
from fuse4dbricks.devworkspace.people import People
from fuse4dbricks.devworkspace.serving import listen, serve_until
from fuse4dbricks.devworkspace.settings import Behaviour, Settings
from fuse4dbricks.devworkspace.state import State
from fuse4dbricks.devworkspace.tree import Tree

#: Seconds that stopping may take; past it something blocks the event loop, and the thread is left behind.
STOP_S = 5.0


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
        self._ports = [settings.port, settings.cloud_port]
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
        try:
            self._prepare_certificate()
            self.come_back()
        except BaseException:  # raised on: only the sockets must not stay open
            self.stop()
            raise
        return self

    def come_back(self) -> None:
        """Serve again after :meth:`go_down`, on the same ports and with everything that was known.

        Raises:
            OSError: a port is taken.
            RuntimeError: the server did not start.
        """
        sockets = self._bind()
        self._ports = [bound.getsockname()[1] for bound in sockets]
        scheme = "http" if self._certificate is None else "https"
        self.state.url, self.state.cloud_url = (self._url(scheme, port) for port in self._ports)
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(sockets, started), name="local-workspace", daemon=True
        )
        self._thread.start()
        started.wait()
        if self._loop is None:
            self._thread = None
            raise RuntimeError("the local workspace did not start")

    def _bind(self) -> list[socket.socket]:
        sockets: list[socket.socket] = []
        try:
            for port in self._ports:
                sockets.append(listen(self.settings.host, port))  # noqa: PERF401 - those bound so far are closed
        except OSError:
            for bound in sockets:
                bound.close()
            raise
        return sockets

    def _prepare_certificate(self) -> None:
        settings = self.settings
        if settings.certificate is not None and settings.private_key is not None:
            self._certificate = Certificate(settings.certificate, settings.private_key, settings.certificate)
        elif settings.tls and self._certificate is None:
            self._private = tempfile.TemporaryDirectory(prefix="local-workspace-")
            names = dict.fromkeys((*LOCAL_NAMES, settings.host))
            self._certificate = make_certificate(Path(self._private.name), tuple(names))

    def _url(self, scheme: str, port: int) -> str:
        host = self.settings.host
        host = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def _run(self, sockets: Sequence[socket.socket], started: threading.Event) -> None:
        async def serve() -> None:
            self._stopping = asyncio.Event()
            self._loop = asyncio.get_running_loop()
            apps = (workspace_app(self.state), cloud_app(self.state))
            await serve_until(self._stopping, apps, sockets, self._certificate, started.set)

        try:
            asyncio.run(serve())
        finally:
            self._loop = None
            with warnings.catch_warnings():
                # asyncio leaves a connection that it accepted in its last turns to the collector, which closes it.
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()
            # Whoever waits for the start must not wait for ever when there was none.
            started.set()

    def go_down(self) -> None:
        """Drop every connection and refuse new ones, as in an outage, within :data:`STOP_S` seconds.

        Raises:
            RuntimeError: the event loop is blocked.
        """
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is None or loop is None or stopping is None:
            return
        loop.call_soon_threadsafe(stopping.set)
        thread.join(STOP_S)
        if thread.is_alive():
            raise RuntimeError("the local workspace did not stop")
        self._thread = None

    def stop(self) -> None:
        """End for good: as :meth:`go_down`, and leave no file behind; harmless when stopped."""
        self.go_down()
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
