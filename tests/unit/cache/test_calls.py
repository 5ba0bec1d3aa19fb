"""Deadlines of calls in threads. The threads here hang on an event, as others do in the kernel."""

import errno
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from fuse4dbricks.cache.storing.breaker import Breaker
from fuse4dbricks.cache.storing.calls import DiskCalls
from fuse4dbricks.errors import CacheError, ChunkUnusable
from fuse4dbricks.telemetry.metrics import Metrics
from tests.support.chunkrows import until
from tests.support.indexes import HandClock

DEADLINE = 5.0


@dataclass
class Rig:
    clock: HandClock = field(default_factory=HandClock)
    metrics: Metrics = field(default_factory=Metrics)
    device: threading.Event = field(default_factory=threading.Event)
    hanging: int = 0

    def __post_init__(self) -> None:
        self.breaker = Breaker("reading", self.clock)
        self.calls = DiskCalls(
            "read", threads=2, deadline=DEADLINE, breaker=self.breaker, metrics=self.metrics
        )

    def hang(self) -> str:
        self.hanging += 1
        self.device.wait(60)
        return "late"


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.device.set()


def fail_with(number: int) -> None:
    raise CacheError("it failed") from OSError(number, "x")


async def test_a_result_and_a_bad_chunk_mean_that_the_disk_is_well(rig: Rig) -> None:
    rig.breaker.failed("once")
    rig.breaker.failed("twice")
    assert await rig.calls.run(lambda: "bytes") == "bytes"
    rig.breaker.failed("once")
    rig.breaker.failed("twice")

    def bad_chunk() -> None:
        raise ChunkUnusable("cut")

    with pytest.raises(ChunkUnusable):
        await rig.calls.run(bad_chunk)
    rig.breaker.failed("once")
    assert rig.breaker.is_closed
    assert rig.metrics.get("disk.errors") == 0


async def test_errors_of_the_disk_are_counted_and_open_the_breaker(rig: Rig) -> None:
    for _ in range(3):
        with pytest.raises(CacheError, match="it failed"):
            await rig.calls.run(lambda: fail_with(errno.EIO))
    with pytest.raises(CacheError, match="left alone"):
        await rig.calls.run(lambda: "bytes")
    assert rig.metrics.get("disk.errors", operation="read") == 3


async def test_a_full_disk_is_known_at_once(rig: Rig) -> None:
    with pytest.raises(CacheError, match="it failed"):
        await rig.calls.run(lambda: fail_with(errno.ENOSPC))
    assert not rig.breaker.is_closed


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
async def test_a_lack_of_memory_or_threads_is_a_failure_of_this_call(rig: Rig, error: Exception) -> None:
    def starve() -> None:
        raise error

    with pytest.raises(CacheError, match="no resources"):
        await rig.calls.run(starve)


async def test_who_waits_for_a_hanging_disk_waits_no_longer_than_the_deadline(
    rig: Rig, autojump_clock: trio.testing.MockClock
) -> None:
    start = trio.current_time()
    with pytest.raises(CacheError, match="did not answer within 5 s"):
        await rig.calls.run(rig.hang)
    assert trio.current_time() - start == DEADLINE
    assert not rig.breaker.is_closed


async def test_the_first_deadline_frees_all_others_who_wait(
    rig: Rig, autojump_clock: trio.testing.MockClock
) -> None:
    outcomes: list[tuple[float, str]] = []

    async def call(delay: float) -> None:
        await trio.sleep(delay)
        with pytest.raises(CacheError) as caught:
            await rig.calls.run(rig.hang)
        outcomes.append((trio.current_time(), str(caught.value)))

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(call, number * 0.4)
    assert {moment - start for moment, _ in outcomes} == {DEADLINE}
    assert sum("did not answer" in text for _, text in outcomes) == 1
    assert rig.metrics.get("disk.errors") == 1


async def test_the_disk_is_tried_again_and_used_again(rig: Rig, mock_clock: trio.testing.MockClock) -> None:
    await hang_until_the_deadline(rig, mock_clock, callers=1)
    rig.clock.step(5)
    await hang_until_the_deadline(rig, mock_clock, callers=1)
    rig.clock.step(10)
    # Both threads hang: the next try has its turn when they come back.
    rig.device.set()
    assert await rig.calls.run(lambda: "bytes") == "bytes"
    assert rig.breaker.is_closed


async def test_hanging_threads_do_not_multiply(rig: Rig, mock_clock: trio.testing.MockClock) -> None:
    await hang_until_the_deadline(rig, mock_clock, callers=6)
    await until(lambda: rig.hanging == 2)
    for _ in range(4):
        rig.clock.step(120)
        await hang_until_the_deadline(rig, mock_clock, callers=1)
    assert rig.hanging == 2


async def hang_until_the_deadline(rig: Rig, clock: trio.testing.MockClock, callers: int) -> None:
    async def call() -> None:
        with pytest.raises(CacheError):
            await rig.calls.run(rig.hang)

    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        clock.jump(DEADLINE)


async def test_cancellation_by_the_caller_passes(rig: Rig) -> None:
    with trio.move_on_after(0.01) as scope:
        await rig.calls.run(rig.hang)
    assert scope.cancelled_caught
    assert rig.breaker.is_closed
