"""Reading a folder: offsets that stay good while entries come and go.

The difficulty: the kernel reads a folder in small buffers, may come back with any offset it was ever given, and
takes each accepted entry of a ``readdirplus`` for a lookup, unless the call fails: then it saw none of them. So
offsets are positions in the handle's own append-only listing, behind a fixed number of places for ``.``, ``..`` and
the control files; an entry is referenced only once it was accepted, and a call that fails takes its references back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fuse4dbricks.cache.listing import Listing
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.entry import Entry
from fuse4dbricks.errors import NotFound, RemoteError
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
        first_place = 2 + len(handle.names)
        accepted: list[Node] = []
        try:
            await self._report_remote(viewer, node, listing, first_place, start, reply, accepted)
        except BaseException as error:
            if isinstance(error, RemoteError) and (accepted or start < first_place):
                return  # what there is goes out; the kernel comes back for the rest, and then hears of it
            for taken_back in accepted:
                self._inodes.forget(taken_back.ino, 1)
            raise

    async def _report_remote(
        self,
        viewer: Viewer,
        parent: Node,
        listing: Listing,
        first_place: int,
        start: int,
        reply: Reply,
        accepted: list[Node],
    ) -> None:
        position = max(0, start - first_place)
        has_replied = start < first_place
        while True:
            while position < len(listing.entries):
                entry, left = listing.entries[position], self._metadata.listings.get_freshness_left(listing)
                if listing.is_doubtful(entry):
                    if has_replied:
                        return  # one call to the workspace for each call of the kernel
                    found = await self._resolve(viewer, parent, entry)
                else:
                    found = entry, left
                position += 1
                if found is None:
                    continue
                node = self._inodes.find(parent, found[0])
                if not reply(node.name.encode(), self._attributes_of(node, found[1]), first_place + position):
                    self._inodes.settle(node)
                    return
                node.lookups += 1
                accepted.append(node)
                has_replied = True
            if listing.is_complete:
                return
            if has_replied:
                # What there is goes out now; the next page is on its way when the kernel comes back.
                self._metadata.listings.extend_ahead(viewer, listing)
                return
            await self._metadata.listings.extend(viewer, listing)

    async def _resolve(self, viewer: Viewer, parent: Node, entry: Entry) -> tuple[Entry, float] | None:
        """A doubtful entry as it is now, and for how long; None when it was deleted since it was listed."""
        try:
            known = await self._metadata.resolve_entry(viewer, parent.path.child(entry.name))
        except NotFound:
            return None
        assert known.entry is not None  # resolve raises NotFound instead
        return known.entry, self._metadata.freshness_left(known)

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
