"""Reading a folder: offsets that stay good while entries come and go.

The difficulty: the kernel reads a folder in small buffers, may come back with any offset it was ever given, and
takes each accepted entry of a ``readdirplus`` for a lookup, unless the call fails: then it saw none of them. So
offsets are positions in the handle's own append-only listing, behind a fixed number of places for ``.``, ``..`` and
the control files; an entry is referenced only once it was accepted, and a call that fails takes its references back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.errors import NotFound, RemoteError
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.vfs.attributes import Attributes
from fuse4dbricks.vfs.gate import Gate
from fuse4dbricks.vfs.handles import OpenFolder
from fuse4dbricks.vfs.inodes import InodeTable, Node
from fuse4dbricks.visibility import Visibility

Reply = Callable[[bytes, Attributes, int], bool]


class _Buffer:
    """The kernel's buffer of one call, and the references that what is in it stands for."""

    def __init__(self, inodes: InodeTable, reply: Reply) -> None:
        self._inodes = inodes
        self._reply = reply
        self._accepted: list[Node] = []
        self.is_empty = True

    def offer_fixed(self, name: str, attributes: Attributes, next_offset: int) -> bool:
        """Report what is never referenced; False when there is no room."""
        is_accepted = self._reply(name.encode(), attributes, next_offset)
        self.is_empty = self.is_empty and not is_accepted
        return is_accepted

    def offer(self, node: Node, attributes: Attributes, next_offset: int) -> bool:
        """Report a node, which is then referenced; False when there is no room."""
        node.lookups += 1
        self._accepted.append(node)
        if self.offer_fixed(node.name, attributes, next_offset):
            return True
        self._accepted.pop()
        self._inodes.forget(node.ino, 1)
        return False

    def take_back(self) -> None:
        """The call fails: nothing was reported."""
        while self._accepted:
            self._inodes.forget(self._accepted.pop().ino, 1)


class FolderReader:
    """Reports the entries of open folders."""

    def __init__(
        self,
        metadata: MetadataCache,
        inodes: InodeTable,
        visibility: Visibility,
        gate: Gate,
        attributes_of: Callable[[Node, float], Attributes],
        control_attributes_of: Callable[[int], Attributes],
    ) -> None:
        self._metadata = metadata
        self._inodes = inodes
        self._visibility = visibility
        self._gate = gate
        self._attributes_of = attributes_of
        self._control_attributes_of = control_attributes_of

    def report_control(self, handle: OpenFolder, start: int, reply: Reply) -> None:
        """``.``, ``..`` and control files from ``start`` on."""
        self._report_fixed(handle, start, _Buffer(self._inodes, reply))

    async def report(self, viewer: Viewer, handle: OpenFolder, start: int, reply: Reply) -> None:
        """The same, and then what is in the folder, reading pages of the listing as they are needed."""
        assert handle.node is not None  # control folders are reported above
        assert handle.listing is not None
        buffer = _Buffer(self._inodes, reply)
        try:
            if self._report_fixed(handle, start, buffer):
                first_place = 2 + len(handle.names)
                await self._report_remote(viewer, handle, first_place, start, buffer)
        except RemoteError:
            # What there is goes out; the kernel comes back for the rest, and then hears of it.
            if buffer.is_empty:
                raise
        except BaseException:  # raised on: the kernel saw none of these references
            buffer.take_back()
            raise

    def _report_fixed(self, handle: OpenFolder, start: int, buffer: _Buffer) -> bool:
        if start >= 2 + len(handle.names):
            return True
        for place, (name, attributes) in enumerate(self._fixed(handle)):
            if place >= start and not buffer.offer_fixed(name, attributes, place + 1):
                return False
        return True

    async def _report_remote(
        self, viewer: Viewer, handle: OpenFolder, first_place: int, start: int, buffer: _Buffer
    ) -> None:
        parent, listing = handle.node, handle.listing
        assert parent is not None  # see report()
        assert listing is not None
        position = max(0, start - first_place)
        is_filtered = parent.kind is Kind.ROOT or not parent.path.in_volume
        while True:
            fresh = self._metadata.listings.get_freshness_left(listing)
            listed_left = self._gate.get_listed_seconds(viewer, parent.path, fresh)
            while position < len(listing.entries):
                entry, left = listing.entries[position], listed_left
                position += 1
                if is_filtered and not self._is_shown(handle, parent, entry.name):
                    continue
                if listing.is_doubtful(entry):
                    if not buffer.is_empty:
                        return  # one call to the workspace for each call of the kernel
                    found = await self._resolve(viewer, parent, entry)
                    if found is None:
                        continue
                    entry, left = found
                node = self._inodes.find(parent, entry)
                if not buffer.offer(node, self._attributes_of(node, left), first_place + position):
                    return
            if listing.is_complete:
                return
            if not buffer.is_empty:
                # What there is goes out now; the next page is on its way when the kernel comes back.
                self._metadata.listings.extend_ahead(viewer, listing)
                return
            await self._metadata.listings.extend(viewer, listing)

    def _is_shown(self, handle: OpenFolder, parent: Node, name: str) -> bool:
        """Whether the filter has it; a control file hides a file of its name in a volume that is the root."""
        if parent.kind is Kind.ROOT and any(name == taken for taken, _ in handle.names):
            return False
        return parent.path.in_volume or self._visibility.shows(parent.path.child(name))

    async def _resolve(self, viewer: Viewer, parent: Node, entry: Entry) -> tuple[Entry, float] | None:
        """A doubtful entry as it is now, and for how long; None when it was deleted since it was listed."""
        path = parent.path.child(entry.name)
        try:
            known = await self._metadata.resolve_entry(viewer, path)
        except NotFound:
            return None
        assert known.entry is not None  # resolve raises NotFound instead
        return known.entry, self._gate.get_kernel_seconds(viewer, path, self._metadata.freshness_left(known))

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
