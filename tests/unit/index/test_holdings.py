"""What the index says of the chunks of one file."""

from __future__ import annotations

from pathlib import Path

from fuse4dbricks.entry import Version
from fuse4dbricks.index.records import HeldChunk
from fuse4dbricks.tokens import Principal
from tests.support.indexes import FILE, KIB, VERSION, HandClock, new_chunk, opened


async def test_chunks_come_in_order_and_in_pages(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in (7, 2, 5)])
        found = index.holdings.load_held(FILE, VERSION, 0, 2)
        assert found == tuple(HeldChunk(n, KIB, "alice", clock.unix) for n in (2, 5))
        rest = index.holdings.load_held(FILE, VERSION, 6, 2)
        assert [row.chunk_index for row in rest or ()] == [7]
        assert index.holdings.load_held(FILE, VERSION, 8, 2) == ()


async def test_other_versions_files_and_workspaces_hold_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk()])
        other = Version(VERSION.size + 1, VERSION.last_modified)
        assert index.holdings.load_held(FILE, other, 0, 9) == ()
        assert index.holdings.load_held(FILE.child("x"), VERSION, 0, 9) == ()
    async with opened(tmp_path, workspace="another") as index:
        assert index.holdings.load_held(FILE, VERSION, 0, 9) == ()


async def test_owners_are_told_by_their_names(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        index.grants.post_principal(b"f" * 16, 1000, Principal("4711", "ada@example.com"))
        await index.chunks.add(FILE, VERSION, [new_chunk(0, owner="4711"), new_chunk(1, owner="4712")])
        found = index.holdings.load_held(FILE, VERSION, 0, 9)
        assert [row.owner for row in found or ()] == ["ada@example.com", "4712"]


async def test_an_index_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk()])
    assert index.holdings.load_held(FILE, VERSION, 0, 9) is None
