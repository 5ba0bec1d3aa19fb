"""A small file that is fetched before anybody has opened it.

The difficulty: until a reader comes, nothing holds what has arrived, and a guess that was wrong must not push out what
somebody reads. So an anticipation is a handle without a reader: as a fan of its remote reads it lets them go on, as
an open handle it lets what came stay in the windows' share of RAM, and a reader who comes joins the same reads. When it
is closed without one, what it brought leaves RAM before anything else does; the disk cache has it.
"""

from __future__ import annotations

import trio

from fuse4dbricks.cache.reading.content import Content
from fuse4dbricks.cache.reading.extent import Extent
from fuse4dbricks.cache.reading.ports import ViewerOf
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.workspace.limits import Urgency


class Anticipation:
    """The missing chunks of one version of a file, on their way. Close it.

    Attributes:
        missing: bytes that have to be fetched.
        landed: nothing more will come.
    """

    __slots__ = ("_content", "_extents", "_runs", "_viewer_of", "landed", "missing")

    def __init__(self, content: Content, viewer_of: ViewerOf) -> None:
        self._content = content
        self._viewer_of = viewer_of
        self._extents: set[Extent] = set()
        self._runs = content.get_absent(0, -(-content.version.size // content.tiers.chunk_size))[1]
        self.missing = sum(content.get_length(index) for run in self._runs for index in run)
        self.landed = trio.Event()

    @property
    def is_possible(self) -> bool:
        """Whether something is missing, and there is room for it."""
        return bool(self.missing) and self._content.tiers.budget.has_room(self.missing)

    def start(self) -> None:
        """Fetch it, behind all that somebody waits for."""
        tiers = self._content.tiers
        tiers.disk.hold(self._content.path, self._content.version)
        tiers.ram.opened()
        for run in self._runs:
            extent = self._content.fetch(run, self, Urgency.AHEAD)
            extent.fans.add(self)
            self._extents.add(extent)

    def close(self, *, was_used: bool) -> None:
        """Hold it no longer; ``was_used`` by a reader, or in vain."""
        tiers = self._content.tiers
        extents, self._extents = self._extents, set()
        for extent in extents:
            extent.leave(self)
        if not was_used:
            self._drop_unread()
        tiers.disk.release(self._content.path, self._content.version)
        tiers.ram.closed()
        self.landed.set()

    def _drop_unread(self) -> None:
        chunks = self._content.chunks
        for index in [index for run in self._runs for index in run]:
            chunk = chunks.get(index)
            if chunk is not None and chunk.is_complete and not (chunk.is_read or chunk.is_wanted):
                self._content.tiers.ram.drop(chunk)
                if not chunk.is_publishing:
                    self._content.lose(chunk)

    # --- as a fan of its remote reads

    async def resolve_viewer(self) -> Viewer:
        """In whose name it is fetched."""
        return await self._viewer_of()

    def extent_ended(self, extent: Extent, /) -> None:
        """A remote read is over."""
        self._extents.discard(extent)
        if not self._extents:
            self.landed.set()
