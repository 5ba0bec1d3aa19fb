"""What an outage is, what it prolongs, and who is told when."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from fuse4dbricks.cache.connectivity import HOLD_SECONDS, Connectivity, is_outage
from fuse4dbricks.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidToken,
    NotAsked,
    NotFound,
    PermissionDenied,
    ProtocolViolation,
    ServerFailure,
    Throttled,
    Unreachable,
)
from fuse4dbricks.weather import Mode, State
from tests.support.fakes import HandClock

NO_ROUTE = Unreachable("no route")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_what_is_an_outage() -> None:
    weather = (
        NO_ROUTE,
        NotAsked("x"),
        ConnectionLost("x"),
        DeadlineExceeded("x"),
        Throttled("x"),
        ServerFailure("x"),
    )
    assert all(is_outage(error) for error in weather)
    answers = (NotFound("x"), PermissionDenied("x"), InvalidToken("x"), ProtocolViolation("x"), OSError())
    assert not any(is_outage(error) for error in answers)


def test_a_failure_to_connect_is_believed_for_a_while(clock: HandClock) -> None:
    connectivity = Connectivity(clock)
    assert (connectivity.state, connectivity.get_outage()) == (State.ONLINE, None)
    connectivity.note_failure(NO_ROUTE)
    assert connectivity.state is State.OFFLINE
    with pytest.raises(NotAsked, match="no route"):
        connectivity.raise_if_down()
    clock.step(HOLD_SECONDS)
    connectivity.raise_if_down()
    assert connectivity.state is State.OFFLINE, "until there is an answer"
    connectivity.note_answer()
    assert str(connectivity.state) == "online"


def test_it_is_believed_for_as_long_as_it_is_seen(clock: HandClock) -> None:
    connectivity = Connectivity(clock)
    connectivity.note_failure(NO_ROUTE)
    connectivity.note_failure(NO_ROUTE, 60)
    clock.step(59)
    assert connectivity.is_down
    clock.step(1)
    assert not connectivity.is_down


def test_silence_and_broken_calls_are_doubts_only(clock: HandClock) -> None:
    connectivity = Connectivity(clock)
    for error in (DeadlineExceeded("x"), ConnectionLost("x"), ServerFailure("x")):
        connectivity.note_failure(error)
        assert connectivity.state is State.DEGRADED
        assert connectivity.doubted.is_set()
        connectivity.raise_if_down()
    connectivity.note_answer()
    assert connectivity.state is State.ONLINE


def test_a_doubt_does_not_end_an_outage(clock: HandClock) -> None:
    connectivity = Connectivity(clock)
    connectivity.note_failure(NO_ROUTE)
    connectivity.note_failure(DeadlineExceeded("x"))
    assert connectivity.state is State.OFFLINE


def test_what_was_not_asked_is_no_news(clock: HandClock) -> None:
    connectivity = Connectivity(clock)
    connectivity.note_failure(NotAsked("x"))
    assert connectivity.state is State.ONLINE
    connectivity.note_failure(NO_ROUTE)
    clock.step(HOLD_SECONDS - 1)
    connectivity.note_failure(NotAsked("x"))
    clock.step(1)
    assert not connectivity.is_down


def test_told_to_be_offline_it_is(clock: HandClock) -> None:
    connectivity = Connectivity(clock, Mode.ALWAYS)
    connectivity.note_answer()
    clock.step(1e9)
    assert connectivity.state is State.OFFLINE
    assert connectivity.is_forced
    assert connectivity.get_hold() == HOLD_SECONDS
    with pytest.raises(NotAsked, match="told to be offline"):
        connectivity.raise_if_down()


def test_told_never_to_be_offline_it_prolongs_nothing(clock: HandClock) -> None:
    connectivity = Connectivity(clock, Mode.NEVER)
    connectivity.note_failure(NO_ROUTE)
    assert connectivity.get_hold() == 0
    with pytest.raises(NotAsked):
        connectivity.raise_if_down()


def test_an_outage_prolongs_what_is_known_and_nothing_else_does(clock: HandClock) -> None:
    connectivity = Connectivity(clock)
    assert connectivity.get_hold() == 0
    connectivity.note_failure(DeadlineExceeded("x"))
    assert connectivity.get_hold() == 0
    connectivity.note_failure(NO_ROUTE)
    assert connectivity.get_hold() == HOLD_SECONDS
    assert connectivity.asked.is_set(), "somebody wants to know when it is over"


def test_each_change_is_one_line_of_the_log(clock: HandClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fuse4dbricks")
    connectivity = Connectivity(clock)
    for _ in range(3):
        for _ in range(5):
            connectivity.note_failure(NO_ROUTE)
        for _ in range(5):
            connectivity.note_answer()
    assert [line.split(":")[0] for line in caplog.messages] == ["offline", "online"] * 3


# --- those who wait ------------------------------------------------------------------------------


async def test_who_waits_is_let_go_when_it_turns_out(clock: HandClock) -> None:
    connectivity = Connectivity(clock)
    outcomes: list[str] = []

    async def wait() -> None:
        try:
            with connectivity.reaching():
                await trio.sleep_forever()
        except NotAsked as error:
            outcomes.append(str(error))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        connectivity.note_failure(DeadlineExceeded("slow"))
        await wait_all_tasks_blocked()
        assert outcomes == []
        connectivity.note_failure(NO_ROUTE)
    assert outcomes == ["no route"] * 3
    assert not connectivity.is_silent(0)


async def test_who_was_answered_keeps_his_answer(clock: HandClock) -> None:
    connectivity = Connectivity(clock)
    with connectivity.reaching():
        await trio.lowlevel.checkpoint()
        connectivity.note_failure(NO_ROUTE)
    with pytest.raises(NotAsked), connectivity.reaching():
        pytest.fail("nothing may be sent")


async def test_silence_is_one_who_waits_and_nobody_who_is_answered(clock: HandClock) -> None:
    connectivity = Connectivity(clock)
    assert not connectivity.is_silent(2)
    with connectivity.reaching():
        await connectivity.awaited()
        clock.step(1)
        assert not connectivity.is_silent(2)
        clock.step(1)
        assert connectivity.is_silent(2)
        connectivity.note_answer()
        assert not connectivity.is_silent(2)
    clock.step(10)
    assert not connectivity.is_silent(2)
    with trio.move_on_after(0) as nobody:
        await connectivity.awaited()
    assert nobody.cancelled_caught


async def test_a_part_of_an_answer_is_one(clock: HandClock) -> None:
    connectivity = Connectivity(clock)
    received = 0
    with connectivity.reaching(), connectivity.receiving() as wait:
        wait.get_received = lambda: received
        clock.step(2)
        received = 1
        assert not connectivity.is_silent(2)
        clock.step(2)
        assert connectivity.is_silent(2)
