"""The same question, asked by many, goes out once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.concurrency.flights import FlightAborted, Flights, own_copy
from fuse4dbricks.concurrency.supervise import Supervisor, supervised
from fuse4dbricks.errors import NotFound, NoToken
from fuse4dbricks.telemetry.metrics import Metrics


class Work:
    """Counts its runs, and ends when the test says so."""

    def __init__(self, result: str | Exception = "value") -> None:
        self.result = result
        self.runs = 0
        self.was_cancelled = False
        self.go = trio.Event()

    async def __call__(self) -> str:
        self.runs += 1
        try:
            await self.go.wait()
        except trio.Cancelled:
            self.was_cancelled = True
            raise
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@asynccontextmanager
async def flights_of(kind: str = "test") -> AsyncIterator[Flights[str, str]]:
    async with supervised(Metrics()) as supervisor:
        yield Flights(kind, supervisor)


async def test_one_run_answers_all() -> None:
    work, got = Work(), []

    async def ask(flights: Flights[str, str]) -> None:
        got.append(await flights.join("k", work))

    async with flights_of() as flights:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask, flights)
            await wait_all_tasks_blocked()
            assert "k" in flights
            assert len(flights) == 1
            work.go.set()
        assert got == ["value"] * 5
        assert work.runs == 1
        assert len(flights) == 0


async def test_each_waiter_raises_a_copy_of_his_own() -> None:
    original = NotFound("no such thing", status=404, request_id="r-1")
    work, caught = Work(original), []

    async def ask(flights: Flights[str, str]) -> None:
        with pytest.raises(NotFound) as info:
            await flights.join("k", work)
        caught.append(info.value)

    async with flights_of() as flights, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask, flights)
        await wait_all_tasks_blocked()
        work.go.set()
    assert len({id(error) for error in caught} | {id(original)}) == 4
    assert all((str(e), e.status, e.request_id) == ("no such thing", 404, "r-1") for e in caught)
    assert all(error.__cause__ is original for error in caught)


async def test_a_cancelled_first_caller_strands_nobody() -> None:
    work, first = Work(), trio.CancelScope()

    async def leave(flights: Flights[str, str]) -> None:
        with first:
            await flights.join("k", work)

    async with flights_of() as flights, trio.open_nursery() as nursery:
        nursery.start_soon(leave, flights)
        await wait_all_tasks_blocked()

        async def stay() -> None:
            assert await flights.join("k", work) == "value"

        nursery.start_soon(stay)
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        assert not work.was_cancelled
        work.go.set()
    assert work.runs == 1


async def test_when_the_last_waiter_leaves_the_work_stops_and_the_next_caller_starts_anew() -> None:
    work, scope = Work(), trio.CancelScope()
    async with flights_of() as flights:
        async with trio.open_nursery() as nursery:

            async def leave() -> None:
                with scope:
                    await flights.join("k", work)

            nursery.start_soon(leave)
            await wait_all_tasks_blocked()
            scope.cancel()
        assert "k" not in flights
        again = Work("again")
        again.go.set()
        assert await flights.join("k", again) == "again"
        assert work.was_cancelled


async def test_waiters_of_a_service_that_ends_are_told() -> None:
    async with trio.open_nursery() as outer:
        services = await outer.start(service)
        flights: Flights[str, str] = Flights("test", services)

        async def ask() -> None:
            with pytest.raises(FlightAborted):
                await flights.join("k", Work())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            services.nursery.cancel_scope.cancel()
        assert len(flights) == 0


async def service(task_status: trio.TaskStatus[Supervisor]) -> None:
    async with trio.open_nursery() as nursery:
        task_status.started(Supervisor(nursery, Metrics()))
        await trio.sleep_forever()


async def test_a_service_that_has_ended_aborts_and_leaves_no_flight_to_wait_for() -> None:
    async with supervised(Metrics()) as supervisor:
        flights: Flights[str, str] = Flights("test", supervisor)
    for _ in range(2):
        with pytest.raises(FlightAborted), trio.fail_after(5):
            await flights.join("k", Work())
    assert "k" not in flights


async def test_different_keys_fly_apart() -> None:
    one, two = Work("one"), Work("two")
    one.go.set()
    two.go.set()
    async with flights_of() as flights:
        assert (await flights.join("1", one), await flights.join("2", two)) == ("one", "two")
    assert one.runs == two.runs == 1


def test_an_error_that_cannot_be_copied_is_shared() -> None:
    error = NoToken(7)
    assert own_copy(error) is error
    assert error.uid == 7


async def test_a_flight_goes_on_for_those_who_come_next_while_that_is_of_use() -> None:
    async with flights_of() as flights:
        for is_of_use in (True, False):
            work = Work()
            with trio.move_on_after(0):
                await flights.join("k", work, goes_on=lambda: is_of_use)  # noqa: B023 - called in this round only
            await wait_all_tasks_blocked()
            assert ("k" in flights) is is_of_use
            assert work.was_cancelled is not is_of_use
            work.go.set()
            if is_of_use:
                assert await flights.join("k", Work("another")) == "value"
