"""Finds out whether the workspace can be reached, so that no reader has to.

The difficulty: an outage shows itself as silence, which takes a call's whole deadline to tell from slowness; and its
end shows itself to nobody who does not try. So somebody looks while there is a reason to: at the start, when a call
waits long or failed, and all through an outage, soon when somebody asks and seldom when nobody does. A look is a
connection, no call: it takes no token and none of the service's patience. While all is well this sleeps without a
timer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import trio

from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.waits import SILENCE_SECONDS
from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import RemoteError, Unreachable
from fuse4dbricks.weather import State

logger = logging.getLogger("fuse4dbricks.connectivity")

#: Seconds for a connection: three attempts of TCP at one, and the TLS handshake.
LOOK_SECONDS = 4.0
#: Seconds for the service to refuse who shows no token, after calls have failed although it can be connected to.
ASK_SECONDS = 10.0
#: How often it is asked before it is given up, and the seconds between: a service that fails every other call is none
#: that answers nobody.
ASK_TIMES = 3
ASK_PAUSE = 1.0
#: Between two looks, seconds: doubles from the first to the longest while somebody asks; else the idle one.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0
IDLE_PAUSE = 60.0
#: What came back for less than this goes on with the pause that it had: a flapping line is not dialled each second.
STEADY_SECONDS = 60.0
#: Between looks because of suspicion or failed calls, seconds.
DOUBT_PAUSE = 4.0

#: A failed look is believed until after the next one.
BELIEVED_SECONDS = IDLE_PAUSE + 2 * (LOOK_SECONDS + ASK_SECONDS)


class Doorbell(Protocol):
    """The way to the workspace."""

    async def knock(self) -> None:
        """Return when there is a connection to be had; raises Unreachable if not."""
        ...

    async def ask(self) -> None:
        """Return when the service answers who shows no token; raises Unreachable if it does not."""
        ...


class Lookout:
    """Looks while there is a reason to."""

    def __init__(self, connectivity: Connectivity, door: Doorbell, clock: Clock) -> None:
        self._connectivity = connectivity
        self._door = door
        self._clock = clock
        self._pause = FIRST_PAUSE
        self._back_at = float("-inf")

    async def run(self) -> None:
        """Look out until cancelled; never, when nothing may be sent."""
        if self._connectivity.is_forced:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_silence)
            while True:
                await self._connectivity.doubted.wait()
                await self._settle_doubt()

    async def _settle_doubt(self) -> None:
        await self.look()
        if self._connectivity.state is State.OFFLINE:
            if self._clock.monotonic() - self._back_at >= STEADY_SECONDS:
                self._pause = FIRST_PAUSE
            await self._sit_out()
            self._back_at = self._clock.monotonic()
        else:
            self._connectivity.doubted = trio.Event()
            await trio.sleep(DOUBT_PAUSE)

    async def _sit_out(self) -> None:
        """Look until the outage is over."""
        while self._connectivity.state is State.OFFLINE:
            self._connectivity.asked = trio.Event()
            await trio.sleep(self._pause)
            with trio.move_on_after(IDLE_PAUSE - self._pause):
                await self._connectivity.asked.wait()
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            if self._connectivity.state is State.OFFLINE:
                await self.look()

    async def look(self) -> None:
        """Look once, and say what was seen."""
        try:
            with _limit(LOOK_SECONDS, "no connection"):
                await self._door.knock()
            is_well = not self._connectivity.is_disputed or await self._is_answered()
        except RemoteError as error:
            self._connectivity.note_failure(error, BELIEVED_SECONDS)
        else:
            if is_well and self._connectivity.state is State.OFFLINE:
                self._connectivity.note_answer()

    async def _is_answered(self) -> bool:
        """Whether the service answers; False when a call has found that out meanwhile.

        Raises:
            RemoteError: nobody gets an answer.
        """
        times = 1 if self._connectivity.state is State.OFFLINE else ASK_TIMES
        try:
            with _limit(ASK_SECONDS, "no answer"):
                await self._ask(times)
        except RemoteError:
            if not self._connectivity.is_disputed:
                return False
            raise
        return True

    async def _ask(self, times: int) -> None:
        for _ in range(times - 1):
            with suppress(RemoteError):
                return await self._door.ask()
            await trio.sleep(ASK_PAUSE)
        return await self._door.ask()

    async def _watch_silence(self) -> None:
        while True:
            await self._connectivity.awaited()
            await trio.sleep(SILENCE_SECONDS)
            if self._connectivity.is_silent(SILENCE_SECONDS):
                self._connectivity.doubted.set()
            self._connectivity.end_lost_waits()


@contextmanager
def _limit(seconds: float, lack: str) -> Iterator[None]:
    """A block that takes so long at most; raises Unreachable, saying what it lacked."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise Unreachable(f"{lack} within {seconds:.0f} s")
