"""Chunk rows, their totals, and what goes first."""

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio

from fuse4dbricks.entry import Version
from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index import ChunkRow, Index, NewChunk, Totals, Victim, VictimQuery
from fuse4dbricks.paths import RemotePath
from tests.support.indexes import (
    FILE,
    FOLDER,
    KIB,
    VERSION,
    VOLUME,
    HandClock,
    checked,
    chunk_name,
    new_chunk,
    opened,
    outside,
)


def row_of(row_id: int, chunk: NewChunk) -> ChunkRow:
    return ChunkRow(row_id, chunk.chunk_index, chunk.name, chunk.length, chunk.checksum)


async def use(index: Index, clock: HandClock, indexes: Iterable[int], path: RemotePath = FILE) -> None:
    """Touch chunks one second apart."""
    for chunk_index in indexes:
        clock.step(1)
        span = index.chunks.load_span(path, VERSION, chunk_index, chunk_index + 1)
        assert span is not None
        index.chunks.touch(span[chunk_index].id)


async def evict(
    index: Index, count: int, protected: frozenset[tuple[RemotePath, Version]] = frozenset()
) -> list[int]:
    """Which chunks of FILE go when room for ``count`` is wanted."""
    by_name = {chunk_name(FILE, VERSION, n): n for n in range(1000)}
    victims = await index.chunks.take_victims(VictimQuery(free_bytes=count * KIB, protected=protected))
    return [by_name[victim.name] for victim in victims]


# --- recording -----------------------------------------------------------------------------------


async def test_a_chunk_comes_back_as_it_was_recorded(tmp_path: Path) -> None:
    chunks = [
        new_chunk(0),
        NewChunk(7, b"\0" * 16, KIB, 2**64 - 1, "bob"),
        NewChunk(8, b"\xff" * 16, 0, 0, ""),
    ]
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, chunks)
        span = index.chunks.load_span(FILE, VERSION, 0, 100)
        assert span is not None
        assert span == {chunk.chunk_index: row_of(span[chunk.chunk_index].id, chunk) for chunk in chunks}
        assert set(index.chunks.load_span(FILE, VERSION, 1, 8) or ()) == {7}
        assert index.chunks.load_span(FILE, VERSION, 1, 7) == {}
    async with opened(tmp_path) as index:
        assert index.chunks.load_span(FILE, VERSION, 0, 100) == span
        assert index.chunks.get_totals() == Totals(3, 2 * KIB)


@pytest.mark.parametrize(
    "other",
    [
        Version(VERSION.size + 1, VERSION.last_modified),
        Version(VERSION.size, 1_700_000_001),
        Version(VERSION.size, None),
        Version(VERSION.size, VERSION.last_modified, ""),
        Version(VERSION.size, VERSION.last_modified, '"tag"'),
        Version(VERSION.size, VERSION.last_modified, None, 1_700_000_000),
    ],
)
async def test_versions_do_not_share_chunks(tmp_path: Path, other: Version) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk()])
        assert index.chunks.load_span(FILE, other, 0, 10) == {}
        mine = new_chunk(version=other)
        await index.chunks.add(FILE, other, [mine])
        found = index.chunks.load_span(FILE, other, 0, 10)
        assert found is not None
        assert [row.name for row in found.values()] == [mine.name]
        assert await index.chunks.remove(FILE, other, None) == [mine.name]
        assert set(index.chunks.load_span(FILE, VERSION, 0, 10) or ()) == {0}


async def test_paths_and_workspaces_do_not_share_chunks(tmp_path: Path) -> None:
    async with opened(tmp_path, workspace="one") as index:
        await index.chunks.add(FILE, VERSION, [new_chunk()])
        assert index.chunks.load_span(FOLDER, VERSION, 0, 10) == {}
        assert index.chunks.load_span(FILE.child("0"), VERSION, 0, 10) == {}
    async with opened(tmp_path, workspace="two") as index:
        assert index.chunks.load_span(FILE, VERSION, 0, 10) == {}
        # The folder's limit is about all of them, and so is eviction.
        assert index.chunks.get_totals() == Totals(1, KIB)
        assert len(await index.chunks.take_victims(VictimQuery(free_bytes=1))) == 1


async def test_recording_twice_counts_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        for _ in range(3):
            await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(5)])
        assert index.chunks.get_totals() == Totals(5, 5 * KIB)
        await index.chunks.add(FILE, VERSION, [new_chunk(2, length=10, owner="bob", disk_bytes=4 * KIB)])
        assert index.chunks.get_totals() == Totals(5, 8 * KIB)
        await index.chunks.add(FILE, VERSION, [])
    assert checked(tmp_path).is_clean


