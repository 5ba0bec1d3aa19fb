import logging

import pytest

from fuse4dbricks.cache.storing.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Breaker
from tests.support.indexes import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def breaker(clock: HandClock) -> Breaker:
    return Breaker("reading", clock)


def test_single_failures_are_forgiven(breaker: Breaker) -> None:
    for _ in range(10):
        for _ in range(FAILURES - 1):
            breaker.failed("one bad sector")
        breaker.succeeded()
    assert breaker.is_closed
    assert breaker.allows()


def test_failures_in_a_row_open_it_and_say_so_once(
    breaker: Breaker, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(FAILURES + 5):
        breaker.failed("Input/output error")
    assert not breaker.is_closed
    assert not breaker.allows()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "not used for reading" in record.getMessage()
    assert "Input/output error" in record.getMessage()


def test_one_failure_is_enough_where_waiting_for_more_is_dear(breaker: Breaker) -> None:
    breaker.failed("no answer", at_once=True)
    assert not breaker.allows()


def answers(breaker: Breaker) -> list[bool]:
    return [breaker.is_due, breaker.allows(), breaker.allows()]


def test_one_caller_per_pause_tries_and_the_pauses_grow(breaker: Breaker, clock: HandClock) -> None:
    breaker.failed("dead", at_once=True)
    pause = FIRST_PAUSE
    for _ in range(8):
        clock.step(pause - 0.1)
        assert answers(breaker) == [False, False, False]
        clock.step(0.1)
        assert answers(breaker) == [True, True, False]
        breaker.failed("still dead")
        pause = min(2 * pause, LONGEST_PAUSE)
    assert pause == LONGEST_PAUSE


def test_those_who_were_under_way_when_it_opened_do_not_lengthen_the_pause(
    breaker: Breaker, clock: HandClock
) -> None:
    for _ in range(10):
        breaker.failed("no answer", at_once=True)
    clock.step(FIRST_PAUSE)
    assert answers(breaker) == [True, True, False]


def test_a_try_whose_outcome_is_never_known_is_followed_by_another(
    breaker: Breaker, clock: HandClock
) -> None:
    breaker.failed("dead", at_once=True)
    for _ in range(3):
        clock.step(FIRST_PAUSE)
        assert breaker.allows()


def test_success_closes_it_and_the_next_pause_is_short_again(
    breaker: Breaker, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    breaker.failed("dead", at_once=True)
    breaker.failed("dead")
    clock.step(LONGEST_PAUSE)
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.is_closed
    assert "works again" in caplog.text
    breaker.failed("dead", at_once=True)
    clock.step(FIRST_PAUSE)
    assert breaker.allows()


def test_what_ends_the_cause_ends_the_pause(breaker: Breaker) -> None:
    breaker.failed("full", at_once=True)
    assert answers(breaker) == [False, False, False]
    breaker.retry_now()
    assert answers(breaker) == [True, True, False]
