"""Yes-or-no questions to the workspace, and how it answered them last.

The difficulty: a proof must outlive its TTL (it is what the offline grace counts from), a refusal must be asked
again after seconds, and anybody who can write a token or look up a name can make up questions without end. So
both are bounded, apart from each other: a flood of refusals pushes out refusals only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
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
    """The last answer to each question, in monotonic seconds: proved, refused, or neither.

    Answers overtake each other, so each counts from the second at which its question was sent: a yes that was on its
    way when somebody else heard a no does not undo that, and a slow yes is as old as its question.
    """

    def __init__(self, clock: Clock, *, max_proofs: int) -> None:
        self._clock = clock
        self._proofs: Bounded[K, float] = Bounded(max_proofs)
        self._refusals: Bounded[K, _Refusal] = Bounded(MAX_REFUSALS)

    def prove(self, key: K, asked_at: float) -> None:
        """Yes, to a question of that second."""
        refusal = self._refusals.get(key)
        if refusal is not None and refusal.asked_at > asked_at:
            return
        self._refusals.pop(key, None)
        self._proofs.put(key, max(asked_at, self._proofs.get(key, float("-inf"))))

    def refuse(self, key: K, error: Exception, asked_at: float | None = None) -> bool:
        """No, in the words of ``error``; False when a later question was answered with yes.

        Without ``asked_at`` it is the last word, whenever it was asked.
        """
        if asked_at is not None and self._proofs.get(key, float("-inf")) > asked_at:
            return False
        self._proofs.pop(key, None)
        kept = own_copy(error)
        if kept is not error:
            kept.__cause__ = None  # the original's traceback holds whole requests
        now = self._clock.monotonic()
        self._refusals.put(key, _Refusal(now, now if asked_at is None else asked_at, kept))
        return True

    def get_proof(self, key: K) -> float | None:
        """When it was last proved, however long ago; None when it never was, or was refused since."""
        return self._proofs.get(key)

    def get_refusal(self, key: K) -> Exception | None:
        """The refusal that is still believed, for the caller to raise."""
        refusal = self._refusals.get(key)
        if refusal is None or self._clock.monotonic() - refusal.heard_at >= REFUSAL_SECONDS:
            return None
        return own_copy(refusal.error)

    def was_refused(self, key: K) -> bool:
        """Whether the last answer was no, however long ago."""
        return key in self._refusals

    def forget_proofs(self, is_meant: Callable[[K], bool]) -> None:
        """Forget every proof of a key that ``is_meant``."""
        for key in [key for key in self._proofs if is_meant(key)]:
            del self._proofs[key]


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A no: when it was heard, when it was asked, and in which words."""

    heard_at: float
    asked_at: float
    error: Exception
