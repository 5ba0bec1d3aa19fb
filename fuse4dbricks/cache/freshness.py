"""How long what was seen of the tree is believed.

The difficulty: a running mount must judge by the monotonic clock, or a clock jump expires everything or keeps it
for ever, while what the index keeps can only carry wall time. :class:`Known` holds both, and
:class:`Freshness` converts, treating a stamp from the future as expired. Which of two observations is the newer
is told by the monotonic clock alone: after a jump of the wall clock the older one would win for an hour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fuse4dbricks.clock import Clock
from fuse4dbricks.entry import Entry


@dataclass(frozen=True, slots=True)
class Ttls:
    """Times to live, in seconds (design section 6).

    Attributes:
        inner: what is inside volumes.
        boundary: catalogs, schemas and volumes.
        negative: that a name is absent.
    """

    inner: float = 30.0
    boundary: float = 600.0
    negative: float = 5.0


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one path.

    Attributes:
        entry: as last seen; None when the name is known to be absent (a negative entry).
        fetched_at: Unix time at which it was asked for.
        fresh_until: monotonic second from which it has to be asked for again.
        seen_at: monotonic second at which it was asked for; before this run's beginning for what was restored.
    """

    entry: Entry | None
    fetched_at: float
    fresh_until: float
    seen_at: float


class Freshness:
    """Stamps and judges :class:`Known` values."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def stamp(self, entry: Entry | None, ttl: float) -> Known:
        """Just now seen, believed for ``ttl`` seconds."""
        now = self._clock.monotonic()
        return Known(entry, self._clock.wall(), now + ttl, now)

    def restore(self, entry: Entry | None, fetched_at: float, expires_at: float) -> Known:
        """As the index kept it; a stamp from the future is expired, because the clock has gone back."""
        now, age = self._clock.monotonic(), self._clock.wall() - fetched_at
        if age < 0:
            return Known(entry, fetched_at, float("-inf"), now)
        return Known(entry, fetched_at, now - age + (expires_at - fetched_at), now - age)

    def capped(self, known: Known, ttl: float) -> Known:
        """The same, believed for no longer than ``ttl`` since it was seen: an earlier run may have had another."""
        return replace(known, fresh_until=min(known.fresh_until, known.seen_at + ttl))

    def left(self, known: Known) -> float:
        """Seconds for which it may still be believed; 0 when it may not."""
        return max(0.0, known.fresh_until - self._clock.monotonic())

    def is_fresh(self, known: Known) -> bool:
        """Whether it may still be believed."""
        return self._clock.monotonic() < known.fresh_until

    def extended(self, known: Known, seconds: float) -> Known:
        """The same, believed from now for ``seconds`` more (the workspace cannot be asked)."""
        return replace(known, fresh_until=self._clock.monotonic() + seconds)
