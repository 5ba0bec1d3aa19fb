"""Whether the workspace can be reached, judged by what the calls of others have seen.

The difficulty: when the network is gone each call takes its full deadline to say so, and a directory walk would
wait that long at every step. So one failure to reach the workspace holds for a few seconds: what is known is
served meanwhile, and what is not fails at once. The first caller after that tries again.
"""

from __future__ import annotations

import logging

from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import DeadlineExceeded, RemoteError, ServerFailure, Unreachable

logger = logging.getLogger("fuse4dbricks.connectivity")

#: How long a failure to reach the workspace is believed, in seconds.
HOLD_SECONDS = 5.0


def is_outage(error: BaseException) -> bool:
    """Whether ``error`` is about the weather: it says nothing of the object or of the principal."""
    return isinstance(error, Unreachable | DeadlineExceeded | ServerFailure)


class Connectivity:
    """Remembers the last outage."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._down_until = float("-inf")
        self._error: RemoteError | None = None

    def get_outage(self) -> RemoteError | None:
        """The outage that still holds, or None when it is worth trying."""
        return self._error if self._clock.monotonic() < self._down_until else None

    def note_answer(self) -> None:
        """The workspace answered, whatever it said."""
        if self._error is not None:
            logger.info("the workspace answers again")
            self._error = None
            self._down_until = float("-inf")

    def note_failure(self, error: RemoteError) -> None:
        """A call failed; only a failure to connect says that the next one would, too."""
        if not isinstance(error, Unreachable):
            return
        if self._error is None:
            logger.warning("the workspace cannot be reached: %s", error)
        self._error = error
        self._down_until = self._clock.monotonic() + HOLD_SECONDS
