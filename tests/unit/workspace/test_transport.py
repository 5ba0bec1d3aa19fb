"""The way onto the network: proxies, trust, and connections that are used again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from fuse4dbricks.clock import SystemClock
from fuse4dbricks.errors import ConfigError, NotFound, RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.workspace import Workspace
from fuse4dbricks.workspace.transport import proxy_for
from fuse4dbricks.workspace.url import parse_workspace_url
from tests.support.scripted import TOKEN

VOLUME = RemotePath(("c", "s", "v"))
REMOTE = "https://adb-1.azuredatabricks.net"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    "environment, url, expected",
    [
        ({}, REMOTE, None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, REMOTE, "http://proxy:3128"),
        ({"https_proxy": "proxy:3128"}, REMOTE, "http://proxy:3128"),
        ({"ALL_PROXY": "http://proxy:3128"}, REMOTE, "http://proxy:3128"),
        ({"HTTP_PROXY": "http://proxy:3128"}, REMOTE, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".azuredatabricks.net"}, REMOTE, None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, REMOTE, None),
        ({"HTTPS_PROXY": ""}, REMOTE, None),
        # The token would go to the proxy in clear text.
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://localhost:8000", None),
        ({"ALL_PROXY": "http://proxy:3128"}, "http://127.0.0.1:8000", None),
    ],
)
def test_proxies(
    environment: dict[str, str], url: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(parse_workspace_url(url)) == expected


def at(url: str) -> Workspace:
    return Workspace.at(url, clock=SystemClock(), metrics=Metrics())


@pytest.mark.parametrize("proxy", ["gopher://me:s3cret@proxy", "http://me:s3cret@pro xy:port"])
def test_a_proxy_that_cannot_be_used_is_said_without_its_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigError) as caught:
        at(REMOTE)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_certificate_file_that_cannot_be_used(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        at(REMOTE)


class RawServer:
    """A TCP server that answers each request with the same bytes, and counts connections and requests."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connections = 0
        self.requests = 0

    async def talk(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        with suppress(trio.BrokenResourceError):  # a client that has read enough resets
            await self._answer_all(stream)

    async def _answer_all(self, stream: trio.SocketStream) -> None:
        received = b""
        async with stream:
            async for piece in stream:
                received += piece
                while b"\r\n\r\n" in received:
                    received = received.split(b"\r\n\r\n", 1)[1]
                    self.requests += 1
                    await stream.send_all(self.answer)


@asynccontextmanager
async def raw_server(answer: bytes) -> AsyncIterator[tuple[Workspace, RawServer]]:
    server = RawServer(answer)
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, server.talk, 0, host="127.0.0.1")
        )
        port = listeners[0].socket.getsockname()[1]
        async with at(f"http://127.0.0.1:{port}") as workspace:
            yield workspace, server
        nursery.cancel_scope.cancel()


FOUND = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 26\r\n\r\n" + b'{"error_code":"NOT_FOUND"}'
HEADERS = b"HTTP/1.1 404 Not Found\r\nContent-Length: 26\r\n\r\n"


async def test_a_connection_is_used_again_after_a_reply() -> None:
    async with raw_server(FOUND) as (workspace, server):
        for _ in range(5):
            await workspace.files.fetch_page(TOKEN, VOLUME)
    assert (server.connections, server.requests) == (1, 5)


async def test_and_after_an_error() -> None:
    async with raw_server(MISSING) as (workspace, server):
        for _ in range(5):
            with pytest.raises(NotFound):
                await workspace.files.fetch_page(TOKEN, VOLUME)
    assert (server.connections, server.requests) == (1, 5)


async def test_and_after_a_head() -> None:
    async with raw_server(HEADERS) as (workspace, server):
        for _ in range(5):
            assert not await workspace.files.fetch_directory_exists(TOKEN, VOLUME)
    assert (server.connections, server.requests) == (1, 5)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 200_000 + b"\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\xff\xfe: \xff\r\n\r\n",
        b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=range(9),
)
async def test_what_is_not_http_is_a_remote_error(answer: bytes) -> None:
    async with raw_server(answer) as (workspace, server):
        with pytest.raises(RemoteError):
            await workspace.files.fetch_page(TOKEN, VOLUME)
    assert server.requests >= 1
