"""Who finds out that it is over, how soon, and what it costs: on a clock that jumps from one timer to the next."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fuse4dbricks.cache.connectivity import PATIENCE_SECONDS, Connectivity
from fuse4dbricks.cache.lookout import (
    ASK_SECONDS,
    BELIEVED_SECONDS,
    IDLE_PAUSE,
    LONGEST_PAUSE,
    LOOK_SECONDS,
    Lookout,
)
from fuse4dbricks.cache.waits import SILENCE_SECONDS
from fuse4dbricks.errors import (
    ConnectionLost,
    DeadlineExceeded,
    NotAsked,
    NotTheService,
    RemoteError,
    ServerFailure,
    Throttled,
    Unreachable,
)
from fuse4dbricks.weather import Mode, State


class TrioClock:
    """Both clocks are trio's."""

    def monotonic(self) -> float:
        return trio.current_time()

    def wall(self) -> float:
        return trio.current_time()


class Door:
    """A way that is open, closed, or swallows whoever goes through it; and who answers at its end."""

    def __init__(self) -> None:
        self.failure: Unreachable | None = None
        self.is_black_hole = False
        self.knocks: list[float] = []
        self.bad_answer: Unreachable | None = None
        self.is_mute = False
        self.questions: list[float] = []

    async def knock(self) -> None:
        self.knocks.append(trio.current_time())
        if self.is_black_hole:
            await trio.sleep_forever()
        if self.failure is not None:
            raise self.failure

    async def ask(self) -> None:
        self.questions.append(trio.current_time())
        if self.is_mute:
            await trio.sleep_forever()
        await trio.sleep(1)
        if self.bad_answer is not None:
            raise self.bad_answer


@asynccontextmanager
async def looking(mode: Mode = Mode.AUTO) -> AsyncIterator[tuple[Connectivity, Door]]:
    clock, door = TrioClock(), Door()
    connectivity = Connectivity(clock, mode)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Lookout(connectivity, door, clock).run)
        await wait_all_tasks_blocked()
        yield connectivity, door
        nursery.cancel_scope.cancel()


async def test_while_all_is_well_nobody_looks(autojump_clock: MockClock) -> None:
    async with looking() as (_, door):
        await trio.sleep(80_000)
        assert door.knocks == []


