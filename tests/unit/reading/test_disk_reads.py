"""The disk tier under a reader: never waited for when warm, never trusted when bad, never in the way."""

from __future__ import annotations

import random
from contextlib import closing

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.support.reading import CHUNK, PATH, PIECE, content_of, read_through, reading_rig, version_of


async def test_a_warm_chunk_is_read_without_waiting_or_fetching() -> None:
    content = content_of(20 * CHUNK)
    async with reading_rig(content) as rig:
        rig.disk.put(PATH, version_of(content), content, range(20))
        rig.disk.cold.clear()
        reader = rig.open()
        for start in (0, 3 * CHUNK + 5, 19 * CHUNK):
            assert reader.get(start, 30) == content[start : start + 30]
        assert reader.get(CHUNK - 5, CHUNK) == content[CHUNK - 5 : 2 * CHUNK - 5], "over a border too"
        reader.close()
        assert not rig.disk.loads
        assert not rig.source.calls
        assert rig.metrics.get("read.hits", layer="disk") == 4


async def test_a_cold_chunk_is_loaded_once_for_all_and_then_in_ram() -> None:
    content = content_of(20 * CHUNK)
    async with reading_rig(content) as rig:
        rig.disk.put(PATH, version_of(content), content, range(20))
        readers = [rig.open() for _ in range(5)]
        async with trio.open_nursery() as nursery:
            for number, reader in enumerate(readers):
                nursery.start_soon(reader.read, 7 * CHUNK + number, 8)
        assert rig.disk.loads == {7: 1}
        assert isinstance(readers[0].get(7 * CHUNK, CHUNK), memoryview)
        for reader in readers:
            reader.close()
        assert not rig.source.calls


async def test_a_sequential_read_from_disk_loads_each_chunk_once_and_ahead_in_parallel() -> None:
    content = content_of(60 * CHUNK + 5)
    async with reading_rig(content) as rig:
        rig.disk.put(PATH, version_of(content), content, range(61))
        reader = rig.open()
        assert await read_through(reader) == content
        reader.close()
        assert rig.disk.loads == dict.fromkeys(range(61), 1)
        assert 2 <= rig.disk.most_loading <= 5, "four ahead and the one that is waited for"
        assert not rig.source.calls


async def test_reading_a_warm_disk_in_order_uses_no_thread() -> None:
    content = content_of(60 * CHUNK)
    async with reading_rig(content) as rig:
        rig.disk.put(PATH, version_of(content), content, range(60))
        rig.disk.cold.clear()
        reader = rig.open()
        assert await read_through(reader) == content
        reader.close()
        assert not rig.disk.loads


async def test_random_reads_load_nothing_ahead() -> None:
    content = content_of(60 * CHUNK)
    async with reading_rig(content) as rig:
        rig.disk.put(PATH, version_of(content), content, range(60))
        reader = rig.open()
        for index in (50, 3, 30, 12):
            await reader.read(index * CHUNK, 8)
        reader.close()
        assert rig.disk.loads.keys() == {50, 3, 30, 12}


async def test_a_small_file_on_disk_is_loaded_by_the_chunk() -> None:
    content = content_of(4 * CHUNK)
    async with reading_rig(content) as rig:
        rig.disk.put(PATH, version_of(content), content, range(4))
        reader = rig.open()
        await reader.read(0, 8)
        reader.close()
        assert rig.disk.loads.keys() == {0}


