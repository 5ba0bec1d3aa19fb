"""The two ways to take bytes off a stream: as they come, and into a place of the reader's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol


class TwoWays(Protocol):
    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def receive_into(self, room: memoryview, /) -> int: ...


async def pieces_of(stream: TwoWays, room: int) -> AsyncIterator[bytes]:
    """All of it, through a place of ``room`` bytes; 0: as it comes."""
    if not room:
        async for piece in stream:
            yield piece
        return
    place = memoryview(bytearray(room))
    while count := await stream.receive_into(place):
        yield bytes(place[:count])
