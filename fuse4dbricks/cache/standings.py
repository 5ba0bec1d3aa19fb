"""Yes-or-no questions to the workspace, and how it answered them last.

The difficulty: a proof must outlive its TTL (it is what the offline grace counts from), a refusal must be asked
again after seconds, and anybody who can write a token or look up a name can make up questions without end. So
both are bounded, apart from each other: a flood of refusals pushes out refusals only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.flights import own_copy

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: How long a refusal is believed before it is asked again, in seconds.
REFUSAL_SECONDS = 5.0
#: Refusals remembered at once; the oldest is forgotten and then asked again.
MAX_REFUSALS = 1024


class Bounded(dict[K, V]):
    """A dict that forgets its oldest key when it is full."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def put(self, key: K, value: V) -> None:
        """Set ``key``, as the newest."""
        self.pop(key, None)
        self[key] = value
        if len(self) > self._limit:
            del self[next(iter(self))]


class Standings(Generic[K]):
    """The last answer to each question, in monotonic seconds: proved, refused, or neither."""

    def __init__(self, clock: Clock, *, max_proofs: int) -> None:
        self._clock = clock
        self._proofs: Bounded[K, float] = Bounded(max_proofs)
        self._refusals: Bounded[K, tuple[float, Exception]] = Bounded(MAX_REFUSALS)

    def prove(self, key: K, at: float | None = None) -> None:
        """Yes, now or ``at`` an earlier second."""
        self._refusals.pop(key, None)
        self._proofs.put(key, self._clock.monotonic() if at is None else at)

    def refuse(self, key: K, error: Exception) -> None:
        """No, in the words of ``error``."""
        self._proofs.pop(key, None)
        kept = own_copy(error)
        if kept is not error:
            kept.__cause__ = None  # the original's traceback holds whole requests
        self._refusals.put(key, (self._clock.monotonic(), kept))

    def get_proof(self, key: K) -> float | None:
        """When it was last proved, however long ago; None when it never was, or was refused since."""
        return self._proofs.get(key)

    def get_refusal(self, key: K) -> Exception | None:
        """The refusal that is still believed, for the caller to raise."""
        refused_at, error = self._refusals.get(key, (float("-inf"), None))
        if error is None or self._clock.monotonic() - refused_at >= REFUSAL_SECONDS:
            return None
        return own_copy(error)

    def was_refused(self, key: K) -> bool:
        """Whether the last answer was no, however long ago."""
        return key in self._refusals

    def forget_proofs(self, is_meant: Callable[[K], bool]) -> None:
        """Forget every proof of a key that ``is_meant``."""
        for key in [key for key in self._proofs if is_meant(key)]:
            del self._proofs[key]
