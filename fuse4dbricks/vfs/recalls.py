"""Taking back what the kernel holds, when somebody loses the right to it.

The difficulty: pages that are in the kernel's page cache are read without a request to us, by ``read`` as by ``mmap``,
for as long as the file is open; and whoever still may read brings them back into that cache, which is common to
all. So the proofs of all who hold files open are watched, and kept young, whether they ask for anything or not. When one
is lost the inode is *barred*: its pages are dropped, its attributes get no timeout (so that the kernel asks us at each
``read`` whether the reader may), and what others read of it is dropped again. A bar is no denial: it only brings the
reads to us, and who may read goes on.

An outage bars nothing: the last answer stands, as everywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from fuse4dbricks.cache.connectivity import is_outage
from fuse4dbricks.errors import Fuse4dbricksError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.vfs.handles import HandleTable, OpenFile
from fuse4dbricks.vfs.inodes import Node

logger = logging.getLogger("fuse4dbricks.vfs")

#: Looks per permission TTL: a proof is renewed from half of it on, so that the answer is seen before it ends.
LOOKS_PER_TTL = 5
MIN_PAUSE_SECONDS = 0.2
#: Between two droppings of pages that others read again, seconds: that long a mapping of his may show them.
DROP_PAUSE_SECONDS = 0.1


class PageCache(Protocol):
    """The kernel's pages and attributes of inodes."""

    async def drop(self, ino: int) -> None:
        """Forget those of one inode; returns when that is done, which waits for reads of it that are under way."""
        ...


class Recalls:
    """Watches the proofs of those who hold files open.

    ``admit(uid, path)`` returns when the user may be shown what is at the path, and raises if not.
    """

    def __init__(self, handles: HandleTable, admit: Callable[[int, RemotePath], Awaitable[None]]) -> None:
        self._handles = handles
        self._admit = admit
        self._judging: set[tuple[int, RemotePath]] = set()
        self._dropping: set[int] = set()
        self._due: set[int] = set()
        self._bell = trio.Event()

    async def run(self, pages: PageCache, permission_ttl: float) -> None:
        """Watch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drop_what_is_due, pages, nursery)
            while True:
                for key, path in self._held().items():
                    if key not in self._judging:
                        self._judging.add(key)
                        nursery.start_soon(self._judge, key, path)
                await trio.sleep(max(MIN_PAUSE_SECONDS, permission_ttl / LOOKS_PER_TTL))

    def note_read(self, node: Node) -> None:
        """Somebody who may read it was given bytes of the inode, which the kernel keeps."""
        if node.bars:
            self._ask_to_drop(node.ino)

    def note_released(self, handle: OpenFile) -> None:
        """The handle is closed."""
        self._lift(handle)

    # --- judging ---------------------------------------------------------------------------------

    def _held(self) -> dict[tuple[int, RemotePath], RemotePath]:
        """Who holds something open in which volume, with one path of it."""
        return {(each.uid, each.path.volume): each.path for each in self._handles.open_files()}

    async def _judge(self, key: tuple[int, RemotePath], path: RemotePath) -> None:
        uid, volume = key
        try:
            await self._admit(uid, path)
        except Fuse4dbricksError as error:
            if not is_outage(error):
                self._bar(uid, volume, error)
        else:
            self._lift_all(uid, volume)
        finally:
            self._judging.discard(key)

    def _bar(self, uid: int, volume: RemotePath, reason: Exception) -> None:
        for handle in self._handles.open_files():
            if handle.uid == uid and handle.path.volume == volume and not handle.is_barred:
                logger.info(
                    "uid %d may not read %s any more: %s", uid, volume, reason, extra={"rate_limit": 60}
                )
                handle.is_barred = True
                handle.node.bars += 1
                self._ask_to_drop(handle.node.ino)

    def _lift_all(self, uid: int, volume: RemotePath) -> None:
        for handle in self._handles.open_files():
            if handle.is_barred and handle.uid == uid and handle.path.volume == volume:
                self._lift(handle)

    @staticmethod
    def _lift(handle: OpenFile) -> None:
        if handle.is_barred:
            handle.is_barred = False
            handle.node.bars -= 1

    # --- dropping --------------------------------------------------------------------------------

    def _ask_to_drop(self, ino: int) -> None:
        self._due.add(ino)
        self._bell.set()

    async def _drop_what_is_due(self, pages: PageCache, nursery: trio.Nursery) -> None:
        """Each inode in a task of its own, because one whose reads are stuck is dropped late."""
        while True:
            await self._bell.wait()
            self._bell = trio.Event()
            for ino in self._due - self._dropping:
                self._due.discard(ino)
                self._dropping.add(ino)
                nursery.start_soon(self._drop, pages, ino)
            await trio.sleep(DROP_PAUSE_SECONDS)

    async def _drop(self, pages: PageCache, ino: int) -> None:
        try:
            await pages.drop(ino)
        finally:
            self._dropping.discard(ino)
        if ino in self._due:
            self._bell.set()
