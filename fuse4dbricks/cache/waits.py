"""Those who wait for the workspace, and how long nothing has come for each.

The difficulty: who waits for the headers of a reply waits in vain as soon as nobody can be reached; but a download is
one wait, too, and brings bytes all the time, over a connection that may outlive the way to new ones. To note the time at
each of its pieces (32,768 for 512 MiB) would cost more than it tells. So whoever looks at the waits, every other second,
asks a download how much has come so far.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

#: Nothing for so long, in seconds, is a reason to look whether there is a way at all.
SILENCE_SECONDS = 2.0


class Wait:
    """Somebody who waits.

    Attributes:
        scope: what he is woken from when it is in vain.
        since: when something came last, or the wait began; monotonic seconds.
        get_received: bytes that have come so far; None where there is but one answer.
    """

    __slots__ = ("_received", "get_received", "scope", "since")

    def __init__(self, now: float) -> None:
        self.scope = trio.CancelScope()
        self.since = now
        self.get_received: Callable[[], int] | None = None
        self._received = 0

    def is_silent(self, now: float, seconds: float) -> bool:
        """Whether nothing has come for so long."""
        return now - self.since >= seconds

    def has_progressed(self, now: float) -> bool:
        """Whether something has come since this was asked last."""
        received = 0 if self.get_received is None else self.get_received()
        if received == self._received:
            return False
        self._received, self.since = received, now
        return True

    def is_lost(self, now: float) -> bool:
        """Whether it is in vain, once nobody can be reached anew: a download that goes on is not."""
        return not self._received or self.is_silent(now, SILENCE_SECONDS)


class Waits:
    """All of them.

    Attributes:
        some: set while there are any.
    """

    def __init__(self) -> None:
        self._waits: set[Wait] = set()
        self.some = trio.Event()

    def begin(self, now: float) -> Wait:
        """Somebody begins to wait."""
        wait = Wait(now)
        self._waits.add(wait)
        self.some.set()
        return wait

    def end(self, wait: Wait) -> None:
        """He has what he wanted, or has given up."""
        self._waits.discard(wait)
        if not self._waits:
            self.some = trio.Event()

    def have_progressed(self, now: float) -> bool:
        """Whether something has come for anybody since this was asked last."""
        return sum(wait.has_progressed(now) for wait in self._waits) > 0  # each of them is asked

    def is_any_silent(self, now: float, seconds: float) -> bool:
        """Whether nothing has come for somebody for so long."""
        return any(wait.is_silent(now, seconds) for wait in self._waits)

    def end_lost(self, now: float) -> None:
        """Wake those for whom it is in vain."""
        for wait in self._waits:
            if wait.is_lost(now):
                wait.scope.cancel()
