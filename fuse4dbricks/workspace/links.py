"""Byte streams to a host, plain or TLS, made for bodies of many megabytes.

The difficulty: a TLS record holds 16 KiB, and a stream that hands on one record at a time runs a reader's whole
stack 64 times per mebibyte: that, not decryption, made a mount three times slower than its network. So a link takes
from the socket whatever is there, up to :data:`GULP`, and hands on all of its plain text at once. Whoever has a place
for the bytes gives it (:meth:`Link.receive_into`), and they are decrypted into it, gulp after gulp up to :data:`TURN`:
a byte that is handed on in ``bytes`` is copied twice more, and handing on costs as much as decrypting 50 KiB.

Links know no time limits (but the moment for a heap): cancelling is how their users end a wait. After an error or a
cancelled call the link is broken and must be closed. Closing says no goodbye, so it never waits: every body's end is
known by its length.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import trio

from fuse4dbricks.units import KIB, MIB

#: Taken from a socket at a time. More would be out of a core's cache before it is decrypted.
GULP = 256 * KIB
#: Decrypted in one turn of the event loop while there is more: about 1 ms, and eight streams may be at it while
#: somebody waits for a cached byte.
TURN = MIB
#: Plain text of the largest TLS record.
RECORD = 16 * KIB
#: In the middle of a long message a link is woken by so many bytes, not by each packet: at 50 MB/s a connection brings
#: 16 KiB each 0.3 ms, and to be woken for them by eight connections takes a whole core.
HEAP = 128 * KIB
#: What may have been taken from the socket of a record that is not complete, and all that TLS adds, with room to spare.
SLACK = 64 * KIB
#: Seconds after which a heap that does not come is not waited for: on a slow line bytes count one by one.
HEAP_SECONDS = 0.05

#: Where cipher text is for a moment between socket and decryption, in one place, so that it stays in a core's cache.
#: All links are of one event loop, and nobody waits while it is in use.
_GULPED = memoryview(bytearray(GULP))


class Link(Protocol):
    """A connection, as HTTP needs it."""

    async def send(self, text: bytes) -> None:
        """Hand all of it to the network.

        Raises:
            OSError: the connection is broken.
        """
        ...

    async def receive(self) -> bytes:
        """What has arrived, at least a byte; empty at the end.

        Raises:
            OSError: the connection is broken.
        """
        ...

    async def receive_into(self, room: memoryview) -> int:
        """Put what has arrived, at least a byte, at the start of ``room``, which is not empty; 0 at the end.

        What is in ``room`` after an error or a cancelled call is not to be used.

        Raises:
            OSError: the connection is broken.
        """
        ...

    def receive_now(self, room: memoryview) -> int:
        """As :meth:`receive_into`, without waiting: 0 when there is nothing now, or an end or an error to tell of."""
        ...

    def expect(self, count: int) -> None:
        """So many bytes, or more, are still to come of one message; nobody minds whether they come in heaps."""
        ...

    def is_quiet(self) -> bool:
        """Whether nothing, not even its end, has arrived that nobody has received."""
        ...

    def close(self) -> None:
        """Drop it; harmless when closed."""
        ...


class TcpLink:
    """A connected socket, which it owns."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._due = 0
        self._low_water = 1
        self._is_slow = False

    async def send(self, text: bytes) -> None:
        """Hand all of it to the kernel."""
        left = memoryview(text)
        await trio.lowlevel.checkpoint_if_cancelled()
        while left:
            try:
                left = left[self._socket.send(left) :]
            except (BlockingIOError, InterruptedError):
                await trio.lowlevel.wait_writable(self._socket)

    async def receive(self) -> bytes:
        """What the kernel has."""
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self._socket.recv(GULP)
            except (BlockingIOError, InterruptedError):
                await self._wait()

    async def receive_into(self, room: memoryview) -> int:
        """What the kernel has and ``room`` holds."""
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self._socket.recv_into(room)
            except (BlockingIOError, InterruptedError):
                await self._wait()

    def receive_now(self, room: memoryview) -> int:
        """What the kernel has and ``room`` holds."""
        try:
            return self._socket.recv_into(room)
        except OSError:
            return 0  # whoever waits next is told

    def expect(self, count: int) -> None:
        """Wake up for a heap while so many bytes are to come; with 0, for each byte again."""
        self._due = count
        if not count:
            self._is_slow = False
            with suppress(OSError):  # closed
                self._wake_for(1)

    async def _wait(self) -> None:
        if self._due >= HEAP + SLACK and not self._is_slow:
            self._wake_for(HEAP)
            with trio.move_on_after(HEAP_SECONDS) as heap:
                await trio.lowlevel.wait_readable(self._socket)
            if not heap.cancelled_caught:
                return
            self._is_slow = True
        self._wake_for(1)
        await trio.lowlevel.wait_readable(self._socket)

    def _wake_for(self, count: int) -> None:
        if count != self._low_water:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)
            self._low_water = count

    def is_quiet(self) -> bool:
        """Whether the socket has neither bytes nor an end nor an error to tell of."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the socket; a task that waits for it gets an OSError."""
        if self._socket.fileno() >= 0:
            with suppress(OSError):
                trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


