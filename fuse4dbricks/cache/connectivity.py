"""Whether the workspace can be reached, judged by what the calls of others have seen.

The difficulty: when the network is gone each call takes its full deadline to say so, and a directory walk would
wait that long at every step. So what one call has found counts for all: OFFLINE, what is known is served and what is
not fails at once with :class:`~fuse4dbricks.errors.NotAsked`, which is no news. Nor does any reader have to find out
when it is over: the :class:`~fuse4dbricks.cache.lookout.Lookout` does, in nobody's name.

Hysteresis: a call that stayed without an answer makes it DEGRADED, and only a failure to connect, of a call with all
its retries or of the lookout, OFFLINE; only an answer makes it ONLINE again. A service that takes connections and then
answers nobody is OFFLINE, too, once a call has failed with all its retries and the lookout has asked in vain.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from fuse4dbricks.cache.waits import Wait, Waits
from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import (
    ConnectionLost,
    DeadlineExceeded,
    NotAsked,
    NotTheService,
    RemoteError,
    ServerFailure,
    Unreachable,
)
from fuse4dbricks.weather import Mode, State

logger = logging.getLogger("fuse4dbricks.connectivity")

#: How long a failure to reach the workspace is believed, in seconds, unless it is seen again; and how long the kernel
#: may keep what is served meanwhile.
HOLD_SECONDS = 5.0

#: How long somebody waits for an answer who has something to show without it, in seconds. Each wait in vain makes the
#: next one a quarter as long, down to the shortest, until there is an answer: a path has several places, and a tree
#: many paths.
PATIENCE_SECONDS = 5.0
SHORTEST_PATIENCE_SECONDS = 0.02

_FORCED = "the mount is told to be offline"


_OUTAGES = (Unreachable, ConnectionLost, DeadlineExceeded, ServerFailure, NotTheService)


def is_outage(error: BaseException) -> bool:
    """Whether ``error`` is about the weather: it says nothing of the object or of the principal."""
    return isinstance(error, _OUTAGES)


class Connectivity:
    """Remembers the last outage.

    Attributes:
        doubted: set while a look at the way to the workspace is worth its while.
        asked: set when somebody was refused, or got what is past its time to live, because of the outage.
    """

    def __init__(self, clock: Clock, mode: Mode = Mode.AUTO) -> None:
        self._clock = clock
        self._mode = mode
        self._state = State.OFFLINE if self.is_forced else State.ONLINE
        self._down_until = float("inf") if self.is_forced else float("-inf")
        self._message = _FORCED if self.is_forced else ""
        self._waits = Waits()
        self._answered_at = float("-inf")
        self._vain_waits = 0
        self._is_disputed = False
        self.doubted = trio.Event()
        self.asked = trio.Event()

    # --- what holds ------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What is known of the way to the workspace."""
        return self._state

    @property
    def is_forced(self) -> bool:
        """Whether nothing may ever be sent, however good the network."""
        return self._mode is Mode.ALWAYS

    @property
    def is_down(self) -> bool:
        """Whether nothing is to be sent now."""
        return self._state is State.OFFLINE and self._clock.monotonic() < self._down_until

    def is_worth_asking(self) -> bool:
        """Whether an answer may still come."""
        return not self.is_down

    @property
    def is_disputed(self) -> bool:
        """Whether a call has failed, though there was a connection to be had, and none has got an answer since."""
        return self._is_disputed

    @property
    def serves_expired(self) -> bool:
        """Whether an outage prolongs what is known."""
        return self._mode is not Mode.NEVER

    def get_hold(self) -> float:
        """Seconds for which what is past its time to live is good nevertheless; 0 while it can be asked for."""
        if not self.serves_expired or not self.is_down:
            return 0.0
        self.asked.set()
        return HOLD_SECONDS

    def get_outage(self) -> NotAsked | None:
        """The outage that still holds, for the caller to raise, or None when it is worth trying."""
        if not self.is_down:
            return None
        self.asked.set()
        # A new one each time: an exception that is raised a thousand times keeps a thousand tracebacks.
        return NotAsked(self._message)

    def raise_if_down(self) -> None:
        """Return when it is worth trying.

        Raises:
            NotAsked: the outage still holds.
        """
        outage = self.get_outage()
        if outage is not None:
            raise outage

    # --- waiting ---------------------------------------------------------------------------------

    @contextmanager
    def reaching(self, *, is_awaited: bool = True) -> Iterator[None]:
        """A block that waits for an answer, and is left when the workspace turns out to be out of reach.

        With ``is_awaited`` off there is something to show without an answer, and the block is left soon.

        Raises:
            NotAsked: it is out of reach, or there was no answer in time.
        """
        self.raise_if_down()
        patience = float("inf") if is_awaited else self.get_patience()
        with trio.move_on_after(patience) as too_long, self._awaiting():
            yield
        if too_long.cancelled_caught:
            self.note_vain_wait()
            raise NotAsked("no answer in time")

    @contextmanager
    def receiving(self) -> Iterator[Wait]:
        """A block in which bytes come for as long as it takes; it is left when none do, and the workspace is out of reach.

        What is yielded is to be told how much has come (:attr:`~fuse4dbricks.cache.waits.Wait.get_received`).

        Raises:
            NotAsked: it is out of reach.
        """
        self.raise_if_down()
        with self._awaiting() as wait:
            yield wait

    @contextmanager
    def _awaiting(self) -> Iterator[Wait]:
        wait = self._waits.begin(self._clock.monotonic())
        try:
            with wait.scope:
                yield wait
        finally:
            self._waits.end(wait)
        if wait.scope.cancelled_caught:
            raise NotAsked(self._message)

    def get_patience(self) -> float:
        """Seconds that somebody waits who has something to show without an answer."""
        shortened = PATIENCE_SECONDS / 4.0 ** min(self._vain_waits, 10)
        return max(SHORTEST_PATIENCE_SECONDS, shortened)

    async def awaited(self) -> None:
        """Return when somebody waits for an answer."""
        await self._waits.some.wait()

    def is_silent(self, seconds: float) -> bool:
        """Whether somebody has waited for so long while nobody got an answer, or a part of one."""
        now = self._note_progress()
        return now - self._answered_at >= seconds and self._waits.is_any_silent(now, seconds)

    def end_lost_waits(self) -> None:
        """In an outage, those for whom nothing comes any more wait no longer."""
        if self.is_down:
            self._waits.end_lost(self._note_progress())

    def _note_progress(self) -> float:
        """What has come for those who wait is an answer; returns the time."""
        now = self._clock.monotonic()
        if self._waits.have_progressed(now):
            self._answered_at = now
        return now

    # --- evidence --------------------------------------------------------------------------------

    def note_answer(self) -> None:
        """The workspace answered, whatever it said."""
        self._answered_at = self._clock.monotonic()
        self._vain_waits, self._is_disputed = 0, False
        if self._state is State.ONLINE or self.is_forced:
            return
        was_offline = self._state is State.OFFLINE
        self._state, self._down_until = State.ONLINE, float("-inf")
        if was_offline:
            logger.info("online: the workspace answers again")

    def note_failure(self, error: RemoteError, believed_for: float = HOLD_SECONDS) -> None:
        """A call failed; only a failure to connect says that the next one would, too.

        Args:
            error: how.
            believed_for: seconds for which nobody tries again.
        """
        if isinstance(error, NotAsked) or self.is_forced:
            return
        if not isinstance(error, Unreachable):
            self.note_doubt()
            return
        if self._state is not State.OFFLINE:
            logger.warning("offline: the workspace cannot be reached: %s", error)
        self._state, self._message = State.OFFLINE, str(error)
        self._down_until = self._clock.monotonic() + believed_for
        self.doubted.set()
        self.end_lost_waits()

    def note_vain_wait(self) -> None:
        """Somebody waited as long as he had patience, and then did without an answer."""
        self._vain_waits += 1
        self._doubt()

    def note_doubt(self) -> None:
        """Somebody did not get an answer: it is worth while to ask whether anybody does."""
        self._is_disputed = True
        self._doubt()

    def _doubt(self) -> None:
        if self.is_forced:
            return
        if self._state is State.ONLINE:
            self._state = State.DEGRADED
            logger.info("degraded: some calls to the workspace fail", extra={"rate_limit": 60})
        self.doubted.set()
