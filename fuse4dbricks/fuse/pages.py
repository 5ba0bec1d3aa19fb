"""What the kernel keeps of a mount: pages, attributes, names.

The difficulty: the kernel drops a page only when it has its lock, and a page that is being read is locked until we
answer; a name, only when nobody is looking something up in its folder. Called in the event loop, dropping would wait for
an answer that the loop then cannot give; so it is done in threads, never by a handler, and the end of the mount waits for them before it frees what they use.
"""

from __future__ import annotations

import logging

import pyfuse3
import trio
from pyfuse3 import FileNameT, InodeT

logger = logging.getLogger("fuse4dbricks.fuse")

#: Threads that may wait for locked pages at once; each waits no longer than a request may take.
MAX_DROPS = 16
#: Seconds that the end of the mount waits for them.
END_SECONDS = 2.0


class KernelPages:
    """Drops them. Satisfies ``vfs.recalls.KernelCache``."""

    def __init__(self) -> None:
        self._threads = trio.CapacityLimiter(MAX_DROPS)
        self._is_closed = False

    async def drop(self, ino: int) -> None:
        """Return when the kernel has forgotten what it held of the inode."""
        await trio.to_thread.run_sync(self._invalidate, ino, abandon_on_cancel=True, limiter=self._threads)

    def _invalidate(self, ino: int) -> None:
        if self._is_closed:
            return
        try:
            pyfuse3.invalidate_inode(InodeT(ino))
        except OSError as error:  # ENOENT: the kernel has forgotten the inode as a whole
            logger.debug("inode %d: %s", ino, error)

    async def drop_name(self, parent_ino: int, name: bytes) -> None:
        """Return when the kernel has forgotten where the name leads."""
        await trio.to_thread.run_sync(
            self._invalidate_name, parent_ino, name, abandon_on_cancel=True, limiter=self._threads
        )

    def _invalidate_name(self, parent_ino: int, name: bytes) -> None:
        if self._is_closed:
            return
        try:
            pyfuse3.invalidate_entry(InodeT(parent_ino), FileNameT(name))
        except OSError as error:  # ENOENT: the kernel has forgotten it
            logger.debug("a name in inode %d: %s", parent_ino, error)

    async def aclose(self) -> None:
        """Start no more, and give those under way a moment."""
        self._is_closed = True
        with trio.move_on_after(END_SECONDS, shield=True):
            for thread in range(MAX_DROPS):
                await self._threads.acquire_on_behalf_of(thread)
