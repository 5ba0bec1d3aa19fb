"""Recognising that somebody takes the entries of a folder in order. Pure: ranks in, what comes next out.

The difficulty: nobody says that he walks. ``find`` goes up one list, a stack of folders goes down, eight readers take turns
and overtake each other, others begin in the middle or each in a part of his own; and who reads in no order at all must
not be taken for any of them, or each guess costs a call that nobody wanted. So what counts is how *densely* ranks
were taken: a run is a stretch of the list of which all but a few were opened, and what is worth being ahead of it doubles
with each opening.
"""

from __future__ import annotations

from collections import deque

#: An opening this far from a run belongs to it: eight readers that take turns are never further apart.
NEAR = 8
#: Stretches that are followed in one folder at once; the one that moved longest ago is forgotten.
MAX_RUNS = 16
#: Openings of a run remembered, so that who opens a file twice takes no two steps.
MAX_RECENT = 2 * NEAR
#: What is worth being ahead, at most: a call a second and connection comes of 30 ms, so this is four rounds of eight.
WIDEST = 32


class Run:
    """A stretch of ranks that somebody is taking.

    Attributes:
        low, high: the outermost ranks that were opened.
        opened: how many of them and of those between.
    """

    __slots__ = ("_looked", "_recent", "_stride", "_trend", "high", "low", "opened")

    def __init__(self, rank: int) -> None:
        self.low = self.high = rank
        self.opened = 1
        self._trend = 0
        self._looked: int | None = None
        self._stride = 1
        self._recent = deque([rank], MAX_RECENT)

    def is_near(self, rank: int) -> bool:
        """Whether ``rank`` may be the run's next."""
        return self.low - NEAR <= rank <= self.high + NEAR

    def take(self, rank: int) -> None:
        """One more opening."""
        if rank in self._recent:
            return
        self._recent.append(rank)
        self.opened += 1
        went_down = self.goes_down
        # Readers that take turns may begin with a step down.
        self._trend += (rank > self.high) - (rank < self.low)
        if went_down != self.goes_down:
            self._looked, self._stride = None, 1
        self.low, self.high = min(rank, self.low), max(rank, self.high)

    @property
    def goes_down(self) -> bool:
        """Whether it is its low end that moves."""
        return self._trend < 0

    def get_width(self, least: int = 2) -> int:
        """How many ranks beyond its moving end are worth having: 0 before ``least`` openings, and when it has gaps."""
        gaps = self.high - self.low + 1 - self.opened
        if self.opened < least or 2 * gaps > self.opened - 2:
            return 0
        return min(WIDEST, 1 << min(self.opened, WIDEST))

    def get_next(self, width: int, count: int) -> range:
        """The ranks of a list of ``count`` that come next, nearest first."""
        if self.goes_down:
            return range(self.low - 1, max(self.low - 1 - width, -1), -1)
        return range(self.high + 1, min(self.high + 1 + width, count))

    # --- each rank is looked at once

    def get_unseen(self, width: int, count: int) -> range:
        """Of those, the ones that :meth:`note_seen` has not been told of; after long luck, only samples."""
        ahead = self.get_next(width, count)
        if self._looked is None or not ahead:
            return ahead
        if self.goes_down:
            return range(min(ahead.start, self._looked), ahead.stop, -1)
        return range(max(ahead.start, self._looked), ahead.stop)

    def note_seen(self, rank: int, *, was_needed: bool) -> None:
        """``rank`` was looked at, and ``was_needed`` to fetch it: if not, the next look is further on each time."""
        self._stride = 1 if was_needed else min(2 * self._stride, WIDEST)
        self._looked = rank - self._stride if self.goes_down else rank + self._stride


class Runs:
    """The stretches of one list that are being taken; the one that moved last comes last."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: list[Run] = []

    def take(self, rank: int) -> Run:
        """Note that ``rank`` was opened; returns the run that it belongs to."""
        for run in reversed(self._runs):
            if run.is_near(rank):
                run.take(rank)
                self._runs.remove(run)
                self._runs.append(run)
                return run
        self._runs.append(Run(rank))
        if len(self._runs) > MAX_RUNS:
            del self._runs[0]
        return self._runs[-1]

    def find(self, rank: int) -> Run | None:
        """The run that ``rank`` is part of."""
        return next((run for run in reversed(self._runs) if run.low <= rank <= run.high), None)


class Caution:
    """How much evidence a guess needs, and how many there may be at a time, learnt from how guesses went.

    Attributes:
        open: guesses that have not turned out yet.
        losses: guesses in vain that no good ones have made up for.
    """

    __slots__ = ("_credit", "losses", "open")

    #: Guesses that may be open before any has come true; each that does lets one more be.
    FIRST = 4
    #: So many guesses in vain ask for one opening more.
    STEP = 4
    MOST = 64

    def __init__(self) -> None:
        self.open = 0
        self.losses = 0
        self._credit = 0

    @property
    def least(self) -> int:
        """Openings in order that a run needs."""
        return 2 + self.losses // self.STEP

    @property
    def allows_more(self) -> bool:
        """Whether one more guess may be open."""
        return self.open < self.FIRST + self._credit

    def guessed(self) -> None:
        """Something is fetched ahead."""
        self.open += 1

    def won(self) -> None:
        """It was asked for."""
        self.open -= 1
        self.losses = max(0, self.losses - 1)
        self._credit = min(self._credit + 1, self.MOST)

    def lost(self) -> None:
        """It was not."""
        self.open -= 1
        self.losses = min(self.losses + 1, self.MOST)
        self._credit //= 2
