"""Work that is cancelled in its middle, and may end all the same."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import MockClock

from fuse4dbricks.concurrency.completion import run_to_end


async def test_it_gives_what_the_work_gives() -> None:
    async def work() -> int:
        await trio.lowlevel.checkpoint()
        return 5

    assert await run_to_end(work, within=1) == 5


async def test_an_error_comes_as_it_is() -> None:
    async def work() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("x")

    with pytest.raises(KeyError):
        await run_to_end(work, within=1)


@pytest.mark.parametrize(("needs", "is_done"), [(0.5, True), (1.5, False)])
async def test_once_cancelled_it_has_some_time_for_its_end(
    needs: float, is_done: bool, autojump_clock: MockClock
) -> None:
    done = False

    async def work() -> None:
        nonlocal done
        await trio.sleep(10 + needs)
        done = True

    began = trio.current_time()
    with trio.move_on_after(10) as scope:
        await run_to_end(work, within=1)
    assert scope.cancelled_caught
    assert done is is_done
    assert trio.current_time() - began == pytest.approx(10 + min(needs, 1))


async def test_work_that_nobody_cancels_takes_as_long_as_it_takes(autojump_clock: MockClock) -> None:
    await run_to_end(partial(trio.sleep, 1000), within=1)
    assert trio.current_time() >= 1000
