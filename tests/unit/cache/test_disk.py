"""The disk tier over real chunk files and an index in a dict."""

import dataclasses
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from fuse4dbricks.cache.disk import DiskLimits, DiskTier
from fuse4dbricks.chunks import ChunkLabel, ChunkStore
from fuse4dbricks.units import MIB
from tests.support.chunkrows import FILE, DictRows, TierRig, payload_of, tier_rig, until
from tests.support.indexes import HandClock
from tests.support.labels import CHUNK_SIZE, PATH, chunk_file, label


def file_of(rig: TierRig, index: int) -> Path:
    return chunk_file(rig.folder.path, label(index, version=FILE))


async def test_a_published_chunk_is_known_loaded_and_then_read_in_the_loop(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        assert rig.known() == frozenset()
        assert await rig.load(3) is None
        await rig.store_chunks(3)
        assert rig.done == [3]
        assert rig.known() == {3}
        assert rig.tier.read_now(PATH, FILE, 3, 10, 20) is None  # nobody has verified it yet
        assert await rig.load(3) == payload_of(3)
        assert rig.tier.read_now(PATH, FILE, 3, 10, 20) == payload_of(3)[10:30]
        assert rig.tier.read_now(PATH, FILE, 3, 990, 20) is None  # more than there is: not half an answer
        assert rig.tier.read_now(PATH, FILE, 4, 0, 1) is None
        assert rig.metrics.get("disk.published") == 1
        assert rig.metrics.get("disk.published_bytes") == CHUNK_SIZE


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(0, 1, 9)
        rows = rig.rows
    async with tier_rig(tmp_path / "cache", rows=rows) as rig:
        assert rig.known() == {0, 1, 9}
        assert await rig.load(9) == payload_of(9)


async def test_another_version_and_another_file_are_other_chunks(tmp_path: Path) -> None:
    newer = dataclasses.replace(FILE, last_modified=1_700_000_001)
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(0)
        assert rig.known(version=newer) == frozenset()
        assert await rig.load(0, version=newer) is None
        assert await rig.load(0, path=PATH.parent.child("other")) is None


async def test_part_of_a_chunk_is_read_without_the_rest_once_it_is_verified(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(0)
        for _ in range(2):
            assert bytes(await rig.tier.read(PATH, FILE, 0, 5, 7) or b"") == payload_of(0)[5:12]
        rig.store.close()  # its descriptor is gone: opened again, not verified again
        assert bytes(await rig.tier.read(PATH, FILE, 0, 5, 7) or b"") == payload_of(0)[5:12]
        assert await rig.tier.read(PATH, FILE, 0, 999, 7) is None
        assert await rig.tier.read(PATH, FILE, 1, 0, 7) is None
        file_of(rig, 0).write_bytes(b"now it is something else")
        assert await rig.tier.read(PATH, FILE, 0, 5, 7) is None


async def test_the_hot_path_asks_no_sql(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(0, 1)
        await rig.load(0)
        await rig.load(1)
        before = rig.rows.loads
        for _ in range(100):
            assert rig.tier.read_now(PATH, FILE, 0, 0, 100) == payload_of(0)[:100]
            assert rig.tier.read_now(PATH, FILE, 1, 0, 100) == payload_of(1)[:100]
            assert rig.known() == {0, 1}
        assert rig.rows.loads == before


async def test_reads_are_touches(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(0)
        (row_id,) = rig.rows.used
        rig.clock.step(10)
        await rig.load(0)
        assert rig.rows.used[row_id] == rig.clock.wall()
        rig.clock.step(10)
        await rig.tier.read(PATH, FILE, 0, 0, 1)
        assert rig.rows.used[row_id] == rig.clock.wall()
        rig.clock.step(10)
        rig.tier.read_now(PATH, FILE, 0, 0, 1)
        assert rig.rows.used[row_id] == rig.clock.wall()


async def test_an_index_that_cannot_be_read_now_is_a_miss_and_is_asked_again(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(0)
        rig.rows.is_busy = True
        assert rig.known() == frozenset()
        assert await rig.load(0) is None
        rig.rows.is_busy = False
        assert await rig.load(0) == payload_of(0)


# --- no disk cache -------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["index", "store", "size"])
async def test_without_a_disk_cache_everything_is_a_miss(tmp_path: Path, missing: str) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        tier = DiskTier(
            index=None if missing == "index" else rig.index,
            store=None if missing == "store" else rig.store,
            folder=rig.folder,
            workspace="w",
            chunk_size=CHUNK_SIZE,
            limits=DiskLimits(0 if missing == "size" else MIB),
            supervisor=rig.supervisor,
            metrics=rig.metrics,
            clock=rig.clock,
        )
        tier.hold(PATH, FILE)
        assert not tier.publish(PATH, FILE, 0, payload_of(0), "42", lambda: None)
        assert tier.get_known(PATH, FILE, 0, 10) == frozenset()
        assert tier.read_now(PATH, FILE, 0, 0, 1) is None
        assert await tier.load_chunk(PATH, FILE, 0) is None
        assert await tier.read(PATH, FILE, 0, 0, 1) is None
        await tier.drop_version(PATH, FILE)
        tier.release(PATH, FILE)
        await tier.run_eviction()
        await tier.run_sweep()
        await tier.aclose()


# --- bad chunks ----------------------------------------------------------------------------------


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[500] ^= 1
    file.write_bytes(content)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def deleted(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize(
    ("harm", "reason"), [(flipped, "damaged"), (emptied, "damaged"), (deleted, "missing")]
)
async def test_a_bad_chunk_is_a_miss_its_row_goes_and_it_can_be_stored_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None], reason: str
) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(0, 1)
        harm(file_of(rig, 0))
        assert await rig.load(0) is None
        await until(lambda: len(rig.rows.rows) == 1 and not file_of(rig, 0).exists())
        assert rig.known() == {1}
        assert rig.metrics.get("disk.dropped", reason=reason) == 1
        assert "dropped from the cache" in caplog.text
        await rig.store_chunks(0)
        assert await rig.load(0) == payload_of(0)
        assert await rig.load(1) == payload_of(1)


async def test_a_bad_chunk_that_is_fetched_again_at_once_is_healed(tmp_path: Path) -> None:
    """The reader's new copy must not fall to the removal of the old one."""
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(0)
        for round_ in range(20):
            flipped(file_of(rig, 0))
            assert await rig.load(0) is None
            assert rig.offer(0)
            await rig.settle(round_ + 2)
            await trio.testing.wait_all_tasks_blocked()
            assert rig.known() == {0}
            assert await rig.load(0) == payload_of(0)
        assert rig.metrics.get("disk.dropped") == 20


async def test_a_bad_chunk_that_is_on_its_way_again_is_left_to_be_replaced(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(0)
        flipped(file_of(rig, 0))
        rig.rows.committing = trio.Event()
        assert rig.offer(0)
        await until(lambda: file_of(rig, 0).read_bytes()[:1000] == payload_of(0))
        flipped(file_of(rig, 0))
        assert await rig.load(0) is None
        assert rig.metrics.get("disk.dropped") == 0
        rig.rows.committing.set()
        await rig.settle(2)


class GatedStore(ChunkStore):
    """Loads only while the gate is open."""

    gate = threading.Event()

    def load(self, label: ChunkLabel, length: int, checksum: int) -> memoryview:
        self.gate.wait(30)
        return super().load(label, length, checksum)


async def test_a_chunk_that_goes_while_a_reader_opens_it_is_a_miss_and_no_damage(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache", store_type=GatedStore) as rig:
        GatedStore.gate.clear()
        await rig.store_chunks(0)
        async with trio.open_nursery() as nursery:

            async def load() -> None:
                assert await rig.load(0) is None

            nursery.start_soon(load)
            await trio.testing.wait_all_tasks_blocked()
            await rig.tier.drop_version(PATH, FILE)
            GatedStore.gate.set()
        assert rig.metrics.get("disk.dropped") == 0


async def test_chunks_of_a_former_chunk_size_are_dropped_not_misread(tmp_path: Path) -> None:
    rows = DictRows(HandClock())
    async with tier_rig(tmp_path / "cache", rows=rows) as rig:
        await rig.store_chunks(0, 1)
    for key, (row, new) in list(rows.rows.items()):
        rows.rows[key] = (dataclasses.replace(row, length=400), new)
    async with tier_rig(tmp_path / "cache", rows=rows) as rig:
        assert rig.known() == frozenset()
        await until(lambda: not rows.rows)
        await until(lambda: not file_of(rig, 0).exists() and not file_of(rig, 1).exists())
        assert rig.metrics.get("disk.dropped", reason="unfit") == 2


# --- publishing ----------------------------------------------------------------------------------


async def test_a_payload_of_the_wrong_length_is_never_stored(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        for wrong in (b"", payload_of(0)[:-1], payload_of(0) + b"!"):
            assert not rig.tier.publish(PATH, FILE, 0, wrong, "42", lambda: None)
        assert not rig.tier.publish(PATH, FILE, 10, b"past the end", "42", lambda: None)
        assert rig.metrics.get("disk.refused", reason="length") == 4


async def test_the_queue_is_bounded_and_a_chunk_is_taken_once(tmp_path: Path) -> None:
    big = dataclasses.replace(FILE, size=1000 * CHUNK_SIZE)
    async with tier_rig(tmp_path / "cache") as rig:
        rig.rows.committing = trio.Event()
        assert rig.offer(0, version=big)
        assert not rig.offer(0, version=big)
        assert rig.metrics.get("disk.refused", reason="duplicate") == 1
        taken = 1
        while rig.tier.publish(PATH, big, taken, bytes(CHUNK_SIZE), "42", lambda: None):
            taken += 1
        assert taken <= 1024
        rig.rows.committing.set()
        await rig.settle(1)
        assert rig.done == [0]


async def test_what_gathers_while_chunks_are_written_is_recorded_in_one_go(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        for index in range(10):
            assert rig.offer(index)
        await rig.settle(10)
        assert rig.known() == set(range(10))
        assert rig.metrics.get("disk.published") == 10
        assert rig.rows.adds < 10


async def test_the_row_comes_after_the_file_and_the_buffer_is_free_after_the_row(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        rig.rows.committing = trio.Event()
        assert rig.offer(0)
        await until(file_of(rig, 0).exists)
        assert rig.known() == frozenset()
        assert rig.done == []
        rig.rows.committing.set()
        await rig.settle(1)
        assert rig.known() == {0}


async def test_while_the_index_takes_no_rows_no_files_are_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        rig.rows.is_broken = True
        assert rig.offer(0)
        await rig.settle(1)
        assert not file_of(rig, 0).exists()
        for index in range(1, 10):
            assert not rig.offer(index)
        assert rig.metrics.get("disk.refused", reason="index") == 10
        rig.clock.step(5)
        assert rig.offer(0)  # one tries
        await rig.settle(2)
        assert not rig.offer(1)
        rig.rows.is_broken = False
        rig.clock.step(10)
        await rig.store_chunks(*range(10))
        assert rig.known() == set(range(10))
        assert len([row for row in caplog.records if "not used for recording" in row.getMessage()]) == 1


async def test_an_index_that_does_not_answer_is_waited_for_so_long(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        rig.rows.committing = trio.Event()
        assert rig.offer(0)
        await until(lambda: rig.rows.waiting == 1)
        mock_clock.jump(20)
        await rig.settle(1)
        assert rig.metrics.get("disk.refused", reason="index") == 1
        assert file_of(rig, 0).exists()  # the row may still come


async def test_a_version_dropped_while_it_is_stored_leaves_nothing(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(0, 1)
        await rig.store_chunks(0, path=PATH.parent.child("other"))
        for index in range(2, 8):
            assert rig.offer(index)
        await rig.tier.drop_version(PATH, FILE)
        await rig.settle(9)
        assert rig.known() == frozenset()
        assert rig.known(path=PATH.parent.child("other")) == {0}
        assert len(list(rig.folder.path.rglob("*.chunk"))) == 1


async def test_closing_stores_what_was_taken_and_takes_no_more(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        for index in range(10):
            assert rig.offer(index)
        await rig.tier.aclose()
        assert sorted(rig.done) == list(range(10))
        assert not rig.offer(0)
        assert len(rig.rows.rows) == 10


async def test_closing_does_not_wait_for_ever(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        rig.rows.committing = trio.Event()
        assert rig.offer(0)
        await rig.tier.aclose(within=2.0)
        assert rig.done == []
    assert rig.done == [0]  # the end of the mount frees the buffer all the same


# --- eviction ------------------------------------------------------------------------------------


def disk_usage(folder: Path) -> int:
    used = 0
    for file in [folder, *folder.rglob("*")]:
        with suppress(FileNotFoundError):  # evicted while we look
            used += file.lstat().st_blocks * 512
    return used


async def test_the_limit_holds_as_du_sees_it_while_four_readers_store(tmp_path: Path) -> None:
    limits = DiskLimits(1_700_000, min_free_bytes=0)
    versions = [dataclasses.replace(FILE, last_modified=number) for number in range(30)]
    highest = 0
    async with tier_rig(tmp_path / "cache", limits=limits) as rig:

        async def reader(turn: int) -> None:
            nonlocal highest
            for version in versions[turn::4]:
                for index in range(10):
                    done = trio.Event()
                    if rig.tier.publish(PATH, version, index, payload_of(index, version), "42", done.set):
                        await done.wait()
                    highest = max(highest, disk_usage(rig.folder.path))

        async with trio.open_nursery() as nursery:
            for turn in range(4):
                nursery.start_soon(reader, turn)
        assert rig.metrics.get("disk.published") == 300
        assert rig.metrics.get("disk.evicted", reason="size") > 100
        assert 0.7 * limits.max_bytes < highest <= limits.max_bytes
        await until(lambda: len(list(rig.folder.path.rglob("*.chunk"))) == len(rig.rows.rows))


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


# --- the sweep -----------------------------------------------------------------------------------


async def test_leftovers_go_and_chunks_without_rows_get_them_if_they_are_sound(tmp_path: Path) -> None:
    rows = DictRows(HandClock())
    async with tier_rig(tmp_path / "cache", rows=rows) as rig:
        await rig.store_chunks(*range(10))
        (rig.folder.path / "tmp" / f"{'0' * 16}-1.tmp").write_bytes(b"half")
        for index in range(5):
            del rows.rows[PATH, FILE, index]
        for index in range(3):
            os.truncate(file_of(rig, index), 700)
    async with tier_rig(tmp_path / "cache", rows=rows) as rig:
        rig.supervisor.start_soon("sweep", rig.tier.run_sweep)
        await until(lambda: rig.metrics.get("disk.swept", kind="adopted") == 2)
        assert rig.metrics.get("disk.swept", kind="orphan") == 3
        assert rig.metrics.get("disk.swept", kind="temporary") == 1
        assert not list((rig.folder.path / "tmp").iterdir())
        assert len(list(rig.folder.path.rglob("*.chunk"))) == 7
        for index in range(3, 10):
            assert await rig.load(index) == payload_of(index)


async def test_rows_whose_files_never_reached_the_disk_are_forgotten(tmp_path: Path) -> None:
    rows = DictRows(HandClock())
    async with tier_rig(tmp_path / "cache", rows=rows) as rig:
        await rig.store_chunks(*range(10))
        for index in range(4):
            file_of(rig, index).unlink()
    async with tier_rig(tmp_path / "cache", rows=rows) as rig:
        rig.supervisor.start_soon("sweep", rig.tier.run_sweep)
        await until(lambda: rig.metrics.get("disk.swept", kind="lost") == 4)
        assert rows.get_totals().chunks == 6
        assert rig.known() == set(range(4, 10))
        assert rig.metrics.get("disk.dropped") == 0


async def test_a_chunk_being_stored_is_no_orphan(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        rig.rows.committing = trio.Event()
        assert rig.offer(0)
        await until(file_of(rig, 0).exists)
        rig.supervisor.start_soon("sweep", rig.tier.run_sweep)
        await until(lambda: ("disk.swept", {"kind": "orphan"}, 0) in list(rig.metrics))
        rig.rows.committing.set()
        await rig.settle(1)
        assert await rig.load(0) == payload_of(0)


async def test_nothing_is_swept_when_the_index_cannot_tell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mock_clock: trio.testing.MockClock
) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(0)
        rig.rows.is_busy = True
        rig.supervisor.start_soon("sweep", rig.tier.run_sweep)
        while "not swept to the end" not in caplog.text:
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(1)
        assert file_of(rig, 0).exists()


async def test_after_the_loss_of_the_index_nothing_is_stored_until_the_files_are_recorded_again(
    tmp_path: Path,
) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(*range(10))
    async with tier_rig(tmp_path / "cache", is_complete=False) as rig:
        file_of(rig, 0).unlink()
        assert not rig.offer(0)
        rig.supervisor.start_soon("sweep", rig.tier.run_sweep)
        await until(lambda: rig.offer(0))
        await rig.settle(1)
        assert rig.metrics.get("disk.swept", kind="adopted") == 9
        for index in range(10):
            assert await rig.load(index) == payload_of(index)


class SurprisingStore(ChunkStore):
    def write(self, label: ChunkLabel, payload: memoryview | bytes) -> int:
        raise ZeroDivisionError


async def test_an_unexpected_exception_ends_one_chunk_and_not_the_mount(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with tier_rig(tmp_path / "cache", store_type=SurprisingStore) as rig:
        assert rig.offer(0)
        await rig.settle(1)
        await until(lambda: rig.metrics.get("tasks.failed", task="publish") == 1)
        assert rig.known() == frozenset()
    assert "ZeroDivisionError" in caplog.text


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


async def test_a_swept_folder_wakes_nobody_and_the_loss_of_the_index_is_noticed_at_once(
    tmp_path: Path,
) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(*range(3))
        rig.supervisor.start_soon("sweep", rig.tier.run_sweep)
        assert rig.tier.upkeep is not None
        stock = rig.tier.upkeep.stock
        await until(lambda: stock.get_progress().finished == 1)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline > 10, "it does not poll"
        await rig.index.renew()
        await until(lambda: stock.get_progress().finished == 2)
        assert rig.index.is_complete
        assert rig.rows.get_totals().chunks == 3


async def test_an_index_begun_anew_on_demand_is_swept_once(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(*range(3))
        rig.supervisor.start_soon("sweep", rig.tier.run_sweep)
        assert rig.tier.upkeep is not None
        stock = rig.tier.upkeep.stock
        await until(lambda: stock.get_progress().finished == 1)
        assert await rig.tier.upkeep.renew() == 2
        await until(lambda: stock.get_progress().finished == 2)
        await trio.testing.wait_all_tasks_blocked()
        assert stock.get_progress().finished == 2
