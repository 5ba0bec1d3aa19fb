"""Who is admitted, how many, and what happens to those who leave early."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from fuse4dbricks.workspace.limits import CallLimiter, Lane, Ticket, Urgency
from tests.support.queues import Queue, with_queue

WAITED, AHEAD = Urgency.WAITED, Urgency.AHEAD


async def test_ten_in_flight_of_which_eight_for_data() -> None:
    async def test(queue: Queue) -> None:
        for number in range(12):
            await queue.join(f"d{number}", Lane.DATA)
        assert len(queue.order) == 8
        for number in range(4):
            await queue.join(f"m{number}")
        assert queue.order[8:] == ["m0", "m1"]
        await queue.leave("d0")
        assert queue.order[-1] == "d8"
        await queue.leave("m0")
        assert queue.order[-1] == "m2"

    await with_queue(test)


async def test_metadata_does_not_queue_behind_data() -> None:
    async def test(queue: Queue) -> None:
        for number in range(20):
            await queue.join(f"d{number}", Lane.DATA)
        await queue.join("m")
        assert queue.order[-1] == "m"

    await with_queue(test)


async def test_who_is_waited_for_goes_first_and_then_first_come_first_served() -> None:
    async def test(queue: Queue) -> None:
        await queue.join("running")
        await queue.join("ahead-1", ticket=Ticket(AHEAD))
        await queue.join("ahead-2", ticket=Ticket(AHEAD))
        await queue.join("waited-1")
        await queue.join("waited-2")
        for name in ("running", "waited-1", "waited-2", "ahead-1"):
            await queue.leave(name)
        assert queue.order == ["running", "waited-1", "waited-2", "ahead-1", "ahead-2"]

    await with_queue(test, in_flight=1, data=1)


async def test_a_promoted_ticket_passes_those_that_nobody_waits_for() -> None:
    async def test(queue: Queue) -> None:
        ticket = Ticket(AHEAD)
        await queue.join("running")
        await queue.join("ahead", ticket=Ticket(AHEAD))
        await queue.join("promoted", ticket=ticket)
        ticket.promote()
        ticket.promote()
        assert ticket.urgency is WAITED
        await queue.leave("running")
        assert queue.order == ["running", "promoted"]

    await with_queue(test, in_flight=1, data=1)


async def test_what_is_fetched_ahead_leaves_room_for_those_who_wait() -> None:
    async def test(queue: Queue) -> None:
        tickets = [Ticket(AHEAD) for _ in range(20)]
        for number, ticket in enumerate(tickets):
            await queue.join(f"ahead-{number}", Lane.DATA, ticket)
        assert len(queue.order) == 7
        await queue.join("waited", Lane.DATA)
        assert queue.order[-1] == "waited"
        # Promotion in flight counts too: a call that somebody waits for no longer takes up room ahead.
        await queue.leave("waited")
        tickets[0].promote()
        await trio.testing.wait_all_tasks_blocked()
        assert queue.order[-1] == "ahead-7"

    await with_queue(test)


async def test_listings_ahead_leave_two_calls() -> None:
    async def test(queue: Queue) -> None:
        for number in range(20):
            await queue.join(f"ahead-{number}", ticket=Ticket(AHEAD))
        assert len(queue.order) == 8
        await queue.join("waited-1")
        await queue.join("waited-2")
        assert queue.order[8:] == ["waited-1", "waited-2"]

    await with_queue(test)


async def test_who_has_least_in_flight_goes_first() -> None:
    async def test(queue: Queue) -> None:
        for number in range(100):
            await queue.join(f"bob-{number}", party="bob")
        await queue.join("alice-0", party="alice")
        await queue.join("alice-1", party="alice")
        for number in range(3):
            await queue.leave(f"bob-{number}")
        # The queue of a hundred is no reason for her to wait longer than for one call to end.
        assert queue.order[10:12] == ["alice-0", "alice-1"]

    await with_queue(test)


async def test_calls_of_one_that_hang_do_not_stop_the_others(autojump_clock: trio.testing.MockClock) -> None:
    async def test(queue: Queue) -> None:
        await queue.join("alice", party="alice")
        await queue.leave("alice")
        for number in range(20):
            await queue.join(f"bob-{number}", Lane.DATA if number % 2 else Lane.METADATA, party="bob")
        assert sum(name.startswith("bob") for name in queue.order) == 8
        await queue.join("alice-data", Lane.DATA, party="alice")
        await queue.join("alice-listing", party="alice")
        assert queue.order[-2:] == ["alice-data", "alice-listing"]

    await with_queue(test)


async def test_who_has_been_alone_for_a_minute_gets_all(autojump_clock: trio.testing.MockClock) -> None:
    async def test(queue: Queue) -> None:
        await queue.join("alice", party="alice")
        await queue.leave("alice")
        await trio.sleep(61)
        for number in range(20):
            await queue.join(f"bob-{number}", party="bob")
        assert len(queue.order) == 11

    await with_queue(test)


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    async def test(queue: Queue) -> None:
        await queue.join("running")
        scope = await queue.join("cancelled")
        await queue.join("next")
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert queue.limiter.queued == 1
        await queue.leave("running")
        assert queue.order == ["running", "next"]

    await with_queue(test, in_flight=1, data=1)


async def test_a_turn_given_to_a_cancelled_waiter_goes_to_the_next() -> None:
    async def test(queue: Queue) -> None:
        await queue.join("running")
        scope = await queue.join("cancelled")
        await queue.join("next")
        # Both in one step of the loop: the turn is granted, and its owner is cancelled before it runs.
        queue.limiter.release(queue.leases["running"])
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert queue.order == ["running", "next"]
        assert queue.limiter.in_flight == 1

    await with_queue(test, in_flight=1, data=1)


async def test_releasing_twice_is_releasing_once() -> None:
    async def test(queue: Queue) -> None:
        for name in ("a", "b", "c"):
            await queue.join(name)
        lease = queue.leases["a"]
        queue.limiter.release(lease)
        queue.limiter.release(lease)
        await trio.testing.wait_all_tasks_blocked()
        assert queue.limiter.in_flight == 2

    await with_queue(test, in_flight=2, data=1)


@pytest.mark.parametrize("seed", range(20))
async def test_no_turn_is_lost_whoever_leaves_whenever(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    dice = random.Random(seed)
    limiter = CallLimiter(in_flight=4, data=3, per_second=9)
    done: list[bool] = []

    async def call() -> None:
        ticket = Ticket(dice.choice([WAITED, AHEAD]))
        lane = dice.choice([Lane.DATA, Lane.METADATA])
        with trio.move_on_after(dice.choice([0, 0.1, 1.0, 1000.0])) as scope:
            lease = await limiter.acquire(ticket, lane, dice.choice(["alice", "bob"]))
            try:
                assert limiter.in_flight <= 4
                if dice.random() < 0.2:
                    limiter.note_throttled(lease, dice.choice([None, 0.3, 50.0]))
                ticket.promote()
                await trio.sleep(dice.random())
                limiter.note_answered(lease)
            finally:
                limiter.release(lease)
        done.append(not scope.cancelled_caught)

    async with trio.open_nursery() as nursery:
        for _ in range(80):
            nursery.start_soon(call)
            await trio.sleep(dice.choice([0, 0, 0.05]))
    assert len(done) == 80
    assert any(done)
    assert (limiter.in_flight, limiter.queued) == (0, 0)
