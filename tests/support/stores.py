"""Chunk stores that tests write to by themselves, or watch being written to.

The difficulty: chunks are written in batches, and a test is about one chunk.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from fuse4dbricks.chunks import ChunkLabel, ChunkStore
from fuse4dbricks.chunks.writing import Write


def write_chunk(store: ChunkStore, label: ChunkLabel, payload: memoryview | bytes) -> int:
    """Store one chunk; its checksum."""
    with store.writing() as write:
        return write(label, payload)


class WatchedStore(ChunkStore):
    """Calls ``before_write`` in the thread that is about to write a chunk; an exception of it is the write's."""

    def before_write(self) -> None:
        """Nothing, for tests to override."""

    @contextmanager
    def writing(self) -> Iterator[Write]:
        """As the store does, but for the call."""
        with super().writing() as write:

            def watched(label: ChunkLabel, payload: memoryview | bytes) -> int:
                self.before_write()
                return write(label, payload)

            yield watched
