"""The rest of a file that is read all over: fetched once, behind everybody, and only where it is kept."""

from __future__ import annotations

import gc
import random

import pytest
import trio
from trio.testing import MockClock

from fuse4dbricks.cache.reading.chunk import Chunk
from fuse4dbricks.cache.reading.density import FEWEST_MISSES, STAKE
from fuse4dbricks.cache.reading.gathering import MOST_UNSTORED, RUN
from fuse4dbricks.cache.reading.opened import LateReader
from fuse4dbricks.errors import ServerFailure, VersionChanged
from fuse4dbricks.workspace.limits import Urgency
from tests.support.reading import CHUNK, PATH, PIECE, Rig, content_of, reading_rig, version_of

COUNT = 400
CONTENT = content_of(COUNT * CHUNK)
#: Chunks in an order in which the first reads are far apart, as a program that shuffles has them.
ORDER = random.Random(3).sample(range(COUNT), COUNT)
#: So many reads, and the file is known to be read all over.
DENSE = FEWEST_MISSES + 10
ALL = len(CONTENT)


async def read_chunks(reader: LateReader, chunks: list[int]) -> None:
    """A few bytes of each, in that order."""
    for index in chunks:
        start = index * CHUNK + 5
        assert await reader.read(start, 7) == CONTENT[start : start + 7]


def count_ahead(rig: Rig) -> int:
    return sum(call.urgency is Urgency.AHEAD for call in rig.source.calls)


async def test_who_reads_all_over_has_the_rest_fetched_and_nothing_twice() -> None:
    async with reading_rig(CONTENT, most_gathered=ALL) as rig:
        reader = rig.open()
        await read_chunks(reader, ORDER[:DENSE])
        await rig.settle()
        assert FEWEST_MISSES * (1 + STAKE) <= len(rig.disk.stored) <= DENSE + FEWEST_MISSES * STAKE
        await read_chunks(reader, ORDER[DENSE:])
        await rig.settle()
        reader.close()
        assert len(rig.disk.stored) == COUNT
        assert set(rig.source.sent.values()) == {1}
        assert rig.metrics.get("read.gatherings") == 2
        assert len(rig.source.calls) < COUNT // 2


async def test_it_asks_for_short_runs_and_as_what_nobody_waits_for() -> None:
    async with reading_rig(CONTENT, most_gathered=ALL) as rig:
        reader = rig.open()
        await read_chunks(reader, ORDER[:DENSE])
        await rig.settle()
        reader.close()
        assert count_ahead(rig) > 0
        assert all(call.stop - call.start <= RUN * CHUNK for call in rig.source.calls)


async def test_seeks_leave_it_alone_and_the_close_ends_it() -> None:
    async with reading_rig(CONTENT, most_gathered=ALL) as rig:
        reader = rig.open()
        await read_chunks(reader, ORDER[: FEWEST_MISSES - 5])
        await rig.settle()
        kept = [index for index in ORDER if (PATH, rig.source.files[PATH][0], index) in rig.disk.stored]
        rig.source.hold()
        async with trio.open_nursery() as nursery:
            for index in ORDER[FEWEST_MISSES - 5 : DENSE]:
                nursery.start_soon(reader.read, index * CHUNK, 1)
                await rig.settle()
            assert count_ahead(rig) > 0
            await read_chunks(reader, kept[:20])
            under_way = [call for call in rig.source.calls if not call.is_exhausted and not call.is_closed]
            assert any(call.urgency is Urgency.AHEAD for call in under_way)
            nursery.cancel_scope.cancel()
        reader.close()
        sent = rig.source.bytes_sent
        await rig.source.let_go()
        assert (await rig.settle()).extents == 0
        assert rig.source.bytes_sent == sent, "none of it had begun to arrive"


