"""Whether the workspace can be reached, judged by what the calls of others have seen.

The difficulty: when the network is gone each call takes its full deadline to say so, and a directory walk would
wait that long at every step. So one failure to reach the workspace holds for a few seconds: what is known is
served meanwhile, and what is not fails at once with :class:`NotAsked`, which is no news. The first caller after
that tries again.
"""

from __future__ import annotations

import logging

from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import ConnectionLost, DeadlineExceeded, RemoteError, ServerFailure, Unreachable

logger = logging.getLogger("fuse4dbricks.connectivity")

#: How long a failure to reach the workspace is believed, in seconds.
HOLD_SECONDS = 5.0


def is_outage(error: BaseException) -> bool:
    """Whether ``error`` is about the weather: it says nothing of the object or of the principal."""
    return isinstance(error, Unreachable | ConnectionLost | DeadlineExceeded | ServerFailure)


class NotAsked(Unreachable):
    """Nothing was sent: the workspace could not be reached a moment ago."""


class Connectivity:
    """Remembers the last outage."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._down_until = float("-inf")
        self._is_down = False
        self._message = ""

    def get_outage(self) -> NotAsked | None:
        """The outage that still holds, for the caller to raise, or None when it is worth trying."""
        # A new one each time: an exception that is raised a thousand times keeps a thousand tracebacks.
        return NotAsked(self._message) if self._clock.monotonic() < self._down_until else None

    def raise_if_down(self) -> None:
        """Return when it is worth trying.

        Raises:
            NotAsked: the outage still holds.
        """
        outage = self.get_outage()
        if outage is not None:
            raise outage

    def note_answer(self) -> None:
        """The workspace answered, whatever it said."""
        if self._is_down:
            logger.info("the workspace answers again")
            self._is_down = False
            self._down_until = float("-inf")

    def note_failure(self, error: RemoteError) -> None:
        """A call failed; only a failure to connect says that the next one would, too."""
        if not isinstance(error, Unreachable) or isinstance(error, NotAsked):
            return
        if not self._is_down:
            logger.warning("the workspace cannot be reached: %s", error)
        self._is_down = True
        self._message = str(error)
        self._down_until = self._clock.monotonic() + HOLD_SECONDS
