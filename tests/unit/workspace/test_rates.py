"""How often calls start, and what a 429 changes."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from fuse4dbricks.workspace.limits import CallLimiter, Lane, Ticket, Urgency
from tests.support.queues import Queue, with_queue

WAITED, AHEAD = Urgency.WAITED, Urgency.AHEAD


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
