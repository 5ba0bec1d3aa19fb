"""The end of a mount: the first signal cancels, later ones change nothing, and a stuck end is cut short."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import trio
import trio.testing

from fuse4dbricks.app.ending import END_SIGNALS, Ending, ended_by_signals


@pytest.mark.parametrize("number", END_SIGNALS)
async def test_a_signal_cancels_the_block_and_not_the_teardown(number: signal.Signals) -> None:
    ending = Ending()
    async with ended_by_signals(ending):
        with ending.interruptible():
            os.kill(os.getpid(), number)
            await trio.Event().wait()
        os.kill(os.getpid(), number)  # again, while the teardown runs
        await trio.testing.wait_all_tasks_blocked()
        torn_down = True
    ending.done()
    assert torn_down
    assert ending.wanted.is_set()


async def test_a_wish_that_came_between_two_blocks_cancels_the_next() -> None:
    ending = Ending()
    with ending.interruptible():
        pass
    ending.begin()
    with ending.interruptible():
        await trio.Event().wait()
    ending.done()


def test_a_stuck_end_is_cut_short() -> None:
    cut = threading.Event()
    Ending(patience=0.0, give_up=cut.set).begin()
    assert cut.wait(10)


def test_what_is_left_of_the_time_grows_less_only_from_the_wish_on() -> None:
    ending = Ending(patience=60.0, give_up=lambda: None)
    assert ending.get_left() == 60.0
    ending.begin()
    first = ending.get_left()
    assert 0.0 < ending.get_left() <= first <= 60.0
    ending.done()
    over = Ending(patience=0.0, give_up=lambda: None)
    over.begin()
    assert over.get_left() == 0.0


def test_an_end_in_time_is_not_cut_short() -> None:
    cut = threading.Event()
    ending = Ending(patience=60.0, give_up=cut.set)
    ending.begin()
    ending.begin()
    ending.done()
    assert not cut.is_set()
