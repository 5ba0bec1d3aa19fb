"""A file that changes under an open handle: old bytes or an error, never a mix, and never the old ones again."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.entry import Version
from fuse4dbricks.errors import VersionChanged
from tests.support.reading import CHUNK, PATH, PIECE, Rig, content_of, read_through, reading_rig, version_of

OLD, NEW = content_of(50 * CHUNK, 1), content_of(50 * CHUNK, 2)


def replace(rig: Rig, content: bytes = NEW, modified: int = 2) -> None:
    rig.source.files[PATH] = version_of(content, modified), content


async def test_the_open_handle_fails_and_the_next_open_reads_the_new_file() -> None:
    async with reading_rig(OLD) as rig:
        reader = rig.open()
        assert await reader.read(0, CHUNK) == OLD[:CHUNK]
        replace(rig)
        with pytest.raises(VersionChanged):
            await reader.read(20 * CHUNK, 8)
        again = rig.open()
        assert await read_through(again) == NEW
        reader.close()
        again.close()
        assert rig.metrics.get("read.version_changed") == 1


async def test_nothing_cached_of_the_old_version_is_served_any_more() -> None:
    async with reading_rig(OLD) as rig:
        rig.disk.put(PATH, version_of(OLD), OLD, range(5))
        rig.disk.cold.clear()
        reader, bystander = rig.open(), rig.open()
        assert await reader.read(10 * CHUNK, CHUNK) == OLD[10 * CHUNK : 11 * CHUNK]
        replace(rig)
        with pytest.raises(VersionChanged):
            await reader.read(20 * CHUNK, 8)
        for start in (0, 10 * CHUNK):
            assert bystander.get(start, 8) is None
            with pytest.raises(VersionChanged):
                await bystander.read(start, 8)
        await rig.settle()
        assert rig.disk.dropped == [version_of(OLD)]
        assert not rig.disk.stored
        assert rig.cache.get_gauges().ram_bytes == 0
        reader.close()
        bystander.close()


async def test_all_who_wait_are_told_whichever_fetch_found_out() -> None:
    raised: list[Exception] = []

    async def read(start: int) -> None:
        with pytest.raises(VersionChanged) as caught:
            await readers[start].read(start, 8)
        raised.append(caught.value)

    async with reading_rig(OLD) as rig:
        starts = [0, 20 * CHUNK, 40 * CHUNK]
        readers = {start: rig.open() for start in starts}
        rig.source.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, 0)
            nursery.start_soon(read, 20 * CHUNK)
            await wait_all_tasks_blocked()
            replace(rig)
            nursery.start_soon(read, 40 * CHUNK)
        assert len({id(error) for error in raised}) == 3
        assert len(rig.source.calls) == 3
        for reader in readers.values():
            reader.close()


async def test_a_change_found_ahead_is_an_error_of_the_next_read() -> None:
    async with reading_rig(OLD) as rig:
        reader = rig.open()
        await reader.read(0, PIECE)
        await rig.settle()
        replace(rig)
        for start in range(0, CHUNK, PIECE):
            assert reader.get(start, PIECE) == OLD[start : start + PIECE]
        assert rig.metrics.get("read.extents", urgency="ahead") > 0
        await rig.settle()
        with pytest.raises(VersionChanged):
            await read_through(reader)
        reader.close()


async def test_a_version_that_comes_back_is_read_afresh() -> None:
    async with reading_rig(OLD) as rig:
        reader = rig.open()
        await reader.read(0, CHUNK)
        replace(rig)
        with pytest.raises(VersionChanged):
            await reader.read(20 * CHUNK, 8)
        replace(rig, OLD, 1)
        again = rig.open()
        assert await read_through(again) == OLD
        with pytest.raises(VersionChanged):
            await reader.read(0, 8)
        reader.close()
        again.close()


async def test_unsettled_versions_share_nothing() -> None:
    """Same size, same second: only what was read under the same observation is the same."""
    async with reading_rig(OLD) as rig:
        rig.source.files[PATH] = Version(len(OLD), 1, None, 1), OLD
        first = rig.open()
        assert await read_through(first) == OLD
        rig.source.files[PATH] = Version(len(NEW), 1, None, 2), NEW
        second = rig.open()
        assert await read_through(second) == NEW
        assert await read_through(first) == OLD, "from RAM, under its own observation"
        first.close()
        second.close()


async def test_a_chunk_loaded_after_the_change_is_not_kept() -> None:
    async with reading_rig(OLD) as rig:
        rig.disk.put(PATH, version_of(OLD), OLD, [0])
        gate = trio.Event()
        rig.disk.pace = gate.wait
        reader, other = rig.open(), rig.open()
        async with trio.open_nursery() as nursery:

            async def read_old() -> None:
                assert await other.read(0, 8) == OLD[:8], "it was open and asked before the change was known"

            nursery.start_soon(read_old)
            await wait_all_tasks_blocked()
            replace(rig)
            with pytest.raises(VersionChanged):
                await reader.read(20 * CHUNK, 8)
            gate.set()
        assert rig.cache.get_gauges().ram_bytes == 0
        assert other.get(0, 8) is None
        reader.close()
        other.close()


async def test_a_chunk_published_after_the_change_is_not_found() -> None:
    async with reading_rig(OLD) as rig:
        rig.disk.is_slow = True
        reader = rig.open()
        await reader.read(0, CHUNK)
        replace(rig)
        with pytest.raises(VersionChanged):
            await reader.read(20 * CHUNK, 8)
        rig.disk.store_all()
        assert reader.get(0, 8) is None
        with pytest.raises(VersionChanged):
            await reader.read(0, 8)
        reader.close()


async def test_a_change_that_only_the_etag_tells_ends_the_handle() -> None:
    """The version was listed, so it has no ETag; the first reply shows one, and later replies are held to it."""
    async with reading_rig(OLD) as rig:
        size, modified = len(OLD), version_of(OLD).last_modified
        rig.source.files[PATH] = Version(size, modified, '"one"'), OLD
        reader = rig.open()
        assert await reader.read(0, CHUNK) == OLD[:CHUNK]
        assert await reader.read(10 * CHUNK, 8) == OLD[10 * CHUNK : 10 * CHUNK + 8]
        rig.source.files[PATH] = Version(size, modified, '"two"'), NEW
        with pytest.raises(VersionChanged):
            await reader.read(20 * CHUNK, 8)
        reader.close()
