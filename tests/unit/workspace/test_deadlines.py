"""The time and the room a call may take: deadlines, slow bodies, the queue, cancellation."""

from __future__ import annotations

import httpx
import pytest
import trio
import trio.testing

from fuse4dbricks.entry import Version
from fuse4dbricks.errors import (
    DeadlineExceeded,
    Unreachable,
)
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.workspace import Limits, Patience, Ticket, Urgency, Workspace
from tests.support.scripted import (
    FOLDER,
    MODIFIED,
    TOKEN,
    Played,
    never,
    reply,
    scripted,
)

Clock = trio.testing.MockClock


# --- time ----------------------------------------------------------------------------------------


async def test_a_reply_that_never_comes(autojump_clock: Clock) -> None:
    async with scripted(never) as (workspace, sent):
        with pytest.raises(DeadlineExceeded):
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert trio.current_time() == pytest.approx(25, abs=0.1)
    assert len(sent.requests) == 2


@pytest.mark.parametrize(
    "body",
    [
        Played(0.5, b"[", repeat=True),
        Played(9.9, b" ", repeat=True),
        Played(b"{", 1000.0),
        Played(1000.0),
    ],
    ids=["a byte each half second", "a byte each ten", "one byte and then nothing", "nothing"],
)
async def test_a_body_that_drips(body: Played, autojump_clock: Clock) -> None:
    async with scripted(lambda _: httpx.Response(200, stream=body)) as (workspace, _sent):
        with pytest.raises(DeadlineExceeded):
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert trio.current_time() <= 25
    assert body.is_closed


async def test_a_body_at_the_least_tolerable_rate_ends_with_the_total(autojump_clock: Clock) -> None:
    body = Played(1.0, b" " * 2000, repeat=True)
    async with scripted(lambda _: httpx.Response(200, stream=body)) as (workspace, sent):
        with pytest.raises(DeadlineExceeded):
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert trio.current_time() == pytest.approx(25)
    assert len(sent.requests) == 1


async def test_a_slow_but_honest_body_arrives(autojump_clock: Clock) -> None:
    body = Played(1.0, b'{"contents"', 1.0, b": ", 1.0, b"[]}")
    async with scripted([httpx.Response(200, stream=body)]) as (workspace, sent):
        assert (await workspace.files.fetch_page(TOKEN, FOLDER)).entries == ()
    assert len(sent.requests) == 1


async def test_drips_of_an_error_body_end_too(autojump_clock: Clock) -> None:
    async with scripted(lambda _: httpx.Response(404, stream=Played(0.5, b" ", repeat=True))) as (
        workspace,
        _,
    ):
        with pytest.raises(DeadlineExceeded):
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert trio.current_time() <= 25


async def test_an_unreachable_host_that_swallows_the_time_is_unreachable(autojump_clock: Clock) -> None:
    async def black_hole(request: httpx.Request) -> httpx.Response:
        await trio.sleep(request.extensions["timeout"]["connect"])
        raise httpx.ConnectTimeout("…")

    async with scripted(black_hole) as (workspace, _):
        with pytest.raises(Unreachable):
            await workspace.files.fetch_page(TOKEN, FOLDER)
    assert trio.current_time() <= 25


async def test_the_time_in_the_queue_counts(autojump_clock: Clock) -> None:
    async with (
        scripted(never, limits=Limits(files_in_flight=1)) as (
            workspace,
            sent,
        ),
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(expect_deadline, workspace)
    assert trio.current_time() == pytest.approx(25, abs=0.1)
    assert len(sent.requests) <= 4


async def expect_deadline(workspace: Workspace) -> None:
    with pytest.raises(DeadlineExceeded):
        await workspace.files.fetch_page(TOKEN, FOLDER)


async def test_who_is_promoted_in_the_queue_has_the_whole_time_from_then(autojump_clock: Clock) -> None:
    ticket = Ticket(Urgency.AHEAD)
    ended_at = 0.0

    async def queue_up(workspace: Workspace) -> None:
        nonlocal ended_at
        with pytest.raises(DeadlineExceeded):
            async with workspace.files.stream_range(
                TOKEN, FOLDER.child("f"), 0, 9, Version(9, MODIFIED), ticket
            ):
                pass
        ended_at = trio.current_time()

    limits = Limits(files_in_flight=1)
    patience = Patience(total=25, response=1000)
    async with (
        scripted(never, limits=limits, patience=patience) as (workspace, _),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(occupy, workspace)
        await trio.sleep(0.1)
        nursery.start_soon(queue_up, workspace)
        await trio.sleep(20)
        ticket.promote()
    assert ended_at == pytest.approx(45.1, abs=0.1)


async def occupy(workspace: Workspace) -> None:
    """Keep the only slot busy: as one call ends by its deadline the next, first in line, begins."""
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            await workspace.files.fetch_page(TOKEN, FOLDER)


# --- limits and cancellation ---------------------------------------------------------------------


async def test_all_files_calls_share_ten_slots_and_the_catalog_has_its_own(autojump_clock: Clock) -> None:
    async def slow(_request: httpx.Request) -> httpx.Response:
        await trio.sleep(1)
        return reply({})

    async with scripted(slow) as (workspace, sent):
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(workspace.files.fetch_page, TOKEN, FOLDER)
        assert sent.peak == 10
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(workspace.files.fetch_page, TOKEN, FOLDER)
                nursery.start_soon(workspace.catalog.fetch_children, TOKEN, RemotePath())
        assert sent.peak == 18


async def test_a_bucket_of_a_hundred_calls_that_fills_in_a_second_is_never_overdrawn(
    autojump_clock: Clock,
) -> None:
    async with scripted(lambda _: reply({})) as (workspace, sent), trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(workspace.files.fetch_page, TOKEN, FOLDER)
    level, before = 100.0, sent.times[0]
    for now in sent.times:
        level, before = min(100.0, level + (now - before) * 100) - 1, now
        assert level >= 0
    # And is made use of: 95 at once, the others at 95 a second.
    assert sent.times[-1] - sent.times[0] == pytest.approx(205 / 95, rel=0.05)


async def test_once_refused_no_second_sees_a_hundred_calls(autojump_clock: Clock) -> None:
    replies = iter([reply({}, status=429, headers={"Retry-After": "1"})])
    async with scripted(lambda _: next(replies, reply({}))) as (workspace, sent):
        await workspace.files.fetch_page(TOKEN, FOLDER)
        sent.times.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(workspace.files.fetch_page, TOKEN, FOLDER)
    assert len(sent.times) == 300
    assert max(sum(start <= other < start + 1 for other in sent.times) for start in sent.times) <= 95


@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.5])
async def test_a_cancelled_call_leaves_nothing_behind(seconds: float, autojump_clock: Clock) -> None:
    body = Played(1.0, b"{", 1.0, b"}")

    async def slow(_request: httpx.Request) -> httpx.Response:
        await trio.sleep(1)
        return httpx.Response(200, stream=body)

    async with scripted(slow, limits=Limits(files_in_flight=1)) as (workspace, _):
        with trio.move_on_after(seconds) as scope:
            await workspace.files.fetch_page(TOKEN, FOLDER)
        assert scope.cancelled_caught
        # The only slot is free again.
        assert (await workspace.files.fetch_page(TOKEN, FOLDER)).entries == ()
    assert body.is_closed
