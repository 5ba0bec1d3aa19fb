"""A program waits for the time limit once, though the kernel asks again for what its read-ahead did not get."""

from __future__ import annotations

import pytest
import trio

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import DeadlineExceeded, RemoteError, ServerFailure
from fuse4dbricks.paths import ROOT
from fuse4dbricks.vfs.handles import TIRED_SECONDS, Buffer, OpenFile
from fuse4dbricks.vfs.inodes import Node


class SlowReader:
    """Brings what it is told to, after a while."""

    version = Version(10, 1)

    def __init__(self, seconds: float, error: RemoteError | None) -> None:
        self.seconds = seconds
        self.error = error
        self.asked = 0

    def get(self, offset: int, length: int) -> Buffer | None:
        return None

    async def read(self, offset: int, length: int) -> Buffer:
        self.asked += 1
        with trio.move_on_after(self.seconds):  # of the mock clock
            await trio.sleep_forever()
        if self.error is not None:
            raise self.error
        return bytes(length)

    def close(self) -> None:
        pass


def _handle(reader: SlowReader) -> OpenFile:
    return OpenFile(1, Node(1, None, Entry("", Kind.ROOT)), ROOT, reader)


async def test_a_long_wait_in_vain_is_not_repeated_at_once(autojump_clock: trio.testing.MockClock) -> None:
    reader = SlowReader(25, DeadlineExceeded("silence"))
    handle = _handle(reader)
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            await handle.wait_for(0, 10)
    assert (trio.current_time(), reader.asked) == (25, 1)
    autojump_clock.jump(TIRED_SECONDS)
    reader.error = None
    assert await handle.wait_for(0, 10) == bytes(10)


async def test_a_wait_that_the_request_s_deadline_cut_counts_too(
    autojump_clock: trio.testing.MockClock,
) -> None:
    reader = SlowReader(100, None)
    handle = _handle(reader)
    with trio.move_on_after(30):
        await handle.wait_for(0, 10)
    with pytest.raises(DeadlineExceeded):
        await handle.wait_for(0, 10)
    assert reader.asked == 1


async def test_a_quick_failure_is_asked_again(autojump_clock: trio.testing.MockClock) -> None:
    reader = SlowReader(1, ServerFailure("a bad moment"))
    handle = _handle(reader)
    for _ in range(2):
        with pytest.raises(ServerFailure):
            await handle.wait_for(0, 10)
    assert reader.asked == 2


async def test_a_long_wait_for_bytes_that_came_tires_nobody(autojump_clock: trio.testing.MockClock) -> None:
    handle = _handle(SlowReader(25, None))
    for _ in range(2):
        assert await handle.wait_for(0, 10) == bytes(10)
