"""Who keeps the pins looks when there are some."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fuse4dbricks.app.warming.keeper import LOOK, PinKeeper
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.errors import IndexUnavailable, Unreachable
from fuse4dbricks.index.records import Pin
from fuse4dbricks.paths import RemotePath
from tests.support.indexes import HandClock

PATH = RemotePath(("main", "sales", "raw"))


class Pins:
    """What the index knows of pins; ``found`` None: it cannot say now."""

    def __init__(self) -> None:
        self.found: list[Pin] | None = []
        self.looks = 0
        self.max_bytes: int | None = None
        self.is_writable = True

    async def limit(self, max_bytes: int) -> None:
        if not self.is_writable:
            raise IndexUnavailable("not recorded: database or disk is full")
        self.max_bytes = max_bytes

    def load_all(self) -> list[Pin] | None:
        self.looks += 1
        return self.found


def next_look() -> float:
    """Seconds until anything wakes by itself."""
    return trio.lowlevel.current_statistics().seconds_to_next_deadline


async def test_without_pins_nobody_looks_until_he_is_asked_to(autojump_clock: MockClock) -> None:
    pins, clock = Pins(), HandClock()
    connectivity = Connectivity(clock)
    keeper = PinKeeper(
        cast(Any, SimpleNamespace(pins=pins)), connectivity=connectivity, clock=clock, max_bytes=1
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await wait_all_tasks_blocked()
        assert next_look() == math.inf
        answers: tuple[list[Pin] | None, ...] = (None, [])
        for found in answers:
            pins.found = found
            before = pins.looks
            keeper.ask()
            await wait_all_tasks_blocked()
            assert pins.looks > before
            # An index that cannot be asked says nothing about there being none.
            assert next_look() == (LOOK if found is None else math.inf)
        nursery.cancel_scope.cancel()


async def test_with_a_pin_he_looks_again_and_again(autojump_clock: MockClock) -> None:
    pins, clock = Pins(), HandClock()
    connectivity = Connectivity(clock)
    keeper = PinKeeper(
        cast(Any, SimpleNamespace(pins=pins)), connectivity=connectivity, clock=clock, max_bytes=1
    )
    pins.found = [Pin(PATH, created_by=42, created_at=clock.wall(), expires_at=None, is_settled=True)]
    connectivity.note_failure(Unreachable("no network"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await trio.sleep(10 * LOOK)
        assert pins.looks >= 9
        assert keeper.get_state(PATH).why
        nursery.cancel_scope.cancel()


async def test_an_index_that_takes_no_ceiling_is_told_it_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    pins, clock = Pins(), HandClock()
    pins.is_writable = False
    keeper = PinKeeper(
        cast(Any, SimpleNamespace(pins=pins)), connectivity=Connectivity(clock), clock=clock, max_bytes=7
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await wait_all_tasks_blocked()
        assert "database or disk is full" in caplog.text
        pins.is_writable = True
        await trio.sleep(LOOK + 1)
        assert pins.max_bytes == 7
        nursery.cancel_scope.cancel()


async def test_a_pin_that_ends_sooner_than_the_next_look_is_let_go_in_time(autojump_clock: MockClock) -> None:
    pins, clock = Pins(), HandClock()
    connectivity = Connectivity(clock)
    keeper = PinKeeper(
        cast(Any, SimpleNamespace(pins=pins)), connectivity=connectivity, clock=clock, max_bytes=1
    )
    ends = [clock.wall() + seconds for seconds in (LOOK + 60, 3)]
    pins.found = [Pin(PATH.child(f"{at}"), 42, clock.wall(), at, is_settled=True) for at in ends]
    connectivity.note_failure(Unreachable("no network"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await wait_all_tasks_blocked()
        assert 2.9 < next_look() <= 3
        pins.found.pop()
        keeper.ask()
        await wait_all_tasks_blocked()
        assert LOOK - 1 < next_look() <= LOOK
        nursery.cancel_scope.cancel()
