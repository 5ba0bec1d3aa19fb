"""Open chunk files, kept for the next read.

The difficulty: opening costs more than reading 128 KiB, so descriptors are kept; but a descriptor that one thread
closes while another reads from its number, which the kernel has meanwhile given to a third file, returns bytes of
the wrong file without any error. So a descriptor is borrowed, and closed by the last one who gives it back.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from fuse4dbricks.chunks.label import ChunkName

#: A quarter of the usual RLIMIT_NOFILE of 1024; 256 MiB of chunks within reach of the loop.
MAX_OPEN = 256

#: (inode, size, mtime, ctime): changes with every write to the file, and cannot be set back by its owner.
Stamp = tuple[int, int, int, int]


def stamp_of(status: os.stat_result) -> Stamp:
    """What tells that a file is still the one that was verified."""
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(slots=True, eq=False)
class OpenChunk:
    """A chunk file, open for reading.

    Attributes:
        fd: the descriptor.
        stamp: of the file when its bytes were verified, or when it was opened to be.
        length: of the payload; what follows is the trailer.
        unproven: the checksum that its bytes must have; None once they were seen to have it.
        users: who have borrowed it now.
        is_forgotten: no longer in the cache: the last user closes it.
    """

    fd: int
    stamp: Stamp
    length: int
    unproven: int | None = None
    users: int = 0
    is_forgotten: bool = False


class Descriptors:
    """A bounded cache of :class:`OpenChunk`, least recently used first out; for the loop and for threads."""

    def __init__(self, limit: int = MAX_OPEN) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._open: dict[ChunkName, OpenChunk] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, name: ChunkName) -> bool:
        return name in self._open

    def borrow(self, name: ChunkName) -> OpenChunk | None:
        """The open chunk, to be handed to :meth:`give_back` afterwards; None when it is not open."""
        with self._lock:
            chunk = self._open.pop(name, None)
            if chunk is not None:
                self._open[name] = chunk
                chunk.users += 1
            return chunk

    def give_back(self, chunk: OpenChunk) -> None:
        """End a loan."""
        with self._lock:
            chunk.users -= 1
            if chunk.is_forgotten and not chunk.users:
                os.close(chunk.fd)

    def keep(self, name: ChunkName, chunk: OpenChunk) -> None:
        """Take over a descriptor; an older one of the same name is forgotten."""
        with self._lock:
            self._forget(name)
            self._open[name] = chunk
            while len(self._open) > self._limit:
                self._forget(next(iter(self._open)))

    def forget(self, name: ChunkName) -> None:
        """Close the chunk, now or when its last user is done."""
        with self._lock:
            self._forget(name)

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            for name in list(self._open):
                self._forget(name)

    def _forget(self, name: ChunkName) -> None:
        chunk = self._open.pop(name, None)
        if chunk is not None:
            chunk.is_forgotten = True
            if not chunk.users:
                os.close(chunk.fd)
