"""The least that a file system in Python can do: pyfuse3 over a local folder, nothing else.

``python -m benchmarks.passthrough FOLDER MOUNTPOINT`` serves until it is unmounted or ended. Read-only and
single-user; a ratio to this is a ratio to FUSE and the interpreter.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyfuse3
import trio
from pyfuse3 import FileHandleT, FlagT, InodeT, RequestContext

from fuse4dbricks.fuse.connection import tune


class Passthrough(pyfuse3.Operations):
    """Inodes are numbered as they are seen."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root
        self._paths = {pyfuse3.ROOT_INODE: root}
        self._inodes = {root: pyfuse3.ROOT_INODE}
        self.introduced = trio.Event()

    def init(self) -> None:
        self.introduced.set()

    def _entry(self, path: Path) -> pyfuse3.EntryAttributes:
        found = path.lstat()
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = self._inodes.setdefault(path, InodeT(len(self._inodes) + 1))
        self._paths[entry.st_ino] = path
        entry.st_mode, entry.st_nlink, entry.st_size = found.st_mode, found.st_nlink, found.st_size
        entry.st_atime_ns = entry.st_ctime_ns = entry.st_mtime_ns = found.st_mtime_ns
        entry.entry_timeout = entry.attr_timeout = 30
        return entry

    async def lookup(self, parent_inode: InodeT, name: bytes, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        try:
            return self._entry(self._paths[parent_inode] / os.fsdecode(name))
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or 5) from None

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        return self._entry(self._paths[inode])

    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        return FileHandleT(inode)

    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        folder = self._paths[fh]
        for number, name in enumerate(sorted(os.listdir(folder))[start_id:], start_id + 1):
            if not pyfuse3.readdir_reply(token, os.fsencode(name), self._entry(folder / name), number):
                return

    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> pyfuse3.FileInfo:
        descriptor = os.open(self._paths[inode], os.O_RDONLY)
        return pyfuse3.FileInfo(fh=FileHandleT(descriptor), keep_cache=True)

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        return os.pread(fh, size, off)

    async def release(self, fh: FileHandleT) -> None:
        os.close(fh)


async def _serve(operations: Passthrough, mountpoint: Path) -> None:
    async def tune_once() -> None:
        await operations.introduced.wait()
        tune(mountpoint)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tune_once)
        await pyfuse3.main()


def main() -> None:
    """Mount and serve."""
    root, mountpoint = Path(sys.argv[1]), Path(sys.argv[2])
    operations = Passthrough(root)
    pyfuse3.init(operations, str(mountpoint), {"fsname=passthrough", "ro"})
    try:
        trio.run(_serve, operations, mountpoint)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
