"""What reading needs from the outside, and no more of it.

The workspace's client and the disk tier are used through these protocols, so the tests drive the same code with
a scripted source and a disk of dictionaries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Container, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from fuse4dbricks.entry import Version
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Token, Viewer
from fuse4dbricks.workspace.limits import Ticket

#: What a read answers: a view into a chunk in RAM where possible, else bytes.
ReadBuffer = bytes | bytearray | memoryview

#: The viewer of a handle, with a token that is valid as far as is known; may raise ``NoToken``.
ViewerOf = Callable[[], Awaitable[Viewer]]


class Pieces(Protocol):
    """A range as it arrives, and what its reply said of the version."""

    @property
    def version(self) -> Version:
        """What was asked for, with the ETag that the reply showed, if it showed one."""
        ...

    @property
    def received(self) -> int:
        """Bytes that have come so far."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Contiguous pieces; or else:"""
        ...

    async def receive_into(self, room: memoryview, /) -> int:
        """Put the next bytes at the start of ``room``, as soon as there are some: how many; 0 at the end."""
        ...


class RangeSource(Protocol):
    """Where bytes come from in the end."""

    def stream_range(
        self, token: Token, path: RemotePath, start: int, stop: int, version: Version, ticket: Ticket, /
    ) -> AbstractAsyncContextManager[Pieces]:
        """Bytes [start, stop) of exactly ``version``, contiguous pieces as they arrive.

        Resumes and retries by itself within a bounded time; what it raises is final.
        """
        ...


class DiskReads(Protocol):
    """The chunk files, as a reader sees them. Nothing here raises: what cannot be read is a miss."""

    def get_known(self, path: RemotePath, version: Version, first: int, stop: int, /) -> Container[int]:
        """Which of the chunks [first, stop) are on disk. In the loop, quick."""
        ...

    def read_now(
        self, path: RemotePath, version: Version, chunk_index: int, offset: int, length: int, /
    ) -> bytes | bytearray | None:
        """Bytes of a verified chunk without blocking; None when that cannot be."""
        ...

    def open_ahead(self, path: RemotePath, version: Version, indexes: Sequence[int], /) -> bool:
        """Have chunks ready for :meth:`read_now` soon; False where it never succeeds. In the loop, quick."""
        ...

    async def load_chunk(
        self, path: RemotePath, version: Version, chunk_index: int, /
    ) -> bytes | memoryview | None:
        """A whole verified chunk; None is a miss."""
        ...

    def hold(self, path: RemotePath, version: Version, /) -> None:
        """One more handle is open: eviction leaves its chunks alone."""
        ...

    def release(self, path: RemotePath, version: Version, used: Collection[int] | None = (), /) -> None:
        """One handle less, which had ``used`` chunks without asking for them here; None: it may have been any."""
        ...


class DiskWrites(Protocol):
    """The chunk files, as a fetch sees them."""

    def publish(
        self,
        path: RemotePath,
        version: Version,
        chunk_index: int,
        payload: memoryview,
        owner: str,
        on_done: Callable[[], None],
        /,
    ) -> bool:
        """Store a chunk in the background; ``on_done`` in the loop when it is stored or given up.

        Returns:
            False when it is not taken; then ``on_done`` is not called.
        """
        ...

    async def drop_version(self, path: RemotePath, version: Version, /) -> None:
        """Forget everything of a version that is no more."""
        ...


class DiskPort(DiskReads, DiskWrites, Protocol):
    """Both sides of the disk tier."""
