"""The rest of a file that a program reads all over, on its way.

The difficulty: a random reader gives up with each seek what he wanted before, so what is fetched for his future must
belong to somebody else; and it must delay nobody, him least: he waits for a chunk that is under way until what comes
before it in the same reply is there. So a gathering is a handle without a reader, in short replies, few at a time,
and goes no faster than the disk can take it; what is not stored in the end was fetched for nothing.
"""

from __future__ import annotations

from fuse4dbricks.cache.reading.chunk import Chunk
from fuse4dbricks.cache.reading.content import Content
from fuse4dbricks.cache.reading.density import Density
from fuse4dbricks.cache.reading.extent import Extent, Fan
from fuse4dbricks.cache.reading.ports import ViewerOf
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.workspace.limits import Urgency

#: Chunks of one remote read. Calls are what is scarce: at 95 a second, single chunks of 1 MiB are 95 MiB/s at most.
RUN = 8
#: Remote reads at a time: as many as are made ahead of need, and two that wait for their turn.
MOST_RUNS = 8
#: Chunks that may wait for the disk.
MOST_UNSTORED = 32
#: Runs looked at in one turn of the loop, a few µs each; the next miss goes on from there.
LOOKS = 64


class Gathering:
    """What one handle's random reads make worth having. Close it."""

    __slots__ = ("_content", "_density", "_extents", "_left", "_next", "_seen", "_unstored", "_viewer_of")

    def __init__(self, content: Content, viewer_of: ViewerOf) -> None:
        self._content = content
        self._viewer_of = viewer_of
        self._density = Density()
        self._extents: dict[Extent, list[Chunk]] = {}
        self._unstored: list[Chunk] = []
        self._left = 0
        self._next = 0
        self._seen = 0

    def sought(self) -> None:
        """A read was not the next of a run (cheap: called for each of them)."""
        self._density.seeks += 1

    def fetch_missed(self, run: range, reader: Fan) -> Extent:
        """Fetch what such a read waits for, and as much of what follows as one call brings that is to be fetched anyway."""
        content, density = self._content, self._density
        more = density.missed(run.start)
        if more and len(density.span) * content.tiers.chunk_size <= content.tiers.most_gathered:
            self._left, self._next, self._seen = more, run.stop, 0
            content.tiers.metrics.count("read.gatherings")
        wider = range(run.start, max(run.stop, min(run.start + RUN, density.span.stop)))
        if not self._left or not self._has_room(len(wider)):
            return content.fetch(run, reader, Urgency.WAITED)
        wider = content.get_absent(wider.start, wider.stop)[1][0]
        extent = content.fetch(wider, reader, Urgency.WAITED)
        self._follow(extent)
        return extent

    def close(self) -> None:
        """Fetch no more; what nobody else wants stops."""
        self._left = 0
        extents, self._extents = self._extents, {}
        for extent in extents:
            extent.leave(self)

    def go_on(self) -> None:
        """Fetch as much as may be under way; from the place of the last read, round the span."""
        span = self._density.span
        self._unstored = [chunk for chunk in self._unstored if chunk.is_publishing]
        for _ in range(LOOKS):
            if self._seen >= len(span):
                self._left = 0
            if not self._left or len(self._extents) >= MOST_RUNS or not self._has_room(RUN):
                break
            first = self._next if self._next in span else span.start
            self._next = min(first + RUN, span.stop)
            self._seen += self._next - first
            for run in self._content.get_absent(first, self._next)[1]:
                self._follow(self._content.fetch(run, self, Urgency.AHEAD))
        if not self._left and not self._extents:
            self._density.landed()

    def _follow(self, extent: Extent) -> None:
        extent.fans.add(self)
        self._extents[extent] = list(extent.chunks)
        self._left = max(0, self._left - len(extent.chunks))

    def _has_room(self, count: int) -> bool:
        """Whether memory and the disk keep up with so many more chunks."""
        tiers = self._content.tiers
        return len(self._unstored) < MOST_UNSTORED and tiers.budget.has_room(count * tiers.chunk_size)

    # --- as a fan of its remote reads

    async def resolve_viewer(self) -> Viewer:
        """In whose name it is fetched."""
        return await self._viewer_of()

    def extent_ended(self, extent: Extent, /) -> None:
        """A remote read is over; one that failed is the last, and so is one that could not be stored."""
        chunks = self._unstored + self._extents.pop(extent, [])
        self._unstored = [chunk for chunk in chunks if chunk.is_publishing]
        if all(chunk.is_publishing or self._is_stored(chunk) for chunk in chunks):
            self.go_on()
        else:
            self._left = 0

    def _is_stored(self, chunk: Chunk) -> bool:
        return chunk.is_complete and self._content.is_stored(chunk.index)
