"""Quotas and the number of files: who gives way to whom, and that neither is passed at any moment."""

import dataclasses
from pathlib import Path

import trio

from fuse4dbricks.cache.disk import DiskLimits
from fuse4dbricks.index.records import Share
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.units import MIB
from tests.support.chunkrows import FILE, DictRows, TierRig, store_by_four, tier_rig, until
from tests.support.indexes import HandClock
from tests.support.labels import CHUNK_SIZE, PATH, label

#: What a chunk takes on the disk: one block with what it says of itself. Ten fit, eleven do not.
ON_DISK = 4096
TEN_CHUNKS = 11 * ON_DISK - 1
OTHER_CATALOG = RemotePath(("other", *PATH.parts[1:]))


def taken(rig: TierRig, kind: str, name: str) -> int:
    shares = rig.rows.get_shares()
    assert shares is not None
    return shares.get(Share(kind, label().workspace, name), 0)


def chunks_of(rig: TierRig, owner: str) -> int:
    return sum(new.owner == owner for _, new in rig.rows.rows.values())


async def test_who_is_over_his_quota_pushes_out_his_own_oldest_chunks_and_nobody_elses(
    tmp_path: Path,
) -> None:
    limits = DiskLimits(64 * MIB, min_free_bytes=0, user_bytes=TEN_CHUNKS)
    versions = [dataclasses.replace(FILE, last_modified=number) for number in range(4)]
    async with tier_rig(tmp_path / "cache", limits=limits) as rig:
        await rig.store_chunks(*range(5), version=versions[0], owner="modest")
        rig.clock.step(1)
        for version in versions[1:]:
            await rig.store_chunks(*range(10), version=version, owner="greedy")
            rig.clock.step(1)
        assert chunks_of(rig, "modest") == 5
        assert 8 <= chunks_of(rig, "greedy") <= 10
        assert rig.known(version=versions[1]) == frozenset()
        assert 9 in rig.known(version=versions[3])
        assert rig.metrics.get("disk.evicted", reason="quota") >= 20
        assert rig.metrics.get("disk.evicted", reason="size") == 0


async def test_a_quota_holds_while_several_chunks_of_one_user_are_stored_at_once(tmp_path: Path) -> None:
    limits = DiskLimits(64 * MIB, min_free_bytes=0, user_bytes=TEN_CHUNKS)
    versions = [dataclasses.replace(FILE, last_modified=number) for number in range(20)]
    async with tier_rig(tmp_path / "cache", limits=limits) as rig:
        highest = await store_by_four(rig, versions, lambda: taken(rig, "user", "42"))
        assert 0.8 * TEN_CHUNKS < highest <= TEN_CHUNKS
        assert rig.metrics.get("disk.published") == 200


async def test_a_catalog_has_a_quota_whoever_reads_it(tmp_path: Path) -> None:
    limits = DiskLimits(64 * MIB, min_free_bytes=0, catalog_bytes=TEN_CHUNKS)
    async with tier_rig(tmp_path / "cache", limits=limits) as rig:
        await rig.store_chunks(*range(10), path=OTHER_CATALOG)
        for number in range(10):
            version = dataclasses.replace(FILE, last_modified=number)
            await rig.store_chunks(0, 1, version=version, owner=f"user{number}")
            rig.clock.step(1)
        assert rig.known(path=OTHER_CATALOG) == set(range(10))
        assert 0.8 * TEN_CHUNKS < taken(rig, "catalog", PATH.parts[0]) <= TEN_CHUNKS


async def test_where_all_of_a_users_chunks_are_open_his_next_ones_are_not_stored(tmp_path: Path) -> None:
    limits = DiskLimits(64 * MIB, min_free_bytes=0, user_bytes=TEN_CHUNKS)
    big = dataclasses.replace(FILE, size=40 * CHUNK_SIZE)
    async with tier_rig(tmp_path / "cache", limits=limits) as rig:
        rig.tier.hold(PATH, big)
        for index in range(40):
            done = trio.Event()
            assert rig.tier.publish(PATH, big, index, bytes(CHUNK_SIZE), "greedy", done.set)
            await done.wait()
        assert 9 <= chunks_of(rig, "greedy") <= 10
        assert len(rig.rows.queries) < 10  # fruitless scans are not repeated for each chunk
        await rig.store_chunks(0, owner="modest", path=OTHER_CATALOG)
        assert chunks_of(rig, "modest") == 1
        rig.tier.release(PATH, big)
        await rig.store_chunks(1, owner="greedy", path=OTHER_CATALOG)
        assert rig.tier.get_known(OTHER_CATALOG, FILE, 0, 2) == {0, 1}


async def test_a_quota_that_was_lowered_is_met_at_the_next_start_by_the_heaviest_first(
    tmp_path: Path,
) -> None:
    rows = DictRows(HandClock())
    async with tier_rig(tmp_path / "cache", rows=rows) as rig:
        await rig.store_chunks(*range(10), owner="heavy", path=OTHER_CATALOG)
        await rig.store_chunks(*range(4), owner="light")
        await rig.store_chunks(*range(4, 6), owner="lightest")
    limits = DiskLimits(64 * MIB, min_free_bytes=0, user_bytes=5 * ON_DISK // 2)
    async with tier_rig(tmp_path / "cache", rows=rows, limits=limits) as rig:
        await until(lambda: len(rows.rows) <= 6)
        shares = [query.share.name for query in rows.queries if query.share is not None]
        assert shares[:2] == ["heavy", "light"]
        assert [chunks_of(rig, name) for name in ("heavy", "light", "lightest")] == [2, 2, 2]


async def test_more_than_a_quota_is_never_waited_for(tmp_path: Path) -> None:
    limits = DiskLimits(64 * MIB, min_free_bytes=0, user_bytes=ON_DISK // 2)
    async with tier_rig(tmp_path / "cache", limits=limits) as rig:
        await rig.store_chunks(0)
        assert rig.known() == frozenset()
        assert rig.metrics.get("disk.refused", reason="room") == 1


async def test_the_number_of_files_is_a_limit(tmp_path: Path) -> None:
    limits = DiskLimits(64 * MIB, min_free_bytes=0, max_files=25)
    versions = [dataclasses.replace(FILE, last_modified=number) for number in range(20)]
    async with tier_rig(tmp_path / "cache", limits=limits) as rig:
        highest = await store_by_four(rig, versions, lambda: len(list(rig.folder.path.rglob("chunks/*/*"))))
        assert 20 <= highest <= 25
        assert rig.metrics.get("disk.published") == 200
        assert rig.metrics.get("disk.evicted", reason="files") >= 175
