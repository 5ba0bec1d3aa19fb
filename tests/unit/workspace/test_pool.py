"""The transport below httpx's seam: bodies past the parser, links that come back or do not, proxies, cut handshakes."""

from __future__ import annotations

import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import httpx
import pytest
import trio

from fuse4dbricks.devworkspace.certificates import make_certificate
from fuse4dbricks.units import MIB
from fuse4dbricks.workspace.dialing import Dialer
from fuse4dbricks.workspace.http1 import PlainBody
from fuse4dbricks.workspace.pool import Pool
from tests.support.ways import pieces_of

Talk = Callable[[trio.abc.Stream], Awaitable[None]]


class Server:
    """Answers each request with the next of ``answers``, or with the last for ever; an empty one hangs up."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.heads: list[bytes] = []

    async def talk(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                await self._answer_all(stream)

    async def _answer_all(self, stream: trio.abc.Stream) -> None:
        received = b""
        while piece := await stream.receive_some():
            received += piece
            while b"\r\n\r\n" in received:
                head, received = received.split(b"\r\n\r\n", 1)
                self.heads.append(head)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not answer:
                    return
                await stream.send_all(answer)


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, talk, 0, host="127.0.0.1")
        )
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def pool_of(dialer: Dialer | None = None) -> AsyncIterator[Pool]:
    pool = Pool(dialer or Dialer(ssl.create_default_context()), keep=30.0, most=4)
    try:
        yield pool
    finally:
        await pool.aclose()


#: Bytes that the reader has room for at a time; 0: he takes what comes.
rooms = [0]


@pytest.fixture(autouse=True, scope="module", params=[0, 4, 300_000, 2 * MIB])
def room(request: pytest.FixtureRequest) -> int:
    rooms[0] = request.param
    return rooms[0]


async def get(pool: Pool, url: str, method: str = "GET") -> bytes:
    response = await pool.handle_async_request(httpx.Request(method, url))
    try:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        if isinstance(response.stream, PlainBody):
            return b"".join([piece async for piece in pieces_of(response.stream, rooms[0])])
        return b"".join([piece async for piece in response.stream])
    finally:
        await response.aclose()


def reply(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % (len(body) if length is None else length), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\nabcde"
LARGE = bytes(range(256)) * (4 * MIB // 256) + b"end"


@pytest.mark.parametrize(
    "answer, body, connections",
    [
        (reply(b"abcde"), b"abcde", 1),
        (reply(b""), b"", 1),
        (reply(LARGE), LARGE, 1),
        (CHUNKED, b"abcde", 1),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + reply(b"abcde"), b"abcde", 1),
        (reply(b"abcde", b"Connection: close"), b"abcde", 3),
        (reply(b"abcde", b"Connection: keep-alive, Close"), b"abcde", 3),
        (reply(b"abcde").replace(b"1.1", b"1.0"), b"abcde", 3),
        # What lies behind a body would be the beginning of the next reply.
        (reply(b"abcdeX", length=5), b"abcde", 3),
    ],
)
async def test_bodies_and_whether_their_connections_are_used_again(
    answer: bytes, body: bytes, connections: int
) -> None:
    server = Server(answer)
    async with listening(server.talk) as port, pool_of() as pool:
        for _ in range(3):
            assert await get(pool, f"http://127.0.0.1:{port}/x") == body
    assert server.connections == connections


async def test_a_head_has_no_body_whatever_its_length_says() -> None:
    server = Server(reply(b"", length=99))
    async with listening(server.talk) as port, pool_of() as pool:
        for _ in range(2):
            assert await get(pool, f"http://127.0.0.1:{port}/x", "HEAD") == b""
    assert server.connections == 1


@pytest.mark.parametrize("answer", [reply(b"abc", b"Connection: close", length=5), CHUNKED[:-9]])
async def test_a_body_that_ends_early_is_no_body(answer: bytes) -> None:
    async def talk(stream: trio.abc.Stream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with listening(talk) as port, pool_of() as pool:
        with pytest.raises(httpx.RemoteProtocolError):
            await get(pool, f"http://127.0.0.1:{port}/x")


async def test_a_body_that_lasts_until_the_end_of_the_connection() -> None:
    async def talk(stream: trio.abc.Stream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(TO_THE_END)

    async with listening(talk) as port, pool_of() as pool:
        assert await get(pool, f"http://127.0.0.1:{port}/x") == b"abcde"


async def test_a_server_that_hangs_up_says_so_in_words_that_mean_lost() -> None:
    async with listening(Server(b"").talk) as port, pool_of() as pool:
        with pytest.raises(httpx.RemoteProtocolError, match=r"^Server disconnected"):
            await get(pool, f"http://127.0.0.1:{port}/x")


async def test_an_idle_connection_that_the_server_closed_is_not_used() -> None:
    closed = trio.Event()

    async def talk(stream: trio.abc.Stream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(reply(b"abc"))
        closed.set()

    async with listening(talk) as port, pool_of() as pool:
        for _ in range(3):
            assert await get(pool, f"http://127.0.0.1:{port}/x") == b"abc"
            await closed.wait()
            closed = trio.Event()


async def test_an_idle_connection_grows_old(autojump_clock: trio.testing.MockClock) -> None:
    server = Server(reply(b"abc"))
    async with listening(server.talk) as port, pool_of() as pool:
        await get(pool, f"http://127.0.0.1:{port}/x")
        await trio.sleep(31)
        await get(pool, f"http://127.0.0.1:{port}/x")
    assert server.connections == 2


async def test_a_body_that_is_left_takes_its_connection_with_it() -> None:
    server = Server(reply(LARGE))
    async with listening(server.talk) as port, pool_of() as pool:
        response = await pool.handle_async_request(httpx.Request("GET", f"http://127.0.0.1:{port}/x"))
        assert isinstance(response.stream, httpx.AsyncByteStream)
        assert await anext(aiter(response.stream))
        await response.aclose()
        assert await get(pool, f"http://127.0.0.1:{port}/x") == LARGE
    assert server.connections == 2


# --- TLS and proxies -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, and that of a client who trusts it; made once, for making a key takes seconds on a busy machine."""
    certificate = make_certificate(tmp_path_factory.mktemp("tls"))
    return certificate.context(), ssl.create_default_context(cafile=str(certificate.authority))


