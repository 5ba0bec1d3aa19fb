"""When the next call may start, as far as calls per second go.

The difficulty: the Files API bears 100 calls a second (databricks-api 6), and nobody says how it counts. Its message
"RPC token bucket limit has been exceeded" speaks of a token bucket, which lets a second's worth through at once and
fills again meanwhile; a service that counts each second by itself lets a hundred through and refuses the next. Who
assumes the second makes every short burst wait, and bursts are what people see: a folder tree of 100 folders, 200
small files. Who assumes the first is refused by the second, over and over.

So a bucket is assumed until a 429 says otherwise, and then no second sees more than its number for
:data:`CAUTIOUS_SECONDS`. Being wrong costs the calls in flight at that moment, once. A bucket of the same size on the
other side is never overdrawn: a call is paid back from its reply on, since the service counts it somewhere between
its start and its reply, and a burst that a slow link delays would otherwise meet the next one there.
"""

from __future__ import annotations

from collections import deque

#: What a service that counts by the second counts over.
WINDOW = 1.0
#: For so long after a 429 no second sees more than its number.
CAUTIOUS_SECONDS = 600.0
#: What fetching ahead leaves of the rate to others: one call in so many.
SPARED_OF = 10
#: Less than this of a call is none: sums of floats are not exact.
_NOTHING = 1e-9


class Rate:
    """Calls to one service, counted. Times are of one monotonic clock, in seconds."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._uncounted = 0
        self._counted: deque[float] = deque()
        self._debt = 0.0
        self._debt_at = 0.0
        self._cautious_until = float("-inf")

    def note_started(self) -> None:
        """A call is on its way, and counts in full until its reply is noted."""
        self._uncounted += 1

    def note_replied(self, now: float) -> None:
        """The service has counted one that was started."""
        self._uncounted -= 1
        self._debt = self._get_debt(now) + 1
        self._debt_at = now
        self._counted.append(now)
        self._drop_old(now)

    def note_refused(self, now: float) -> None:
        """The service said 429: it does not count as a bucket does, or not for us alone."""
        self._cautious_until = now + CAUTIOUS_SECONDS

    def get_opening(self, now: float, *, is_ahead: bool) -> float:
        """When one more call may start: ``now``, later, or infinity when a reply must come first.

        Args:
            now: as of when.
            is_ahead: nobody waits for it. What is fetched ahead leaves a tenth of the calls: whoever comes in the
                middle of it need not wait.
        """
        most = self._per_second - (self._per_second // SPARED_OF if is_ahead else 0)
        return (
            self._get_window_opening(now, most)
            if now < self._cautious_until
            else self._get_filling(now, most)
        )

    def _get_filling(self, now: float, most: int) -> float:
        """When a bucket of ``most`` has a call to give."""
        debt = self._get_debt(now)
        excess = self._uncounted + debt + 1 - most
        if excess <= _NOTHING:
            return now
        return now + excess / self._per_second if excess <= debt + _NOTHING else float("inf")

    def _get_window_opening(self, now: float, most: int) -> float:
        """When the second before then has seen fewer than ``most``."""
        self._drop_old(now)
        excess = self._uncounted + len(self._counted) - most
        if excess < 0:
            return now
        return self._counted[excess] + WINDOW if excess < len(self._counted) else float("inf")

    def _get_debt(self, now: float) -> float:
        return max(0.0, self._debt - (now - self._debt_at) * self._per_second)

    def _drop_old(self, now: float) -> None:
        while self._counted and self._counted[0] + WINDOW <= now:
            self._counted.popleft()
