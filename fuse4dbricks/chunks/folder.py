"""The cache folder as an opened thing: its descriptor, its lock, its space.

The difficulty: the folder may vanish, fill up or turn read-only while mounted, and may be swapped for a link by
somebody who waits for a root daemon to follow it. So it is opened once, checked (see ``admission``), and all
that happens inside is relative to its descriptor.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from fuse4dbricks.chunks.admission import (
    advice_on,
    check_outside,
    is_whole,
    keep_lock,
    make_missing,
    occupy,
    open_checked,
)
from fuse4dbricks.chunks.layout import CHUNK_FILE, CHUNKS, INDEX, INDEX_FILES, TEMPORARY, TEMPORARY_FILE
from fuse4dbricks.chunks.safety import UnsafeError, entries, opened_folder
from fuse4dbricks.errors import CacheError, CacheFolderError


class CacheFolder:
    """An opened cache folder.

    Attributes:
        path: where it is, without links.
        fd: its descriptor; everything inside is opened relative to it.
    """

    def __init__(self, path: Path, fd: int, lock_fd: int | None) -> None:
        self.path = path
        self.fd = fd
        self._lock_fd = lock_fd
        self._completing = threading.Lock()

    @classmethod
    def open(cls, path: Path, *, exclusive: bool = True, mountpoint: Path | None = None) -> CacheFolder:
        """Open the folder, creating it (0700) where it is missing.

        Args:
            path: the folder; its parents are created too.
            exclusive: take the lock, as a mount does. Without it nothing is created or changed.
            mountpoint: where the mount is going to be; the folder must not lie inside.

        Raises:
            CacheFolderError: foreign, unsafe, unusable, locked, newer, or inside the mount.
        """
        # The last component stays as given: a link there is refused, links on the way are resolved.
        given = Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow the last link
        real = Path(os.path.realpath(given.parent)) / given.name
        try:
            if mountpoint is not None:
                check_outside(real, mountpoint)
            fd = open_checked(real, create=exclusive)
            try:
                return cls(real, fd, occupy(fd) if exclusive else None)
            except BaseException:  # raised on: only the descriptor must not leak
                os.close(fd)
                raise
        except UnsafeError as error:
            raise CacheFolderError(f"cannot use the cache folder {given}: {error}") from error
        except OSError as error:
            raise CacheFolderError(f"cannot use the cache folder {given}: {advice_on(error)}") from error

    @property
    def index_path(self) -> Path:
        """Where the index lives."""
        return self.path / INDEX

    def free_bytes(self) -> tuple[int, int]:
        """(available to us, in all) of the file system, in bytes.

        Raises:
            CacheError: it cannot be asked.
        """
        try:
            status = os.fstatvfs(self.fd)
        except OSError as error:
            raise CacheError(f"the cache folder's file system does not answer: {error}") from error
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    def index_bytes(self) -> int:
        """Disk space of the index with its log.

        Raises:
            CacheError: the folder cannot be read.
        """
        return self._measured(lambda: sum(_blocks_of(self.fd, name) for name in INDEX_FILES))

    def index_written_at(self) -> float | None:
        """Unix time of the last write to the index, its log apart; None where there is no index.

        Raises:
            CacheError: the folder cannot be read.
        """
        try:
            return os.stat(INDEX, dir_fd=self.fd, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CacheError(f"the cache folder cannot be read: {error}") from error

    def overhead_bytes(self) -> int:
        """Disk space of all else that is not a chunk: the folders, the lock, an index that was set aside.

        Raises:
            CacheError: the folder cannot be read.
        """

        def count() -> int:
            return (
                os.fstat(self.fd).st_blocks
                + _blocks_in(self.fd, ".", without=INDEX_FILES)
                + _blocks_in(self.fd, CHUNKS)
            )

        return self._measured(count)

    def has_chunks(self) -> bool:
        """Whether there is any chunk file: 5 ms where there is none.

        Raises:
            CacheError: the folder cannot be read.
        """
        try:
            with opened_folder(self.fd, CHUNKS) as chunks:
                return any(_has_files(chunks, shard, CHUNK_FILE) for shard in entries(chunks))
        except OSError as error:
            raise CacheError(f"the cache folder cannot be read: {error}") from error

    def _measured(self, count_blocks: Callable[[], int]) -> int:
        try:
            return count_blocks() * 512
        except OSError as error:
            raise CacheError(f"the cache folder cannot be read: {error}") from error

    def clear(self) -> None:
        """Remove the index and all chunks; nothing that is not ours. The lock and the marker stay.

        Raises:
            CacheFolderError: something could not be removed.
        """
        try:
            for name in entries(self.fd):
                if name.startswith(INDEX):
                    os.unlink(name, dir_fd=self.fd)
            _clear_folder(self.fd, TEMPORARY, TEMPORARY_FILE)
            with opened_folder(self.fd, CHUNKS, create=True) as chunks:
                for shard in entries(chunks):
                    _clear_folder(chunks, shard, CHUNK_FILE)
        except OSError as error:
            raise CacheFolderError(
                f"cannot clear the cache folder {self.path}: {advice_on(error)}"
            ) from error

    def complete(self) -> None:
        """Make again what somebody has removed while we use the folder, or the next start would take it for another's.

        Nothing, where it was opened without the lock.

        Raises:
            CacheError: it is gone altogether, or cannot be written.
        """
        try:
            with self._completing:
                if self._lock_fd is not None and not is_whole(self.fd):
                    self._lock_fd = keep_lock(self.fd, self._lock_fd)
                    make_missing(self.fd)
        except (OSError, UnsafeError) as error:
            raise CacheError(f"cannot make what is missing in the cache folder: {error}") from error

    def close(self) -> None:
        """Give up the lock and the descriptors, in a folder that the next start will know."""
        with suppress(CacheError):
            self.complete()
        for fd in (self._lock_fd, self.fd):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._lock_fd, self.fd = None, -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _clear_folder(dir_fd: int, name: str, ours: re.Pattern[str]) -> None:
    with suppress(FileNotFoundError, NotADirectoryError), opened_folder(dir_fd, name) as fd:
        for entry in entries(fd):
            if ours.fullmatch(entry):
                os.unlink(entry, dir_fd=fd)


def _has_files(dir_fd: int, name: str, ours: re.Pattern[str]) -> bool:
    with opened_folder(dir_fd, name) as fd:
        return any(ours.fullmatch(entry) for entry in entries(fd))


def _blocks_in(dir_fd: int, name: str, without: tuple[str, ...] = ()) -> int:
    """512-byte blocks of the entries of a folder, not of what is below them."""
    with opened_folder(dir_fd, name) as fd:
        return sum(_blocks_of(fd, entry) for entry in entries(fd) if entry not in without)


def _blocks_of(dir_fd: int, name: str) -> int:
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_blocks
    except FileNotFoundError:
        return 0