def over_tls(talk: Talk, context: ssl.SSLContext) -> Talk:
    async def secure(stream: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError):
            await talk(trio.SSLStream(stream, context, server_side=True))

    return secure


async def test_large_bodies_over_tls_on_one_connection(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server = Server(reply(LARGE))
    async with listening(over_tls(server.talk, contexts[0])) as port, pool_of(Dialer(contexts[1])) as pool:
        for _ in range(2):
            assert await get(pool, f"https://localhost:{port}/x") == LARGE
    assert server.connections == 1


@pytest.mark.parametrize("trusts", [True, False])
async def test_the_certificate_is_checked_for_trust_and_name(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], trusts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = contexts[1] if trusts else ssl.create_default_context()
    host = "127.0.0.2" if trusts else "127.0.0.1"
    async with trio.open_nursery() as nursery:
        talk = over_tls(Server(reply(b"")).talk, contexts[0])
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, talk, 0, host=host)
        )
        port = listeners[0].socket.getsockname()[1]
        async with pool_of(Dialer(trust)) as pool:
            with pytest.raises(httpx.ConnectError) as caught:
                await get(pool, f"https://{host}:{port}/x")
        nursery.cancel_scope.cancel()
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_handshake_that_is_cut_leaves_no_socket(
    is_cancelled: bool, autojump_clock: trio.testing.MockClock
) -> None:
    is_closed = trio.Event()

    async def talk(stream: trio.abc.Stream) -> None:
        async with stream:
            while await stream.receive_some():
                pass
            is_closed.set()

    async with listening(talk) as port, pool_of() as pool:
        request = httpx.Request("GET", f"https://127.0.0.1:{port}/x")
        request.extensions["timeout"] = {"connect": float("inf") if is_cancelled else 5.0}
        if is_cancelled:
            with trio.move_on_after(1):
                await pool.handle_async_request(request)
        else:
            with pytest.raises(httpx.ConnectTimeout):
                await pool.handle_async_request(request)
        with trio.fail_after(60):
            await is_closed.wait()
    gc.collect()  # a socket left to the collector is a ResourceWarning, which is an error here


class Proxy:
    """Joins whoever asks with CONNECT to one server."""

    def __init__(self, port: int, answer: bytes = b"HTTP/1.1 200 Connected\r\n\r\n") -> None:
        self.port = port
        self.answer = answer
        self.head = b""

    async def talk(self, stream: trio.abc.Stream) -> None:
        while b"\r\n\r\n" not in self.head:
            self.head += bytes(await stream.receive_some())
        await stream.send_all(self.answer)
        if b" 200 " not in self.answer:
            await stream.aclose()
            return
        other = await trio.open_tcp_stream("127.0.0.1", self.port)
        async with stream, other, trio.open_nursery() as nursery:
            nursery.start_soon(_pump, stream, other)
            nursery.start_soon(_pump, other, stream)


async def _pump(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while piece := await source.receive_some():
            await sink.send_all(piece)


async def test_through_a_proxy_only_the_proxy_sees_its_password(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server = Server(reply(LARGE))
    async with listening(over_tls(server.talk, contexts[0])) as port:
        proxy = Proxy(port)
        async with listening(proxy.talk) as door:
            dialer = Dialer(contexts[1], httpx.Proxy(f"http://me:s3cret@127.0.0.1:{door}"))
            async with pool_of(dialer) as pool:
                assert await get(pool, "https://localhost:8443/x") == LARGE
    assert proxy.head.startswith(b"CONNECT localhost:8443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6czNjcmV0" in proxy.head
    assert b"Basic" not in server.heads[0]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", b"SSH-2.0\r\n\r\n"])
async def test_a_proxy_that_refuses(answer: bytes, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with listening(Proxy(1, answer).talk) as door:
        dialer = Dialer(contexts[1], httpx.Proxy(f"http://127.0.0.1:{door}"))
        async with pool_of(dialer) as pool:
            with pytest.raises(httpx.ProxyError):
                await get(pool, "https://localhost:8443/x")