async def test_a_file_that_takes_anothers_place_leaves_none_behind(tmp_path: Path) -> None:
    """A mount with another chunk size: the old file still lies on the disk, so it counts and goes first."""
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(3)])
        clock.step(100)
        newcomer = new_chunk(1, salt="another chunk size", length=10 * KIB)
        await index.chunks.add(FILE, VERSION, [newcomer])
        span = index.chunks.load_span(FILE, VERSION, 0, 10)
        assert span is not None
        assert span[1].name == newcomer.name
        assert index.chunks.get_totals() == Totals(4, 13 * KIB)
        assert await evict(index, 1) == [1]
        assert index.chunks.get_totals() == Totals(3, 12 * KIB)
    assert checked(tmp_path).is_clean


async def test_which_names_have_a_row(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        chunks = [new_chunk(n) for n in range(5)]
        await index.chunks.add(FILE, VERSION, chunks)
        names = [chunk.name for chunk in chunks]
        assert index.chunks.load_names([*names, b"x" * 16]) == set(names)
        assert index.chunks.load_names([]) == set()


async def test_disk_usage_is_what_counts(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n, length=10, disk_bytes=4 * KIB) for n in range(4)])
        assert index.chunks.get_totals() == Totals(4, 16 * KIB)
        victims = await index.chunks.take_victims(VictimQuery(free_bytes=5 * KIB))
        assert victims == [Victim(chunk_name(FILE, VERSION, n), 10, 4 * KIB) for n in range(2)]


async def test_totals_are_rolled_up_for_statistics(tmp_path: Path) -> None:
    other = RemotePath(("main", "hr", "docs", "b.TAR.GZ"))
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n, owner="alice" if n else "bob") for n in range(3)])
        await index.chunks.add(other, VERSION, [new_chunk(path=other)])
        await index.chunks.remove(FILE, VERSION, [2])
    db = outside(tmp_path)
    rows = db.execute(
        """SELECT v.catalog, v.schema, v.name, v.files, o.name, extension, chunks, disk_bytes
           FROM usage JOIN volume v ON v.id = volume_id JOIN owner o ON o.id = owner_id ORDER BY 2, 5"""
    ).fetchall()
    db.close()
    assert rows == [
        ("main", "hr", "docs", 1, "alice", "gz", 1, KIB),
        ("main", "sales", "raw", 1, "alice", "csv", 1, KIB),
        ("main", "sales", "raw", 1, "bob", "csv", 1, KIB),
    ]


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a.csv", "csv"),
        ("A.B.Parquet", "parquet"),
        (".profile", ""),
        ("x", ""),
        ("x.", ""),
        ("x.y z", ""),
        ("é.ü", ""),
    ],
)
async def test_extensions(tmp_path: Path, name: str, extension: str) -> None:
    path = VOLUME.child(name)
    async with opened(tmp_path) as index:
        await index.chunks.add(path, VERSION, [new_chunk(path=path)])
    db = outside(tmp_path)
    assert db.execute("SELECT extension FROM usage").fetchall() == [(extension,)]
    db.close()


# --- removing ------------------------------------------------------------------------------------


async def test_removing_gives_the_names_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(5)])
        assert await index.chunks.remove(FILE, VERSION, []) == []
        assert await index.chunks.remove(FILE, VERSION, [3, 99]) == [chunk_name(FILE, VERSION, 3)]
        assert index.chunks.get_totals() == Totals(4, 4 * KIB)
        rest = await index.chunks.remove(FILE, VERSION, None)
        assert sorted(rest) == sorted(chunk_name(FILE, VERSION, n) for n in (0, 1, 2, 4))
        assert await index.chunks.remove(FILE, VERSION, None) == []
        assert index.chunks.get_totals() == Totals(0, 0)
    db = outside(tmp_path)
    for table in ("chunk", "file_version", "usage", "usage_day"):
        assert db.execute(f"SELECT count(*) FROM {table}").fetchall() == [(0,)]
    db.close()
    assert checked(tmp_path).is_clean


async def test_a_cancelled_caller_leaves_the_write_to_happen(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        with trio.CancelScope() as scope:
            scope.cancel()
            await index.chunks.add(FILE, VERSION, [new_chunk()])
        assert scope.cancelled_caught
        await index.flush()
        assert set(index.chunks.load_span(FILE, VERSION, 0, 1) or ()) == {0}
        assert index.chunks.get_totals() == Totals(1, KIB)


# --- eviction ------------------------------------------------------------------------------------


async def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        for n in range(6):
            clock.step(1)
            await index.chunks.add(FILE, VERSION, [new_chunk(n)])
        await use(index, clock, [0, 3])
        assert await evict(index, 3) == [1, 2, 4]
        assert index.chunks.get_totals() == Totals(3, 3 * KIB)
        await use(index, clock, [5])
        assert await evict(index, 1) == [0]
        assert await evict(index, 99) == [3, 5]
        assert await evict(index, 1) == []
    assert checked(tmp_path).is_clean


async def test_the_order_survives_a_restart(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        for n in range(4):
            clock.step(1)
            await index.chunks.add(FILE, VERSION, [new_chunk(n)])
        await use(index, clock, [1, 0])
    async with opened(tmp_path, clock=clock) as index:
        assert await evict(index, 4) == [2, 3, 1, 0]


async def test_chunks_found_again_keep_their_age(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(0)])
        old = NewChunk(1, chunk_name(FILE, VERSION, 1), KIB, 1, "alice", last_access=1_600_000_000.0)
        await index.chunks.add(FILE, VERSION, [old])
        assert await evict(index, 1) == [1]


async def test_open_files_are_left_alone(tmp_path: Path) -> None:
    other = FOLDER.child("b.csv")
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        await index.chunks.add(other, VERSION, [new_chunk(n, path=other) for n in range(500)])
        clock.step(1)
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(3)])
        held = frozenset({(other, VERSION), (FOLDER.child("not cached"), VERSION)})
        assert await evict(index, 2, held) == [0, 1]
        assert await evict(index, 9, held) == [2]
        assert await evict(index, 9, held) == []
        assert index.chunks.get_totals() == Totals(500, 500 * KIB)
        assert len(await index.chunks.take_victims(VictimQuery(free_bytes=KIB))) == 1


