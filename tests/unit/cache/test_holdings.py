"""What is cached of a file, put together from RAM and rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fuse4dbricks.cache.holdings import PAGE_ROWS, Holding, Holdings
from fuse4dbricks.entry import Version
from fuse4dbricks.index.records import HeldChunk, Pin
from fuse4dbricks.paths import RemotePath
from tests.support.indexes import FILE as CSV
from tests.support.indexes import KIB, new_chunk, opened

FILE = RemotePath(("main", "sales", "raw", "f"))
CHUNK = 10


@dataclass
class Ram:
    indexes: frozenset[int] = frozenset()
    chunk_size: int = CHUNK

    def get_complete(self, path: RemotePath, version: Version) -> frozenset[int]:
        return self.indexes


@dataclass
class Rows:
    held: list[HeldChunk] = field(default_factory=list)
    is_busy: bool = False
    loads: int = 0

    def load_held(self, path: RemotePath, version: Version, first: int, limit: int) -> list[HeldChunk] | None:
        self.loads += 1
        return None if self.is_busy else [row for row in self.held if row.chunk_index >= first][:limit]


def rows_of(size: int, *indexes: int, owner: str = "ada") -> list[HeldChunk]:
    return [HeldChunk(n, min(CHUNK, size - n * CHUNK), owner, 100.0 + n) for n in indexes]


async def survey(size: int, rows: Rows | None, *ram: int) -> Holding:
    return await Holdings(rows, Ram(frozenset(ram)), lambda path: path == FILE).survey(FILE, Version(size, 1))


async def test_ranges_of_both_layers_are_joined() -> None:
    holding = await survey(45, Rows(rows_of(45, 0, 1, 4)), 1, 2)
    assert (holding.disk, holding.ram) == (((0, 20), (40, 45)), ((10, 30),))
    assert holding.cached == ((0, 30), (40, 45))
    assert (holding.cached_bytes, holding.is_complete) == (35, False)
    assert (holding.owners, holding.fetched_at, holding.is_pinned) == (("ada",), 104.0, True)


@pytest.mark.parametrize("rows", [None, Rows(), Rows(rows_of(45, 0), is_busy=True)])
async def test_nothing_is_known_where_nothing_can_be_told(rows: Rows | None) -> None:
    holding = await survey(45, rows)
    assert (holding.cached, holding.owners, holding.fetched_at) == ((), (), None)
    assert not holding.is_complete


async def test_an_empty_file_is_complete() -> None:
    assert (await survey(0, None)).is_complete


async def test_chunks_of_another_chunk_size_do_not_count() -> None:
    other = [HeldChunk(0, 7, "ada", 1.0), HeldChunk(4, 5, "bob", 2.0)]
    holding = await survey(45, Rows(other))
    assert (holding.cached, holding.owners) == (((40, 45),), ("bob",))


@pytest.mark.parametrize("chunks", [PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, 3 * PAGE_ROWS])
async def test_long_files_are_read_in_pages(chunks: int) -> None:
    rows = Rows(rows_of(chunks * CHUNK, *range(chunks)))
    assert (await survey(chunks * CHUNK, rows)).is_complete
    assert rows.loads == chunks // PAGE_ROWS + 1
    rows.loads = 0
    beginning = Holdings(rows, Ram()).get_beginning(FILE, Version(chunks * CHUNK, 1))
    assert (rows.loads, beginning.cached_bytes) == (1, min(chunks, PAGE_ROWS) * CHUNK)


async def test_over_the_index_that_a_mount_has(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        holdings = Holdings(index.holdings, Ram(chunk_size=KIB), index.pins.covers)
        version = Version(2 * KIB + 5, 1)
        await index.chunks.add(CSV, version, [new_chunk(0, path=CSV, version=version)])
        assert await holdings.survey(CSV, version) == Holding(
            size=2 * KIB + 5,
            disk=((0, KIB),),
            cached=((0, KIB),),
            owners=("alice",),
            fetched_at=1_700_000_000.0,
        )
        assert await index.pins.put(Pin(CSV.parent, created_by=0, created_at=0.0, expires_at=None))
        assert (await holdings.survey(CSV, version)).is_pinned
        assert not holdings.is_pinned(CSV.parent.parent)
