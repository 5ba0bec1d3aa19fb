"""The rest of a file that a program reads all over, on its way.

The difficulty: a random reader gives up with each seek what he wanted before, so what is fetched for his future must
belong to somebody else; and it must delay nobody, him least: he waits for a chunk that is under way until what comes
before it in the same reply is there, and shares the line with the others (64 MiB at 1 MiB/s are 64 s, and the kernel's
request is given up after 30). So a gathering is a handle without a reader, in short replies, one at first and more
only while they take no longer than a second; and it goes on only while the disk takes what comes, for what is not
stored in the end was fetched for nothing.
"""

from __future__ import annotations

import trio

from fuse4dbricks.cache.reading.content import Content
from fuse4dbricks.cache.reading.density import Density
from fuse4dbricks.cache.reading.extent import Extent, Fan
from fuse4dbricks.cache.reading.ports import ViewerOf
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.workspace.limits import Urgency

#: Chunks of one remote read, or as many as one of a window may have. Calls are what is scarce: at 95 a second, single
#: chunks of 1 MiB are 95 MiB/s at most.
RUN = 8
#: Remote reads at a time: as many as are made ahead of need, and one that waits for its turn.
MOST_RUNS = 8
#: Seconds that a remote read may take: after one that took less twice as much is asked for at a time, else half as much.
PROMPT_SECONDS = 1.0
#: Chunks that may wait for the disk.
MOST_UNSTORED = 32
#: Runs looked at in one turn of the loop, a few µs each; the next miss goes on from there.
LOOKS = 64


class Gathering:
    """What one handle's random reads make worth having. Close it."""

    __slots__ = (
        "_content",
        "_density",
        "_extents",
        "_left",
        "_looked",
        "_most_run",
        "_next",
        "_pace",
        "_span",
        "_unstored",
        "_viewer_of",
    )

    def __init__(self, content: Content, viewer_of: ViewerOf) -> None:
        tiers = content.tiers
        self._content = content
        self._viewer_of = viewer_of
        self._density = Density(tiers.most_gathered // tiers.chunk_size)
        self._most_run = min(RUN, max(1, tiers.shape.step // tiers.chunk_size))
        # Chunks that may be under way.
        self._pace = self._most_run
        # With when they began, and their chunks.
        self._extents: dict[Extent, tuple[float, list[int]]] = {}
        # Numbers: a chunk itself would hold its memory, uncounted, until the handle is closed.
        self._unstored: list[int] = []
        # So many chunks of the span are still to be asked for; so many have been looked at, the last before ``_next``.
        self._span = range(0)
        self._left = 0
        self._next = 0
        self._looked = 0

    def sought(self, index: int) -> None:
        """A read that was not the next of a run began in a chunk (cheap: called for each of them)."""
        self._density.sought(index)

    def fetch_missed(self, run: range, reader: Fan) -> Extent:
        """Fetch what such a read waits for, and as much of what follows as one call brings that is to be fetched anyway."""
        content = self._content
        bet = self._density.missed(run.start)
        if bet:
            self._left, self._span, self._next, self._looked = bet, self._density.span, run.stop, 0
            content.tiers.metrics.count("read.gatherings")
        # He waits for this one: it is made longer only where the line is known to be quick.
        is_quick = self._pace > self._most_run and len(self._extents) < MOST_RUNS
        if self._left and is_quick and run.start in self._span and self._has_room(max(len(run), self._run)):
            stop = max(run.stop, min(run.start + self._run, self._span.stop))
            absent = content.get_absent(run.start, stop)[1]
            if absent and absent[0].start == run.start:
                extent = content.fetch(absent[0], reader, Urgency.WAITED)
                self._follow(extent)
                return extent
        return content.fetch(run, reader, Urgency.WAITED)

    def close(self) -> None:
        """Fetch no more; what nobody else wants stops."""
        self._left = 0
        extents, self._extents = self._extents, {}
        for extent in extents:
            extent.leave(self)

    def go_on(self) -> None:
        """Fetch as much as may be under way; from the place of the last read, round the span."""
        content = self._content
        if not self._is_kept() or content.changed is not None:
            self._left = 0
        for _ in range(LOOKS):
            if self._looked >= len(self._span):
                self._left = 0
            if not self._left or len(self._extents) >= self._width or not self._has_room(self._run):
                break
            first = self._next if self._next in self._span else self._span.start
            self._next = min(first + self._run, self._span.stop)
            runs = content.get_absent(first, self._next)[1]
            if runs:
                self._follow(content.fetch(runs[0], self, Urgency.AHEAD))
                self._next = runs[0].stop
            self._looked += self._next - first
        if not self._left and not self._extents:
            self._density.settled()

    @property
    def _run(self) -> int:
        """Chunks of one remote read, now."""
        return min(self._most_run, self._pace)

    @property
    def _width(self) -> int:
        """Remote reads at a time, now."""
        return max(1, self._pace // self._most_run)

    def _follow(self, extent: Extent) -> None:
        extent.fans.add(self)
        self._extents[extent] = trio.current_time(), [chunk.index for chunk in extent.chunks]
        self._left = max(0, self._left - len(extent.chunks))

    def _has_room(self, count: int) -> bool:
        """Whether memory and the disk keep up with so many more chunks."""
        tiers = self._content.tiers
        return len(self._unstored) < MOST_UNSTORED and tiers.budget.has_room(count * tiers.chunk_size)

    def _is_kept(self) -> bool:
        """Whether all that came since this was last asked is on the disk or on its way; what is there is forgotten."""
        unstored, self._unstored = self._unstored, []
        is_kept = True
        for index in unstored:
            chunk = self._content.chunks.get(index)
            if chunk is not None and chunk.is_publishing:
                self._unstored.append(index)
            else:
                is_kept = is_kept and self._content.is_stored(index)
        return is_kept

    # --- as a fan of its remote reads

    async def resolve_viewer(self) -> Viewer:
        """In whose name it is fetched."""
        return await self._viewer_of()

    def extent_ended(self, extent: Extent, /) -> None:
        """A remote read is over; one that failed is the last, and so is one that could not be stored."""
        began, indexes = self._extents.pop(extent, (trio.current_time(), []))
        self._unstored += indexes
        if trio.current_time() - began <= PROMPT_SECONDS:
            self._pace = min(2 * self._pace, MOST_RUNS * self._most_run)
        else:
            self._pace = max(1, self._pace // 2)
        self.go_on()
