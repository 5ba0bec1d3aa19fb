"""Who is admitted, how many, how often, and what happens to those who leave early."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from fuse4dbricks.workspace.limits import QUIET_SECONDS, CallLimiter, Lane, Lease, Ticket, Urgency

WAITED, AHEAD = Urgency.WAITED, Urgency.AHEAD


class Queue:
    """Starts calls in a nursery and notes the order in which they are admitted."""

    def __init__(self, limiter: CallLimiter, nursery: trio.Nursery) -> None:
        self.limiter = limiter
        self.nursery = nursery
        self.order: list[str] = []
        self.times: list[float] = []
        self.leases: dict[str, Lease] = {}

    async def join(
        self, name: str, lane: Lane = Lane.METADATA, ticket: Ticket | None = None, party: str = ""
    ) -> trio.CancelScope:
        """Queue up as ``name`` and settle."""
        scope = trio.CancelScope()
        self.nursery.start_soon(self._call, name, lane, ticket or Ticket(), party, scope)
        await trio.testing.wait_all_tasks_blocked()
        return scope

    async def _call(self, name: str, lane: Lane, ticket: Ticket, party: str, scope: trio.CancelScope) -> None:
        with scope:
            self.leases[name] = await self.limiter.acquire(ticket, lane, party)
            self.order.append(name)
            self.times.append(trio.current_time())

    async def leave(self, name: str) -> None:
        self.limiter.release(self.leases.pop(name))
        await trio.testing.wait_all_tasks_blocked()


Test = Callable[[Queue], Awaitable[None]]


async def with_queue(test: Test, *, in_flight: int = 10, data: int = 8, per_second: int = 1000) -> None:
    async with trio.open_nursery() as nursery:
        await test(Queue(CallLimiter(in_flight=in_flight, data=data, per_second=per_second), nursery))
        nursery.cancel_scope.cancel()


async def test_ten_in_flight_of_which_eight_for_data() -> None:
    async def test(queue: Queue) -> None:
        await queue.join("m")
        for number in range(12):
            await queue.join(f"d{number}", Lane.DATA)
        assert len(queue.order) == 9
        for number in range(4):
            await queue.join(f"m{number}")
        assert queue.order[9:] == ["m0"]
        await queue.leave("d0")
        assert queue.order[-1] == "d8"
        await queue.leave("m0")
        assert queue.order[-1] == "m1"

    await with_queue(test)


async def test_nine_for_data_while_nobody_asks_for_anything_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def test(queue: Queue) -> None:
        for number in range(14):
            await queue.join(f"d{number}", Lane.DATA)
        assert len(queue.order) == 9, "one place is free whoever comes"
        await queue.join("m0")
        assert queue.order[-1] == "m0"
        await queue.leave("d0")
        assert queue.order[-1] == "m0", "he may ask for more"
        await queue.join("m1")
        assert queue.order[-1] == "m1"
        await queue.leave("m0")
        await queue.leave("d1")
        assert queue.order[-1] == "d9"
        await queue.leave("m1")
        assert queue.order[-1] == "d9", "others were at it a moment ago"
        await trio.sleep(QUIET_SECONDS)
        await queue.leave("d2")
        assert set(queue.order[-2:]) == {"d10", "d11"}, "and are not any more"

    await with_queue(test)


async def test_a_narrow_service_keeps_a_place_for_others() -> None:
    async def test(queue: Queue) -> None:
        for number in range(5):
            await queue.join(f"d{number}", Lane.DATA)
        assert len(queue.order) == 3
        await queue.join("m")
        assert queue.order[-1] == "m"

    await with_queue(test, in_flight=4, data=3)


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
        assert len(queue.order) == 8
        await queue.join("waited", Lane.DATA)
        assert queue.order[-1] == "waited"
        # Promotion in flight counts too: a call that somebody waits for no longer takes up room ahead.
        await queue.leave("waited")
        tickets[0].promote()
        await trio.testing.wait_all_tasks_blocked()
        assert queue.order[-1] == "ahead-8"

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


def most_beyond_rate(starts: list[float], per_second: int) -> float:
    """The most calls of any stretch of time beyond what the rate alone allows in it."""
    return max(
        last - first + 1 - per_second * (starts[last] - starts[first])
        for first in range(len(starts))
        for last in range(first, len(starts))
    )


def most_in_a_second(starts: list[float]) -> int:
    return max(sum(start <= other < start + 1 for other in starts) for start in starts)


async def start_times(limiter: CallLimiter, count: int) -> list[float]:
    """When each of so many short calls starts, seconds from now."""
    starts: list[float] = []
    begun = trio.current_time()

    async def call() -> None:
        lease = await limiter.acquire(Ticket(), Lane.METADATA)
        starts.append(trio.current_time() - begun)
        await trio.sleep(0.01)
        limiter.release(lease)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(call)
    assert len(starts) == count
    return starts


async def test_a_bucket_of_the_rates_size_is_never_overdrawn(autojump_clock: trio.testing.MockClock) -> None:
    limiter = CallLimiter(in_flight=10, data=8, per_second=5)
    starts = await start_times(limiter, 23)
    # A second's worth at once, then as it fills: the first is paid back when its reply is there.
    assert starts[4] == 0.0
    assert starts[-1] == pytest.approx(18 / 5, abs=0.1)
    assert most_beyond_rate(starts, 5) <= 5 + 1e-6
    await trio.sleep(10)
    assert (await start_times(limiter, 6))[4:] == pytest.approx([0.0, 0.21], abs=0.02)


async def test_after_a_429_no_second_holds_more_starts_than_allowed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limiter = CallLimiter(in_flight=10, data=8, per_second=5)
    refused = await limiter.acquire(Ticket(), Lane.METADATA)
    limiter.note_throttled(refused, None)
    limiter.release(refused)
    await trio.sleep(5)
    starts = await start_times(limiter, 23)
    assert most_in_a_second(starts) == 5
    assert starts[-1] == pytest.approx(4.0, abs=0.1)
    # Not for ever: it may have been somebody else's calls that were too many.
    await trio.sleep(600)
    assert most_in_a_second(await start_times(limiter, 23)) > 5


async def test_somebody_always_watches_the_clock(autojump_clock: trio.testing.MockClock) -> None:
    async def test(queue: Queue) -> None:
        for number in range(2):
            await queue.join(f"first-{number}")
            queue.limiter.note_answered(queue.leases[f"first-{number}"])
        watcher = await queue.join("watcher")
        await queue.join("other")
        watcher.cancel()
        await trio.sleep(1.5)
        assert queue.order == ["first-0", "first-1", "other"]

    await with_queue(test, per_second=2)


async def test_a_call_is_paid_back_from_its_reply_on(autojump_clock: trio.testing.MockClock) -> None:
    async def test(queue: Queue) -> None:
        for number in range(2):
            await queue.join(f"slow-{number}")
        await queue.join("next")
        await trio.sleep(5)
        # The service may count the slow ones only now, and a third with them.
        assert queue.order == ["slow-0", "slow-1"]
        queue.limiter.note_answered(queue.leases["slow-0"])
        await trio.sleep(0.4)
        assert queue.order == ["slow-0", "slow-1"]
        await trio.sleep(0.2)
        assert queue.order == ["slow-0", "slow-1", "next"]

    await with_queue(test, per_second=2)


async def test_after_a_429_a_call_counts_until_a_second_after_its_reply(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def test(queue: Queue) -> None:
        await queue.join("refused")
        queue.limiter.note_throttled(queue.leases["refused"], None)
        await queue.leave("refused")
        await trio.sleep(2)
        for number in range(2):
            await queue.join(f"slow-{number}")
        await queue.join("next")
        await trio.sleep(5)
        assert queue.order == ["refused", "slow-0", "slow-1"]
        queue.limiter.note_answered(queue.leases["slow-0"])
        await trio.sleep(0.9)
        assert queue.order == ["refused", "slow-0", "slow-1"]
        await trio.sleep(0.2)
        assert queue.order == ["refused", "slow-0", "slow-1", "next"]

    await with_queue(test, per_second=2)


async def test_429_halves_once_per_round_and_successes_win_it_back() -> None:
    limiter = CallLimiter(in_flight=10, data=8, per_second=1000)
    leases = [await limiter.acquire(Ticket(), Lane.METADATA) for _ in range(10)]
    for lease in leases:
        limiter.note_throttled(lease, None)
        limiter.release(lease)
    assert limiter.width == 5
    for _ in range(80):
        limiter.note_answered(leases[0])
    assert limiter.width == 10


async def test_throttling_leaves_one_call_for_data_and_one_for_the_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def test(queue: Queue) -> None:
        for number in range(10):
            await queue.join(f"t{number}")
            queue.limiter.note_throttled(queue.leases[f"t{number}"], None)
            await queue.leave(f"t{number}")
            await trio.sleep(0.1)
        assert queue.limiter.width == 2
        for number in range(3):
            await queue.join(f"d{number}", Lane.DATA)
        await queue.join("m")
        assert queue.order[10:] == ["d0", "m"]

    await with_queue(test)


async def test_nothing_starts_right_after_a_429(autojump_clock: trio.testing.MockClock) -> None:
    limiter = CallLimiter(in_flight=10, data=8, per_second=1000)
    lease = await limiter.acquire(Ticket(), Lane.METADATA)
    limiter.note_throttled(lease, 3600.0)
    limiter.release(lease)
    before = trio.current_time()
    await limiter.acquire(Ticket(), Lane.METADATA)
    # Whoever was told to wait an hour does so; the others find out for themselves after a second.
    assert trio.current_time() - before == pytest.approx(1.0)


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


async def test_what_is_fetched_ahead_leaves_a_tenth_of_each_second(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limiter, started = CallLimiter(in_flight=10, data=8, per_second=20), []

    async def call(name: str, urgency: Urgency) -> None:
        lease = await limiter.acquire(Ticket(urgency), Lane.METADATA)
        started.append((name, round(trio.current_time() - begun, 3)))
        limiter.release(lease)

    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(call, f"a{number}", AHEAD)
        await trio.sleep(0.5)
        for number in range(4):
            nursery.start_soon(call, f"w{number}", WAITED)
    ahead = [at for name, at in started if name.startswith("a")]
    waited = [at for name, at in started if name.startswith("w")]
    assert ahead.count(0.0) == 18
    # Two at once; the others as the bucket fills.
    assert waited == pytest.approx([0.5, 0.5, 0.55, 0.6], abs=0.001)
