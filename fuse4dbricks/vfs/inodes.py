"""Inode numbers.

The difficulties:

* The kernel caches pages, size and times by inode, and two handles on one inode share those pages. If a changed
  file kept its inode, bytes of two versions could meet in one open handle without a single request to us. So
  **each version of a file is an inode of its own**, as if the file had been replaced by ``rename``; what is known
  of an inode never changes, and pages may be kept for as long as the kernel likes.
* Programs (``tar``, ``rsync``, ``find``) compare numbers between visits and mounts, so a number is derived from
  parent, name and version, not from the order of lookups.
* The kernel tells how many references it has dropped; a node lives until the count is zero and no handle is open.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import xxhash

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import NoSuchName
from fuse4dbricks.paths import ROOT, RemotePath

ROOT_INO = 1
#: Numbers below are for the root and the control files.
FIRST_DERIVED_INO = 1024
#: Some programs read inode numbers as signed.
_INO_MASK = (1 << 63) - 1


class Node:
    """One inode: a place in the tree and, for a file, one version of it.

    Attributes:
        ino: its number.
        parent: the folder it was found in; the root's is None.
        name: in the server's spelling.
        kind, version, mtime: as :class:`~fuse4dbricks.entry.Entry`.
        lookups: references that the kernel holds.
        holds: handles that are open on it, and nodes of its children.
        bars: of those handles, how many belong to users who may not read it any more (see ``recalls.py``).
    """

    __slots__ = ("_path", "bars", "holds", "ino", "kind", "lookups", "mtime", "name", "parent", "version")

    def __init__(self, ino: int, parent: Node | None, entry: Entry, path: RemotePath = ROOT) -> None:
        self.ino = ino
        self.parent = parent
        self.name = entry.name
        self.kind = entry.kind
        self.version = entry.version
        self.mtime = entry.mtime
        self.lookups = 0
        self.holds = 0
        self.bars = 0
        self._path: RemotePath | None = path if parent is None else None

    @property
    def path(self) -> RemotePath:
        """Where it is. Kept for folders only: a million files would hold a million tuples."""
        if self._path is not None:
            return self._path
        assert self.parent is not None  # only the root has none, and its path is set
        path = self.parent.path.child(self.name)
        if self.kind.is_directory:
            self._path = path
        return path

    def shows(self, parent: Node, entry: Entry) -> bool:
        """Whether this is the inode of that entry of that folder."""
        return (
            self.parent is parent
            and self.name == entry.name
            and self.kind is entry.kind
            and self.version == entry.version
        )


def derived_ino(parent_ino: int, entry: Entry) -> int:
    """The number of an entry: the same in every mount, as long as name and version are the same."""
    content = entry.name.encode() + b"\0" + _packed(entry.version)
    number = xxhash.xxh3_64_intdigest(content, seed=parent_ino) & _INO_MASK
    return number if number >= FIRST_DERIVED_INO else number + FIRST_DERIVED_INO


def _packed(version: Version | None) -> bytes:
    if version is None:
        return b""
    last_modified = -1 if version.last_modified is None else version.last_modified
    return (
        struct.pack("<qqq", version.size, last_modified, version.unsettled_at) + (version.etag or "").encode()
    )


class InodeTable:
    """The nodes that the kernel or a handle knows."""

    def __init__(self, root: RemotePath = ROOT) -> None:
        self.root = Node(ROOT_INO, None, Entry("", Kind.ROOT), root)
        self._nodes: dict[int, Node] = {ROOT_INO: self.root}

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self._nodes.values()))

    def get(self, ino: int) -> Node:
        """The node of a number.

        Raises:
            NoSuchName: the kernel asks for one that it has forgotten (or never had).
        """
        try:
            return self._nodes[ino]
        except KeyError:
            raise NoSuchName(f"no inode {ino}") from None

    def get_known(self, ino: int) -> Node | None:
        """The node of a number, if there is one."""
        return self._nodes.get(ino)

    def find(self, parent: Node, entry: Entry) -> Node:
        """The node of an entry, made if need be. It stays only if somebody refers to it (see :meth:`settle`)."""
        ino = derived_ino(parent.ino, entry)
        while (node := self._nodes.get(ino)) is not None:
            if node.shows(parent, entry):
                node.mtime = entry.mtime
                return node
            # Two live nodes with one number: the later one takes the next.
            ino = ino + 1 if ino < _INO_MASK else FIRST_DERIVED_INO
        node = Node(ino, parent, entry)
        self._nodes[ino] = node
        parent.holds += 1  # a child holds its parent, whose path it needs
        return node

    def forget(self, ino: int, count: int) -> None:
        """The kernel drops ``count`` references. Unknown numbers are ignored: it may speak late."""
        node = self._nodes.get(ino)
        if node is not None:
            node.lookups = max(0, node.lookups - count)
            self.settle(node)

    def settle(self, node: Node) -> None:
        """Drop a node, and then its parents, if nobody refers to them any more."""
        while node.parent is not None and not node.lookups and not node.holds:
            if self._nodes.get(node.ino) is not node:
                return
            del self._nodes[node.ino]
            node.parent.holds -= 1
            node = node.parent
