"""A cache folder seen from outside, while a mount works in it or none does.

The difficulty: to look must change nothing: not the lock, which a mount that starts just then would find taken, and
not who may look, which is the folder's own mode: its owner and root. So the lock's holder is read from the kernel's
table of locks, and the folder need not be ours, only a cache folder that this program knows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fuse4dbricks.chunks.admission import advice_on, check_marker
from fuse4dbricks.chunks.folder import CacheFolder
from fuse4dbricks.chunks.layout import LOCK, MARKER
from fuse4dbricks.chunks.safety import DIRECTORY, UnsafeError, entries
from fuse4dbricks.errors import CacheError, CacheFolderError

LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class FolderSight:
    """What a cache folder looks like.

    Attributes:
        path: where it is.
        index_path: its index, which may be missing.
        holder: process number of the mount that uses it; None: nobody does, as far as this process may see.
        index_bytes: what the index with its log takes on the disk.
        other_bytes: what all else but the chunk files takes.
        free_bytes, total_bytes: of its disk.
    """

    path: Path
    index_path: Path
    holder: int | None
    index_bytes: int
    other_bytes: int
    free_bytes: int
    total_bytes: int


def look_at(path: Path) -> FolderSight:
    """Look at the cache folder at ``path``.

    Raises:
        CacheFolderError: there is none, it is not ours or newer than this program, or it cannot be read.
    """
    given = Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow the last link
    real = Path(os.path.realpath(given.parent)) / given.name
    try:
        fd = os.open(real, DIRECTORY)
    except OSError as error:
        raise CacheFolderError(f"cannot use the cache folder {given}: {advice_on(error)}") from error
    with CacheFolder(real, fd, lock_fd=None) as folder:
        try:
            _check(folder.fd)
            free, total = folder.free_bytes()
            return FolderSight(
                path=real,
                index_path=folder.index_path,
                holder=_find_holder(folder.fd),
                index_bytes=folder.index_bytes(),
                other_bytes=folder.overhead_bytes(),
                free_bytes=free,
                total_bytes=total,
            )
        except UnsafeError as error:
            raise CacheFolderError(f"cannot use the cache folder {given}: {error}") from error
        except OSError as error:
            raise CacheFolderError(f"cannot use the cache folder {given}: {advice_on(error)}") from error
        except CacheError as error:
            raise CacheFolderError(f"cannot use the cache folder {given}: {error}") from error


def _check(fd: int) -> None:
    names = sorted(entries(fd))
    if MARKER not in names:
        what = f"it holds {names[0]!r}" if names else "it is empty"
        raise UnsafeError(f"it is not a cache folder of this program ({what}); a mount makes one")
    check_marker(fd)


def _find_holder(fd: int) -> int | None:
    """The process that holds the flock on the folder's lock file."""
    try:
        inode = os.stat(LOCK, dir_fd=fd, follow_symlinks=False).st_ino
        table = LOCKS.read_text(encoding="ascii")
    except OSError:
        return None
    return parse_holder(table, inode)


def parse_holder(table: str, inode: int) -> int | None:
    """The holder of a whole-file lock by the text of ``/proc/locks``.

    A line is ``1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF``; who waits for the lock has ``->`` in it. The device
    is not looked at: layered file systems show another one there than to ``stat``.
    """
    for line in table.splitlines():
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            holder = int(fields[4])
            return holder if holder > 0 else None
    return None
