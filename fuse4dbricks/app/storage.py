"""The disk cache of a mount: folder, index and chunk files, or nothing at all.

The difficulty: a cache folder that the user must put right (foreign, unsafe, locked by another mount, newer) ends
the start with one line, but a disk that is full or sick must not: the cache never fails a reader, so the mount then
goes without. The two come as the same exception; the errno behind it tells them apart.
"""

from __future__ import annotations

import errno
import logging
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from fuse4dbricks.chunks.folder import CacheFolder
from fuse4dbricks.chunks.store import ChunkStore
from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import CacheError, CacheFolderError
from fuse4dbricks.index.index import Index
from fuse4dbricks.telemetry.metrics import Metrics

logger = logging.getLogger("fuse4dbricks.app")

#: What a disk says that fails or is full; a wrong owner or a link is for the user to mend.
SICK_DISK = frozenset(
    {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ENXIO, errno.ENODEV, errno.EUCLEAN, errno.ESTALE}
)


@dataclass(frozen=True, slots=True)
class Storage:
    """What is open of the disk cache; all of it, or (with :data:`NO_STORAGE`) nothing."""

    folder: CacheFolder | None = None
    store: ChunkStore | None = None
    index: Index | None = None


NO_STORAGE = Storage()


async def open_storage(
    path: Path | None,
    *,
    mountpoint: Path,
    clear: bool,
    limit: int,
    host: str,
    stack: AsyncExitStack,
    clock: Clock,
    metrics: Metrics,
) -> Storage:
    """Open the cache folder at ``path`` and its index for one workspace, to take ``limit`` bytes at most; ``stack`` closes them.

    Raises:
        CacheFolderError: the folder cannot be used until the user has mended something.
    """
    if path is None:
        return NO_STORAGE
    try:
        folder = await trio.to_thread.run_sync(lambda: CacheFolder.open(path, mountpoint=mountpoint))
        stack.callback(folder.close)
        if clear:
            await trio.to_thread.run_sync(folder.clear)
        index = await Index.open(
            folder.index_path, workspace=host, clock=clock, metrics=metrics, disk_limit=limit
        )
    except (CacheError, CacheFolderError, OSError) as error:
        if not is_sick_disk(error):
            raise
        logger.warning("mounting without a disk cache: %s", error)
        return NO_STORAGE
    stack.push_async_callback(index.aclose)
    await take_stock(index, folder)
    store = ChunkStore(folder, clock)
    stack.callback(store.close)
    return Storage(folder, store, index)


async def take_stock(index: Index, folder: CacheFolder) -> None:
    """A new index of a folder without chunks knows all of them; of any other, only once they have been looked at."""
    with suppress(CacheError):  # then it is found out by looking
        if not index.is_complete and not await trio.to_thread.run_sync(folder.has_chunks):
            await index.note_complete(index.epoch)


def is_sick_disk(error: BaseException) -> bool:
    """Whether the disk, and not the user, is to blame."""
    if isinstance(error, CacheError):
        return True
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in SICK_DISK