async def test_age_takes_all_that_is_older_and_nothing_else(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        for n in range(6):
            await index.chunks.add(FILE, VERSION, [new_chunk(n)])
            clock.step(10)
        await use(index, clock, [0])
        limit = VictimQuery(older_than=clock.unix - 40)
        assert [v.name for v in await index.chunks.take_victims(limit)] == [
            chunk_name(FILE, VERSION, n) for n in (1, 2)
        ]
        assert await index.chunks.take_victims(limit) == []
        both = VictimQuery(free_bytes=1, older_than=0.0)
        assert [v.name for v in await index.chunks.take_victims(both)] == [chunk_name(FILE, VERSION, 3)]
        assert await index.chunks.take_victims(VictimQuery()) == []


async def test_victims_come_in_batches(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(1000)])
        taken = [len(await index.chunks.take_victims(VictimQuery(free_bytes=1 << 40))) for _ in range(5)]
        assert taken == [256, 256, 256, 232, 0]
        assert index.chunks.get_totals() == Totals(0, 0)
    assert checked(tmp_path).is_clean


async def test_a_clock_that_goes_back_does_not_hide_chunks(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(3)])
        assert await evict(index, 1) == [0]
        clock.unix -= 3600
        await index.chunks.add(FILE, VERSION, [new_chunk(5)])
        await use(index, clock, [2])
        assert await evict(index, 3) == [5, 2, 1]


async def test_pinned_chunks_stay(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(3)])
    db = outside(tmp_path, write=True)
    db.execute("UPDATE chunk SET pinned = 1 WHERE chunk_index = 0")
    db.close()
    async with opened(tmp_path) as index:
        assert await evict(index, 3) == [1, 2]


# --- times of use --------------------------------------------------------------------------------


async def test_uses_are_written_with_the_next_flush(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(3)])
        await use(index, clock, [1, 1, 2])
        index.chunks.touch(4711)  # a row that is gone meanwhile
        clock.step(86_400)
        await use(index, clock, [2])
        await index.flush()
        db = outside(tmp_path)
        rows = db.execute("SELECT chunk_index, hits, last_access_ms / 1000 FROM chunk ORDER BY 1").fetchall()
        days = db.execute("SELECT chunks FROM usage_day ORDER BY day").fetchall()
        db.close()
    start = 1_700_000_000
    assert rows == [(0, 0, start), (1, 2, start + 2), (2, 2, start + 86_404)]
    assert days == [(2,), (1,)]
    assert checked(tmp_path).is_clean


async def test_uses_are_written_at_the_end(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(2)])
        await use(index, clock, [0])
    db = outside(tmp_path)
    assert db.execute("SELECT hits FROM chunk ORDER BY chunk_index").fetchall() == [(1,), (0,)]
    db.close()


async def test_uses_are_written_by_themselves_when_their_time_has_come(tmp_path: Path) -> None:
    clock = HandClock()
    async with opened(tmp_path, clock=clock) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(0)])
        await use(index, clock, [0])
        clock.step(31)
        # Any write will do; nobody asked for the times of use.
        await index.chunks.remove(FOLDER, VERSION, None)
        db = outside(tmp_path)
        assert db.execute("SELECT hits FROM chunk").fetchall() == [(1,)]
        db.close()


# --- the end -------------------------------------------------------------------------------------


async def test_a_closed_index_refuses_and_never_hangs(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk()])
    with pytest.raises(IndexUnavailable):
        await index.chunks.add(FILE, VERSION, [new_chunk()])
    with pytest.raises(IndexUnavailable):
        await index.chunks.take_victims(VictimQuery(free_bytes=1))
    with pytest.raises(IndexUnavailable):
        await index.flush()
    assert index.chunks.load_span(FILE, VERSION, 0, 1) is None
    assert index.chunks.load_names([b"x" * 16]) is None
    assert not index.is_healthy
    await index.aclose()
    assert not any(thread.name == "fuse4dbricks-index" for thread in threading.enumerate())
