"""Memory is bounded whatever is read, and chunks do not leave it between fetch and read."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.cache.reading.data_cache import IDLE_SECONDS
from tests.support.reading import CHUNK, PATH, PIECE, content_of, read_through, reading_rig


@pytest.mark.parametrize("ram_chunks", [0, 1, 10])
async def test_without_disk_and_hardly_any_ram_a_sequential_read_fetches_each_byte_once(
    ram_chunks: int,
) -> None:
    content = content_of(400 * CHUNK)
    async with reading_rig(content, ram_bytes=ram_chunks * CHUNK, window_bytes=128 * CHUNK) as rig:
        rig.disk.takes = False
        reader = rig.open()
        assert await read_through(reader, PIECE) == content
        assert set(rig.source.sent.values()) == {1}
        reader.close()
        assert rig.cache.get_gauges().ram_bytes <= ram_chunks * CHUNK


async def test_a_reread_with_no_ram_and_no_disk_fetches_again() -> None:
    """The other side of the test above: nothing is kept that was not asked for."""
    content = content_of(10 * CHUNK)
    async with reading_rig(content, ram_bytes=0) as rig:
        rig.disk.takes = False
        for _ in range(2):
            reader = rig.open()
            assert await read_through(reader) == content
            reader.close()
            await rig.settle()
        assert set(rig.source.sent.values()) == {2}


async def test_many_streams_together_stay_within_the_limit() -> None:
    contents = [content_of(400 * CHUNK, seed) for seed in range(8)]
    window, ram = 64 * CHUNK, 32 * CHUNK
    async with reading_rig(*contents, ram_bytes=ram, window_bytes=window) as rig:
        highest = 0

        async def watched() -> None:
            nonlocal highest
            gauges = rig.cache.get_gauges()
            highest = max(highest, gauges.in_flight_bytes + gauges.ram_bytes)
            assert gauges.in_flight_bytes <= window // 2 + 8 * CHUNK, "half for what is ahead, and demand"
            await trio.lowlevel.checkpoint()

        rig.source.pace = watched
        async with trio.open_nursery() as nursery:

            async def check(number: int) -> None:
                path = PATH.parent.child(f"file{number}") if number else PATH
                reader = rig.open(path=path)
                assert await read_through(reader) == contents[number]
                reader.close()

            for number in range(8):
                nursery.start_soon(check, number)
        assert window // 4 < highest <= ram + window


async def test_a_reader_proceeds_when_the_windows_of_others_are_full() -> None:
    contents = [content_of(400 * CHUNK, seed) for seed in range(2)]
    async with reading_rig(*contents, window_bytes=16 * CHUNK) as rig:
        greedy, late = rig.open(), rig.open(path=PATH.parent.child("file1"))
        for start in range(0, 32 * CHUNK, PIECE):
            await greedy.read(start, PIECE)
        await rig.settle()
        rig.source.hold()
        while (piece := greedy.get(start, PIECE)) is not None:
            assert piece == contents[0][start : start + PIECE]
            start += PIECE
        async with trio.open_nursery() as nursery:
            nursery.start_soon(late.read, 0, 8)
            await wait_all_tasks_blocked()
            assert rig.source.calls[-1].span == (0, CHUNK)
            await rig.source.allow(100)
        greedy.close()
        late.close()


async def test_nothing_is_fetched_ahead_beyond_half_of_the_limit() -> None:
    """One stream took what there is while it was alone; those that come now get what they wait for."""
    contents = [content_of(400 * CHUNK, seed) for seed in range(3)]
    async with reading_rig(*contents, window_bytes=64 * CHUNK) as rig:
        greedy = rig.open()
        for start in range(0, 32 * CHUNK, PIECE):
            await greedy.read(start, PIECE)
        await rig.settle()
        rig.source.hold()
        start = 32 * CHUNK
        while greedy.get(start, PIECE) is not None:
            start += PIECE
        assert rig.cache.get_gauges().in_flight_bytes == 32 * CHUNK
        late = [rig.open(path=PATH.parent.child(f"file{number}")) for number in (1, 2)]
        ahead = rig.metrics.get("read.extents", urgency="ahead")
        async with trio.open_nursery() as nursery:
            for number, reader in enumerate(late, 1):
                for place in range(4):
                    nursery.start_soon(reader.read, place * CHUNK, CHUNK)
                    await wait_all_tasks_blocked()
                assert rig.cache.get_gauges().in_flight_bytes == (32 + 4 * number) * CHUNK
            assert rig.metrics.get("read.extents", urgency="ahead") == ahead
            await rig.source.allow(1000)
        for reader in (greedy, *late):
            reader.close()


async def test_a_small_file_is_not_fetched_whole_when_memory_is_short() -> None:
    contents = [content_of(4 * CHUNK, seed) for seed in range(2)]
    async with reading_rig(*contents, window_bytes=2 * CHUNK) as rig:
        reader = rig.open()
        assert await reader.read(0, 8) == contents[0][:8]
        assert rig.source.spans == [(0, CHUNK)]
        reader.close()


async def test_a_reopened_file_is_in_ram() -> None:
    content = content_of(10 * CHUNK)
    async with reading_rig(content) as rig:
        rig.disk.takes = False
        reader = rig.open()
        await read_through(reader)
        reader.close()
        again = rig.open()
        assert again.get(3, 4 * CHUNK) == content[3 : 3 + 4 * CHUNK]
        again.close()
        assert rig.metrics.get("read.hits", layer="ram") > 0


async def test_a_read_within_a_chunk_is_a_view_of_it() -> None:
    content = content_of(10 * CHUNK)
    async with reading_rig(content) as rig:
        reader = rig.open()
        await reader.read(0, CHUNK)
        await rig.settle()
        first, second = reader.get(0, 8), reader.get(8, 8)
        assert isinstance(first, memoryview)
        assert isinstance(second, memoryview)
        assert first.obj is second.obj
        assert first.readonly
        reader.close()


async def test_a_view_outlives_its_chunk() -> None:
    content = content_of(40 * CHUNK)
    async with reading_rig(content, ram_bytes=2 * CHUNK, window_bytes=4 * CHUNK) as rig:
        reader = rig.open()
        view = await reader.read(0, CHUNK)
        await read_through(reader)
        assert view == content[:CHUNK]
        reader.close()


async def test_what_a_sequential_reader_left_behind_is_on_disk_and_not_in_ram_too() -> None:
    content = content_of(100 * CHUNK)
    async with reading_rig(content) as rig:
        reader = rig.open()
        assert await read_through(reader) == content
        assert (await rig.settle()).ram_bytes <= 8 * CHUNK
        assert reader.get(0, CHUNK) == content[:CHUNK], "from disk"
        reader.close()
        assert set(rig.source.sent.values()) == {1}


async def test_what_was_left_behind_stays_in_ram_until_it_is_on_disk() -> None:
    content = content_of(100 * CHUNK)
    async with reading_rig(content) as rig:
        rig.disk.is_slow = True
        reader = rig.open()
        assert await read_through(reader) == content
        assert (await rig.settle()).ram_bytes == 100 * CHUNK
        rig.disk.store_all()
        assert (await rig.settle()).ram_bytes <= 8 * CHUNK
        reader.close()


async def test_what_no_disk_keeps_stays_in_ram_behind_a_sequential_reader() -> None:
    content = content_of(100 * CHUNK)
    async with reading_rig(content) as rig:
        rig.disk.takes = False
        reader = rig.open()
        assert await read_through(reader) == content
        assert (await rig.settle()).ram_bytes == 100 * CHUNK
        reader.close()


async def test_a_small_file_stays_in_ram_though_it_is_on_disk() -> None:
    content = content_of(4 * CHUNK)
    async with reading_rig(content) as rig:
        reader = rig.open()
        assert await read_through(reader) == content
        assert (await rig.settle()).ram_bytes == 4 * CHUNK
        reader.close()


async def test_ram_is_given_back_once_when_no_file_was_open_for_a_while(
    autojump_clock: trio.testing.MockClock,
) -> None:
    content = content_of(10 * CHUNK)
    given_back: list[float] = []
    async with reading_rig(content) as rig, trio.open_nursery() as nursery:
        rig.disk.takes = False
        nursery.start_soon(rig.cache.run_idle, lambda: given_back.append(trio.current_time()))
        await trio.sleep(10 * IDLE_SECONDS)
        assert not given_back, "nothing was ever read"
        for _ in range(2):
            reader = rig.open()
            assert await read_through(reader) == content
            await trio.sleep(2 * IDLE_SECONDS)
            reader.close()
            await trio.sleep(IDLE_SECONDS / 2)
        assert not given_back
        assert rig.cache.get_gauges().ram_bytes == 10 * CHUNK
        idle_since = trio.current_time() - IDLE_SECONDS / 2
        await trio.sleep(10 * IDLE_SECONDS)
        [at] = given_back
        assert idle_since + IDLE_SECONDS <= at <= idle_since + 2 * IDLE_SECONDS
        assert rig.cache.get_gauges().ram_bytes == 0
        reader = rig.open()
        assert await read_through(reader) == content
        reader.close()
        await trio.sleep(10 * IDLE_SECONDS)
        assert len(given_back) == 2
        nursery.cancel_scope.cancel()