class TlsLink:
    """TLS over another link, which it owns."""

    def __init__(self, below: Link, context: ssl.SSLContext, host: str) -> None:
        self._below = below
        self._arrived = ssl.MemoryBIO()
        self._leaving = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._arrived, self._leaving, server_hostname=host)

    async def handshake(self) -> None:
        """Agree on keys and check the certificate; before anything else.

        Raises:
            ssl.SSLError: the certificate is not trusted, or it is not TLS.
            OSError: the connection is broken.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._refill()
            else:
                break
        await self._flush()

    async def send(self, text: bytes) -> None:
        """Encrypt and send."""
        self._tls.write(text)
        await self._flush()

    async def receive(self) -> bytes:
        """Everything that can be decrypted now; waits for at least one record."""
        while True:
            records: list[bytes] = []
            try:
                while record := self._tls.read(RECORD):
                    records.append(record)
                return b"".join(records)  # the peer has said goodbye
            except ssl.SSLWantReadError:
                if records:
                    return b"".join(records)
            except ssl.SSLZeroReturnError:
                return b"".join(records)
            await self._flush()  # a key update wants an answer
            await self._refill()

    async def receive_into(self, room: memoryview) -> int:
        """As :meth:`receive`, as far as ``room`` holds it; the rest stays encrypted."""
        await trio.lowlevel.checkpoint()
        while True:
            count, is_over = self._decrypt_turn(room[:TURN])
            await self._flush()  # a key update wants an answer
            if count or is_over:
                return count
            await self._refill()

    def receive_now(self, room: memoryview) -> int:
        """What has arrived and was not decrypted yet."""
        try:
            return self._decrypt_into(room)[0]
        except OSError:
            return 0

    def _decrypt_turn(self, room: memoryview) -> tuple[int, bool]:
        """As :meth:`_decrypt_into`, with what arrives meanwhile."""
        count, is_over = self._decrypt_into(room)
        while 0 < count < len(room) and not is_over and (length := self._below.receive_now(_GULPED)):
            self._arrived.write(_GULPED[:length])
            gained, is_over = self._decrypt_into(room[count:])
            count += gained
        return count, is_over

    def _decrypt_into(self, room: memoryview) -> tuple[int, bool]:
        """How many bytes could be decrypted now, and whether the peer has said goodbye."""
        # 64 turns per MiB, so what does not change is looked up once. With a buffer ``read`` answers how many bytes,
        # whatever its annotation says.
        read: Callable[[int, memoryview], int] = self._tls.read  # type: ignore[assignment]
        count, size = 0, len(room)
        try:
            while count < size:
                length = read(size - count, room[count:])
                if not length:
                    return count, True
                count += length
        except ssl.SSLWantReadError:
            return count, False
        except ssl.SSLZeroReturnError:
            return count, True
        return count, False

    def expect(self, count: int) -> None:
        """Cipher text is longer than plain text, so as much is to come below."""
        self._below.expect(count)

    def is_quiet(self) -> bool:
        """Whether there is neither plain nor cipher text to be received."""
        return not self._arrived.pending and not self._tls.pending() and self._below.is_quiet()

    def close(self) -> None:
        """Drop what is below."""
        self._below.close()

    async def _flush(self) -> None:
        if self._leaving.pending:
            await self._below.send(self._leaving.read())

    async def _refill(self) -> None:
        text = await self._below.receive()
        if text:
            self._arrived.write(text)
        else:
            self._arrived.write_eof()
