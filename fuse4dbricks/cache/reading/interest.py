"""One handle's stake in what is fetched: what it waits for, what it will need soon, what it no longer wants.

The difficulty: a seek must free the connections that the old place occupied without touching what others, or
another read of the same handle, still need; and what is fetched ahead must neither be asked for twice nor be
late. So the handle is a fan of each remote read it has a use for, whoever started it, and leaves them all when it
moves elsewhere; the window says what comes next, the budget whether there is room for it.
"""

from __future__ import annotations

from fuse4dbricks.cache.reading.content import Content
from fuse4dbricks.cache.reading.extent import Extent
from fuse4dbricks.cache.reading.gathering import Gathering
from fuse4dbricks.cache.reading.ports import ViewerOf
from fuse4dbricks.cache.reading.window import Window
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.workspace.limits import Urgency


class Interest:
    """What one open handle has asked for and not received."""

    __slots__ = ("_content", "_extents", "_gathering", "_is_elsewhere", "_viewer_of", "_window")

    def __init__(self, content: Content, viewer_of: ViewerOf) -> None:
        self._content = content
        self._viewer_of = viewer_of
        self._window = Window(content.version.size, content.tiers.chunk_size, content.tiers.shape)
        self._extents: set[Extent] = set()
        self._gathering: Gathering | None = None
        self._is_elsewhere = False

    def moved(self, start: int, stop: int) -> None:
        """Note a read of [start, stop); a seek gives up what was wanted before."""
        self._is_elsewhere = self._window.observe(start, stop)
        if self._is_elsewhere:
            if self._gathering is not None:
                self._gathering.sought(start // self._content.tiers.chunk_size)
            self.leave_all()

    def look_ahead(self) -> None:
        """Fetch and load what a sequential reader will need soon, if the last look is long enough ago."""
        if self._window.is_due:
            self._window.looked()
            self._fetch_ahead()
            self._load_ahead()
            for index in self._window.pass_by():
                self._content.pass_by(index)

    def demand(self, first: int, stop: int) -> None:
        """Start whatever brings the chunks [first, stop), which a read is about to wait for."""
        content, budget = self._content, self._content.tiers.budget
        wanted = self._window.get_demand(first, stop, budget.get_window())
        if not budget.has_room((wanted - first) * content.tiers.chunk_size):
            wanted = stop
        stored, missing = content.get_absent(first, wanted)
        for index in stored:
            if index < stop:
                content.load(index, is_ahead=False)
        gathering = self._get_gathering() if missing and self._is_elsewhere else None
        for run in missing:
            if gathering is None:
                self.join(content.fetch(run, self, Urgency.WAITED))
            else:
                self.join(gathering.fetch_missed(run, self))
        if gathering is not None:
            gathering.go_on()
        self._window.reach = max(self._window.reach, wanted)

    def join(self, extent: Extent) -> None:
        """Have a use for a remote read, whoever started it."""
        if not self._extents:
            self._content.tiers.budget.streams += 1
        self._extents.add(extent)
        extent.fans.add(self)

    def leave_all(self) -> None:
        """Want nothing any more that is under way."""
        if not self._extents:
            return
        extents, self._extents = self._extents, set()
        self._content.tiers.budget.streams -= 1
        for extent in extents:
            extent.leave(self)

    def close(self) -> None:
        """The handle is closed."""
        self.leave_all()
        if self._gathering is not None:
            self._gathering.close()

    async def resolve_viewer(self) -> Viewer:
        """The opener, with the token that he has now."""
        return await self._viewer_of()

    def extent_ended(self, extent: Extent, /) -> None:
        """A remote read that this handle wanted is over."""
        self._extents.discard(extent)
        if not self._extents:
            self._content.tiers.budget.streams -= 1

    def _get_gathering(self) -> Gathering | None:
        if self._gathering is None and self._content.tiers.most_gathered:
            self._gathering = Gathering(self._content, self._viewer_of)
        return self._gathering

    def _fetch_ahead(self) -> None:
        content, budget, window = self._content, self._content.tiers.budget, self._window
        while far := window.get_far(budget.get_window()):
            missing = content.get_absent(far.start, far.stop)[1]
            if not budget.has_room(sum(map(len, missing)) * content.tiers.chunk_size):
                return
            for index in far:
                chunk = content.chunks.get(index)
                if chunk is not None and chunk.extent is not None:
                    self.join(chunk.extent)
            for run in missing:
                self.join(content.fetch(run, self, Urgency.AHEAD))
            window.reach = far.stop

    def _load_ahead(self) -> None:
        content, near = self._content, self._window.get_near()
        if not near:
            return
        stored = content.get_absent(near.start, near.stop)[0]
        if stored:
            content.approach(stored)
        self._window.near = near.stop
