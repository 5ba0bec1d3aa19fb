"""Fetching what is missing: large ranges side by side, chunk by chunk onto the disk.

The difficulty: this may go on for hours beside readers, who come first, and must not take their RAM. So its calls queue
behind theirs (``Urgency.AHEAD``) and leave some of the connections free, its bytes go to the disk and nowhere else, and
a range that has arrived waits for the disk before the next one is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

from fuse4dbricks.app.upkeep.wire import OrderRefused
from fuse4dbricks.app.warming.scene import File, Progress, WarmScene
from fuse4dbricks.app.warming.walk import Surveyor, is_final
from fuse4dbricks.cache.storing.keeping import Keeping
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import (
    CacheError,
    Fuse4dbricksError,
    InvalidToken,
    NotFound,
    NoToken,
    RemoteError,
    VersionChanged,
)
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.units import MIB
from fuse4dbricks.workspace.limits import Ticket, Urgency

#: So many failures one after the other are not about single files.
PATIENCE = 10

#: Bytes of one range. A reader who comes may have to wait for those that are under way, so they are not longer.
RANGE_BYTES = 8 * MIB


def ranges_of(runs: list[range], keeping: Keeping) -> Iterator[range]:
    """Runs of chunks, cut into what one call fetches."""
    step = max(1, RANGE_BYTES // keeping.chunk_size)
    for run in runs:
        for first in range(run.start, run.stop, step):
            yield range(first, min(first + step, run.stop))


def bytes_of(chunks: range, version: Version, keeping: Keeping) -> int:
    """Bytes of some chunks of a file; its last one is short."""
    return min(chunks.stop * keeping.chunk_size, version.size) - chunks.start * keeping.chunk_size


class Fetcher:
    """Fetches ranges for one local user; several tasks may call it.

    Attributes:
        fatal: why there is no use in going on; None: there is.
    """

    def __init__(self, scene: WarmScene, surveyor: Surveyor, keeping: Keeping, progress: Progress) -> None:
        self._scene = scene
        self._surveyor = surveyor
        self._keeping = keeping
        self._progress = progress
        self._changed: set[RemotePath] = set()
        self._failures = 0
        self.fatal: Fuse4dbricksError | None = None

    async def fetch(self, file: File, chunks: range) -> None:
        """Bring some chunks of a file to the disk; what is wrong is noted."""
        path, version = file
        if path in self._changed or self.fatal is not None:
            return
        try:
            await self._surveyor.as_viewer(lambda viewer: self._fetch_as(viewer, file, chunks))
        except (VersionChanged, NotFound) as error:
            self._changed.add(path)
            self._scene.metadata.mark_stale(path, version)
            self._progress.note_problem(path, f"it changed meanwhile, and is left for the next run: {error}")
        except CacheError as error:
            self.fatal = OrderRefused(f"the cache takes no more: {error}")
        except (RemoteError, NoToken) as error:
            self._failures += 1
            if is_final(error) or self._failures >= PATIENCE:
                self.fatal = error
            else:
                self._progress.note_problem(path, error)
        else:
            self._failures = 0

    async def _fetch_as(self, viewer: Viewer, file: File, chunks: range) -> None:
        await self._scene.gate.admit(viewer, file[0])
        try:
            await self._stream(viewer, file, chunks)
        except InvalidToken as error:
            self._scene.access.note_error(viewer, file[0], error)
            raise
        except (VersionChanged, NotFound):
            raise
        except RemoteError as error:
            self._scene.access.note_error(viewer, file[0], error)
            raise

    async def _stream(self, viewer: Viewer, file: File, chunks: range) -> None:
        path, version = file
        start = chunks.start * self._keeping.chunk_size
        stop = start + bytes_of(chunks, version, self._keeping)
        self._progress.calls_made += 1
        buffer = bytearray()
        index = chunks.start
        async with self._scene.files.stream_range(
            viewer.token, path, start, stop, version, Ticket(Urgency.AHEAD)
        ) as pieces:
            async for piece in pieces:
                buffer += piece
                while buffer and len(buffer) >= (
                    length := bytes_of(range(index, index + 1), version, self._keeping)
                ):
                    await self._store(viewer, file, index, bytes(buffer[:length]))
                    del buffer[:length]
                    index += 1

    async def _store(self, viewer: Viewer, file: File, index: int, payload: bytes) -> None:
        await self._keeping.store(*file, index, payload, viewer.principal.user_name)
        self._progress.fetched_bytes += len(payload)


async def fetch_all(fetcher: Fetcher, work: trio.MemoryReceiveChannel[tuple[File, range]], jobs: int) -> None:
    """Fetch what comes through a channel, ``jobs`` ranges at once."""

    async def one() -> None:
        async for file, chunks in work:
            await fetcher.fetch(file, chunks)
            if fetcher.fatal is not None:
                return

    async with trio.open_nursery() as nursery:
        for _ in range(jobs):
            nursery.start_soon(one)
