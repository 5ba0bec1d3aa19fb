"""A file that is fetched before it is opened: joined by its reader, and in nobody's way."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from fuse4dbricks.errors import DeadlineExceeded
from fuse4dbricks.workspace.limits import Urgency
from tests.support.reading import CHUNK, PATH, Opener, content_of, reading_rig

FILE1 = PATH.parent.child("file1")


async def test_it_is_one_call_ahead_and_its_reader_needs_none() -> None:
    content = content_of(3 * CHUNK + 5)
    async with reading_rig(content) as rig:
        ahead = rig.cache.anticipate(Opener(), PATH, rig.source.files[PATH][0])
        assert ahead is not None
        assert ahead.missing == len(content)
        await ahead.landed.wait()
        reader = rig.open()
        assert reader.get(0, 10) == content[:10]
        assert await reader.read(0, len(content)) == content
        ahead.close(was_used=True)
        reader.close()
        assert [(call.span, call.urgency) for call in rig.source.calls] == [
            ((0, len(content)), Urgency.AHEAD)
        ]
    assert set(rig.disk.held.values()) == {0}


async def test_a_reader_who_comes_while_it_is_on_its_way_joins_it_and_is_waited_for() -> None:
    content = content_of(3 * CHUNK)
    async with reading_rig(content) as rig:
        rig.source.hold(CHUNK)
        ahead = rig.cache.anticipate(Opener(), PATH, rig.source.files[PATH][0])
        assert ahead is not None
        await rig.settle()
        reader = rig.open()
        rig.supervisor.start_soon("reader", reader.read, CHUNK, 10)
        await rig.settle()
        assert rig.source.calls[0].ticket.urgency is Urgency.WAITED
        await rig.source.let_go()
        assert await reader.read(0, len(content)) == content
        assert len(rig.source.calls) == 1
        ahead.close(was_used=True)
        reader.close()


async def test_what_is_here_is_not_fetched() -> None:
    content = content_of(3 * CHUNK)
    async with reading_rig(content) as rig:
        version = rig.source.files[PATH][0]
        rig.disk.put(PATH, version, content, range(3))
        assert rig.cache.anticipate(Opener(), PATH, version) is None
        assert not rig.source.calls


async def test_only_what_is_missing_is_fetched() -> None:
    content = content_of(4 * CHUNK)
    async with reading_rig(content) as rig:
        version = rig.source.files[PATH][0]
        rig.disk.put(PATH, version, content, [0, 2])
        ahead = rig.cache.anticipate(Opener(), PATH, version)
        assert ahead is not None
        assert ahead.missing == 2 * CHUNK
        await ahead.landed.wait()
        assert sorted(rig.source.spans) == [(CHUNK, 2 * CHUNK), (3 * CHUNK, 4 * CHUNK)]
        ahead.close(was_used=False)


async def test_without_room_nothing_is_begun() -> None:
    async with reading_rig(content_of(6 * CHUNK), window_bytes=10 * CHUNK) as rig:
        assert rig.cache.anticipate(Opener(), PATH, rig.source.files[PATH][0]) is None


async def test_in_vain_it_leaves_ram_before_anything_that_was_read() -> None:
    read, guessed = content_of(4 * CHUNK), content_of(4 * CHUNK + 1)
    async with reading_rig(read, guessed, ram_bytes=4 * CHUNK) as rig:
        reader = rig.open()
        assert await reader.read(0, len(read)) == read
        ahead = rig.cache.anticipate(Opener(), FILE1, rig.source.files[FILE1][0])
        assert ahead is not None
        await ahead.landed.wait()
        await rig.settle()
        ahead.close(was_used=False)
        await rig.settle()
        assert rig.cache.get_gauges().ram_bytes == 4 * CHUNK
        assert reader.get(0, CHUNK) == read[:CHUNK]
        reader.close()


async def test_closed_early_it_stops() -> None:
    async with reading_rig(content_of(30 * CHUNK)) as rig:
        rig.source.hold()
        ahead = rig.cache.anticipate(Opener(), PATH, rig.source.files[PATH][0])
        assert ahead is not None
        await rig.settle()
        ahead.close(was_used=False)
        gauges = await rig.settle()
        assert (gauges.extents, gauges.in_flight_bytes) == (0, 0)


async def test_a_failure_is_nobodys_and_the_reader_asks_again() -> None:
    content = content_of(2 * CHUNK)
    async with reading_rig(content) as rig:
        rig.source.failures[CHUNK] = OSError("broken")
        ahead = rig.cache.anticipate(Opener(), PATH, rig.source.files[PATH][0])
        assert ahead is not None
        await ahead.landed.wait()
        reader = rig.open()
        assert await reader.read(0, len(content)) == content
        ahead.close(was_used=True)
        reader.close()


@pytest.mark.parametrize(("share", "calls"), [(1.0, 1), (0.1, 2)])
async def test_a_reader_who_has_had_his_share_of_waiting_does_not_begin_anew(
    share: float, calls: int, autojump_clock: MockClock
) -> None:
    """A request of the kernel waits for 30 s, so who has waited for one call as long as that may take waits for no other."""
    content = content_of(3 * CHUNK)
    async with reading_rig(content) as rig:

        async def run_out() -> None:
            await trio.sleep(25 * share)
            raise DeadlineExceeded("no reply in time")

        rig.source.pace = run_out
        ahead = rig.cache.anticipate(Opener(), PATH, rig.source.files[PATH][0])
        assert ahead is not None
        reader = rig.open()
        began = trio.current_time()
        with pytest.raises(DeadlineExceeded):
            await reader.read(CHUNK, 10)
        assert trio.current_time() - began < 30
        assert len(rig.source.calls) == calls
        ahead.close(was_used=True)
        reader.close()
