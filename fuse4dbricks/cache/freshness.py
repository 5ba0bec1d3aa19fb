"""How long what was seen of the tree is believed.

The difficulty: a running mount must judge by the monotonic clock, or a clock jump expires everything or keeps it
for ever, while what the index keeps can only carry wall time. :class:`Known` holds both, and
:class:`Freshness` converts, treating a stamp from the future as expired.
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
    """

    entry: Entry | None
    fetched_at: float
    fresh_until: float


class Freshness:
    """Stamps and judges :class:`Known` values."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def stamp(self, entry: Entry | None, ttl: float) -> Known:
        """Just now seen, believed for ``ttl`` seconds."""
        return Known(entry, self._clock.wall(), self._clock.monotonic() + ttl)

    def restore(self, entry: Entry | None, fetched_at: float, expires_at: float) -> Known:
        """As the index kept it; a stamp from the future is expired, because the clock has gone back."""
        now = self._clock.wall()
        left = expires_at - now if fetched_at <= now else 0.0
        return Known(entry, fetched_at, self._clock.monotonic() + min(left, expires_at - fetched_at))

    def left(self, known: Known) -> float:
        """Seconds for which it may still be believed; 0 when it may not."""
        return max(0.0, known.fresh_until - self._clock.monotonic())

    def is_fresh(self, known: Known) -> bool:
        """Whether it may still be believed."""
        return self._clock.monotonic() < known.fresh_until

    def extended(self, known: Known, seconds: float) -> Known:
        """The same, believed from now for ``seconds`` more (the workspace cannot be asked)."""
        return replace(known, fresh_until=self._clock.monotonic() + seconds)