async def test_a_file_larger_than_the_cache_has_room_for_is_left() -> None:
    async with reading_rig(CONTENT, most_gathered=ALL // 2) as rig:
        reader = rig.open()
        await read_chunks(reader, ORDER)
        reader.close()
        assert len(rig.source.calls) == COUNT
        assert count_ahead(rig) == 0


async def test_what_the_disk_does_not_take_is_not_gathered() -> None:
    async with reading_rig(CONTENT, most_gathered=ALL, ram_bytes=0, window_bytes=64 * CHUNK) as rig:
        reader = rig.open()
        await read_chunks(reader, ORDER[: FEWEST_MISSES - 1])
        rig.disk.takes = False
        await read_chunks(reader, ORDER[FEWEST_MISSES - 1 : DENSE])
        await rig.settle()
        # What was asked for before the first of it had come: as much as half of the windows' memory.
        ahead = [call for call in rig.source.calls if call.urgency is Urgency.AHEAD]
        assert 0 < sum(call.stop - call.start for call in ahead) <= 32 * CHUNK
        reader.close()


async def test_it_goes_no_faster_than_the_disk() -> None:
    async with reading_rig(CONTENT, most_gathered=ALL) as rig:
        reader = rig.open()
        await read_chunks(reader, ORDER[: FEWEST_MISSES - 1])
        rig.disk.is_slow = True
        await read_chunks(reader, ORDER[FEWEST_MISSES - 1 : DENSE])
        await rig.settle()
        assert len(rig.disk.publishing) <= MOST_UNSTORED + 8 * RUN + DENSE
        while rig.disk.publishing:
            rig.disk.store_all()
            await read_chunks(reader, ORDER[DENSE : DENSE + 20])
            await rig.settle()
        reader.close()
        assert set(rig.source.sent.values()) == {1}


async def test_a_file_that_changes_meanwhile_ends_it_and_nothing_of_the_new_one_is_kept_as_the_old() -> None:
    new = content_of(COUNT * CHUNK, seed=2)
    async with reading_rig(CONTENT, most_gathered=ALL) as rig:
        old, reader = rig.source.files[PATH][0], rig.open()
        await read_chunks(reader, ORDER[: FEWEST_MISSES - 1])
        await rig.settle()
        rig.source.hold()
        for index in ORDER[FEWEST_MISSES - 1 : DENSE]:
            rig.supervisor.start_soon("reader", reader.read, index * CHUNK, 1)
            await rig.settle()
        assert count_ahead(rig) > 0
        rig.source.files[PATH] = version_of(new, modified=2), new
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.source.let_go)
            for index in range(COUNT):
                try:
                    piece = await reader.read(index * CHUNK, CHUNK)
                except VersionChanged:
                    break
                assert piece == CONTENT[index * CHUNK : (index + 1) * CHUNK]
        with pytest.raises(VersionChanged):
            await reader.read(0, 1)
        reader.close()
        assert (await rig.settle()).extents == 0
        assert not [key for key in rig.disk.stored if key[1] == old]


async def test_a_failure_ends_it_and_is_nobodys_error() -> None:
    async with reading_rig(CONTENT, most_gathered=ALL) as rig:
        reader = rig.open()
        await read_chunks(reader, ORDER[: FEWEST_MISSES - 1])
        unread = [index for index in range(COUNT) if index not in ORDER[:DENSE]]
        for index in unread:
            rig.source.failures[index * CHUNK + 3] = ServerFailure("the workspace failed: 500")
        await read_chunks(reader, ORDER[FEWEST_MISSES - 1 : DENSE])
        await rig.settle()
        reader.close()
        assert count_ahead(rig) <= 8, "no call follows those that were under way"


async def test_what_the_disk_refuses_between_two_reads_is_noticed_by_the_next() -> None:
    async with reading_rig(CONTENT, most_gathered=ALL, ram_bytes=0, window_bytes=64 * CHUNK) as rig:
        reader = rig.open()
        rig.disk.is_slow = True
        for index in ORDER:
            await read_chunks(reader, [index])
            await rig.settle()
            rig.disk.give_up_all()
        reader.close()
        ahead = [call for call in rig.source.calls if call.urgency is Urgency.AHEAD]
        bets = rig.metrics.get("read.gatherings")
        assert (
            0
            < sum(call.stop - call.start for call in ahead)
            <= bets * (MOST_UNSTORED + 64 // 2 + RUN) * CHUNK
        )
        assert bets == 2, "the second after twice as many misses"


async def test_what_is_stored_is_held_by_nothing_but_the_ram_cache_while_the_handle_is_open() -> None:
    other = content_of(COUNT * CHUNK, seed=9)
    async with reading_rig(CONTENT, other, most_gathered=ALL, ram_bytes=0, window_bytes=128 * CHUNK) as rig:
        reader, next_reader = rig.open(), rig.open(path=PATH.parent.child("file1"))
        rig.disk.is_slow = True
        await read_chunks(reader, ORDER[:DENSE])
        while (await rig.settle()).extents or rig.disk.publishing:
            rig.disk.store_all()
        assert len(rig.disk.stored) > DENSE + MOST_UNSTORED
        for start in range(0, len(other), CHUNK):
            await next_reader.read(start, CHUNK)
            rig.disk.store_all()
        await rig.settle()
        rig.disk.store_all()
        gc.collect()
        held = sum(isinstance(thing, Chunk) for thing in gc.get_objects())
        assert held * CHUNK <= rig.cache.get_gauges().ram_bytes + CHUNK
        reader.close()
        next_reader.close()


@pytest.mark.parametrize("seed", range(3))
async def test_on_a_slow_line_nobody_waits_for_half_as_long_as_the_kernels_request_has(
    seed: int, autojump_clock: MockClock
) -> None:
    order = random.Random(seed).sample(range(COUNT), COUNT)
    async with reading_rig(CONTENT, most_gathered=ALL) as rig:

        async def share_a_chunk_a_second() -> None:
            calls = sum(not call.is_closed for call in rig.source.calls)
            await trio.sleep(PIECE / CHUNK * calls)

        rig.source.pace = share_a_chunk_a_second
        reader, worst = rig.open(), 0.0
        for index in order[:300]:
            began = trio.current_time()
            await read_chunks(reader, [index])
            worst = max(worst, trio.current_time() - began)
        assert rig.metrics.get("read.gatherings") > 0
        assert worst < 15
        reader.close()
        # Whoever still sleeps for the line.
        await trio.sleep(60)
