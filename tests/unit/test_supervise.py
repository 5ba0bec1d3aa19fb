"""Service tasks cannot end the mount."""

from __future__ import annotations

import itertools
import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fuse4dbricks.concurrency.supervise import RESTART_PAUSE_MAX, split_cancelled, supervised
from fuse4dbricks.telemetry.metrics import Metrics

FAILURES = [
    ValueError("v"),
    KeyError("k"),
    OSError(5, "io"),
    MemoryError(),
    AssertionError(),
    ExceptionGroup("g", [ValueError("in")]),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_whatever_a_task_raises_is_logged_and_counted(
    failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise failure

    done = trio.Event()

    async def finish() -> None:
        done.set()

    async with supervised(metrics) as supervisor:
        supervisor.start_soon("job", fail)
        await wait_all_tasks_blocked()
        supervisor.start_soon("other", finish)
        await done.wait()
        assert supervisor.is_open
    assert metrics.get("tasks.failed", task="job") == 1
    assert metrics.get("tasks.failed") == 1
    assert "the background task job failed" in caplog.text


async def test_cancellation_goes_through_and_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()

    async def nested() -> None:
        async with trio.open_nursery(strict_exception_groups=True) as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    async with supervised(metrics) as supervisor:
        supervisor.start_soon("job", nested)
        supervisor.run_forever("service", nested)
        await wait_all_tasks_blocked()
    assert not supervisor.is_open
    assert metrics.get("tasks.failed") == 0
    assert not caplog.records


async def test_a_failure_among_cancellations_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()

    async def fail_at_the_end() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while leaving")

    async with supervised(metrics) as supervisor:
        supervisor.start_soon("job", fail_at_the_end)
        await wait_all_tasks_blocked()
    assert metrics.get("tasks.failed", task="job") == 1
    assert "while leaving" in caplog.text


async def test_a_service_is_started_again_after_growing_pauses(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    starts: list[float] = []

    async def service() -> None:
        starts.append(trio.current_time())
        if len(starts) == 10:
            await trio.sleep(RESTART_PAUSE_MAX + 1)
        if len(starts) < 12:
            raise ValueError

    async with supervised(Metrics()) as supervisor:
        supervisor.run_forever("service", service)
        await trio.sleep(10_000)
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert pauses[:9] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pauses[9] == RESTART_PAUSE_MAX + 1 + 1, "after a long run the pauses start anew"
    assert pauses[10] == 2
    assert len(starts) == 12, "one that returns has finished"


def test_arguments_and_names_reach_the_task() -> None:
    got: list[object] = []

    async def main() -> None:
        async with supervised(Metrics()) as supervisor:

            async def task(number: int, text: str) -> None:
                got.append((number, text, trio.lowlevel.current_task().name))

            supervisor.start_soon("job", task, 1, "x")
            await wait_all_tasks_blocked()

    trio.run(main)
    assert got == [(1, "x", "job")]


def test_split() -> None:
    error = ValueError()
    assert split_cancelled(error) == (None, error)
    cancelled, failed = split_cancelled(ExceptionGroup("g", [error]))
    assert cancelled is None
    assert isinstance(failed, ExceptionGroup)


def test_the_log_line_is_rate_limited(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError

    async def main() -> None:
        async with supervised(Metrics()) as supervisor:
            supervisor.start_soon("job", fail)
            await wait_all_tasks_blocked()

    with caplog.at_level(logging.DEBUG):
        trio.run(main)
    assert [getattr(record, "rate_limit", None) for record in caplog.records] == [60]
