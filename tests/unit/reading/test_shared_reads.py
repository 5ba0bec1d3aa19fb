"""Several tasks, handles and users want the same bytes: one fetch, everybody's own outcome."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.cache.reading.opened import LateReader
from fuse4dbricks.concurrency.flights import FlightAborted
from fuse4dbricks.errors import InvalidToken, NotFound, NoToken, PermissionDenied, Unreachable
from tests.support.reading import CHUNK, PIECE, Opener, content_of, read_through, reading_rig


class Outcomes:
    """What each of several concurrent reads came to."""

    def __init__(self) -> None:
        self.bytes: list[bytes] = []
        self.errors: list[Exception] = []

    async def read(self, reader: LateReader, start: int, length: int) -> None:
        try:
            self.bytes.append(bytes(await reader.read(start, length)))
        except Exception as error:  # noqa: BLE001 - what it was is what the test is about
            self.errors.append(error)


def bob() -> Opener:
    return Opener("bob", "token-of-bob")


async def test_many_readers_of_one_chunk_are_one_call() -> None:
    content = content_of(50 * CHUNK)
    async with reading_rig(content) as rig:
        readers, outcomes = [rig.open() for _ in range(20)], Outcomes()
        async with trio.open_nursery() as nursery:
            for reader in readers:
                nursery.start_soon(outcomes.read, reader, 10 * CHUNK + 3, 50)
        assert outcomes.bytes == [content[10 * CHUNK + 3 : 10 * CHUNK + 53]] * 20
        assert rig.source.spans == [(10 * CHUNK, 11 * CHUNK)]
        for reader in readers:
            reader.close()


async def test_two_sequential_readers_share_every_fetch() -> None:
    content = content_of(150 * CHUNK + 3)
    async with reading_rig(content) as rig:
        async with trio.open_nursery() as nursery:

            async def check(request: int) -> None:
                reader = rig.open()
                assert await read_through(reader, request) == content
                reader.close()

            for request in (PIECE, 24, CHUNK, CHUNK + 1):
                nursery.start_soon(check, request)
        assert rig.source.bytes_sent == len(content)


async def test_a_cancelled_first_caller_strands_nobody() -> None:
    content = content_of(50 * CHUNK)
    async with reading_rig(content) as rig:
        rig.source.hold()
        first, second, outcomes = rig.open(), rig.open(), Outcomes()
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def interrupted() -> None:
                with scope:
                    await first.read(0, 8)

            nursery.start_soon(interrupted)
            await wait_all_tasks_blocked()
            nursery.start_soon(outcomes.read, second, 0, 8)
            await wait_all_tasks_blocked()
            scope.cancel()
            first.close()
            await rig.source.allow(100)
        assert outcomes.bytes == [content[:8]]
        assert len(rig.source.calls) == 1
        second.close()


async def test_a_handle_that_closes_leaves_others_what_they_wait_for() -> None:
    content = content_of(500 * CHUNK)
    async with reading_rig(content) as rig:
        walker, other = rig.open(), rig.open()
        for start in range(0, 16 * CHUNK, PIECE):
            await walker.read(start, PIECE)
        rig.source.hold()
        for start in range(16 * CHUNK, 20 * CHUNK, PIECE):
            await walker.read(start, PIECE)
        await wait_all_tasks_blocked()
        last = max(call.stop for call in rig.source.calls) // CHUNK - 1
        outcomes = Outcomes()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcomes.read, other, last * CHUNK, 5)
            await wait_all_tasks_blocked()
            calls = len(rig.source.calls)
            walker.close()
            await rig.source.allow(500)
        assert outcomes.bytes == [content[last * CHUNK : last * CHUNK + 5]]
        assert len(rig.source.calls) == calls, "it waited for the fetch that was under way"
        other.close()


async def test_parallel_reads_of_one_handle_do_not_cut_each_other() -> None:
    """Each one is a seek away from the other."""
    content = content_of(500 * CHUNK)
    async with reading_rig(content) as rig:
        rig.source.hold()
        reader, outcomes = rig.open(), Outcomes()
        starts = [400 * CHUNK, 100 * CHUNK, 300 * CHUNK]
        async with trio.open_nursery() as nursery:
            for start in starts:
                nursery.start_soon(outcomes.read, reader, start, 2 * CHUNK)
                await wait_all_tasks_blocked()
            await rig.source.allow(100)
        assert sorted(outcomes.bytes) == sorted(content[start : start + 2 * CHUNK] for start in starts)
        assert set(rig.source.sent.values()) == {1}
        reader.close()


async def test_who_waited_for_a_fetch_keeps_it_alive_when_its_leader_leaves() -> None:
    content = content_of(500 * CHUNK)
    async with reading_rig(content) as rig:
        rig.source.hold()
        leader, follower, outcomes = rig.open(), rig.open(), Outcomes()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leader.read, 10 * CHUNK, 3 * CHUNK)
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as others:
                others.start_soon(outcomes.read, follower, 10 * CHUNK, 8)
                await wait_all_tasks_blocked()
                await rig.source.allow(1)
            nursery.cancel_scope.cancel()
        leader.close()
        await rig.source.allow(11)
        assert rig.source.spans == [(10 * CHUNK, 13 * CHUNK)]
        assert follower.get(10 * CHUNK, 3 * CHUNK) == content[10 * CHUNK : 13 * CHUNK]
        follower.close()


async def test_a_fetch_that_only_a_sleeper_held_ends_with_him() -> None:
    content = content_of(500 * CHUNK)
    async with reading_rig(content) as rig:
        rig.source.hold()
        reader = rig.open()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.read, 10 * CHUNK, 3 * CHUNK)
                await wait_all_tasks_blocked()
                nursery.start_soon(reader.read, 400 * CHUNK, 8)  # the handle has gone elsewhere
                await wait_all_tasks_blocked()
                assert rig.cache.get_gauges().extents == 2
                scope.cancel()
        await wait_all_tasks_blocked()
        assert rig.cache.get_gauges().in_flight_bytes == CHUNK, "what the handle wants now"
        reader.close()


async def test_a_failure_reaches_all_who_wait_each_with_his_own_instance() -> None:
    async with reading_rig(content_of(50 * CHUNK)) as rig:
        readers, outcomes = [rig.open() for _ in range(5)], Outcomes()
        rig.source.failures[30] = Unreachable("no route")
        async with trio.open_nursery() as nursery:
            for reader in readers:
                nursery.start_soon(outcomes.read, reader, 0, CHUNK)
        assert [type(error) for error in outcomes.errors] == [Unreachable] * 5
        assert len({id(error) for error in outcomes.errors}) == 5
        assert len(rig.source.calls) == 1
        for reader in readers:
            reader.close()


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(lambda: PermissionDenied("revoked", status=403), id="permission"),
        pytest.param(lambda: InvalidToken("expired", status=401), id="token"),
        pytest.param(lambda: NotFound("nothing for you", status=404), id="absence"),
    ],
)
async def test_a_follower_of_another_user_tries_with_his_own_token(refusal: Callable[[], Exception]) -> None:
    content = content_of(50 * CHUNK)
    async with reading_rig(content) as rig:
        ada, also_ada = rig.open(Opener()), rig.open(Opener())
        bobs, outcomes, adas = [rig.open(bob()) for _ in range(3)], Outcomes(), Outcomes()
        rig.source.refused["token-of-ada"] = refusal()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(adas.read, ada, 0, 8)
            await trio.lowlevel.checkpoint()
            for reader in (*bobs, also_ada):
                nursery.start_soon((adas if reader is also_ada else outcomes).read, reader, 0, 8)
        assert outcomes.bytes == [content[:8]] * 3
        assert not outcomes.errors
        assert [type(error) for error in adas.errors] == [type(refusal())] * 2
        assert [call.token for call in rig.source.calls] == ["token-of-ada", "token-of-bob"]
        for reader in (ada, also_ada, *bobs):
            reader.close()


async def test_a_follower_of_someone_without_a_token_tries_with_his_own() -> None:
    content = content_of(50 * CHUNK)
    async with reading_rig(content) as rig:
        ada, bobs, outcomes = rig.open(Opener(error=NoToken(1000))), rig.open(bob()), Outcomes()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcomes.read, ada, 0, 8)
            await trio.lowlevel.checkpoint()
            nursery.start_soon(outcomes.read, bobs, 0, 8)
        assert outcomes.bytes == [content[:8]]
        assert [type(error) for error in outcomes.errors] == [NoToken]
        ada.close()
        bobs.close()


async def test_a_token_that_ends_midway_is_renewed_and_the_read_goes_on_there() -> None:
    content = content_of(50 * CHUNK)
    async with reading_rig(content) as rig:
        opener, start = Opener(token="old"), CHUNK + 2 * PIECE
        reader = rig.open(opener)
        rig.source.failures[start] = InvalidToken("expired", status=401)
        rig.source.hold()
        async with trio.open_nursery() as nursery:
            outcomes = Outcomes()
            nursery.start_soon(outcomes.read, reader, CHUNK, CHUNK)
            await rig.source.allow(2)
            opener.token = "new"
            await rig.source.allow(100)
        assert outcomes.bytes == [content[CHUNK : 2 * CHUNK]]
        assert [(call.token, call.start) for call in rig.source.calls] == [("old", CHUNK), ("new", start)]
        assert rig.source.bytes_sent == CHUNK
        reader.close()


async def test_a_token_that_stays_refused_is_tried_once() -> None:
    async with reading_rig(content_of(50 * CHUNK)) as rig:
        rig.source.refused["token-of-ada"] = InvalidToken("expired", status=401)
        reader = rig.open()
        with pytest.raises(InvalidToken):
            await reader.read(0, 8)
        assert len(rig.source.calls) == 1
        reader.close()


async def test_each_fetch_carries_the_token_of_somebody_who_reads_there() -> None:
    content = content_of(300 * CHUNK)
    async with reading_rig(content) as rig:
        ada, bobs = rig.open(), rig.open(bob())
        for start in range(0, 30 * CHUNK, PIECE):
            await ada.read(start, PIECE)
            await bobs.read(200 * CHUNK + start, PIECE)
        for call in rig.source.calls:
            assert call.token == ("token-of-ada" if call.start < 200 * CHUNK else "token-of-bob")
        assert rig.disk.owners.keys() == {"ada@example.com", "bob@example.com"}
        ada.close()
        bobs.close()


async def test_an_error_that_nobody_foresaw_still_wakes_everyone() -> None:
    async with reading_rig(content_of(50 * CHUNK)) as rig:
        readers, outcomes = [rig.open() for _ in range(3)], Outcomes()
        rig.source.failures[30] = RuntimeError("a bug")
        async with trio.open_nursery() as nursery:
            for reader in readers:
                nursery.start_soon(outcomes.read, reader, 0, CHUNK)
        assert [type(error) for error in outcomes.errors] == [RuntimeError] * 3
        assert rig.metrics.get("tasks.failed", task="extent") == 1, "and is in the log"
        for reader in readers:
            reader.close()


async def test_the_end_of_the_mount_wakes_those_who_wait() -> None:
    outcomes = Outcomes()
    async with trio.open_nursery() as nursery, reading_rig(content_of(50 * CHUNK)) as rig:
        rig.source.hold()
        reader = rig.open()
        nursery.start_soon(outcomes.read, reader, 0, 8)
        await wait_all_tasks_blocked()
        rig.supervisor.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        reader.close()
    assert [type(error) for error in outcomes.errors] == [FlightAborted]


async def test_four_sequential_readers_of_the_quarters_of_a_file_fetch_each_byte_once() -> None:
    content = content_of(400 * CHUNK)
    quarter = len(content) // 4
    async with reading_rig(content, ram_bytes=0) as rig, trio.open_nursery() as nursery:

        async def check(start: int) -> None:
            reader = rig.open()
            for offset in range(start, start + quarter, PIECE):
                assert await reader.read(offset, PIECE) == content[offset : offset + PIECE]
            reader.close()

        for number in range(4):
            nursery.start_soon(check, number * quarter)
    assert set(rig.source.sent.values()) == {1}
