"""A chunk serves what has arrived and wakes exactly those whose bytes are there."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.cache.reading.chunk import Chunk
from fuse4dbricks.errors import Unreachable


def fill(chunk: Chunk, piece: bytes) -> None:
    chunk.get_room()[: len(piece)] = piece
    chunk.advance(len(piece))


def test_bytes_below_the_watermark_are_served_and_no_others() -> None:
    chunk = Chunk(0, 8)
    assert chunk.get(0, 1) is None
    fill(chunk, b"abcd")
    assert bytes(chunk.get(1, 4) or b"") == b"bcd"
    assert chunk.get(1, 5) is None
    fill(chunk, b"efgh")
    assert bytes(chunk.get_payload()) == b"abcdefgh"
    assert chunk.is_complete


def test_a_view_given_away_is_not_a_copy_and_stays_as_it_was() -> None:
    chunk = Chunk(0, 8)
    fill(chunk, b"abcd")
    view = chunk.get(0, 4)
    assert isinstance(view, memoryview)
    assert view.readonly
    fill(chunk, b"efgh")
    assert bytes(view) == b"abcd"
    assert view.obj is chunk.get_payload().obj


def test_memory_is_taken_with_the_first_byte() -> None:
    chunk = Chunk(0, 1 << 40)
    assert len(chunk.get_payload()) == 0


async def test_only_those_are_woken_whose_bytes_came() -> None:
    chunk, woken = Chunk(0, 8), list[int]()

    async def reader(need: int) -> None:
        await chunk.reach(need)
        woken.append(need)

    async with trio.open_nursery() as nursery:
        for need in (8, 2, 4):
            nursery.start_soon(reader, need)
        await wait_all_tasks_blocked()
        fill(chunk, b"abc")
        await wait_all_tasks_blocked()
        assert (woken, chunk.waiters) == ([2], 2)
        chunk.complete(b"abcdefgh")
    assert sorted(woken) == [2, 4, 8]
    assert chunk.waiters == 0


async def test_each_waiter_raises_an_error_of_his_own() -> None:
    chunk, raised = Chunk(0, 8), list[Unreachable]()

    async def reader() -> None:
        with pytest.raises(Unreachable) as caught:
            await chunk.reach(4)
        raised.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        nursery.start_soon(reader)
        await wait_all_tasks_blocked()
        chunk.fail(Unreachable("no route", request_id="r1"))
    assert raised[0] is not raised[1]
    assert {error.request_id for error in raised} == {"r1"}


async def test_a_failure_does_not_take_back_bytes() -> None:
    chunk = Chunk(0, 8)
    fill(chunk, b"abcd")
    chunk.fail(Unreachable("no route"))
    await chunk.reach(4)
    with pytest.raises(Unreachable):
        await chunk.reach(5)


async def test_a_waiter_that_is_cancelled_is_forgotten() -> None:
    chunk = Chunk(0, 8)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chunk.reach, 8)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert chunk.waiters == 0
