"""The writer thread: groups, limits, other programs, and its end."""

import os
from functools import partial
from pathlib import Path

import pytest
import trio

from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index import Totals, VictimQuery
from fuse4dbricks.index.session import Session
from fuse4dbricks.index.writer import Writer
from fuse4dbricks.telemetry.metrics import Metrics
from tests.support.indexes import (
    FILE,
    FOLDER,
    HOST,
    KIB,
    VERSION,
    HandClock,
    checked,
    file_entry,
    is_healthy,
    new_chunk,
    opened,
    outside,
    post_walk,
)


def nothing(_session: Session) -> None:
    """A write that writes nothing."""


async def test_what_waits_is_committed_together(tmp_path: Path) -> None:
    metrics = Metrics()
    async with opened(tmp_path, metrics=metrics) as index:
        for n in range(2000):
            index.tree.post_entry(
                FOLDER.child(f"{n}"), None, file_entry(f"{n}"), fetched_at=1.0, expires_at=2.0
            )
        await index.flush()
        assert all(index.tree.load_entry(FOLDER.child(f"{n}"), None) is not None for n in range(2000))
    assert 1 <= metrics.get("index.commits") < 200


async def test_many_tasks_get_their_own_answers(tmp_path: Path) -> None:
    answers: dict[int, list[bytes]] = {}

    async def one(number: int) -> None:
        path = FOLDER.child(f"{number}")
        await index.chunks.add(path, VERSION, [new_chunk(path=path)])
        answers[number] = await index.chunks.remove(path, VERSION, None)

    async with opened(tmp_path) as index, trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(one, number)
    assert answers == {n: [new_chunk(path=FOLDER.child(f"{n}")).name] for n in range(100)}
    assert checked(tmp_path).is_clean


async def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    metrics = Metrics()
    async with opened(tmp_path, metrics=metrics) as index:
        pages = [[file_entry(f"{n:03}-{m:04}") for m in range(1000)] for n in range(80)]
        other = outside(tmp_path, write=True)
        other.execute("BEGIN IMMEDIATE")
        for n, page in enumerate(pages):
            index.tree.post_listing(
                FOLDER, None, page, fetched_at=1.0, expires_at=2.0, first=n == 0, last=n == 79
            )
        dropped = metrics.get("index.dropped_posts", reason="full")
        other.execute("ROLLBACK")
        other.close()
        await index.flush()
        assert dropped >= 8
        listing = index.tree.load_listing(FOLDER, None)
        assert listing is not None
        assert not listing.complete
        assert listing.count == 1000 * (80 - dropped)
    assert checked(tmp_path).is_clean


async def test_another_programs_long_write_is_waited_out_then_done_without(tmp_path: Path) -> None:
    clock, metrics = HandClock(), Metrics()
    async with opened(tmp_path, clock=clock, metrics=metrics) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(0)])
        other = outside(tmp_path, write=True)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexUnavailable):
            await index.chunks.add(FILE, VERSION, [new_chunk(1)])
        assert not is_healthy(index)
        assert metrics.get("index.write_errors", reason="busy") == 1
        assert set(index.chunks.load_span(FILE, VERSION, 0, 9) or ()) == {0}
        other.execute("ROLLBACK")
        other.close()
        with pytest.raises(IndexUnavailable):
            await index.chunks.add(FILE, VERSION, [new_chunk(1)])
        clock.step(2)
        await index.chunks.add(FILE, VERSION, [new_chunk(1)])
        assert is_healthy(index)
        assert index.chunks.get_totals() == Totals(2, 2 * KIB)


