"""Limits of size, age and free space over real chunk files: who goes, and who never."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fuse4dbricks.cache.disk import DiskLimits
from fuse4dbricks.cache.storing.eviction import TICK
from fuse4dbricks.entry import Version
from fuse4dbricks.index.records import NewChunk, Victim, VictimQuery
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.units import MIB
from tests.support.chunkrows import FILE, DictRows, TierRig, payload_of, store_by_four, tier_rig, until
from tests.support.indexes import HandClock
from tests.support.labels import CHUNK_SIZE, PATH

OTHER = RemotePath(("dev", "lab", "raw", "another's"))


def disk_usage(folder: Path) -> int:
    used = 0
    for file in [folder, *folder.rglob("*")]:
        with suppress(FileNotFoundError):  # evicted while we look
            used += file.lstat().st_blocks * 512
    return used


async def test_the_limit_holds_as_du_sees_it_while_four_readers_store(tmp_path: Path) -> None:
    limits = DiskLimits(1_700_000, min_free_bytes=0)
    versions = [dataclasses.replace(FILE, last_modified=number) for number in range(30)]
    async with tier_rig(tmp_path / "cache", limits=limits) as rig:
        highest = await store_by_four(rig, versions, lambda: disk_usage(rig.folder.path))
        assert rig.metrics.get("disk.published") == 300
        assert rig.metrics.get("disk.evicted", reason="size") > 100
        assert 0.7 * limits.max_bytes < highest <= limits.max_bytes
        await until(lambda: len(list(rig.folder.path.rglob("*.chunk"))) == len(rig.rows.rows))


class Contended(DictRows):
    """Whatever is freed, another writer's chunk takes at once, some times."""

    thefts = 0

    async def take_victims(self, want: VictimQuery, limit: int = 256) -> list[Victim]:
        victims = await super().take_victims(want, limit)
        if victims and self.thefts:
            self.thefts -= 1
            size = sum(victim.disk_bytes for victim in victims)
            await self.add(OTHER, FILE, [NewChunk(self.thefts, os.urandom(16), size, 0, "43", size)])
        return victims


async def test_who_waits_for_room_waits_on_while_others_take_what_is_freed(tmp_path: Path) -> None:
    rows = Contended(HandClock())
    big = dataclasses.replace(FILE, size=200 * CHUNK_SIZE)
    async with tier_rig(tmp_path / "cache", limits=DiskLimits(1_700_000, min_free_bytes=0), rows=rows) as rig:
        rig.tier.hold(PATH, big)
        for index in range(200):  # until there is no room, and nobody looks for any
            done = trio.Event()
            assert rig.tier.publish(PATH, big, index, bytes(CHUNK_SIZE), "42", done.set)
            await done.wait()
        refused = rig.metrics.get("disk.refused", reason="room")
        assert refused > 0
        rows.thefts = 3
        rig.tier.release(PATH, big)
        await rig.store_chunks(0)
        assert rows.thefts == 0
        assert rig.metrics.get("disk.refused", reason="room") == refused
        assert rig.known() == {0}


