"""A handle that has not asked for anything yet.

The difficulty: most opens of a small file that was read before ask us for nothing, because the kernel has its pages,
and what a reader keeps account of (its window, its fetches) takes as long to make as the rest of ``open``. So it is made
when the first bytes are asked for. What an open handle keeps from being evicted, it keeps from the start, and what
becomes of its version it is told like all the others.
"""

from __future__ import annotations

from fuse4dbricks.cache.reading.content import Content
from fuse4dbricks.cache.reading.ports import ReadBuffer, ViewerOf
from fuse4dbricks.cache.reading.reader import FileReader, Tallies


class LateReader:
    """Reads one version of one file for one opener, by way of a :class:`FileReader`.

    Attributes:
        version: what was opened; each byte returned is of it.
    """

    __slots__ = ("_content", "_reader", "_tallies", "_viewer_of", "version")

    def __init__(self, content: Content, viewer_of: ViewerOf, tallies: Tallies) -> None:
        self.version = content.version
        self._content = content
        self._viewer_of = viewer_of
        self._tallies = tallies
        self._reader: FileReader | None = None

    def get(self, offset: int, length: int) -> ReadBuffer | None:
        """Bytes that are there without waiting, or None."""
        return (self._reader or self._begin()).get(offset, length)

    async def read(self, offset: int, length: int) -> ReadBuffer:
        """Bytes, after whatever it takes; raises as :meth:`FileReader.read` does."""
        return await (self._reader or self._begin()).read(offset, length)

    def close(self) -> None:
        """Give up every interest."""
        if self._reader is not None:
            self._reader.close()
            return
        tiers = self._content.tiers
        # Who opened it and asked for nothing was served by the kernel, which does not say with what.
        tiers.disk.release(self._content.path, self.version, None)
        tiers.ram.closed()

    def _begin(self) -> FileReader:
        self._reader = FileReader(self._content, self._viewer_of, self._tallies)
        return self._reader
