"""The sweep: leftovers, chunks without rows, rows without chunks, and an index that was lost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from fuse4dbricks.cache.storing.upkeep import Upkeep
from fuse4dbricks.chunks import ChunkName, ChunkStore
from tests.support.chunkrows import FILE, DictRows, TierRig, file_of, payload_of, tier_rig, until
from tests.support.indexes import HandClock
from tests.support.labels import PATH


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


class CrowdedStore(ChunkStore):
    """Has a hundred files in each shard, or none."""

    crowded = range(0)

    def list_shard(self, shard: int) -> list[ChunkName]:
        files = 100 if shard in self.crowded else 0
        return [ChunkName(bytes([shard, number]) * 8) for number in range(files)]


class AskedRows(DictRows):
    """Knows every chunk.

    Attributes:
        asked: the shards of each question.
    """

    def __init__(self, clock: HandClock) -> None:
        super().__init__(clock)
        self.asked: list[range] = []

    async def list_names(self, shards: range) -> list[bytes]:
        self.asked.append(shards)
        return await super().list_names(shards)

    def load_names(self, names: Sequence[bytes]) -> set[bytes] | None:
        return set(names)


@pytest.mark.parametrize(
    ("crowded", "fewest", "most"),
    [(range(0), 16, 32), (range(256), 256, 256), (range(100, 200), 100, 120)],
    ids=["empty", "crowded", "both"],
)
async def test_a_shard_is_looked_at_once_and_many_at_a_time_where_they_hold_little(
    tmp_path: Path, crowded: range, fewest: int, most: int
) -> None:
    CrowdedStore.crowded = crowded
    rows = AskedRows(HandClock())
    async with tier_rig(tmp_path / "cache", rows=rows, store_type=CrowdedStore) as rig:
        assert rig.tier.upkeep is not None
        stock = rig.tier.upkeep.stock
        rig.supervisor.start_soon("sweep", stock.run, 0.0)
        await until(lambda: stock.get_progress().finished == 1)
        assert stock.get_progress().tally.seen == 100 * len(crowded)
    assert [shard for shards in rows.asked for shard in shards] == list(range(256))
    assert fewest <= len(rows.asked) <= most


async def swept_once(rig: TierRig) -> Upkeep:
    """Start the sweep, and wait until it has been through the folder."""
    rig.supervisor.start_soon("sweep", rig.tier.run_sweep)
    upkeep = rig.tier.upkeep
    assert upkeep is not None
    await until(lambda: upkeep.stock.get_progress().finished == 1)
    return upkeep


async def test_a_swept_folder_wakes_nobody_and_the_loss_of_the_index_is_noticed_at_once(
    tmp_path: Path,
) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(*range(3))
        upkeep = await swept_once(rig)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline > 10, "it does not poll"
        await rig.index.renew()
        await until(lambda: upkeep.stock.get_progress().finished == 2)
        assert rig.index.is_complete
        assert rig.rows.get_totals().chunks == 3


async def test_an_index_begun_anew_on_demand_is_swept_once(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        await rig.store_chunks(*range(3))
        upkeep = await swept_once(rig)
        assert await upkeep.renew() == 2
        await until(lambda: upkeep.stock.get_progress().finished == 2)
        await trio.testing.wait_all_tasks_blocked()
        assert upkeep.stock.get_progress().finished == 2


async def test_a_start_is_given_a_rest_before_the_sweep_unless_somebody_asks(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache") as rig:
        assert rig.tier.upkeep is not None
        stock = rig.tier.upkeep.stock
        rig.supervisor.start_soon("sweep", rig.tier.run_sweep, 3600.0)
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert stock.get_progress().finished == 0
        wanted = stock.ask()
        await until(lambda: stock.get_progress().finished == wanted)


async def test_an_index_that_does_not_know_all_files_is_given_none(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache", is_complete=False) as rig:
        assert rig.tier.upkeep is not None
        stock = rig.tier.upkeep.stock
        rig.supervisor.start_soon("sweep", rig.tier.run_sweep, 3600.0)
        await until(lambda: stock.get_progress().finished == 1)
        assert rig.index.is_complete