async def test_the_end_of_an_outage_is_seen_soon_while_somebody_asks(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        door.failure = Unreachable("no route")
        connectivity.note_failure(door.failure)
        for _ in range(600):
            connectivity.get_outage()
            await trio.sleep(1)
        pauses = [later - sooner for sooner, later in zip(door.knocks, door.knocks[1:], strict=False)]
        assert pauses[0] <= 2
        assert max(pauses) <= LONGEST_PAUSE + 1
        door.failure = None
        back_at = trio.current_time()
        for _ in range(int(10 * LONGEST_PAUSE) + 10):
            if connectivity.get_outage() is None:
                break
            await trio.sleep(0.1)
        assert trio.current_time() - back_at <= LONGEST_PAUSE + 1
        assert connectivity.state is State.ONLINE
        count = len(door.knocks)
        await trio.sleep(80_000)
        assert len(door.knocks) == count


async def test_an_outage_that_nobody_minds_costs_a_look_a_minute(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        door.failure = Unreachable("no route")
        connectivity.note_failure(door.failure)
        await trio.sleep(3600)
        assert len(door.knocks) <= 3600 / IDLE_PAUSE + 2
        assert connectivity.is_down, "nobody has to find out for himself"
        door.failure = None
        await trio.sleep(IDLE_PAUSE + 1)
        assert connectivity.state is State.ONLINE


async def test_after_an_idle_hour_whoever_asks_hastens_the_look(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        door.failure = Unreachable("no route")
        connectivity.note_failure(door.failure)
        await trio.sleep(3600 + LONGEST_PAUSE)
        door.failure = None
        connectivity.get_outage()
        await trio.sleep(LONGEST_PAUSE + 1)
        assert connectivity.state is State.ONLINE


async def test_a_black_hole_is_an_outage(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        door.is_black_hole = True
        connectivity.note_failure(ConnectionLost("cut"))
        await trio.sleep(LOOK_SECONDS + 0.1)
        assert connectivity.state is State.OFFLINE
        assert BELIEVED_SECONDS > IDLE_PAUSE + LOOK_SECONDS
        for _ in range(1000):
            assert connectivity.is_down, "between two looks, too"
            await trio.sleep(1.7)


async def test_a_doubt_that_is_settled_is_no_outage(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        for _ in range(100):
            connectivity.note_failure(ConnectionLost("cut"))
            await trio.sleep(0.1)
        assert connectivity.state is State.DEGRADED, "calls fail, and the workspace is there"
        assert 1 <= len(door.knocks) <= 4


@pytest.mark.parametrize("failure", [ServerFailure("502"), Throttled("503"), NotTheService("302")])
async def test_a_service_that_answers_nobody_is_out_of_reach(
    failure: RemoteError, autojump_clock: MockClock
) -> None:
    async with looking() as (connectivity, door):
        door.bad_answer = Unreachable("503")
        connectivity.note_failure(failure)
        await trio.sleep(ASK_SECONDS)
        assert connectivity.is_down
        for _ in range(300):
            assert connectivity.get_outage() is not None, "though there is a connection to be had"
            await trio.sleep(1)
        assert len(door.questions) <= 300 / LONGEST_PAUSE + 10
        door.bad_answer = None
        connectivity.get_outage()
        await trio.sleep(LONGEST_PAUSE + 2)
        assert connectivity.get_outage() is None
        count = len(door.questions)
        await trio.sleep(80_000)
        assert len(door.questions) == count


async def test_a_service_that_fails_every_other_call_is_not_out_of_reach(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        door.bad_answer = Unreachable("503")
        connectivity.note_failure(Throttled("503"))
        await trio.sleep(1.5)
        assert len(door.questions) == 1
        door.bad_answer = None
        for _ in range(100):
            assert not connectivity.is_down
            await trio.sleep(1)


async def test_who_issues_no_token_may_be_out_of_reach_with_the_workspace(autojump_clock: MockClock) -> None:
    """Nobody can call the workspace without one, so no call will say so."""
    async with looking() as (connectivity, door):
        connectivity.note_doubt()
        await trio.sleep(ASK_SECONDS)
        assert not connectivity.is_down
        door.bad_answer = Unreachable("a login page")
        connectivity.note_doubt()
        await trio.sleep(ASK_SECONDS)
        assert connectivity.get_outage() is not None


async def test_a_mute_service_is_out_of_reach(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        door.is_mute = True
        connectivity.note_failure(DeadlineExceeded("the reply took too long"))
        await trio.sleep(ASK_SECONDS + 1)
        for _ in range(100):
            assert connectivity.is_down, "between two looks, too"
            await trio.sleep(1.7)


async def test_who_got_an_answer_while_the_lookout_asked_in_vain_is_believed(
    autojump_clock: MockClock,
) -> None:
    async with looking() as (connectivity, door):
        door.is_mute = True
        connectivity.note_failure(DeadlineExceeded("the reply took too long"))
        await trio.sleep(ASK_SECONDS / 2)
        connectivity.note_answer()
        await trio.sleep(ASK_SECONDS)
        assert not connectivity.is_down


async def test_nobody_is_asked_for_a_long_wait_or_a_connection_that_failed(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        with connectivity.reaching():
            await trio.sleep(20)
        connectivity.note_failure(Unreachable("no route"))
        await trio.sleep(100)
        assert not connectivity.is_down
        assert door.questions == []


async def test_who_has_something_to_show_waits_less_each_time_until_there_is_an_answer(
    autojump_clock: MockClock,
) -> None:
    async with looking() as (connectivity, _):

        async def wait() -> float:
            began = trio.current_time()
            with pytest.raises(NotAsked), connectivity.reaching(is_awaited=False):
                await trio.sleep(1000)
            return trio.current_time() - began

        waits = [await wait() for _ in range(100)]
        assert waits[0] == PATIENCE_SECONDS
        assert sum(waits[1:]) < PATIENCE_SECONDS
        connectivity.note_answer()
        assert await wait() == PATIENCE_SECONDS
        with connectivity.reaching():
            await trio.sleep(PATIENCE_SECONDS + 1)


async def test_a_long_wait_is_a_reason_to_look(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        door.is_black_hole = True
        with pytest.raises(Unreachable), connectivity.reaching():
            await trio.sleep(1000)
        assert trio.current_time() <= 2 * SILENCE_SECONDS + LOOK_SECONDS


async def download(connectivity: Connectivity, pieces: int) -> None:
    """As many pieces, one a second, and then silence."""
    received = 0
    with connectivity.receiving() as wait:
        wait.get_received = lambda: received
        for _ in range(pieces):
            await trio.sleep(SILENCE_SECONDS / 2)
            received += 1
        await trio.sleep(1000)


async def test_a_download_that_goes_on_is_no_reason_to_look(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        with trio.move_on_after(100):
            await download(connectivity, 200)
        assert door.knocks == []


@pytest.mark.parametrize("pieces", [0, 1, 10])
async def test_a_download_that_brings_nothing_more_ends_with_the_way(
    pieces: int, autojump_clock: MockClock
) -> None:
    async with looking() as (connectivity, door):
        door.is_black_hole = True
        with pytest.raises(NotAsked):
            await download(connectivity, pieces)
        assert trio.current_time() <= (pieces / 2 + 3) * SILENCE_SECONDS + LOOK_SECONDS
        with pytest.raises(NotAsked):
            await download(connectivity, 1)


async def test_a_download_outlives_the_way_to_new_ones_while_it_goes_on(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        door.failure = Unreachable("no route")

        async def fail() -> None:
            while True:
                await trio.sleep(1.1 * SILENCE_SECONDS)
                connectivity.note_failure(Unreachable("no route"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            with pytest.raises(NotAsked):
                await download(connectivity, 100)
            assert 50 * SILENCE_SECONDS < trio.current_time() <= 53 * SILENCE_SECONDS
            nursery.cancel_scope.cancel()


async def test_a_slow_workspace_is_not_taken_for_gone(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        with connectivity.reaching():
            await trio.sleep(20)
        assert door.knocks
        assert connectivity.state is State.ONLINE


async def test_a_line_that_flaps_is_not_dialled_each_second(autojump_clock: MockClock) -> None:
    async with looking() as (connectivity, door):
        for _ in range(60):
            door.failure = Unreachable("no route")
            connectivity.note_failure(door.failure)
            connectivity.get_outage()
            await trio.sleep(9)
            connectivity.get_outage()
            door.failure = None
            connectivity.note_answer()
            await trio.sleep(1)
        assert len(door.knocks) < 200


async def test_told_to_be_offline_it_never_looks(autojump_clock: MockClock) -> None:
    async with looking(Mode.ALWAYS) as (connectivity, door):
        connectivity.doubted.set()
        connectivity.note_doubt()
        with pytest.raises(Unreachable):
            connectivity.raise_if_down()
        await trio.sleep(1e4)
        assert door.knocks == []
