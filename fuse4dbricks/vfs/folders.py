"""Reading a folder: offsets that stay good while entries come and go.

The difficulty: the kernel reads a folder in small buffers, may come back with any offset it was ever given, and
takes each accepted entry of a ``readdirplus`` for a lookup. So offsets are positions in the handle's own
append-only listing, behind a fixed number of places for ``.``, ``..`` and the control files; and an entry is
referenced only once it was accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.errors import NotFound
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.vfs.attributes import Attributes
from fuse4dbricks.vfs.handles import OpenFolder
from fuse4dbricks.vfs.inodes import InodeTable, Node

Reply = Callable[[bytes, Attributes, int], bool]


class FolderReader:
    """Reports the entries of open folders."""

    def __init__(
        self,
        metadata: MetadataCache,
        inodes: InodeTable,
        attributes_of: Callable[[Node, float], Attributes],
        control_attributes_of: Callable[[int], Attributes],
    ) -> None:
        self._metadata = metadata
        self._inodes = inodes
        self._attributes_of = attributes_of
        self._control_attributes_of = control_attributes_of

    def report_control(self, handle: OpenFolder, start: int, reply: Reply) -> bool:
        """``.``, ``..`` and control files from ``start`` on; False when ``reply`` declined one."""
        for place, (name, attributes) in enumerate(self._fixed(handle)):
            if place >= start and not reply(name.encode(), attributes, place + 1):
                return False
        return True

    async def report(self, viewer: Viewer, handle: OpenFolder, start: int, reply: Reply) -> None:
        """Entries from ``start`` on, reading pages of the listing as they are needed."""
        if not self.report_control(handle, start, reply):
            return
        node, listing = handle.node, handle.listing
        assert node is not None  # control folders end above
        assert listing is not None
        left = self._metadata.listing_freshness_left(listing)
        first_place = 2 + len(handle.names)
        position = max(0, start - first_place)
        has_replied = start < first_place
        while True:
            while position < len(listing.entries):
                entry = listing.entries[position]
                accepted = await self._report_one(
                    viewer, node, entry, left, first_place + position + 1, reply
                )
                if not accepted:
                    return
                has_replied = True
                position += 1
            if listing.is_complete:
                return
            if has_replied:
                # What there is goes out now; the next page is on its way when the kernel comes back.
                self._metadata.extend_ahead(viewer, listing)
                return
            await self._metadata.extend(viewer, listing)

    async def _report_one(
        self, viewer: Viewer, parent: Node, entry: Entry, left: float, next_offset: int, reply: Reply
    ) -> bool:
        if entry.kind is Kind.FILE and entry.version is None:
            try:
                known = await self._metadata.resolve_entry(viewer, parent.path.child(entry.name))
            except NotFound:
                return True  # deleted since it was listed
            assert known.entry is not None  # resolve raises NotFound instead
            entry = known.entry
        node = self._inodes.find(parent, entry)
        if reply(entry.name.encode(), self._attributes_of(node, left), next_offset):
            node.lookups += 1
            return True
        self._inodes.settle(node)
        return False

    def _fixed(self, handle: OpenFolder) -> list[tuple[str, Attributes]]:
        if handle.node is None:
            here = self._control_attributes_of(handle.ino) if handle.ino != 1 else self._root_attributes()
            parent = self._root_attributes()
        else:
            here = self._attributes_of(handle.node, 0.0)
            parent = self._attributes_of(handle.node.parent or handle.node, 0.0)
        fixed = [(".", replace(here, entry_timeout=0.0)), ("..", replace(parent, entry_timeout=0.0))]
        return fixed + [(name, self._control_attributes_of(ino)) for name, ino in handle.names]

    def _root_attributes(self) -> Attributes:
        return self._attributes_of(self._inodes.root, 0.0)
