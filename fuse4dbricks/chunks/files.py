"""Where a chunk's file is, and the system calls on it, with short transfers and foreign things in mind.

The difficulty: between two calls the folder may be removed, remounted read-only or filled with links, FIFOs and
folders in the place of files. Each operation walks from the folder's descriptor anew, follows no link, waits
for no FIFO, and tells a bad chunk (:class:`ChunkUnusable`) from a bad disk (:class:`CacheError`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fuse4dbricks.chunks.descriptors import Stamp, stamp_of
from fuse4dbricks.chunks.label import ChunkName
from fuse4dbricks.chunks.layout import CHUNKS
from fuse4dbricks.chunks.safety import opened_folder
from fuse4dbricks.errors import CacheError, ChunkUnusable

# O_NONBLOCK: a FIFO put in a chunk's place would otherwise block the open for ever.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: For reading in the loop: to note the time of a read takes a place in the file system's journal, and the first read of
#: each chunk would wait for that, whatever ``RWF_NOWAIT`` says. Allowed to the file's owner.
READ_UNNOTED = READ | os.O_NOATIME

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

#: What says that the chunk is missing or that something else stands in its place; not that the disk is ill.
NOT_A_CHUNK = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO})


def file_name(name: ChunkName) -> str:
    """Of the chunk, inside its shard."""
    return f"{name.hex()}.chunk"


def file_path(name: ChunkName) -> str:
    """Of the chunk, inside the cache folder."""
    return f"{CHUNKS}/{shard_name(name)}/{file_name(name)}"


def shard_name(name: ChunkName) -> str:
    """Of the folder that the chunk's file is in, inside the folder of all of them."""
    return name[:1].hex()


@contextmanager
def opened_shard(dir_fd: int, name: ChunkName) -> Iterator[int]:
    """A descriptor of the folder that the chunk's file is in."""
    with opened_folder(dir_fd, CHUNKS, shard_name(name)) as fd:
        yield fd


@contextmanager
def explained(what: str, name: ChunkName | None, bad_chunk: frozenset[int] = NOT_A_CHUNK) -> Iterator[None]:
    """Turn an ``OSError`` into what it says about the chunk, or where it is about none, about the disk.

    Raises:
        ChunkUnusable: for the error numbers in ``bad_chunk``.
        CacheError: for all others.
    """
    try:
        yield
    except OSError as error:
        kind = ChunkUnusable if error.errno in bad_chunk else CacheError
        which = "chunks" if name is None else f"chunk {name.hex()}"
        raise kind(f"cannot {what} {which}: {error.strerror or error}") from error


def open_chunk(dir_fd: int, name: ChunkName) -> int:
    """A read descriptor of the chunk's file.

    Raises:
        OSError: missing, a link, unreadable.
    """
    with opened_shard(dir_fd, name) as shard:
        try:
            return os.open(file_name(name), READ_UNNOTED, dir_fd=shard)
        except PermissionError:  # another user's, whose bytes are as good
            return os.open(file_name(name), READ, dir_fd=shard)


def stamp_of_regular(fd: int) -> Stamp:
    """The stamp of an open file.

    Raises:
        ChunkUnusable: it is a folder, a FIFO, a device.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ChunkUnusable("something that is not a file stands in the chunk's place")
    return stamp_of(status)


def read_exactly(fd: int, offset: int, length: int) -> bytes:
    """``length`` bytes at ``offset``.

    Raises:
        ChunkUnusable: the file is shorter.
        OSError: the disk failed.
    """
    content = os.pread(fd, length, offset)
    while len(content) < length:
        more = os.pread(fd, length - len(content), offset + len(content))
        if not more:
            raise ChunkUnusable(f"the file ends {length - len(content)} bytes early")
        content += more
    return content


def write_new_file(name: str, dir_fd: int, parts: Sequence[bytes | memoryview]) -> None:
    """Create ``name`` (0600) with ``parts`` one after the other.

    Raises:
        OSError: it exists, or the disk does not take it all.
    """
    fd = os.open(name, _CREATE, 0o600, dir_fd=dir_fd)
    try:
        write_parts(fd, parts)
    finally:
        os.close(fd)


def write_parts(fd: int, parts: Sequence[bytes | memoryview]) -> None:
    """Write ``parts`` one after the other.

    Raises:
        OSError: the disk does not take it all.
    """
    left = [memoryview(part).cast("B") for part in parts]
    while left:
        written = os.writev(fd, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if left:
            left[0] = left[0][written:]
