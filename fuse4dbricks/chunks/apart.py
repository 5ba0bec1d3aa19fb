"""Folders that lie apart from each other on the disk.

The difficulty: ext4 makes a file near its folder, and leaves alone the inodes of files that were deleted in the last one to
five minutes. Each new file steps over all of them that are there, at 15 ns each: a cache that is full, and deletes a chunk
for each that it stores, steps over tens of thousands, and one beside a large tree that was just removed took 2 ms of
processor for each chunk (312 MiB/s of a cold file instead of 463). Folders that ext4 is told to treat as those at the top
of a disk (``chattr +T``) it puts where there is room, far from each other; so new files are made in a few of these, in turn.
"""

from __future__ import annotations

import fcntl
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: linux/fs.h: FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_TOPDIR_FL. The numbers of the calls are these where they are numbered
#: as usual; the flags are an int, whatever the names say.
_GET, _SET, _TOP = 0x80086601, 0x40086602, 0x00020000
_MACHINES = frozenset({"x86_64", "aarch64", "s390x", "riscv64"})
_FLAGS = struct.Struct("i4x")


@contextmanager
def apart(folder_fd: int) -> Iterator[None]:
    """Folders that are made in ``folder_fd`` while the block runs lie apart, where the file system knows how."""
    before = _get_flags(folder_fd)
    if before is None or not _set_flags(folder_fd, before | _TOP):
        yield
        return
    try:
        yield
    finally:
        _set_flags(folder_fd, before)


def _get_flags(fd: int) -> int | None:
    if platform.machine() not in _MACHINES:
        return None
    with suppress(OSError):
        flags: int = _FLAGS.unpack(fcntl.ioctl(fd, _GET, bytes(_FLAGS.size)))[0]
        return flags
    return None


def _set_flags(fd: int, flags: int) -> bool:
    with suppress(OSError):
        fcntl.ioctl(fd, _SET, _FLAGS.pack(flags))
        return True
    return False
