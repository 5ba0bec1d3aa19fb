"""TLS links over a network that is played: what is taken in one turn, and what is left for the next."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest
import trio

from fuse4dbricks.devworkspace.certificates import make_certificate
from fuse4dbricks.units import KIB, MIB
from fuse4dbricks.workspace.links import GULP, TURN, TlsLink

CONTENT = bytes(range(256)) * (3 * MIB // 256)


class Peer:
    """The other end of a link without a network: what it wrote has all arrived.

    Attributes:
        waits: how often somebody waited for bytes.
        gulps: the most that was taken at a time.
        expected: what is said to be still to come.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.waits = 0
        self.gulps = 0
        self.expected = 0

    def write(self, text: bytes) -> None:
        self._tls.write(text)

    def damage(self) -> None:
        """What arrives next is no TLS."""
        self._outgoing.write(b"\x17\x03\x03\x40\x00" + bytes(0x4000))

    def say_goodbye(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()

    # --- as a Link

    async def send(self, text: bytes) -> None:
        self._incoming.write(text)
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()

    async def receive(self) -> bytes:
        await trio.lowlevel.checkpoint()
        self.waits += 1
        text = self._outgoing.read(GULP)
        assert text, "it would wait for ever"
        return text

    async def receive_into(self, room: memoryview) -> int:
        text = await self.receive()
        room[: len(text)] = text
        return len(text)

    def receive_now(self, room: memoryview) -> int:
        text = self._outgoing.read(len(room))
        room[: len(text)] = text
        self.gulps = max(self.gulps, len(text))
        return len(text)

    def expect(self, count: int) -> None:
        self.expected = count

    def is_quiet(self) -> bool:
        return not self._outgoing.pending

    def close(self) -> None:
        """There is nothing to close."""


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, and that of a client who trusts it; made once, for making a key takes seconds on a busy machine."""
    certificate = make_certificate(tmp_path_factory.mktemp("tls"))
    return certificate.context(), ssl.create_default_context(cafile=str(certificate.authority))


@pytest.fixture
async def joined(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> tuple[Peer, TlsLink]:
    peer = Peer(contexts[0])
    link = TlsLink(peer, contexts[1], "localhost")
    await link.handshake()
    return peer, link


async def receive(link: TlsLink, size: int, room: int) -> bytes:
    buffer, place = bytearray(), memoryview(bytearray(room))
    while len(buffer) < size:
        count = await link.receive_into(place[: size - len(buffer)])
        assert count
        buffer += place[:count]
    return bytes(buffer)


async def test_what_has_arrived_is_taken_in_one_turn(joined: tuple[Peer, TlsLink]) -> None:
    peer, link = joined
    peer.write(CONTENT)
    place, before = memoryview(bytearray(3 * MIB)), peer.waits
    assert await link.receive_into(place) == TURN
    assert place[:TURN] == CONTENT[:TURN]
    assert peer.waits == before + 1
    assert peer.gulps <= GULP


@pytest.mark.parametrize("room", [1, 1000, 16 * KIB, 100_000, MIB - 1, 3 * MIB])
async def test_every_byte_comes_once_whatever_the_room(joined: tuple[Peer, TlsLink], room: int) -> None:
    peer, link = joined
    content = CONTENT if room >= 1000 else CONTENT[:20_000]
    peer.write(content)
    peer.write(b"more")
    assert await receive(link, len(content), room) == content
    assert not link.is_quiet()
    assert await receive(link, 4, room) == b"more"
    assert link.is_quiet()


async def test_others_have_a_turn_between(joined: tuple[Peer, TlsLink]) -> None:
    peer, link = joined
    peer.write(CONTENT)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(48):
            await link.receive_into(memoryview(bytearray(len(CONTENT) // 48)))
        nursery.cancel_scope.cancel()
    # Who goes first in a round of the loop is a matter of chance.
    assert 46 <= turns <= 50


async def test_a_goodbye_ends_it_after_the_last_byte(joined: tuple[Peer, TlsLink]) -> None:
    peer, link = joined
    peer.write(CONTENT)
    peer.say_goodbye()
    assert await receive(link, len(CONTENT), MIB) == CONTENT
    assert await link.receive_into(memoryview(bytearray(10))) == 0


async def test_what_is_damaged_is_an_error_and_stays_one(joined: tuple[Peer, TlsLink]) -> None:
    peer, link = joined
    peer.write(b"sound")
    peer.damage()
    with pytest.raises(ssl.SSLError):
        await receive(link, 6, MIB)
    with pytest.raises(ssl.SSLError):
        await link.receive_into(memoryview(bytearray(10)))


async def test_tls_inside_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    outer_peer = Peer(contexts[0])
    outer = TlsLink(outer_peer, contexts[1], "localhost")
    await outer.handshake()
    tunnel = Tunnel(outer_peer, Peer(contexts[0]), outer)
    inner = TlsLink(tunnel, contexts[1], "localhost")
    await inner.handshake()
    tunnel.inner.write(CONTENT)
    tunnel.forward()
    inner.expect(len(CONTENT))
    assert outer_peer.expected == len(CONTENT)
    assert await receive(inner, len(CONTENT), MIB) == CONTENT


class Tunnel:
    """A link through ``outer``, at whose far end ``inner`` answers."""

    def __init__(self, peer: Peer, inner: Peer, outer: TlsLink) -> None:
        self._peer = peer
        self.inner = inner
        self._outer = outer

    def forward(self) -> None:
        """What the inner end wrote goes into the outer one."""
        place = memoryview(bytearray(GULP))
        while count := self.inner.receive_now(place):
            self._peer.write(bytes(place[:count]))

    async def send(self, text: bytes) -> None:
        await self.inner.send(text)
        self.forward()

    async def receive(self) -> bytes:
        return await self._outer.receive()

    async def receive_into(self, room: memoryview) -> int:
        return await self._outer.receive_into(room)

    def receive_now(self, room: memoryview) -> int:
        return self._outer.receive_now(room)

    def expect(self, count: int) -> None:
        self._outer.expect(count)

    def is_quiet(self) -> bool:
        return self._outer.is_quiet()

    def close(self) -> None:
        self._outer.close()
