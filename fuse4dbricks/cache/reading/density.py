"""Recognising that a program reads a file all over, and what of the rest it will come to.

The difficulty: a random reader of 4 KiB in 16 GiB must cost one chunk a read and no more, while one who shuffles the
records of 512 MiB will have had all of it soon, and each chunk is a round trip for which he waits (36 ms on a common
line: 18 s where the line could bring it in 2). Nothing tells the two apart but how dense his misses lie, so the rest is
fetched as a bet: only from an eighth of what lies between his misses on, three chunks for each that he has paid for
at first, and all of it when that turned out to be what he reads.
"""

from __future__ import annotations

import enum

#: Misses before anything is said of a reader: 64 random places of 512 MiB in chunks of 1 MiB are an eighth of it.
FEWEST_MISSES = 64
#: One in so many chunks between the first and the last miss makes the misses dense.
SPARSEST = 8
#: Chunks of the first bet for each miss: what was for nothing is at most three times what was needed.
STAKE = 3
#: Reads after the first bet that tell whether it was right.
TRIAL_READS = 16


class _Stage(enum.Enum):
    """How much has been fetched for the misses so far."""

    NOTHING = enum.auto()
    FIRST_BET = enum.auto()
    TRIAL = enum.auto()
    ALL = enum.auto()


class Density:
    """One handle's misses since it began to read at random. Pure: chunk numbers in, how many to fetch out.

    Attributes:
        seeks: reads that were not the next of a run, misses or not.
        span: chunks from the first to the last miss.
    """

    __slots__ = (
        "_back",
        "_bet",
        "_latest",
        "_misses",
        "_stage",
        "_trial_misses",
        "_trial_seeks",
        "seeks",
        "span",
    )

    def __init__(self) -> None:
        self.seeks = 0
        self._begin()

    def _begin(self) -> None:
        self.span = range(0)
        self._misses = 0
        self._latest = 0
        self._back = 0
        self._stage = _Stage.NOTHING
        self._bet = 0
        self._trial_seeks = 0
        self._trial_misses = 0

    def missed(self, index: int) -> int:
        """A seek led to a chunk that is neither here nor under way.

        Returns:
            How many chunks of the span are worth fetching now, ahead of need.
        """
        self._back += index < self._latest
        self._latest = index
        self._misses += 1
        start, stop = (self.span.start, self.span.stop) if self.span else (index, index)
        self.span = range(min(start, index), max(stop, index + 1))
        if self._stage is _Stage.NOTHING and self._is_dense:
            self._bet = STAKE * self._misses
            is_all = self._misses + self._bet >= len(self.span)
            self._stage = _Stage.ALL if is_all else _Stage.FIRST_BET
            return self._bet
        if self._stage is _Stage.TRIAL and self.seeks - self._trial_seeks >= TRIAL_READS:
            # One miss far away makes a span of which nothing is known: dense it must still be.
            if self._is_dense and self._is_proved:
                self._stage = _Stage.ALL
                return len(self.span)
            self._begin_trial()
        return 0

    def landed(self) -> None:
        """All of the last bet has come: what follows shows whether it was right."""
        if self._stage is _Stage.FIRST_BET:
            self._stage = _Stage.TRIAL
            self._begin_trial()
        elif self._stage is _Stage.ALL:
            # What he misses from now on lies elsewhere, or has left the cache.
            self._begin()

    def _begin_trial(self) -> None:
        """Only what is read from now on counts: a thousand hits of an hour ago prove nothing of the next miss."""
        self._trial_seeks, self._trial_misses = self.seeks, self._misses

    @property
    def _is_dense(self) -> bool:
        # Who goes through a file in strides has his misses in order, and comes to none that lie between.
        is_shuffled = self._misses <= 4 * self._back <= 3 * self._misses
        return is_shuffled and self._misses >= FEWEST_MISSES and SPARSEST * self._misses >= len(self.span)

    @property
    def _is_proved(self) -> bool:
        """Whether reads of the trial hit at least half as often as they would by chance, all over the span."""
        reads = self.seeks - self._trial_seeks
        hits = reads - (self._misses - self._trial_misses)
        held = self._bet + self._trial_misses
        return 2 * hits * len(self.span) >= reads * held
