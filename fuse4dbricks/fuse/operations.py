"""The kernel's requests, decoded and passed on.

Each handler is a line or two: what an operation means is in ``vfs/``, what goes wrong with it in ``errnos.py``,
and how long it may take in ``guard.py``.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any, NoReturn

import pyfuse3
import trio
from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT, ModeT, RequestContext, XAttrNameT

from fuse4dbricks.errors import ReadOnly
from fuse4dbricks.fuse.guard import DEADLINE_SECONDS, guarded, guarded_unless, prompt, silenced
from fuse4dbricks.paths import NAME_MAX
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.vfs.attributes import PREFERRED_IO_BYTES, Attributes
from fuse4dbricks.vfs.filesystem import Filesystem
from fuse4dbricks.vfs.handles import Opened

#: The service has no quota and tells no free space: a petabyte, all of it free, so that no monitor of full
#: disks is alarmed by a mount that nobody can fill.
_STATFS_BLOCK = 4096
_STATFS_BLOCKS = (1 << 50) // _STATFS_BLOCK
_STATFS_FILES = 1 << 32

#: Attributes of file systems that have ACLs and labels, such as ``system.posix_acl_access`` and ``security.selinux``.
_NOT_HERE = (b"system.", b"security.")


def _refuse(*_: object) -> NoReturn:
    raise ReadOnly("the mount is read-only")


def entry_of(attributes: Attributes) -> pyfuse3.EntryAttributes:
    """In pyfuse3's form. Timeouts are always set: its own default of 300 s would serve strangers."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = InodeT(attributes.ino)
    entry.entry_timeout = attributes.entry_timeout
    entry.attr_timeout = attributes.attr_timeout
    if attributes.ino:
        entry.st_mode = ModeT(attributes.mode)
        entry.st_nlink = attributes.nlink
        entry.st_uid = attributes.uid
        entry.st_gid = attributes.gid
        entry.st_size = attributes.size
        entry.st_blksize = PREFERRED_IO_BYTES
        entry.st_blocks = (attributes.size + 511) // 512
        mtime = int(attributes.mtime * 1_000_000_000)
        entry.st_atime_ns = entry.st_ctime_ns = entry.st_mtime_ns = mtime
    return entry


def _file_of(opened: Opened) -> pyfuse3.FileInfo:
    return pyfuse3.FileInfo(
        fh=FileHandleT(opened.number), direct_io=opened.direct_io, keep_cache=opened.keep_cache
    )


class Operations(pyfuse3.Operations):
    """The handlers, over one :class:`~fuse4dbricks.vfs.filesystem.Filesystem`."""

    supports_dot_lookup = False
    enable_writeback_cache = False
    enable_acl = False

    def __init__(
        self, filesystem: Filesystem, metrics: Metrics, *, deadline: float = DEADLINE_SECONDS
    ) -> None:
        super().__init__()
        self.filesystem = filesystem
        self.metrics = metrics
        self.deadline = deadline
        #: Set when the kernel has introduced itself; its answers to that overwrite what was tuned before.
        self.introduced = trio.Event()

    def init(self) -> None:
        """The kernel's first request is about to be answered."""
        self.introduced.set()

    # --- names and attributes

    @guarded
    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        return entry_of(await self.filesystem.lookup(ctx.uid, parent_inode, name))

    @silenced
    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        self.filesystem.forget(inode_list)

    @guarded
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        return entry_of(await self.filesystem.getattr(ctx.uid, inode))

    @guarded
    async def setattr(
        self,
        inode: InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> pyfuse3.EntryAttributes:
        if fields.update_mode or fields.update_uid or fields.update_gid or not fields.update_size:
            _refuse()
        return entry_of(self.filesystem.truncate(inode))

    @guarded
    async def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        await self.filesystem.check_access(ctx.uid, inode, mode)
        return True

    @prompt
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        reply = pyfuse3.StatvfsData()
        reply.f_bsize = reply.f_frsize = _STATFS_BLOCK
        reply.f_blocks = reply.f_bfree = reply.f_bavail = _STATFS_BLOCKS
        reply.f_files = reply.f_ffree = reply.f_favail = _STATFS_FILES
        reply.f_namemax = NAME_MAX
        return reply

    @guarded
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        if name.startswith(_NOT_HERE):
            # ENODATA would be as true, but then ``ls -l`` asks twice for each file: 2 s for 10,000 of them.
            raise pyfuse3.FUSEError(errno.ENOTSUP)
        return await self.filesystem.getxattr(ctx.uid, inode, name)

    @guarded
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        return [XAttrNameT(name) for name in await self.filesystem.listxattr(ctx.uid, inode)]

    # --- folders

    @guarded
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        return FileHandleT(await self.filesystem.opendir(ctx.uid, inode))

    @guarded
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        def reply(name: bytes, attributes: Attributes, next_id: int) -> bool:
            return pyfuse3.readdir_reply(token, FileNameT(name), entry_of(attributes), next_id)

        await self.filesystem.readdir(fh, start_id, reply)

    @prompt
    async def releasedir(self, fh: FileHandleT) -> None:
        self.filesystem.releasedir(fh)

    @prompt
    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        """Nothing is ever dirty."""

    # --- files

    def _open_at_once(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> pyfuse3.FileInfo | None:
        opened = self.filesystem.get_opened(ctx.uid, inode, flags)
        return None if opened is None else _file_of(opened)

    @guarded_unless(_open_at_once)
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> pyfuse3.FileInfo:
        return _file_of(await self.filesystem.open(ctx.uid, inode, flags))

    def _read_at_once(self, fh: FileHandleT, off: int, size: int) -> Any:
        return self.filesystem.get_bytes(fh, off, size)

    @guarded_unless(_read_at_once)
    async def read(self, fh: FileHandleT, off: int, size: int) -> Any:
        return await self.filesystem.read(fh, off, size)

    @prompt
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        return self.filesystem.write(fh, off, buf)

    @prompt
    async def flush(self, fh: FileHandleT) -> None:
        """Nothing is ever dirty: what is written to a control file counts when it is written.

        Upon this answer the kernel sends no more of them, which was a third of open, read and close of a small file.
        """
        raise pyfuse3.FUSEError(errno.ENOSYS)

    @prompt
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        """Nothing is ever dirty."""

    @prompt
    async def release(self, fh: FileHandleT) -> None:
        self.filesystem.release(fh)

    # --- changes

    @guarded
    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> Any:
        _refuse()

    @guarded
    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> Any:
        _refuse()

    @guarded
    async def mkdir(self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext) -> Any:
        _refuse()

    @guarded
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        _refuse()

    @guarded
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        _refuse()

    @guarded
    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> Any:
        _refuse()

    @guarded
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        _refuse()

    @guarded
    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> Any:
        _refuse()

    @guarded
    async def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext) -> None:
        _refuse()

    @guarded
    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        _refuse()