async def test_a_reader_in_another_program_sees_one_moment_and_stops_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk(0)])
        other = outside(tmp_path)
        other.execute("BEGIN").fetchall()
        assert other.execute("SELECT count(*) FROM chunk").fetchall() == [(1,)]
        await index.chunks.add(FILE, VERSION, [new_chunk(n) for n in range(1, 50)])
        assert len(index.chunks.load_span(FILE, VERSION, 0, 99) or ()) == 50
        assert other.execute("SELECT count(*) FROM chunk").fetchall() == [(1,)]
        other.execute("COMMIT").fetchall()
        assert other.execute("SELECT count(*) FROM chunk").fetchall() == [(50,)]
        other.close()


async def test_the_wal_does_not_grow_with_what_is_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        for walk in range(120):
            post_walk(index, FOLDER, [[file_entry(f"{n:04}", size=walk) for n in range(1000)]])
            await index.flush()
        # Each of the 120 walks writes some 25 pages of 4 KiB; all of them together would be 12 MiB, a checkpoint comes after 4.
        assert (tmp_path / "index.sqlite-wal").stat().st_size <= 8 * KIB * KIB
    assert not (tmp_path / "index.sqlite-wal").exists() or (tmp_path / "index.sqlite-wal").stat().st_size == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_write_that_ends_the_thread_leaves_nobody_waiting(tmp_path: Path) -> None:
    def end_it(_session: Session) -> None:
        raise SystemExit

    metrics = Metrics()
    writer = Writer(tmp_path / "index.sqlite", HOST, HandClock(), metrics)
    await writer.start()
    with pytest.raises(IndexUnavailable):
        await writer.run(end_it)
    assert not writer.is_healthy
    with pytest.raises(IndexUnavailable):
        await writer.run(nothing)
    assert not writer.post(nothing)
    assert metrics.get("index.dropped_posts", reason="closed") == 1
    await writer.close()


async def test_a_write_that_fails_is_the_only_one(tmp_path: Path) -> None:
    def fail(_session: Session) -> None:
        raise ValueError("nothing like it")

    def add(session: Session, name: str, value: int | str) -> None:
        session.run("INSERT INTO stat_counter VALUES (?, ?, ?)", (session.workspace_id, name, value))

    metrics = Metrics()
    writer = Writer(tmp_path / "index.sqlite", HOST, HandClock(), metrics)
    await writer.start()
    writer.post(partial(add, name="good", value=1))
    writer.post(partial(add, name="bad", value="text"))
    with pytest.raises(IndexUnavailable, match="nothing like it"):
        await writer.run(fail)
    assert await writer.run(lambda session: session.rows("SELECT name FROM stat_counter")) == [("good",)]
    assert writer.is_healthy
    assert metrics.get("index.write_errors", reason="rejected") == 2
    await writer.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_fork_does_not_touch_the_parents_index(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        await index.chunks.add(FILE, VERSION, [new_chunk()])
        child = os.fork()
        if child == 0:
            index.tree.post_entry(FOLDER, None, file_entry("x"), fetched_at=1.0, expires_at=2.0)
            os._exit(0 if index.chunks.load_span(FILE, VERSION, 0, 1) is None else 1)
        _, status = await trio.to_thread.run_sync(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert set(index.chunks.load_span(FILE, VERSION, 0, 1) or ()) == {0}
        await index.chunks.add(FILE, VERSION, [new_chunk(1)])
    assert checked(tmp_path).is_clean


async def test_closing_writes_what_was_posted(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        post_walk(index, FOLDER, [[file_entry(f"{page}-{n}") for n in range(1000)] for page in range(20)])
    async with opened(tmp_path) as index:
        listing = index.tree.load_listing(FOLDER, None)
        assert listing is not None
        assert (listing.complete, listing.count) == (True, 20_000)


async def test_closing_in_a_cancelled_scope_still_closes(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with opened(tmp_path) as index:
            index.tree.post_entry(FILE, None, file_entry("a.csv"), fetched_at=1.0, expires_at=2.0)
            scope.cancel()
    async with opened(tmp_path) as index:
        assert index.tree.load_entry(FILE, None) is not None
        assert await index.chunks.take_victims(VictimQuery(free_bytes=1)) == []
