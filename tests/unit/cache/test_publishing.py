"""Storing chunks over real files and an index in a dict: what is taken, when, and what the end waits for."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.support.chunkrows import FILE, file_of, payload_of, tier_rig, until
from tests.support.labels import CHUNK_SIZE, PATH
from tests.support.stores import WatchedStore


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


async def test_as_many_bytes_wait_as_the_tier_was_told(tmp_path: Path) -> None:
    big = dataclasses.replace(FILE, size=10 * CHUNK_SIZE)
    async with tier_rig(tmp_path / "cache", queue_bytes=3 * CHUNK_SIZE) as rig:
        rig.rows.committing = trio.Event()
        assert [rig.offer(index, version=big) for index in range(5)] == [True, True, True, False, False]
        assert rig.metrics.get("disk.refused", reason="queue") == 2
        rig.rows.committing.set()
        await rig.settle(3)
        assert rig.offer(3, version=big)
        await rig.settle(4)
        assert rig.known(version=big) == {0, 1, 2, 3}


class Meeting(WatchedStore):
    """The first four writes go on when all four are under way."""

    barrier = threading.Barrier(4)
    turns = itertools.count()

    def before_write(self) -> None:
        if next(self.turns) < 4:
            self.barrier.wait(30)


async def test_a_queue_that_fills_is_worked_off_by_more_threads(tmp_path: Path) -> None:
    async with tier_rig(tmp_path / "cache", store_type=Meeting, queue_bytes=16 * CHUNK_SIZE) as rig:
        for index in range(10):
            assert rig.offer(index)
        await rig.settle(10)
        assert rig.known() == set(range(10))


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


async def test_what_there_was_no_time_for_is_said(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with tier_rig(tmp_path / "cache") as rig:
        rig.rows.committing = trio.Event()
        assert rig.offer(0)
        assert rig.offer(1)
        await rig.tier.aclose(within=0.0)
    assert "2 chunks that were read last are not stored" in caplog.text


class SurprisingStore(WatchedStore):
    def before_write(self) -> None:
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
