"""What the first read of a file costs, and how soon it has its bytes."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.errors import ProtocolViolation, ServerFailure
from fuse4dbricks.workspace.limits import Urgency
from tests.support.reading import CHUNK, PIECE, content_of, read_through, reading_rig


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 4 * CHUNK])
async def test_a_small_file_is_one_call_cold_and_none_warm(size: int) -> None:
    content = content_of(size)
    async with reading_rig(content) as rig:
        for _ in range(2):
            reader = rig.open()
            assert await read_through(reader) == content
            reader.close()
        assert rig.source.spans == [(0, size)]


async def test_an_empty_file_is_no_call() -> None:
    async with reading_rig(b"") as rig:
        reader = rig.open()
        assert reader.get(0, 100) == b""
        assert await reader.read(0, 100) == b""
        reader.close()
        assert rig.source.calls == []


async def test_reads_are_clipped_to_the_file() -> None:
    content = content_of(2 * CHUNK + 5)
    async with reading_rig(content) as rig:
        reader = rig.open()
        assert await reader.read(2 * CHUNK, 100) == content[-5:]
        assert reader.get(2 * CHUNK + 4, 100) == content[-1:]
        assert reader.get(2 * CHUNK + 5, 1) == b""
        assert await reader.read(1 << 60, 1) == b""
        assert await reader.read(0, 1 << 60) == content
        reader.close()


async def test_a_random_read_is_one_call_for_one_chunk() -> None:
    content = content_of(1000 * CHUNK)
    async with reading_rig(content) as rig:
        reader, chunks = rig.open(), [700, 3, 512, 999, 40]
        for index in chunks:
            start = index * CHUNK + 20
            assert await reader.read(start, 9) == content[start : start + 9]
            await rig.settle()
        reader.close()
        assert rig.source.spans == [(index * CHUNK, (index + 1) * CHUNK) for index in chunks]
        assert rig.metrics.get("read.extents_cancelled") == 0
        assert all(call.is_exhausted for call in rig.source.calls), "else the connection is lost"


@pytest.mark.parametrize("wanted", [3, PIECE, 2 * PIECE + 1])
async def test_who_waits_for_a_few_bytes_is_not_kept_until_all_that_came_is_taken(wanted: int) -> None:
    content = content_of(1000 * CHUNK)
    async with reading_rig(content) as rig:
        rig.source.piece = CHUNK
        reader = rig.open()
        assert await reader.read(0, wanted) == content[:wanted]
        assert reader.get(0, CHUNK) is None, "the rest of the chunk is there, and still to be decrypted"
        await rig.settle()
        assert reader.get(0, CHUNK) == content[:CHUNK]
        reader.close()
        assert rig.source.spans == [(0, CHUNK)]


async def test_bytes_are_served_while_the_rest_is_on_its_way() -> None:
    content = content_of(1000 * CHUNK)
    async with reading_rig(content) as rig:
        rig.source.hold()
        reader, done = rig.open(), trio.Event()

        async def read() -> None:
            assert await reader.read(5, PIECE) == content[5 : 5 + PIECE]
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await rig.source.allow(1)
            assert not done.is_set(), "its last bytes are in the second piece"
            await rig.source.allow(1)
            assert done.is_set()
        assert reader.get(0, 2 * PIECE) == content[: 2 * PIECE]
        assert reader.get(0, 2 * PIECE + 1) is None
        reader.close()


async def test_a_sequential_read_fetches_no_byte_twice_and_several_ranges_at_once() -> None:
    content = content_of(300 * CHUNK + 7)
    async with reading_rig(content) as rig:
        reader = rig.open()
        assert await read_through(reader, PIECE) == content
        reader.close()
        assert set(rig.source.sent.values()) == {1}
        assert rig.source.bytes_sent == len(content)
        assert rig.source.calls[0].span == (0, CHUNK), "the first request is small"
        assert max(call.stop - call.start for call in rig.source.calls) == 8 * CHUNK
        assert len(rig.source.calls) < 60


async def test_what_is_ahead_runs_in_parallel() -> None:
    content = content_of(1000 * CHUNK)
    async with reading_rig(content) as rig:
        reader = rig.open()
        for start in range(0, 16 * CHUNK, PIECE):
            await reader.read(start, PIECE)
        rig.source.hold()
        for start in range(16 * CHUNK, 20 * CHUNK, PIECE):
            assert await reader.read(start, PIECE) == content[start : start + PIECE]
        await wait_all_tasks_blocked()
        running = [call for call in rig.source.calls if not call.is_closed]
        assert len(running) >= 2
        assert all(call.urgency is Urgency.AHEAD for call in running)
        reader.close()


async def test_parallel_requests_of_the_kernel_are_one_sequential_read() -> None:
    """Four requests at a time, each group answered in any order: as with read_ahead_kb raised."""
    content = content_of(200 * CHUNK)
    async with reading_rig(content) as rig:
        reader = rig.open()

        async def check(start: int) -> None:
            assert await reader.read(start, CHUNK) == content[start : start + CHUNK]

        for group in range(0, len(content), 4 * CHUNK):
            async with trio.open_nursery() as nursery:
                for start in range(group, group + 4 * CHUNK, CHUNK):
                    nursery.start_soon(check, start)
        reader.close()
        assert set(rig.source.sent.values()) == {1}
        assert rig.metrics.get("read.extents", urgency="ahead") > rig.metrics.get(
            "read.extents", urgency="waited"
        )


async def test_who_waits_for_what_is_ahead_promotes_it() -> None:
    content = content_of(1000 * CHUNK)
    async with reading_rig(content) as rig:
        reader = rig.open()
        rig.source.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read, 0, CHUNK)
            await rig.source.allow(4)
            nursery.start_soon(reader.read, CHUNK, CHUNK)
            await wait_all_tasks_blocked()
            ahead = [call for call in rig.source.calls if call.start >= 2 * CHUNK]
            assert {call.ticket.urgency for call in ahead} == {Urgency.AHEAD}
            nursery.start_soon(reader.read, 2 * CHUNK, CHUNK)
            await wait_all_tasks_blocked()
            [waited] = [call for call in ahead if call.start == 2 * CHUNK]
            assert waited.ticket.urgency is Urgency.WAITED
            await rig.source.allow(500)
        reader.close()


@pytest.mark.parametrize("stride", [3 * CHUNK, 7 * CHUNK, -CHUNK, -3 * CHUNK])
async def test_strides_and_backward_reads_fetch_what_they_touch(stride: int) -> None:
    content = content_of(1000 * CHUNK)
    async with reading_rig(content) as rig:
        reader, start = rig.open(), 500 * CHUNK
        for step in range(60):
            place = start + step * stride
            assert await reader.read(place, 4) == content[place : place + 4]
        await rig.settle()
        reader.close()
        assert rig.source.bytes_sent == 60 * CHUNK


async def test_a_seek_ends_what_it_made_useless() -> None:
    content = content_of(2000 * CHUNK)
    async with reading_rig(content) as rig:
        reader = rig.open()
        for start in range(0, 32 * CHUNK, PIECE):
            await reader.read(start, PIECE)
        await rig.settle()
        rig.source.hold()
        for start in range(32 * CHUNK, 56 * CHUNK, PIECE):
            await reader.read(start, PIECE)
        await rig.source.allow(1)
        before = rig.cache.get_gauges()
        assert before.in_flight_bytes > 16 * CHUNK
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read, 1500 * CHUNK, 4)
            await wait_all_tasks_blocked()
            # One stream had begun a chunk, which is finished; the others are gone; and the new one.
            assert rig.cache.get_gauges().in_flight_bytes == 2 * CHUNK
            assert rig.source.calls[-1].span == (1500 * CHUNK, 1501 * CHUNK)
            sent = rig.source.bytes_sent
            await rig.source.allow(100)
        assert rig.cache.get_gauges().in_flight_bytes == 0
        assert rig.source.bytes_sent <= sent + 2 * CHUNK
        assert all(call.is_closed for call in rig.source.calls)
        reader.close()


async def test_close_ends_what_nobody_else_wants() -> None:
    content = content_of(2000 * CHUNK)
    async with reading_rig(content) as rig:
        rig.source.hold()
        reader = rig.open()
        with trio.move_on_after(0):
            await reader.read(0, 8)
        await wait_all_tasks_blocked()
        assert rig.cache.get_gauges().extents == 1, "the interrupted read's bytes are still wanted"
        reader.close()
        await wait_all_tasks_blocked()
        assert rig.cache.get_gauges().extents == 0
        assert rig.source.bytes_sent == 0
        assert rig.metrics.get("read.extents_cancelled") == 1


async def test_a_range_that_ends_early_or_late_is_an_error() -> None:
    content = content_of(10 * CHUNK)
    async with reading_rig(content) as rig:
        reader = rig.open()
        rig.source.is_short = True
        with pytest.raises(ProtocolViolation):
            await reader.read(0, CHUNK)
        rig.source.is_short = False
        assert await reader.read(0, CHUNK) == content[:CHUNK]
        await rig.settle()
        rig.source.extra = b"more"
        assert await reader.read(5 * CHUNK, 7) == content[5 * CHUNK : 5 * CHUNK + 7]
        await rig.settle()
        assert rig.metrics.get("read.extents_failed", error="ProtocolViolation") == 2
        reader.close()


async def test_a_failed_fetch_is_tried_again_by_the_next_read() -> None:
    content = content_of(10 * CHUNK)
    async with reading_rig(content) as rig:
        reader = rig.open()
        rig.source.failures[40] = ServerFailure("500", status=500)
        with pytest.raises(ServerFailure):
            await reader.read(0, CHUNK)
        assert await reader.read(0, CHUNK) == content[:CHUNK]
        reader.close()


async def test_bytes_before_a_failure_are_good() -> None:
    content = content_of(10 * CHUNK)
    async with reading_rig(content) as rig:
        reader = rig.open()
        rig.source.failures[40] = ServerFailure("500", status=500)
        assert await reader.read(0, 32) == content[:32]
        reader.close()


async def test_who_comes_to_wait_for_what_is_ahead_tries_for_himself_when_it_fails() -> None:
    content = content_of(100 * CHUNK)
    async with reading_rig(content) as rig:
        reader = rig.open()
        rig.source.hold(CHUNK)
        for start in range(0, CHUNK, PIECE):
            await reader.read(start, PIECE)
        rig.source.failures[CHUNK + PIECE] = ServerFailure("500", status=500)
        async with trio.open_nursery() as nursery:

            async def check() -> None:
                assert await reader.read(CHUNK, CHUNK) == content[CHUNK : 2 * CHUNK]

            nursery.start_soon(check)
            await wait_all_tasks_blocked()
            await rig.source.allow(100)
        urgencies = [call.urgency for call in rig.source.calls if call.start == CHUNK]
        assert urgencies == [Urgency.AHEAD, Urgency.WAITED]
        reader.close()


async def test_a_failure_ahead_is_counted_and_nothing_else() -> None:
    content = content_of(100 * CHUNK)
    async with reading_rig(content) as rig:
        rig.source.failures.update(dict.fromkeys(range(5 * CHUNK, 20 * CHUNK, CHUNK), ServerFailure("500")))
        reader = rig.open()
        for start in range(0, 2 * CHUNK, PIECE):
            await reader.read(start, PIECE)
        await rig.settle()
        failed = rig.metrics.get("read.extents_failed")
        assert failed > 0
        rig.source.failures.clear()
        assert await read_through(reader) == content
        assert rig.metrics.get("read.extents_failed") == failed
        assert rig.metrics.get("tasks.failed") == 0
        reader.close()