class Ending(DictRows):
    """The mount ends when rows are gone and their files are not yet."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.end = trio.CancelScope()
        self.taken: set[str] = set()

    async def take_victims(self, want: VictimQuery, limit: int = 256) -> list[Victim]:
        victims = await super().take_victims(want, limit)
        if victims:
            self.taken |= {victim.name.hex() for victim in victims}
            self.end.cancel()
            await trio.lowlevel.checkpoint()
        return victims

    async def remove(self, path: RemotePath, version: Version, indexes: Sequence[int] | None) -> list[bytes]:
        gone = await super().remove(path, version, indexes)
        self.end.cancel()
        await trio.lowlevel.checkpoint()
        return gone


async def test_an_end_between_rows_and_files_leaves_no_file_without_a_row(tmp_path: Path) -> None:
    rows = Ending(HandClock())
    limits = DiskLimits(1_700_000, min_free_bytes=0)
    with rows.end:
        async with tier_rig(tmp_path / "cache", limits=limits, rows=rows) as rig:
            for number in range(40):
                await rig.store_chunks(*range(10), version=dataclasses.replace(FILE, last_modified=number))
    assert rows.end.cancelled_caught
    assert rig.metrics.get("disk.evicted", reason="size") > 0
    assert rows.taken
    assert not rows.taken & {file.stem for file in (tmp_path / "cache").rglob("*.chunk")}


async def test_an_end_while_a_version_is_dropped_leaves_no_file_without_a_row(tmp_path: Path) -> None:
    rows = Ending(HandClock())
    with rows.end:
        async with tier_rig(tmp_path / "cache", rows=rows) as rig:
            await rig.store_chunks(0, 1, 2)
            await rig.tier.drop_version(PATH, FILE)
    assert rows.end.cancelled_caught
    assert not rows.rows
    assert not list((tmp_path / "cache").rglob("*.chunk"))


async def test_the_oldest_goes_first_and_a_held_one_never(tmp_path: Path) -> None:
    old, other = (dataclasses.replace(FILE, last_modified=number) for number in (1, 2))
    async with tier_rig(tmp_path / "cache", limits=DiskLimits(1_700_000, min_free_bytes=0)) as rig:
        await rig.store_chunks(*range(10), version=old)
        rig.clock.step(1)
        await rig.store_chunks(*range(10), version=other)
        rig.tier.hold(PATH, old)
        for number in range(3, 17):
            rig.clock.step(1)
            version = dataclasses.replace(FILE, last_modified=number)
            await rig.store_chunks(*range(10), version=version)
        assert rig.known(version=old) == set(range(10))
        assert rig.known(version=other) == frozenset()
        assert (PATH, old) in rig.rows.queries[-1].protected
        rig.tier.release(PATH, old)
        for number in range(17, 32):
            rig.clock.step(1)
            await rig.store_chunks(*range(10), version=dataclasses.replace(FILE, last_modified=number))
        assert rig.known(version=old) == frozenset()


async def test_where_everything_is_held_nothing_is_stored_and_nobody_fails(tmp_path: Path) -> None:
    big = dataclasses.replace(FILE, size=200 * CHUNK_SIZE)
    async with tier_rig(tmp_path / "cache", limits=DiskLimits(1_700_000, min_free_bytes=0)) as rig:
        rig.tier.hold(PATH, big)
        for index in range(200):
            done = trio.Event()
            assert rig.tier.publish(PATH, big, index, bytes(CHUNK_SIZE), "42", done.set)
            await done.wait()
        stored = len(rig.rows.rows)
        assert 0 < stored < 150
        assert disk_usage(rig.folder.path) <= 1_700_000
        assert rig.metrics.get("disk.refused", reason="room") == 200 - stored
        assert len(rig.rows.queries) < 20  # fruitless scans of the index are not repeated for each chunk


async def look_until(rig: TierRig, condition: Callable[[], bool]) -> None:
    """Have eviction look at everything now, and not in half a minute."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.tier.run_eviction)
        await until(condition)
        nursery.cancel_scope.cancel()


async def test_age_is_a_limit_and_a_clock_that_jumps_is_not_believed_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    day = 86400.0
    limits = DiskLimits(64 * MIB, max_age_seconds=30 * day, min_free_bytes=0)
    rows = DictRows(HandClock())
    async with tier_rig(tmp_path / "cache", rows=rows, limits=limits) as rig:
        await rig.store_chunks(0)
        rig.clock.step(20 * day)
        await rig.store_chunks(1)
        rig.clock.step(15 * day)
    async with tier_rig(tmp_path / "cache", rows=rows, limits=limits) as rig:
        await until(lambda: rig.known() == {1})
        rig.clock.step(3700)
        rig.clock.unix += 5 * 365 * day
        await look_until(rig, lambda: "the clock was set" in caplog.text)
        assert rig.known() == {1}
        rig.clock.step(3700)
        await look_until(rig, lambda: rig.known() == frozenset())
        assert rig.metrics.get("disk.evicted", reason="age") == 2


