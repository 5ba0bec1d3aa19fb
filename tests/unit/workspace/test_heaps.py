"""What wakes a link in the middle of a long message, and what does not keep anybody waiting."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fuse4dbricks.units import KIB, MIB
from fuse4dbricks.workspace.http1 import PROMPT, PlainBody, exchange
from fuse4dbricks.workspace.links import HEAP, HEAP_SECONDS, SLACK, Link, TcpLink

LONG = 4 * HEAP


class Pair:
    """A link over the loopback, and its other end."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.near = socket.create_connection(listener.getsockname())
            self.far, _ = listener.accept()
        self.link = TcpLink(self.near)

    @property
    def low_water(self) -> int:
        """How many bytes wake it."""
        return self.near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    yield made
    made.link.close()
    made.far.close()


async def received(pair: Pair, pieces: list[int], clock: MockClock, later: float = 0.0) -> int:
    """What comes into a large room when the other end sends pieces of such lengths, once somebody waits for them."""
    lengths: list[int] = []

    async def receive() -> None:
        lengths.append(await pair.link.receive_into(memoryview(bytearray(MIB))))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        for length in pieces:
            pair.far.sendall(bytes(length))
            await trio.lowlevel.checkpoint()
        if later:
            clock.jump(later)
    return lengths[0]


async def test_a_heap_is_waited_for_where_more_than_that_is_to_come(
    pair: Pair, mock_clock: MockClock
) -> None:
    pair.link.expect(LONG)
    assert await received(pair, [16 * KIB] * (HEAP // (16 * KIB)), mock_clock) >= HEAP
    assert pair.low_water == HEAP


async def test_at_the_end_of_a_message_each_byte_counts(pair: Pair, mock_clock: MockClock) -> None:
    pair.link.expect(LONG)
    assert await received(pair, [HEAP], mock_clock) == HEAP
    pair.link.expect(HEAP + SLACK - 1)
    assert await received(pair, [1], mock_clock) == 1
    assert pair.low_water == 1


async def test_a_slow_line_is_not_waited_for(pair: Pair, mock_clock: MockClock) -> None:
    pair.link.expect(LONG)
    for _ in range(3):
        assert await received(pair, [100], mock_clock, 2 * HEAP_SECONDS) == 100
    assert pair.low_water == 1
    pair.link.expect(0)
    pair.link.expect(LONG)
    assert await received(pair, [HEAP], mock_clock) == HEAP, "the next message may be quicker"


async def test_an_end_wakes_it(pair: Pair) -> None:
    pair.link.expect(LONG)
    pair.far.sendall(b"a")
    pair.far.close()
    assert await pair.link.receive() == b"a"
    assert await pair.link.receive() == b""


async def test_what_comes_next_is_not_waited_for_in_heaps(pair: Pair, mock_clock: MockClock) -> None:
    pair.link.expect(LONG)
    assert await received(pair, [HEAP], mock_clock) == HEAP
    pair.link.expect(0)
    assert pair.low_water == 1
    assert pair.link.is_quiet()
    pair.far.sendall(b"a")
    await trio.lowlevel.wait_readable(pair.near)
    assert not pair.link.is_quiet()
    pair.link.close()
    pair.link.expect(0)


class Expecting(TcpLink):
    """Remembers what it was told to expect."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        self.told: list[int] = []

    def expect(self, count: int) -> None:
        self.told.append(count)
        super().expect(count)


@pytest.mark.parametrize("length", [10, PROMPT, MIB])
async def test_the_first_bytes_of_a_body_are_handed_on_as_they_come(pair: Pair, length: int) -> None:
    link = Expecting(pair.near)
    released: list[bool] = []

    def release(link: Link, /, *, is_reusable: bool) -> None:
        released.append(is_reusable)

    async def answer() -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(pair.far))
        await stream.receive_some()
        await stream.send_all(head + bytes(length))

    taken = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        response = await exchange(link, httpx.Request("GET", "http://a/"), release)
        body = response.stream
        assert isinstance(body, PlainBody)
        room = memoryview(bytearray(16 * KIB))
        while count := await body.receive_into(room):
            taken += count
    assert taken == length
    assert released == [True]
    told = [count for count in link.told if count]
    assert all(count <= length - PROMPT for count in told)
    assert bool(told) == (length > PROMPT)
    assert link.told[-1] == 0
    assert pair.low_water == 1
