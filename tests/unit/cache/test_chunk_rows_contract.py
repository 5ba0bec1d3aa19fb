"""What the disk tier relies on in the index; the rows in a dict that its tests use and the real ones obey the same."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from fuse4dbricks.cache.storing.ports import ChunkIndex
from fuse4dbricks.entry import Version
from fuse4dbricks.index import Index
from fuse4dbricks.index.records import NewChunk, VictimQuery
from fuse4dbricks.telemetry.metrics import Metrics
from tests.support.chunkrows import DictRows
from tests.support.indexes import HOST, HandClock
from tests.support.labels import PATH

ONE = Version(size=10_000, last_modified=1)
TWO = Version(size=10_000, last_modified=2, etag='"e"', unsettled_at=3)


@asynccontextmanager
async def dict_rows(folder: Path, clock: HandClock) -> AsyncIterator[ChunkIndex]:
    yield DictRows(clock)


@asynccontextmanager
async def real_rows(folder: Path, clock: HandClock) -> AsyncIterator[ChunkIndex]:
    index = await Index.open(folder / "index.sqlite", workspace=HOST, clock=clock, metrics=Metrics())
    try:
        yield index.chunks
    finally:
        await index.aclose()


@pytest.mark.parametrize("make", [dict_rows, real_rows])
async def test_rows_are_found_removed_and_evicted_as_the_tier_expects(
    tmp_path: Path, make: Callable[[Path, HandClock], AbstractAsyncContextManager[ChunkIndex]]
) -> None:
    clock = HandClock()
    async with make(tmp_path, clock) as rows:
        await the_contract(rows, clock)


def chunk(index: int, *, mark: int = 0, disk_bytes: int = 4096) -> NewChunk:
    return NewChunk(index, bytes([mark, index]) * 8, 1000, (1 << 63) - 1 - index, "42", disk_bytes=disk_bytes)


async def the_contract(rows: ChunkIndex, clock: HandClock) -> None:
    await add_and_load(rows)
    await remove(rows)
    await evict(rows, clock)


async def add_and_load(rows: ChunkIndex) -> None:
    assert rows.load_span(PATH, ONE, 0, 100) == {}
    await rows.add(PATH, ONE, [chunk(index) for index in range(5)])
    await rows.add(PATH, TWO, [chunk(0, mark=1)])
    found = rows.load_span(PATH, ONE, 1, 3)
    assert found is not None
    assert {index: row.chunk_index for index, row in found.items()} == {1: 1, 2: 2}
    assert (found[1].name, found[1].length, found[1].checksum) == (bytes([0, 1]) * 8, 1000, (1 << 63) - 2)
    names = {chunk(0).name, chunk(0, mark=1).name}
    assert rows.load_names([*names, b"unknown" * 2]) == names
    of_one = sorted(chunk(index).name for index in range(5))
    assert sorted(await rows.list_names(range(1))) == of_one
    assert sorted(await rows.list_names(range(256))) == sorted([*of_one, chunk(0, mark=1).name])
    assert await rows.list_names(range(1, 2)) == [chunk(0, mark=1).name]
    assert await rows.list_names(range(2, 256)) == []
    await rows.add(PATH, ONE, [chunk(0)])
    assert (rows.get_totals().chunks, rows.get_totals().bytes) == (6, 6 * 4096)


async def remove(rows: ChunkIndex) -> None:
    assert await rows.remove(PATH, ONE, [3, 99]) == [chunk(3).name]
    assert await rows.remove(PATH, ONE, [3]) == []
    assert await rows.remove(PATH, TWO, None) == [chunk(0, mark=1).name]
    assert rows.load_span(PATH, TWO, 0, 10) == {}
    assert rows.get_totals().chunks == 4


async def evict(rows: ChunkIndex, clock: HandClock) -> None:
    left = rows.load_span(PATH, ONE, 0, 10)
    assert left is not None
    clock.step(100)
    rows.touch(left[0].id)
    await rows.add(PATH, TWO, [chunk(7, mark=1)])
    protected = frozenset({(PATH, TWO)})
    old = VictimQuery(older_than=clock.wall() - 50, protected=protected)
    assert {victim.name for victim in await rows.take_victims(old, 2)} <= {chunk(i).name for i in (1, 2, 4)}
    assert len(await rows.take_victims(old, 256)) == 1
    assert await rows.take_victims(old, 256) == []
    space = VictimQuery(free_bytes=1 << 40, protected=protected)
    (victim,) = await rows.take_victims(space, 256)
    assert (victim.name, victim.length, victim.disk_bytes) == (chunk(0).name, 1000, 4096)
    assert rows.get_totals().chunks == 1
    (last,) = await rows.take_victims(VictimQuery(free_bytes=1), 256)
    assert last.name == chunk(7, mark=1).name
    assert rows.get_totals().bytes == 0