async def test_a_clock_that_is_years_ahead_at_the_start_is_not_believed_for_an_hour(tmp_path: Path) -> None:
    limits = DiskLimits(64 * MIB, max_age_seconds=30 * 86400.0, min_free_bytes=0)
    rows = DictRows(HandClock())
    async with tier_rig(tmp_path / "cache", rows=rows, limits=limits) as rig:
        await rig.store_chunks(0, 1)
        (rig.folder.path / "index.sqlite").write_bytes(b"")
        os.utime(rig.folder.path / "index.sqlite", (rig.clock.unix, rig.clock.unix))
        rig.clock.unix += 5 * 365 * 86400.0
    async with tier_rig(tmp_path / "cache", rows=rows, limits=limits) as rig:
        await rig.store_chunks(2)  # which waits for a pass
        assert rig.known() == {0, 1, 2}
        rig.clock.step(3700)
        await look_until(rig, lambda: rig.known() == {2})


async def test_to_others_who_fill_the_disk_the_cache_gives_way_slowly(tmp_path: Path) -> None:
    """Whatever the disk has free, more is to stay free: the oldest tenth goes per look, and no more comes."""
    rows = DictRows(HandClock())
    async with tier_rig(tmp_path / "cache", rows=rows) as rig:
        await rig.store_chunks(*range(10))
    limits = DiskLimits(64 * MIB, min_free_bytes=1 << 60)
    newer = dataclasses.replace(FILE, last_modified=2)
    async with tier_rig(tmp_path / "cache", rows=rows, limits=limits) as rig:
        for left in (9, 8, 7):
            for index in range(3):
                assert rig.offer(index, version=newer)
            await rig.settle(3 * (10 - left))
            assert len(rows.rows) == left
            rig.clock.step(30)
        assert rig.metrics.get("disk.refused", reason="room") == 9
        assert await rig.load(9) == payload_of(9)  # what is there is still read


async def test_what_is_read_from_ram_or_by_the_kernel_is_not_evicted_as_if_nobody_did(tmp_path: Path) -> None:
    from_ram, from_kernel, idle = (dataclasses.replace(FILE, last_modified=number) for number in (1, 2, 3))
    async with tier_rig(tmp_path / "cache", limits=DiskLimits(1_700_000, min_free_bytes=0)) as rig:
        for version in (from_ram, from_kernel, idle):
            await rig.store_chunks(*range(10), version=version)
        for number in range(10, 60):
            rig.clock.step(1)
            for version, used in ((from_ram, {1, 2}), (from_kernel, None)):
                rig.tier.hold(PATH, version)
                rig.tier.release(PATH, version, used)
            await rig.store_chunks(*range(10), version=dataclasses.replace(FILE, last_modified=number))
        assert rig.known(version=idle) == frozenset()
        assert rig.known(version=from_ram) == {1, 2}
        assert rig.known(version=from_kernel) == set(range(10))


async def test_a_cache_that_nobody_fills_is_looked_at_once_a_minute(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        looks = 0
        measure = rig.folder.overhead_bytes

        def count() -> int:
            nonlocal looks
            looks += 1
            return measure()

        async def next_look() -> float:
            """Seconds until it comes, once this one, which has a nearer deadline, is over."""
            end = time.monotonic() + 20
            while (left := trio.lowlevel.current_statistics().seconds_to_next_deadline) < TICK - 1:
                assert time.monotonic() < end
                await trio.lowlevel.checkpoint()
            return left

        await until(lambda: rig.tier.upkeep is not None and rig.tier.upkeep.is_measured)
        rig.folder.overhead_bytes = count  # type: ignore[method-assign]  # counts looks at the disk
        assert await next_look() <= TICK
        mock_clock.jump(TICK)
        await until(lambda: looks == 1)
        assert TICK < await next_look() <= 90
        await rig.store_chunks(0)
        await until(lambda: looks == 2)
        assert await next_look() <= TICK
        await rig.store_chunks(1, 2, 3)
        assert await next_look() <= TICK
        assert looks == 2, "one look, not one for each chunk"
