"""Open files and folders, by the numbers that the kernel holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import trio

from fuse4dbricks.cache.listing import Listing
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import BadHandle, DeadlineExceeded
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.vfs.control.asking import AskingHandle
from fuse4dbricks.vfs.control.writing import WritingHandle
from fuse4dbricks.vfs.inodes import Node

Buffer = bytes | bytearray | memoryview

#: A handle that has waited so long in vain (seconds) does not wait again for so long: the kernel repeats at once what
#: its read-ahead did not get, and ``cat`` of a silent file took the time limit twice (50 s measured).
LONG_WAIT_SECONDS = 10.0
TIRED_SECONDS = 1.0


class Reader(Protocol):
    """Reads one version of one file."""

    @property
    def version(self) -> Version:
        """The version it is pinned to."""
        ...

    def get(self, offset: int, length: int) -> Buffer | None:
        """Bytes that are there without waiting, or None."""
        ...

    async def read(self, offset: int, length: int) -> Buffer:
        """Bytes, after whatever it takes."""
        ...

    def close(self) -> None:
        """Nobody reads through this handle any more."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """What the kernel is told of a new file handle.

    Attributes:
        number: the handle.
        keep_cache: whether pages that it holds of this inode are still good.
        direct_io: whether reads and writes go past its page cache.
    """

    number: int
    keep_cache: bool = False
    direct_io: bool = False


@dataclass(slots=True, eq=False)
class OpenFile:
    """A handle on a remote file: one user, one inode and so one version.

    Attributes:
        tired_until: on trio's clock; until then nothing is waited for.
        is_barred: its user has lost the right to read it (see ``recalls.py``).
    """

    uid: int
    node: Node
    path: RemotePath
    reader: Reader
    tired_until: float = float("-inf")
    is_barred: bool = False

    async def wait_for(self, offset: int, length: int) -> Buffer:
        """Bytes, after whatever it takes.

        Raises:
            DeadlineExceeded: a long wait of this handle has just been in vain.
            RemoteError: as the reader says.
        """
        began = trio.current_time()
        if began < self.tired_until:
            raise DeadlineExceeded(f"{self.path}: waited in vain a moment ago")
        found = None
        try:
            found = await self.reader.read(offset, length)
        finally:
            now = trio.current_time()
            if found is None and now - began >= LONG_WAIT_SECONDS:
                self.tired_until = now + TIRED_SECONDS
        return found


@dataclass(slots=True, eq=False)
class OpenText:
    """A handle on a README."""

    content: bytes


@dataclass(slots=True, eq=False)
class OpenFolder:
    """A handle on a folder: the listing that its offsets count in.

    Attributes:
        listing: None for a control folder, and for the root of a user without a valid token.
        names: control files that come first.
    """

    uid: int
    ino: int
    node: Node | None
    listing: Listing | None
    names: list[tuple[str, int]] = field(default_factory=list)


Handle = OpenFile | OpenText | OpenFolder | WritingHandle | AskingHandle
H = TypeVar("H", bound=Handle)


class HandleTable:
    """Numbers for handles; never used twice in one mount."""

    def __init__(self) -> None:
        self._handles: dict[int, Handle] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._handles)

    def add(self, handle: Handle) -> int:
        """Give it a number."""
        number, self._next = self._next, self._next + 1
        self._handles[number] = handle
        return number

    def get(self, number: int) -> Handle | None:
        """The handle of a number, if it is open."""
        return self._handles.get(number)

    def expect(self, number: int, kind: type[H]) -> H:
        """The handle of a number.

        Raises:
            BadHandle: it is not open, or of another kind.
        """
        handle = self._handles.get(number)
        if not isinstance(handle, kind):
            raise BadHandle(f"handle {number} is not open for this")
        return handle

    def open_files(self) -> Iterator[OpenFile]:
        """All handles on remote files; not to be kept over an await."""
        return (handle for handle in self._handles.values() if isinstance(handle, OpenFile))

    def remove(self, number: int) -> Handle | None:
        """Forget the number."""
        return self._handles.pop(number, None)