@pytest.mark.parametrize("bad", [[0], [5], [3, 4, 5], [9]])
async def test_a_bad_chunk_is_a_miss(bad: list[int]) -> None:
    content = content_of(10 * CHUNK)
    async with reading_rig(content) as rig:
        version = version_of(content)
        rig.disk.put(PATH, version, content, range(10))
        rig.disk.bad.update((PATH, version, index) for index in bad)
        readers = [rig.open(), rig.open()]
        async with trio.open_nursery() as nursery:

            async def check(number: int) -> None:
                assert await read_through(readers[number]) == content

            nursery.start_soon(check, 0)
            nursery.start_soon(check, 1)
        assert {offset // CHUNK for _, offset in rig.source.sent} == set(bad)
        assert set(rig.source.sent.values()) == {1}
        for reader in readers:
            reader.close()


async def test_a_chunk_that_is_said_to_be_there_and_never_is_does_not_loop() -> None:
    """The index knows it, the file is gone, and the index goes on knowing it (it is read-only, say)."""
    content = content_of(10 * CHUNK)
    async with reading_rig(content) as rig:
        version = version_of(content)
        rig.disk.put(PATH, version, content, range(10))
        rig.disk.stored[PATH, version, 4] = b"short"
        rig.disk.takes = False
        reader = rig.open()
        assert await read_through(reader) == content
        assert rig.disk.loads[4] == 1
        reader.close()


async def test_a_file_half_on_disk_fetches_the_other_half() -> None:
    content = content_of(100 * CHUNK)
    async with reading_rig(content) as rig:
        here = [index for index in range(100) if index % 10 < 4]
        rig.disk.put(PATH, version_of(content), content, here)
        reader = rig.open()
        assert await read_through(reader) == content
        reader.close()
        assert {offset // CHUNK for _, offset in rig.source.sent} == set(range(100)) - set(here)
        assert set(rig.source.sent.values()) == {1}


async def test_what_was_fetched_is_on_disk_afterwards() -> None:
    content = content_of(50 * CHUNK + 9)
    async with reading_rig(content) as rig:
        reader = rig.open()
        assert await read_through(reader) == content
        reader.close()
        await rig.settle()
        stored = {key[2]: payload for key, payload in rig.disk.stored.items()}
        assert b"".join(stored[index] for index in range(51)) == content


async def test_a_disk_that_does_not_get_on_delays_nobody_and_costs_no_second_fetch() -> None:
    content = content_of(200 * CHUNK)
    async with reading_rig(content, ram_bytes=0, window_bytes=16 * CHUNK) as rig:
        rig.disk.is_slow = True
        reader = rig.open()
        assert await read_through(reader) == content
        # Far more than RAM may hold is waiting to be written; it is found there.
        assert rig.cache.get_gauges().publishing == 200
        assert await read_through(reader) == content
        assert set(rig.source.sent.values()) == {1}
        rig.disk.store_all()
        assert rig.cache.get_gauges().publishing == 0
        assert rig.cache.get_gauges().ram_bytes <= 16 * CHUNK
        reader.close()


async def test_open_handles_are_known_to_the_disk() -> None:
    content = content_of(CHUNK)
    async with reading_rig(content) as rig:
        first, second = rig.open(), rig.open()
        assert rig.disk.held[PATH, version_of(content)] == 2
        first.close()
        second.close()
        assert rig.disk.held[PATH, version_of(content)] == 0


async def test_a_read_that_is_cancelled_in_a_load_leaves_the_chunk_to_others() -> None:
    content = content_of(20 * CHUNK)
    async with reading_rig(content) as rig:
        rig.disk.put(PATH, version_of(content), content, range(20))
        gate = trio.Event()
        rig.disk.pace = gate.wait
        reader = rig.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.read, 0, PIECE)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        gate.set()
        await rig.settle()
        assert reader.get(0, CHUNK) == content[:CHUNK]
        assert rig.disk.loads == {0: 1}
        reader.close()


async def test_what_ram_answered_counts_as_used_on_disk_when_the_handle_is_closed() -> None:
    async with reading_rig(content_of(8 * CHUNK)) as rig:
        with closing(rig.open()) as first:
            await read_through(first)
        await rig.settle()
        with closing(rig.open()) as again:
            assert isinstance(again.get(5 * CHUNK, 10), memoryview)
            assert again.get(7 * CHUNK - 5, 10) is not None
        assert rig.disk.used[-1] == {5, 6, 7}


async def test_a_handle_that_asked_for_nothing_may_have_had_anything_from_the_kernel() -> None:
    async with reading_rig(content_of(8 * CHUNK)) as rig:
        rig.open().close()
        assert rig.disk.used == [None]


async def test_a_disk_that_is_read_in_the_loop_is_opened_ahead_and_not_loaded() -> None:
    content = content_of(61 * CHUNK)
    async with reading_rig(content) as rig:
        rig.disk.put(PATH, version_of(content), content, range(61))
        rig.disk.reads_in_loop = True
        reader = rig.open()
        assert await read_through(reader) == content
        reader.close()
        assert len(rig.disk.opened) == len(set(rig.disk.opened)) >= 58
        assert set(rig.disk.loads) <= {0, 1, 2}, "what was read before it was known to be a sequence"
        assert (await rig.settle()).ram_bytes <= 8 * CHUNK
        assert not rig.source.calls


async def test_random_reads_of_a_cached_file_verify_each_chunk_once_and_fetch_nothing() -> None:
    content, dice = content_of(40 * CHUNK), random.Random(1)
    async with reading_rig(content, ram_bytes=4 * CHUNK) as rig:
        rig.disk.put(PATH, version_of(content), content, range(40))
        reader = rig.open()
        for _ in range(1000):
            start = dice.randrange(len(content) - 4)
            assert await reader.read(start, 4) == content[start : start + 4]
        reader.close()
        assert rig.disk.loads == dict.fromkeys(range(40), 1)
        assert not rig.source.calls
