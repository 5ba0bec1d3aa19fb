"""The file system, without FUSE: what each operation means for one local user.

The difficulties, and who solves them here:

* Everything shown is shown to *somebody*. Each operation names the local user and gets what is cached through
  the gate only (``vfs/gate.py``), which wants a proof of his grant first.
* Handles are pinned: an inode is one version of a file (``vfs/inodes.py``), and ``open`` of an inode whose file
  has moved on raises :class:`~fuse4dbricks.errors.VersionChanged`, upon which the kernel looks the name up anew.
* The kernel's caches are common to all local users, so on a shared mount names get no timeout: each step of each
  path walk asks again, from an inherited or held folder, too, whose walk passes by no volume. The attributes of a
  file's inode keep theirs (they never change, and each ``read`` of cached pages would ask for them).
* What the kernel holds of open files is taken back when a right is lost (``vfs/recalls.py``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from functools import partial

from fuse4dbricks.access import Access
from fuse4dbricks.cache.ahead.ahead import NOTHING_AHEAD, Ahead
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.freshness import Known
from fuse4dbricks.cache.holdings import Holdings
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.entry import Kind
from fuse4dbricks.errors import (
    AccessDenied,
    EmptyVolume,
    InvalidToken,
    IsADirectory,
    NoAttribute,
    NotADirectory,
    NotFound,
    ReadOnly,
    RemoteError,
    VersionChanged,
)
from fuse4dbricks.paths import RemotePath, name_from_kernel
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.vfs.attributes import Attributes, Look
from fuse4dbricks.vfs.content import Content
from fuse4dbricks.vfs.control.asking import AskingHandle, Questions
from fuse4dbricks.vfs.control.desk import Desk
from fuse4dbricks.vfs.control.tree import AUTH_INO, WRITABLE, ControlTree
from fuse4dbricks.vfs.control.writing import WritingHandle
from fuse4dbricks.vfs.explaining.explainer import Explainer, Inquiry
from fuse4dbricks.vfs.folders import FolderReader
from fuse4dbricks.vfs.gate import Gate
from fuse4dbricks.vfs.handles import Buffer, HandleTable, Opened, OpenFile, OpenFolder, OpenText
from fuse4dbricks.vfs.inodes import InodeTable, Node
from fuse4dbricks.vfs.recalls import Recalls
from fuse4dbricks.vfs.renewed import renewed, renewed_for_handle
from fuse4dbricks.vfs.xattrs import ExtendedAttributes

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC


class Filesystem:
    """All operations. Raises the tree of ``errors.py``; knows no errno."""

    def __init__(
        self,
        *,
        access: Access,
        metadata: MetadataCache,
        content: Content,
        holdings: Holdings,
        inquiry: Inquiry,
        connectivity: Connectivity,
        desk: Desk,
        look: Look,
        ahead: Ahead = NOTHING_AHEAD,
    ) -> None:
        self.inodes = InodeTable(look.root)
        self.handles = HandleTable()
        self._access = access
        self._metadata = metadata
        self._content = content
        self._gate = Gate(access, metadata, connectivity, is_shared=look.is_shared)
        self.recalls = Recalls(self.handles, self.inodes, self._gate)
        self._look = look
        self.ahead = ahead
        self._xattrs = ExtendedAttributes(metadata, holdings, is_listed=look.lists_xattrs)
        explainer = Explainer(
            gate=self._gate,
            metadata=metadata,
            holdings=holdings,
            inquiry=inquiry,
            connectivity=connectivity,
            desk=desk,
            look=look,
        )
        self.control = ControlTree(look, desk, Questions(explainer.answer, explainer.refuse))
        self._folders = FolderReader(
            metadata, self.inodes, look.visibility, self._gate, self._attributes, self.control.get_attributes
        )

    # --- names and attributes --------------------------------------------------------------------

    @renewed
    async def lookup(self, uid: int, parent_ino: int, raw_name: bytes) -> Attributes:
        """Resolve a name in a folder; the kernel then holds one more reference to what is returned.

        Returns:
            Attributes, with number 0 when the name is absent and the kernel may remember that.
        """
        name = name_from_kernel(raw_name)
        control = self.control.find(parent_ino, name)
        if control is not None:
            return self.control.get_attributes(control)
        if self.control.is_control(parent_ino):
            raise NotFound(f"no {name}")
        parent = self._folder(parent_ino)
        path = parent.path.child(name)
        if not self._look.visibility.shows(path):
            raise NotFound(f"{path} is not shown by this mount")
        viewer = await self._gate.resolve_viewer(uid)
        self._note_told(viewer)
        try:
            known = await self._gate.resolve_entry(viewer, path)
        except NotFound:
            return self._absent(viewer, path)
        assert known.entry is not None  # resolve raises NotFound instead
        node = self.inodes.find(parent, known.entry)
        node.lookups += 1
        left = self._metadata.freshness_left(known)
        return self._attributes(node, self._gate.get_kernel_seconds(viewer, node.path, left))

    def _absent(self, viewer: Viewer, path: RemotePath) -> Attributes:
        """A negative dentry where the kernel may keep one: it would serve every local user alike."""
        known = None if self._look.is_shared else self._metadata.get_entry(viewer, path)
        if known is None or known.entry is not None:
            raise NotFound(f"no {path}")
        left = self._metadata.freshness_left(known)
        if path.in_volume:
            left = self._gate.get_listed_seconds(viewer, path.parent, left)
        return Attributes(0, entry_timeout=left)

    def forget(self, references: Iterable[tuple[int, int]]) -> None:
        """The kernel drops references: (inode number, how many)."""
        for ino, count in references:
            self.inodes.forget(ino, count)

    @renewed
    async def getattr(self, uid: int, ino: int) -> Attributes:
        """What ``stat`` shows of an inode that the kernel holds."""
        if self.control.is_control(ino):
            return self.control.get_attributes(ino)
        node = self.inodes.get(ino)
        if node.kind is Kind.ROOT:
            return self._attributes(node, 0.0)
        path = node.path
        viewer = await self._gate.resolve_viewer(uid)
        self._note_told(viewer)
        await self._gate.admit_to_itself(viewer, path)
        known = self._metadata.get_entry(viewer, path)
        if known is None and self._look.is_shared and not path.in_volume:
            known = await self._metadata.resolve_entry(viewer, path)
        is_current = known is not None and known.entry is not None and known.entry.version == node.version
        left = self._metadata.freshness_left(known) if known is not None and is_current else 0.0
        return self._attributes(node, self._gate.get_kernel_seconds(viewer, path, left))

    @renewed
    async def check_access(self, uid: int, ino: int, mode: int) -> None:
        """``access(2)``: returns when allowed.

        Raises:
            ReadOnly: writing was asked for.
            AccessDenied: execution of a file was asked for.
        """
        if self.control.is_control(ino):
            self.control.check_access(ino, mode)
            return
        node = self.inodes.get(ino)
        if node.kind is not Kind.ROOT:
            await self._gate.admit_to_itself(await self._gate.resolve_viewer(uid), node.path)
        if mode & os.W_OK:
            raise ReadOnly("the mount is read-only")
        if mode & os.X_OK and not node.kind.is_directory and not self._look.file_mode & 0o111:
            raise AccessDenied(f"{node.name} is not a program")

    def truncate(self, ino: int) -> Attributes:
        """Set the size to zero, as ``>`` does first: allowed on control files that take something."""
        if ino not in WRITABLE:
            raise ReadOnly("the mount is read-only")
        return self.control.get_attributes(ino)

    async def getxattr(self, uid: int, ino: int, name: bytes) -> bytes:
        """The value of an extended attribute; files have those of ``vfs/xattrs.py``.

        Raises:
            NoAttribute: there is none of that name.
        """
        await self.check_access(uid, ino, os.F_OK)
        if self.control.is_control(ino) or self.inodes.get(ino).kind.is_directory:
            raise NoAttribute(name.decode("utf-8", "replace"))
        return await self._xattrs.get(await self._gate.resolve_viewer(uid), self.inodes.get(ino), name)

    async def listxattr(self, uid: int, ino: int) -> list[bytes]:
        """The names of extended attributes; never a refusal for want of any, which upsets ``cp -a`` and ``rsync -X``."""
        await self.check_access(uid, ino, os.F_OK)
        if self.control.is_control(ino) or self.inodes.get(ino).kind.is_directory:
            return []
        return self._xattrs.list(await self._gate.resolve_viewer(uid), self.inodes.get(ino))

    # --- folders ---------------------------------------------------------------------------------

    @renewed
    async def opendir(self, uid: int, ino: int) -> int:
        """Open a folder for reading; returns the handle."""
        if ino == AUTH_INO:
            names = self.control.children(ino, has_token=await self._gate.has_token(uid))
            return self.handles.add(OpenFolder(uid, ino, None, None, names))
        node = self._folder(ino)
        names = self.control.children(ino, has_token=True)
        if node.kind is Kind.ROOT and not await self._gate.has_token(uid):
            return self.handles.add(OpenFolder(uid, ino, None, None, names))
        viewer = await self._gate.resolve_viewer(uid)
        try:
            listing = await self._gate.open_listing(viewer, node.path)
        except InvalidToken:
            if node.kind is not Kind.ROOT or await self.has_other_token(uid):
                raise
            return self.handles.add(OpenFolder(uid, ino, None, None, names))
        node.holds += 1
        self.ahead.folder_opened(viewer, node.path)
        return self.handles.add(OpenFolder(uid, ino, node, listing, names))

    @renewed_for_handle
    async def readdir(self, number: int, start: int, reply: Callable[[bytes, Attributes, int], bool]) -> None:
        """Report entries from offset ``start`` on until ``reply`` declines one.

        Each remote entry that ``reply`` accepts is one more reference held by the kernel.
        """
        handle = self.handles.expect(number, OpenFolder)
        if handle.node is None or handle.listing is None:
            self._folders.report_control(handle, start, reply)
            return
        viewer = await self._gate.resolve_viewer(handle.uid)
        self._note_told(viewer)
        path = handle.node.path
        try:
            await self._gate.admit(viewer, path)
        except EmptyVolume:
            if path != path.volume:
                raise
            handle.listing = self._gate.empty_listing(path)  # the one it had is others', too
        if start == 0 and not (path.in_volume and self._metadata.listings.is_fresh(handle.listing)):
            handle.listing = await self._gate.open_listing(viewer, path)
        await self._folders.report(viewer, handle, start, reply)

    def releasedir(self, number: int) -> None:
        """Close a folder."""
        handle = self.handles.remove(number)
        if isinstance(handle, OpenFolder) and handle.node is not None:
            handle.node.holds -= 1
            self.inodes.settle(handle.node)

    # --- files -----------------------------------------------------------------------------------

    @renewed
    async def open(self, uid: int, ino: int, flags: int) -> Opened:
        """Open a file for reading, or a control file for writing.

        Raises:
            ReadOnly: for writing.
            VersionChanged: the inode is of a version that is gone.
        """
        if self.control.is_control(ino):
            opened = await self.control.open(uid, ino, flags)
            if isinstance(opened, WritingHandle | AskingHandle):
                return Opened(self.handles.add(opened), direct_io=True)
            number = self.handles.add(OpenText(opened.content))
            return Opened(number, keep_cache=opened.is_fixed, direct_io=not opened.is_fixed)
        node = self.inodes.get(ino)
        if node.kind.is_directory:
            raise IsADirectory(node.name)
        if flags & _WRITING:
            raise ReadOnly("the mount is read-only")
        viewer = await self._gate.resolve_viewer(uid)
        path = node.path
        await self._gate.admit(viewer, path)
        known = self._metadata.get_entry(viewer, path) or await self._metadata.resolve_entry(viewer, path)
        return self._open(viewer, node, path, known)

    def get_opened(self, uid: int, ino: int, flags: int) -> Opened | None:
        """What :meth:`open` returns, where that has nothing to wait for and nothing to refuse; None: ask it."""
        node = self.inodes.get_known(ino)
        if node is None or node.kind is not Kind.FILE or flags & _WRITING:
            return None
        viewer = self._gate.get_viewer(uid)
        path = node.path
        if viewer is None or not self._gate.has_proof(viewer, path):
            return None
        known = self._metadata.get_entry(viewer, path)
        return None if known is None else self._open(viewer, node, path, known)

    def _open(self, viewer: Viewer, node: Node, path: RemotePath, known: Known) -> Opened:
        """A handle for somebody who was let in and whose file is known."""
        if known.entry is None:
            raise NotFound(f"no {path}")
        uid = viewer.uid
        version = known.entry.version
        if version is None or node.version is None or not version.same_bytes_as(node.version):
            raise VersionChanged(f"{path} has changed")
        self._xattrs.note_change()
        reader = self._content.open(lambda: self._gate.resolve_reading_viewer(uid, path), path, version)
        node.holds += 1
        self.recalls.note_opened()
        self.ahead.file_opened(viewer, path, version, partial(self._gate.resolve_reading_viewer, uid))
        # The inode is the version, so whatever pages the kernel has of it are right; unless the file is so young
        # that it may have changed without a trace since the inode was found: then they are read again.
        return Opened(self.handles.add(OpenFile(uid, node, path, reader)), keep_cache=version == node.version)

    def get_bytes(self, number: int, offset: int, length: int) -> Buffer | None:
        """What :meth:`read` would return, where that needs neither a wait nor a question; else None."""
        handle = self.handles.get(number)
        if not isinstance(handle, OpenFile):
            return None
        viewer = self._gate.get_viewer(handle.uid)
        if viewer is None or not self._gate.has_proof(viewer, handle.path):
            return None
        return self._get_ready(handle, offset, length)

    def _get_ready(self, handle: OpenFile, offset: int, length: int) -> Buffer | None:
        """What the reader has now, for somebody who may have it."""
        self.ahead.bytes_asked()
        ready = handle.reader.get(offset, length)
        if ready is not None:
            self.recalls.note_read(handle.node)
        return ready

    @renewed_for_handle
    async def read(self, number: int, offset: int, length: int) -> Buffer:
        """Bytes of the handle's version; short only at its end.

        Raises:
            VersionChanged: they cannot be had any more.
            RemoteError: the workspace refused, failed or stayed silent.
        """
        handle = self.handles.get(number)
        if isinstance(handle, OpenText):
            return handle.content[offset : offset + length]
        if isinstance(handle, WritingHandle):
            return handle.answer[offset : offset + length]
        if isinstance(handle, AskingHandle):
            return await handle.read(offset, length)
        handle = self.handles.expect(number, OpenFile)
        viewer = await self._gate.resolve_viewer(handle.uid)
        await self._gate.admit(viewer, handle.path)
        ready = self._get_ready(handle, offset, length)
        if ready is not None:
            return ready
        try:
            found = await handle.wait_for(offset, length)
            self._xattrs.note_change()
        except (VersionChanged, NotFound) as error:
            self._metadata.mark_stale(handle.path, handle.reader.version)
            raise VersionChanged(str(error), request_id=error.request_id) from error
        except RemoteError as error:
            self._access.note_error(viewer, handle.path, error)
            raise
        # He may have waited for somebody else's bytes, and lost the right to them meanwhile.
        await self._gate.check_holder(handle.uid, handle.path)
        self.recalls.note_read(handle.node)
        return found

    def write(self, number: int, offset: int, content: bytes) -> int:
        """Write to a control file, where it is checked and counts at once; returns the bytes taken."""
        handle = self.handles.get(number)
        if isinstance(handle, AskingHandle):
            return handle.write(offset, content)
        handle = self.handles.expect(number, WritingHandle)
        taken = handle.write(offset, content)
        if handle.ends_line:  # of half a token nobody is told before somebody asks
            self.recalls.look_now()
        return taken

    def release(self, number: int) -> None:
        """The last descriptor of the handle is closed."""
        handle = self.handles.remove(number)
        if isinstance(handle, OpenFile):
            self.recalls.note_released(handle)
            handle.node.holds -= 1
            self.inodes.settle(handle.node)
            handle.reader.close()
        elif isinstance(handle, WritingHandle):
            self.recalls.look_now()
            handle.end()

    # --- who and how -----------------------------------------------------------------------------

    async def has_other_token(self, uid: int) -> bool:
        """Whether ``uid`` has a token that was not refused; each source may renew once."""
        return await self._gate.has_other_token(uid)

    def uid_of(self, number: int) -> int | None:
        """Who opened the file or folder of a handle."""
        handle = self.handles.get(number)
        return handle.uid if isinstance(handle, OpenFile | OpenFolder) else None

    def _note_told(self, viewer: Viewer) -> None:
        """He is told of names, or what they stand for; where he is the only one, the kernel keeps them."""
        if not self._look.is_shared:
            self.recalls.note_user(viewer.uid, viewer.token)

    def _folder(self, ino: int) -> Node:
        if self.control.is_control(ino):
            raise NotADirectory("a control file")
        node = self.inodes.get(ino)
        if not node.kind.is_directory:
            raise NotADirectory(node.name)
        return node

    def _attributes(self, node: Node, seconds_left: float) -> Attributes:
        is_file = node.kind is Kind.FILE
        is_shared = self._look.is_shared
        return Attributes(
            node.ino,
            mode=stat.S_IFREG | self._look.file_mode if is_file else stat.S_IFDIR | self._look.dir_mode,
            size=node.version.size if node.version is not None else 0,
            mtime=self._mtime(node),
            uid=self._look.uid,
            gid=self._look.gid,
            entry_timeout=0.0 if is_shared else seconds_left,
            attr_timeout=0.0 if node.bars or (is_shared and not is_file) else seconds_left,
        )

    def _mtime(self, node: Node) -> float:
        """The service has times for files and securables; a folder shows that of what it lies in."""
        if node.version is not None:
            return float(node.version.last_modified or 0)
        at: Node | None = node
        while at is not None:
            if at.mtime is not None:
                return at.mtime
            at = at.parent
        return self._look.mounted_at
