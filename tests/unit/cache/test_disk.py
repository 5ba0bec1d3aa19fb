"""The disk tier over real chunk files and an index in a dict: what is read, and what is a miss."""

from __future__ import annotations

import dataclasses
import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from fuse4dbricks.cache.disk import DiskLimits, DiskTier
from fuse4dbricks.chunks import CacheFolder, ChunkLabel, ChunkStore
from fuse4dbricks.chunks.cached_open import CachedOpener
from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import CacheError
from fuse4dbricks.units import MIB
from tests.support.chunkrows import FILE, DictRows, file_of, payload_of, tier_rig, until
from tests.support.indexes import HandClock
from tests.support.labels import CHUNK_SIZE, PATH, label
from tests.support.openers import FailingCall, OpeningStore, ThreadsOnlyStore


async def test_a_published_chunk_is_known_loaded_and_then_read_in_the_loop(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache", store_type=ThreadsOnlyStore) as rig:
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


async def test_a_chunk_in_memory_is_opened_verified_and_read_in_the_loop(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache", store_type=OpeningStore) as rig:
        await rig.store_chunks(0, 1, 2)
        assert rig.tier.read_now(PATH, FILE, 1, 10, 20) == payload_of(1)[10:30]
        assert rig.tier.open_ahead(PATH, FILE, range(4))
        assert rig.store.is_open(label(2, version=FILE).name()), "without a turn of the loop"
        assert rig.tier.read_now(PATH, FILE, 2, 0, CHUNK_SIZE) == payload_of(2)
        assert rig.tier.read_now(PATH, FILE, 3, 0, 1) is None


async def test_a_replaced_chunk_is_verified_anew_in_the_loop_and_a_bad_one_left_to_a_thread(
    tmp_path: Path,
) -> None:
    async with tier_rig(tmp_path / "cache", store_type=OpeningStore) as rig:
        await rig.store_chunks(0)
        assert rig.tier.read_now(PATH, FILE, 0, 0, 10) == payload_of(0)[:10]
        file, twin = file_of(rig, 0), tmp_path / "twin"
        twin.write_bytes(file.read_bytes())
        twin.replace(file)
        assert rig.tier.read_now(PATH, FILE, 0, 0, 10) == payload_of(0)[:10]
        flipped(file)
        assert rig.tier.read_now(PATH, FILE, 0, 0, 10) is None
        assert rig.known() == {0}
        assert await rig.load(0) is None
        await until(lambda: rig.known() == frozenset())


async def test_after_one_chunk_that_is_not_in_memory_all_are_left_to_a_thread(tmp_path: Path) -> None:
    ColdStore.call = FailingCall(errno.EAGAIN)
    async with tier_rig(tmp_path / "cache", store_type=ColdStore) as rig:
        await rig.store_chunks(0, 1, 2)
        assert rig.tier.open_ahead(PATH, FILE, range(4))
        assert ColdStore.call.calls == 1
        await until(lambda: all(rig.store.is_open(label(index, version=FILE).name()) for index in range(3)))
        assert rig.tier.read_now(PATH, FILE, 2, 0, 10) == payload_of(2)[:10]


async def test_of_an_ill_disk_the_loop_opens_nothing(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache", store_type=IllStore) as rig:
        await rig.store_chunks(0, 1)
        for _ in range(3):
            assert await rig.load(0) is None
        assert rig.known() == frozenset()
        assert rig.tier.read_now(PATH, FILE, 1, 0, 10) is None
        rig.tier.open_ahead(PATH, FILE, [1])
        assert not rig.store.is_open(label(1, version=FILE).name())


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


class ColdStore(ChunkStore):
    """Opens in the loop by a call of the test's."""

    call = FailingCall(None)

    def __init__(self, folder: CacheFolder, clock: Clock | None = None) -> None:
        super().__init__(folder, clock, CachedOpener(self.call))


class IllStore(OpeningStore):
    """Its disk fails whenever a chunk is loaded."""

    def load(self, label: ChunkLabel, length: int, checksum: int) -> memoryview:
        raise CacheError("input/output error")


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
