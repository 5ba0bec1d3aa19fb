"""Ways of opening in the loop that do not depend on the kernel under the tests."""

from __future__ import annotations

import errno
import os

from fuse4dbricks.chunks import CacheFolder, ChunkStore
from fuse4dbricks.chunks.cached_open import CachedOpener
from fuse4dbricks.clock import Clock


def plain(dir_fd: int, path: bytes, flags: int) -> int:
    """As ``openat2`` does with what is in memory."""
    return os.open(path, flags, dir_fd=dir_fd)


def of_another_owner(dir_fd: int, path: bytes, flags: int) -> int:
    """As ``openat2`` does with a file that only another user may read without a trace."""
    if flags & os.O_NOATIME:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    return plain(dir_fd, path, flags)


class FailingCall:
    """Refuses with an error number until told otherwise.

    Attributes:
        calls: so far.
    """

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.calls = 0

    def __call__(self, dir_fd: int, path: bytes, flags: int) -> int:
        self.calls += 1
        if self.number is not None:
            raise OSError(self.number, os.strerror(self.number))
        return plain(dir_fd, path, flags)


class OpeningStore(ChunkStore):
    """Opens in the loop whatever the kernel knows."""

    def __init__(self, folder: CacheFolder, clock: Clock | None = None) -> None:
        super().__init__(folder, clock, CachedOpener(plain))


class ThreadsOnlyStore(ChunkStore):
    """Opens nothing in the loop, as on a kernel before 5.12."""

    def __init__(self, folder: CacheFolder, clock: Clock | None = None) -> None:
        super().__init__(folder, clock, CachedOpener(None))
