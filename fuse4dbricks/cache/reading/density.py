"""Recognising that a program reads a file all over, and what of the rest it will come to.

The difficulty: a random reader of 4 KiB in 16 GiB must cost one chunk a read and no more, while one who shuffles the
records of 512 MiB will have had all of it soon, and each chunk is a round trip for which he waits (36 ms on a common
line: 18 s where the line could bring it in 2). Nothing tells the two apart but how dense his misses lie, so the rest is
fetched as a bet: only from an eighth of what lies between his misses on, three chunks for each that he has paid for
at first, and all of it when that turned out to be what he reads.
"""

from __future__ import annotations

import enum

#: Chunks that must have been missed before anything is said of a reader: 64 random ones of 512 are an eighth.
#: After a bet that was wrong twice as many, and so on, so that wrong ones become rare.
FEWEST_MISSES = 64
#: One in so many chunks between the first and the last miss makes the misses dense.
SPARSEST = 8
#: Chunks of the first bet for each miss: what was for nothing is at most three times what was needed.
STAKE = 3
#: Chunks that he comes to after the first bet, each counted once, that tell whether it was right.
TRIAL_READS = 16


class _Stage(enum.Enum):
    """How much has been fetched for the misses so far; ALL may be the first bet, of a small span."""

    NOTHING = enum.auto()
    FIRST_BET = enum.auto()
    TRIAL = enum.auto()
    ALL = enum.auto()


class Density:
    """One handle's misses since it began to read at random. Pure: chunk numbers in, how many to fetch out.

    Args:
        most: chunks from the first to the last miss, at most: what lies further apart is not seen as one.

    Attributes:
        span: chunks from the first to the last miss.
    """

    __slots__ = ("_back", "_bet", "_fewest", "_latest", "_missed", "_most", "_stage", "_trial", "span")

    def __init__(self, most: int) -> None:
        self._most = most
        self._fewest = FEWEST_MISSES
        self._begin()

    def _begin(self) -> None:
        self.span = range(0)
        self._missed: set[int] = set()
        self._latest = 0
        self._back = 0
        self._stage = _Stage.NOTHING
        self._bet = 0
        #: Chunk that he came to in the trial, having not missed it before → whether the bet had brought it.
        self._trial: dict[int, bool] = {}

    def sought(self, index: int) -> None:
        """A seek led to a chunk, be it here or not; if not, :meth:`missed` follows. Cheap: called for each of them."""
        if self._stage is _Stage.TRIAL and index not in self._missed and len(self._trial) < self._most:
            self._trial.setdefault(index, index in self.span)

    def missed(self, index: int) -> int:
        """A seek led to a chunk that is neither here nor under way.

        Returns:
            How many chunks of the span are worth fetching now, ahead of need.
        """
        if index not in self._missed:
            if self._stage is _Stage.TRIAL:
                self._trial[index] = False
            self._note(index)
        if self._stage is _Stage.NOTHING and self._is_dense:
            self._bet = STAKE * len(self._missed)
            is_all = len(self._missed) + self._bet >= len(self.span)
            self._stage = _Stage.ALL if is_all else _Stage.FIRST_BET
            return self._bet
        if self._stage is _Stage.TRIAL and len(self._trial) >= TRIAL_READS:
            # One miss at some distance makes a span of which nothing is known: dense it must still be.
            if self._is_dense and self._is_proved:
                self._stage, self._fewest = _Stage.ALL, FEWEST_MISSES
                return len(self.span)
            self._fewest *= 2
            self._begin()
            self._note(index)
        return 0

    def settled(self) -> None:
        """Nothing of the last bet is under way any more: what follows shows whether it was right."""
        if self._stage is _Stage.FIRST_BET:
            self._stage = _Stage.TRIAL
            self._trial.clear()
        elif self._stage is _Stage.ALL:
            # What he misses from now on lies elsewhere, or has left the cache.
            self._begin()

    def _note(self, index: int) -> None:
        """Count a miss of a chunk that was not missed before."""
        span = range(min(self.span.start, index), max(self.span.stop, index + 1)) if self.span else range(0)
        if not span or len(span) > self._most:
            if self._stage is not _Stage.NOTHING:
                return  # not what the bet is about
            # As the table of contents at the end of an archive, before its parts are read.
            self._begin()
            span = range(index, index + 1)
        self._back += index < self._latest
        self._latest = index
        self._missed.add(index)
        self.span = span

    @property
    def _is_dense(self) -> bool:
        count = len(self._missed)
        # Who goes through a file in strides has his misses in order, and comes to none that lie between: of a shuffled
        # reader's misses half lead back, and a quarter to three quarters must.
        is_shuffled = count <= 4 * self._back <= 3 * count
        return is_shuffled and count >= self._fewest and SPARSEST * count >= len(self.span)

    @property
    def _is_proved(self) -> bool:
        """Whether the bet had brought what he came to at least half as often as by chance, all over the span."""
        left = len(self.span) - len(self._missed)
        # hits / reads >= 1/2 * bet / left
        return 2 * sum(self._trial.values()) * left >= len(self._trial) * self._bet
