"""A file that appears under its name when it is whole, and not before.

The difficulty: a file that is written under another name and renamed takes two entries in folders, and where that other
name is in one folder for all, writers queue for it: ext4 looks for a free inode under that folder's lock, past every
inode of the last minutes' deleted files, and 512 chunks cost three threads 0.8 s of processor instead of 0.3. So
the file has no name while it is written (``O_TMPFILE``), which also leaves nothing behind when the process is killed.
Where the file system cannot do that, or ``/proc`` is not there to give it its name, it is written under a temporary one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from fuse4dbricks.chunks.files import write_new_file, write_parts

#: What the kernel says where a file cannot do without a name: the file system, an old kernel, ``open``'s own check.
_NEEDS_A_NAME = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})
#: What it says where such a file cannot be given one: no ``/proc``, or a filter of system calls.
_STAYS_UNNAMED = frozenset({errno.ENOENT, errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EXDEV})


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a new file goes.

    Attributes:
        name: in the folder ``dir_fd``.
        dir_fd: on the file system of ``temporary_fd``.
        temporary: a name that nobody else uses, in the folder ``temporary_fd``.
        temporary_fd: where it is, if it needs one; removed again, whatever happens.
        birth_fd: the folder near which it is to lie on the disk; on that file system, too.
    """

    name: str
    dir_fd: int
    temporary: str
    temporary_fd: int
    birth_fd: int


class Placer:
    """Puts new files in their places, in place of older ones. For any thread.

    Args:
        is_able: whether to try without a name at all.
    """

    def __init__(self, *, is_able: bool = True) -> None:
        self._is_able = is_able

    def place(self, spot: Spot, parts: Sequence[bytes | memoryview]) -> None:
        """``parts`` one after the other as the file (0600) of a ``spot``, or no change at all.

        Raises:
            OSError: a folder is in its place, or the disk does not take it all.
        """
        try:
            if not (self._is_able and self._place_unnamed(spot, parts)):
                write_new_file(spot.temporary, spot.temporary_fd, parts)
                os.rename(spot.temporary, spot.name, src_dir_fd=spot.temporary_fd, dst_dir_fd=spot.dir_fd)
        except BaseException:  # raised on: only the temporary name must not stay
            with suppress(OSError):
                os.unlink(spot.temporary, dir_fd=spot.temporary_fd)
            raise

    def _place_unnamed(self, spot: Spot, parts: Sequence[bytes | memoryview]) -> bool:
        """False: it cannot be done here, now or later."""
        try:
            fd = os.open(".", os.O_WRONLY | os.O_CLOEXEC | os.O_TMPFILE, 0o600, dir_fd=spot.birth_fd)
        except OSError as error:
            if error.errno not in _NEEDS_A_NAME:
                raise
            self._is_able = False
            return False
        try:
            write_parts(fd, parts)
            _name(fd, spot)
        except OSError as error:
            if error.errno not in _STAYS_UNNAMED:
                raise
            self._is_able = False
            with suppress(FileNotFoundError):
                os.unlink(spot.temporary, dir_fd=spot.temporary_fd)
        finally:
            os.close(fd)
        return self._is_able


def _name(fd: int, spot: Spot) -> None:
    unnamed = f"/proc/self/fd/{fd}"
    try:
        os.link(unnamed, spot.name, dst_dir_fd=spot.dir_fd, follow_symlinks=True)
    except FileExistsError:
        # Only a rename replaces what is there.
        os.link(unnamed, spot.temporary, dst_dir_fd=spot.temporary_fd, follow_symlinks=True)
        os.rename(spot.temporary, spot.name, src_dir_fd=spot.temporary_fd, dst_dir_fd=spot.dir_fd)
